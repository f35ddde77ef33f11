"""The gaps of the document: calls that give a documented call's power, and are not on its list."""

from collections.abc import Sequence

from probes.cell import Gap, GapState, Outcome
from probes.documents.siblings import routes
from probes.filters.conditions import name_in
from probes.text import spelled
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import View, capital, labelled, paragraph, section, sheet
from reports.results import GAPS_WORST_FIRST, gravest_state
from reports.summary import gaps_by_state, gathered

_GLYPHS = {GapState.OPEN: "○", GapState.CLOSED: "●", GapState.UNKNOWN: "?"}
_LOOKS = {
    GapState.OPEN: Outcome.CANNOT_TELL,
    GapState.CLOSED: Outcome.PASSED,
    GapState.UNKNOWN: Outcome.WAIVED,
}
_HEAD = ("Call", "Gives the power of", "State", "What was found")


def gaps(view: View) -> Markup:
    """Which siblings of documented calls get through, and which ways no filter sees."""
    if not view.run.gaps:
        body = paragraph("No call beside the document was looked at.", class_="none")
        return section("gaps", "Gaps of the document", body, _unreviewed(view), _routes(view))
    states = gaps_by_state(view.run)
    lead = paragraph(
        "These calls are not documented and give the power of calls that are. Where one is open,"
        " the filter does what the document says and the power is to be had all the same. That is"
        " a finding about the document: no verdict rests on it. A call that is added to the policy"
        " is judged like every other."
    )
    counts = ", ".join(f"{len(calls):,} {state}" for state, calls in states.items() if calls)
    tables = (_table(state, calls) for state, calls in states.items() if calls)
    title = f"Gaps of the document ({len(states[GapState.OPEN]):,} open)"
    said = paragraph(f"Calls: {counts}.")
    return section("gaps", title, lead, said, _unreviewed(view), *tables, _routes(view))


def _unreviewed(view: View) -> Markup:
    """The documented calls whose siblings are not known, so that none could be looked for."""
    if not view.run.unreviewed:
        return NOTHING
    names = join(*map(code, view.run.unreviewed), by=", ")
    return element(
        "p",
        text("Which other calls give their power is not known for "),
        names,
        text(", so none was looked for."),
    )


def _table(state: GapState, calls: Sequence[Sequence[Gap]]) -> Markup:
    rows = (_row(members) for members in calls)
    table = sheet(f"gaps-{state}", f"{capital(state)} ({len(calls):,})", _HEAD, rows)
    if state is GapState.CLOSED:
        summary = element("summary", text(f"Closed everywhere ({len(calls):,})"))
        return element("details", summary, table, class_="printed")
    return table


def _row(members: Sequence[Gap]) -> Sequence[Markup]:
    worst = gravest_state(members)
    first = next(gap for gap in members if gap.state is worst)
    family = element("p", text(first.family), class_="small none")
    given = (
        join(*map(code, first.documented), by=", ") if first.documented else text("no single call")
    )
    return (
        code(first.syscall),
        join(given, family),
        _states(members),
        text(capital(first.why)),
    )


def _states(members: Sequence[Gap]) -> Markup:
    """On which ABIs it is open, closed or unknown, and under which profiles where they differ."""
    lines = []
    states = gathered(members, lambda gap: gap.state)
    for state in sorted(states, key=GAPS_WORST_FIRST.index):
        arches = gathered(states[state], lambda gap: (gap.arch, gap.number))
        spots = (
            element(
                "span",
                text(f"{arch}{_number(number)}{_profiles(members, arch, same)}"),
                class_="whole",
            )
            for (arch, number), same in arches.items()
        )
        badge = labelled(_GLYPHS[state], state, _LOOKS[state])
        lines.append(element("li", badge, text(" "), join(*spots, by=", ")))
    return element("ul", *lines, class_="plain")


def _number(number: int | None) -> str:
    return "" if number is None else f" {spelled(number)}"


def _profiles(members: Sequence[Gap], arch: str, same: Sequence[Gap]) -> str:
    if sum(gap.arch == arch for gap in members) == len(same):
        return ""
    return f" ({', '.join(dict.fromkeys(gap.profile.upper() for gap in same))})"


def _routes(view: View) -> Markup:
    """The files and requests that give a documented call's power and that no filter can refuse."""
    documented = {name_in(call.name) for call in view.run.policy.calls}
    told = [(one, [name for name in one.gives if name in documented]) for one in routes()]
    lines = [
        element(
            "li",
            code(route.name),
            text(f" {route.how} ("),
            join(*map(code, given), by=", "),
            text(")."),
        )
        for route, given in told
        if given
    ]
    if not lines:
        return NOTHING
    words = paragraph(
        "Files and requests of the calls write and ioctl give the power of some documented calls,"
        " too. A filter of system calls sees none of them; capabilities, mandatory access control"
        " and what is mounted in the container decide. They were not looked at."
    )
    return element(
        "details",
        element("summary", text(f"Ways that no filter sees ({len(lines)})")),
        words,
        element("ul", *lines),
        class_="printed",
    )
