"""The gaps of a policy: siblings of documented calls, and whether a target lets them through.

A gap is a finding about the document: it changes no verdict. Whoever wants such a call refused
documents it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.cell import Cell, Evidence, EvidenceKind, Gap, GapState, Outcome
from probes.documents.policy import Policy
from probes.documents.siblings import Sibling, siblings
from probes.filters.bpf import SeccompData
from probes.filters.prover import TooComplexError
from probes.judging.claims import About, is_about
from probes.targets import Target

ANY_FILTER: Final = "any filter"
"""The family of the siblings that weaken every filter, whatever is documented."""

_SUPERVISED = frozenset({Action.USER_NOTIF, Action.TRACE})

Swept = Mapping[tuple[str, str, int], Outcome]
"""The outcomes of the claim *leaves the rest alone*, by profile, ABI and number."""


def swept(cells: Iterable[Cell]) -> Swept:
    """The outcomes of a run's cells about calls that its policy does not document."""
    return MappingProxyType(
        {
            (cell.key.profile, cell.key.arch, cell.key.number): cell.outcome
            for cell in cells
            if is_about(cell.key, About.OTHER_CALL) and cell.key.number is not None
        }
    )


def find(
    policy: Policy,
    target: Target,
    profiles: Sequence[Profile],
    arches: Sequence[Arch],
    seen: Swept,
) -> tuple[Gap, ...]:
    """Every sibling of a documented call on every ABI that has it: open, closed or unknown.

    What the filters return is taken from their programs; where those are not to be had, from what
    the run has seen.

    Args:
        policy: the document.
        target: the filters under test.
        profiles: those that were judged.
        arches: the ABIs that were judged.
        seen: the outcomes of the calls that are not documented.
    """
    by_label: dict[str, list[Sibling]] = {}
    for one in siblings():
        if one.concerns(policy) is not None:
            by_label.setdefault(one.label, []).append(one)
    return tuple(
        _gap(
            policy,
            _Place(profile, arch, arch.numbers[alike[0].name]),
            [(one, _answer(target, profile, arch, one, seen)) for one in alike],
        )
        for alike in by_label.values()
        for profile in profiles
        for arch in arches
        if alike[0].name in arch.numbers
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """The profile, ABI and number under which a sibling is looked at."""

    profile: Profile
    arch: Arch
    number: int


_Answer = tuple[GapState, EvidenceKind | None, str]
"""Whether a call gets through, how that is known, and a clause that says it."""


def _family(policy: Policy, given: Sequence[str]) -> str:
    return next((call.family for call in policy.calls if call.name in given), ANY_FILTER)


_GRAVEST_FIRST: Final = (GapState.OPEN, GapState.UNKNOWN, GapState.CLOSED)


def _gap(policy: Policy, place: _Place, answers: Sequence[tuple[Sibling, _Answer]]) -> Gap:
    """Makes the gap of one call; the gravest state counts if the call has several entries."""
    state = min((answer[0] for _, answer in answers), key=_GRAVEST_FIRST.index)
    found = [(sibling, answer) for sibling, answer in answers if answer[0] is state]
    (first, (_, kind, words)), *_ = found
    powers = [set(sibling.concerns(policy) or ()) for sibling, _ in found]
    names = dict.fromkeys(policy.names)
    given = tuple(name for name in names if any(name in power for power in powers))
    how = ", and it ".join(dict.fromkeys(sibling.how for sibling, _ in found))
    reason = f"{words}; it {how}"
    return Gap(
        family=_family(policy, given),
        syscall=first.label,
        arch=place.arch.name,
        number=place.number,
        profile=place.profile.value,
        documented=given,
        state=state,
        sentence=f"{first.label} ({place.number}) on {place.arch.name}: {reason}",
        evidence=() if kind is None else (Evidence(kind, _SOURCES[kind], words),),
        reason=reason,
    )


def _answer(target: Target, profile: Profile, arch: Arch, sibling: Sibling, seen: Swept) -> _Answer:
    outcome = seen.get((profile.value, arch.name, arch.numbers[sibling.name]))
    return _predicted(target, profile, arch, sibling) or _seen(outcome, sibling)


_SOURCES = {EvidenceKind.PROVED: "analysis", EvidenceKind.OBSERVED: "sweep"}


def _predicted(target: Target, profile: Profile, arch: Arch, sibling: Sibling) -> _Answer | None:
    """The answer by the programs; None where they are not available or too complex."""
    number = arch.numbers[sibling.name]
    decided = target.predict(profile, arch, number)
    if decided is not None:
        return _by_returns({decided}, profile, "")
    try:
        analysis = target.analysis(profile)
        if not sibling.arguments:
            possible = analysis.returns(arch.audit_arch, number)
            return _by_returns(map(FilterReturn.decode, possible), profile, "")
        # One way through is enough.
        tried = frozenset().union(
            *(
                analysis.values_from_anywhere(SeccompData(number, arch.audit_arch, arguments))
                for arguments in sibling.arguments
            )
        )
    except TooComplexError:
        return None
    values = [FilterReturn.decode(value) for value in tried]
    through = [value for value in values if _goes_through(value, profile)]
    return _by_returns(through or values, profile, " with the arguments that matter")


def _by_returns(values: Iterable[FilterReturn], profile: Profile, clause: str) -> _Answer:
    possible = sorted(set(values), key=lambda value: value.value)
    kind = EvidenceKind.PROVED
    if any(value.action in _SUPERVISED for value in possible):
        return GapState.UNKNOWN, kind, "a supervisor outside of the filter decides about it"
    through = [value for value in possible if _goes_through(value, profile)]
    if through and len(through) < len(possible):
        return GapState.UNKNOWN, kind, "the filter lets it through with some arguments only"
    if through:
        return GapState.OPEN, kind, f"the filter lets it through{clause}"
    names = " or ".join(map(str, possible))
    return GapState.CLOSED, kind, f"the filter answers {names}{clause}"


def _goes_through(value: FilterReturn, profile: Profile) -> bool:
    """Whether the call runs; under LOG, whether it does so without the record of a documented one.

    A call that the log profile records is treated like a documented one, which closes the gap.
    """
    if profile is Profile.LOG:
        return value.action is Action.ALLOW
    return value.action.reaches_kernel


def _seen(outcome: Outcome | None, sibling: Sibling) -> _Answer:
    if outcome is Outcome.FAILED:
        return GapState.CLOSED, EvidenceKind.OBSERVED, "it did not go through"
    if outcome is Outcome.PASSED and not sibling.arguments:
        return GapState.OPEN, EvidenceKind.OBSERVED, "it went through"
    if outcome is Outcome.PASSED:
        return GapState.UNKNOWN, None, "it went through, but not with the arguments that matter"
    return GapState.UNKNOWN, None, "nobody could tell whether it goes through"
