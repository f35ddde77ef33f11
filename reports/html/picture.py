"""The picture at the top: every documented call by profile and kernel, as in a compatibility table.

Kernels on which all is the same share a column; those that differ stand side by side.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from probes.cell import Outcome
from probes.judging import kinds
from probes.judging.kinds import GRAVEST_FIRST, Fate, Kind, Subject
from reports.causes.grouping import name_of
from reports.causes.looks import LOOKS
from reports.html import bars
from reports.html.markup import NOTHING, Markup, element, join, text
from reports.html.matrices import skippable
from reports.html.view import GLYPHS, View, call_anchor, outcome_class, paragraph, section
from reports.results import Environment, Run, in_order, why_none_counts
from reports.summary import (
    OUTCOME_WORDS,
    gathered,
    ordered_arches,
    ordered_profiles,
    place_name,
    release_of,
)

_MOST_COLUMNS: Final = 24
"""More columns than this nobody compares; those with the gravest kinds are shown."""

_MOST_WORDS: Final = 4
"""A picture with more columns than this has the heads of its columns upright."""

_MOST_NAMES: Final = 2
"""The head of a column names so many kernels; more are named below the picture."""

_SUBJECTS: Final = {
    Subject.OTHER_CALL: "Calls that are not documented",
    Subject.UNKNOWN_NUMBER: "Numbers that no table knows",
    Subject.OTHER_ARCHITECTURE: "Every other architecture",
    Subject.WAY: "Processes that come of others",
    Subject.PART: "Parts of the target",
}
"""What is judged beside the documented calls, as rows have it."""


class Mark(NamedTuple):
    """The sign for what became of something.

    Attributes:
        rank: its place among the others, the gravest first.
        sign: the sign.
        style: the class of its colour.
        words: what it says.
    """

    rank: int
    sign: str
    style: str
    words: str


class Row(NamedTuple):
    """What a row is about.

    Attributes:
        subject: the kind of thing.
        name: the call's name; "" where the row stands for many things.
    """

    subject: Subject
    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """What became of everything under a profile, on the kernels that came to the same.

    Attributes:
        profile: the profile.
        environments: the record's environments, counted from 0.
        fates: what became of each row's things on one of them.
    """

    profile: str
    environments: tuple[int, ...]
    fates: Mapping[Row, Sequence[Fate]]

    @property
    def rank(self) -> int:
        """The place of its gravest mark among the marks."""
        return min(mark_of(fate).rank for fates in self.fates.values() for fate in fates)

    def calls(self) -> dict[str, Mark]:
        """The gravest mark of each documented call on any ABI, by its name."""
        return {
            row.name: min(map(mark_of, fates))
            for row, fates in self.fates.items()
            if row.subject is Subject.DOCUMENTED_CALL
        }


def mark_of(fate: Fate) -> Mark:
    """The sign for what became of one thing."""
    if fate.outcome in {Outcome.WAIVED, Outcome.ACCEPTED}:
        glyph, words = GLYPHS[fate.outcome], OUTCOME_WORDS[fate.outcome]
        return Mark(_ACCEPTED_RANK, glyph, outcome_class(fate.outcome), words)
    look, rank = LOOKS[fate.kind], _RANKS[fate.kind]
    if fate.kind is Kind.AS_DOCUMENTED and fate.open:
        words = f"{fate.kind}, as far as it could be told"
        return Mark(rank - 1, f"{look.sign}?", look.style, words)
    return Mark(rank, look.sign, look.style, fate.kind.value)


_RANKS: Final = {kind: 2 * place for place, kind in enumerate(GRAVEST_FIRST)}
_ACCEPTED_RANK: Final = _RANKS[Kind.NOT_JUDGED] - 1


def columns(run: Run) -> tuple[Column, ...]:
    """The columns: for each profile the sets of kernels that came to the same.

    Args:
        run: the run; where nothing of it counts, there is none.
    """
    if why_none_counts(run.cells):
        return ()
    arches = ordered_arches(run, run.cells)
    fates = sorted(kinds.fates(in_order(run.cells)), key=lambda one: arches.index(one.thing.arch))
    every = gathered(fates, lambda fate: fate.thing.place.profile)
    found = []
    for profile in ordered_profiles(run, run.cells):
        kernels = gathered(every.get(profile, ()), lambda fate: fate.thing.place.environment)
        came_to = {number: _what(kernels[number]) for number in sorted(kernels)}
        found += [
            Column(profile, tuple(numbers), gathered(kernels[numbers[0]], _row_of))
            for numbers in gathered(came_to, came_to.__getitem__).values()
        ]
    return tuple(found)


def _what(fates: Iterable[Fate]) -> frozenset[tuple[object, ...]]:
    """What kernels must have in common to share a column."""
    return frozenset((fate.thing._replace(place=_anywhere(fate)), mark_of(fate)) for fate in fates)


def _anywhere(fate: Fate) -> kinds.Place:
    return fate.thing.place._replace(environment=0)


def _row_of(fate: Fate) -> Row:
    one = fate.thing
    return Row(one.subject, one.name if one.subject is Subject.DOCUMENTED_CALL else "")


def picture(view: View) -> Markup:
    """What became of every documented call, at one look; nothing where nothing was judged."""
    every = columns(view.run)
    if not every:
        return NOTHING
    shown = every
    if len(every) > _MOST_COLUMNS:
        gravest = set(sorted(every, key=lambda one: one.rank)[:_MOST_COLUMNS])
        shown = tuple(one for one in every if one in gravest)
    heads = _Heads(view.run, shown)
    groups = [
        (family, _call_rows(view, shown, [one.name for one in calls]))
        for family, calls in view.families.items()
    ]
    groups.append(("Beside the documented calls", _other_rows(view, shown)))
    planned = [(title, rows) for title, rows in groups if rows]
    left = len(every) - len(shown)
    words = f"{left:,} more columns, none of them graver, are left out here."
    return section(
        "picture",
        "At a glance",
        *_bars(heads),
        _legend(shown),
        _blocks(heads, planned) if len(shown) <= _MOST_WORDS else _whole(heads, planned),
        heads.members,
        paragraph(words, "none") if left else NOTHING,
    )


_Rows = Sequence[tuple[Markup, Row]]
"""What the rows of a table are called, and what they are about."""


def _other_rows(view: View, shown: Sequence[Column]) -> _Rows:
    return [
        (element("a", text(words), href="#others"), Row(subject, ""))
        if view.others
        else (text(words), Row(subject, ""))
        for subject, words in _SUBJECTS.items()
        if any(Row(subject, "") in one.fates for one in shown)
    ]


def _call_rows(view: View, shown: Sequence[Column], names: Iterable[str]) -> _Rows:
    calls = {call.name: call for call in view.run.policy.calls}
    return [
        (element("a", text(name), href=f"#{call_anchor(view.run, calls[name])}"), row)
        for name in names
        if any((row := Row(Subject.DOCUMENTED_CALL, name)) in one.fates for one in shown)
    ]


class _Heads:
    """The heads of the columns."""

    def __init__(self, run: Run, shown: Sequence[Column]) -> None:
        self._run = run
        self.columns = shown

    def kernels(self, column: Column) -> str:
        """The kernels of a column in a word or two; "" for the only one of a record."""
        known = self._run.environments
        if len(known) == 1:
            return ""
        if len(column.environments) == len(known):
            return f"all {len(known):,} kernels"
        if len(column.environments) > _MOST_NAMES:
            return f"{len(column.environments):,} kernels"
        return ", ".join(self._name(known[number]) for number in column.environments)

    def _name(self, where: Environment) -> str:
        known = self._run.environments
        released = [release_of(one) for one in known]
        alone = released.count(release_of(where)) == 1
        return release_of(where) if alone or not where.host else where.host

    def name(self, column: Column) -> str:
        """The profile of a column, and its kernels."""
        return ", ".join(filter(None, (column.profile.upper(), self.kernels(column))))

    def row(self, title: str) -> Markup:
        """The row of heads.

        Args:
            title: what stands above the names of the rows.
        """
        corner = element("th", text(title), scope="col", class_="corner")
        heads = (
            element("th", element("span", text(self.name(one))), scope="col")
            for one in self.columns
        )
        return element("thead", element("tr", corner, *heads))

    @property
    def members(self) -> Markup:
        """Which kernels share a column, where they are not all."""
        known = self._run.environments
        told = {
            one.environments: self.name(one)
            for one in self.columns
            if _MOST_NAMES < len(one.environments) < len(known)
        }
        lines = (
            element("li", text(f"{name}: {', '.join(self._name(known[n]) for n in numbers)}"))
            for numbers, name in told.items()
        )
        return element("ul", *lines, class_="plain small") if told else NOTHING


def _blocks(heads: _Heads, groups: Sequence[tuple[str, _Rows]]) -> Markup:
    """A small table for each family, several beside each other where there is room."""
    tables = (
        element("div", element("table", heads.row(title), _body(heads, rows)), class_="block")
        for title, rows in groups
    )
    return element("div", *tables, class_="blocks")


def _whole(heads: _Heads, groups: Sequence[tuple[str, _Rows]]) -> Markup:
    """One table, with the heads of its many columns upright."""
    wide = str(len(heads.columns) + 1)
    parts = (
        _body(
            heads,
            rows,
            element(
                "tr",
                element(
                    "th",
                    element("span", text(title)),
                    scope="rowgroup",
                    colspan=wide,
                    class_="family",
                ),
            ),
        )
        for title, rows in groups
    )
    table = element("table", heads.row("Call"), *parts, class_="matrix slim glance")
    return skippable("picture", "documented calls by profile and kernel", table)


def _body(heads: _Heads, rows: _Rows, first: Markup = NOTHING) -> Markup:
    told = (
        element(
            "tr",
            element("th", name, scope="row"),
            *(_cell(one.fates.get(row, ())) for one in heads.columns),
        )
        for name, row in rows
    )
    return element("tbody", first, *told)


def _cell(fates: Sequence[Fate]) -> Markup:
    """The signs of a row in a column: one where all ABIs came to the same."""
    if not fates:
        return element("td", element("span", text("not planned"), class_="hidden"))
    marks = gathered(fates, mark_of)
    some = {mark: same for mark, same in marks.items() if same[0].kind is not _ABSENT} or marks
    told = sorted(some)
    alone = len(told) == 1
    signs = (_sign(mark, some[mark], spots="" if alone else _spots(some[mark])) for mark in told)
    return element("td", join(*signs, by=" "), class_=told[0].style)


_ABSENT: Final = Kind.NOT_APPLICABLE


def _spots(fates: Sequence[Fate]) -> str:
    """On which ABIs it is so, where it is a fault."""
    if fates[0].kind not in kinds.FAULTS:
        return ""
    return ", ".join(dict.fromkeys(place_name(fate.cells[0].key) for fate in fates))


def _sign(mark: Mark, fates: Sequence[Fate], spots: str) -> Markup:
    names = {name for fate in fates if (name := name_of(fate))}
    many = fates[0].thing.subject is not Subject.DOCUMENTED_CALL and names
    return element(
        "span",
        element("span", text(mark.sign), aria_hidden="true"),
        element("span", text(mark.words), class_="hidden"),
        text(f" {len(names):,}") if many else NOTHING,
        element("small", text(f" {spots}")) if spots and not many else NOTHING,
        class_=f"sign {mark.style}",
    )


def _legend(shown: Sequence[Column]) -> Markup:
    """The marks that are met, with their words."""
    met = {mark_of(fate) for one in shown for fates in one.fates.values() for fate in fates}
    return element("p", join(*map(_badge, sorted(met)), by=" "), class_="legend")


def _badge(mark: Mark, words: str = "") -> Markup:
    sign = element("span", text(mark.sign), aria_hidden="true")
    return element("span", sign, text(f" {words or mark.words}"), class_=f"badge {mark.style}")


def _bars(heads: _Heads) -> Iterator[Markup]:
    """A bar for each column: how many documented calls came to what."""
    for column in heads.columns:
        counts: defaultdict[Mark, int] = defaultdict(int)
        for mark in column.calls().values():
            counts[mark] += 1
        if not counts:
            continue
        title = f"{heads.name(column)}: documented calls"
        shares = [bars.Share(one.style, one.words, counts[one]) for one in sorted(counts)]
        told = (_badge(one, f"{counts[one]:,} {one.words}") for one in sorted(counts))
        yield element(
            "figure",
            element("figcaption", text(heads.name(column))),
            bars.bar(title, shares),
            element("p", join(*told, by=" "), class_="legend"),
            class_="shares",
        )
