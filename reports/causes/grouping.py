"""What is not as documented, by cause: each cause once, with all that it concerns. Pure.

One rule that is wrong fails many cells: of several claims, ABIs and kernels. Whoever mends it wants
to read of it once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from probes.action import Action, FilterReturn, Profile, errno_name
from probes.cell import Cell, Outcome
from probes.judging import kinds
from probes.judging.kinds import FAULTS, GRAVEST_FIRST, Fate, Kind, Manner, Place, Subject
from probes.judging.plan import Scope
from reports.results import Run, in_order
from reports.summary import call_name, gathered, ordered_arches


class _Alike(NamedTuple):
    """What fates have in common that have one cause."""

    profile: str
    subject: Subject
    kind: Kind
    manner: Manner
    returned: FilterReturn | None
    wanted: str
    outcome: Outcome


@dataclass(frozen=True)
class FaultGroup:
    """Faults that have one cause.

    Attributes:
        profile: the profile under which they are faults.
        subject: the kind of things that they are about.
        kind: what became of these.
        manner: in which manner it is a fault.
        returned: what the filter returned for them; None where it is not known.
        wanted: what it should have returned, in words.
        outcome: *failed*, or how all of it is accepted, such as *waived*.
        fates: the things, at least one.
        followers: what follows from that: faults of other things for which the filter did the same.
    """

    profile: str
    subject: Subject
    kind: Kind
    manner: Manner
    returned: FilterReturn | None
    wanted: str
    outcome: Outcome
    fates: tuple[Fate, ...]
    followers: tuple[Fate, ...] = ()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of claims that do not hold for this cause, those of the first fate first."""
        every = (*self.fates, *self.followers)
        return tuple(cell for fate in every for cell in fate.faults)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The calls, numbers or ways, each once; none for what an analysis alone speaks about."""
        told = (name_of(fate) for fate in self.fates)
        return tuple(dict.fromkeys(name for name in told if name))

    @property
    def arches(self) -> tuple[str, ...]:
        """The ABIs, each once, as the fates come."""
        return tuple(dict.fromkeys(fate.thing.arch for fate in self.fates))

    @property
    def environments(self) -> tuple[int, ...]:
        """The record's environments in which it is so, counted from 0."""
        return tuple(sorted({fate.thing.place.environment for fate in self.fates}))


_SCOPES: Final = frozenset(scope.value for scope in Scope)


def name_of(fate: Fate) -> str:
    """What a fate is about, in a word; "" for what stands for many things."""
    one = fate.thing
    if one.subject is Subject.WAY:
        return one.name
    return "" if one.name in _SCOPES else call_name(fate.cells[0].key)


def causes(run: Run, environments: Iterable[int] | None = None) -> tuple[FaultGroup, ...]:
    """What is not as documented, by cause: the gravest first, what is accepted last.

    Args:
        run: the run.
        environments: those that count; all of them unless given.
    """
    every = kinds.fates(in_order(run.cells))
    chosen = None if environments is None else set(environments)
    counting = [one for one in every if chosen is None or one.thing.place.environment in chosen]
    return grouped(run, counting)


def grouped(run: Run, fates: Sequence[Fate]) -> tuple[FaultGroup, ...]:
    """The faults among some fates, by cause: the gravest first, what is accepted last.

    Args:
        run: the run.
        fates: the fates, as ``probes.judging.kinds.fates`` gives them.
    """
    errnos = {call.name: call.errno for call in run.policy.calls if call.errno}
    faults = [fate for fate in fates if fate.kind in FAULTS]
    leaders = _Leaders(fates)
    led = {fate.thing: leaders(fate) for fate in faults}
    groups = gathered(
        (fate for fate in faults if led[fate.thing] is None), lambda fate: _alike(fate, errnos)
    )
    followers = gathered(
        (fate for fate in faults if led[fate.thing] is not None),
        lambda fate: _alike(led[fate.thing] or fate, errnos),
    )
    arches = ordered_arches(run, (fate.cells[0] for fate in faults))
    order = {arch: place for place, arch in enumerate(arches)}
    found = [
        FaultGroup(
            *alike,
            tuple(sorted(members, key=lambda fate: (name_of(fate), order[fate.thing.arch]))),
            tuple(followers.get(alike, ())),
        )
        for alike, members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: _order(run, group)))


def _alike(fate: Fate, errnos: Mapping[str, tuple[str, ...]]) -> _Alike:
    place = fate.thing.place
    wanted = " or ".join(errnos.get(fate.thing.name, ())) or _wanted(place.profile)
    # The data of a tracer or a handler tells causes no further apart.
    returned = fate.returned
    if returned is not None and returned.action is not Action.ERRNO:
        returned = FilterReturn(returned.action)
    return _Alike(
        place.profile,
        fate.thing.subject,
        fate.kind,
        fate.manner,
        returned,
        wanted,
        fate.outcome,
    )


def _wanted(profile: str) -> str:
    """What the filter has to answer under a profile, in a word."""
    known = profile in set(Profile)
    return answered(Profile(profile).returns) if known else profile


def answered(returned: FilterReturn) -> str:
    """What a filter returned, in a word: the errno of a refusal, or the action."""
    if returned.action is Action.ERRNO:
        return errno_name(returned.data)
    return returned.action.name


class _Leaders:
    """Finds the faults that others follow from."""

    def __init__(self, fates: Iterable[Fate]) -> None:
        self._calls: dict[tuple[Place, str, str], Fate] = {}
        self._others: dict[tuple[Place, str], list[Fate]] = {}
        for fate in fates:
            one = fate.thing
            if fate.kind not in FAULTS or one.name in _SCOPES:
                continue
            if one.subject is Subject.DOCUMENTED_CALL:
                self._calls[one.place, one.arch, one.name] = fate
            else:
                self._others.setdefault((one.place, one.arch), []).append(fate)

    def __call__(self, fate: Fate) -> Fate | None:
        """The fault that a fault follows from; None where it stands for itself.

        What becomes of a call in a child is no news where it is the same in its parent, nor what
        an analysis says of many calls where some of them were seen.
        """
        one = fate.thing
        if one.subject is Subject.WAY:
            call = self._calls.get((one.place, one.arch, fate.cells[0].key.syscall))
            return call if call is not None and _is_same(call, fate) else None
        if one.name not in _SCOPES:
            return None
        seen = [
            other
            for other in self._others.get((one.place, one.arch), ())
            if (other.thing.subject, other.kind) == (one.subject, fate.kind)
            and other.outcome is fate.outcome
        ]
        alike = [other for other in seen if other.returned == fate.returned]
        return next(iter((*alike, *seen)), None)


def _is_same(call: Fate, way: Fate) -> bool:
    """Whether what becomes of a call in a child is what becomes of it in its parent."""
    if (call.kind, call.outcome) != (way.kind, way.outcome):
        return False
    unrecorded = call.kind is Kind.GETS_THROUGH and call.returned is None
    return unrecorded or call.returned == way.returned


def _order(run: Run, group: FaultGroup) -> tuple[bool, int, int, int, int]:
    profiles = {profile: place for place, profile in enumerate(run.profiles)}
    return (
        group.outcome is not Outcome.FAILED,
        profiles.get(group.profile, len(profiles)),
        GRAVEST_FIRST.index(group.kind),
        tuple(Subject).index(group.subject),
        -len(group.names),
    )
