"""What became of what a policy speaks about: four kinds, told by cells alone. Pure.

Several claims speak about one call, such as that it is refused and that this is recorded. Here
they come together: one fate for each call of each ABI, and for whatever else a policy asks of.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from probes.action import Action, FilterReturn, Profile
from probes.cell import NOT_HOLDING, Cause, Cell, CellKey, Claim, Outcome
from probes.judging import claims
from probes.judging.claims import About, Shows
from probes.judging.plan import Scope


class Kind(StrEnum):
    """The kinds of what became of a call or a number."""

    AS_DOCUMENTED = "as documented"
    REFUSED_OTHERWISE = "refused otherwise"
    GETS_THROUGH = "gets through"
    BLOCKED_TOO_MUCH = "blocked too much"
    NOT_JUDGED = "not judged"
    NOT_APPLICABLE = "not applicable"


GRAVEST_FIRST: Final = (
    Kind.GETS_THROUGH,
    Kind.REFUSED_OTHERWISE,
    Kind.BLOCKED_TOO_MUCH,
    Kind.NOT_JUDGED,
    Kind.AS_DOCUMENTED,
    Kind.NOT_APPLICABLE,
)
"""The kinds in the order in which a reader has to know about them."""

FAULTS: Final = frozenset({Kind.GETS_THROUGH, Kind.REFUSED_OTHERWISE, Kind.BLOCKED_TOO_MUCH})
"""The kinds of what is not as it should be."""


class Subject(StrEnum):
    """The kinds of things that a policy asks something of."""

    DOCUMENTED_CALL = "documented call"
    OTHER_CALL = "call that is not documented"
    UNKNOWN_NUMBER = "number that no table knows"
    OTHER_ARCHITECTURE = "every other architecture"
    WAY = "way in which a process might come loose"
    PART = "part of the target"


class Manner(StrEnum):
    """The manners in which something is not as it should be, beside what the filter returned."""

    PLAINLY = "plainly"
    BY_SOME_ARGUMENTS = "by some arguments"
    UNRECORDED = "without its record"
    RECORDED = "with a record"
    RECORDED_OTHERWISE = "with another record"
    ANSWERED_OTHERWISE = "with another answer"
    BY_KERNEL = "by a kernel that does not honour the action"


class Place(NamedTuple):
    """Where something was judged: the environment of the record, the profile and the stack."""

    environment: int
    profile: str
    stack: int


class Thing(NamedTuple):
    """What a fate is about.

    Attributes:
        place: where it was judged.
        subject: the kind of thing that it is.
        arch: the ABI's name.
        name: the call's name, as cells have it; of a way its word, of an unknown number "unknown".
        number: the number as seccomp sees it; None where there is none.
    """

    place: Place
    subject: Subject
    arch: str
    name: str
    number: int | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one thing, by all cells about it.

    Attributes:
        thing: what it is about.
        kind: what became of it.
        outcome: the outcome that counts: of a fault *failed*, unless all of it is accepted, as
            with *waived*.
        manner: in which manner it is a fault; "plainly" where it is none.
        returned: what the filter returned for it, where it is a fault and that is known.
        open: the claims about it that could not be told, in the order of the claims.
        cells: all cells about it, in the order in which they came.
    """

    thing: Thing
    kind: Kind
    outcome: Outcome
    manner: Manner
    returned: FilterReturn | None
    open: tuple[Claim, ...]
    cells: tuple[Cell, ...]

    @property
    def faults(self) -> tuple[Cell, ...]:
        """The cells of claims that do not hold: not accepted ones first, then by what they tell."""
        found = filter(_is_fault, self.cells)
        return tuple(sorted(found, key=lambda cell: (_is_accepted(cell), _telling(cell))))


def fates(cells: Iterable[Cell]) -> tuple[Fate, ...]:
    """What became of everything that the cells are about, in the order in which they come.

    Controls are about the instrument and not among it.

    Args:
        cells: the cells of a run, or a part of them.
    """
    things: defaultdict[Thing, list[Cell]] = defaultdict(list)
    for cell in cells:
        if claims.of(cell.key.claim).about is not About.CONTROL:
            things[thing(cell)].append(cell)
    return tuple(_fate(one, tuple(members)) for one, members in things.items())


def thing(cell: Cell) -> Thing:
    """What a cell is about, so that all cells about the same thing are found."""
    key = cell.key
    subject = _subject(key)
    named = key.variant if subject is Subject.WAY else key.syscall
    place = Place(cell.environment, key.profile, key.stack)
    return Thing(place, subject, key.arch, named, None if subject is Subject.WAY else key.number)


def _subject(key: CellKey) -> Subject:
    about = claims.of(key.claim).about
    if about is About.PROOF:
        return _SCOPES.get(key.syscall, Subject.DOCUMENTED_CALL)
    return _SUBJECTS.get(about, Subject.DOCUMENTED_CALL)


_SCOPES: Final = {
    Scope.OTHER_CALLS.value: Subject.OTHER_CALL,
    Scope.UNKNOWN_NUMBERS.value: Subject.UNKNOWN_NUMBER,
    Scope.OTHER_ARCHITECTURES.value: Subject.OTHER_ARCHITECTURE,
}
_SUBJECTS: Final = {
    About.OTHER_CALL: Subject.OTHER_CALL,
    About.UNKNOWN_NUMBER: Subject.UNKNOWN_NUMBER,
    About.WAY: Subject.WAY,
    About.FINDING: Subject.PART,
}


def _is_fault(cell: Cell) -> bool:
    return cell.outcome in NOT_HOLDING


def _is_accepted(cell: Cell) -> bool:
    return cell.outcome is not Outcome.FAILED


_OPEN: Final = frozenset({Outcome.CANNOT_TELL, Outcome.BROKEN})


def _fate(one: Thing, cells: tuple[Cell, ...]) -> Fate:
    untold = {cell.key.claim for cell in cells if cell.outcome in _OPEN}
    open_ = tuple(claim for claim in Claim if claim in untold) if untold else ()
    found = [cell for cell in cells if _is_fault(cell)]
    if not found:
        kind = _kind_without_fault(cells)
        return Fate(one, kind, _outcome(kind, cells), Manner.PLAINLY, None, open_, cells)
    holds = any(_shows(cell) is Shows.ACT and cell.outcome is Outcome.PASSED for cell in cells)
    kind, first = _gravest(one.subject, found, holds=holds)
    outcome = min(found, key=_is_accepted).outcome
    seen = any(_shows(cell) is Shows.ACT and _is_decided(cell) for cell in cells)
    return Fate(one, kind, outcome, _manner(first, seen=seen), first.returned, open_, cells)


def _is_decided(cell: Cell) -> bool:
    return cell.outcome is Outcome.PASSED or _is_fault(cell)


def _kind_without_fault(cells: Sequence[Cell]) -> Kind:
    """The kind of what is no fault: as documented as soon as the claim about the act holds.

    Whether it is recorded, or so for all arguments, may be open then.
    """
    acts = [cell for cell in cells if _shows(cell) is Shows.ACT] or cells
    outcomes = {cell.outcome for cell in acts}
    if outcomes & _OPEN:
        return Kind.NOT_JUDGED
    return Kind.AS_DOCUMENTED if Outcome.PASSED in outcomes else Kind.NOT_APPLICABLE


def _outcome(kind: Kind, cells: Sequence[Cell]) -> Outcome:
    if kind is not Kind.NOT_JUDGED:
        return Outcome.PASSED if kind is Kind.AS_DOCUMENTED else Outcome.NOT_APPLICABLE
    broken = any(cell.outcome is Outcome.BROKEN for cell in cells)
    return Outcome.BROKEN if broken else Outcome.CANNOT_TELL


_ABOUT_RECORDS: Final = frozenset({Shows.RECORD, Shows.SILENCE})


def _shows(cell: Cell) -> Shows:
    return claims.of(cell.key.claim).shows


def _telling(cell: Cell) -> int:
    """The rank of a claim among those that show the same: what was seen at the call comes first."""
    if _shows(cell) is Shows.ACT:
        return 0
    return 1 if _shows(cell) in _ABOUT_RECORDS else 2


def _gravest(subject: Subject, found: Sequence[Cell], *, holds: bool) -> tuple[Kind, Cell]:
    """The gravest kind among claims that do not hold, and the claim that shows it best.

    A record that is amiss says nothing where the act is: another act leaves another record.

    Args:
        subject: what the claims are about.
        found: the claims, at least one.
        holds: whether the filter was seen to do what the profile asks, as to let a call run.
    """
    act = any(_shows(cell) is Shows.ACT for cell in found)
    counting = [cell for cell in found if not (act and _shows(cell) in _ABOUT_RECORDS)]
    kinds = [(_kind(subject, cell, holds=holds), cell) for cell in counting]
    return min(kinds, key=lambda one: (_rank(one[0]), _telling(one[1])))


def _rank(kind: Kind) -> int:
    return GRAVEST_FIRST.index(kind)


def _kind(subject: Subject, cell: Cell, *, holds: bool) -> Kind:
    if subject is Subject.OTHER_CALL:
        return Kind.BLOCKED_TOO_MUCH
    if cell.returned is None:
        unknown = subject in {Subject.PART, Subject.WAY}
        runs = holds and cell.key.profile == Profile.LOG
        unrecorded = runs and _shows(cell) is Shows.RECORD
        return Kind.GETS_THROUGH if unknown or unrecorded else Kind.REFUSED_OTHERWISE
    letting = _LETTING_UNRECORDED if cell.key.profile == Profile.LOG else _LETTING
    return Kind.GETS_THROUGH if cell.returned.action in letting else Kind.REFUSED_OTHERWISE


_LETTING_UNRECORDED: Final = frozenset({Action.ALLOW, Action.USER_NOTIF, Action.TRACE})
_LETTING: Final = _LETTING_UNRECORDED | {Action.LOG}
"""The actions of a filter that does not refuse the call itself."""


def _manner(cell: Cell, *, seen: bool) -> Manner:
    """The manner of a fault.

    Args:
        cell: the claim that shows it best.
        seen: whether the kernel showed what becomes of the call, with the arguments that it had.
    """
    shows, returned = _shows(cell), cell.returned
    if cell.cause is Cause.NOT_IMPLEMENTED:
        return Manner.BY_KERNEL
    if shows is Shows.RECORD:
        return Manner.UNRECORDED if returned is None else Manner.RECORDED_OTHERWISE
    # Of a call that ERRNO did not refuse this claim says what became of it instead.
    if shows is Shows.SILENCE and returned is not None and returned.action is Action.ERRNO:
        return Manner.RECORDED
    if shows is Shows.EVERY_ARGUMENT and seen:
        return Manner.BY_SOME_ARGUMENTS
    return Manner.ANSWERED_OTHERWISE if returned is None else Manner.PLAINLY
