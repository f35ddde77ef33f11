"""Ways round a policy: calls with the power of documented ones that are not documented themselves.

``siblings.toml`` says which there are; it is about the kernel and about no policy. A finding here
is one about the document: it changes no verdict. Whoever wants such a call refused documents it.
Of a documented call that the table does not know nothing can be said; ``unknown_for`` names it.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.cell import Cell, Claim, Evidence, EvidenceKind, Outcome
from probes.documents.policy import Policy
from probes.filters.bpf import SeccompData
from probes.filters.prover import TooComplexError
from probes.gap import Gap, GapState
from probes.targets import Target

ANY_FILTER: Final = "any filter"
"""The family of the siblings that weaken every filter, whatever is documented."""

_FILE = Path(__file__).with_name("siblings.toml")
_SUPERVISED = frozenset({Action.USER_NOTIF, Action.TRACE})


@dataclass(frozen=True, slots=True)
class Sibling:
    """A call with the power of others.

    Attributes:
        name: as the kernel's tables spell it.
        operation: of a multiplexer, the operation that is meant; else "".
        gives: the calls whose power it has.
        whole: whether it does all that they do, rather than a part.
        how: the rest of a sentence that begins with its name.
        arguments: calls by which the power is used; empty where no argument matters.
        since: the first kernel release with it.
        always: whether it weakens every filter.
        everyday: whether most programs make it, so that it says little about one of them.
    """

    name: str
    operation: str
    gives: tuple[str, ...]
    whole: bool
    how: str
    arguments: tuple[tuple[int, ...], ...]
    since: str
    always: bool
    everyday: bool = False

    @property
    def label(self) -> str:
        """The name, with the operation of a multiplexer: ``ipc MSGRCV``."""
        return f"{self.name} {self.operation}".rstrip()

    def concerns(self, policy: Policy) -> tuple[str, ...] | None:
        """The documented calls whose power it has; None where the policy need not care."""
        documented = set(policy.names)
        if any(not call.args for call in policy.entries(self.name)):
            return None
        given = tuple(name for name in self.gives if name in documented)
        return given if given or self.always else None


@dataclass(frozen=True, slots=True)
class Route:
    """A way to the power of calls that no filter of system calls can see.

    Attributes:
        name: the file or the request that leads there.
        gives: the calls whose power it has.
        how: the rest of a sentence that begins with its name.
    """

    name: str
    gives: tuple[str, ...]
    how: str


@cache
def siblings() -> tuple[Sibling, ...]:
    """Every known sibling; one call may be there several times, each time for other calls."""
    families = (one for row in _data()["family"] for one in _of_family(row))
    return (*families, *_single())


def _of_family(row: Mapping[str, Any]) -> Iterator[Sibling]:
    """The members of a family as siblings of each other."""
    calls, less = row["calls"], row.get("less", {})
    for name, since in {**calls, **less}.items():
        whole = name in calls
        others = tuple(one for one in (*calls, *less) if one != name)
        how = f"can {row['does']}" if whole else f"can {row['does']}, though not in every way"
        if others:
            yield Sibling(
                name=name,
                operation="",
                gives=others,
                whole=whole,
                how=how,
                arguments=(),
                since=since,
                always=False,
                everyday=row.get("everyday", False),
            )


def _single() -> tuple[Sibling, ...]:
    return tuple(
        Sibling(
            name=row["name"],
            operation=row.get("operation", ""),
            gives=tuple(row["gives"]),
            whole=row["share"] == "all",
            how=row["how"],
            arguments=tuple(map(tuple, row.get("arguments", ()))),
            since=row["since"],
            always=row.get("always", False),
            everyday=row.get("everyday", False),
        )
        for row in _data()["sibling"]
    )


@cache
def _reviewed() -> frozenset[str]:
    """The calls of which the table says who gives their power, be it nobody."""
    powers = (*(one.gives for one in siblings()), *(one.gives for one in routes()))
    given = (name for power in powers for name in power)
    members = (name for row in _data()["family"] for name in (*row["calls"], *row.get("less", ())))
    return frozenset((*given, *members, *_data()["alone"]))


def unknown_for(policy: Policy) -> tuple[str, ...]:
    """The documented calls of which it is not known which others give their power."""
    return tuple(name for name in dict.fromkeys(policy.names) if name not in _reviewed())


@cache
def routes() -> tuple[Route, ...]:
    """Every known way past all filters."""
    return tuple(Route(row["name"], tuple(row["gives"]), row["how"]) for row in _data()["route"])


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


Swept = Mapping[tuple[str, str, int], Outcome]
"""What the claim *leaves the rest alone* came to, by profile, ABI and number."""


def swept(cells: Iterable[Cell]) -> Swept:
    """What a run has seen of the calls that its policy does not document."""
    return MappingProxyType(
        {
            (cell.key.profile, cell.key.arch, cell.key.number): cell.outcome
            for cell in cells
            if cell.key.claim is Claim.LEAVES_THE_REST_ALONE and cell.key.number is not None
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
        seen: what the calls that are not documented came to.
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
    """Where a sibling was looked at."""

    profile: Profile
    arch: Arch
    number: int


_Answer = tuple[GapState, EvidenceKind | None, str]
"""Whether a call gets through, how that is known, and a clause that says it."""


def _family(policy: Policy, given: Sequence[str]) -> str:
    return next((call.family for call in policy.calls if call.name in given), ANY_FILTER)


_GRAVEST_FIRST: Final = (GapState.OPEN, GapState.UNKNOWN, GapState.CLOSED)


def _gap(policy: Policy, place: _Place, answers: Sequence[tuple[Sibling, _Answer]]) -> Gap:
    """One call's gap, whose gravest state counts where it is a sibling of several kinds."""
    state = min((answer[0] for _, answer in answers), key=_GRAVEST_FIRST.index)
    found = [(sibling, answer) for sibling, answer in answers if answer[0] is state]
    (first, (_, kind, words)), *_ = found
    powers = [set(sibling.concerns(policy) or ()) for sibling, _ in found]
    names = dict.fromkeys(policy.names)
    given = tuple(name for name in names if any(name in power for power in powers))
    how = ", and it ".join(dict.fromkeys(sibling.how for sibling, _ in found))
    return Gap(
        family=_family(policy, given),
        syscall=first.label,
        arch=place.arch.name,
        number=place.number,
        profile=place.profile.value,
        documented=given,
        state=state,
        sentence=f"{first.label} ({place.number}) on {place.arch.name}: {words}; it {how}",
        evidence=() if kind is None else (Evidence(kind, _SOURCES[kind], words),),
    )


def _answer(target: Target, profile: Profile, arch: Arch, sibling: Sibling, seen: Swept) -> _Answer:
    outcome = seen.get((profile.value, arch.name, arch.numbers[sibling.name]))
    return _predicted(target, profile, arch, sibling) or _seen(outcome, sibling)


_SOURCES = {EvidenceKind.PROVED: "analysis", EvidenceKind.OBSERVED: "sweep"}


def _predicted(target: Target, profile: Profile, arch: Arch, sibling: Sibling) -> _Answer | None:
    """What the programs say; None where they are not to be had or too complex."""
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
