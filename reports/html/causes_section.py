"""What is not as documented, by cause: each cause once, with all that it concerns."""

from collections.abc import Iterable

from probes.cell import Outcome
from probes.judging.kinds import Kind
from reports.causes.grouping import FaultGroup, causes
from reports.causes.headline import Headline, banner, headlines
from reports.causes.looks import LOOKS
from reports.causes.mending import mend
from reports.causes.words import Places, short
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import View, kernels
from reports.reproduce import command_elsewhere
from reports.summary import OUTCOME_WORDS, cells_text


def kind_badge(kind: Kind, words: str = "") -> Markup:
    """A kind's sign and word in its colour.

    Args:
        kind: the kind.
        words: what stands behind the sign; the kind's word unless given.
    """
    look = LOOKS[kind]
    sign = element("span", text(look.sign), aria_hidden="true")
    return element("span", sign, text(f" {words or kind.value}"), class_=f"badge {look.style}")


def lead(view: View) -> Markup:
    """What was tested where, and the first lines of the verdict."""
    lines = (_line(one) for one in headlines(view.run))
    about = element("p", text(banner(view.run)), class_="status")
    return join(element("ul", *lines, class_="headlines"), about)


def _line(one: Headline) -> Markup:
    return element("li", kind_badge(one.kind), text(f" {one.line}"))


def causes_list(view: View) -> Markup:
    """Every cause with its calls, what mends it, and how to look at it again."""
    groups = causes(view.run)
    if not groups:
        return NOTHING
    places = Places(view.run)
    return element(
        "ul", *(_cause(view, places, group) for group in groups), class_="entries causes"
    )


def _cause(view: View, places: Places, group: FaultGroup) -> Markup:
    accepted = "" if group.outcome is Outcome.FAILED else f", {OUTCOME_WORDS[group.outcome]}"
    head = element(
        "p",
        kind_badge(group.kind),
        text(" "),
        element("strong", text(f"{group.profile.upper()} {short(group)}{accepted}")),
        kernels(view.run, group.environments),
        text(f" ({cells_text(len(group.cells))})"),
        class_="head",
    )
    named = places.named(group.fates)
    return element("li", head, element("div", *_body(view, group, named)))


def _body(view: View, group: FaultGroup, named: str) -> Iterable[Markup]:
    if named:
        yield element("p", text(named), class_="sentence")
    yield element("p", element("strong", text("How to mend. ")), text(mend(group)))
    again = code(command_elsewhere(view.run, group.cells[0].key))
    yield element("p", element("strong", text("Reproduce. ")), again)
