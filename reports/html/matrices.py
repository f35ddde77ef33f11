"""The two matrices: documented calls by claim and ABI, and the other claims in counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.cell import Cell, Claim, Outcome
from probes.judging import claims
from reports.html.markup import NOTHING, Markup, element, join, text, void
from reports.html.view import (
    GLYPHS,
    View,
    badge,
    call_anchor,
    glyph,
    is_fine,
    outcome_class,
    place_of,
    section,
)
from reports.results import CallInfo
from reports.summary import (
    OUTCOME_WORDS,
    gathered,
    gravest,
    ordered_arches,
    ordered_places,
    ordered_profiles,
    place_name,
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the first matrix: profiles, their claims, and for each the ABIs and stacks."""

    tree: tuple[tuple[str, tuple[Claim, ...]], ...]
    arches: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(claims) for _, claims in self.tree) * len(self.arches)


def calls_matrix(view: View) -> Markup:
    """Documented calls against profile, claim and ABI; nothing where none was planned."""
    if not view.documented:
        return NOTHING
    body = join(
        _legend(),
        _claims(_columns(view)),
        only_notable(view),
        skippable("calls", "documented calls", calls_table(view)),
    )
    return section("calls", "Documented calls", body)


def calls_table(view: View, address: str = "#") -> Markup:
    """The table alone; nothing where no documented call was planned.

    Args:
        view: what the page shows.
        address: what links begin with, before the name of their target.
    """
    if not view.documented:
        return NOTHING
    columns = _columns(view)
    places = gathered(
        view.documented,
        lambda cell: (cell.key.syscall, cell.key.profile, cell.key.claim, place_name(cell.key)),
    )
    table = _Table(view, columns, places, address)
    return element(
        "table",
        element("caption", text("Each sign links to its evidence.")),
        _calls_head(columns),
        *(_family(table, family, calls) for family, calls in view.families.items()),
        class_="matrix slim" if len(columns) > _MANY_COLUMNS else "matrix",
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """What the rows of the first matrix have in common."""

    view: View
    columns: _Columns
    places: Mapping[tuple[str, str, Claim, str], Sequence[Cell]]
    address: str


_MANY_COLUMNS = 18
"""With more columns than this the names of the ABIs are written upright."""


def only_notable(view: View) -> Markup:
    """A checkbox that hides what passed; nothing where it would hide all rows or none.

    The style does it, without a script.
    """
    calls = [[cell for entry in entries for cell in entry.cells] for entries in view.calls.values()]
    fine = [is_fine(cells) for cells in calls]
    if all(fine) or not any(fine):
        return NOTHING
    box = void("input", type="checkbox", id="notable")
    label = element("label", box, text(" Show only what did not pass"))
    return element("p", label, class_="filter")


def _columns(view: View) -> _Columns:
    seen = {(cell.key.profile, cell.key.claim) for cell in view.documented}
    tree = tuple(
        (profile, tuple(claim for claim in Claim if (profile, claim) in seen))
        for profile in ordered_profiles(view.run, view.documented)
    )
    return _Columns(tree, ordered_places(view.run, view.documented))


def _legend() -> Markup:
    return element("p", join(*map(badge, OUTCOME_WORDS), by=" "), class_="legend")


def _claims(columns: _Columns) -> Markup:
    lines = (
        element(
            "li",
            element("strong", text(f"{row.heading(profile)}. ")),
            text(row.meaning),
        )
        for profile, made in columns.tree
        for row in map(claims.of, made)
    )
    return element("ul", *lines, class_="claims")


def skippable(name: str, title: str, table: Markup) -> Markup:
    """A table in a box of its own, so that it scrolls there and the page does not."""
    skip = element("a", text("Skip the table"), href=f"#{name}-after", class_="skip inside")
    box = element(
        "div",
        table,
        class_="scroll",
        role="region",
        aria_label=f"Table: {title}",
        tabindex="0",
    )
    return join(skip, box, element("div", id=f"{name}-after"))


def _calls_head(columns: _Columns) -> Markup:
    width = len(columns.arches)
    profiles = (
        element(
            "th",
            text(profile.upper()),
            scope="colgroup",
            colspan=str(len(claims) * width),
            class_="profile",
        )
        for profile, claims in columns.tree
    )
    claims = (
        element("th", text(claim), scope="colgroup", colspan=str(width), class_=_edge(index))
        for _, claims in columns.tree
        for index, claim in enumerate(claims)
    )
    arches = (
        element("th", element("span", text(arch)), scope="col", class_=_edge(index + offset))
        for _, claims in columns.tree
        for offset, _ in enumerate(claims)
        for index, arch in enumerate(columns.arches)
    )
    corner = element("th", text("Call"), scope="col", rowspan="3", class_="corner")
    return element(
        "thead",
        element("tr", corner, *profiles),
        element("tr", *claims),
        element("tr", *arches),
    )


def _edge(index: int) -> str | None:
    return "edge" if index == 0 else None


def _family(table: _Table, family: str, calls: Sequence[CallInfo]) -> Markup:
    title = element(
        "th",
        element("span", text(family)),
        scope="rowgroup",
        colspan=str(len(table.columns) + 1),
        class_="family",
    )
    fine = all(is_fine(_cells_of(table.view, call)) for call in calls)
    rows = (_row(table, call) for call in calls)
    return element("tbody", element("tr", title), *rows, class_="fine" if fine else None)


def _cells_of(view: View, call: CallInfo) -> Iterable[Cell]:
    return (cell for entry in view.calls[call.name] for cell in entry.cells)


def _row(table: _Table, call: CallInfo) -> Markup:
    anchor = call_anchor(table.view.run, call)
    link = element("a", text(call.name), href=f"{table.address}{anchor}")
    obsolete = element("small", text("obsolete")) if call.obsolete else text("")
    return element(
        "tr",
        element("th", link, obsolete, scope="row"),
        *(
            _calls_cell(
                table,
                table.places.get((call.name, profile, claim, arch), ()),
                _edge(index + offset),
            )
            for profile, claims in table.columns.tree
            for offset, claim in enumerate(claims)
            for index, arch in enumerate(table.columns.arches)
        ),
        class_="fine" if is_fine(_cells_of(table.view, call)) else None,
    )


def _calls_cell(table: _Table, cells: Sequence[Cell], edge: str | None) -> Markup:
    if not cells:
        return element("td", element("span", text("not planned"), class_="hidden"), class_=edge)
    outcome = gravest(cells)
    alike = [cell for cell in cells if cell.outcome is outcome]
    # In a merged record a place has a cell for each kernel, and kernels can differ.
    share = "" if len(alike) == len(cells) else f"{len(alike)}/{len(cells)}"
    link = element(
        "a",
        text(GLYPHS[outcome]),
        element("small", text(f" {share}")) if share else NOTHING,
        href=f"{table.address}{table.view.anchor(alike[0])}",
        aria_label=f"{OUTCOME_WORDS[outcome]} {share}".rstrip(),
    )
    return element("td", link, class_=" ".join(filter(None, (outcome_class(outcome), edge))))


def others_matrix(view: View) -> Markup:
    """The other claims against profile and ABI, in counts; nothing where none was planned."""
    if not view.others:
        return NOTHING
    table = element(
        "table",
        element(
            "caption",
            text("How many of the cells that apply passed. Each count links to its evidence."),
        ),
        _others_head(view),
        element("tbody", *_others_rows(view)),
        class_="matrix counts",
    )
    body = skippable("others", "the other claims", table)
    return section("others", "The other claims", body)


def _others_head(view: View) -> Markup:
    arches = ordered_arches(view.run, view.others)
    return element(
        "thead",
        element(
            "tr",
            element("th", text("Claim"), scope="col", class_="corner"),
            element("th", text("Profile"), scope="col"),
            *(element("th", text(arch), scope="col") for arch in arches),
        ),
    )


def _others_rows(view: View) -> Iterable[Markup]:
    arches = ordered_arches(view.run, view.others)
    rows = gathered(view.others, _row_of)
    profiles = ordered_profiles(view.run, view.others)
    order = list(Claim)
    for row in sorted(
        rows, key=lambda row: (order.index(row.claim), row.variant, profiles.index(row.profile))
    ):
        yield _others_row(view, row, rows[row], arches)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the second matrix."""

    claim: Claim
    variant: str
    profile: str


def _row_of(cell: Cell) -> _Row:
    row = claims.of(cell.key.claim)
    variant = cell.key.variant if row.by_variant else ""
    if not row.observed:
        variant = cell.key.syscall  # here not a call, but what is covered besides calls
    told = ", ".join(filter(None, (variant, cell.key.part)))
    return _Row(cell.key.claim, told, cell.key.profile)


def _others_row(view: View, row: _Row, cells: Sequence[Cell], arches: Iterable[str]) -> Markup:
    places = gathered(cells, lambda cell: cell.key.arch)
    words = f"{row.claim}: {row.variant}" if row.variant else row.claim
    profile = row.profile.upper() if claims.of(row.claim).profiles else ""
    return element(
        "tr",
        element("th", text(words), scope="row"),
        element("td", text(profile)),
        *(_others_cell(view, places.get(arch, [])) for arch in arches),
    )


def _others_cell(view: View, cells: Sequence[Cell]) -> Markup:
    if not cells:
        return element("td", element("span", text("not planned"), class_="hidden"))
    outcome = gravest(cells)
    passed = sum(cell.outcome is Outcome.PASSED for cell in cells)
    applicable = sum(cell.outcome is not Outcome.NOT_APPLICABLE for cell in cells)
    count = element(
        "a",
        glyph(outcome),
        text(f" {passed:,} of {applicable:,}"),
        href=f"#{view.places[place_of(cells[0])].anchor}",
        class_=outcome_class(outcome),
    )
    return element("td", count)
