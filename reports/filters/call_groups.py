"""systemd's groups of calls, such as ``@system-service``, and what filters do with each. Pure.

Units name groups in SystemCallFilter= (systemd.exec(5)); each release of systemd has its own list,
as systemd-analyze(1) prints it. ``systemd-groups.json`` has those of some releases.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from probes.action import Action, FilterReturn
from probes.errors import BadInputError
from probes.filters.prover import Analysis
from probes.text import shown
from reports.filters import overview, way
from reports.filters.overview import Section
from reports.filters.places import Place
from reports.filters.way import INDENT

KNOWN_WORD: Final = "systemd"
_NONE: Final = "none"
_MOST_NAMES: Final = 12
_RELEASE: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one release.

    Attributes:
        source: which release it is, and where its list is from, for a sentence.
        members: the calls of each group by name, with those of the groups that it includes.
    """

    source: str
    members: Mapping[str, frozenset[str]]

    def having(self, call: str) -> tuple[str, ...]:
        """The groups that a call is in."""
        return tuple(name for name, calls in self.members.items() if call in calls)


@dataclass(frozen=True, slots=True)
class AskedGroups:
    """What a command is asked for.

    Attributes:
        release: a release of systemd; None for the one that is installed, else the newest known.
    """

    release: int | None = None


def asked(word: str) -> AskedGroups | None:
    """Takes the value of ``--groups`` apart; None for ``none``.

    Raises:
        BadInputError: it has no meaning.
    """
    if word == _NONE:
        return None
    kind, at, release = word.partition("@")
    if kind != KNOWN_WORD or (at and not _RELEASE.fullmatch(release)):
        raise BadInputError(
            f"--groups {shown(word)}: write systemd, a release as in systemd@252, or none"
        )
    return AskedGroups(int(release) if at else None)


def parse(text: str, source: str) -> Groups:
    """Reads what ``systemd-analyze syscall-filter`` prints.

    A group's name stands at the margin, what is in it below, with a comment on the group itself;
    calls that are in no group follow as comments.

    Raises:
        BadInputError: there is no group in it.
    """
    direct: dict[str, list[str]] = {}
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            direct[word] = []
        elif word and not word.startswith("#") and direct:
            direct[next(reversed(direct))].append(word)
    if not direct:
        raise BadInputError(f"{source}: it lists no group of calls")
    return Groups(source, {name: frozenset(_whole(name, direct, ())) for name in direct})


def _whole(name: str, direct: Mapping[str, Sequence[str]], above: tuple[str, ...]) -> Iterator[str]:
    """The calls of a group, and of the groups in it."""
    for word in direct.get(name, ()):
        if not word.startswith("@"):
            yield word
        elif word not in above:
            yield from _whole(word, direct, (*above, name))


def known(release: int | None = None) -> Groups:
    """The groups of a release, from the table that ships with the suite.

    Args:
        release: the release; of one that the table has not got the next older one's are taken;
            None for the newest.

    Raises:
        BadInputError: the table has none so old.
    """
    table = json.loads(resources.files(__package__).joinpath("systemd-groups.json").read_text())
    releases = {int(number): entry for number, entry in table["releases"].items()}
    wanted = max(releases) if release is None else release
    found = max((number for number in releases if number <= wanted), default=None)
    if found is None:
        raise BadInputError(
            f"--groups systemd@{release}: the oldest release whose groups are known is"
            f" {min(releases)}"
        )
    source = f"systemd {found} of {releases[found]['source']}"
    if found != wanted:
        source += f"; the groups of {wanted} itself are not known"
    direct = {name: words.split() for name, words in releases[found]["groups"].items()}
    return Groups(source, {name: frozenset(_whole(name, direct, ())) for name in direct})


def call_line(groups: Groups, call: str) -> str:
    """In which groups a call is, in a sentence."""
    names = ", ".join(groups.having(call))
    if not names:
        return f"{call} is in no group of systemd's ({groups.source})"
    return f"{call} is in systemd's groups {names} ({groups.source})"


def overview_lines(
    groups: Groups, analysis: Analysis, where: Sequence[Place], width: int
) -> list[str]:
    """What filters do with each group, for each ABI.

    Args:
        groups: the groups.
        analysis: what the filters do.
        where: the places to tell about.
        width: how long a line may be.

    Raises:
        TooComplexError: the filters tell too many numbers apart.
    """
    lines: list[str] = []
    for section in overview.sections(analysis, [one for one in where if one.arch is not None]):
        lines += ["", *_section(groups, section, width)]
    return lines


def _section(groups: Groups, section: Section, width: int) -> list[str]:
    lines = way.wrapped(
        f"systemd's groups on {section.place.title} ({groups.source})", width, "", INDENT
    )
    whole: dict[str, list[str]] = {}
    parts: list[str] = []
    for name, by_answer in by_group(groups, section).items():
        if len(by_answer) == 1:
            whole.setdefault(next(iter(by_answer)), []).append(name)
        else:
            parts.append(f"{name}: {answer_words(by_answer)}")
    for answer, names in whole.items():
        lines += way.wrapped(f"{answer} whole: {', '.join(names)}", width, INDENT, INDENT * 3)
    for text in parts:
        lines += way.wrapped(f"in part {text}", width, INDENT, INDENT * 3)
    return lines


_BY_ARGUMENTS: Final = "by arguments"


def by_group(groups: Groups, section: Section) -> dict[str, dict[str, list[str]]]:
    """What the calls of each group get on an ABI; the most frequent answer first.

    Args:
        groups: the groups; those of which the ABI has no call are left out.
        section: what the filters do there.
    """
    answers = _answers(section)
    found = {name: _by_answer(calls, answers) for name, calls in groups.members.items()}
    return {name: by_answer for name, by_answer in found.items() if by_answer}


def _answers(section: Section) -> dict[str, str]:
    """What each call of an ABI gets, by name."""
    arch = section.place.arch
    if arch is None:
        return {}
    found: dict[str, str] = {}
    for returns, numbers in section.groups:
        found.update((arch.name_of(number) or "", str(returns)) for number in numbers.named)
    for numbers, _ in section.dependent:
        found.update((arch.name_of(number) or "", _BY_ARGUMENTS) for number in numbers.named)
    return found


def _by_answer(calls: frozenset[str], answers: Mapping[str, str]) -> dict[str, list[str]]:
    """The calls of a group that an ABI has, by what they get; the most frequent answer first."""
    found: dict[str, list[str]] = {}
    for call in sorted(calls & answers.keys()):
        found.setdefault(answers[call], []).append(call)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def answer_words(by_answer: Mapping[str, Sequence[str]]) -> str:
    """What the calls of a group get, in words."""
    if len(by_answer) == 1:
        return f"{next(iter(by_answer))} for all"
    usual = str(FilterReturn(Action.ALLOW))
    said = [
        f"{answer} for {_names(names)}" for answer, names in by_answer.items() if answer != usual
    ]
    allowed = by_answer.get(usual)
    count = sum(map(len, by_answer.values()))
    return "; ".join([f"{usual} for {len(allowed)} of {count}", *said] if allowed else said)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
