"""The page of a fleet: machines by calls, which differ from the majority, in what and how.

It needs no script and fetches nothing. The same fleet always gives the same bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

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
    glyph,
    labelled,
    moment,
    outcome_class,
    paragraph,
    section,
    sheet,
)
from reports.pages.frame import STYLE
from reports.results import Verdict
from reports.results import fleet as fleets
from reports.results.fleet import Difference, Division, Fleet, FleetNode
from reports.summary import GRAVEST_FIRST, OUTCOME_WORDS, cells_text, gathered
from reports.terminal.fleet_lines import claim_counts, kinds_text

_CONTENTS = (
    ("map", "Machines and calls"),
    ("differing", "Machines that differ"),
    ("divided", "No majority"),
    ("failed", "What failed"),
    ("claims", "Claims"),
    ("nodes", "All machines"),
)
_MOST_COLUMNS = 24
_MOST_NAMES = 3
_MOST_CALLS = 8
_MOST_CELLS = 100
"""How many cells of one difference are named; the file has them all."""


def render(fleet: Fleet, absent: Sequence[str] = ()) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        fleet: the fleet that the page is about.
        absent: the machines that should be in it, and are not.
    """
    title = f"{len(fleet.nodes):,} machines, {len(fleet.cells):,} cells"
    divided = fleet.divided()
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
            _banner(fleet, absent, divided),
            contents(_contents(divided)),
            _map(fleet),
            _differing(fleet),
            _divided(fleet, divided),
            _failed(fleet),
            _claims(fleet),
            _nodes(fleet),
        ),
        element("footer", text(f"Rendered by {DISTRIBUTION} from what merge has put together.")),
        style=STYLE,
    )


def _worst(fleet: Fleet, absent: Sequence[str]) -> Verdict:
    """The verdict of the worst machine; a machine that is not there has come to no end."""
    status = fleets.with_absent(fleet.status, absent)
    told = [node.verdict for node, _ in fleet.nodes if node.exit_status == status]
    return told[0] if told else Verdict.INCOMPLETE


def _banner(fleet: Fleet, absent: Sequence[str], divided: Sequence[Division]) -> Markup:
    worst = _worst(fleet, absent)
    differing = sum(1 for _ in fleet.differing())
    lead = f"{differing:,} of {len(fleet.nodes):,} machines differ from the majority."
    if divided:
        counted = cells_text(sum(len(one.cells) for one in divided))
        lead += f" For {counted} there is no majority."
    if len(fleet.kinds) > 1:
        lead += f" They are of several kinds, and compared with their own: {kinds_text(fleet)}."
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


def _contents(divided: Sequence[Division]) -> tuple[tuple[str, str], ...]:
    return tuple(one for one in _CONTENTS if one[0] != "divided" or divided)


def _map(fleet: Fleet) -> Markup:
    """What the documented calls came to, machine by machine: a table a kind of target."""
    tables = [_map_of(fleet, kind, rank) for rank, kind in enumerate(fleet.kinds)]
    told = join(*tables) if any(tables) else paragraph("No documented call was judged.", "none")
    legend = element("p", join(*map(badge, OUTCOME_WORDS), by=" "), class_="legend")
    return section("map", "Machines and calls", legend, told)


def _map_of(fleet: Fleet, kind: str, rank: int) -> Markup:
    """The calls that did not pass on every machine of a kind, and a sentence on the others.

    Machines on which the calls came to the same share a column.
    """
    places = gathered(
        (
            place
            for place, cell in enumerate(fleet.cells)
            if claims.of(cell.key.claim).of_documented
        ),
        lambda place: fleet.cells[place].key.syscall,
    )
    columns: dict[tuple[Outcome | None, ...], list[str]] = {}
    seen: dict[str, tuple[Outcome | None, ...]] = {}
    for node, pattern in fleet.nodes:
        if node.kind == kind:
            if pattern not in seen:
                seen[pattern] = tuple(_gravest(pattern, these) for these in places.values())
            columns.setdefault(seen[pattern], []).append(node.name)
    shown = sorted(columns.items(), key=lambda item: (-len(item[1]), item[1]))
    calls = {call: tuple(came_to[row] for came_to, _ in shown) for row, call in enumerate(places)}
    notable = {
        call: outcomes
        for call, outcomes in calls.items()
        if not set(outcomes) <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    }
    if not calls or not shown:
        return NOTHING
    title = f"{kind}: " if len(fleet.kinds) > 1 else ""
    quiet = len(calls) - len(notable)
    count = f"{quiet:,}" if quiet else "None"
    rest = f"{count} of {len(calls):,} documented calls passed on every machine."
    machines = sum(len(names) for _, names in shown)
    noun = "machine" if machines == 1 else "machines"
    heading = element("h3", text(f"{title}{machines:,} {noun}"))
    if not notable:
        return join(heading, paragraph(rest))
    table = _map_table(notable, [names for _, names in shown], f"{title}table {rank + 1}")
    return join(heading, paragraph(rest), table)


def _gravest(pattern: str, places: Sequence[int]) -> Outcome | None:
    outcomes = {fleets.outcome_of(pattern[place]) for place in places}
    return next((one for one in GRAVEST_FIRST if one in outcomes), None)


def _map_table(
    calls: Mapping[str, tuple[Outcome | None, ...]],
    columns: Sequence[Sequence[str]],
    name: str,
) -> Markup:
    """Calls by machines; calls that came to the same share a row, the gravest first."""
    kept = columns[:_MOST_COLUMNS]
    heads = (element("th", text(_machines(names)), scope="col") for names in kept)
    head = element(
        "thead",
        element("tr", element("th", text("Calls"), scope="col", class_="corner"), *heads),
    )
    alike: dict[tuple[Outcome | None, ...], list[str]] = {}
    for call, outcomes in calls.items():
        alike.setdefault(outcomes, []).append(call)
    rows = (
        element(
            "tr",
            element("th", _some(names), scope="row"),
            *map(_square, outcomes[:_MOST_COLUMNS]),
        )
        for outcomes, names in sorted(alike.items(), key=lambda item: _gravity(item[0]))
    )
    left = sum(map(len, columns[_MOST_COLUMNS:]))
    more = paragraph(f"And {left:,} more machines; the file has them all.") if left else NOTHING
    caption = element("caption", text("The gravest of what a call came to, over claims and ABIs"))
    table = element("table", caption, head, element("tbody", *rows), class_="matrix machines")
    box = element(
        "div", table, class_="scroll", tabindex="0", role="region", aria_label=f"calls, {name}"
    )
    return join(box, more)


def _gravity(outcomes: Sequence[Outcome | None]) -> list[int]:
    """The order of rows: what failed on the most machines first."""
    counts = Counter(outcomes)
    return [-counts[one] for one in GRAVEST_FIRST]


def _some(calls: Sequence[str]) -> Markup:
    """The names of calls, and how many they are where these are many."""
    left = len(calls) - _MOST_CALLS
    more = text(f" and {left:,} more") if left > 0 else NOTHING
    return join(join(*map(code, calls[:_MOST_CALLS]), by=", "), more)


def _machines(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{len(names):,} machines: {', '.join(names[: _MOST_NAMES - 1])}, ..."


def _square(outcome: Outcome | None) -> Markup:
    if outcome is None:
        return element("td", element("span", text("not judged"), class_="hidden"))
    return element("td", glyph(outcome), class_=outcome_class(outcome))


def _divided(fleet: Fleet, divided: Sequence[Division]) -> Markup:
    """The cells about which the machines disagree without a majority."""
    if not divided:
        return NOTHING
    items = (_division(one, named=len(fleet.kinds) > 1) for one in divided)
    lead = paragraph("No outcome is that of more than half of the machines that judged these.")
    return section("divided", "No majority", lead, element("ul", *items, class_="lines"))


def _division(one: Division, *, named: bool) -> Markup:
    title = claims.of(one.claim).title(one.profile)
    kind = f"{one.kind}: " if named else ""
    head = element(
        "p",
        *(element("strong", text(f"{kind}{title}: ")), _named([cell.key for cell in one.cells])),
        class_="head",
    )
    camps = (
        element("li", _outcome(outcome), text(f" {_machines(names)}"))
        for outcome, names in one.camps
    )
    return element("li", head, element("ul", *camps, class_="plain"))


def _differing(fleet: Fleet) -> Markup:
    cards = [
        _card(node, fleet.differences(node, pattern, cells), len(cells))
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
    """How often each claim came to which outcome, over all machines of a kind of target."""
    tables = []
    for rank, kind in enumerate(fleet.kinds):
        counts = claim_counts(fleet, kind)
        shown = [one for one in OUTCOME_WORDS if any(known[one] for known in counts.values())]
        head = ("Claim", *(OUTCOME_WORDS[one].capitalize() for one in shown))
        rows = (
            (text(title), *(text(f"{known[one]:,}") for one in shown))
            for title, known in counts.items()
        )
        tables.append(sheet(f"claims-{rank}", kind if len(fleet.kinds) > 1 else "", head, rows))
    return section("claims", "Claims", *tables)


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
        join(code(node.kind), text(f" {node.target}")),
        moment(node.started),
        join(digest(node.policy[:12]), digest(node.record[:12]), by=" "),
    )
