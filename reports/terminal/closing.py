"""The closing lines of a run on the terminal: what holds, what is amiss, the verdict. Pure."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from probes.cell import GapState, Outcome
from probes.documents.waivers import WaiverState
from reports.causes.headline import Headline, banner, headlines
from reports.causes.looks import LOOKS
from reports.reproduce import Again
from reports.results import ChangeKind, Run, count_kinds, describe, summarize, time_text
from reports.summary import audit_text, counts_text, gaps_by_state, release_of
from reports.terminal import accepted
from reports.terminal.blocks import Room, fitted, lines_of, of_faults, of_open_questions
from reports.terminal.lines import (
    LEAST_WIDTH,
    REPORTS,
    UNCUT,
    clipped,
    cut,
    name_line,
    report_lines,
)

MOST_LINES: Final = 20
"""There are never more closing lines than this."""

_MOST_PATH_LINES: Final = 2
_MOST_HEADLINE_LINES: Final = 4
_MOST_NAMES: Final = 8
_MOST_DETAIL_LINES: Final = 2
_LEAST_BLOCK_LINES: Final = 1
"""What each kind of trouble keeps: a headline, and how much more there is."""


def lines(
    run: Run,
    written: Sequence[Path],
    width: int = 100,
    *,
    again: Again | None = None,
    verbose: bool = False,
) -> list[str]:
    """The closing summary: what holds first, then what is amiss, the verdict near the end.

    Args:
        run: the run.
        written: the reports that were written.
        width: columns; only commands and the paths of reports may go beyond it.
        again: how to repeat a part of the run; None where nobody here can.
        verbose: whether all is said, in more than ``MOST_LINES`` lines if need be.
    """
    width = max(width, LEAST_WIDTH)
    closing = _closing_lines(run, written, width)
    if verbose:
        whole = Room(width, None, UNCUT)
        told = headlines(run, None)
        blocks = [*of_faults(run, whole, again), *chain(*of_open_questions(run, whole).values())]
        first = [line for one in told for line in clipped(_signed(one), width, UNCUT)]
        closing = _closing_lines(run, written, UNCUT)
        whole_lines = [line for one in closing for line in _whole(one, width)]
        return [*_whole(banner(run), width), *first, *lines_of(blocks, width), *whole_lines]
    spare = MOST_LINES - len(closing) - _LEAST_BLOCK_LINES * len(_kinds_of_trouble(run))
    opening = [cut(banner(run), width), *_headline_lines(run, width, spare - 1)]
    room = MOST_LINES - len(closing) - len(opening)
    return [*opening, *_trouble_lines(run, room, width, again), *closing]


def _whole(line: str, width: int) -> list[str]:
    """A line in as many of the width as it takes; paths stay whole."""
    return [line] if line.startswith(REPORTS) else clipped(line, width, UNCUT)


def _signed(one: Headline) -> str:
    return f"{LOOKS[one.kind].sign} {one.line}"


def _headline_lines(run: Run, width: int, spare: int) -> list[str]:
    """The first lines of the verdict, each as long as there is room for all of them.

    Args:
        run: the run.
        width: columns.
        spare: how many lines there may be.
    """
    told = headlines(run, _MOST_NAMES)
    shown = told if len(told) <= spare else told[: spare - 1]
    # What is amiss wants room as well.
    most = max(1, min(_MOST_HEADLINE_LINES, spare // 2 // len(told)))
    said = [line for one in shown for line in clipped(_signed(one), width, most)]
    if len(shown) < len(told):
        said.append(cut(f"and {len(told) - len(shown):,} more: see the report, or -v", width))
    return said


def _kinds_of_trouble(run: Run) -> set[Outcome]:
    """The outcomes that have to have a line, whatever else there is to say."""
    return {cell.outcome for cell in run.cells} & set(_TROUBLES)


_TROUBLES: Final = (Outcome.FAILED, Outcome.BROKEN, Outcome.CANNOT_TELL)


def _closing_lines(run: Run, written: Sequence[Path], width: int) -> list[str]:
    summary = summarize(run)
    told = (_kernel_line(run), *accepted.lines(run), _waiver_line(run), _baseline_line(run))
    extra = [cut(line, width) for line in told if line]
    planned = f"planned {summary.planned:,}: {counts_text(summary.counts)}"
    return [
        cut(planned, width),
        *_gap_lines(run, width),
        cut(f"audit records: {audit_text(run)}", width),
        *extra,
        *clipped(summary.ruling.line, width, most=2),
        *_path_lines(written),
    ]


def _kernel_line(run: Run) -> str:
    """The kernels that cells were judged on; "" where there is but one."""
    if len(run.environments) == 1:
        return ""
    named = (f"{release_of(where)} ({where.machine})" for where in run.environments)
    return f"kernels: {', '.join(named)}"


def _waiver_line(run: Run) -> str:
    """How many waivers came to each state, and which is the next to expire; "" for no waiver."""
    if not run.waivers:
        return ""
    counts = Counter(judged.state for judged in run.waivers)
    told = ", ".join(f"{counts[state]:,} {state}" for state in WaiverState if counts[state])
    active = [judged for judged in run.waivers if judged.state is WaiverState.ACTIVE]
    if not active:
        return f"waivers: {told}"
    first = min(active, key=lambda judged: judged.days_left)
    days = "day" if first.days_left == 1 else "days"
    return f"waivers: {told}; the next expires in {first.days_left:,} {days} ({first.waiver})"


def _baseline_line(run: Run) -> str:
    """What has changed since the baseline, the first that got worse by name; "" without one."""
    if run.baseline is None:
        return ""
    counts = count_kinds(run.baseline.changes)
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    worse = [c.key for c in run.baseline.changes if c.kind is ChangeKind.WORSE]
    first = f"; worse: {describe(worse[0])}" if worse else ""
    more = f" and {len(worse) - 1:,} more" if len(worse) > 1 else ""
    return f"since {time_text(run.baseline.started)}: {told or 'no change'}{first}{more}"


def _gap_lines(run: Run, width: int) -> list[str]:
    """How many calls beside the policy open a way round it; nothing where none was looked at."""
    if not run.gaps and not run.unreviewed:
        return []
    calls = {
        state: [members[0].syscall for members in groups]
        for state, groups in gaps_by_state(run).items()
    }
    opened = calls[GapState.OPEN]
    counts = ", ".join(f"{len(names):,} {state}" for state, names in calls.items() if names)
    title = f"gaps of the document: {counts or 'none is known'}"
    lines = [name_line(f"{title}: ", opened, width) if opened else cut(title, width)]
    if run.unreviewed:
        lines.append(name_line("gaps of the document: not known for ", run.unreviewed, width))
    return lines


def _path_lines(written: Sequence[Path]) -> list[str]:
    every = report_lines(written)
    if len(every) <= _MOST_PATH_LINES:
        return every
    named = list(dict.fromkeys(path.parent for path in written))[: _MOST_PATH_LINES - 1]
    others = sum(path.parent not in named for path in written)
    return [*every[: _MOST_PATH_LINES - 1], f"and {others} more reports elsewhere"]


def _trouble_lines(run: Run, room: int, width: int, again: Again | None) -> list[str]:
    """Faults, broken cells and open questions, in this order, in ``room`` lines or fewer."""
    within = Room(width, _MOST_NAMES, _MOST_DETAIL_LINES)
    open_ = of_open_questions(run, within)
    kept = _LEAST_BLOCK_LINES * len(open_)
    lines = fitted(of_faults(run, within, again), room - kept, width)
    for blocks in open_.values():
        kept -= _LEAST_BLOCK_LINES
        lines += fitted(blocks, room - kept - len(lines), width)
    return lines
