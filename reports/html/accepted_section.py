"""What the run accepts of runtimes, and where it met it."""

from collections.abc import Sequence

from probes import deviation
from probes.cell import Outcome
from probes.deviation import KnownDeviation
from reports.html.markup import NOTHING, Markup, code, text
from reports.html.view import GLYPHS, View, labelled, paragraph, section, sheet
from reports.results import Run
from reports.summary import cells_text

_HEAD = ("Name", "State", "Who does it", "What it is", "Where it was met")


def accepted(view: View) -> Markup:
    """Every accepted deviation; nothing where none is."""
    names = view.run.accept
    if not names:
        return NOTHING
    lead = paragraph(
        "What runtimes do to every profile, be it ever so right, and what this run accepts. Each"
        " cell was verified to be exactly that; none is about a documented call."
    )
    table = sheet("accepted-table", "", _HEAD, (_row(view.run, name) for name in names))
    return section("accepted", f"Accepted of runtimes ({len(names)})", lead, table)


def _row(run: Run, name: KnownDeviation) -> Sequence[Markup]:
    row, met = deviation.ROWS[name], deviation.met_by(run.cells, name)
    state, outcome = (
        ("accepted", Outcome.ACCEPTED) if met else ("not needed", Outcome.NOT_APPLICABLE)
    )
    return (
        code(name),
        labelled(GLYPHS[outcome], state, outcome),
        text(row.by),
        text(row.meaning),
        text(cells_text(len(met))),
    )
