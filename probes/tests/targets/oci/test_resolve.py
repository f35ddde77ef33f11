"""What of a profile counts for a container, as Docker and Podman decide it."""

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.action import Action, FilterReturn
from probes.arch import ARCHES
from probes.errors import BadInputError
from probes.targets.oci import profile as oci_profile
from probes.targets.oci import resolve as oci_resolve
from probes.targets.oci.reader import Engine, newest_reader
from probes.targets.oci.resolve import Resolved, kernel_version

RULE: Mapping[str, Any] = {"names": ["acct"], "action": "SCMP_ACT_LOG"}
SMALLEST: Mapping[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW"}
CAPS = frozenset({"CAP_CHOWN", "CAP_KILL"})
KERNEL = (6, 1)


def resolve(
    directory: Path, content: object, engine: Engine = Engine.DOCKER, native: str = "x86_64"
) -> Resolved:
    path = directory / "profile.json"
    path.write_text(json.dumps(content))
    reader = newest_reader(engine)
    return oci_resolve.resolve(oci_profile.read(path), ARCHES[native], CAPS, KERNEL, reader)


def with_rule(**members: object) -> dict[str, Any]:
    return {**SMALLEST, "syscalls": [{**RULE, **members}]}


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_SYS_ADMIN"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_KILL"]}}, False),
        ({"includes": {"arches": ["amd64"]}}, True),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"arches": ["x32"]}}, False),
        ({"excludes": {"arches": ["arm64"]}}, True),
        ({"excludes": {"arches": ["arm64", "amd64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "5.19"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"includes": {"minKernel": "10.0"}}, False),
        ({"includes": {"minKernel": ""}}, True),
        ({"excludes": {"minKernel": "6.2"}}, True),
        ({"excludes": {"minKernel": "6.1"}}, False),
        ({"includes": {"caps": ["CAP_KILL"]}, "excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"includes": {"caps": ["CAP_KILL"], "arches": ["arm64"]}}, False),
        ({"includes": {"caps": ["CAP_NONSENSE"]}}, False),
        ({"excludes": {"caps": ["CAP_NONSENSE"]}}, True),
    ],
)
def test_includes_and_excludes(written: Mapping[str, Any], *, counts: bool, tmp_path: Path) -> None:
    assert bool(resolve(tmp_path, with_rule(**written)).rules) is counts


def test_podman_does_not_know_min_kernel(tmp_path: Path) -> None:
    for written in ({"includes": {"minKernel": "99.0"}}, {"excludes": {"minKernel": "3.0"}}):
        profile = with_rule(**written)
        assert resolve(tmp_path, profile, Engine.PODMAN).rules
        assert not resolve(tmp_path, profile).rules


@pytest.mark.parametrize(
    ("native", "word"),
    [
        ("aarch64", "arm64"),
        ("riscv64", "riscv64"),
        ("ppc64le", "ppc64le"),
        ("mips64el", "mipsel64"),
    ],
)
def test_arches_are_go_s_names(native: str, word: str, tmp_path: Path) -> None:
    profile = with_rule(includes={"arches": [word]})
    assert resolve(tmp_path, profile, native=native).rules
    assert not resolve(tmp_path, profile).rules


ARCH_MAP: Mapping[str, Any] = {
    **SMALLEST,
    "archMap": [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
        {
            "architecture": "SCMP_ARCH_X86_64",
            "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        },
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
    ],
}


def test_arch_map_gives_the_first_entry_of_the_native_architecture(tmp_path: Path) -> None:
    x86_64 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
    for engine in (Engine.DOCKER, Engine.PODMAN, Engine.CRI_O):
        assert resolve(tmp_path, ARCH_MAP, engine).architectures == x86_64
    assert resolve(tmp_path, ARCH_MAP, native="ppc64le").architectures == ()
    assert resolve(tmp_path, ARCH_MAP, native="riscv64").architectures == ("SCMP_ARCH_RISCV64",)
    assert resolve(tmp_path, ARCH_MAP, Engine.PODMAN, native="riscv64").architectures == ()


@pytest.mark.parametrize(
    ("default", "engine", "data"),
    [
        ({}, Engine.DOCKER, errno.EPERM),
        ({"defaultErrnoRet": 0}, Engine.DOCKER, 0),
        ({"defaultErrnoRet": 38}, Engine.DOCKER, 38),
        ({"defaultErrnoRet": 0x10026}, Engine.DOCKER, 38),
        ({"defaultErrno": "ENOSYS"}, Engine.DOCKER, errno.EPERM),
        ({"defaultErrno": "ENOSYS"}, Engine.PODMAN, errno.ENOSYS),
        ({"defaultErrno": "61"}, Engine.PODMAN, 61),
        ({"defaultErrno": "000"}, Engine.PODMAN, 0),
        ({"defaultErrno": "EPERM", "defaultErrnoRet": 38}, Engine.PODMAN, errno.EPERM),
    ],
)
def test_errnos_by_number_and_name(
    default: Mapping[str, Any], engine: Engine, data: int, tmp_path: Path
) -> None:
    of_rule = {key.replace("defaultE", "e"): value for key, value in default.items()}
    rule = {**RULE, "action": "SCMP_ACT_ERRNO", **of_rule}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", **default, "syscalls": [rule]}
    found = resolve(tmp_path, profile, engine)
    assert found.default == found.rules[0].returns == FilterReturn(Action.ERRNO, data)


def test_trace_takes_the_errno_as_its_message(tmp_path: Path) -> None:
    found = resolve(tmp_path, with_rule(action="SCMP_ACT_TRACE", errnoRet=0xFFFF))
    assert found.rules[0].returns == FilterReturn(Action.TRACE, 0xFFFF)


@pytest.mark.parametrize("action", ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "LOG", "ALLOW"])
def test_other_actions_have_no_data(action: str, tmp_path: Path) -> None:
    found = resolve(tmp_path, with_rule(action=f"SCMP_ACT_{action}", errnoRet=5))
    name = "KILL_THREAD" if action == "KILL" else action
    assert found.rules[0].returns == FilterReturn(Action[name])


REFUSED: Mapping[str, tuple[object, Engine, str]] = {
    "notify by default": (
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        Engine.DOCKER,
        "SCMP_ACT_NOTIFY cannot be the default action",
    ),
    "notify for write": (
        {**with_rule(names=["read", "write"], action="SCMP_ACT_NOTIFY"), "listenerPath": "/x"},
        Engine.DOCKER,
        r"syscalls\[0\] has SCMP_ACT_NOTIFY for write",
    ),
    "notify without a listener": (
        with_rule(action="SCMP_ACT_NOTIFY"),
        Engine.DOCKER,
        r"syscalls\[0\] has SCMP_ACT_NOTIFY, but the profile has no listenerPath",
    ),
    "an architecture that runc lacks": (
        {**SMALLEST, "architectures": ["SCMP_ARCH_PARISC"]},
        Engine.DOCKER,
        "runc 1.5.1 does not know the architecture SCMP_ARCH_PARISC",
    ),
    "an errno that is none": (
        {**SMALLEST, "defaultErrno": "ENONSENSE"},
        Engine.PODMAN,
        "defaultErrno is 'ENONSENSE', which is no errno",
    ),
    "an errno in small letters": (
        with_rule(errno="eperm"),
        Engine.PODMAN,
        r"syscalls\[0\].errno is 'eperm'",
    ),
    "an errno too large": (with_rule(errno="4096"), Engine.PODMAN, r"errno is '4096'"),
    "an errno of many digits": (with_rule(errno="9" * 9000), Engine.PODMAN, "which is no errno"),
    "an attribute that is no errno": (with_rule(errno="errorcode"), Engine.PODMAN, "is no errno"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    content, engine, words = REFUSED[name]
    with pytest.raises(BadInputError, match=words):
        resolve(tmp_path, content, engine)


def condition(index: int, operator: str, value: int) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value}


FOUND: Mapping[str, tuple[object, str]] = {
    "a capability that is none": (
        with_rule(includes={"caps": ["CAP_NONSENSE"]}),
        r"syscalls\[0\].includes names 'CAP_NONSENSE', which is no capability, so the rule never",
    ),
    "an excluded capability that is none": (
        with_rule(excludes={"caps": ["SYS_ADMIN"]}),
        "excludes names 'SYS_ADMIN', which is no capability, so this never keeps",
    ),
    "an architecture by another name": (
        with_rule(includes={"arches": ["x86_64"]}),
        "names 'x86_64', which is no native architecture, so the rule never counts",
    ),
    "one architecture of two": (
        with_rule(includes={"arches": ["x86_64", "amd64"]}),
        "names 'x86_64', which is no native architecture, so it does nothing",
    ),
    "two conditions on one argument": (
        with_rule(args=[condition(1, "GE", 5), condition(1, "LE", 9)]),
        r"syscalls\[0\] has several conditions on one argument",
    ),
    "a rule after an unconditional one": (
        {
            **SMALLEST,
            "syscalls": [
                RULE,
                {**RULE, "action": "SCMP_ACT_ERRNO", "args": [condition(0, "EQ", 1)]},
            ],
        },
        r"syscalls\[1\] does nothing for acct: it cannot be reached, and syscalls\[0\] matches",
    ),
    "a rule before an unconditional one": (
        {
            **SMALLEST,
            "syscalls": [
                {**RULE, "action": "SCMP_ACT_ERRNO", "args": [condition(0, "EQ", 1)]},
                RULE,
            ],
        },
        r"syscalls\[0\] does nothing for acct: it cannot be reached",
    ),
    "two unconditional ones": (
        {**SMALLEST, "syscalls": [RULE, {**RULE, "action": "SCMP_ACT_TRAP"}]},
        r"syscalls\[1\] does nothing for acct",
    ),
    "one with the default action": (
        {**SMALLEST, "syscalls": [RULE, {**RULE, "action": "SCMP_ACT_ALLOW"}]},
        r"syscalls\[1\] does nothing for acct: as it has the default action, runtimes leave it out",
    ),
    "the flag for records": (
        {**SMALLEST, "flags": ["SECCOMP_FILTER_FLAG_LOG"]},
        "Docker passes flags on only from version 23 on",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_findings(name: str, tmp_path: Path) -> None:
    content, words = FOUND[name]
    (finding,) = resolve(tmp_path, content).findings
    assert re.search(words, finding), finding


def test_a_good_profile_has_no_findings(tmp_path: Path) -> None:
    rules = [
        {**RULE, "includes": {"caps": ["CAP_SYS_PACCT"], "arches": ["amd64", "arm64"]}},
        {**RULE, "names": ["write"], "args": [condition(0, "EQ", 1), condition(1, "EQ", 1)]},
        {**RULE, "names": ["read"]},
        {**RULE, "names": ["read"]},
    ]
    assert resolve(tmp_path, {**SMALLEST, "syscalls": rules}).findings == ()


def test_a_bundle_is_taken_as_it_is(tmp_path: Path) -> None:
    rule = {**RULE, "includes": {"caps": ["CAP_SYS_ADMIN"]}}
    found = resolve(tmp_path, {"linux": {"seccomp": {**SMALLEST, "syscalls": [rule]}}})
    assert [each.name for each in found.rules] == ["acct"]
    (finding,) = found.findings
    assert "ignore the key 'includes'" in finding


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1", (6, 1)), ("6.1.0-18-amd64", (6, 1)), ("5.10.0+", (5, 10)), ("6.18-rc3", (6, 18))],
)
def test_kernel_releases(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


@pytest.mark.parametrize("release", ["", "6", "v6.1", "6.", "six.one", "\n6.1", "9999999999.1"])
def test_what_is_no_kernel_release(release: str) -> None:
    with pytest.raises(BadInputError, match="is no kernel release"):
        kernel_version(release)
