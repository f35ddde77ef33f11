"""The evidence: of every cell in full, and in ranges where thousands passed alike."""

from collections.abc import Iterable, Sequence

from probes.cell import Cell
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.matrices import call_anchor, families
from reports.html.trouble import references
from reports.html.view import (
    MEANINGS,
    View,
    badge,
    cell_entry,
    glyph,
    gravest,
    number_text,
    outcome_class,
    paragraph,
    place_of,
    section,
)
from reports.results import DocumentedCall, count_outcomes
from reports.summary import OUTCOME_WORDS, UNDECIDED, Group, by_place, gathered, reason


def evidence(view: View) -> Markup:
    """What every verdict rests on."""
    return section(
        "evidence",
        "Evidence",
        element("h3", text("Documented calls")),
        *_calls(view),
        element("h3", text("The other claims")),
        *_others(view),
    )


def _calls(view: View) -> Iterable[Markup]:
    cells = gathered(view.documented, lambda cell: cell.key.syscall)
    for calls in families(view.run).values():
        for call in calls:
            yield _call(view, call, cells.get(call.name, []))


def _call(view: View, call: DocumentedCall, cells: Sequence[Cell]) -> Markup:
    places = by_place(view.run, cells)
    ordered = [cell for group in places for cell in group.cells]
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
        references(call),
        _entries(view, ordered),
    )


def _others(view: View) -> Iterable[Markup]:
    if not view.others:
        yield paragraph("No other claim was planned.", class_="none")
    for group in by_place(view.run, view.others):
        yield _place(view, group)


def _place(view: View, group: Group) -> Markup:
    claim = group.cells[0].key.claim
    title = element("span", text(f"{group.title} "), class_="label")
    return element(
        "details",
        element("summary", title, _counts(group.cells)),
        element("p", text(MEANINGS[claim]), id=view.places[place_of(group.cells[0])]),
        _ranges([cell for cell in group.cells if cell.key in view.ranged]),
        _entries(view, [cell for cell in group.cells if cell.key not in view.ranged]),
    )


def _entries(view: View, cells: Sequence[Cell]) -> Markup:
    if not cells:
        return NOTHING
    return element("ul", *(cell_entry(view, cell) for cell in cells), class_="cells")


def _counts(cells: Sequence[Cell]) -> Markup:
    if not cells:
        return element("span", text("not planned"), class_="count")
    counts = count_outcomes(cells)
    words = ", ".join(
        f"{counts[outcome]:,} {word}" for outcome, word in OUTCOME_WORDS.items() if counts[outcome]
    )
    outcome = gravest(cell.outcome for cell in cells)
    sign = element("span", glyph(outcome), class_=f"mark {outcome_class(outcome)}")
    return element("span", sign, text(f" {words}"), class_="count")


def _ranges(cells: Iterable[Cell]) -> Markup:
    """The numbers of the cells that are not told one by one."""
    alike = gathered(
        cells, lambda cell: (cell.outcome, reason(cell) if cell.outcome in UNDECIDED else "")
    )
    return join(
        *(
            element(
                "p",
                badge(outcome),
                text(f" {why}: numbers " if why else " numbers "),
                code(number_ranges(members)),
            )
            for (outcome, why), members in alike.items()
        )
    )


def number_ranges(cells: Sequence[Cell]) -> str:
    """The cells' numbers as ranges: ``0-18, 20, 22-56``; a cell without one is named."""
    numbers = sorted({cell.key.number for cell in cells if cell.key.number is not None})
    nameless = sorted({cell.key.syscall for cell in cells if cell.key.number is None})
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join(["-".join(map(number_text, ends)) for ends in runs] + nameless)
