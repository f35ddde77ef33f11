"""What a reader has to act on: failures, and cells that nobody could decide."""

from collections.abc import Iterable, Sequence

from probes.cell import Cell, Outcome
from probes.judging import claims
from probes.text import spelled
from reports.causes.mending import mend_cell
from reports.html.causes_section import causes_list
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.references import answers, references
from reports.html.view import (
    View,
    badge,
    capital,
    entry_head,
    expectation,
    kernels,
    paragraph,
    section,
)
from reports.reproduce import command_elsewhere
from reports.results import CallInfo
from reports.summary import Group, by_place, by_reason, cells_text, gathered

_MOST_OPEN_CARDS = 8
"""With more failures than this, each is folded to its heading."""

_MOST_LINKS = 400
"""A reason that concerns more cells than this lists so many of them and counts the rest."""


def failures(view: View) -> Markup:
    """Every cause, and every failed cell under its call; nothing where there is none."""
    failed = _ordered(view, (cell for cell in view.documented if cell.outcome is Outcome.FAILED))
    others = [cell for cell in view.others if cell.outcome is Outcome.FAILED]
    calls = {call.name: call for call in view.run.policy.calls}
    by_call = gathered(failed, lambda cell: cell.key.syscall)
    by_claim = gathered(_ordered(view, others), lambda cell: (cell.key.claim, cell.key.profile))
    folded = len(by_call) + len(by_claim) > _MOST_OPEN_CARDS
    cards = [
        _call_card(view, calls[name], by_call[name], folded=folded)
        for name in calls
        if name in by_call
    ]
    cards += [_claim_card(view, cells, folded=folded) for cells in by_claim.values()]
    found = causes_list(view)
    if not cards and not found:
        return NOTHING
    cells = element("h3", text("Cell by cell")) if cards else NOTHING
    title = f"Failures ({len(failed) + len(others):,})"
    return section("failures", title, found, cells, *cards)


def _ordered(view: View, cells: Iterable[Cell]) -> list[Cell]:
    return [cell for group in by_place(view.run, cells) for cell in group.cells]


def _call_card(view: View, call: CallInfo, cells: Sequence[Cell], *, folded: bool) -> Markup:
    obsolete = " Current kernels no longer have it." if call.obsolete else ""
    about = (
        paragraph(f"{call.description}{obsolete}"),
        element("p", element("strong", text("Why it matters. ")), text(call.why)),
        answers(call),
        references(call),
    )
    title = join(code(call.name), element("span", text(f" {call.family}")))
    return _card(title, cells, folded=folded, children=(*about, _entries(view, cells, named=False)))


def _claim_card(view: View, cells: Sequence[Cell], *, folded: bool) -> Markup:
    claim = cells[0].key.claim
    about = paragraph(claims.of(claim).meaning)
    title = text(claims.of(claim).title(cells[0].key.profile))
    return _card(title, cells, folded=folded, children=(about, _entries(view, cells, named=True)))


def _card(
    title: Markup, cells: Sequence[Cell], *, folded: bool, children: Iterable[Markup]
) -> Markup:
    count = element("span", text(cells_text(len(cells))), class_="count")
    if folded:
        summary = element("summary", element("h3", title), count)
        return element("details", summary, *children, class_="card")
    return element("article", element("h3", title), count, *children, class_="card")


def _entries(view: View, cells: Iterable[Cell], *, named: bool) -> Markup:
    """A list of cells; those of one claim with the same reason and observation share an item.

    Args:
        view: what the page shows.
        cells: what to list.
        named: whether the calls' names are part of the links; not under the name of the call.
    """
    alike = gathered(
        cells, lambda cell: (cell.key.claim, cell.key.profile, cell.why, cell.observed)
    )
    entries = (_entry(view, group, named=named) for group in alike.values())
    return element("ul", *entries, class_="entries")


def _entry(view: View, cells: Sequence[Cell], *, named: bool) -> Markup:
    first = cells[0]
    head = entry_head(first, _links(view, cells, named=named))
    sentence = first.sentence if len(cells) == 1 else capital(first.why)
    again = code(command_elsewhere(view.run, first.key))
    todo = element(
        "div",
        paragraph(sentence, class_="sentence"),
        element("p", element("strong", text("How to mend. ")), text(mend_cell(first))),
        element("p", element("strong", text("Reproduce. ")), again),
    )
    return element("li", head, todo, expectation(first))


def _links(view: View, cells: Sequence[Cell], *, named: bool) -> Markup:
    """A link for each call, number and ABI, with the kernels where a record has several."""
    spots = gathered(cells, lambda cell: cell.key)
    shown = list(spots.values())[:_MOST_LINKS]
    seen = {tuple(cell.environment for cell in same) for same in shown}
    last = kernels(view.run, next(iter(seen))) if len(seen) == 1 else NOTHING
    links = join(*(_link(view, same, named=named, alone=not last) for same in shown), by=", ")
    links = join(links, last)
    left = sum(map(len, spots.values())) - sum(map(len, shown))
    return join(links, text(f" and {left:,} more")) if left else links


def _link(view: View, cells: Sequence[Cell], *, named: bool, alone: bool) -> Markup:
    key = cells[0].key
    number = None if key.number is None else f"({spelled(key.number)})"
    call = (key.syscall, number, key.arch) if named else (key.arch, number)
    words = " ".join(filter(None, (*call, key.which)))
    link = element("a", text(words), href=f"#{view.anchor(cells[0])}")
    where = kernels(view.run, [cell.environment for cell in cells]) if alone else NOTHING
    return join(link, where)


def undecided(view: View) -> Markup:
    """Everything that was not assessed, by reason; nothing where all was."""
    parts = [
        *(
            _reasons(view, outcome, title)
            for outcome, title in (
                (Outcome.BROKEN, "Broken: the instrument failed"),
                (Outcome.CANNOT_TELL, "Cannot tell: not assessed here"),
            )
        ),
        _not_entered(view),
        _not_selected(view),
        _absent(view),
    ]
    body = join(*parts)
    return section("undecided", "Not assessed, and why", body) if body else NOTHING


def _reasons(view: View, outcome: Outcome, title: str) -> Markup:
    cells = [cell for cell in (*view.documented, *view.others) if cell.outcome is outcome]
    if not cells:
        return NOTHING
    cards = (_reason_card(view, group) for group in by_reason(cells))
    return join(element("h3", text(f"{title} ({len(cells):,})")), *cards)


def _reason_card(view: View, group: Group) -> Markup:
    cause = group.cells[0].cause
    why = element(
        "p",
        badge(group.cells[0].outcome),
        text(" "),
        element("strong", text(cells_text(len(group.cells)))),
        text(f" (cause: {cause})" if cause else ""),
        class_="head",
    )
    sentence = group.cells[0].sentence if len(group.cells) == 1 else capital(group.title)
    places = element("ul", *map(_place_line, by_place(view.run, group.cells)), class_="places")
    listed = element(
        "details",
        element("summary", text("The cells")),
        element("p", _links(view, group.cells, named=True), class_="links"),
    )
    return element(
        "article", why, paragraph(sentence, class_="sentence"), places, listed, class_="card"
    )


def _place_line(group: Group) -> Markup:
    return element("li", text(f"{group.title}: {len(group.cells):,}"))


def _not_entered(view: View) -> Markup:
    """The ABIs that a machine may have and by which its kernel cannot be entered."""
    shut = gathered(
        (
            (index, arch, why)
            for index, one in enumerate(view.run.environments)
            for arch, why in one.shut
        ),
        lambda item: item[1:],
    )
    if not shut:
        return NOTHING
    lines = (
        element(
            "li",
            code(arch),
            text(f": {why}"),
            kernels(view.run, [index for index, *_ in members]),
        )
        for (arch, why), members in shut.items()
    )
    return join(element("h3", text("ABIs that were not judged")), element("ul", *lines))


def _not_selected(view: View) -> Markup:
    left = view.summary.selected_of - view.summary.planned
    if left <= 0:
        return NOTHING
    words = f"{cells_text(left)} of the whole job {'was' if left == 1 else 'were'} not selected."
    return join(element("h3", text("Not selected")), paragraph(words))


def _absent(view: View) -> Markup:
    """Which documented calls an ABI does not have."""
    cells = (cell for cell in view.documented if cell.outcome is Outcome.NOT_APPLICABLE)
    by_arch = gathered(cells, lambda cell: cell.key.arch)
    if not by_arch:
        return NOTHING
    lines = (
        element(
            "li",
            code(arch),
            text(" has no "),
            join(*map(code, dict.fromkeys(cell.key.syscall for cell in members)), by=", "),
            text("."),
        )
        for arch, members in by_arch.items()
    )
    return join(
        element("h3", text("Not applicable: no number stands for the call")), element("ul", *lines)
    )
