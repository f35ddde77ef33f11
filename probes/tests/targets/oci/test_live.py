"""What each reader makes of a profile, held against the reader itself, as it is installed here.

A container that really runs makes the calls: where our reading denies one, the errno must be the
rule's own, which nothing else returns; where it does not, it must be another. CRI-O, which Debian
has not, is held against nothing here: it reads with the same package as Podman.
"""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from probes.action import Action, FilterReturn
from probes.arch import ARCHES
from probes.errors import SuiteError
from probes.filters import bpf
from probes.filters.bpf import SeccompData, statement
from probes.finding import Weight
from probes.runtimes import container
from probes.targets.oci import compiler
from probes.targets.oci.capability import DOCKER_CAPABILITIES
from probes.targets.oci.installed import installed
from probes.targets.oci.reader import AskedReaders, Engine, Runtime
from probes.targets.oci_file import Document, ProfiledContainer, load
from probes.targets.stack import FilterStack
from probes.tests.support.emitter import wait_for
from probes.tests.support.machine import START_SECONDS, Machine, bundle, need, static_root
from probes.tests.support.oracles import require

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's"),
]

NATIVE: Final = ARCHES["x86_64"]
CALLS: Final = ("acct", "kcmp", "vhangup", "add_key", "keyctl", "mount", "bpf", "sysfs", "quotactl")
"""Made with arguments that nothing comes of; none of them answers what the rules answer."""

BEYOND: Final = 100_000
"""A number that no kernel knows and no profile names."""

PROGRAM: Final = """\
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		errno = 0;
		syscall(strtoul(argv[i], NULL, 0), -1L, -1L, -1L, -1L, -1L, -1L);
		printf("%s %d\\n", argv[i], errno);
	}
	return 0;
}
"""

Json = Mapping[str, Any]


def rule(name: str, code: int, **members: object) -> Json:
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": code, **members}


def numbers() -> dict[str, int]:
    found = {name: NATIVE.numbers[name] for name in CALLS}
    return {**found, "beyond": BEYOND}


FORMS: Final[Mapping[str, bytes]] = {
    name: json.dumps(content).encode()
    for name, content in {
        "circumstances": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
            ],
            "syscalls": [
                rule("acct", 41, includes={"caps": ["CAP_SYS_ADMIN"]}),
                rule("kcmp", 42, excludes={"caps": ["CAP_CHOWN"]}),
                rule("vhangup", 43, includes={"arches": ["s390x"]}),
                rule("add_key", 44, includes={"minKernel": "99.0"}),
                rule("keyctl", 45, excludes={"minKernel": "3.0"}),
                rule("mount", 46, includes={"caps": ["CAP_CHOWN"]}),
            ],
        },
        "the old form": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"name": "acct", "action": "SCMP_ACT_ERRNO", "errnoRet": 41},
                rule("mount", 46),
            ],
        },
        "capitals": {
            "DefaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"NAMES": ["acct"], "action": "SCMP_ACT_ERRNO", "ErrnoRet": 41},
                rule("mount", 46),
            ],
        },
        "errnos": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errno": "ENOTSOCK"},
                rule("bpf", 47, errno="ENOPROTOOPT"),
            ],
        },
    }.items()
} | {
    "an errno that Podman lacks": json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errno": "EINTR"}],
        }
    ).encode(),
    "a doubled comment": (
        b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "errnoRet": 41,'
        b' "action": "SCMP_ACT_ERRNO", "comment": "one", "comment": "two"}]}'
    ),
}

# A container needs most calls to start, so these allow all but the few that are asked about.
DENYING: Final = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 48,
    "syscalls": [
        {
            "names": [name for name in NATIVE.numbers if name not in CALLS],
            "action": "SCMP_ACT_ALLOW",
        }
    ],
}
_ALL: Final = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
DEFAULTS: Final[Mapping[str, bytes]] = {
    "no architectures": json.dumps(DENYING).encode(),
    "all architectures": json.dumps({**DENYING, "architectures": _ALL}).encode(),
    "a foreign architecture": json.dumps({**DENYING, "architectures": _ALL[1:2]}).encode(),
}
PROFILES: Final = {**FORMS, **DEFAULTS}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


def reading(path: Path, asked: AskedReaders) -> FilterStack:
    kernel = compiler.kernel_version(os.uname().release)
    document = Document(CALLS, (NATIVE,))
    return load(
        [path], ProfiledContainer(NATIVE, DOCKER_CAPABILITIES, kernel), asked, lambda: document
    )


def predicted(found: FilterStack) -> dict[str, FilterReturn]:
    (program,) = found.programs
    every = (bpf.U32 << 32 | bpf.U32,) * 6
    return {
        name: FilterReturn.decode(
            bpf.simulate(program, SeccompData(number, NATIVE.audit_arch, every))
        )
        for name, number in numbers().items()
    }


def check(found: FilterStack, said: str) -> None:
    """Holds what a container's program saw against what our reading foretells."""
    seen = dict(line.split() for line in said.splitlines())
    for name, returns in predicted(found).items():
        errno = int(seen[str(numbers()[name])])
        if returns.action is Action.ERRNO:
            assert errno == returns.data, (name, said)
        else:
            assert returns.action is Action.ALLOW
            assert not 41 <= errno <= 94, (name, said)


def hold(run: Callable[[Path], str], path: Path, asked: AskedReaders) -> None:
    """Holds a reader against our reading; where we refuse, it must start no container."""
    try:
        found = reading(path, asked)
    except SuiteError:
        with pytest.raises(AssertionError):
            run(path)
    else:
        check(found, run(path))


def arguments() -> list[str]:
    return [str(number) for number in numbers().values()]


Engines = Callable[[Path], str]


def by_docker(machine: Machine, root: Path) -> Engines:
    return _by_engine(machine, root, "docker")


def by_podman(machine: Machine, root: Path) -> Engines:
    return _by_engine(machine, root, "podman")


def _by_engine(machine: Machine, root: Path, engine: str) -> Engines:
    machine.wanted(engine, root)  # ends the test where there is no such engine
    image = machine.subject(engine, root)
    options = ("--rm", "--network=none", f"--cgroup-parent=/{machine.name}")

    def run(path: Path) -> str:
        seccomp = ("--security-opt", f"seccomp={path}")
        return machine.run(engine, "run", *options, *seccomp, image, "/program", *arguments())

    return run


@pytest.fixture(scope="module")
def containerd(machine: Machine, root: Path) -> Iterator[Engines]:
    """containerd, with the client that comes with it."""
    for tool in ("containerd", "ctr", "runc"):
        require(tool, "docker.io")
    socket = "/run/own-containerd.sock"
    folders = ("--root", "/run/own-containerd/root", "--state", "/run/own-containerd/state")
    daemon = subprocess.Popen(
        machine.words("containerd", *folders, "--address", socket, "--log-level", "error"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ctr = ("ctr", "--address", socket)

    def answers() -> bool:
        tried = subprocess.run(
            machine.words(*ctr, "version"), capture_output=True, timeout=20, check=False
        )
        return tried.returncode == 0

    runs = iter(range(1_000))

    def run(path: Path) -> str:
        name = f"{machine.name}-{next(runs)}"
        options = ("--rm", "--rootfs", "--cgroup", f"/{machine.name}/{name}")
        seccomp = ("--seccomp", "--seccomp-profile", str(path))
        words = (*ctr, "run", *options, *seccomp, str(root), name, "/program", *arguments())
        return machine.run(*words)

    try:
        wait_for(answers, "containerd does not answer", START_SECONDS)
        yield run
    finally:
        daemon.terminate()
        daemon.wait(START_SECONDS)


def by_runtime(machine: Machine, root: Path, runtime: str) -> Engines:
    """A runtime with the profile in its bundle; there is no terminal, and so it may print."""
    need(runtime)
    runs = iter(range(1_000))

    def run(path: Path) -> str:
        text = path.read_text()
        made = machine.folder / f"{path.name}-{runtime}-{next(runs)}"
        made.mkdir()
        bundle(made, root)
        configuration = json.loads((made / "config.json").read_text())
        process = {**configuration["process"], "terminal": False}
        process["args"] = ["/program", *arguments()]
        whole = json.dumps({**configuration, "process": process})
        # As it is written: twice the same key would not survive a decoder.
        (made / "config.json").write_text(
            whole.replace('"linux": {', f'"linux": {{"seccomp": {text}, ')
        )
        own = ("--cgroup-manager=disabled",) if runtime == "crun" else ()
        name = f"{machine.name}-{made.name}"
        return machine.run(runtime, *own, "run", "--bundle", str(made), name)

    return run


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("engine", [Engine.DOCKER, Engine.PODMAN])
def test_what_an_engine_makes_of_a_profile(
    engine: Engine, name: str, machine: Machine, root: Path
) -> None:
    path = machine.file(PROFILES[name])
    run = {Engine.DOCKER: by_docker, Engine.PODMAN: by_podman}[engine](machine, root)
    hold(run, path, AskedReaders(engine))


@pytest.mark.parametrize("name", PROFILES)
def test_what_containerd_makes_of_a_profile(
    name: str, machine: Machine, containerd: Engines
) -> None:
    path = machine.file(PROFILES[name])
    hold(containerd, path, AskedReaders(Engine.CONTAINERD))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("runtime", Runtime)
def test_what_a_runtime_makes_of_a_profile(
    runtime: Runtime, name: str, machine: Machine, root: Path
) -> None:
    path = machine.file(PROFILES[name])
    hold(by_runtime(machine, root, runtime), path, AskedReaders(Engine.BUNDLE, runtime))


@pytest.mark.parametrize("name", FORMS)
def test_these_profiles_tell_readers_apart(name: str, machine: Machine) -> None:
    found = reading(machine.file(FORMS[name]), AskedReaders())
    undecided = [one for one in found.findings if one.weight is Weight.LIMITS]
    # A reader that starts no container with a profile disagrees with nobody.
    refused = {"capitals", "an errno that Podman lacks"}
    assert bool(undecided) is (name not in {"a doubled comment", *refused})
    assert any("no container starts" in str(one) for one in found.findings) is (
        name in {"the old form", *refused}
    )


ALLOWING: Final = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [rule("acct", 41), rule("nonsense", 42)],
}
RAW: Final = (
    statement(bpf.LD_ABS, bpf.OFFSET_NR),
    bpf.jump(bpf.JEQ, NATIVE.numbers["mount"], 0, 1),
    statement(bpf.RET_K, FilterReturn(Action.ERRNO, 46).value),
    statement(bpf.RET_K, FilterReturn(Action.ALLOW).value),
)
ENCODED: Final = base64.b64encode(bpf.to_bytes(RAW)).decode()
ANNOTATIONS: Final[Mapping[str, Json]] = {
    "a program": {"_bpf_data": ENCODED},
    "a program and half an instruction": {
        "_bpf_data": base64.b64encode(bpf.to_bytes(RAW) + b"1234").decode()
    },
    "a program in lines": {"_bpf_data": f"{ENCODED[:8]}\n{ENCODED[8:]}\n"},
    "no base64": {"_bpf_data": "%%%"},
    "nothing": {"_bpf_data": ""},
    "unknown calls": {"_fail_unknown_syscall": "1"},
    "not unknown calls": {"_fail_unknown_syscall": "0"},
    "unknown calls that do not count": {"_fail_unknown_syscall": "1", "_bpf_data": ENCODED},
}


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("profile", [ALLOWING, None], ids=["beside a profile", "alone"])
def test_what_a_runtime_makes_of_annotations(
    runtime: Runtime, profile: Json | None, name: str, machine: Machine, root: Path
) -> None:
    need(runtime)
    annotations = {f"run.oci.seccomp{key}": value for key, value in ANNOTATIONS[name].items()}
    made = bundle(Path(tempfile.mkdtemp(dir=machine.folder)), root, profile)
    path = made / "config.json"
    content = {**json.loads(path.read_text()), "annotations": annotations}
    path.write_text(json.dumps(content))
    wanted = replace(machine.wanted(runtime, root), subject=str(made))
    try:
        found = reading(path, AskedReaders(runtime=runtime))
    except SuiteError as error:
        if "nothing confines" in str(error):
            assert container.hold(wanted).first == ()
            return
        with pytest.raises(SuiteError):
            container.hold(wanted)
        return
    (raw,) = container.hold(wanted).first
    (program,) = found.programs
    assert bpf.from_bytes(raw) == program


def test_the_installed_releases_are_those_that_say_so() -> None:
    for name in (Engine.DOCKER, Engine.PODMAN, Engine.CONTAINERD, Runtime.RUNC, Runtime.CRUN):
        found = installed(name)
        assert found is None or found.version
