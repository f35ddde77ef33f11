"""What we compile of a profile is what runc, crun, docker and podman really install, byte for byte.

Two things differ and change nothing that a filter returns: Debian's runc and crun have libseccomp
build no search tree, and runc puts the architectures of its first part in the order of a Go map.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from probes.arch import ARCHES
from probes.errors import SuiteError
from probes.filters import bpf
from probes.filters.comparison import compare
from probes.runtimes import container
from probes.targets.oci import compiler
from probes.targets.oci.capability import DOCKER_CAPABILITIES, PODMAN_CAPABILITIES
from probes.targets.oci.installed import installed
from probes.targets.oci.profile import decode, load
from probes.targets.oci.reader import Engine, Reader, Runtime, newest
from probes.tests.runtimes.test_runtimes import CUSTOM, PROGRAM
from probes.tests.support.machine import PODMAN_PROFILE, Machine, need, static_root

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the programs are x86_64's"),
]

NATIVE: Final = ARCHES["x86_64"]
KERNEL: Final = compiler.kernel_version(os.uname().release)


def reader(engine: Engine, runtime: Runtime) -> Reader:
    """The releases that are installed here."""
    return Reader(*(installed(name) or newest(name) for name in (engine, runtime)))


def podmans_own() -> frozenset[str]:
    """What podman has built in, which counts where a containers.conf names nothing else.

    Docker's at first; since then the shorter list, which containers-common shows as a comment.
    """
    shown = Path("/usr/share/containers/containers.conf")
    text = shown.read_text(encoding="utf-8") if shown.exists() else ""
    return PODMAN_CAPABILITIES if "\n#default_capabilities" in text else DOCKER_CAPABILITIES


READERS: Final = {
    "runc": (frozenset[str](), reader(Engine.BUNDLE, Runtime.RUNC)),
    "crun": (frozenset[str](), reader(Engine.BUNDLE, Runtime.CRUN)),
    "docker": (DOCKER_CAPABILITIES, reader(Engine.DOCKER, Runtime.RUNC)),
    # The machine's containers.conf names none.
    "podman": (podmans_own(), reader(Engine.PODMAN, Runtime.CRUN)),
}
"""By runtime: its containers' capabilities, and who reads profiles."""

Json = Mapping[str, Any]


def rule(
    names: list[str], action: str, *conditions: tuple[int, str, int, int], **more: object
) -> Json:
    """A rule; a condition is index, operator, value, second value."""
    arguments = [
        {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}
        for index, operator, value, second in conditions
    ]
    return {"names": names, "action": f"SCMP_ACT_{action}", "args": arguments, **more}


_RARE: Final = [each["names"][0] for each in CUSTOM["syscalls"]]
DENYING: Json = {
    **CUSTOM,
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "syscalls": [
        *CUSTOM["syscalls"],
        rule([name for name in NATIVE.numbers if name not in _RARE], "ALLOW"),
        # Conditions on one argument: each becomes a rule of its own.
        rule(["bpf"], "ERRNO", (0, "EQ", 5, 0), (0, "EQ", 9, 0), (1, "GT", 4, 0), errnoRet=33),
        rule(["kcmp", "nonsense"], "KILL_PROCESS"),
    ],
}
"""Long enough for a search tree, with runc's part for newer calls, and names that nobody knows."""

NATIVE_ONLY: Json = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        rule(["acct"], "ERRNO"),
        rule(["add_key"], "ERRNO", errnoRet=0),
        rule(["quotactl"], "TRACE"),
        rule(["keyctl"], "ERRNO", (1, "EQ", 2, 0), (0, "EQ", 1, 0), errnoRet=0x10005),
        rule(["mincore"], "ERRNO", (2, "EQ", 1, 0), (2, "MASKED_EQ", 6, 4), errnoRet=6),
    ],
}

CIRCUMSTANCES: Json = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
    ],
    "syscalls": [
        rule(["acct"], "ERRNO", errnoRet=11, includes={"caps": ["CAP_SYS_PACCT"]}),
        rule(["kcmp"], "ERRNO", errnoRet=12, excludes={"caps": ["CAP_SYS_PTRACE"]}),
        rule(["vhangup"], "ERRNO", errnoRet=13, includes={"caps": ["CAP_CHOWN"]}),
        rule(["add_key"], "ERRNO", errnoRet=14, excludes={"caps": ["CAP_CHOWN"]}),
        rule(["quotactl"], "ERRNO", errnoRet=15, includes={"arches": ["amd64", "x32"]}),
        rule(["keyctl"], "ERRNO", errnoRet=16, includes={"arches": ["arm64"]}),
        rule(["lookup_dcookie"], "ERRNO", errnoRet=17, includes={"minKernel": "4.8"}),
        rule(["request_key"], "ERRNO", errnoRet=18, includes={"minKernel": "200.1"}),
        rule(["mincore"], "ERRNO", errnoRet=19, excludes={"minKernel": "4.8"}),
        {"name": "sysfs", "action": "SCMP_ACT_KILL"},
    ],
}
"""Docker's form: what counts depends on the container."""

BY_NAME: Json = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        rule(["acct"], "ERRNO", errno="ENOSYS"),
        rule(["kcmp"], "ERRNO", errno="EXDEV", errnoRet=5),
        rule(["vhangup"], "ERRNO", errno="61"),
    ],
}
"""containers-common's form."""

BY_BUNDLES: Final = {"custom": CUSTOM, "denying": DENYING, "native only": NATIVE_ONLY}
BY_ENGINES: Final = {**BY_BUNDLES, "circumstances": CIRCUMSTANCES, "errnos by name": BY_NAME}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


def harvested(machine: Machine, runtime: str, root: Path, profile: Json | None) -> bpf.Program:
    """The one filter of a container that really runs."""
    held = container.hold(machine.wanted(runtime, root, profile))
    (raw,) = held.first
    return bpf.from_bytes(raw)


def ours(runtime: str, path: Path, *, enosys_stub: bool) -> bpf.Program:
    capabilities, reads = READERS[runtime]
    profile = decode(load(path), reads.dialect)
    resolved = compiler.resolve(profile, NATIVE, capabilities, KERNEL, reads)
    (program,) = compiler.compile(resolved, enosys_stub=enosys_stub).programs
    return program


def check(runtime: str, found: bpf.Program, path: Path) -> None:
    """Holds a harvested program against what we compile."""
    stub = READERS[runtime][1].has_stub
    for_all = compare([found], [ours(runtime, path, enosys_stub=stub)])
    assert for_all.exact
    assert for_all.differing == frozenset()
    # Of many rules newer runtimes have libseccomp make a search tree (SCMP_FLTATR_CTL_OPTIMIZE).
    forms = [_laid_out(runtime, path, many) for many in (1 << 30, -1)]
    assert any(found[-len(form) :] == form for form in forms)
    if not stub:
        assert found in forms


def _laid_out(runtime: str, path: Path, many: int) -> bpf.Program:
    """What we compile without a stub, as a search tree beyond so many rules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_MANY_RULES", many)
        return ours(runtime, path, enosys_stub=False)


CASES: Final = [
    *((runtime, name) for runtime in ("runc", "crun") for name in BY_BUNDLES),
    *((runtime, name) for runtime in ("docker", "podman") for name in BY_ENGINES),
]


@pytest.mark.parametrize(("runtime", "name"), CASES)
def test_a_profile_compiles_to_what_is_installed(
    runtime: str, name: str, machine: Machine, root: Path
) -> None:
    need(runtime)
    profile = BY_ENGINES[name]
    found = harvested(machine, runtime, root, profile)
    content = {"linux": {"seccomp": profile}} if runtime in {"runc", "crun"} else profile
    check(runtime, found, machine.file(content))


def test_debian_s_own_profile_compiles_to_what_podman_installs(
    machine: Machine, root: Path
) -> None:
    need("podman")
    found = harvested(machine, "podman", root, None)
    assert len(found) > 500
    check("podman", found, Path(PODMAN_PROFILE))


REFUSED: Final[Mapping[str, Json]] = {
    "an action that is none": {"defaultAction": "SCMP_ACT_NONSENSE"},
    "an operator that is none": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule(["acct"], "ERRNO", (0, "NONSENSE", 0, 0))],
    },
    "an architecture that is none": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_NONSENSE"],
        "syscalls": [rule(["acct"], "ERRNO")],
    },
    "an architecture that runc lacks": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_PARISC"],
        "syscalls": [rule(["acct"], "ERRNO")],
    },
    "another byte order": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_S390X"],
        "syscalls": [rule(["acct"], "ERRNO")],
    },
    "notify by default": {
        "defaultAction": "SCMP_ACT_NOTIFY",
        "syscalls": [rule(["acct"], "ERRNO")],
    },
    "notify without a listener": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule(["acct"], "NOTIFY")],
    },
    "an empty name": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule([""], "ERRNO")],
    },
    "an errno too large": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule(["acct"], "ERRNO", errnoRet=4096)],
    },
    "a contradiction": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            rule(["acct"], "ERRNO", (0, "EQ", 1, 0), errnoRet=3),
            rule(["acct"], "ERRNO", (0, "EQ", 1, 0), errnoRet=4),
        ],
    },
    "a seventh argument": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule(["acct"], "ERRNO", (6, "EQ", 1, 0))],
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_runc_refuses_what_we_refuse(name: str, machine: Machine, root: Path) -> None:
    need("runc")
    profile = REFUSED[name]
    with pytest.raises(SuiteError):
        ours("runc", machine.file({"linux": {"seccomp": profile}}), enosys_stub=True)
    with pytest.raises(SuiteError):
        harvested(machine, "runc", root, profile)
