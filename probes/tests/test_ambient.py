"""A confinement judged from inside agrees, cell by cell, with the same filters judged from outside.

Outside, the suite installs the filters itself and the marker is the witness. Inside, a process of
its own has them already, and nothing of the suite's knows what they are.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from cases.fixtures import DEFAULT_POLICY
from probes import arch, bpf, policy, settings
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.cell import Claim, Outcome
from probes.examiner import AuditTrail, Examiner
from probes.instrument import Zygote
from probes.policy import Policy
from probes.settings import Settings, Words
from probes.targets import StackTarget
from probes.tests import confined, mutants
from probes.tests.confined import Key
from probes.tests.mutants import EPERM, KILL_PROCESS, LOG, Table

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the mutants are for the ABIs of x86_64"
)

NO_TRAIL = AuditTrail(None, "none is asked for")
KERNEL = arch.of_this_process()
NATIVE = KERNEL[0]
TRACE = FilterReturn(Action.TRACE).value
ALLOW = FilterReturn(Action.ALLOW).value
EVERYTHING_ALLOWED = ((bpf.statement(bpf.RET_K, ALLOW),),)


@cache
def resolved(profile: Profile) -> Settings:
    return settings.resolve(Words(str(DEFAULT_POLICY), profile=profile.value))


def documented() -> Policy:
    return policy.load(DEFAULT_POLICY, arch.all_names())


def from_outside(profile: Profile, stack: Sequence[bpf.Program]) -> dict[Key, Outcome]:
    """What the main job says of the filters, where it installs them itself; without proofs."""
    target = StackTarget("stack", "the stack", {profile: tuple(stack) or EVERYTHING_ALLOWED})
    here = resolved(profile)
    seen = {Claim.CONTROLS, Claim.IS_PROVED}
    cases = [case for case in here.cases if case.claim not in seen]
    with Zygote() as zygote:
        cells = Examiner(zygote, target, here.policy, here.offered, NO_TRAIL).examine(cases)
    return {confined.key_of(cell): cell.outcome for cell in cells}


def raw(stack: Sequence[bpf.Program]) -> list[bytes]:
    return [bpf.to_bytes(program, big_endian=NATIVE.big_endian) for program in stack]


def conforming(profile: Profile) -> Table:
    return mutants.conforming(documented(), KERNEL, profile)


def number(name: str, of: Arch = NATIVE) -> int:
    found = of.number(name)
    assert found is not None
    return found


def changed(profile: Profile, changes: Mapping[str, int]) -> tuple[bpf.Program, ...]:
    """A conforming filter with other returns for some calls, each as ``ABI-call``."""
    places = {}
    for word, value in changes.items():
        abi, _, name = word.partition("-")
        places[ARCHES[abi].audit_arch, number(name, ARCHES[abi])] = value
    return (conforming(profile).changed(places).program(),)


def mutant(make: str, name: str, profile: Profile) -> tuple[bpf.Program, ...]:
    made = getattr(mutants, make)(documented(), KERNEL, profile)
    return (next(one.program for one in made if one.name == name),)


STACKS: dict[str, tuple[Profile, Sequence[bpf.Program]]] = {
    **{f"conforming {one}": (one, (conforming(one).program(),)) for one in Profile},
    "no filter": (Profile.ERRNO, ()),
    "some rules dropped": (
        Profile.KILL,
        changed(
            Profile.KILL,
            {
                "x86_64-acct": ALLOW,
                "x32-keyctl": ALLOW,
                "i386-reboot": ALLOW,
                "x86_64-vhangup": LOG,
            },
        ),
    ),
    "other actions": (
        Profile.KILL,
        changed(
            Profile.KILL,
            {
                "x86_64-acct": mutants.KILL_THREAD,
                "x86_64-keyctl": mutants.TRAP,
                "x86_64-reboot": EPERM,
                "i386-acct": mutants.TRAP,
                "x32-acct": TRACE,
            },
        ),
    ),
    "other errnos": (
        Profile.ERRNO,
        changed(
            Profile.ERRNO,
            {
                "x86_64-acct": mutants.EACCES,
                "x86_64-keyctl": KILL_PROCESS,
                "x86_64-reboot": FilterReturn(Action.ERRNO, errno.ENOSYS).value,
                "x86_64-bpf": FilterReturn(Action.ERRNO, 0).value,
                "i386-mount": FilterReturn(Action.ERRNO, 4095).value,
                "x86_64-getpriority": EPERM,
                "i386-uname": KILL_PROCESS,
            },
        ),
    ),
    "LOG that does not let through": (
        Profile.LOG,
        changed(
            Profile.LOG,
            {
                "x86_64-acct": EPERM,
                "x86_64-keyctl": TRACE,
                "x32-reboot": KILL_PROCESS,
                "x86_64-getpriority": mutants.TRAP,
            },
        ),
    ),
    "ALLOW by default": (Profile.KILL, mutant("structural", "default action ALLOW", Profile.KILL)),
    "architecture unchecked": (
        Profile.ERRNO,
        mutant("structural", "architecture unchecked", Profile.ERRNO),
    ),
    "x32 let through": (Profile.KILL, mutant("structural", "x32 let through", Profile.KILL)),
    "i386 missing": (Profile.ERRNO, mutant("structural", "i386 missing, allowed", Profile.ERRNO)),
    "i386 killed": (
        Profile.KILL,
        mutant("structural", "i386 missing, killed by thread", Profile.KILL),
    ),
    "two filters": (
        Profile.ERRNO,
        (
            *changed(Profile.ERRNO, {"x86_64-acct": ALLOW, "x86_64-keyctl": ALLOW}),
            *changed(Profile.ERRNO, {"x86_64-keyctl": ALLOW, "x86_64-reboot": KILL_PROCESS}),
        ),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_inside_and_outside_agree_on_every_cell(name: str, tmp_path: Path) -> None:
    profile, stack = STACKS[name]

    told = confined.judged(raw(stack), profile.value, tmp_path)

    outside = from_outside(profile, stack)
    inside = told.outcomes()
    assert inside.keys() == outside.keys()
    assert {
        key: (inside[key], outside[key], told.cells[key][1])
        for key in inside
        if inside[key] is not outside[key]
    } == {}
    assert {outcome for outcome, _ in told.controls.values()} == {Outcome.PASSED}
    assert len(told.controls) == len(KERNEL) * 6
