"""The page of a fleet: which machines differ from the majority, in which calls and how.

It needs no script and fetches nothing. The same fleet always gives the same bytes.
"""

from collections import Counter
from collections.abc import Sequence

from probes.cell import CellKey, Outcome
from probes.judging import claims
from probes.version import DISTRIBUTION, VERSION
from reports.html.document import document
from reports.html.front import contents
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import (
    VERDICT_GLYPHS,
    VERDICT_LOOKS,
    badge,
    digest,
    facts,
    labelled,
    moment,
    outcome_class,
    paragraph,
    section,
    sheet,
)
from reports.results import Verdict
from reports.results import fleet as fleets
from reports.results.fleet import Difference, Fleet, FleetNode
from reports.summary import OUTCOME_WORDS, cells_text, gathered

_CONTENTS = (
    ("differing", "Machines that differ"),
    ("failed", "What failed"),
    ("claims", "Claims"),
    ("nodes", "All machines"),
)
_MOST_CELLS = 100
"""How many cells of one difference are named; the file has them all."""


def render(fleet: Fleet, absent: Sequence[str] = ()) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        fleet: the fleet that the page is about.
        absent: the machines that should be in it, and are not.
    """
    title = f"{len(fleet.nodes):,} machines, {len(fleet.cells):,} cells"
    return document(
        f"{_worst(fleet, absent)}: {title}",
        f"{DISTRIBUTION} {VERSION}",
        element("a", text("Skip to the verdict"), href="#verdict", class_="skip"),
        element(
            "header",
            element("p", text("System call restrictions: report of a fleet"), class_="kicker"),
            element("h1", text(title)),
        ),
        element(
            "main",
            _banner(fleet, absent),
            contents(_CONTENTS),
            _differing(fleet),
            _failed(fleet),
            _claims(fleet),
            _nodes(fleet),
        ),
        element("footer", text(f"Rendered by {DISTRIBUTION} from what merge has put together.")),
    )


def _worst(fleet: Fleet, absent: Sequence[str]) -> Verdict:
    """The verdict of the worst machine; a machine that is not there has come to no end."""
    status = fleets.with_absent(fleet.status, absent)
    told = [node.verdict for node, _ in fleet.nodes if node.exit_status == status]
    return told[0] if told else Verdict.INCOMPLETE


def _banner(fleet: Fleet, absent: Sequence[str]) -> Markup:
    worst = _worst(fleet, absent)
    differing = sum(1 for _ in fleet.differing())
    lead = f"{differing:,} of {len(fleet.nodes):,} machines differ from the majority."
    if absent:
        lead += f" There is no record of {len(absent):,} more: {', '.join(absent)}."
    verdicts = Counter(node.verdict for node, _ in fleet.nodes)
    sign = element("span", text(VERDICT_GLYPHS[worst]), class_="sign", aria_hidden="true")
    status = fleets.with_absent(fleet.status, absent)
    return element(
        "section",
        element(
            "div",
            element("h2", sign, text(worst), id="verdict-title"),
            paragraph(lead, "lead"),
            paragraph(f"Exit status {status.value}, that of the worst machine", "status"),
        ),
        facts(((one, text(f"{verdicts[one]:,}")) for one in Verdict), class_="figures"),
        id="verdict",
        class_=f"banner {outcome_class(VERDICT_LOOKS[worst])}",
        aria_labelledby="verdict-title",
    )


def _differing(fleet: Fleet) -> Markup:
    cards = [
        _card(node, fleet.differences(pattern, cells), len(cells))
        for node, pattern, cells in fleet.differing()
    ]
    none = paragraph("No machine differs from the majority.", "none")
    return section("differing", "Machines that differ", *(cards or [none]))


def _card(node: FleetNode, differences: Sequence[Difference], cells: int) -> Markup:
    where = paragraph(f"{node.machine}, {node.kernel}; {node.target}")
    return element(
        "article",
        element("h3", text(node.name)),
        element("span", _verdict(node.verdict), text(f" {cells_text(cells)}"), class_="count"),
        where,
        element("ul", *map(_difference, differences), class_="entries"),
        class_="card",
    )


def _difference(one: Difference) -> Markup:
    title = claims.of(one.claim).title(one.profile)
    head = element(
        "p",
        *(element("strong", text(f"{title}: ")), _named([cell.key for cell in one.cells])),
        class_="head",
    )
    here, most = _outcome(one.mine), _outcome(one.most)
    told = element("p", here, text(" here, on most machines "), most)
    said = paragraph(one.sentence, "sentence") if one.sentence else NOTHING
    return element("li", head, told, said)


def _outcome(outcome: Outcome | None) -> Markup:
    return text("not judged") if outcome is None else badge(outcome)


def _verdict(verdict: Verdict) -> Markup:
    return labelled(VERDICT_GLYPHS[verdict], verdict, VERDICT_LOOKS[verdict])


def _failed(fleet: Fleet) -> Markup:
    """The cells that failed anywhere, also where they did so on every machine."""
    failed = [cell for cell in fleet.cells if cell.counts[Outcome.FAILED]]
    groups = gathered(
        failed,
        lambda cell: (
            claims.of(cell.key.claim).title(cell.key.profile),
            cell.counts[Outcome.FAILED],
        ),
    )
    rows = (
        (
            text(title),
            _named([cell.key for cell in cells]),
            text(f"{count:,} of {len(fleet.nodes):,}"),
        )
        for (title, count), cells in groups.items()
    )
    head = ("Claim", "Calls", "Machines")
    shown = sheet("failed-table", "", head, rows) if failed else paragraph("Nothing.", "none")
    return section("failed", "What failed", shown)


def _named(keys: Sequence[CellKey]) -> Markup:
    named = [code(fleets.name_of(key)) for key in keys[:_MOST_CELLS]]
    if len(keys) > _MOST_CELLS:
        named.append(text(f"{len(keys) - _MOST_CELLS:,} more"))
    return join(*named, by=", ")


def _claims(fleet: Fleet) -> Markup:
    """How often each claim came to which outcome, over all machines."""
    groups = gathered(fleet.cells, lambda cell: claims.of(cell.key.claim).title(cell.key.profile))
    rows = (
        (
            text(title),
            *(text(f"{sum(cell.counts[one] for cell in cells):,}") for one in OUTCOME_WORDS),
        )
        for title, cells in groups.items()
    )
    head = ("Claim", *(word.capitalize() for word in OUTCOME_WORDS.values()))
    return section("claims", "Claims", sheet("claims-table", "", head, rows))


def _nodes(fleet: Fleet) -> Markup:
    differing = {id(node): len(cells) for node, _, cells in fleet.differing()}
    head = ("Machine", "Verdict", "Differs in", "Kernel", "Target", "Started", "Policy and record")
    rows = (_row(node, differing.get(id(node), 0)) for node, _ in fleet.nodes)
    return section("nodes", "All machines", sheet("nodes-table", "", head, rows))


def _row(node: FleetNode, differs: int) -> Sequence[Markup]:
    return (
        text(node.name),
        _verdict(node.verdict),
        text(cells_text(differs) if differs else "nothing"),
        text(f"{node.kernel} ({node.machine})"),
        text(node.target),
        moment(node.started),
        join(digest(node.policy[:12]), digest(node.record[:12]), by=" "),
    )
