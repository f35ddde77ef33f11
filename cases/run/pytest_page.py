"""pytest-html's page: the verdict above everything, and in every row its sentence and evidence.

pytest-html puts the strings of its hooks into the page as markup, so everything is escaped here.
Its hooks are called in the process that hears of every test, after the ruling on the run.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final, Protocol
from urllib.parse import quote

from probes.cell import FORGIVEN, Cell, Outcome
from probes.text import visible
from reports import results, summary
from reports.causes.headline import banner, headlines
from reports.causes.looks import LOOKS
from reports.html.matrices import calls_table
from reports.html.view import is_fine, view
from reports.results import Run

_NOTHING_CAPTURED: Final = "No log output captured."

_SAID_BY_PYTEST: Final = {
    "failed": {Outcome.FAILED, Outcome.BROKEN},
    "skipped": {Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE},
    "passed": {Outcome.PASSED, *FORGIVEN},
}
"""Outcomes by which a test ends so; pytest's own words then repeat the sentence, or say nothing."""

_STYLE: Final = """<style>
body { display: flex; flex-direction: column; color: #222; margin: 16px 24px; }
#environment-header, #environment { order: 1; }
#results-table { order: 2; color: #222; margin-top: 16px; }
#environment { align-self: flex-start; }
#environment td:first-child { white-space: nowrap; }
.filters span { margin-right: 6px; }
.verdict { border-left: 8px solid; padding: 10px 14px; max-width: 1100px; font-size: 15px; }
.verdict p { margin: 4px 0; }
.verdict.pass { border-color: #1a7f37; background: #eaf6ec; }
.verdict.fail { border-color: #b42318; background: #fdecea; }
.verdict.incomplete, .verdict.broken { border-color: #9a6700; background: #fff5d6; }
.calls { margin: 12px 0; font-size: 13px; overflow-x: auto; }
.calls .slim thead tr:last-child span { writing-mode: vertical-rl; transform: rotate(180deg); }
.calls summary { cursor: pointer; padding: 6px 0; }
.calls table { border-collapse: collapse; }
.calls caption { display: none; }
.calls th, .calls td { padding: 2px 6px; border: 1px solid #d0d7de; text-align: center; }
.calls tbody th { text-align: left; }
.calls a { color: inherit; text-decoration: none; }
.calls small { margin-left: 4px; color: #57606a; }
.calls .o-passed { background: #eaf6ec; color: #116329; }
.calls .o-failed { background: #fdecea; color: #a31515; }
.calls .o-broken, .calls .o-cannot-tell, .calls .o-waived, .calls .o-accepted
    { background: #fff5d6; color: #7a4a00; }
.calls .o-not-applicable { color: #57606a; }
.calls .hidden { display: none; }
.col-verdict { white-space: nowrap; font-weight: bold; }
.col-verdict.passed { color: #1a7f37; }
.col-verdict.failed { color: #b42318; }
.col-verdict.broken, .col-verdict.cannot_tell, .col-verdict.waived, .col-verdict.accepted
    { color: #9a6700; }
.col-verdict.not_applicable { color: #57606a; }
#results-table .col-result { width: auto; color: #57606a; }
.col-testId { overflow-wrap: anywhere; }
.col-duration { white-space: nowrap; }
.logwrapper { max-height: none; overflow: visible; background: #f6f8fa; }
.logwrapper .logexpander { display: none; }
.logwrapper .log { top: 0; height: auto; min-height: 0; padding: 8px 12px; border: 0; }
</style>"""


class Ledger(Protocol):
    """The facts about a run that the page needs."""

    @property
    def run(self) -> Run | None:
        """The record of the run; None until it is over."""

    @property
    def page_address(self) -> str:
        """Where the compliance page is, seen from pytest-html's."""

    @property
    def limits(self) -> Sequence[str]:
        """What a reader could take the verdict for, and it is not."""

    @property
    def tests(self) -> Sequence[str]:
        """The node ids of the tests, in the order of their collection."""

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged."""


class Report(Protocol):
    """The part of pytest's TestReport that is used here."""

    nodeid: str
    when: str
    outcome: str
    longreprtext: str


class PageData(Protocol):
    """The part of pytest-html's ReportData that is used here."""

    title: str
    outcomes: Any
    data: dict[str, Any]

    def set_data(self, key: str, value: object) -> None:
        """Replaces an entry of what the page's script reads."""


class Page:
    """The hooks of pytest-html, for one run of the main job."""

    def __init__(self, ledger: Ledger) -> None:
        """Takes what knows about the run."""
        self._ledger = ledger
        self._page: PageData | None = None

    def pytest_html_report_title(self, report: PageData) -> None:
        """Names the page, and has its rows stand as they are given, open where something is bad."""
        report.title = "System call restrictions: what was tested, and what was seen"
        report.set_data("initialSort", "original")
        report.set_data("renderCollapsed", ["passed", "skipped"])
        self._page = report

    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Puts the verdict before pytest's result, and the sentence where links would be."""
        result, test, duration, *_ = cells
        verdict = '<th class="sortable" data-column-type="verdict">Verdict</th>'
        cells[:] = [verdict, result, test, "<th>What was seen</th>", duration]

    def pytest_html_results_table_row(self, report: Report, cells: list[str]) -> None:
        """Fills a row."""
        result, _, duration, *_ = cells
        test = report.nodeid if report.when == "call" else f"{report.nodeid}::{report.when}"
        judged = self._ledger.cells_of(report.nodeid) if report.when == "call" else ()
        cells[:] = _row(test, judged, result, duration)

    def pytest_html_results_table_html(self, report: Report, data: list[str]) -> None:
        """Puts the evidence under a row, before what the test printed."""
        judged = self._ledger.cells_of(report.nodeid)
        if report.when != "call" or not judged:
            return
        kept = [entry for entry in data if entry != _NOTHING_CAPTURED]
        said = _SAID_BY_PYTEST.get(report.outcome, ())  # a plug-in may have outcomes of its own
        if kept and report.longreprtext and summary.gravest(judged) in said:
            del kept[0]
        data[:] = [escape(_account(judged)), *kept]

    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Puts the verdict on the page, completes the rows, and brings them into order."""
        run, page = self._ledger.run, self._page
        if run is None or page is None:
            return
        prefix.append(
            _STYLE + _banner(run, self._ledger.limits) + _matrix(run, self._ledger.page_address)
        )
        told = {name: _escaped(value) for name, value in page.data["environment"].items()}
        page.set_data("environment", {**_fingerprint(run), **told})
        self._complete(page)

    def _complete(self, page: PageData) -> None:
        """Adds a row for every test that never reported, and sorts: by verdict, then as planned."""
        rows: dict[str, list[dict[str, Any]]] = page.data["tests"]
        for nodeid in self._ledger.tests:
            if not rows.get(nodeid):
                rows[nodeid] = [_missing_row(nodeid, self._ledger.cells_of(nodeid))]
                page.outcomes = "error"  # counts one more
        places = {nodeid: place for place, nodeid in enumerate(self._ledger.tests)}

        def place(nodeid: str) -> tuple[int, int]:
            judged = self._ledger.cells_of(nodeid)
            rank = summary.GRAVEST_FIRST.index(summary.gravest(judged)) if judged else 0
            return rank, places.get(nodeid, len(places))

        in_order = {nodeid: rows[nodeid] for nodeid in sorted(rows, key=place)}
        rows.clear()
        rows.update(in_order)


def _row(test: str, cells: Sequence[Cell], result: str, duration: str) -> list[str]:
    word = summary.OUTCOME_WORDS[summary.gravest(cells)] if cells else ""
    style = summary.gravest(cells).value if cells else ""
    return [
        f'<td class="col-verdict {style}">{word}</td>',
        result,
        f'<td class="col-testId">{_safe(test)}</td>',
        f'<td class="col-sentence">{_safe(_sentence(cells))}</td>',
        duration,
    ]


def _missing_row(test: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """What pytest-html makes of a test's report, for a test without one."""
    result, duration = '<td class="col-result">Error</td>', '<td class="col-duration"></td>'
    return {
        "extras": [],
        "verdict": summary.OUTCOME_WORDS[summary.gravest(cells)],
        "result": "Error",
        "testId": _safe(test),
        "duration": "0 ms",
        "resultsTableRow": _row(test, cells, result, duration),
        "log": escape(_account(cells)),
    }


def _sentence(cells: Sequence[Cell]) -> str:
    """The verdict in a row: a cell's own sentence, or how many came to what."""
    if len(cells) <= 1:
        return cells[0].sentence if cells else ""
    return f"{summary.cells_text(len(cells))}: {summary.counts_text(results.count_outcomes(cells))}"


def _account(cells: Sequence[Cell]) -> str:
    """A verdict with its evidence; of many, the counts, and those that did not pass."""
    if len(cells) == 1:
        return _evidence(cells[0])
    exceptions = [_evidence(cell) for cell in cells if cell.outcome is not Outcome.PASSED]
    return "\n\n".join([_sentence(cells), *exceptions])


def _evidence(cell: Cell) -> str:
    # No line may start with a capital E: pytest-html shows such lines in red.
    lines = [
        f"{summary.OUTCOME_WORDS[cell.outcome]}: {cell.sentence}",
        f"  expected: {cell.expected}" if cell.expected else "",
        f"  observed: {cell.observed}",
        f"  cause: {cell.cause}" if cell.cause else "",
        *(f"  {one.kind} ({one.source}): {one.text}" for one in cell.evidence),
    ]
    return "\n".join(visible(line) for line in lines if line)


def _banner(run: Run, limits: Sequence[str]) -> str:
    came = results.summarize(run)
    verdict, _, sentence = came.ruling
    counts = f"{came.planned:,} cells planned: {summary.counts_text(came.counts)}"
    said = [*(cell.sentence for cell in summary.not_all_judged(run)), *limits]
    first = [f"{LOOKS[one.kind].sign} {one.line}" for one in headlines(run)]
    told = [*first, banner(run), sentence]
    lines = [f"<strong>{verdict}</strong>", *map(_safe, told), counts, *map(_safe, said)]
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    return f'<div class="verdict {verdict.lower()}">{paragraphs}</div>'


def _matrix(run: Run, address: str) -> str:
    """The documented calls by claim and ABI; folded where every sign is a good one."""
    shown = view(run)
    table = calls_table(shown, f"{quote(address)}#")
    if not table:
        return ""
    bad = "" if is_fine(shown.documented) else " open"
    title = "<summary>Documented calls by claim and ABI; a sign links to its evidence</summary>"
    return f'<details class="calls"{bad}>{title}{table}</details>'


def _fingerprint(run: Run) -> dict[str, str]:
    """What was tested, and where."""
    every = run.environments
    told = {
        "Policy": f"{run.policy.name}: {run.policy.title} (sha256 {run.policy.sha256})",
        "Target": f"{run.target.kind}: {run.target.description}",
        "Profiles": ", ".join(run.profiles),
        "ABIs": _each(", ".join(here.arches) for here in every),
        "Kernel": _each(f"{here.kernel} ({here.machine})" for here in every),
        "Tested as": _each(f"uid {here.uid}, capabilities {here.capabilities}" for here in every),
        "Audit records": summary.audit_text(run),
        "Tested from": f"{results.time_text(run.started)} to {results.time_text(run.finished)}",
        "Tested with": str(run.suite),
    }
    return {name: _safe(value) for name, value in told.items()}


def _each(told: Iterable[str]) -> str:
    """What is said of the kernels of a run, alike words once."""
    return "; ".join(dict.fromkeys(told))


def _escaped(value: object) -> object:
    """pytest-metadata's values, which pytest-html shows as markup."""
    if isinstance(value, dict):
        return {escape(str(name)): escape(str(inner)) for name, inner in value.items()}
    return escape(str(value))


def _safe(text: str) -> str:
    return escape(visible(text))
