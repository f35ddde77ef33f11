"""What pytest's own XML says of cells that nobody judged, for no test of theirs was selected.

Whoever reads only that file would take the run for a success.
"""

from collections.abc import Iterable, Iterator

import pytest
from _pytest.junitxml import LogXML

from probes.cell import Cell, Outcome
from reports import reproduce


def tell(plugins: Iterable[object], cells: Iterable[Cell]) -> None:
    """Puts cells into pytest's XML.

    Args:
        plugins: those of pytest, which writes XML if its own is among them.
        cells: those that no test tells of.
    """
    reports = [report for cell in cells for report in _reports_of(cell)]
    for plugin in plugins:
        if isinstance(plugin, LogXML):  # pytest has no public way to one file of its own
            for report in reports:
                plugin.pytest_runtest_logreport(report)


def _reports_of(cell: Cell) -> Iterator[pytest.TestReport]:
    """What pytest would have told of the test of a cell that was not selected."""
    nodeid = f"cases/{reproduce.test_of(cell.key)}"
    path, _, name = nodeid.partition("::")
    failed = cell.outcome is Outcome.FAILED
    properties = [("outcome", cell.outcome.value), ("sentence", cell.sentence)]
    end = pytest.TestReport(
        nodeid=nodeid,
        location=(path, None, name),
        keywords={},
        outcome="failed" if failed else "skipped",
        longrepr=cell.sentence if failed else (path, 0, f"Skipped: {cell.sentence}"),
        when="call",
    )
    yield end
    yield pytest.TestReport(
        nodeid, end.location, {}, "passed", None, "teardown", user_properties=properties
    )
