"""The section with the evidence of every cell; where thousands passed alike, in ranges."""

from collections.abc import Iterable, Sequence

from probes.cell import Cell
from probes.judging import claims
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.references import answers, references
from reports.html.view import (
    AlikeCells,
    PlaceView,
    View,
    badge,
    call_anchor,
    entry_item,
    glyph,
    is_fine,
    kernels,
    outcome_class,
    paragraph,
    place_of,
    ranges,
    section,
)
from reports.results import UNDECIDED, CallInfo, count_outcomes
from reports.summary import by_place, counts_text, gathered, gravest


def evidence(view: View) -> Markup:
    """What every verdict rests on."""
    return section(
        "evidence",
        "Evidence",
        paragraph(
            "Cells that came to the same, for the same reason and on the same evidence, are told"
            " together."
        ),
        element("h3", text("Documented calls")),
        *_calls(view),
        element("h3", text("The other claims")),
        *_others(view),
    )


def _calls(view: View) -> Iterable[Markup]:
    for calls in view.families.values():
        for call in calls:
            yield _call(view, call, view.calls[call.name])


def _call(view: View, call: CallInfo, entries: Sequence[AlikeCells]) -> Markup:
    cells = [cell for entry in entries for cell in entry.cells]
    return element(
        "details",
        element("summary", code(call.name), text(" "), _counts(cells)),
        # Inside: a link to what is folded opens it, and a link to the fold itself does not.
        element(
            "p",
            text(f"{call.description} "),
            element("em", text(call.family)),
            id=call_anchor(view.run, call),
        ),
        element("p", element("strong", text("Why it is restricted. ")), text(call.why)),
        answers(call),
        references(call),
        _entries(view, entries),
        class_=_fine(cells),
    )


def _others(view: View) -> Iterable[Markup]:
    if not view.others:
        yield paragraph("No other claim was planned.", class_="none")
    for group in by_place(view.run, view.others):
        yield _place(view, group.title, view.places[place_of(group.cells[0])])


def _place(view: View, name: str, place: PlaceView) -> Markup:
    title = element("span", text(f"{name} "), class_="label")
    return element(
        "details",
        element("summary", title, _counts(place.cells)),
        element("p", text(claims.of(place.cells[0].key.claim).meaning), id=place.anchor),
        _ranges(view, place.ranged),
        _entries(view, place.entries),
        class_=_fine(place.cells),
    )


def _fine(cells: Iterable[Cell]) -> str | None:
    return "fine" if is_fine(cells) else None


def _entries(view: View, entries: Sequence[AlikeCells]) -> Markup:
    if not entries:
        return NOTHING
    return element("ul", *(entry_item(view, entry) for entry in entries), class_="cells")


def _counts(cells: Sequence[Cell]) -> Markup:
    if not cells:
        return element("span", text("not planned"), class_="count")
    counts = count_outcomes(cells)
    outcome = gravest(cells)
    sign = element("span", glyph(outcome), class_=f"mark {outcome_class(outcome)}")
    return element("span", sign, text(f" {counts_text(counts)}"), class_="count")


def _ranges(view: View, cells: Iterable[Cell]) -> Markup:
    """The cells that are not described one by one, as ranges of their numbers."""
    alike = gathered(
        cells, lambda cell: (cell.outcome, cell.why if cell.outcome in UNDECIDED else "")
    )
    return join(
        *(
            element(
                "p",
                badge(outcome),
                text(f" {why}: numbers " if why else " numbers "),
                _numbers(view, members),
            )
            for (outcome, why), members in alike.items()
        )
    )


def _numbers(view: View, cells: Iterable[Cell]) -> Markup:
    """The numbers as ranges; in a merged record those of each set of kernels."""
    seen = gathered(cells, lambda cell: (cell.key.number, cell.key.syscall))
    together = gathered(seen.items(), lambda item: tuple(cell.environment for cell in item[1]))
    return join(
        *(
            join(
                code(number_ranges([cell for _, same in members for cell in same[:1]])),
                kernels(view.run, environments),
            )
            for environments, members in together.items()
        ),
        by="; ",
    )


def number_ranges(cells: Sequence[Cell]) -> str:
    """The cells' numbers as ranges: ``0-18, 20, 22-56``; a cell without one is named."""
    numbers = sorted({cell.key.number for cell in cells if cell.key.number is not None})
    nameless = sorted({cell.key.syscall for cell in cells if cell.key.number is None})
    return ", ".join(filter(None, [ranges(numbers), *nameless]))
