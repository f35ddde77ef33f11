"""What runtimes do to every profile is told from all else that can be wrong with a filter.

A filter as a runtime makes it of the right profile is judged by the kernel: every cell that fails
is explained, as a plain reading of the filter as a table says. Then one thing more is wrong with
it, and exactly the cells that this breaks are not explained.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import pytest

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES
from probes.audit import source
from probes.audit.trail import AuditTrail
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.deviation import KnownDeviation
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument.calls import Zygote
from probes.judging.claims import About
from probes.judging.examiner import Examiner
from probes.judging.plan import Scope
from probes.run import settings, values
from probes.run.bench import trail_of
from probes.run.settings import Settings
from probes.targets import StackTarget
from probes.targets.stack import FilterStack, Library
from probes.tests.filters.test_enosys_stub import BY_RUNC, LAST, program
from probes.tests.support import mutants
from probes.tests.support.mutants import ALLOW, EACCES, EPERM, KILL_PROCESS, KILL_THREAD, Table

pytestmark = pytest.mark.slow

STUB, CALLS, BAD_ARCH = KnownDeviation
ENOSYS: Final = FilterReturn(Action.ERRNO, errno.ENOSYS).value
ANYWHERE: Final = {"uprobe", "uretprobe"}
NEWER: Final = frozenset(
    name for name, number in ARCHES["i386"].numbers.items() if number > LAST["i386"]
)
"""What libseccomp 2.5.4 of Debian 12 does not know: what is above its last number, and these."""

ABOUT: Final = {About.OTHER_CALL, About.UNKNOWN_NUMBER}
X86_64, I386 = ARCHES["x86_64"], ARCHES["i386"]


def lacking() -> Mapping[str, frozenset[int]]:
    """As that release has it: on x32 it lacks a call that it knows elsewhere."""
    names = NEWER | ANYWHERE
    absent = {name: names | ({"map_shadow_stack"} if name == "x32" else set()) for name in LAST}
    return {
        name: frozenset(number for call in calls if (number := ARCHES[name].number(call)))
        for name, calls in absent.items()
    }


@dataclass(frozen=True, slots=True)
class Made:
    """A filter as a runtime makes it, as a table and as a program.

    Attributes:
        profile: the profile.
        table: what libseccomp's own part returns.
        stub: runc's part before it; empty where there is none.
        elsewhere: what architectures get that the profile does not name.
    """

    profile: Profile
    table: Table
    stub: Program = ()
    elsewhere: int = KILL_THREAD

    @property
    def program(self) -> Program:
        """The filter as BPF."""
        by_token = {
            token: bpf.ranges_from(numbers, self.table.otherwise)
            for token, numbers in self.table.returns.items()
        }
        return self.stub + bpf.dispatch(by_token, self.elsewhere)

    @property
    def target(self) -> StackTarget:
        """The filter as a target."""
        stack = FilterStack(
            "the filter", (self.program,), X86_64, library=Library("2.5.4", lacking())
        )
        return StackTarget("runc", {self.profile: stack})

    def changed(self, **calls: int) -> "Made":
        """With another answer for some calls of x86_64."""
        changes = {(X86_64.audit_arch, X86_64.numbers[call]): v for call, v in calls.items()}
        return replace(self, table=self.table.changed(changes))


def made(resolved: Settings, profile: Profile, *, by_runc: bool = True) -> Made:
    right = mutants.conforming(resolved.policy, resolved.offered, profile)
    absent = lacking()
    returns = {
        token: {
            number: value
            for number, value in numbers.items()
            if not any(number in absent[name] for name in LAST if ARCHES[name].audit_arch == token)
        }
        for token, numbers in right.returns.items()
    }
    # runc's part was read under a profile that denies; it puts none before one that logs.
    denies = profile is not Profile.LOG
    stub = program(BY_RUNC) if by_runc and denies else ()
    return Made(profile, Table(returns, right.otherwise), stub)


Bench = tuple[Zygote, AuditTrail]


@pytest.fixture(scope="module")
def resolved() -> Settings:
    return settings.resolve(values.read(DEFAULT_POLICY, audit_source=source.NONE))


@pytest.fixture(scope="module")
def bench(resolved: Settings) -> Iterator[Bench]:
    """Without records: no claim that is looked at here rests on one."""
    with Zygote() as zygote:
        yield zygote, trail_of(resolved, zygote)


def failed(bench: Bench, resolved: Settings, one: Made, *calls: str) -> list[Cell]:
    """The cells that fail: of what runtimes deviate in, and of some documented calls."""
    zygote, trail = bench
    examiner = Examiner(zygote, one.target, resolved.policy, resolved.offered, trail)
    scopes = {scope.value for scope in Scope}
    cases = [
        case
        for case in resolved.cases
        if case.profile is one.profile
        and (case.row.about in ABOUT or case.cells[0].syscall in {*scopes, *calls})
    ]
    cells = examiner.examine(cases)
    untold = {cell.key.claim for cell in cells if cell.outcome is Outcome.CANNOT_TELL}
    assert untold <= {Claim.IS_SILENT, Claim.DEFAULT_ACTION}, "only what needs a record"
    assert not any(cell.outcome is Outcome.BROKEN for cell in cells)
    return [cell for cell in cells if cell.outcome is Outcome.FAILED]


def expected(one: Made, key: CellKey) -> tuple[str, ...]:
    """What explains a cell, written once more and by the borders that runc's part was read with."""
    border = LAST.get("x32" if (key.number or 0) & 0x40000000 and key.arch != "i386" else key.arch)
    above = bool(one.stub) and border is not None and (key.number or 0) > border
    if key.claim is Claim.DEFAULT_ACTION:
        return (STUB,) if above else ()
    if key.claim is Claim.LEAVES_THE_REST_ALONE:
        return (STUB, CALLS) if above else (CALLS,)
    if key.syscall == Scope.OTHER_CALLS:
        return (STUB, CALLS) if one.stub and key.arch != "x32" else (CALLS,)
    if key.syscall == Scope.UNKNOWN_NUMBERS:
        return (STUB,) if one.stub else ()
    return (BAD_ARCH,)


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_all_that_a_runtime_does_to_the_right_profile_is_explained(
    runtime: str, profile: Profile, bench: Bench, resolved: Settings
) -> None:
    one = made(resolved, profile, by_runc=runtime == "runc")
    found = failed(bench, resolved, one)
    assert {(cell.key, cell.deviations) for cell in found} == {
        (cell.key, expected(one, cell.key)) for cell in found
    }
    claims = {cell.key.claim for cell in found}
    has_stub = {Claim.DEFAULT_ACTION} if one.stub else set()
    assert claims == {Claim.LEAVES_THE_REST_ALONE, Claim.IS_PROVED, *has_stub}


HOLE: Final = next(n for n in range(300, 400) if X86_64.name_of(n) is None)
"""A number of no call, below the highest one that the profile names."""


def with_answer(value: int) -> Callable[[Made], Made]:
    answer = bpf.statement(bpf.RET_K, value)
    return lambda one: replace(one, stub=(*one.stub[:-1], answer))


WRONG: Final[dict[str, tuple[Callable[[Made], Made], set[tuple[str, str]]]]] = {
    "a documented call gets ENOSYS": (
        lambda one: one.changed(acct=ENOSYS),
        {("denies", "acct"), ("is inherited", "acct"), ("is proved", "acct")},
    ),
    "a documented call gets through": (
        lambda one: one.changed(acct=ALLOW),
        {
            ("denies", "acct"),
            ("is silent", "acct"),
            ("is inherited", "acct"),
            ("is proved", "acct"),
        },
    ),
    "a number below the highest gets ENOSYS": (
        lambda one: replace(one, table=one.table.changed({(X86_64.audit_arch, HOLE): ENOSYS})),
        {("default action", "unknown"), ("is proved", "every unknown number")},
    ),
    "a call that libseccomp knows is refused": (
        lambda one: one.changed(getcwd=EPERM),
        {("leaves the rest alone", "getcwd"), ("is proved", "every other call")},
    ),
    "a call that libseccomp knows gets ENOSYS": (
        lambda one: one.changed(getcwd=ENOSYS),
        {("leaves the rest alone", "getcwd"), ("is proved", "every other call")},
    ),
    "a call that libseccomp lacks gets another errno": (
        lambda one: one.changed(uprobe=EACCES),
        {("leaves the rest alone", "uprobe"), ("is proved", "every other call")},
    ),
    "another errno above the highest number": (
        with_answer(EACCES),
        {
            ("default action", "unknown"),
            ("is proved", "every unknown number"),
            *(("leaves the rest alone", name) for name in NEWER),
            ("is proved", "every other call"),
        },
    ),
    "other architectures are let in": (
        lambda one: replace(one, elsewhere=ALLOW),
        {("is proved", "every other architecture")},
    ),
    "other architectures get the process killed": (
        lambda one: replace(one, elsewhere=KILL_PROCESS),
        {("is proved", "every other architecture")},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_exactly_what_else_is_wrong_is_not_explained(
    name: str, bench: Bench, resolved: Settings
) -> None:
    change, wanted = WRONG[name]
    one = change(made(resolved, Profile.ERRNO))
    found = failed(bench, resolved, one, "acct")
    unexplained = {(str(cell.key.claim), cell.key.syscall) for cell in found if not cell.deviations}
    assert unexplained == wanted
    by_x86_64 = {cell.key.arch for cell in found if not cell.deviations} - {"any"}
    assert "x86_64" in by_x86_64 or by_x86_64 == set()
    assert any(cell.deviations for cell in found)


def test_without_the_library_no_call_is_excused(bench: Bench, resolved: Settings) -> None:
    """As where libseccomp's binding is missing, or the runtime has another release of it."""
    zygote, trail = bench
    one = made(resolved, Profile.ERRNO)
    (stack,) = one.target.stacks.values()
    target = StackTarget("runc", {one.profile: replace(stack, library=None)})
    examiner = Examiner(zygote, target, resolved.policy, resolved.offered, trail)
    cases = [c for c in resolved.cases if c.profile is one.profile and c.row.about in ABOUT]
    found = [c for c in examiner.examine(cases) if c.outcome is Outcome.FAILED]
    assert {(c.key.claim, c.deviations) for c in found} == {
        (Claim.LEAVES_THE_REST_ALONE, ()),
        (Claim.DEFAULT_ACTION, (STUB,)),
    }
