"""What a test sends along with its report: the cells that it judged, and its instrument's controls.

xdist carries the reports of tests from its workers to the process that has started them.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from probes.audit.trail import AuditTrail
from probes.cell import Cell, Outcome
from reports import results

_CELLS = pytest.StashKey[dict[str, Any]]()
_CONTROLS_SENT = pytest.StashKey[Sequence[Cell]]()


def record(
    item: pytest.Item, cells: Sequence[Cell], controls: Sequence[Cell], trail: AuditTrail | None
) -> None:
    """Attaches to a test what it judged, and what its worker's instrument is worth.

    Args:
        item: the test.
        cells: what it judged.
        controls: what the controls came to, of the instrument that is up.
        trail: where its audit records come from; None where the test needed no instrument.
    """
    stash = item.config.stash
    # One calibration vouches for all that follows it, so one report carries it.
    news = controls if stash.get(_CONTROLS_SENT, None) is not controls else ()
    stash[_CONTROLS_SENT] = controls
    item.stash[_CELLS] = {
        "cells": [results.cell_to_json(cell) for cell in cells],
        "controls": [results.cell_to_json(cell) for cell in news],
        "audit_source": trail.source if trail else "",
        "audit_reason": (trail.lost or trail.reason) if trail else "",
    }
    item.user_properties += _properties(cells)


def _properties(cells: Sequence[Cell]) -> list[tuple[str, object]]:
    """What JUnit XML says about a test: plain strings."""
    if len(cells) == 1:
        cell = cells[0]
        told = [
            ("outcome", cell.outcome.value),
            ("cause", cell.cause.value if cell.cause else ""),
            ("sentence", cell.sentence),
            ("expected", cell.expected),
            ("observed", cell.observed),
        ]
        told += [(f"evidence.{one.kind}.{one.source}", one.text) for one in cell.evidence]
    else:
        counts = results.count_outcomes(cells)
        told = [(outcome.value, str(count)) for outcome, count in counts.items() if count]
        told += [("sentence", c.sentence) for c in cells if c.outcome is not Outcome.PASSED]
    return [(name, value) for name, value in told if value]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401 - pluggy's protocol
    """Sends the cells along with the report, which xdist carries to the controller."""
    report = yield
    if call.when == "call" and _CELLS in item.stash:
        report.syscall_conformance = item.stash[_CELLS]
    return report


def carried_by(report: pytest.TestReport) -> dict[str, Any] | None:
    """What ``record`` attached to the test; None for a report without it."""
    carried: dict[str, Any] | None = getattr(report, "syscall_conformance", None)
    return carried
