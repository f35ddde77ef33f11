"""The lines about a whole machine: a table of its containers and services, the gravest first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from probes.cell import Outcome
from probes.survey import taken
from probes.text import counted, visible
from probes.workload import OwnerKind, Survey, WorkloadRow, WorkloadState
from reports import results
from reports.results import Run
from reports.terminal.lines import INDENT, MOST_LINES, report_lines, shortened, table, wrapped

STATE_WORDS: Final = {
    WorkloadState.NONE: "no filter",
    WorkloadState.FAILS: "does not hold",
    WorkloadState.CANNOT_TELL: "cannot tell",
    WorkloadState.WAIVED: "waived",
    WorkloadState.HOLDS: "holds",
    WorkloadState.EXCLUDED: "not looked at",
}
"""The states as people say them, the gravest first."""

_HEAD: Final = ("state", "counts", "what", "processes", "filters")


def description(name: str, survey: Survey) -> str:
    """What a sentence calls the machine."""
    kinds = Counter(one.kind for one in survey.workloads if one.state is not WorkloadState.EXCLUDED)
    parts = [counted(kinds[kind], kind.value) for kind in (OwnerKind.CONTAINER, OwnerKind.SERVICE)]
    return f"node {name} with {' and '.join(parts)}, {counted(len(survey.stacks), 'filter stack')}"


def lines(run: Run, written: Sequence[Path], width: int, *, verbose: bool = False) -> list[str]:
    """What is said of a machine.

    Args:
        run: the record, which has a survey.
        written: the reports.
        width: how long a line may be.
        verbose: whether all is said, in more than ``MOST_LINES`` lines if need be.
    """
    survey = run.target.survey
    if survey is None:
        raise ValueError("the record is not that of a whole machine")
    rows = _table(survey.workloads, width) if survey.workloads else []
    reasons = list(_sentences(_told(run, survey), width))
    closing = [
        visible(f"{run.target.description}; {_processes(survey)}"),
        results.summarize(run).ruling.line,
        *report_lines(written),
    ]
    if not verbose:
        room = max(MOST_LINES - len(closing), 2)
        rows = shortened(rows, max(room - len(reasons), room // 2))
        reasons = shortened(reasons, room - len(rows))
    return [*rows, *reasons, *closing]


def _processes(survey: Survey) -> str:
    seen = sum(one.processes for one in survey.workloads)
    more = [
        counted(survey.others, "other process").replace("processs", "processes"),
        counted(survey.kernel_threads, "thread") + " of the kernel",
    ]
    more += [f"{survey.zombies:,} that had ended"] if survey.zombies else []
    return f"{seen:,} processes in them, {', '.join(more)}"


def _table(workloads: Iterable[WorkloadRow], width: int) -> list[str]:
    return table([_HEAD, *map(_row, workloads)], width)


def _row(one: WorkloadRow) -> tuple[str, ...]:
    inside = f" in {one.inside}" if one.inside else ""
    return (
        STATE_WORDS[one.state],
        "yes" if one.required else "no",
        f"{one.title}{inside}",
        f"{one.processes:,}",
        " ".join(one.stacks) or "-",
    )


def _told(run: Run, survey: Survey) -> Iterator[str]:
    """Why what is required does not hold, and what of the machine could not be seen."""
    yield from (one.sentence for one in survey.workloads if one.required and one.sentence)
    for cell in run.cells:
        if cell.outcome is Outcome.CANNOT_TELL and cell.key.syscall in taken.LIMITS:
            yield cell.sentence


def _sentences(told: Iterable[str], width: int) -> Iterator[str]:
    for one in told:
        first, *rest = wrapped(one, width)
        yield from (first, *(f"{INDENT}{line}" for line in rest))
