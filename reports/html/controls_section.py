"""What the run says about the controls of security frameworks, and what it does not."""

from collections.abc import Iterable, Sequence

from probes.cell import Outcome
from reports.controls import Assessment, State, assess
from reports.html.markup import Markup, element, join, text
from reports.html.view import View, capital, labelled, paragraph, section, sheet
from reports.summary import gathered

_LOOKS = {
    State.SUPPORTED: ("✓", Outcome.PASSED),
    State.CONTRADICTED: ("✗", Outcome.FAILED),
    State.NOT_ASSESSED: ("?", Outcome.CANNOT_TELL),
}
_HEAD = ("Control", "What the run says", "Rests on", "What it does not show")


def controls(view: View) -> Markup:
    """Every control, by framework."""
    lead = paragraph(
        "Supported means that every claim about the control held in this run, and never that the"
        " control is met: each asks for more than a test of system call filters can show. The"
        " mapping is this suite's own."
    )
    frameworks = gathered(
        assess(view.run), lambda one: (one.control.framework, one.control.edition)
    )
    tables = (
        sheet(f"controls-{number}", " ".join(names), _HEAD, _rows(assessments))
        for number, (names, assessments) in enumerate(frameworks.items(), 1)
    )
    return section("controls", "Controls", lead, *tables)


def _rows(assessments: Iterable[Assessment]) -> Iterable[Sequence[Markup]]:
    for one in assessments:
        control = one.control
        sign, look = _LOOKS[one.state]
        badge = labelled(sign, one.state, look)
        yield (
            join(element("strong", text(control.id)), text(f" {control.title}")),
            join(badge, text(f" {capital(one.sentence)}.")),
            join(_claims(one), element("p", text(control.why), class_="small")),
            join(text(control.not_shown), element("p", text(control.source), class_="small none")),
        )


def _claims(one: Assessment) -> Markup:
    """The claims that speak to it, by how directly they do."""
    lines = (
        element("li", element("b", text(f"{strength}: ")), text(", ".join(claims)))
        for strength, claims in gathered(
            one.control.claims, lambda claim: one.control.claims[claim]
        ).items()
    )
    return element("ul", *lines, class_="plain")
