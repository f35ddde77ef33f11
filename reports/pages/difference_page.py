"""The page of ``diff``: two filters side by side, with what differs coloured. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from probes.action import FilterReturn
from probes.arch import Arch
from probes.errors import ExitStatus
from probes.filters.comparison import Pair
from probes.targets.stack import FilterStack
from reports.filters import overview, places, way
from reports.filters.difference import ComparedStacks, DifferenceReport, DifferenceRow
from reports.filters.documents import CAME_TO
from reports.filters.places import Place
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import facts, paragraph, section, sheet
from reports.pages import frame, number_map, way_section
from reports.pages.explanation_page import figure
from reports.pages.number_map import SAME, Look, Square, look_of

_KICKER: Final = "System call filters: two compared"
_LOOKS: Final = {
    ExitStatus.CONFORMANT: ("=", "o-passed"),
    ExitStatus.NOT_CONFORMANT: ("≠", "o-failed"),
    ExitStatus.CANNOT_TELL: ("?", "o-cannot-tell"),
    ExitStatus.BROKEN: ("!", "o-broken"),
}


def render(
    words: tuple[str, str], targets: tuple[FilterStack, FilterStack], report: DifferenceReport
) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        words: the words of the two targets.
        targets: the two.
        report: what their comparison came to.
    """
    many = len(report.parts) > 1
    parts = [
        part
        for rank, one in enumerate(report.parts, 1)
        for part in _compared(one, f"-{rank}" if many else "", named=many)
    ]
    return frame.page(
        _KICKER,
        f"{words[0]} and {words[1]}",
        _banner(report, targets),
        *parts,
        *_findings(targets),
    )


def _banner(report: DifferenceReport, targets: Sequence[FilterStack]) -> Markup:
    sign, style = _LOOKS[report.status]
    said = [*_counted(report)] or [report.sentence]
    sides = [
        f"{letter}: {one.description}, {_filters(one)}."
        for letter, one in zip("AB", targets, strict=True)
    ]
    return frame.banner(
        sign,
        CAME_TO[report.status],
        [*said, *sides, f"Exit status {report.status.value}"],
        style,
    )


def _counted(report: DifferenceReport) -> Iterator[str]:
    """On how many calls they differ, place by place; nothing where several stacks differ."""
    if len(report.parts) != 1:
        return
    (one,) = report.parts
    told = []
    for place in one.found.where:
        rows = [row for row in one.found.rows if row.place == place]
        calls = {number for row in rows for number in row.numbers.named}
        if rows:
            count = f"{len(calls):,} {'call' if len(calls) == 1 else 'calls'}"
            what = count if calls else "numbers without a name"
            told.append(f"{what} of {place.title}")
    if told:
        last = f" and {told[-1]}" if len(told) > 1 else told[-1]
        yield f"They differ on {', '.join(told[:-1])}{last}."


def _findings(targets: Sequence[FilterStack]) -> Iterator[Markup]:
    """What is to be said of the two besides."""
    rows = [
        (letter, frame.findings(one.findings))
        for letter, one in zip("AB", targets, strict=True)
        if one.findings
    ]
    if rows:
        yield section("findings", "Findings", facts(rows))


def _filters(stack: FilterStack) -> str:
    counts = [f"{len(program):,}" for part in stack.members for program in part.programs]
    if not counts:
        return "no filter"
    if len(counts) == 1:
        return f"one filter of {counts[0]} instructions"
    return f"{len(counts)} filters of {', '.join(counts)} instructions"


def _compared(one: ComparedStacks, mark: str, *, named: bool) -> Iterator[Markup]:
    of = f": {one.names[0]} and {one.names[1]}" if named else ""
    if named:
        yield section(f"pair{mark}", f"Compared{of}", paragraph(one.found.sentence))
    if one.found.doubts:
        doubts = (element("li", text(words)) for words in one.found.doubts)
        yield section(
            f"doubts{mark}",
            f"Not exact{of}",
            paragraph("There may be more differences: the analysis is not exact."),
            element("ul", *doubts),
        )
    if one.found.rows:
        yield section(f"map{mark}", f"Where they differ{of}", *_maps(one))
        yield section(f"differences{mark}", f"In words{of}", *_tables(one, mark))
        yield section(f"ways{mark}", f"Why{of}", *_ways(one, mark))


def _maps(one: ComparedStacks) -> Iterator[Markup]:
    sides = [(row.pair.left, row.pair.right) for row in one.found.rows]
    looks = [look_of(returns) for pair in sides for returns in pair]
    has_dependent = any(row.condition is not None for row in one.found.rows)
    further = [number_map.DEPENDS] if has_dependent else []
    yield number_map.legend([*looks, *further, SAME], documented=False)
    yield paragraph("Rows in which nothing differs are left out.", "none")
    for place in one.found.where:
        rows = [row for row in one.found.rows if row.place == place]
        if rows and place.arch is not None:
            yield _pair_of_maps(place, place.arch, rows)
    equal = [
        place.title
        for place in one.found.where
        if all(row.place != place for row in one.found.rows)
    ]
    if equal:
        yield paragraph(f"They are the same on {', '.join(equal)}.")


def _pair_of_maps(place: Place, arch: Arch, rows: Sequence[DifferenceRow]) -> Markup:
    figures = []
    for side, letter in enumerate("AB"):
        title = f"{letter}: the numbers of {place.title} about which the two differ"
        square_of = partial(_square, place, rows, _squares(rows, side), side)
        shown = number_map.picture(arch, title, square_of, quiet=SAME)
        figures.append(figure(place, shown, f"under {letter}"))
    return element("div", *figures, class_="maps")


def _squares(rows: Sequence[DifferenceRow], side: int) -> Mapping[int, Look]:
    """How the numbers with a name look that differ."""
    found: dict[int, Look] = {}
    for row in rows:
        for number in row.numbers.named:
            whole = row.condition is None and number not in found
            found[number] = _look(row.pair, side) if whole else number_map.DEPENDS
    return found


def _look(pair: Pair, side: int) -> Look:
    return look_of(_side(pair, side))


def _side(pair: Pair, side: int) -> FilterReturn:
    return pair.right if side else pair.left


def _square(
    place: Place,
    rows: Sequence[DifferenceRow],
    known: Mapping[int, Look],
    side: int,
    number: int,
) -> Square:
    look = known.get(number)
    if look is None:
        row = next((row for row in rows if row.numbers.holds(number)), None)
        look = SAME if row is None else _look(row.pair, side)
    return Square(look, f"{places.number_text(place, number)}: {look.words}")


def _tables(one: ComparedStacks, mark: str) -> Iterator[Markup]:
    for rank, place in enumerate(one.found.where):
        rows = [row for row in one.found.rows if row.place == place]
        if rows:
            yield sheet(
                f"differences-{rank}{mark}",
                place.heading,
                ("A", "B", "Numbers"),
                (_row(row) for row in rows),
            )


def _row(row: DifferenceRow) -> Sequence[Markup]:
    marks = (row.pair.left_recorded, row.pair.right_recorded)
    sides = (
        join(frame.swatch(_look(row.pair, side)), text(", recorded") if mark else NOTHING)
        for side, mark in enumerate(marks)
    )
    numbers = text(overview.group_text(row.place, row.numbers))
    condition = NOTHING
    if row.condition is not None:
        condition = element(
            "p",
            text(f"if {row.condition}, as with "),
            code(way.arguments_text(row.example)),
            class_="small",
        )
    return (*sides, join(numbers, condition))


def _ways(one: ComparedStacks, mark: str) -> Iterator[Markup]:
    """For each difference the way of its example through both programs, side by side."""
    yield paragraph(
        "For each difference, the way of one call through both, side by side; not on paper."
    )
    for rank, row in enumerate(one.found.rows):
        name = places.number_text(row.place, row.example.nr)
        in_a, in_b = row.pair.words
        title = f"{name} on {row.place.title}: {in_a} in A, {in_b} in B"
        sides = (
            element(
                "div",
                element("h3", text(f"{letter}: "), frame.swatch(_look(row.pair, side))),
                way_section.way(stack, row.example, f"{letter}-{rank}{mark}"),
            )
            for side, (letter, stack) in enumerate((("A", one.left), ("B", one.right)))
        )
        called = element("p", text("The way of "), code(way.arguments_text(row.example)), text(":"))
        yield element(
            "details",
            element("summary", text(title)),
            called,
            element("div", *sides, class_="sides"),
            class_="unprinted",
        )
