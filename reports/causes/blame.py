"""Where a cause stands in the files of a user: the rule, the default action, the list to add to.

Pure. A container's profile decides, where its user has given one; elsewhere the policy is the file
in which what must hold is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from probes.action import Action
from probes.judging.kinds import Fate, Subject
from probes.judging.plan import Scope
from probes.targets.oci.profile import ACTIONS
from probes.text import visible
from probes.written import Lines, WrittenAction, WrittenProfile, WrittenRule
from reports.causes.grouping import FaultGroup, causes
from reports.results import Run
from reports.summary import gathered


class Part(StrEnum):
    """The parts of files that can be to blame."""

    RULE = "rule"
    DEFAULT = "default action"
    ALLOWED = "allowed calls"
    ARCHITECTURES = "architectures"
    FILE = "file"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file.

    Attributes:
        words: what stands there, in a few words.
        path: the file, relative to the root of its repository.
        lines: the lines; None where they are not known.
    """

    words: str
    path: str
    lines: Lines | None


@dataclass(frozen=True, slots=True)
class Blame:
    """A cause with what is to blame for it.

    Attributes:
        group: the cause, with those of its fates for which this is to blame.
        part: the part of the file.
        action: the action that is written there; "" where none is.
        spot: where it is to be mended.
        related: where else something about it stands, such as each of several calls.
    """

    group: FaultGroup
    part: Part
    action: str
    spot: Spot
    related: tuple[Spot, ...] = ()


def blamed(run: Run) -> tuple[Blame, ...]:
    """Every cause with what is to blame: as often as there are parts of files to be mended.

    Args:
        run: the run.
    """
    finder = _Finder(run)
    return tuple(one for group in causes(run) for one in _of_group(finder, group))


def _of_group(finder: "_Finder", group: FaultGroup) -> Iterator[Blame]:
    for rank, (found, fates) in enumerate(gathered(group.fates, finder.part).items()):
        spot, related = finder.spots(found, fates)
        # What follows from the cause is told once.
        followers = () if rank else group.followers
        share = replace(group, fates=tuple(fates), followers=followers)
        yield Blame(share, found.part, finder.action(found), spot, related)


class _Found(NamedTuple):
    """A part of one of a target's files.

    Attributes:
        part: the part.
        file: the file's place among the target's.
        rule: the rule's place among the file's.
    """

    part: Part
    file: int = 0
    rule: int = 0


_SCOPES: Final = frozenset(scope.value for scope in Scope)


class _Finder:
    """Finds what is to blame among the files that a run knows."""

    def __init__(self, run: Run) -> None:
        self._policy = policy_path(run)
        self._call_lines = {call.name: call.line for call in run.policy.calls}
        self._files = run.target.written

    def part(self, fate: Fate) -> _Found:
        """What is to blame for a fate."""
        if not self._files:
            return _Found(Part.POLICY)
        file = self._files[0]
        if fate.thing.subject is Subject.PART or not (file.rules or file.default):
            return _Found(Part.FILE)
        action = None if fate.returned is None else fate.returned.action
        named = self._rule(call_of(fate), action)
        if named is not None:
            return named
        if not _is(file.default, action):
            return _Found(Part.ARCHITECTURES if file.architectures else Part.DEFAULT)
        if fate.thing.subject is Subject.OTHER_CALL:
            longest = _longest_of_allowed(file.rules)
            return _Found(Part.DEFAULT) if longest is None else _Found(Part.ALLOWED, 0, longest)
        return _Found(Part.DEFAULT)

    def _rule(self, call: str, action: Action | None) -> _Found | None:
        """The rule that names a call with an action: the first that always counts, if there is."""
        found = [
            (rule.is_conditional, _Found(Part.RULE, place, index))
            for place, file in enumerate(self._files)
            for index, rule in enumerate(file.rules)
            if any(name == call for name, _ in rule.calls)
            and (action is None or ACTIONS.get(rule.action) is action)
        ]
        return min(found)[1] if found else None

    def action(self, found: _Found) -> str:
        """The action that stands in a part, as it is written."""
        if found.part in {Part.RULE, Part.ALLOWED}:
            return self._files[found.file].rules[found.rule].action
        default = self._files[0].default if self._files else None
        return default.name if default is not None and found.part is Part.DEFAULT else ""

    def spots(self, found: _Found, fates: Sequence[Fate]) -> tuple[Spot, tuple[Spot, ...]]:
        """Where a part is to be mended for some fates, and where else something about it stands."""
        if found.part is Part.POLICY:
            return self._in_policy(fates)
        file = self._files[found.file]
        if found.part is Part.FILE:
            return Spot("the file of the filter", file.path, None), ()
        if found.part is Part.RULE:
            return _in_rule(file, file.rules[found.rule], fates)
        default = [] if file.default is None else [_default_spot(file, file.default)]
        if found.part is Part.ALLOWED:
            lines = file.rules[found.rule].lines
            return Spot("the calls that are allowed", file.path, lines), tuple(default)
        if found.part is Part.ARCHITECTURES:
            spot = Spot("the architectures", file.path, file.architectures)
            return spot, tuple(default)
        return default[0] if default else Spot("the file of the filter", file.path, None), ()

    def _in_policy(self, fates: Iterable[Fate]) -> tuple[Spot, tuple[Spot, ...]]:
        """The tables of a policy that document calls."""
        found = {}
        for fate in fates:
            line = self._call_lines.get(fate.thing.name)
            if line is not None:
                words = f"what the policy says of {visible(fate.thing.name)}"
                found[words] = Spot(words, self._policy, Lines(line, line))
        spots = sorted(found.values(), key=_first_line)
        return _first_and_rest(spots) if spots else (Spot("the policy", self._policy, None), ())


def call_of(fate: Fate) -> str:
    """The name of the call that a fate is about; "" where it is about no single one."""
    name = fate.cells[0].key.syscall
    return "" if name in _SCOPES else name.partition("[")[0]


def policy_path(run: Run) -> str:
    """Where the policy stands in a repository: of an earlier record as the shipped one does."""
    return run.policy.path or f"cases/policies/{quote(visible(run.policy.name), safe='')}.toml"


def _is(default: WrittenAction | None, action: Action | None) -> bool:
    return default is None or action is None or ACTIONS.get(default.name) is action


def _longest_of_allowed(rules: Sequence[WrittenRule]) -> int | None:
    """The rule to which a call is added that shall be allowed."""
    found = [
        (len(rule.calls), -index)
        for index, rule in enumerate(rules)
        if ACTIONS.get(rule.action) is Action.ALLOW and not rule.is_conditional
    ]
    return -max(found)[1] if found else None


def _in_rule(
    file: WrittenProfile, rule: WrittenRule, fates: Iterable[Fate]
) -> tuple[Spot, tuple[Spot, ...]]:
    """The names of calls in a rule."""
    wanted = dict.fromkeys(map(call_of, fates))
    lines = {name: line for name, line in reversed(rule.calls) if name in wanted}
    spots = [Spot(visible(name), file.path, Lines(line, line)) for name, line in lines.items()]
    return _first_and_rest(sorted(spots, key=_first_line))


def _default_spot(file: WrittenProfile, default: WrittenAction) -> Spot:
    return Spot("the default action", file.path, default.lines)


def _first_line(spot: Spot) -> int:
    return 0 if spot.lines is None else spot.lines.first


def _first_and_rest(spots: Sequence[Spot]) -> tuple[Spot, tuple[Spot, ...]]:
    """The lines that follow the first one without a gap, together, and all spots if several."""
    first = spots[0]
    last = _first_line(first)
    for spot in spots:
        if _first_line(spot) == last + 1:
            last += 1
    block = Spot(first.words, first.path, Lines(_first_line(first), last))
    return block, tuple(spots) if len(spots) > 1 else ()
