"""The page of ``compare``: what changed from one record to another, each reason once. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from probes.cell import Outcome
from probes.errors import ExitStatus
from probes.judging import claims
from reports.html import bars
from reports.html.markup import NOTHING, Markup, element, join, text
from reports.html.view import (
    VERDICT_GLYPHS,
    VERDICT_LOOKS,
    badge,
    digest,
    labelled,
    moment,
    paragraph,
    section,
    sheet,
)
from reports.pages import frame
from reports.results import ChangeKind
from reports.results.comparison import (
    KIND_ORDER,
    ChangedCell,
    ChangeGroup,
    RecordComparison,
    RecordHead,
)
from reports.summary import OUTCOME_WORDS, call_name, cells_text, gathered

_KICKER: Final = "System call restrictions: two records compared"
_LOOKS: Final = {
    ExitStatus.CONFORMANT: ("✓", "o-passed", "Nothing is worse"),
    ExitStatus.NOT_CONFORMANT: ("✗", "o-failed", "Worse"),
    ExitStatus.CANNOT_TELL: ("?", "o-cannot-tell", "Cannot tell"),
}
_TITLES: Final = {
    ChangeKind.WORSE: "Worse",
    ChangeKind.BETTER: "Better",
    ChangeKind.OTHER: "Neither better nor worse",
    ChangeKind.APPEARED: "Appeared",
    ChangeKind.VANISHED: "Vanished",
}
_MOST_OPEN: Final = 24
"""A list of more calls than these is folded."""


def render(found: RecordComparison) -> str:
    """The whole page as text; write it as UTF-8."""
    kinds = gathered(found.groups, lambda group: group.kind)
    return frame.page(
        _KICKER,
        _title(found.old.target[1], found.new.target[1]),
        _banner(found),
        section(
            "glance",
            "At a glance",
            bars.outcomes("Old", found.old.counts),
            bars.outcomes("New", found.new.counts),
        ),
        *(_kind(kind, kinds[kind]) for kind in KIND_ORDER if kind in kinds),
        _claims(found),
        _records(found),
    )


def _title(old: str, new: str) -> str:
    return f"{old}: what changed" if old == new else f"{old} and {new}"


def _banner(found: RecordComparison) -> Markup:
    sign, style, word = _LOOKS[found.exit_status]
    counts = [
        f"{found.count(kind):,} {_TITLES[kind].lower()}" for kind in KIND_ORDER if found.count(kind)
    ]
    lead = f"Cells: {', '.join(counts)}." if counts else "No cell came to anything else."
    notes = [f"{note[:1].upper()}{note[1:]}." for note in found.unlike]
    reason = [_reason(found.groups[0])] if found.groups else []
    last = f"Exit status {found.exit_status.value}"
    return frame.banner(sign, word, [lead, *reason, *notes, last], style)


def _reason(group: ChangeGroup) -> str:
    """The first reason in words."""
    before, after = (
        "not there" if outcome is None else OUTCOME_WORDS[outcome]
        for outcome in (group.before, group.after)
    )
    return f"{cells_text(len(group.cells))}, {before} and now {after}: {group.reason}"


def _records(found: RecordComparison) -> Markup:
    facts = zip(_facts(found.old), _facts(found.new), strict=True)
    rows = ((text(term), one, other) for (term, one), (_, other) in facts)
    return section(
        "records", "The two records", sheet("records-table", "", ("What", "Old", "New"), rows)
    )


def _facts(head: RecordHead) -> Iterator[tuple[str, Markup]]:
    verdict = labelled(VERDICT_GLYPHS[head.verdict], head.verdict, VERDICT_LOOKS[head.verdict])
    ended = "" if head.complete else " The run did not come to its end."
    yield "Verdict", join(verdict, text(f" {head.sentence}{ended}"))
    yield "Started", moment(head.started)
    yield "Target", text(" ".join(head.target))
    yield "Kernel", text(", ".join(head.kernels))
    yield "Policy", join(text(f"{head.policy} "), digest(head.policy_sha256[:12]))
    yield "Run by", text("not told" if head.user is None else f"user {head.user}")
    yield "Record", digest(head.sha256)


def _claims(found: RecordComparison) -> Markup:
    """How many cells of each claim changed, and how."""
    counts: dict[str, dict[ChangeKind, int]] = {}
    for group in found.groups:
        for cell in group.cells:
            title = claims.of(cell.key.claim).title(cell.key.profile)
            known = counts.setdefault(title, dict.fromkeys(KIND_ORDER, 0))
            known[group.kind] += 1
    if not counts:
        return NOTHING
    shown = [kind for kind in KIND_ORDER if found.count(kind)]
    head = ("Claim", *(_TITLES[kind] for kind in shown))
    rows = (
        (text(title), *(text(f"{known[kind]:,}") for kind in shown))
        for title, known in sorted(counts.items())
    )
    return section("claims", "By claim", sheet("claims-table", "", head, rows))


def _kind(kind: ChangeKind, groups: Sequence[ChangeGroup]) -> Markup:
    count = sum(len(group.cells) for group in groups)
    reasons = "one reason" if len(groups) == 1 else f"{len(groups):,} reasons"
    return section(
        kind.value,
        f"{_TITLES[kind]} ({count:,})",
        paragraph(f"{cells_text(count)}, for {reasons}."),
        *map(_group, groups),
    )


def _group(group: ChangeGroup) -> Markup:
    states = join(_state(group.before), _state(group.after), by=" → ")
    cause = "" if group.cause is None else f", cause: {group.cause}"
    head = element("p", states, class_="head")
    count = element("span", text(f"{cells_text(len(group.cells))}{cause}"), class_="count")
    said = paragraph(f"{group.reason[:1].upper()}{group.reason[1:]}", "sentence")
    return element("article", head, count, said, _where(group), class_="card")


def _state(outcome: Outcome | None) -> Markup:
    if outcome is None:
        return element("span", text("not there"), class_="none")
    return badge(outcome)


def _where(group: ChangeGroup) -> Markup:
    """The calls of a group, those together that are about the same claims on the same ABIs."""
    spots = gathered(group.cells, lambda cell: (call_name(cell.key), cell.key.which))
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for (call, which), cells in spots.items():
        alike.setdefault(_places(cells), []).append(f"{call} {which}".strip())
    items = [_item(places, calls) for places, calls in alike.items()]
    listed = element("ul", *items, class_="lines")
    if sum(map(len, alike.values())) <= _MOST_OPEN:
        return listed
    count = sum(map(len, alike.values()))
    summary = element("summary", text(f"{count:,} calls and numbers"))
    return element("details", summary, listed, class_="printed")


def _places(cells: Sequence[ChangedCell]) -> tuple[tuple[str, str], ...]:
    """The claims and ABIs of cells, ABIs together that have the same claims."""
    claims_of: dict[str, list[str]] = {}
    for cell in cells:
        title = claims.of(cell.key.claim).title(cell.key.profile)
        known = claims_of.setdefault(cell.key.arch, [])
        if title not in known:
            known.append(title)
    arches: dict[str, list[str]] = {}
    for arch, titles in claims_of.items():
        arches.setdefault(", ".join(titles), []).append(arch)
    return tuple((titles, ", ".join(where)) for titles, where in arches.items())


def _item(places: Sequence[tuple[str, str]], calls: Sequence[str]) -> Markup:
    spots = "; ".join(f"{titles} on {where}" for titles, where in places)
    return element(
        "li",
        element("strong", text(spots)),
        text(f" ({len(calls):,}): "),
        element("span", text(", ".join(calls))),
    )
