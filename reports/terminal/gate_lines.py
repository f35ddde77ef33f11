"""What ``syscall-conformance gate`` says of a run: the verdict first, then each cause. Pure."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from probes.cell import Outcome
from probes.errors import ExitStatus
from probes.text import visible
from reports import summary
from reports.causes.headline import banner, headlines
from reports.causes.looks import LOOKS
from reports.reproduce import Again
from reports.results import Run, summarize
from reports.terminal import accepted
from reports.terminal.blocks import Room, fitted, lines_of, of_faults, of_open_questions
from reports.terminal.lines import UNCUT, report_lines

MOST_LINES: Final = 16
"""Of what is said at the end; with the lines of progress there are at most twenty."""

_MOST_NAMES: Final = 8
_LEAST_BLOCK_LINES: Final = 2


def lines(  # noqa: PLR0913 - they are the parts of what is said
    run: Run,
    written: Sequence[Path],
    again: Again,
    inside: Sequence[str] = (),
    status: ExitStatus | None = None,
    *,
    verbose: bool = False,
) -> list[str]:
    """The lines at the end of a gate: at most ``MOST_LINES`` unless more are asked for.

    Args:
        run: the run.
        written: the reports.
        again: how to repeat a part of it.
        inside: what judging from inside came to, at most four lines.
        status: the exit status of the gate; that of the run unless given.
        verbose: whether everything is said, however long.
    """
    ruling = summarize(run).ruling
    alone = "" if status in {None, ruling.exit_status} else "from outside alone "
    told = headlines(run, None if verbose else _MOST_NAMES)
    opening = [f"{alone}{ruling.verdict}: {LOOKS[one.kind].sign} {one.line}" for one in told]
    closing = [*map(visible, inside), *_closing(run, written, status)]
    within = Room(UNCUT, None if verbose else _MOST_NAMES, 1)
    faults, open_ = of_faults(run, within, again), of_open_questions(run, within)
    if verbose:
        return [*opening, *lines_of([*faults, *chain(*open_.values())], UNCUT), *closing]
    room = MOST_LINES - len(closing) - len(opening)
    kept = _LEAST_BLOCK_LINES * len(open_)
    said = fitted(faults, room - kept, UNCUT)
    for blocks in open_.values():
        kept -= _LEAST_BLOCK_LINES
        said += fitted(blocks, room - kept - len(said), UNCUT)
    return [*opening, *said, *closing]


def _closing(run: Run, written: Sequence[Path], status: ExitStatus | None) -> list[str]:
    found = summarize(run)
    open_ = (one for one in summary.not_all_judged(run) if one.outcome is not Outcome.FAILED)
    said = [one.sentence for one in open_]
    said += accepted.lines(run)
    said += [f"advice: {finding}" for finding in run.target.findings[:2]]
    said.append(f"{banner(run)}: {summary.counts_text(found.counts)}")
    if status in {None, found.ruling.exit_status}:
        said.append(found.ruling.line)
    else:
        said.append(f"from outside alone: {found.ruling.line}")
        said.append(f"exit status of the gate: {status}")
    return [*map(visible, said), *report_lines(written)]
