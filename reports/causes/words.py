"""What became of calls, in words: the same ones on a terminal, a page and in every format. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from probes.action import Action, FilterReturn, Profile
from probes.cell import Outcome
from probes.judging.kinds import Fate, Kind, Manner, Subject
from reports.causes.grouping import FaultGroup, answered, name_of
from reports.results import Run
from reports.summary import gathered, ordered_arches


def noun(group: FaultGroup) -> str:
    """What a group is about, with its number: ``2 documented calls``."""
    if group.subject in _NOUNS_WITHOUT_NUMBER:
        return _NOUNS_WITHOUT_NUMBER[group.subject]
    return _NOUNS[group.subject](len(group.names))


def _documented(count: int) -> str:
    return f"{count:,} documented call{'' if count == 1 else 's'}"


def _others(count: int) -> str:
    if not count:
        return "calls that the document does not name"
    names = "call that the document does not name" if count == 1 else _others(0)
    return f"{count:,} {names}"


_NOUNS: Final = {
    Subject.DOCUMENTED_CALL: _documented,
    Subject.OTHER_CALL: _others,
}
_NOUNS_WITHOUT_NUMBER: Final = {
    Subject.UNKNOWN_NUMBER: "numbers that no table knows",
    Subject.OTHER_ARCHITECTURE: "calls of every other architecture",
    Subject.WAY: "documented calls in processes that come of others",
    Subject.PART: "parts of the target",
}


def predicate(group: FaultGroup) -> str:
    """What became of what a group is about, as a verb for several things or for one."""
    return verb(group, one=group.subject in _COUNTED and len(group.names) == 1)


_COUNTED: Final = frozenset({Subject.DOCUMENTED_CALL, Subject.OTHER_CALL})


def verb(group: FaultGroup, *, one: bool) -> str:
    """What became of things: ``get through``, ``are answered by EPERM instead of KILL_PROCESS``.

    Args:
        group: the group of the things.
        one: whether the sentence is about a single one.
    """
    words = _Words("is", "s", "has") if one else _Words("are", "", "have")
    if group.kind is Kind.BLOCKED_TOO_MUCH:
        by = _by(group.returned)
        said = f"{too_much(group.returned, words.be)}{by}"
    elif group.kind is Kind.GETS_THROUGH and group.manner is not Manner.BY_KERNEL:
        said = _through(group, words)
    else:
        said = _refused(group, words)
    return f"{said} with some arguments" if group.manner is Manner.BY_SOME_ARGUMENTS else said


def _by(returned: FilterReturn | None) -> str:
    """By which action a call is refused; "" for one that goes on."""
    if returned is None or returned.action.reaches_kernel or returned.action in _HANDED_ON:
        return ""
    return f", by {answered(returned)}"


class _Words(NamedTuple):
    """The words that go with one thing, or with several."""

    be: str
    s: str
    have: str


def _refused(group: FaultGroup, words: _Words) -> str:
    returned = "" if group.returned is None else answered(group.returned)
    plainly = (
        f"{words.be} answered by {returned} instead of {group.wanted}"
        if returned
        else f"answer{words.s} otherwise than without a filter"
    )
    said = {
        Manner.BY_KERNEL: f"{words.be} answered by a kernel that does not honour {group.wanted}",
        Manner.UNRECORDED: f"leave{words.s} no record",
        Manner.RECORDED: f"leave{words.s} a record",
        Manner.RECORDED_OTHERWISE: f"{words.have} a record that says {returned}",
    }
    return said.get(group.manner, plainly)


def too_much(returned: FilterReturn | None, be: str) -> str:
    """What becomes of calls that should be let be.

    Args:
        returned: what the filter returned for them.
        be: "is" or "are".
    """
    if returned is not None and returned.action is Action.LOG:
        return f"{be} recorded too"
    if returned is not None and returned.action in _HANDED_ON:
        return f"{be} left to a supervisor or a tracer too"
    return f"{be} refused too"


_HANDED_ON: Final = frozenset({Action.USER_NOTIF, Action.TRACE})


def _through(group: FaultGroup, words: _Words) -> str:
    be, s = words.be, words.s
    if group.subject is Subject.PART:
        return f"{be} confined otherwise"
    action = None if group.returned is None else group.returned.action
    if action in _HANDED_ON:
        return f"{be} left to a supervisor or a tracer"
    if group.profile == Profile.LOG:
        return f"run{s} and leave{s} no record"
    recorded = ", recorded" if action is Action.LOG else ""
    return f"get{s} through{recorded}"


def short(group: FaultGroup) -> str:
    """A group in a few words behind its kind: ``58 calls by EPERM instead of KILL_PROCESS``."""
    count = len(group.names)
    calls = f"{count:,} call{'' if count == 1 else 's'}"
    others = f"{count:,} undocumented call{'' if count == 1 else 's'}"
    what = {
        Subject.DOCUMENTED_CALL: calls,
        Subject.OTHER_CALL: others if count else "undocumented calls",
        Subject.UNKNOWN_NUMBER: "unknown numbers",
        Subject.OTHER_ARCHITECTURE: "other architectures",
        Subject.WAY: "calls in processes that come of others",
        Subject.PART: "parts that are confined otherwise",
    }[group.subject]
    return " ".join(filter(None, (what, _short_manner(group))))


def _short_manner(group: FaultGroup) -> str:
    said = {
        Manner.BY_KERNEL: f"by a kernel that does not honour {group.wanted}",
        Manner.UNRECORDED: "without a record",
        Manner.RECORDED: "with a record",
        Manner.ANSWERED_OTHERWISE: "by another answer",
    }
    if group.subject is Subject.PART or group.returned is None or group.manner in said:
        return said.get(group.manner, "")
    returned = answered(group.returned)
    if group.manner is Manner.RECORDED_OTHERWISE:
        return f"with a record that says {returned}"
    some = "with some arguments" if group.manner is Manner.BY_SOME_ARGUMENTS else ""
    if group.kind is Kind.REFUSED_OTHERWISE:
        by = f"by {returned} instead of {group.wanted}"
    elif group.returned.action in _HANDED_ON:
        by = "left to a supervisor or a tracer"
    elif group.returned.action is Action.LOG:
        by = "with a record"
    elif group.kind is Kind.BLOCKED_TOO_MUCH:
        by = f"by {returned}"
    else:
        by = "without a record" if group.profile == Profile.LOG else ""
    return " ".join(filter(None, (by, some)))


class Places:
    """The ABIs and stacks of a run, to say where things were judged.

    A run has many things and is looked through once.
    """

    def __init__(self, run: Run) -> None:
        """Notes what there is.

        Args:
            run: the run.
        """
        self._arches = ordered_arches(run, run.cells)
        self._stacks = {cell.key.stack for cell in run.cells}
        self._has: dict[str, set[str]] = {}
        for cell in run.cells:
            if cell.outcome is not Outcome.NOT_APPLICABLE:
                self._has.setdefault(cell.key.syscall, set()).add(cell.key.arch)

    def where(self, fates: Iterable[Fate]) -> str:
        """Where things were judged: the ABIs, and in a target of several parts in how many."""
        every = list(fates)
        seen = {fate.thing.arch for fate in every}
        arches = ", ".join(arch for arch in self._arches if arch in seen)
        if len(self._stacks) == 1:
            return arches
        stacks = {fate.thing.place.stack for fate in every}
        return f"{arches}; {len(stacks):,} of {len(self._stacks):,} stacks of filters"

    def named(self, fates: Sequence[Fate], most: int | None = None) -> str:
        """What fates are about, with the ABIs: ``msgrcv, setsid (x86_64, x32), bpf (i386)``.

        A call that an ABI does not have stands with those that every ABI has.

        Args:
            fates: the fates.
            most: how many names at most; all of them unless given.
        """
        by_name = gathered((fate for fate in fates if name_of(fate)), name_of)
        every = {fate.thing.arch for fate in fates}

        def spot(name: str) -> frozenset[str]:
            found = {fate.thing.arch for fate in by_name[name]}
            return frozenset(every if found >= self._has.get(name, every) & every else found)

        shown = list(by_name)[:most]
        said = [
            f"{', '.join(names)} ({self.where([f for f in fates if f.thing.arch in arches])})"
            for arches, names in gathered(shown, spot).items()
        ]
        left = len(by_name) - len(shown)
        return f"{', '.join(said)}{f' and {left:,} more' if left else ''}"


def told(group: FaultGroup) -> tuple[str, ...]:
    """What is said of each cell of a cause that has no calls by which it could be told.

    Nothing of other causes, whose calls are named.
    """
    if group.subject not in {Subject.PART, Subject.OTHER_ARCHITECTURE}:
        return ()
    return tuple(dict.fromkeys(cell.sentence for cell in group.cells))
