"""The exit status of a run: the record's, unless something else says more about it."""

from dataclasses import dataclass
from typing import Final

import pytest

from probes.errors import ExitStatus, InstrumentError, SuiteError
from reports import results
from reports.results import Run

_OVERRULED: Final = frozenset(
    {ExitStatus.CONFORMANT, ExitStatus.NOT_CONFORMANT, ExitStatus.NOTHING_ASSESSED}
)
"""What pytest says about tests; anything else it says about a run that ended before its time."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends.

    Attributes:
        status: the exit status.
        trouble: why it is not what the verdicts come to, in a sentence; "" where it is.
    """

    status: int
    trouble: str = ""


def is_cut_short(session: pytest.Session) -> bool:
    """Whether a run was stopped before its end: by -x and the like, or by whatever happened."""
    stopped = session.shouldstop or session.shouldfail
    return bool(stopped) or int(session.exitstatus) not in _OVERRULED


def settled(run: Run, said: int) -> Ending:
    """The exit status of a run that has a record.

    Args:
        run: the record.
        said: pytest's exit status.
    """
    status = results.summarize(run).ruling.exit_status
    if said not in _OVERRULED:
        return Ending(
            said,
            f"The run ended before its time, so the exit status is {said}, and cells that were"
            " not judged are broken.",
        )
    if status is ExitStatus.CONFORMANT and said == ExitStatus.NOT_CONFORMANT:
        broken = int(ExitStatus.BROKEN)
        return Ending(
            broken,
            f"Something else than a verdict failed (see above), so the exit status is {broken}.",
        )
    return Ending(int(status))


def failed(error: Exception) -> Ending:
    """The exit status of a run that could not be closed as it should."""
    status = ExitStatus.INTERNAL_ERROR
    if isinstance(error, InstrumentError):
        status, sentence = error.exit_status, str(error)
    elif isinstance(error, SuiteError):
        sentence = str(error)
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        sentence = (
            f"{where}cannot write the report ({error.strerror or error}): make room there, or"
            " name another place"
        )
    else:
        sentence = f"{type(error).__name__} while the run was closed: please report this bug"
    return Ending(int(status), f"{sentence.rstrip('.')} (exit status {status.value}).")
