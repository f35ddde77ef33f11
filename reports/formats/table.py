"""CSV (RFC 4180): one line a cell, for spreadsheets and databases."""

import csv
import io
from collections.abc import Iterable
from typing import Final

from probes.cell import Cell
from probes.text import visible
from reports import results
from reports.formats.shared import evidence_texts
from reports.results import Run

COLUMNS: Final = (
    "claim",
    "profile",
    "arch",
    "syscall",
    "number",
    "variant",
    "family",
    "outcome",
    "cause",
    "sentence",
    "expected",
    "observed",
    "evidence",
    "environment",
    "stack",
)
"""The header."""

_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - these are meant


def render(run: Run) -> str:
    """The cells of the run as CSV."""
    file = io.StringIO(newline="")
    # Quoted throughout, a neutralized text cannot be taken apart by its own separators.
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    families = {call.name: call.family for call in run.policy.calls}
    writer.writerows(_row(cell, families) for cell in results.in_order(run.cells))
    return file.getvalue()


def _row(cell: Cell, families: dict[str, str]) -> Iterable[str]:
    key = cell.key
    row = (
        key.claim,
        key.profile,
        key.arch,
        key.syscall,
        "" if key.number is None else str(key.number),
        key.variant,
        families.get(key.syscall, ""),
        cell.outcome,
        cell.cause or "",
        cell.sentence,
        cell.expected,
        cell.observed,
        " | ".join(evidence_texts(cell)),
        str(cell.environment + 1),
        str(key.stack + 1),
    )
    return map(_inert, row)


def _inert(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet could take for a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
