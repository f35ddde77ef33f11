"""What records of earlier versions said in their sentences only. Pure.

Nothing else takes a sentence apart.
"""

import re
from dataclasses import replace
from typing import Final

from probes.action import Action, FilterReturn
from probes.cell import NOT_HOLDING, Cell
from reports.results.model import UNDECIDED

_BY_THE_PROGRAM: Final = "the program returns "


def completed(cell: Cell) -> Cell:
    """The cell with what its sentence says of its reason.

    ``acct (163) on x86_64: no rule for it`` has the reason ``no rule for it``. What was observed is
    reason enough where a verdict is lacking and the sentence ends with it.
    """
    by_program = cell.observed.startswith(_BY_THE_PROGRAM)
    if cell.outcome in UNDECIDED and cell.sentence.endswith(f": {cell.observed}"):
        return with_returned(replace(cell, reason=cell.observed, by_program=by_program))
    opening, colon, rest = cell.sentence.partition(": ")
    named = re.match(rf"{re.escape(cell.key.syscall)}(?!\w)", opening) is not None
    reason = rest if colon and named else ""
    return with_returned(replace(cell, reason=reason, by_program=by_program))


def with_returned(cell: Cell) -> Cell:
    """The cell with what its observation says about the filter's return value."""
    if cell.outcome not in NOT_HOLDING:
        return cell
    return replace(cell, returned=_returned(cell.observed))


def _returned(observed: str) -> FilterReturn | None:
    """The return value of a filter of which something was observed; None where it is not told."""
    told = _UNHONOURED.sub("", observed)
    for opening, action in _OPENINGS.items():
        if told.startswith(opening):
            return FilterReturn(action)
    if recorded := _RECORDED.search(told):
        return FilterReturn.decode(int(recorded[1], 16))
    written = _WRITTEN.search(told)
    try:
        return FilterReturn.parse(written[1]) if written else None
    except ValueError:
        return None


_UNHONOURED: Final = re.compile(r"\Athis kernel does not honour [A-Z_]+: ")
_OPENINGS: Final = {
    "SIGSYS ended the process at the call": Action.KILL_PROCESS,
    "only the thread that made the call ended": Action.KILL_THREAD,
    "SIGSYS went to a handler": Action.TRAP,
    "the call reached the kernel": Action.ALLOW,
    "a tracer or a supervisor is asked about it": Action.TRACE,
    "the kernel let the process leave filter mode": Action.ALLOW,
}
_RECORDED: Final = re.compile(r"audit record.* code=0x([0-9a-f]{1,8})\Z")
_WRITTEN: Final = re.compile(
    r"(?:the filter answered|returns) ([A-Z_]+(?:\([A-Z0-9]+\))?)(?=\Z|,| )"
)


def of_gap(syscall: str, sentence: str) -> str:
    """The reason in the sentence of a gap; "" where it has none apart.

    Args:
        syscall: the call that the gap is about.
        sentence: what was found.
    """
    opening, colon, rest = sentence.partition(": ")
    return rest if colon and opening.startswith(syscall) else ""
