"""The first lines for real runtimes' own profiles, and for wrong filters.

Their numbers are held to a count of the record's JSON, and for docker to a C program that makes the
calls and knows nothing of the suite.
"""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from probes.action import FilterReturn, Profile
from probes.files import SUITE
from probes.filters import bpf
from probes.tests.support import answers
from probes.tests.support.emitter import sharing_records
from probes.tests.support.machine import Machine, private_machine
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.tests.commands.test_gate import SHIPPED, X86
from reports.tests.support import job
from reports.tests.support.job import PATIENCE_SECONDS, environment

pytestmark = pytest.mark.skipif(not job.on_x86_64, reason="enters the ABIs of x86_64")

ACTS = {"kill": "terminates", "errno": "denies"}
REACHED = "the call reached the kernel"


@dataclass(frozen=True, slots=True)
class Gated:
    """What a gate said, and the record that it left."""

    lines: list[str]
    record: dict[str, Any]

    @property
    def first(self) -> str:
        """The first line."""
        return self.lines[0]

    def through(self, profile: str) -> dict[str, set[str]]:
        """The documented calls that reached the kernel, with the ABIs, by the record's cells."""
        found: dict[str, set[str]] = {}
        for cell in self.record["cells"]:
            if cell["claim"] == ACTS[profile] and cell["observed"].startswith(REACHED):
                found.setdefault(cell["syscall"], set()).add(cell["arch"])
        return found

    def calls(self, claim: str, *outcomes: str) -> set[str]:
        """The calls of which a claim came to one of some outcomes."""
        cells = [cell for cell in self.record["cells"] if cell["claim"] == claim]
        return {cell["syscall"] for cell in cells if cell["outcome"] in outcomes}


def gated(folder: Path, *words: str) -> Gated:
    """Runs the gate."""
    script = Path(sys.executable).parent / "syscall-conformance"
    with sharing_records():
        ended = subprocess.run(
            [str(script), "gate", *words, f"--report-dir={folder}", "-n", "2"],
            cwd=SUITE,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    return Gated(ended.stdout.splitlines(), json.loads((folder / "results.json").read_text()))


def check(found: Gated, profile: str) -> None:
    """Holds the numbers and names of the first line to the record's cells."""
    act = ACTS[profile]
    every = found.calls(act, "passed", "failed")
    through = found.through(profile)
    refused = len(every) - len(through)
    assert f"{refused or 'none'} of {len(every)} documented calls" in found.first
    told = re.search(r"(?:all )?(\d+) gets? through[ :(]", found.first)
    assert int(told[1] if told else 0) == len(through)
    if through and len(through) <= 8:
        assert all(call in found.first for call in through)
    blocked = found.calls("leaves the rest alone", "failed")
    told = re.search(
        r"(\d+) calls? that the document does not name (?:are|is) refused", found.first
    )
    assert int(told[1] if told else 0) == len(blocked)


# Runtimes' own profiles


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with the C program and nothing else."""
    made = tmp_path_factory.mktemp("root")
    made.chmod(0o755)
    for name in ("proc", "dev", "sys", "etc"):
        (made / name).mkdir()
    answers.program(made)
    return made


def of_runtime(machine: Machine, runtime: str, root: Path, folder: Path, profile: str) -> Gated:
    """Judges a container with the runtime's own profile."""
    wanted = machine.wanted(runtime, root)
    words = [wanted.subject, f"--runtime={runtime}", f"--profile={profile}"]
    if wanted.program.words:
        words.append(f"--runtime-command={shlex.join(wanted.program.words)}")
    if wanted.endpoint:
        words.append(f"--runtime-endpoint={wanted.endpoint}")
    return gated(folder, *words)


def program_says(machine: Machine, image: str) -> Mapping[str, str]:
    """What the C program gets to see in a container of docker's."""
    name = machine.run("docker", "run", "-d", image, f"/{answers.NAME}")
    try:
        until = time.monotonic() + answers.SECONDS
        while "\nend\n" not in (said := machine.run("docker", "logs", name) + "\n"):
            assert time.monotonic() < until, said
            time.sleep(0.2)
    finally:
        machine.run("docker", "rm", "-f", name)
    return dict(line.split() for line in said.splitlines() if len(line.split()) == 2)


@pytest.mark.containers
@pytest.mark.slow
@pytest.mark.parametrize("profile", ["kill", "errno"])
def test_dockers_own_profile(machine: Machine, root: Path, tmp_path: Path, profile: str) -> None:
    found = of_runtime(machine, "docker", root, tmp_path, profile)
    check(found, profile)
    by = ", but by EPERM instead of KILL_PROCESS;" if profile == "kill" else ","
    assert found.first.startswith(
        f"FAIL: ✗ 58 of 60 documented calls are refused{by} 2 get through: msgrcv, setsid"
        " (x86_64, x32, i386); "
    )
    if profile == "errno":
        free = answers.unconfined(root / answers.NAME, tmp_path)
        seen = program_says(machine, machine.subject("docker", root))
        through = found.through(profile)
        # Of these the kernel itself says something else than a filter that refuses.
        telling = {word for word, said in free.items() if said not in {"1", "38"}}
        assert len(telling) > 50
        for word in telling:
            abi, name = answers.calls()[word]
            assert (seen[word] == free[word]) == (abi.name in through.get(name, set())), word


@pytest.mark.containers
@pytest.mark.slow
def test_dockers_own_profile_against_log(machine: Machine, root: Path, tmp_path: Path) -> None:
    found = of_runtime(machine, "docker", root, tmp_path, "log")
    assert found.first.startswith(
        "FAIL: ✗ none of 60 documented calls runs and is recorded, 58 are answered by EPERM"
        " instead of LOG; 2 run and leave no record: msgrcv, setsid (x86_64, x32, i386); "
    )
    assert len(found.calls("runs", "failed")) == 58
    assert found.calls("is recorded", "failed") >= {"msgrcv", "setsid"}


@pytest.mark.containers
@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["podman", "containerd"])
def test_others_own_profiles(machine: Machine, root: Path, tmp_path: Path, runtime: str) -> None:
    """That of podman as Debian has it; ctr gives a container no filter at all."""
    found = of_runtime(machine, runtime, root, tmp_path, "errno")
    check(found, "errno")
    if runtime == "containerd":
        assert found.first.startswith("FAIL: ✗ none of 60 documented calls is refused, all 60 get")


# Wrong filters, in a sandbox that needs no daemon


def of_filter(tmp_path: Path, program: bytes, profile: str) -> Gated:
    """Judges a sandbox under a raw program."""
    root, file = tmp_path / "empty", tmp_path / "filter.bpf"
    root.mkdir()
    file.write_bytes(program)
    words = (str(root), "--runtime=bwrap", f"--profile={profile}")
    found = gated(tmp_path / "reports", *words, f"--seccomp={file}")
    check(found, profile)
    return found


def exported(profile: Profile, *, without: str = "", more: str = "") -> bytes:
    """The suite's own filter, of a policy that lacks a call, or has one more."""
    calls = [one for one in SHIPPED.calls if one.name != without]
    calls += [replace(calls[0], name=more)] if more else []
    made = allowlist.export(
        ExportRequest(replace(SHIPPED, calls=tuple(calls)), profile, X86), ExportFormat.BPF
    )
    assert isinstance(made, bytes)
    return made


@pytest.mark.containers
@pytest.mark.slow
def test_a_rule_that_was_dropped(tmp_path: Path) -> None:
    found = of_filter(tmp_path, exported(Profile.KILL, without="acct"), "kill")
    assert found.first == (
        "FAIL: ✗ 59 of 60 documented calls are refused, 1 gets through: acct (x86_64, x32, i386)"
    )


@pytest.mark.containers
@pytest.mark.slow
def test_a_filter_that_answers_enosys(tmp_path: Path) -> None:
    program = exported(Profile.ERRNO)
    eperm, enosys = (FilterReturn.parse(f"ERRNO({one})").value for one in ("EPERM", "ENOSYS"))
    changed = [
        replace(one, k=enosys) if one.code == bpf.RET_K and one.k == eperm else one
        for one in bpf.from_bytes(program)
    ]
    found = of_filter(tmp_path, bpf.to_bytes(tuple(changed)), "errno")
    assert found.first.startswith(
        "FAIL: ≠ 60 of 60 documented calls are refused, but by ENOSYS instead of EPERM; "
    )


@pytest.mark.containers
@pytest.mark.slow
def test_a_call_too_many(tmp_path: Path) -> None:
    found = of_filter(tmp_path, exported(Profile.ERRNO, more="getrandom"), "errno")
    assert found.first == (
        "FAIL: ⊘ 60 of 60 documented calls are refused as documented (x86_64, x32, i386); "
        "1 call that the document does not name is refused too: getrandom"
    )
