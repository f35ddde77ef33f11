"""What the parts of the page share: the cells in order, their anchors, and how they look."""

from collections.abc import Iterable
from dataclasses import dataclass

from probes.cell import Cell, CellKey, Claim, Evidence, Outcome
from reports.html.markup import NOTHING, Markup, code, element, identifier, join, text
from reports.results import Run, Summary, in_order, summarize
from reports.summary import OUTCOME_WORDS, UNDECIDED, documented, gathered, reason

MEANINGS = {
    Claim.CONTROLS: "A filter whose effect is known is seen for what it is.",
    Claim.TERMINATES: "A documented call ends the whole process with SIGSYS, at that call.",
    Claim.ENDS_EVERY_THREAD: "The other threads of the process end too, not only the caller.",
    Claim.IS_REPORTED: "That end leaves an audit record with the signal, the ABI and the number.",
    Claim.DENIES: "A documented call does not run; the filter answers EPERM.",
    Claim.IS_SILENT: "That denial leaves no audit record.",
    Claim.RUNS: "A documented call runs as it does without a filter.",
    Claim.IS_RECORDED: "That call leaves an audit record with the ABI and the number.",
    Claim.LEAVES_THE_REST_ALONE: "Every call that is not documented goes through.",
    Claim.DEFAULT_ACTION: "A number that no table knows gets the action of the profile.",
    Claim.IS_INHERITED: "Nothing that a process does takes the filter off it or its children.",
    Claim.IS_PROVED: "By analysis, the filter gives its answer whatever the arguments are.",
}
"""What each claim says, for a reader who does not know the suite."""

_GLYPHS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.CANNOT_TELL: "?",
    Outcome.NOT_APPLICABLE: "–",  # noqa: RUF001 - an en dash is meant
    Outcome.WAIVED: "~",
    Outcome.BROKEN: "!",
}

_GRAVEST_FIRST = (
    Outcome.FAILED,
    Outcome.BROKEN,
    Outcome.CANNOT_TELL,
    Outcome.WAIVED,
    Outcome.PASSED,
    Outcome.NOT_APPLICABLE,
)

_IN_RANGES = frozenset({Claim.LEAVES_THE_REST_ALONE})
"""The claims with very many cells, of which the page shows by number those that are alike."""

_PLAIN = frozenset({Outcome.PASSED, Outcome.NOT_APPLICABLE})

_CROWD = 50
"""More undecided cells than this with one reason in one place are shown by number."""

_LARGEST_PLAIN_NUMBER = 0xFFFF


Place = tuple[Claim, str, str]
"""A claim, a profile and an ABI."""


@dataclass(frozen=True, slots=True)
class View:
    """A run, prepared for the page.

    Attributes:
        run: the run.
        summary: its counts and verdict.
        documented: the cells by which every documented call is judged, in order.
        others: all other cells, in order.
        ranged: cells of a claim with very many, which the page shows by number only, because
            many in one place came to the same outcome for the same reason.
        anchors: the ``id`` under which the page describes a cell; of a ranged one, its place's.
        places: the ``id`` under which it describes the other cells of a claim in one place.
    """

    run: Run
    summary: Summary
    documented: tuple[Cell, ...]
    others: tuple[Cell, ...]
    ranged: frozenset[CellKey]
    anchors: dict[CellKey, str]
    places: dict[Place, str]


def view(run: Run) -> View:
    """Prepares a run for the page."""
    inside = documented(run)
    chosen = {cell.key for cell in inside}
    others = tuple(cell for cell in in_order(run.cells) if cell.key not in chosen)
    taken: set[str] = set()
    places = {
        place: _unused(identifier("place", *place), taken)
        for place in dict.fromkeys(map(place_of, others))
    }
    ranged = _ranged(others)
    return View(
        run=run,
        summary=summarize(run),
        documented=inside,
        others=others,
        ranged=ranged,
        anchors={
            cell.key: places[place_of(cell)]
            if cell.key in ranged
            else _unused(_cell_anchor(cell.key), taken)
            for cell in (*inside, *others)
        },
        places=places,
    )


def _ranged(cells: Iterable[Cell]) -> frozenset[CellKey]:
    many = [cell for cell in cells if cell.key.claim in _IN_RANGES]
    plain = [cell.key for cell in many if cell.outcome in _PLAIN]
    undecided = gathered(
        (cell for cell in many if cell.outcome in UNDECIDED),
        lambda cell: (place_of(cell), cell.outcome, reason(cell)),
    )
    crowds = (group for group in undecided.values() if len(group) > _CROWD)
    return frozenset(plain).union(cell.key for group in crowds for cell in group)


def place_of(cell: Cell) -> Place:
    """Where a cell belongs."""
    return (cell.key.claim, cell.key.profile, cell.key.arch)


def _cell_anchor(key: CellKey) -> str:
    number = "" if key.number is None else str(key.number)
    return identifier("cell", key.claim, key.profile, key.arch, key.syscall, number, key.variant)


def _unused(wish: str, taken: set[str]) -> str:
    """The wish, or the wish with the first number that makes it new; notes it as taken."""
    # Different names can become the same id, because an id holds letters and digits only.
    anchor, attempt = wish, 1
    while anchor in taken:
        attempt += 1
        anchor = f"{wish}-{attempt}"
    taken.add(anchor)
    return anchor


def gravest(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that a reader has to know about first."""
    return min(outcomes, key=_GRAVEST_FIRST.index)


def number_text(number: int) -> str:
    """A call's number: in decimal, or in hexadecimal where it carries high bits as x32's do."""
    return str(number) if number <= _LARGEST_PLAIN_NUMBER else f"{number:#x}"


def glyph(outcome: Outcome) -> Markup:
    """The outcome's sign, with its word for those who do not see it."""
    return join(
        element("span", text(_GLYPHS[outcome]), aria_hidden="true"),
        element("span", text(OUTCOME_WORDS[outcome]), class_="hidden"),
    )


def badge(outcome: Outcome) -> Markup:
    """The outcome's sign and word in its colour."""
    sign = element("span", text(_GLYPHS[outcome]), aria_hidden="true")
    return element(
        "span", sign, text(f" {OUTCOME_WORDS[outcome]}"), class_=f"badge {outcome_class(outcome)}"
    )


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


def paragraph(words: str, class_: str | None = None) -> Markup:
    """A paragraph of plain text."""
    return element("p", text(words), class_=class_)


def cell_entry(view: View, cell: Cell) -> Markup:
    """Everything that is known about a cell, under its anchor."""
    key = cell.key
    number = NOTHING if key.number is None else join(text(" "), code(number_text(key.number)))
    head = element(
        "p",
        badge(cell.outcome),
        text(" "),
        element("strong", text(key.claim)),
        text(f" {place_text(key)}"),
        number,
        class_="head",
    )
    body = element(
        "div", paragraph(cell.sentence, class_="sentence"), _expectation(cell), _evidence(cell)
    )
    return element("li", head, body, class_="cell", id=view.anchors[key])


def place_text(key: CellKey) -> str:
    """Where a cell belongs: ``KILL, x86_64, fork``; controls have no profile."""
    profile = "" if key.claim is Claim.CONTROLS else key.profile.upper()
    return ", ".join(filter(None, (profile, key.arch, key.variant)))


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


def _piece(piece: Evidence) -> Markup:
    return element(
        "li",
        element("span", text(piece.kind), class_=f"kind k-{piece.kind}"),
        text(f" {piece.source}: "),
        code(piece.text),
    )
