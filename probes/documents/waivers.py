"""Waivers: failures that somebody accepts, for a reason and for a time. Pure, but for ``load``.

A waiver names calls on ABIs of the targets that it is for, who asked for it and who granted it,
and its last day. It turns *failed* into *waived* and nothing else: neither a control, nor a
cell that is broken or could not be told, for nobody can accept what nobody knows. A waiver that
has expired, that names no cell, or that no failure needs any more is a fault itself.

A file holds tables such as this one::

    format = 1

    [[waiver]]
    call = "acct"         # or a list, in whose names * stands for anything
    arch = "x86_64"       # likewise
    target = "oci:*"
    profile = "errno"     # only this profile; may be left out
    claim = "is silent"   # only this claim; may be left out
    kernel = "<6.12"      # only these kernels; may be left out, as runtime and libseccomp
    reason = "what makes the failure acceptable"
    owner = "who works on mending it"
    approver = "who accepted the risk"
    created = 2026-01-31
    expires = 2026-04-30  # the last day, in UTC
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from probes.documents.patterns import (
    APART,
    alternatives,
    in_range,
    is_for_nearly_anything,
    is_range,
    is_wild,
    matches,
)
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
        call: a pattern for the call's name, as a cell has it.
        arch: a pattern for the ABI's name, as a cell has it.
        target: a pattern for the word of ``--target``, in which ``*`` stands for anything.
        reason: what makes the failure acceptable.
        owner: who works on mending it.
        approver: who accepted the risk.
        created: its first day.
        expires: its last day.
        profile: the only profile; None for every one.
        claim: the only claim; None for every one.
        kernel: the range of the only releases of the kernel; None for every one.
        runtime: the range of the only versions of the runtime that has started the target; None
            for every one.
        libseccomp: the range of the only versions of the libseccomp that has made the target's
            filters; None for every one.
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
    kernel: str | None = None
    runtime: str | None = None
    libseccomp: str | None = None

    def names(self, key: CellKey) -> bool:
        """Whether the waiver is for this cell, whatever the target and the day."""
        return (
            key.claim is not Claim.CONTROLS
            and self.covers(key.syscall, key.arch)
            and self.profile in {None, key.profile}
            and self.claim in {None, key.claim}
        )

    def covers(self, call: str, arch: str) -> bool:
        """Whether the waiver is for a call on an ABI, whatever the claim."""
        return matches(self.arch, arch) and matches(self.call, call)

    def is_for(self, target: str) -> bool:
        """Whether the waiver is for this target, given as the word of ``--target``."""
        return fnmatchcase(target, self.target)

    def limits(self, here: "Surroundings") -> Iterator[tuple[str, str, str]]:
        """What the waiver is limited to: the word, the range, and the version of a run."""
        for name in _LIMITS:
            versions: str | None = getattr(self, name)
            if versions is not None:
                yield name, versions, getattr(here, name)

    def is_within(self, here: "Surroundings") -> bool:
        """Whether the waiver is for a run with these versions."""
        return all(in_range(versions, version) for _, versions, version in self.limits(here))

    def __str__(self) -> str:
        """The calls, ABIs and whatever else the waiver is for, in a few words."""
        ranges = (f"{name} {versions}" for name, versions, _ in self.limits(_NOT_KNOWN))
        narrower = ", ".join(filter(None, (self.claim, self.profile, *ranges)))
        which = f"{_listed(self.call)} on {_listed(self.arch)}"
        return f"{which}{f' ({narrower})' if narrower else ''}"


_MOST_NAMES: Final = 4


def _listed(pattern: str) -> str:
    """The first names of a pattern."""
    names = alternatives(pattern)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The versions to which waivers may be limited; "" for one that is not known.

    Attributes:
        kernel: the kernel's release.
        runtime: the release of the runtime that has started the target.
        libseccomp: that of the libseccomp that has made the target's filters.
    """

    kernel: str = ""
    runtime: str = ""
    libseccomp: str = ""


_NOT_KNOWN: Final = Surroundings()
_LIMITS: Final = ("kernel", "runtime", "libseccomp")


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
        here: the versions of the run.
    """

    target: str
    today: date
    planned: Collection[CellKey]
    calls: Collection[str]
    arches: Collection[str]
    here: Surroundings = _NOT_KNOWN


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
    **{name: KeyRule(str, required=False) for name in _LIMITS},
    "reason": KeyRule(str),
    "owner": KeyRule(str),
    "approver": KeyRule(str),
    "created": KeyRule(date),
    "expires": KeyRule(date),
}
_CLAIMS: Final = {claim.value: claim for claim in Claim if claim is not Claim.CONTROLS}
_PROFILES: Final = frozenset(profile.value for profile in Profile)


def _waiver(table: dict[str, Any], whose: str) -> Waiver:
    table = _joined(table, whose)
    if table.get("expires") == "":
        raise BadInputError(
            f"{whose}: 'expires' is empty; fill in the last day, such as {_EXAMPLE_DAY}, without"
            " quotation marks"
        )
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
    for name, versions, _ in waiver.limits(_NOT_KNOWN):
        if not is_range(versions):
            raise BadInputError(
                f"{whose}: '{name}' is '{shown(versions)}'; write a range of versions like"
                f" >=6.1, <6.12"
            )
    word = table.get("claim")
    _check_width(waiver, word, whose)
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


_EXAMPLE_DAY: Final = "2026-04-30"


def _joined(table: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """The table, its lists of names as one pattern each.

    Raises:
        BadInputError: a list holds something else than names.
    """
    joined = dict(table)
    for key in ("call", "arch"):
        value = table.get(key)
        if isinstance(value, list):
            check_keys({key: value}, {key: KeyRule(list, item=str)}, whose, "")
            if not value:
                raise BadInputError(f"{whose}: '{key}' is an empty list; fill it in")
            joined[key] = APART.join(value)
    return joined


_WITHOUT_DOCUMENTED: Final = frozenset({Claim.LEAVES_THE_REST_ALONE, Claim.DEFAULT_ACTION})
"""The claims that are about no documented call, so that a waiver may be for all of them."""


def _check_width(waiver: Waiver, claim: str | None, whose: str) -> None:
    """Refuses a waiver for whatever call there is, which would hide an open platform.

    Raises:
        BadInputError: it is one.
    """
    wide = next(filter(is_for_nearly_anything, alternatives(waiver.call)), None)
    if wide is not None and claim not in _WITHOUT_DOCUMENTED:
        raise BadInputError(
            f"{whose}: 'call' is '{shown(wide)}', which would waive nearly whatever fails; name the"
            f" calls, or give 'claim' as '{Claim.LEAVES_THE_REST_ALONE}' or"
            f" '{Claim.DEFAULT_ACTION}', which are about no documented call"
        )


def waive(
    cells: Iterable[Cell],
    waivers: Sequence[Waiver],
    target: str,
    today: date,
    here: Surroundings = _NOT_KNOWN,
) -> list[Cell]:
    """The cells, those that failed and that a valid waiver is for turned into *waived*.

    Where several are for one cell, the first in the file's order takes it.

    Args:
        cells: what was judged.
        waivers: the file's, all of them, for a waived cell holds the index of its own.
        target: the word of ``--target``.
        today: the day in UTC on which the run started.
        here: the versions of the run.
    """
    valid = [
        (index, waiver)
        for index, waiver in enumerate(waivers)
        if waiver.is_for(target)
        and waiver.created <= today <= waiver.expires
        and waiver.is_within(here)
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
        here: the versions to which waivers may be limited.
    """

    waivers: tuple[Waiver, ...]
    target: str
    today: date
    accepted: tuple[KnownDeviation, ...] = ()
    here: Surroundings = _NOT_KNOWN

    def waive(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells, those that failed and that are forgiven turned into *accepted* or *waived*.

        What is accepted needs no waiver.
        """
        left = accept(cells, self.accepted)
        return waive(left, self.waivers, self.target, self.today, self.here)

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
        scope = WaiverScope(self.target, self.today, planned, calls, arches, self.here)
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
            "here": [getattr(self.here, name) for name in _LIMITS],
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
        here = Surroundings(*plain["here"])
        return cls(waivers, plain["target"], date.fromisoformat(plain["today"]), accepted, here)


def judge(
    waivers: Sequence[Waiver], scope: WaiverScope, cells: Iterable[Cell]
) -> tuple[JudgedWaiver, ...]:
    """Finds the state of each waiver.

    Args:
        waivers: the waivers of the file.
        scope: the facts of the run.
        cells: the judged cells, after ``waive``.
    """
    every = list(cells)
    found: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in every:
        found[cell.key.syscall, cell.key.arch].append(cell)
    credited = Counter(cell.waiver for cell in every)
    judged = []
    for index, waiver in enumerate(waivers):
        # Of the many that are for one call of one ABI each, not every cell has to be looked at.
        near = found.get((waiver.call, waiver.arch), every)
        mine = [c for c in near if waiver.names(c.key)]
        state, why = _state(waiver, scope, mine, index)
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
    waiver: Waiver, scope: WaiverScope, mine: Sequence[Cell], index: int
) -> tuple[WaiverState, str]:
    """The state and the end of its sentence; faults of the file come before those of cells."""
    if standing := _standing(waiver, scope):
        return standing
    named = sum(waiver.names(key) for key in scope.planned)
    if not named:
        return WaiverState.UNKNOWN, "names no cell that can be judged: correct or remove it"
    if scope.today < waiver.created:
        return WaiverState.NOT_YET_VALID, f"is not valid before {waiver.created} (UTC)"
    covered = [cell for cell in mine if cell.waiver == index]
    waived = len(covered)
    if waived and (idle := _idle_name(waiver, mine, covered)):
        return WaiverState.UNUSED, f"covers nothing for {shown(idle)}: take that out of it"
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
    for name, versions, version in waiver.limits(scope.here):
        if not in_range(versions, version):
            found = f"here is {shown(version)}" if version else "which is not known here"
            return WaiverState.OUT_OF_SCOPE, f"is limited to {name} {versions}, and {found}"
    if missing := _not_asked(waiver, scope):
        return WaiverState.OUT_OF_SCOPE, f"is for what this run does not judge: {missing}"
    return None


def _stranger(waiver: Waiver, scope: WaiverScope) -> str:
    calls = {*scope.calls, *(key.syscall for key in scope.planned)}
    for name in alternatives(waiver.call):
        if not _names_any(name, calls):
            which = f" ({shown(name)})" if name != waiver.call else ""
            near = suggestion(name, scope.calls)
            return f"names a call that is in no architecture's table{which}{near}"
    arches = {*scope.arches, *(key.arch for key in scope.planned)}
    for name in alternatives(waiver.arch):
        if not _names_any(name, arches):
            which = f" ({shown(name)})" if name != waiver.arch else ""
            return f"names an unknown ABI{which}{suggestion(name, scope.arches)}"
    return ""


def _names_any(pattern: str, names: Collection[str]) -> bool:
    """Whether a pattern is for one of the names; quick where it has no wildcard."""
    return pattern in names or (is_wild(pattern) and any(matches(pattern, one) for one in names))


def _idle_name(waiver: Waiver, mine: Sequence[Cell], covered: Sequence[Cell]) -> str:
    """A name of a waiver for several that covers nothing, although all of it was decided."""
    for pattern, of in ((waiver.call, _call_of), (waiver.arch, _arch_of)):
        for name in alternatives(pattern) if APART in pattern else ():
            its = [cell for cell in mine if matches(name, of(cell))]
            is_idle = its and not any(matches(name, of(cell)) for cell in covered)
            if is_idle and all(cell.outcome in _NEED_NONE for cell in its):
                return name
    return ""


def _call_of(cell: Cell) -> str:
    return cell.key.syscall


def _arch_of(cell: Cell) -> str:
    return cell.key.arch


def _not_asked(waiver: Waiver, scope: WaiverScope) -> str:
    """The ABI, profile and claim of the waiver that no cell of the job has."""
    asked = {
        waiver.arch: any(matches(waiver.arch, key.arch) for key in scope.planned),
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
