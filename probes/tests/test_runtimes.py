"""Containers that really run: what their filters are harvested as is what the kernel does.

The profiles are Debian's own (docker.io's built-in one, containers-common's), and one of ours
with every action and operator. The kernel is asked by replaying the harvested programs.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from probes import harvest
from probes.arch import ARCHES, Arch
from probes.instrument import Call, Zygote
from probes.targets import process
from probes.tests import runtimes
from probes.verdict import Effect

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts containers"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

Rule = dict[str, Any]

ABIS = (ARCHES["x86_64"], ARCHES["x32"], ARCHES["i386"])
every_runtime = pytest.mark.parametrize("runtime", runtimes.RUNTIMES)


def rule(name: str, action: str, *conditions: tuple[int, str, int, int], **more: int) -> Rule:
    """A rule of an OCI profile; a condition is index, operator, value, second value."""
    arguments = [
        {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}
        for index, operator, value, second in conditions
    ]
    return {"names": [name], "action": f"SCMP_ACT_{action}", "args": arguments, **more}


CUSTOM: Mapping[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        rule("acct", "ERRNO", errnoRet=errno.EIO),
        rule("kcmp", "KILL_PROCESS"),
        rule("vhangup", "KILL"),
        rule("add_key", "TRAP"),
        rule("lookup_dcookie", "LOG"),
        rule("quotactl", "TRACE", errnoRet=7),
        rule("getpriority", "ERRNO", (0, "NE", 1, 0), errnoRet=21),
        rule("setpriority", "ERRNO", (0, "LT", 1 << 31, 0), errnoRet=22),
        rule("sched_getparam", "ERRNO", (0, "LE", 1 << 32, 0), errnoRet=23),
        rule("sched_setparam", "ERRNO", (0, "EQ", (1 << 32) + 1, 0), errnoRet=24),
        rule("getrusage", "ERRNO", (0, "GE", 1 << 32, 0), errnoRet=25),
        rule("mincore", "ERRNO", (0, "GT", (1 << 32) - 1, 0), errnoRet=26),
        rule("personality", "ERRNO", (0, "MASKED_EQ", 1 << 63 | 1, 1), errnoRet=27),
        rule("keyctl", "ERRNO", (0, "EQ", 1, 0), (3, "GE", 2, 0), errnoRet=28),
    ],
}
"""Nothing that a container needs to start: the runtimes go on under it until execve(2)."""

CONDITIONAL = [entry["names"][0] for entry in CUSTOM["syscalls"] if entry["args"]]
VALUES = (0, 1, 2, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1)


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture(scope="module")
def podmans_default(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """containers-common's profile as podman resolves it for a runtime that has none of its own."""
    runtimes.need("podman")
    directory = tmp_path_factory.mktemp("podman")
    with runtimes.running("podman", directory):
        configuration = runtimes.configuration(directory)
    found: Mapping[str, Any] = configuration["linux"]["seccomp"]
    return found


@every_runtime
def test_every_number_under_the_default_profile(
    runtime: str, prober: Zygote, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    runtimes.need(runtime)
    by_itself = runtime in {"docker", "podman"}
    profile = None if by_itself else request.getfixturevalue("podmans_default")

    with runtimes.running(runtime, tmp_path, profile) as pid:
        found = harvest.filters_of(pid)

    (thread,) = found.threads
    for arch in ABIS:
        calls = [Call(number) for number in runtimes.numbers_of(arch)]
        compared = runtimes.replay(prober, arch, thread.programs, calls)
        assert compared.mismatches == ()
        assert compared.asked > len(arch.numbers)
        # An allowlist that is really there: neither all of them nor none get through.
        assert compared.effects[Effect.REACHED] > 200
        assert compared.effects[Effect.REFUSED] > 20
        assert set(compared.effects) == {Effect.REACHED, Effect.REFUSED}


@every_runtime
def test_every_action_and_operator_of_a_custom_profile(
    runtime: str, prober: Zygote, tmp_path: Path
) -> None:
    runtimes.need(runtime)

    with runtimes.running(runtime, tmp_path, CUSTOM) as pid:
        found = process.load(pid)
        programs = harvest.filters_of(pid).threads[0].programs

    assert found.description.startswith(f"process {pid} (sc-")
    assert found.findings == ()
    for arch in ABIS:
        compared = runtimes.replay(prober, arch, programs, list(_calls(arch)))
        assert compared.mismatches == ()
        assert compared.effects[Effect.KILLED_PROCESS] == len(VICTIMS)
        assert compared.effects[Effect.TRAPPED] == 1
        assert compared.effects[Effect.REFUSED] > len(CONDITIONAL)
        assert compared.effects[Effect.REACHED] > len(arch.numbers)


VICTIMS = ("kcmp", "vhangup")


def _calls(arch: Arch) -> Iterator[Call]:
    """Every number once, and those that depend on an argument with what conditions turn on."""
    yield from (Call(number) for number in runtimes.numbers_of(arch))
    for name in CONDITIONAL:
        number = arch.number(name)
        assert number is not None
        for value in VALUES:
            yield from (Call(number, (value, 0, 0, other)) for other in (1, 2))


def test_what_a_container_leaves_behind(tmp_path: Path) -> None:
    """Nothing, also when the test fails in the middle of it."""
    runtimes.need("podman")
    seen: list[tuple[Path, str]] = []

    def fail_in_the_middle() -> None:
        with runtimes.running("podman", tmp_path) as pid:
            place = Path(f"/proc/{pid}")
            seen.append((place, (place / "comm").read_text().strip()))
            assert _control_groups(seen[0][1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()

    ((place, name),) = seen
    assert not place.exists()
    assert _control_groups(name) == []


def _control_groups(name: str) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob(name) if path.is_dir()]


def test_a_profile_that_the_runtime_refuses(tmp_path: Path) -> None:
    """The runtime's own words come with it."""
    runtimes.need("runc")
    profile = {"defaultAction": "SCMP_ACT_NONSENSE"}

    with (
        pytest.raises(runtimes.RuntimeFailedError, match="SCMP_ACT_NONSENSE"),
        runtimes.running("runc", tmp_path, profile),
    ):
        pass
