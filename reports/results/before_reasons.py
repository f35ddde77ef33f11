"""The reasons in records of earlier versions, which had them in their sentences only. Pure.

Nothing else takes a sentence apart.
"""

import re
from dataclasses import replace
from typing import Final

from probes.cell import Cell
from reports.results.model import UNDECIDED

_BY_THE_PROGRAM: Final = "the program returns "


def completed(cell: Cell) -> Cell:
    """The cell with what its sentence says of its reason.

    ``acct (163) on x86_64: no rule for it`` has the reason ``no rule for it``. What was observed is
    reason enough where a verdict is lacking and the sentence ends with it.
    """
    by_program = cell.observed.startswith(_BY_THE_PROGRAM)
    if cell.outcome in UNDECIDED and cell.sentence.endswith(f": {cell.observed}"):
        return replace(cell, reason=cell.observed, by_program=by_program)
    opening, colon, rest = cell.sentence.partition(": ")
    named = re.match(rf"{re.escape(cell.key.syscall)}(?!\w)", opening) is not None
    reason = rest if colon and named else ""
    return replace(cell, reason=reason, by_program=by_program)


def of_gap(syscall: str, sentence: str) -> str:
    """The reason in the sentence of a gap; "" where it has none apart.

    Args:
        syscall: the call that the gap is about.
        sentence: what was found.
    """
    opening, colon, rest = sentence.partition(": ")
    return rest if colon and opening.startswith(syscall) else ""
