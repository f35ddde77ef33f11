"""Waivers: failures that somebody accepts, for a reason and for a time. Pure, but for ``load``.

A waiver names one call on one ABI of the targets that it is for, who asked for it and who granted
it, and its last day. It turns *failed* into *waived* and nothing else: neither a control, nor a
cell that is broken or could not be told, for nobody can accept what nobody knows. A waiver that
has expired, that names no cell, or that no failure needs any more is a fault itself.

A file holds tables such as this one::

    format = 1

    [[waiver]]
    call = "acct"
    arch = "x86_64"
    target = "oci:*"
    profile = "errno"     # only this profile; may be left out
    claim = "is silent"   # only this claim; may be left out
    reason = "what makes the failure acceptable"
    owner = "who works on mending it"
    approver = "who accepted the risk"
    created = 2026-01-31
    expires = 2026-04-30  # the last day, in UTC
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Self

from probes import files
from probes.action import Profile
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.deviation import KnownDeviation, accept
from probes.documents.toml_file import (
    MOST_BYTES,
    KeyRule,
    check_keys,
    parse,
    suggestion,
    table_places,
)
from probes.errors import BadInputError
from probes.text import shown

FORMAT: Final = 1
"""The version of the file format that this module reads."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A failure that is accepted.

    Attributes:
        call: the call's name, as a cell has it.
        arch: the ABI's name, as a cell has it.
        target: a pattern for the word of ``--target``, in which ``*`` stands for anything.
        reason: what makes the failure acceptable.
        owner: who works on mending it.
        approver: who accepted the risk.
        created: its first day.
        expires: its last day.
        profile: the only profile; None for every one.
        claim: the only claim; None for every one.
    """

    call: str
    arch: str
    target: str
    reason: str
    owner: str
    approver: str
    created: date
    expires: date
    profile: str | None = None
    claim: Claim | None = None

    def names(self, key: CellKey) -> bool:
        """Whether the waiver is for this cell, whatever the target and the day."""
        return (
            key.claim is not Claim.CONTROLS
            and (key.syscall, key.arch) == (self.call, self.arch)
            and self.profile in {None, key.profile}
            and self.claim in {None, key.claim}
        )

    def is_for(self, target: str) -> bool:
        """Whether the waiver is for this target, given as the word of ``--target``."""
        return fnmatchcase(target, self.target)

    def __str__(self) -> str:
        """The call, ABI and whatever else the waiver is for, in a few words."""
        narrower = ", ".join(filter(None, (self.claim, self.profile)))
        return f"{self.call} on {self.arch}{f' ({narrower})' if narrower else ''}"


class WaiverState(StrEnum):
    """The state of a waiver after a run."""

    ACTIVE = "active"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    UNUSED = "unused"
    UNKNOWN = "unknown"
    OUT_OF_SCOPE = "out of scope"


FAULTS: Final = frozenset({WaiverState.EXPIRED, WaiverState.UNUSED, WaiverState.UNKNOWN})
"""The states that make a run fail."""


@dataclass(frozen=True, slots=True)
class JudgedWaiver:
    """A waiver and its state after a run.

    Attributes:
        waiver: the waiver.
        state: its state.
        days_left: full days from the run's start to its last day: 0 on that day, less than 0
            after it.
        waived: how many failures it turned into *waived*.
        sentence: the same in one sentence for people.
    """

    waiver: Waiver
    state: WaiverState
    days_left: int
    waived: int
    sentence: str


@dataclass(frozen=True, slots=True)
class WaiverScope:
    """The facts of a run by which waivers are judged.

    Attributes:
        target: the word of ``--target``.
        today: the day in UTC on which the run started.
        planned: the cells of the whole job under its options, whether selected or not.
        calls: the names of all calls that some table knows.
        arches: the names of all ABIs.
    """

    target: str
    today: date
    planned: Collection[CellKey]
    calls: Collection[str]
    arches: Collection[str]


def load(path: Path) -> tuple[Waiver, ...]:
    """Loads and validates a file of waivers.

    A call or an ABI that no table knows is no fault of the file: ``judge`` reports such a waiver
    as unknown, beside all others.

    Args:
        path: the TOML file.

    Returns:
        The waivers in the file's order; none for a file without any.

    Raises:
        BadInputError: the file cannot be read, or something in it is wrong.
    """
    data = files.read_whole(path, MOST_BYTES, "the TOML file of the waivers")
    text, head = parse(path, data, "a file of waivers")
    place = shown(path)
    if type(head.get("format")) is int and head["format"] != FORMAT:
        raise BadInputError(
            f"{place}: 'format' is not {FORMAT}, the only one that this suite reads; "
            f"use the suite that the waivers were written for, or rewrite them"
        )
    check_keys(head, _HEAD, f"{place}: the file", "add it above the first [[waiver]]")
    tables = head.get("waiver", [])
    places = table_places(text, "waiver", len(tables))
    return tuple(
        _waiver(table, f"{place}, {where}: the waiver")
        for table, where in zip(tables, places, strict=True)
    )


_HEAD: Final = {"format": KeyRule(int), "waiver": KeyRule(list, item=dict, required=False)}
_WAIVER: Final = {
    "call": KeyRule(str),
    "arch": KeyRule(str),
    "target": KeyRule(str),
    "profile": KeyRule(str, required=False),
    "claim": KeyRule(str, required=False),
    "reason": KeyRule(str),
    "owner": KeyRule(str),
    "approver": KeyRule(str),
    "created": KeyRule(date),
    "expires": KeyRule(date),
}
_CLAIMS: Final = {claim.value: claim for claim in Claim if claim is not Claim.CONTROLS}
_PROFILES: Final = frozenset(profile.value for profile in Profile)


def _waiver(table: dict[str, Any], whose: str) -> Waiver:
    check_keys(table, _WAIVER, whose, "add it to this [[waiver]] table")
    waiver = Waiver(**{name: value for name, value in table.items() if name != "claim"})
    whose = f"{whose} of {shown(str(waiver))}"
    if waiver.profile is not None and waiver.profile not in _PROFILES:
        raise BadInputError(
            f"{whose} has the unknown profile '{shown(waiver.profile)}'"
            f"{suggestion(waiver.profile, _PROFILES)}"
        )
    if waiver.expires < waiver.created:
        raise BadInputError(
            f"{whose} expires on {waiver.expires}, before it was created on {waiver.created}; "
            f"correct one of the two"
        )
    word = table.get("claim")
    if word is None:
        return waiver
    if word == Claim.CONTROLS:
        raise BadInputError(
            f"{whose} has the claim '{word}', which nobody can waive: without it no verdict counts"
        )
    if word not in _CLAIMS:
        raise BadInputError(
            f"{whose} has the unknown claim '{shown(word)}'{suggestion(word, _CLAIMS)}"
        )
    return replace(waiver, claim=_CLAIMS[word])


def waive(cells: Iterable[Cell], waivers: Sequence[Waiver], target: str, today: date) -> list[Cell]:
    """The cells, those that failed and that a valid waiver is for turned into *waived*.

    Where several are for one cell, the first in the file's order takes it.

    Args:
        cells: what was judged.
        waivers: the file's, all of them, for a waived cell holds the index of its own.
        target: the word of ``--target``.
        today: the day in UTC on which the run started.
    """
    valid = [
        (index, waiver)
        for index, waiver in enumerate(waivers)
        if waiver.is_for(target) and waiver.created <= today <= waiver.expires
    ]
    return [_waived(cell, valid) for cell in cells]


def _waived(cell: Cell, valid: Iterable[tuple[int, Waiver]]) -> Cell:
    if cell.outcome is not Outcome.FAILED:
        return cell
    for index, waiver in valid:
        if waiver.names(cell.key):
            granted = (
                f"; waived until {waiver.expires} by {waiver.approver}"
                f" (owner {waiver.owner}): {waiver.reason}"
            )
            return replace(
                cell,
                outcome=Outcome.WAIVED,
                sentence=f"{cell.sentence}{granted}",
                waiver=index,
                reason=f"{cell.why}{granted}",
            )
    return cell


@dataclass(frozen=True, slots=True)
class Granted:
    """What a run forgives, which each of its processes takes for the same target and day.

    Attributes:
        waivers: the file's.
        target: the word of ``--target``.
        today: the day in UTC on which the run started.
        accepted: what runtimes do to every profile and the run accepts.
    """

    waivers: tuple[Waiver, ...]
    target: str
    today: date
    accepted: tuple[KnownDeviation, ...] = ()

    def waive(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells, those that failed and that are forgiven turned into *accepted* or *waived*.

        What is accepted needs no waiver.
        """
        left = accept(cells, self.accepted)
        return waive(left, self.waivers, self.target, self.today)

    def judge(
        self,
        planned: Collection[CellKey],
        calls: Collection[str],
        arches: Collection[str],
        cells: Iterable[Cell],
    ) -> tuple[JudgedWaiver, ...]:
        """Finds the state of each waiver.

        Args:
            planned: the cells of the whole job under its options, whether selected or not.
            calls: the names of all calls that some table knows.
            arches: the names of all ABIs.
            cells: what was judged, after ``waive``.
        """
        scope = WaiverScope(self.target, self.today, planned, calls, arches)
        return judge(self.waivers, scope, cells)

    @property
    def unjudged(self) -> tuple[JudgedWaiver, ...]:
        """The waivers of a run that has not come to its end."""
        return tuple(
            JudgedWaiver(
                waiver=waiver,
                state=WaiverState.OUT_OF_SCOPE,
                days_left=(waiver.expires - self.today).days,
                waived=0,
                sentence=f"the waiver of {waiver} was not judged: the run did not come to its end",
            )
            for waiver in self.waivers
        )

    def to_plain(self) -> dict[str, Any]:
        """Turns the waivers into built-in types that can be sent to another process."""
        return {
            "waivers": [
                {
                    **{name: getattr(waiver, name) for name in _WAIVER},
                    "claim": None if waiver.claim is None else waiver.claim.value,
                    "created": waiver.created.isoformat(),
                    "expires": waiver.expires.isoformat(),
                }
                for waiver in self.waivers
            ],
            "target": self.target,
            "today": self.today.isoformat(),
            "accepted": [name.value for name in self.accepted],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuilds the waivers from what ``to_plain`` returned."""
        waivers = tuple(
            Waiver(
                **{
                    **fields,
                    "claim": None if fields["claim"] is None else Claim(fields["claim"]),
                    "created": date.fromisoformat(fields["created"]),
                    "expires": date.fromisoformat(fields["expires"]),
                }
            )
            for fields in plain["waivers"]
        )
        accepted = tuple(map(KnownDeviation, plain["accepted"]))
        return cls(waivers, plain["target"], date.fromisoformat(plain["today"]), accepted)


def judge(
    waivers: Sequence[Waiver], scope: WaiverScope, cells: Iterable[Cell]
) -> tuple[JudgedWaiver, ...]:
    """Finds the state of each waiver.

    Args:
        waivers: the waivers of the file.
        scope: the facts of the run.
        cells: the judged cells, after ``waive``.
    """
    found: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        found[cell.key.syscall, cell.key.arch].append(cell)
    credited = Counter(cell.waiver for same in found.values() for cell in same)
    judged = []
    for index, waiver in enumerate(waivers):
        mine = [c for c in found[waiver.call, waiver.arch] if waiver.names(c.key)]
        state, why = _state(waiver, scope, mine, credited[index])
        judged.append(
            JudgedWaiver(
                waiver=waiver,
                state=state,
                days_left=(waiver.expires - scope.today).days,
                waived=credited[index],
                sentence=f"the waiver of {waiver} {why}",
            )
        )
    return tuple(judged)


def _state(
    waiver: Waiver, scope: WaiverScope, mine: Sequence[Cell], waived: int
) -> tuple[WaiverState, str]:
    """The state and the end of its sentence; faults of the file come before those of cells."""
    if standing := _standing(waiver, scope):
        return standing
    named = sum(waiver.names(key) for key in scope.planned)
    if not named:
        return WaiverState.UNKNOWN, "names no cell that can be judged: correct or remove it"
    if scope.today < waiver.created:
        return WaiverState.NOT_YET_VALID, f"is not valid before {waiver.created} (UTC)"
    if waived:
        failures = "1 failure" if waived == 1 else f"{waived} failures"
        return WaiverState.ACTIVE, f"covers {failures} until {waiver.expires}"
    return _idle(mine, named)


def _standing(waiver: Waiver, scope: WaiverScope) -> tuple[WaiverState, str] | None:
    """The state of a waiver that can cover no cell of this job; None if it can cover some."""
    if not waiver.is_for(scope.target):
        return WaiverState.OUT_OF_SCOPE, f"is for other targets: {shown(waiver.target)}"
    if scope.today > waiver.expires:
        return WaiverState.EXPIRED, (
            f"expired on {waiver.expires}: mend what it is for, or have {waiver.approver} decide"
            " anew"
        )
    if trouble := _stranger(waiver, scope):
        return WaiverState.UNKNOWN, trouble
    if missing := _not_asked(waiver, scope):
        return WaiverState.OUT_OF_SCOPE, f"is for what this run does not judge: {missing}"
    return None


def _stranger(waiver: Waiver, scope: WaiverScope) -> str:
    if waiver.call not in scope.calls and all(k.syscall != waiver.call for k in scope.planned):
        near = suggestion(waiver.call, scope.calls)
        return f"names a call that is in no architecture's table{near}"
    if waiver.arch not in scope.arches and all(k.arch != waiver.arch for k in scope.planned):
        return f"names an unknown ABI{suggestion(waiver.arch, scope.arches)}"
    return ""


def _not_asked(waiver: Waiver, scope: WaiverScope) -> str:
    """The ABI, profile and claim of the waiver that no cell of the job has."""
    asked = {
        waiver.arch: any(key.arch == waiver.arch for key in scope.planned),
        waiver.profile: any(key.profile == waiver.profile for key in scope.planned),
        waiver.claim: any(key.claim == waiver.claim for key in scope.planned),
    }
    return ", ".join(word for word, has in asked.items() if word is not None and not has)


def _idle(mine: Sequence[Cell], named: int) -> tuple[WaiverState, str]:
    """The state of a valid waiver that covered no failure."""
    if any(cell.outcome is Outcome.WAIVED for cell in mine):
        return WaiverState.UNUSED, "covers nothing that an earlier one does not cover: remove it"
    decided = sum(cell.outcome in _NEED_NONE for cell in mine)
    if decided < named:
        return WaiverState.OUT_OF_SCOPE, (
            f"cannot be judged: {named - decided} of its {named} cells were not selected or not"
            " decided"
        )
    return WaiverState.UNUSED, "covers nothing, for what it names did not fail: remove it"


_NEED_NONE: Final = frozenset({Outcome.PASSED, Outcome.NOT_APPLICABLE, Outcome.ACCEPTED})
"""The outcomes of cells that need no waiver."""
