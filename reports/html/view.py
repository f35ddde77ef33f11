"""What the parts of the page share: the cells in order, their anchors, and how they look."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import count

from probes.cell import Cell, CellKey, Claim, Evidence, Outcome
from probes.judging import claims
from probes.judging.claims import About, is_about
from probes.text import spelled
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.results import (
    UNDECIDED,
    CallInfo,
    Run,
    Summary,
    Verdict,
    in_order,
    summarize,
    time_text,
)
from reports.summary import OUTCOME_WORDS, by_place, documented, gathered

GLYPHS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.CANNOT_TELL: "?",
    Outcome.NOT_APPLICABLE: "–",  # noqa: RUF001 - an en dash is meant
    Outcome.WAIVED: "~",
    Outcome.ACCEPTED: "≈",
    Outcome.BROKEN: "!",
}

VERDICT_GLYPHS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.INCOMPLETE: "?",
    Verdict.BROKEN: "!",
}

VERDICT_LOOKS = {
    Verdict.PASS: Outcome.PASSED,
    Verdict.FAIL: Outcome.FAILED,
    Verdict.INCOMPLETE: Outcome.CANNOT_TELL,
    Verdict.BROKEN: Outcome.BROKEN,
}

_PLAIN = frozenset({Outcome.PASSED, Outcome.NOT_APPLICABLE})

_CROWD = 50
"""More undecided cells than this with one reason in one place are shown by number."""

PlaceKey = tuple[Claim, str, str, int]
"""A claim, a profile, an ABI and a stack of the target's filters."""


@dataclass(frozen=True, slots=True)
class AlikeCells:
    """Cells of one claim that came to the same for the same reason, on the same evidence.

    Attributes:
        anchor: the ``id`` of the entry on the page.
        cells: at least one, in order.
    """

    anchor: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class PlaceView:
    """The cells of one place that are not about a documented call each.

    Attributes:
        anchor: the ``id`` of the place.
        cells: all of them, in order.
        entries: those that are described one by one.
        ranged: those that are only listed by number, because so many came to the same.
    """

    anchor: str
    cells: tuple[Cell, ...]
    entries: tuple[AlikeCells, ...]
    ranged: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A run, prepared for the page.

    Attributes:
        run: the run.
        summary: its counts and verdict.
        documented: the cells by which every documented call is judged, in order.
        others: all other cells, in order.
        families: the documented calls by family, in the policy's order of families.
        calls: the entries of each documented call.
        places: the other cells by claim, profile, ABI and stack, in order.
        anchors: the ``id`` of the entry about each cell; for one only listed by number, that of its
            place.
    """

    run: Run
    summary: Summary
    documented: tuple[Cell, ...]
    others: tuple[Cell, ...]
    families: dict[str, list[CallInfo]]
    calls: dict[str, tuple[AlikeCells, ...]]
    places: dict[PlaceKey, PlaceView]
    anchors: dict[tuple[CellKey, int], str]

    def anchor(self, cell: Cell) -> str:
        """The ``id`` of the page's entry about a cell."""
        return self.anchors[cell.key, cell.environment]


def view(run: Run) -> View:
    """Prepares a run for the page."""
    inside = documented(run)
    chosen = {cell.key for cell in inside}
    others = tuple(cell for cell in in_order(run.cells) if cell.key not in chosen)
    ordinals = count(1)
    families = _families(run)
    by_call = gathered(inside, lambda cell: cell.key.syscall)
    calls = {
        call.name: _entries(run, by_call.get(call.name, ()), ordinals)
        for members in families.values()
        for call in members
    }
    places = {
        place_of(group.cells[0]): _place(run, group.cells, f"p{number}", ordinals)
        for number, group in enumerate(by_place(run, others), 1)
    }
    anchors = {
        (cell.key, cell.environment): entry.anchor
        for entries in (*calls.values(), *(place.entries for place in places.values()))
        for entry in entries
        for cell in entry.cells
    }
    for place in places.values():
        for cell in place.ranged:
            anchors[cell.key, cell.environment] = place.anchor
    return View(run, summarize(run), inside, others, families, calls, places, anchors)


def _families(run: Run) -> dict[str, list[CallInfo]]:
    groups = gathered(run.policy.calls, lambda call: call.family)
    first = [family for family in dict.fromkeys(run.policy.families) if family in groups]
    return {family: groups[family] for family in dict.fromkeys([*first, *groups])}


def _entries(run: Run, cells: Iterable[Cell], ordinals: Iterator[int]) -> tuple[AlikeCells, ...]:
    ordered = (cell for group in by_place(run, cells) for cell in group.cells)
    return tuple(
        AlikeCells(f"e{next(ordinals)}", tuple(alike))
        for alike in gathered(ordered, _what).values()
    )


def _what(cell: Cell) -> tuple[Hashable, ...]:
    """What cells must have in common to share an entry: outcome, reason and evidence."""
    key = cell.key
    rest = (cell.cause, cell.why, cell.expected, cell.observed, cell.evidence, cell.waiver)
    return (key.claim, key.profile, cell.outcome, *rest)


def _place(run: Run, cells: tuple[Cell, ...], anchor: str, ordinals: Iterator[int]) -> PlaceView:
    ranged = _ranged(cells)
    told = [cell for cell in cells if (cell.key, cell.environment) not in ranged]
    return PlaceView(
        anchor,
        cells,
        _entries(run, told, ordinals),
        tuple(cell for cell in cells if (cell.key, cell.environment) in ranged),
    )


def _ranged(cells: Iterable[Cell]) -> frozenset[tuple[CellKey, int]]:
    many = [cell for cell in cells if is_about(cell.key, About.OTHER_CALL)]
    plain = [cell for cell in many if cell.outcome in _PLAIN]
    undecided = gathered(
        (cell for cell in many if cell.outcome in UNDECIDED),
        lambda cell: (cell.outcome, cell.why),
    )
    crowds = [cell for group in undecided.values() if len(group) > _CROWD for cell in group]
    return frozenset((cell.key, cell.environment) for cell in (*plain, *crowds))


def place_of(cell: Cell) -> PlaceKey:
    """The claim, profile, ABI and stack of a cell."""
    return (cell.key.claim, cell.key.profile, cell.key.arch, cell.key.stack)


def is_fine(cells: Iterable[Cell]) -> bool:
    """Whether all cells passed or do not apply, so that a reader may skip them."""
    return all(cell.outcome in _PLAIN for cell in cells)


def call_anchor(run: Run, call: CallInfo) -> str:
    """The ``id`` of what the page says about a call."""
    return f"c{run.policy.calls.index(call) + 1}"


def glyph(outcome: Outcome) -> Markup:
    """The outcome's sign, with its word for those who do not see it."""
    return join(
        element("span", text(GLYPHS[outcome]), aria_hidden="true"),
        element("span", text(OUTCOME_WORDS[outcome]), class_="hidden"),
    )


def badge(outcome: Outcome) -> Markup:
    """The outcome's sign and word in its colour."""
    return labelled(GLYPHS[outcome], OUTCOME_WORDS[outcome], outcome)


def labelled(sign: str, words: str, like: Outcome) -> Markup:
    """A sign and a word in the colour of an outcome."""
    shown = element("span", text(sign), aria_hidden="true")
    return element("span", shown, text(f" {words}"), class_=f"badge {outcome_class(like)}")


def outcome_class(outcome: Outcome) -> str:
    """The style of an outcome."""
    return f"o-{outcome.value.replace('_', '-')}"


def facts(rows: Iterable[tuple[str, Markup]], class_: str = "facts") -> Markup:
    """A list of terms and what they are."""
    return element(
        "dl",
        *(element("div", element("dt", text(term)), element("dd", value)) for term, value in rows),
        class_=class_,
    )


def section(name: str, title: str, *children: Markup) -> Markup:
    """A section of the page with its heading."""
    heading = element("h2", text(title), id=f"{name}-title")
    return element("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def sheet(name: str, title: str, head: Sequence[str], rows: Iterable[Sequence[Markup]]) -> Markup:
    """A table of texts; on a narrow page each of its rows becomes a card of its own.

    The roles are said, for a style that lays a table out otherwise takes its meaning from it.

    Args:
        name: the ``id`` of the table.
        title: its caption; may be "" under a heading that says it.
        head: what its columns hold; the first column names the row.
        rows: as many pieces each.
    """
    heads = (element("th", text(word), scope="col", role="columnheader") for word in head)
    body = (element("tr", *_sheet_cells(head, row), role="row") for row in rows)
    return element(
        "table",
        element("caption", text(title)) if title else NOTHING,
        element("thead", element("tr", *heads, role="row"), role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        class_=f"sheet {name.partition('-')[0]}",
        id=name,
        role="table",
    )


def _sheet_cells(head: Sequence[str], row: Sequence[Markup]) -> Iterator[Markup]:
    first, *others = row
    yield element("th", first, scope="row", role="rowheader")
    for word, piece in zip(head[1:], others, strict=True):
        yield element("td", element("div", piece), role="cell", data_label=word)


def digest(words: str) -> Markup:
    """A digest, which may be broken anywhere."""
    return element("code", text(words), class_="digest")


def moment(when: datetime) -> Markup:
    """A moment in UTC, for people and for machines."""
    told = time_text(when)
    return element("time", text(told.replace("T", " ").replace("Z", " UTC")), datetime=told)


def paragraph(words: str, class_: str | None = None) -> Markup:
    """A paragraph of plain text."""
    return element("p", text(words), class_=class_)


def entry_item(view: View, entry: AlikeCells) -> Markup:
    """Everything that is known about an entry's cells, under its anchor."""
    first = entry.cells[0]
    head = entry_head(first, where(view, entry.cells))
    alone = len(entry.cells) == 1
    words = first.sentence if alone else capital(first.why)
    body = element(
        "div", paragraph(words, class_="sentence"), _expectation(first), _evidence(first)
    )
    return element("li", head, body, class_="cell", id=entry.anchor)


def entry_head(first: Cell, spots: Markup) -> Markup:
    """What cells came to, and where.

    Args:
        first: one of them, all of which are of one claim and came to the same.
        spots: where they were judged.
    """
    claim = element("strong", text(claims.of(first.key.claim).heading(first.key.profile)))
    return element("p", badge(first.outcome), text(" "), claim, text(" "), spots, class_="head")


def capital(words: str) -> str:
    """The words as the beginning of a sentence."""
    return words[:1].upper() + words[1:]


def where(view: View, cells: Iterable[Cell]) -> Markup:
    """The ABIs and numbers of cells, and in a merged record the kernels that they were seen on."""
    spots = gathered(cells, lambda cell: (cell.key.arch, cell.key.number, cell.key.which))
    seen = {tuple(cell.environment for cell in members) for members in spots.values()}
    together = len(seen) == 1
    named = (
        join(_spot(*spot), NOTHING if together else kernels(view.run, _environments(members)))
        for spot, members in spots.items()
    )
    last = kernels(view.run, next(iter(seen))) if together else NOTHING
    return element("span", join(*named, by=", "), last, class_="where")


def _environments(cells: Iterable[Cell]) -> tuple[int, ...]:
    return tuple(cell.environment for cell in cells)


def _spot(arch: str, number: int | None, which: str) -> Markup:
    told = NOTHING if number is None else join(text(" "), code(spelled(number)))
    return join(text(arch), told, text(f" {which}" if which else ""))


def kernels(run: Run, environments: Sequence[int]) -> Markup:
    """Which of a merged record's kernels: ``on kernels 1-3, 7``; nothing where there is but one."""
    if len(run.environments) == 1:
        return NOTHING
    if len(set(environments)) == len(run.environments):
        return text(" on every kernel")
    numbers = sorted({environment + 1 for environment in environments})
    if len(numbers) == 1:
        link = element("a", text(f"kernel {numbers[0]}"), href=f"#{kernel_anchor(numbers[0] - 1)}")
        return join(text(" on "), link, text(f" ({run.environments[numbers[0] - 1].kernel})"))
    return join(text(" on "), element("a", text(f"kernels {ranges(numbers)}"), href="#environment"))


def kernel_anchor(environment: int) -> str:
    """The ``id`` of what the page says about an environment."""
    return f"k{environment + 1}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in order, neighbours as a range: ``0-18, 20``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(spelled, ends)) for ends in runs)


def expectation(cell: Cell) -> Markup:
    """What was expected and what was observed."""
    rows = (("Expected", cell.expected), ("Observed", cell.observed), ("Cause", cell.cause or ""))
    return facts(((term, text(words)) for term, words in rows if words), class_="inline")


def _expectation(cell: Cell) -> Markup:
    # Most sentences say both already; said twice they would hide the evidence.
    if cell.expected in cell.sentence and cell.observed in cell.sentence:
        return NOTHING
    return expectation(cell)


def _evidence(cell: Cell) -> Markup:
    if not cell.evidence:
        return NOTHING
    return element("ul", *map(_piece, cell.evidence), class_="evidence")


@lru_cache(maxsize=1 << 12)
def _piece(piece: Evidence) -> Markup:
    return element(
        "li", element("b", text(piece.kind)), text(f" {piece.source}: "), code(piece.text)
    )
