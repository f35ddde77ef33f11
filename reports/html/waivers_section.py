"""The failures that somebody accepted, for how long, and what came of it."""

from collections.abc import Sequence

from probes.cell import Outcome
from probes.documents.patterns import alternatives
from probes.documents.waivers import FAULTS, JudgedWaiver, Surroundings, WaiverState
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import View, capital, labelled, paragraph, section, sheet

_GLYPHS = {
    WaiverState.ACTIVE: "~",
    WaiverState.NOT_YET_VALID: "–",  # noqa: RUF001 - an en dash is meant
    WaiverState.OUT_OF_SCOPE: "–",  # noqa: RUF001 - likewise
}
_HEAD = ("For", "State", "Days left", "Reason", "Owner and approver", "What came of it")
_SOON = 14
"""A waiver that ends in so many days or fewer is marked."""


def waivers(view: View) -> Markup:
    """Every waiver that was given, faults first, then what ends soonest; nothing without any."""
    given = view.run.waivers
    if not given:
        return NOTHING
    lead = paragraph(
        "A waiver turns a failure into an accepted one, for a time. One that has expired, names"
        " nothing or is needed no longer is a fault itself, and makes the run fail."
    )
    table = sheet("waivers-table", "", _HEAD, map(_row, sorted(given, key=_order)))
    return section("waivers", f"Waivers ({len(given):,})", lead, table)


def _order(judged: JudgedWaiver) -> tuple[bool, int, str]:
    return (judged.state not in FAULTS, judged.days_left, str(judged.waiver))


def _row(judged: JudgedWaiver) -> Sequence[Markup]:
    waiver = judged.waiver
    ranges = (f"{name} {versions}" for name, versions, _ in waiver.limits(Surroundings()))
    profile = waiver.profile and waiver.profile.upper()
    narrower = ", ".join(filter(None, (waiver.claim, profile, *ranges)))
    return (
        join(
            code(", ".join(alternatives(waiver.call))),
            text(f" on {', '.join(alternatives(waiver.arch))}"),
            text(f"{f', {narrower}' if narrower else ''}; target "),
            code(waiver.target),
        ),
        _state(judged),
        _days(judged),
        text(waiver.reason),
        text(f"{waiver.owner}; approved by {waiver.approver}"),
        text(capital(judged.sentence)),
    )


def _state(judged: JudgedWaiver) -> Markup:
    fault = judged.state in FAULTS
    sign = "✗" if fault else _GLYPHS[judged.state]
    return labelled(sign, judged.state, Outcome.FAILED if fault else Outcome.WAIVED)


def _days(judged: JudgedWaiver) -> Markup:
    days = judged.days_left
    number = element("strong", text(f"{days:,}")) if days <= _SOON else text(f"{days:,}")
    return join(number, text(f" (until {judged.waiver.expires.isoformat()})"))
