"""Target words: what each stands for, and one sentence for every word that stands for nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from probes.action import Profile
from probes.arch import ARCHES
from probes.errors import BadInputError
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import SeccompData, statement
from probes.targets import name
from probes.targets.oci.capability import DOCKER_CAPABILITIES
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime
from probes.targets.open import Surroundings
from probes.targets.open import open_target as open_named
from probes.targets.stack import FilterStack

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")

WHERE = Surroundings(
    policy=DEFAULT_POLICY,
    profile=Profile.ERRNO,
    native=ARCHES["x86_64"],
    capabilities=DOCKER_CAPABILITIES,
    kernel=(6, 1),
)


def open_target(word: str, where: Surroundings) -> FilterStack:
    return open_named(name.read(word), where)


ACCT = SeccompData(163, 0xC000003E)
EPERM = 0x00050001


def test_the_builtin_filter_and_a_policys() -> None:
    builtin = open_target("builtin", WHERE)
    assert builtin.programs == open_target(f"policy:{DEFAULT_POLICY}", WHERE).programs
    assert "builtin filter of" in builtin.description
    assert bpf.simulate(builtin.programs[0], ACCT) == EPERM
    killing = open_target("builtin", replace(WHERE, profile=Profile.KILL))
    assert bpf.simulate(killing.programs[0], ACCT) == 0x80000000


def test_raw_programs_in_order(tmp_path: Path) -> None:
    programs = [(statement(bpf.RET_K, value),) for value in (EPERM, 0x7FFF0000)]
    names = [str(tmp_path / part) for part in ("one", "two")]
    for path, program in zip(names, programs, strict=True):
        Path(path).write_bytes(bpf.to_bytes(program))
    opened = open_target(f"bpf:{','.join(names)}", WHERE)
    assert opened.programs == tuple(programs)
    assert opened.description == ", ".join(names)
    foreign = replace(WHERE, native=ARCHES["s390x"])
    with pytest.raises(BadInputError, match="little-endian byte order it is one"):
        open_target(f"bpf:{names[0]}", foreign)


def test_a_file_with_a_comma_in_its_name(tmp_path: Path) -> None:
    program = (statement(bpf.RET_K, EPERM),)
    (tmp_path / "a,b.bpf").write_bytes(bpf.to_bytes(program))
    opened = open_target(f"bpf:{tmp_path}/a,b.bpf", WHERE)
    assert opened.programs == (program,)
    (tmp_path / "a,b.json").write_text('{"defaultAction": "SCMP_ACT_KILL"}')
    assert str(tmp_path / "a,b.json") in open_target(f"oci:{tmp_path}/a,b.json", WHERE).description
    with pytest.raises(BadInputError, match=r"/a: "):
        open_target(f"oci:{tmp_path}/a,c.json", WHERE)


def test_a_profile_with_its_findings(tmp_path: Path) -> None:
    rule = {"names": ["acct", "nonsense"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_KILL", "syscalls": [rule]}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    docker = Release(Engine.DOCKER, (28, 0))
    runc = replace(WHERE, asked=AskedReaders(docker, Release(Runtime.RUNC, (1, 3, 6))))
    crun = replace(WHERE, asked=AskedReaders(docker, Release(Runtime.CRUN, (1, 28))))
    with_stub = open_target(f"oci:{path}", runc)
    without = open_target(f"oci:{path}", crun)
    later = SeccompData(300, ACCT.arch)
    for opened, value in ((with_stub, 0x00050026), (without, 0)):
        assert bpf.simulate(opened.programs[0], ACCT) == EPERM
        assert bpf.simulate(opened.programs[0], later) == value
        assert "libseccomp does not know nonsense" in "".join(map(str, opened.findings))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("", r"'' is no target: a target is builtin, policy:FILE"),
        ("builtin:", "is no target"),
        ("builtin:x", "'builtin:x' is no target"),
        ("oci", "'oci' is no target"),
        ("oci:", "'oci:' is no target"),
        ("OCI:x", r"\(did you mean oci\?\)"),
        ("bfp:x", r"\(did you mean bpf\?\)"),
        ("nonsense:x", "is no target: a target"),
        ("a\nb:x", "is no target"),
        ("bpf:a,,b", "a file name between the commas is empty"),
        ("bpf:,", "a file name between the commas is empty"),
        ("pid:0", "a process id is a whole number above 0"),
        ("pid:-1", "a process id is a whole number above 0"),
        ("pid:1x", "a process id is a whole number above 0"),
        ("pid:²", "a process id is a whole number above 0"),
        ("pid:" + "9" * 5000, "a process id is a whole number above 0"),
        ("pid:4194304999", "there is no process 4194304999"),
        ("oci:/nonexistent/x", "cannot be read from there"),
        ("bpf:/nonexistent/x", "cannot be read from there"),
        ("policy:/nonexistent/x", "/nonexistent/x"),
    ],
)
def test_words_that_stand_for_nothing(word: str, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence) as refusal:
        open_target(word, WHERE)
    assert str(refusal.value).isprintable()


def test_processes_have_no_filters_for_other_machines() -> None:
    with pytest.raises(BadInputError, match="pid:1: this machine is x86_64, so none of its"):
        open_target("pid:1", replace(WHERE, native=ARCHES["aarch64"]))


def test_a_process_without_a_filter() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = open_target(f"pid:{process.pid}", WHERE)
        process.communicate(b"\n")

    assert not found.programs
    assert not found.further
    assert "has no seccomp filter at all" in str(found.findings[0])
