"""What is to be judged: from a policy, profiles and ABIs to test cases and their cells. Pure.

The plan is made before anything is asked of the kernel, by every test worker and by the process
that collects their verdicts alike, so that a verdict which never came is noticed.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
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
from probes.targets import Canary

NO_PROFILE: Final = "none"
"""The profile of the controls, whose filters are none of a policy's."""

UNKNOWN: Final = "unknown"
"""The call's name in a cell about a number that no table knows."""

ANY_ARCH: Final = "any"
"""The ABI's name in a cell that is about no single ABI."""

DOCUMENTED_CLAIMS: Final = {
    Profile.KILL: (Claim.TERMINATES, Claim.IS_REPORTED),
    Profile.ERRNO: (Claim.DENIES, Claim.IS_SILENT),
    Profile.LOG: (Claim.RUNS, Claim.IS_RECORDED),
}
"""What each profile must do at every documented call."""

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


class Way(StrEnum):
    """The ways in which a confined process might come loose, each a variant of "is inherited"."""

    FORK = "fork"
    THREAD = "thread"
    EXECVE = "execve"
    SETUID = "setuid"
    LATER_FILTER = "later filter"
    REMOVAL = "removal"
    RUNTIME_EXEC = "runtime exec"


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a claim, its parameters, and the cells that it judges.

    Attributes:
        claim: what is claimed; the test function is ``test_`` and the claim's words.
        arch: the ABI.
        cells: the cells that the test judges, in order.
        parameters: what the test function takes, by name.
        profile: the profile, None for the controls.
        beside: of a proof about every other architecture, the ABIs that have proofs of their own.
    """

    claim: Claim
    arch: Arch
    cells: tuple[CellKey, ...]
    parameters: tuple[tuple[str, str], ...]
    profile: Profile | None = None
    beside: tuple[Arch, ...] = ()

    @property
    def stack(self) -> int:
        """Which of the target's stacks of filters it judges; see ``CellKey``."""
        return self.cells[0].stack

    @property
    def function(self) -> str:
        """The name of the test function."""
        return function_of(self.claim)

    @property
    def id(self) -> str:
        """The words between the brackets of the test's name."""
        words = [value for _, value in self.parameters]
        return "-".join(map(test_word, filter(None, [*words, self.cells[0].part])))


def test_word(value: str) -> str:
    """A parameter as the name of a test has it, in which pytest's -k takes few signs.

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


def function_of(claim: Claim) -> str:
    """The name of the test function for a claim."""
    return f"test_{claim.value.replace(' ', '_')}"


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
        if case.claim is not Claim.CONTROLS
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
        for claim in DOCUMENTED_CLAIMS[profile]:
            for arch in arches:
                for call in policy.calls:
                    yield _documented(claim, profile, arch, call)
        for arch in arches:
            yield from _multithreaded(policy, profile, arch)
            yield _rest(policy, profile, arch)
            yield from _default(profile, arch, offered)
            yield from _inherited(policy, profile, arch)


def controls(arch: Arch) -> Iterator[Case]:
    """The calibration of the instrument on one ABI."""
    name, number = canary(arch)
    for returns in CONTROLS:
        variant = returns.action.name
        yield Case(
            claim=Claim.CONTROLS,
            arch=arch,
            cells=(CellKey(Claim.CONTROLS, NO_PROFILE, arch.name, name, number, variant),),
            parameters=(("arch", arch.name), ("action", variant)),
        )


def with_canaries(cases: Iterable[Case], canaries: Mapping[str, Canary]) -> tuple[Case, ...]:
    """The same cases with other calls for the controls, by the name of the ABI, where any is given.

    A process may be confined against the canary that serves elsewhere.
    """
    return tuple(
        _with_canary(case, canaries[case.arch.name])
        if case.claim is Claim.CONTROLS and case.arch.name in canaries
        else case
        for case in cases
    )


def _with_canary(case: Case, one: Canary) -> Case:
    cells = tuple(replace(key, syscall=one.name, number=one.number) for key in case.cells)
    return replace(case, cells=cells)


def _documented(claim: Claim, profile: Profile, arch: Arch, call: DocumentedCall) -> Case:
    key = CellKey(claim, profile.value, arch.name, call.label, call.number(arch))
    return Case(claim, arch, (key,), (("arch", arch.name), ("call", call.label)), profile)


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

    Without conditions they are those of the catalogue, as they stand there.
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


def _multithreaded(policy: Policy, profile: Profile, arch: Arch) -> Iterator[Case]:
    call = sample_call(policy, arch)
    if profile is Profile.KILL and call is not None:
        claim = Claim.ENDS_EVERY_THREAD
        key = CellKey(claim, profile.value, arch.name, call.label, call.number(arch))
        yield Case(claim, arch, (key,), (("arch", arch.name),), profile)


def rest_of(policy: Policy, arch: Arch) -> dict[int, str]:
    """The numbers of an ABI that the document leaves alone, at least for some arguments."""
    restricted = {call.name for call in policy.calls} - {
        arch.name_of(number) for number in partly_restricted(policy, arch)
    }
    return {n: name for name, n in arch.numbers.items() if name not in restricted}


def partly_restricted(policy: Policy, arch: Arch) -> dict[int, Outside]:
    """The numbers that the document restricts for some arguments only, with the other ones."""
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
    """Whether some kernels let the number through without asking any filter; see ``is_exempt``."""
    return _is_exempt(arch.name, arch.name_of(number))


def _is_exempt(arch: str, call: str | None) -> bool:
    return arch == "x86_64" and call in {"uretprobe", "uprobe"}


def _rest(policy: Policy, profile: Profile, arch: Arch) -> Case:
    claim = Claim.LEAVES_THE_REST_ALONE
    keys = tuple(
        CellKey(claim, profile.value, arch.name, name, number)
        for number, name in sorted(rest_of(policy, arch).items())
    )
    return Case(claim, arch, keys, (("profile", profile.value), ("arch", arch.name)), profile)


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


def _default(profile: Profile, arch: Arch, offered: Sequence[Arch]) -> Iterator[Case]:
    claim = Claim.DEFAULT_ACTION
    for number in unknown_numbers(arch, offered):
        key = CellKey(claim, profile.value, arch.name, UNKNOWN, number)
        yield Case(
            claim,
            arch,
            (key,),
            (("profile", profile.value), ("arch", arch.name), ("number", f"{number:#x}")),
            profile,
        )


class Scope(StrEnum):
    """What a proof covers besides single documented calls; stands in place of a call's name."""

    OTHER_CALLS = "every other call"
    UNKNOWN_NUMBERS = "every unknown number"
    OTHER_ARCHITECTURES = "every other architecture"


def _proved(policy: Policy, profile: Profile, named: Sequence[Arch]) -> Iterator[Case]:
    scopes = [Scope.OTHER_CALLS, Scope.UNKNOWN_NUMBERS]
    for arch in named:
        for call in policy.calls:
            yield _proof(profile, arch, call.label, call.number(arch))
        for scope in scopes:
            yield _proof(profile, arch, scope.value)
    if named:
        elsewhere = _proof(profile, named[0], Scope.OTHER_ARCHITECTURES.value)
        yield replace(elsewhere, beside=tuple(named))


def _proof(profile: Profile, arch: Arch, call: str, number: int | None = None) -> Case:
    claim = Claim.IS_PROVED
    where = ANY_ARCH if call == Scope.OTHER_ARCHITECTURES else arch.name
    key = CellKey(claim, profile.value, where, call, number)
    parameters = (("profile", profile.value), ("arch", where), ("call", call))
    return Case(claim, arch, (key,), parameters, profile)


def left_out(policy: Policy, case: Case, tokens: Container[int]) -> tuple[Case, ...]:
    """What a proof about every other architecture covers on the ABIs that are named and not judged.

    That is what nobody may get by entering there: the documented calls, and numbers that no table
    knows. Whether every other call goes through is for a run that judges the ABI.

    Args:
        policy: what must hold.
        case: the proof.
        tokens: those that the filters name.
    """
    if case.profile is None:
        raise ValueError(f"{case.id} has no profile")
    beside = {arch.name for arch in case.beside}
    return tuple(
        _proof(case.profile, arch, label, number)
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
    """The cases about what a target names and nobody judged, one for each finding with weight.

    They belong to every run that judges the target, whichever of its tests are selected.

    Args:
        profiles: the profiles to judge.
        native: the native ABI of the machine that the filters are for.
        findings: those of the target.
    """
    return tuple(
        _all_judged(profile, native, one) for profile in profiles for one in weighty(findings)
    )


def _all_judged(profile: Profile, native: Arch, finding: Finding) -> Case:
    claim = Claim.IS_ALL_JUDGED
    key = CellKey(claim, profile.value, ANY_ARCH, finding.about, None)
    parameters = (("profile", profile.value), ("about", finding.about))
    return Case(claim, native, (key,), parameters, profile)


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
        for case in _inherited(policy, profile, arch, (Way.RUNTIME_EXEC,))
    )


_WAYS_OF_A_PROCESS: Final = tuple(way for way in Way if way is not Way.RUNTIME_EXEC)


def _inherited(
    policy: Policy, profile: Profile, arch: Arch, ways: Sequence[Way] = _WAYS_OF_A_PROCESS
) -> Iterator[Case]:
    call = sample_call(policy, arch)
    if call is None:
        return
    claim = Claim.IS_INHERITED
    for way in ways:
        key = CellKey(claim, profile.value, arch.name, call.label, call.number(arch), way.value)
        yield Case(
            claim,
            arch,
            (key,),
            (("profile", profile.value), ("arch", arch.name), ("way", way.value)),
            profile,
        )
