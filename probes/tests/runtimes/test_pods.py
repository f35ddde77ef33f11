"""Pods and containers that the suite starts by CRI and by ctr: which filter each of them gets."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from probes.cri import client
from probes.cri.client import Client
from probes.errors import BadInputError, ExitStatus
from probes.filters.comparison import compare
from probes.runtimes import container
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.wanted import Start, Wanted
from probes.targets import oci_file
from probes.targets import started_container as target
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime, release
from probes.targets.stack import FilterStack
from probes.targets.threads import native
from probes.tests.support import containerd_daemon
from probes.tests.support.machine import Machine, need, static_root
from probes.tests.support.oracles import require
from probes.tests.support.releases import release_machine, unless_asked_for

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="starts programs of x86_64"),
]

PROGRAM = "int main(void) { return 7; }"

Json = Mapping[str, Any]

SMALL: Final[Json] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


def loaded(machine: Machine, root: Path, *words: str, profile: Json | None = None) -> FilterStack:
    need("cri")
    return target.load(machine.wanted("cri", root, profile, *words))


def sizes(found: FilterStack) -> list[int]:
    """How many filters each stack has, and how long these are."""
    return [sum(map(len, one.programs)) for one in found.members]


# What containerd has for its default profile is longer than any other here.
NOTHING, SHORT, LONG = 0, 20, 10_000
FIELDS: Final[Mapping[str, tuple[tuple[str, ...], list[str], str]]] = {
    "nothing is said": ((), ["default"], "containerd's default profile"),
    "the pod's alone": (("--pod-seccomp=RuntimeDefault",), ["default"], "default profile"),
    "the container's wins": (
        ("--pod-seccomp=RuntimeDefault", "--container-seccomp=Unconfined"),
        ["none"],
        "no seccomp profile",
    ),
    "the pod's is Unconfined": (
        ("--pod-seccomp=Unconfined", "--seccomp-default"),
        ["none"],
        "no seccomp profile",
    ),
    "seccompDefault": (("--seccomp-default",), ["default"], "default profile"),
    "a bare client": (
        ("--pod-seccomp=RuntimeDefault", "--bare", "--pause"),
        ["none", "default"],
        "no seccomp profile",
    ),
    "a bare client says nothing": (("--bare", "--pause"), ["none"], "no seccomp profile"),
    "the pause container": (
        ("--container-seccomp=Unconfined", "--pause"),
        ["none", "default"],
        "no seccomp profile",
    ),
    "privileged": (("--privileged",), ["none"], "no seccomp profile (--privileged)"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_pod_gets(name: str, machine: Machine, root: Path) -> None:
    """As the kubelet would have it, unless a bare client is asked for: the kernel tells."""
    words, kinds, profile = FIELDS[name]
    found = loaded(machine, root, *words)
    assert ["none" if size == 0 else "default" for size in sizes(found)] == kinds
    assert profile in found.description


def test_a_pod_s_own_file(machine: Machine, root: Path) -> None:
    path = machine.file(SMALL)
    found = loaded(machine, root, f"--pod-seccomp=Localhost={path}")
    assert 0 < sizes(found)[0] < 40
    assert found.description.endswith(f"with {path.name}")
    (note,) = [one.text for one in found.findings if "the kubelet merges" in one.text]
    assert "would confine the pause container alone" in note


def test_the_pause_container_is_spoken_of(machine: Machine, root: Path) -> None:
    found = loaded(machine, root, profile=SMALL)
    assert any("--runtime-arg=--pause has it count" in one.text for one in found.findings)
    with_it = loaded(machine, root, "--pause", profile=SMALL)
    assert "the pause container" in with_it.members[1].description
    assert sizes(with_it)[1] > 100 > sizes(with_it)[0]


DOCKERS: Final[Json] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    ],
    "syscalls": [
        {"names": ["acct", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {
            "names": ["bpf"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 2,
            "includes": {"caps": ["CAP_SYS_ADMIN"]},
        },
        {"names": ["setns"], "action": "SCMP_ACT_ERRNO", "excludes": {"minKernel": "9.0"}},
    ],
}
"""In Docker's form: containerd knows neither conditions nor ``archMap``."""


@pytest.mark.parametrize("runtime", ["containerd", "cri"])
def test_a_profile_in_dockers_form_is_read_as_containerd_reads_it(
    runtime: str, machine: Machine, root: Path
) -> None:
    need(runtime)
    wanted = machine.wanted(runtime, root, DOCKERS)
    assert wanted.seccomp is not None
    found = target.load(wanted)
    read = reading(wanted.seccomp, Engine.CONTAINERD)
    assert not compare(found.programs, read.programs, big_endian=False).differing
    # The two ways to read the file do differ, so that this can fail.
    others = reading(wanted.seccomp, Engine.DOCKER)
    assert compare(found.programs, others.programs, big_endian=False).differing


def reading(
    path: Path, engine: Engine | Release, runtime: Runtime | Release | None = None
) -> FilterStack:
    """What the target ``oci:FILE`` makes of a file under an engine."""
    return oci_file.load(
        (path,),
        oci_file.ProfiledContainer(native(), frozenset(), (6, 0)),
        AskedReaders(engine, runtime),
        lambda: oci_file.Document((), (native(),)),
    )


RELEASES: Final = {"trixie": ("1.7.24", "1.1.15"), "sid": ("2.1.9", "1.3.6")}


@pytest.mark.parametrize(
    "suite", [pytest.param(one, marks=unless_asked_for(one)) for one in RELEASES]
)
def test_containers_of_another_release(
    suite: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod and a container of ctr get what ``oci:FILE`` makes of the file for these releases."""
    with release_machine(suite, "containerd", "runc") as other:
        monkeypatch.setattr(tempfile, "tempdir", str(other.folder))  # its daemon sees no other
        pause = containerd_daemon.pause_root(tmp_path, require("gcc", "gcc libc6-dev"))
        daemon = containerd_daemon.started(other.words, other.folder, "/run/own", pause)
        daemon.add_image("syscall-conformance.test/one:1", root, "/program")
        path = other.folder / "profile.json"
        path.write_text(json.dumps(DOCKERS))
        engine, runtime = RELEASES[suite]
        read = reading(
            path,
            release("engine", Engine.CONTAINERD, engine),
            release("runtime", Runtime.RUNC, runtime),
        )
        there = other.folder / "root"
        shutil.copytree(root, there)
        ways = {
            "cri": ("syscall-conformance.test/one:1", ()),
            "containerd": (str(there), other.words("ctr")),
        }
        for kind, (subject, command) in ways.items():
            start = Start(path, command=command, endpoint=daemon.endpoint)
            found = target.load(start.wanted(kind, subject))
            assert not compare(found.programs, read.programs, big_endian=False).differing
            assert found.origin is not None
            assert found.origin.version.startswith(engine)
        bare = Start(
            None, ("--pod-seccomp=RuntimeDefault", "--bare", "--pause"), (), daemon.endpoint
        )
        assert [size > 0 for size in sizes(target.load(bare.wanted("cri", ways["cri"][0])))] == [
            False,
            True,
        ]
        nonsense = other.folder / "nonsense.json"
        nonsense.write_text('{"defaultAction": "SCMP_ACT_NONSENSE"}')
        for kind, (subject, command) in ways.items():
            start = Start(nonsense, command=command, endpoint=daemon.endpoint)
            assert "it refuses the seccomp profile" in refusal(start.wanted(kind, subject))
        assert daemon.left() == {}
        daemon.end()


def refusal(wanted: Wanted) -> str:
    with pytest.raises(BadInputError) as caught:
        container.hold(wanted)
    assert caught.value.exit_status is ExitStatus.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_image_that_is_not_there(machine: Machine, root: Path) -> None:
    need("cri")
    wanted = replace(machine.wanted("cri", root), subject="127.0.0.1:1/no/such:1")
    sentence = refusal(wanted)
    assert "127.0.0.1:1/no/such:1: the runtime has no such image and cannot fetch it" in sentence
    assert machine.containerd.left() == {}


def test_an_image_that_ctr_does_not_have(machine: Machine, root: Path) -> None:
    need("containerd")
    wanted = replace(machine.wanted("containerd", root), subject="localhost/no/such:1")
    sentence = refusal(wanted)
    assert "there is no such image: check its name" in sentence
    assert machine.containerd.left() == {}


@pytest.mark.parametrize("runtime", ["containerd", "cri"])
def test_a_profile_that_is_refused(runtime: str, machine: Machine, root: Path) -> None:
    need(runtime)
    sentence = refusal(machine.wanted(runtime, root, {"defaultAction": "SCMP_ACT_NONSENSE"}))
    assert "it refuses the seccomp profile" in sentence
    assert machine.containerd.left() == {}


def test_a_pod_that_somebody_ends_meanwhile(
    machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubelet removes pods that it does not know."""
    need("cri")
    wanted = machine.wanted("cri", root)
    start = Client.start

    def removed_first(asked: Client, identifier: str) -> None:
        for one in asked.sandboxes():
            asked.remove_sandbox(one.id)
        start(asked, identifier)

    monkeypatch.setattr(client.Client, "start", removed_first)
    sentence = refusal(wanted)
    assert sentence.startswith(
        "cri: somebody has ended the pod meanwhile, as the kubelet of a node"
    )
    assert machine.containerd.left() == {}


def test_a_socket_that_is_not_there(machine: Machine, root: Path) -> None:
    need("cri")
    wanted = replace(machine.wanted("cri", root), endpoint="unix:///run/none.sock")
    assert refusal(wanted).startswith("/run/none.sock: there is no such socket")


def test_a_socket_that_ctr_does_not_reach(machine: Machine, root: Path) -> None:
    need("containerd")
    words = (*machine.words("ctr"), "--connect-timeout", "1s")
    wanted = replace(
        machine.wanted("containerd", root),
        endpoint="unix:///run/none.sock",
        program=RuntimeCommand("containerd", words),
    )
    sentence = refusal(wanted)
    assert "its daemon cannot be reached: start it, or say where it is (--runtime-end" in sentence


@pytest.mark.parametrize("said", ["", "unix:///run/none.sock"])
def test_a_socket_that_is_not_there_for_ctr(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself ctr would wait for it."""
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/run/none.sock")
    sentence = refusal(Start(endpoint=said).wanted("containerd", "image"))
    assert sentence.startswith("/run/none.sock: there is no such socket: start the runtime")


def test_no_control_group_is_left(machine: Machine, root: Path) -> None:
    for runtime in ("containerd", "cri"):
        need(runtime)
        container.hold(machine.wanted(runtime, root))
    groups = machine.run("find", "/sys/fs/cgroup", "-type", "d")
    assert "syscall-conformance-" not in groups
    assert machine.containerd.left() == {}


REFUSED: Final[Mapping[tuple[str, ...], str]] = {
    ("--pod-seccomp=Nonsense",): "--pod-seccomp=Nonsense: no such profile",
    ("--container-seccomp=RuntimeDefault",): "--seccomp is the container's profile already",
    ("--network=bridge",): "--network=bridge: a pod has the node's network",
    ("--pod-secomp=RuntimeDefault",): r"no such word about a pod (did you mean pod-seccomp?)",
    ("--pause=yes",): "--pause=yes: takes no value",
    ("--cgroup-parent",): "--cgroup-parent: a value is missing behind it",
    ("word",): "this word is no option",
    ("--pod-seccomp=Localhost=/no/such.json",): "/no/such.json: a seccomp profile cannot be read",
}


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: words[0])
def test_words_about_a_pod_that_mean_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    """It is said before any runtime is asked."""
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(SMALL))
    given = ("--bare", *words) if "Localhost" in words[0] else words
    sentence = refusal(Start(profile, given).wanted("cri", "image"))
    assert REFUSED[words] in sentence


OF_CTR: Final[Mapping[tuple[str, ...], str]] = {
    ("--seccomp-profile", "x"): "give the profile by --seccomp",
    ("--rootfs",): "whether it is a root file system is seen by what stands in the target",
    ("--config=x",): "judge it by the runtime runc or crun",
}


@pytest.mark.parametrize("words", OF_CTR, ids=lambda words: words[0])
def test_words_for_ctr_that_are_in_the_way(words: tuple[str, ...]) -> None:
    assert OF_CTR[words] in refusal(Start(None, words).wanted("containerd", "image"))


def test_a_bundle_is_nothing_for_ctr(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    sentence = refusal(Start().wanted("containerd", str(tmp_path)))
    assert "ctr would take the profile of a bundle's config.json alone" in sentence


def test_options_that_a_runtime_has_not() -> None:
    with pytest.raises(BadInputError, match="cri is no program but a socket"):
        Start(command=("crictl",)).wanted("cri", "image")
    with pytest.raises(BadInputError, match="docker is started as a program, and only containerd"):
        Start(endpoint="/run/x").wanted("docker", "image")
    assert Start().wanted("containerd", "x").program == RuntimeCommand("containerd", ("ctr",))
