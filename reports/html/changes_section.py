"""What changed since an earlier record."""

from collections.abc import Sequence

from probes.judging import claims
from reports.html.markup import NOTHING, Markup, element, join, text
from reports.html.view import View, badge, digest, moment, paragraph, section
from reports.results import Change, ChangeKind
from reports.summary import gathered

_TITLES = {
    ChangeKind.WORSE: "Worse",
    ChangeKind.BETTER: "Better",
    ChangeKind.OTHER: "Different",
    ChangeKind.APPEARED: "New",
    ChangeKind.VANISHED: "Gone",
}

_MOST_LINES = 200
"""More changes of one kind than this are counted, not listed."""

_MOST_OPEN_LINES = 12
"""A longer list is folded, unless it is of what got worse."""


def changes(view: View) -> Markup:
    """What came to something else than in the earlier record; nothing without one."""
    earlier = view.run.baseline
    if earlier is None:
        return NOTHING
    kinds = gathered(earlier.changes, lambda change: change.kind)
    counts = ", ".join(
        f"{len(kinds[kind]):,} {title.lower()}" for kind, title in _TITLES.items() if kind in kinds
    )
    lead = element(
        "p",
        text("Compared with the run of "),
        moment(earlier.started),
        text(", whose record has the SHA-256 digest "),
        digest(earlier.sha256),
        text(f": {counts or 'no cell came to anything else'}."),
    )
    listed = (_kind(kind, kinds[kind]) for kind in _TITLES if kind in kinds)
    return section("changes", "Changes since the earlier record", lead, *listed)


def _kind(kind: ChangeKind, members: Sequence[Change]) -> Markup:
    title = text(f"{_TITLES[kind]} ({len(members):,})")
    lines = element("ul", *map(_line, members[:_MOST_LINES]), class_="lines")
    left = len(members) - _MOST_LINES
    more = [paragraph(f"And {left:,} more.")] if left > 0 else []
    if kind is not ChangeKind.WORSE and len(members) > _MOST_OPEN_LINES:
        return element("details", element("summary", title), lines, *more, class_="printed")
    return join(element("h3", title), lines, *more)


def _line(change: Change) -> Markup:
    key = change.key
    states = [
        badge(outcome) if outcome else element("span", text("not there"), class_="none")
        for outcome in (change.before, change.after)
    ]
    head = element(
        "p",
        join(*states, by=" → "),
        text(" "),
        element("strong", text(claims.of(key.claim).heading(key.profile))),
        text(f" {key.arch} {key.which}".rstrip()),
        class_="head",
    )
    return element("li", head, paragraph(change.sentence, class_="sentence"))
