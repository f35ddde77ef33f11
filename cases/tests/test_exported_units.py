"""Exported drop-ins under a private systemd of several releases, judged, and tried by a C program.

The service's own section is stricter in other ways, which a drop-in has to take the place of.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.arch import X32_SYSCALL_BIT, canary
from probes.audit.source import NETLINK
from probes.audit.trail import Sentinel, open_trail
from probes.cell import Cell, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.instrument.calls import Zygote
from probes.judging import claims, plan
from probes.judging.examiner import Examiner
from probes.targets import StackTarget
from probes.targets.stack import FilterStack
from probes.tests.support import answers
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.releases import root_of
from probes.tests.support.systemd_machine import HERE, SystemdMachine, systemd_machine
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest

pytestmark = [
    pytest.mark.root("starts a systemd of its own"),
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
ALLOW = FilterReturn(Action.ALLOW)
ENOSYS = FilterReturn(Action.ERRNO, 38)
NO_CALL = 5000
FURTHER = {
    answers.word(abi, number): (abi.name, name)
    for abi in X86
    for name, number in (("getpid", abi.numbers["getpid"]), (str(NO_CALL), NO_CALL))
}
"""Calls that no drop-in refuses, by the words that the C program has for them."""
DROPPED = "get_mempolicy"
"""The call whose rule a wrong drop-in lacks; with zeros it succeeds for anybody."""

Key = tuple[str, str]
DOCUMENTED = {
    (abi.name, name) for abi in X86 for name in SHIPPED.names if abi.number(name) is not None
}

every_profile = pytest.mark.parametrize("profile", list(Profile))


@pytest.fixture(scope="module", params=[HERE, "trixie", "sid"])
def manager(request: pytest.FixtureRequest) -> Iterator[SystemdMachine]:
    packages = ("systemd", "libseccomp2", "python3")
    root = None if request.param == HERE else root_of(request.param, *packages)
    with systemd_machine(root) as made:
        answers.program(made.machine.folder, list(FURTHER))
        yield made


def exported(profile: Profile) -> str:
    text = allowlist.export(ExportRequest(SHIPPED, profile, tuple(X86)), ExportFormat.SYSTEMD)
    assert isinstance(text, str)
    return text


def without_a_rule(profile: Profile) -> str:
    """The drop-in in which one documented call is allowed instead."""
    text, option = exported(profile), "SystemCallFilter="
    if profile is Profile.LOG:
        return text.replace("SystemCallLog=~_llseek", f"SystemCallLog=~{DROPPED} _llseek")
    answer = "kill" if profile is Profile.KILL else "EPERM"
    dropped = text.replace(f"~{DROPPED}:{answer} ", "~").replace(f" {DROPPED}:{answer}", "")
    return dropped.replace(f"{option}_llseek", f"{option}{DROPPED} _llseek")


def started(manager: SystemdMachine, name: str, profile: Profile, drop_in: str) -> Path:
    """Starts a service with a drop-in, whose command is the C program; the file of its answers."""
    log = manager.machine.folder / f"{name}.answers"
    own = ["SystemCallArchitectures=native"]
    if profile is not Profile.LOG:
        own += ("SystemCallFilter=@system-service", "SystemCallErrorNumber=EXDEV")
    if drop_in:
        manager.add(f"{name}.service.d/conformance.conf", drop_in)
    command, output = f"{manager.machine.folder}/{answers.NAME}", f"StandardOutput=file:{log}"
    manager.service(f"{name}.service", command, output, *(own if drop_in else []))
    wait_for(lambda: answers.has_ended(log), f"{name} gives no answers", answers.SECONDS)
    return log


def read(log: Path) -> Mapping[Key, str]:
    """What the C program got, by ABI and name of the call."""
    names = {word: (abi.name, name) for word, (abi, name) in answers.calls().items()}
    return {(names | FURTHER)[word]: got for word, got in answers.read_answers(log).items()}


def loaded(manager: SystemdMachine, name: str) -> FilterStack:
    (found,) = manager.load(name)
    assert isinstance(found, FilterStack), found
    assert len(found.members) == 1
    return found


def judged(found: FilterStack, profile: Profile) -> list[Cell]:
    """The verdicts about every documented call."""
    cases = plan.plan(SHIPPED, (profile,), X86, X86, ())
    wanted = [case for case in cases if case.claim in claims.documented(profile)]
    with Zygote() as zygote:
        trail = open_trail(NETLINK, zygote, Sentinel(X86[0], canary(X86[0])[1]))
        assert trail.collector is not None, trail.reason
        examiner = Examiner(zygote, StackTarget("unit", {profile: found}), SHIPPED, X86, trail)
        with sharing_records():
            examiner.calibrate(X86)
            cells = list(examiner.examine(wanted))
        trail.collector.close()
    return cells


def failing(cells: list[Cell]) -> set[Key]:
    open_ones = {Outcome.BROKEN, Outcome.CANNOT_TELL, Outcome.WAIVED}
    assert [cell.sentence for cell in cells if cell.outcome in open_ones] == []
    return {(cell.key.arch, cell.key.syscall) for cell in cells if cell.outcome is Outcome.FAILED}


@pytest.fixture(scope="module")
def unconfined(manager: SystemdMachine) -> Mapping[Key, str]:
    return read(started(manager, "free", Profile.LOG, ""))


@every_profile
def test_an_exported_unit_holds(
    profile: Profile, manager: SystemdMachine, unconfined: Mapping[Key, str]
) -> None:
    name = f"exported-{profile}"
    seen = read(started(manager, name, profile, exported(profile)))
    assert refused(seen, unconfined, profile) == (set() if profile is Profile.LOG else DOCUMENTED)
    found = loaded(manager, name)
    assert failing(judged(found, profile)) == set()
    check_the_rest(found, profile)


@every_profile
def test_one_rule_less_is_one_call_that_fails(
    profile: Profile, manager: SystemdMachine, unconfined: Mapping[Key, str]
) -> None:
    """The mutant: the C program and the judge find this call on every ABI, and no other."""
    name = f"dropped-{profile}"
    dropped = {(abi.name, DROPPED) for abi in X86}
    seen = read(started(manager, name, profile, without_a_rule(profile)))
    if profile is not Profile.LOG:
        assert refused(seen, unconfined, profile) == DOCUMENTED - dropped
    assert failing(judged(loaded(manager, name), profile)) == dropped


def refused(seen: Mapping[Key, str], unconfined: Mapping[Key, str], profile: Profile) -> set[Key]:
    """The calls that got another answer than without a filter; it is the profile's, or ENOSYS.

    What the kernel answers without a filter may be the profile's answer, too: the program has no
    capabilities. So of two equal answers the profile decides.
    """
    assert seen.keys() == unconfined.keys()
    assert seen.keys() == DOCUMENTED | set(FURTHER.values())
    expected = {Profile.KILL: "process", Profile.ERRNO: str(errno.EPERM)}.get(profile, "")
    found = set()
    for key, answer in seen.items():
        if key not in DOCUMENTED:
            # Both are handed on, or get what the kernel says to a number of no call.
            works = key[1] == "getpid" and (key[0] != "x32" or unconfined[key] == "0")
            assert answer == ("0" if works else str(errno.ENOSYS)), key
        elif answer == expected:
            found.add(key)
        else:
            assert answer == unconfined[key], key
    return found


def check_the_rest(found: FilterStack, profile: Profile) -> None:
    """Every other call is allowed but those that this systemd or its libseccomp does not know.

    These get ENOSYS, or are recorded, as the notes on the export say; so do numbers of no call.
    """
    other = FilterReturn(Action.LOG) if profile is Profile.LOG else ENOSYS
    for abi in X86:
        rest = {name: number for name, number in abi.numbers.items() if name not in SHIPPED.names}
        predicted = {name: found.predict(abi, number) for name, number in rest.items()}
        strange = {name for name, answer in predicted.items() if answer != ALLOW}
        assert {predicted[name] for name in strange} <= {other}
        assert len(strange) < 25, strange
        assert {"getpid", "openat", "clone3", "execve"}.isdisjoint(strange)
        number = NO_CALL | (X32_SYSCALL_BIT if abi.name == "x32" else 0)
        assert found.predict(abi, number) == other


def test_what_arch_leaves_out_is_killed_whatever_the_profile(manager: SystemdMachine) -> None:
    text = allowlist.export(ExportRequest(SHIPPED, Profile.ERRNO, (X86[0],)), ExportFormat.SYSTEMD)
    assert isinstance(text, str)
    manager.add("alone.service.d/conformance.conf", text)
    manager.service("alone.service", "/usr/bin/sleep 1000")
    found = loaded(manager, "alone")
    predicted = {
        abi.name: found.predict(abi, abi.number(name) or 0) for abi in X86 for name in ("getpid",)
    }
    assert predicted.pop("x86_64") == ALLOW
    assert set(predicted.values()) == {FilterReturn(Action.KILL_THREAD)}
