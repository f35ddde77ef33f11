"""Starts pytest to judge, and tells whether what it says about a run can be taken for a verdict.

0 and 1 are verdicts. They come from a complete record of this very run alone, and from no other
process that ended so: pytest ends with 0 where it was asked for its help, too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes import isolation, main_job
from probes.errors import ExitStatus
from reports import channel, results
from reports.results import Run

_PLUGINS: Final = ("xdist", "html", "metadata")
"""Those that are installed and that the suite needs, by their entry points."""

_VERDICTS: Final = frozenset({ExitStatus.CONFORMANT, ExitStatus.NOT_CONFORMANT})

# Python's own status for an exception, 1, means "not conformant" here. A reader who leaves too
# early, as head(1) does, is one; who leaves at the end takes no verdict back.
_PYTEST: Final = f"""\
import traceback
status = {ExitStatus.INTERNAL_ERROR.value}
try:
    import pytest
    status = pytest.main()
    sys.stdout.flush()
except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
except Exception:  # shown whole, and 3 instead of the 1 that Python would make of it
    traceback.print_exc()
sys.exit(status)
"""


def command(*words: str) -> list[str]:
    """The command by which pytest judges, with ``environment()``.

    The working directory is its user's: paths in his words are relative to it. Nothing is imported
    from there, no configuration file of any folder counts, and of the plug-ins that are installed
    only the suite's own and those that it needs are loaded.
    """
    plugins = [f"-p{name}" for name in _PLUGINS]  # joined, for a folder may have such a name
    return isolation.python(_PYTEST, *main_job.words(), *plugins, *words)


def environment(told: Path | None = None) -> dict[str, str]:
    """The variables of a pytest that judges.

    Args:
        told: the file in which it shall tell what becomes of its run; None for none.
    """
    made = isolation.environment() | {"PYTHONUNBUFFERED": "1"}
    made.pop(channel.VARIABLE, None)
    return made if told is None else made | {channel.VARIABLE: str(told)}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a process that judged comes to.

    Attributes:
        status: the exit status.
        trouble: why that is not what its record says, in a sentence; "" where it is.
    """

    status: ExitStatus
    trouble: str = ""


def settle(run: Run, status: int, *, is_part: bool = False) -> Settled:
    """Holds the exit status of a process that judged against its record.

    Args:
        run: the record.
        status: how the process ended.
        is_part: whether a part of the job was asked for.
    """
    ruling = results.summarize(run).ruling
    ended = known(status)
    if ended not in _VERDICTS:
        if ended is ruling.exit_status:
            return Settled(ended)
        return Settled(ended, f"its record says {ruling.verdict.value}, but {_how(status)}")
    if ended is not ruling.exit_status:
        return Settled(
            ExitStatus.BROKEN,
            f"there is no verdict: {_how(status)}, but its record says {ruling.verdict.value}"
            f" ({ruling.exit_status.value}): {ruling.sentence}",
        )
    if reason := _part(run, is_part=is_part):
        return Settled(ExitStatus.BROKEN, f"there is no verdict: {reason}")
    return Settled(ended)


def _part(run: Run, *, is_part: bool) -> str:
    """Why a record is not of the whole job; "" where it is."""
    if not run.complete:
        return "its record is not complete"
    if run.planned != run.selected_of and not is_part:
        return f"only {run.planned:,} of the job's {run.selected_of:,} cells were judged"
    if len(run.cells) != run.planned:
        return f"{run.planned:,} cells were planned, and its record has {len(run.cells):,}"
    return ""


def known(status: int) -> ExitStatus:
    """An exit status of the suite's; any other says that the suite itself has failed."""
    return ExitStatus(status) if status in set(ExitStatus) else ExitStatus.INTERNAL_ERROR


def without_record(status: int) -> ExitStatus:
    """What a process comes to that left no record: never a verdict."""
    ended = known(status)
    return ExitStatus.INTERNAL_ERROR if ended in _VERDICTS else ended


def _how(status: int) -> str:
    return f"signal {-status} ended it" if status < 0 else f"it ended with exit status {status}"
