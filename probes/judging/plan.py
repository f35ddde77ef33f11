"""Plans the cases and cells of a run, from a policy, profiles and ABIs. Pure.

The plan is made before anything is asked of the kernel, by every test worker and by the process
that collects their verdicts alike, so that a verdict which never came is noticed.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch, canary
from probes.cell import CellKey, Claim
from probes.documents.policy import DocumentedCall, Policy
from probes.filters.conditions import ARGUMENTS, Outside, example
from probes.finding import Finding, weighty
from probes.instrument.harmless import rows_for
from probes.judging import claims
from probes.judging.claims import About, Row
from probes.judging.needed_calls import Way
from probes.targets import Canary

NO_PROFILE: Final = "none"
"""The profile of the controls, whose filters are none of a policy's."""

UNKNOWN: Final = "unknown"
"""The call's name in a cell about a number that no table knows."""

ANY_ARCH: Final = "any"
"""The ABI's name in a cell that is about no single ABI."""

CONTROLS: Final = (
    FilterReturn(Action.KILL_PROCESS),
    FilterReturn(Action.KILL_THREAD),
    FilterReturn(Action.TRAP),
    Profile.ERRNO.returns,
    FilterReturn(Action.LOG),
    FilterReturn(Action.ALLOW),
)
"""The known filters that calibrate the instrument."""


NEEDED: Final = {
    Profile.KILL: frozenset(
        {Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP, Action.ERRNO, Action.ALLOW}
    ),
    Profile.ERRNO: frozenset({Action.ERRNO, Action.ALLOW}),
    Profile.LOG: frozenset({Action.LOG, Action.ERRNO, Action.ALLOW}),
}
"""The controls without which no verdict on a profile counts: what it asks for, what could be taken
for that, and what the witness does."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a claim, and the cells that it judges.

    Attributes:
        claim: the claim.
        arch: the ABI.
        cells: the cells that the test judges, in order.
        profile: the profile, None for the controls.
        beside: for a proof about every other architecture, the ABIs that have their own proofs.
    """

    claim: Claim
    arch: Arch
    cells: tuple[CellKey, ...]
    profile: Profile | None = None
    beside: tuple[Arch, ...] = ()

    @property
    def stack(self) -> int:
        """Which of the target's stacks of filters the case judges, counted from 0."""
        return self.cells[0].stack

    @property
    def row(self) -> Row:
        """The row of the claim in the table of claims."""
        return claims.of(self.claim)

    @property
    def function(self) -> str:
        """The name of the test function."""
        return self.row.function

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The parameters of the test function, by name."""
        return claims.parameters(self.cells[0])

    @property
    def is_control(self) -> bool:
        """Whether the case judges the instrument, and not the target."""
        return self.row.about is About.CONTROL

    @property
    def id(self) -> str:
        """The words between the brackets of the test's name."""
        return id_of(self.cells[0])


def id_of(key: CellKey) -> str:
    """The words between the brackets of the name of a cell's test."""
    words = [value for _, value in claims.parameters(key)]
    return "-".join(map(test_word, filter(None, [*words, key.part])))


def test_word(value: str) -> str:
    """Spells a parameter for the name of a test with signs that pytest's -k accepts.

    ``clone[0&0x10000000==0x10000000]`` becomes ``clone[0.mask.0x10000000.eq.0x10000000]``.
    """
    for sign, word in _SIGN_WORDS.items():
        value = value.replace(sign, word)
    return value


_SIGN_WORDS: Final = {
    " ": "_",
    ",": "+",
    "&": ".mask.",
    "==": ".eq.",
    "!=": ".ne.",
    "<=": ".le.",
    ">=": ".ge.",
    "<": ".lt.",
    ">": ".gt.",
}


def plan(
    policy: Policy,
    profiles: Sequence[Profile],
    arches: Sequence[Arch],
    offered: Sequence[Arch],
    named: Sequence[Arch],
) -> tuple[Case, ...]:
    """Every case, in the order in which a report lists them.

    Args:
        policy: what must hold.
        profiles: the profiles to judge.
        arches: the ABIs to judge on this kernel.
        offered: every ABI of the kernel, for a number is unknown only if none of them has it.
        named: the ABIs to judge by proof, whether this kernel has them or not.
    """
    observed = _cases(policy, profiles, arches, offered)
    proved = (case for profile in profiles for case in _proved(policy, profile, named))
    return (*observed, *proved)


def of_stack(cases: Iterable[Case], stack: int) -> tuple[Case, ...]:
    """The cases of a plan about another stack of filters of the target.

    The controls are about the instrument, which judges every stack.

    Args:
        cases: the plan, for the first stack.
        stack: which stack of the target, counted from 0.
    """
    return tuple(
        replace(case, cells=tuple(replace(key, stack=stack) for key in case.cells))
        for case in cases
        if not case.is_control
    )


def _cases(
    policy: Policy,
    profiles: Sequence[Profile],
    arches: Sequence[Arch],
    offered: Sequence[Arch],
) -> Iterator[Case]:
    for arch in arches:
        yield from controls(arch)
    for profile in profiles:
        for claim in claims.documented(profile):
            for arch in arches:
                for call in policy.calls:
                    yield _documented(claim, profile, arch, call)
        for arch in arches:
            for row in claims.about(tuple(_PLANNERS), profile):
                place = _Place(row.claim, profile, arch, policy, tuple(offered))
                yield from _PLANNERS[row.about](place)


@dataclass(frozen=True, slots=True)
class _Place:
    """A claim under a profile on an ABI, and the facts by which its cells are planned."""

    claim: Claim
    profile: Profile
    arch: Arch
    policy: Policy
    offered: tuple[Arch, ...]

    def key(self, syscall: str, number: int | None, variant: str = "") -> CellKey:
        """The key of a cell about a call, under this claim, profile and ABI."""
        return CellKey(self.claim, self.profile.value, self.arch.name, syscall, number, variant)

    def case(self, *cells: CellKey) -> Case:
        """The case that judges some cells, under this claim, profile and ABI."""
        return Case(self.claim, self.arch, cells, self.profile)


def controls(arch: Arch) -> Iterator[Case]:
    """The cases that calibrate the instrument on one ABI."""
    name, number = canary(arch)
    for row in claims.about([About.CONTROL]):
        for returns in CONTROLS:
            variant = returns.action.name
            key = CellKey(row.claim, NO_PROFILE, arch.name, name, number, variant)
            yield Case(row.claim, arch, (key,))


def with_canaries(cases: Iterable[Case], canaries: Mapping[str, Canary]) -> tuple[Case, ...]:
    """The same cases with other calls for the controls, by the name of the ABI, where any is given.

    A process may be confined against the canary that serves elsewhere.
    """
    return tuple(
        _with_canary(case, canaries[case.arch.name])
        if case.is_control and case.arch.name in canaries
        else case
        for case in cases
    )


def _with_canary(case: Case, one: Canary) -> Case:
    cells = tuple(replace(key, syscall=one.name, number=one.number) for key in case.cells)
    return replace(case, cells=cells)


def _documented(claim: Claim, profile: Profile, arch: Arch, call: DocumentedCall) -> Case:
    key = CellKey(claim, profile.value, arch.name, call.label, call.number(arch))
    return Case(claim, arch, (key,), profile)


def sample_call(policy: Policy, arch: Arch) -> DocumentedCall | None:
    """The documented call that stands for all where one is enough.

    The first that is known to be harmless here, else the first under conditions: most profiles keep
    it from running, and the probes themselves do not make it with such arguments.
    """
    here = [call for call in policy.calls if call.number(arch) is not None]
    harmless = (call for call in here if harmless_arguments(call, arch) is not None)
    return next(harmless, next((call for call in here if call.args), None))


def harmless_arguments(call: DocumentedCall, arch: Arch) -> tuple[int, ...] | None:
    """Arguments that meet a documented call's conditions and do no harm; None where none are known.

    Without conditions they are those of ``probes.instrument.harmless``.
    """
    for row in rows_for(call.name):
        if not call.args:
            return row.args
        kept = {index: value for index, value in enumerate(_six(row.args)) if index not in row.free}
        found = example(call.restriction(arch), row.args, kept)
        if found is not None:
            return found
    return None


def _six(arguments: Sequence[int]) -> tuple[int, ...]:
    return (*arguments, *(0,) * ARGUMENTS)[:ARGUMENTS]


def _multithreaded(place: _Place) -> Iterator[Case]:
    call = sample_call(place.policy, place.arch)
    if call is not None:
        yield place.case(place.key(call.label, call.number(place.arch)))


def rest_of(policy: Policy, arch: Arch) -> dict[int, str]:
    """The numbers of an ABI that the policy does not restrict, or only for some arguments."""
    restricted = {call.name for call in policy.calls} - {
        arch.name_of(number) for number in partly_restricted(policy, arch)
    }
    return {n: name for name, n in arch.numbers.items() if name not in restricted}


def partly_restricted(policy: Policy, arch: Arch) -> dict[int, Outside]:
    """The numbers that are restricted for some arguments only, with the other arguments."""
    return {
        number: rest
        for name in dict.fromkeys(call.name for call in policy.calls if call.args)
        if (number := arch.number(name)) is not None
        and (rest := policy.rest(name, arch)) is not None
    }


def is_exempt(key: CellKey) -> bool:
    """Whether some kernels let the call through without asking any filter.

    uretprobe and uprobe serve the trampolines that the kernel itself puts into traced programs;
    anybody else gets an error or SIGILL. See seccomp_uprobe_exception() in kernel/seccomp.c,
    which is there on x86_64 only.
    """
    return _is_exempt(key.arch, key.syscall)


def is_exempt_number(arch: Arch, number: int) -> bool:
    """Whether ``is_exempt`` holds for the call that has this number on the ABI."""
    return _is_exempt(arch.name, arch.name_of(number))


def _is_exempt(arch: str, call: str | None) -> bool:
    return arch == "x86_64" and call in {"uretprobe", "uprobe"}


def _rest(place: _Place) -> Iterator[Case]:
    numbers = sorted(rest_of(place.policy, place.arch).items())
    yield place.case(*(place.key(name, number) for number, name in numbers))


def unknown_numbers(arch: Arch, offered: Sequence[Arch]) -> tuple[int, ...]:
    """Numbers that a filter meets on an ABI and that no table of its architecture token knows.

    The one above the highest, the first hole, a number of a sibling ABI with the wrong x32 bit,
    2^31-1 (the x32 bit and garbage), the sign bit alone, and all ones. None that the kernel would
    not show to a filter as it was made.
    """
    known = {
        number
        for other in offered
        if other.audit_arch == arch.audit_arch
        for number in other.numbers.values()
    }
    own = sorted(arch.numbers.values())
    hole = next(n for n in range(own[0], own[-1] + 2) if n not in known)
    if own[0] & X32_SYSCALL_BIT:
        candidates = [own[-1] + 1, hole, X32_SYSCALL_BIT | 0x0FFFFFFF]
    else:
        candidates = [own[-1] + 1, hole, X32_SYSCALL_BIT | (own[-1] + 1)]
        candidates += [0x7FFFFFFF, 0x80000000, arch.highest]
    return tuple(sorted(n for n in set(candidates) - known if n <= arch.highest))


def _default(place: _Place) -> Iterator[Case]:
    for number in unknown_numbers(place.arch, place.offered):
        yield place.case(place.key(UNKNOWN, number))


class Scope(StrEnum):
    """The subjects of proofs besides single documented calls, in place of a call's name."""

    OTHER_CALLS = "every other call"
    UNKNOWN_NUMBERS = "every unknown number"
    OTHER_ARCHITECTURES = "every other architecture"


def _proved(policy: Policy, profile: Profile, named: Sequence[Arch]) -> Iterator[Case]:
    scopes = [Scope.OTHER_CALLS, Scope.UNKNOWN_NUMBERS]
    for row in claims.about([About.PROOF], profile):
        for arch in named:
            for call in policy.calls:
                yield _proof(row.claim, profile, arch, call.label, call.number(arch))
            for scope in scopes:
                yield _proof(row.claim, profile, arch, scope.value)
        if named:
            elsewhere = _proof(row.claim, profile, named[0], Scope.OTHER_ARCHITECTURES.value)
            yield replace(elsewhere, beside=tuple(named))


def _proof(
    claim: Claim, profile: Profile, arch: Arch, call: str, number: int | None = None
) -> Case:
    where = ANY_ARCH if call == Scope.OTHER_ARCHITECTURES else arch.name
    return Case(claim, arch, (CellKey(claim, profile.value, where, call, number),), profile)


def left_out(policy: Policy, case: Case, tokens: Container[int]) -> tuple[Case, ...]:
    """The cases that "every other architecture" covers on ABIs that are named and not judged.

    That is what nobody may get by entering there: the documented calls, and numbers that no table
    knows. Whether every other call goes through is for a run that judges the ABI.

    Args:
        policy: what must hold.
        case: the proof.
        tokens: the architecture tokens that the filters name.
    """
    if case.profile is None:
        raise ValueError(f"{case.id} has no profile")
    beside = {arch.name for arch in case.beside}
    return tuple(
        _proof(case.claim, case.profile, arch, label, number)
        for arch in ARCHES.values()
        if arch.audit_arch in tokens and arch.name not in beside
        for label, number in (
            *((call.label, call.number(arch)) for call in policy.calls),
            (Scope.UNKNOWN_NUMBERS.value, None),
        )
    )


def all_judged(
    profiles: Sequence[Profile], native: Arch, findings: Iterable[Finding]
) -> tuple[Case, ...]:
    """The cases about parts of a target that nobody judged, one for each finding with weight.

    They belong to every run that judges the target, whichever of its tests are selected.

    Args:
        profiles: the profiles to judge.
        native: the native ABI of the machine that the filters are for.
        findings: the findings about the target.
    """
    return tuple(
        Case(row.claim, native, (_all_judged(row.claim, profile, one),), profile)
        for profile in profiles
        for row in claims.about([About.FINDING], profile)
        for one in weighty(findings)
    )


def _all_judged(claim: Claim, profile: Profile, finding: Finding) -> CellKey:
    return CellKey(claim, profile.value, ANY_ARCH, finding.about, None)


def executed(
    policy: Policy, profiles: Sequence[Profile], arches: Sequence[Arch]
) -> tuple[Case, ...]:
    """The cases about processes that a runtime's exec starts in a container, for one that has it.

    Args:
        policy: what must hold.
        profiles: the profiles to judge.
        arches: the ABIs to judge on this kernel.
    """
    return tuple(
        case
        for profile in profiles
        for arch in arches
        for row in claims.about([About.WAY], profile)
        for case in _by_ways(_Place(row.claim, profile, arch, policy, ()), (Way.RUNTIME_EXEC,))
    )


_WAYS_OF_A_PROCESS: Final = tuple(way for way in Way if way is not Way.RUNTIME_EXEC)


def _inherited(place: _Place) -> Iterator[Case]:
    return _by_ways(place, _WAYS_OF_A_PROCESS)


def _by_ways(place: _Place, ways: Sequence[Way]) -> Iterator[Case]:
    call = sample_call(place.policy, place.arch)
    if call is None:
        return
    for way in ways:
        yield place.case(place.key(call.label, call.number(place.arch), way.value))


_PLANNERS: Final[Mapping[About, Callable[[_Place], Iterator[Case]]]] = {
    About.SAMPLE_CALL: _multithreaded,
    About.OTHER_CALL: _rest,
    About.UNKNOWN_NUMBER: _default,
    About.WAY: _inherited,
}
"""Plans the cases of an ABI under a profile, by what their claim is about."""
