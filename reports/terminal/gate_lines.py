"""What ``syscall-conformance gate`` says of a run: failures first, each with a command. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.cell import Claim, Outcome
from probes.errors import ExitStatus
from probes.judging import claims
from probes.text import visible
from reports import reproduce, summary
from reports.results import Run, summarize
from reports.summary import Group
from reports.terminal import accepted
from reports.terminal.lines import INDENT, report_lines

MOST_LINES: Final = 16
"""Of what is said at the end; with the lines of progress there are at most twenty."""

_TROUBLES: Final = (Outcome.FAILED, Outcome.BROKEN, Outcome.CANNOT_TELL)
_MOST_NAMES: Final = 4


@dataclass(frozen=True, slots=True)
class Again:
    """How a reader can repeat a part of the run.

    Attributes:
        cases: the folder ``cases``, as the reader would write it.
        options: the options of the run.
    """

    cases: Path
    options: Sequence[str]


def lines(
    run: Run,
    written: Sequence[Path],
    again: Again,
    inside: Sequence[str] = (),
    status: ExitStatus | None = None,
) -> list[str]:
    """The lines at the end of a gate: at most ``MOST_LINES``.

    Args:
        run: the run.
        written: the reports.
        again: how to repeat a part of it.
        inside: what judging from inside came to, at most four lines.
        status: the exit status of the gate; that of the run unless given.
    """
    closing = [*map(visible, inside), *_closing(run, written, status)]
    troubles = [block for outcome in _TROUBLES for block in _blocks(run, outcome, again)]
    room = (MOST_LINES - len(closing)) // 2
    shown = troubles if len(troubles) <= room else troubles[: room - 1]
    left = troubles[len(shown) :]
    said = [line for block in shown for line in block]
    if left:
        said.append(f"and {len(left)} more groups of cells: see the report")
    return [*said, *closing]


def _blocks(run: Run, outcome: Outcome, again: Again) -> list[tuple[str, str]]:
    """Two lines for each claim: which cells came to it, and how to look at one of them again.

    ABIs on which it is the same calls stand together.
    """
    groups = summary.by_place(run, (cell for cell in run.cells if cell.outcome is outcome))
    word = summary.OUTCOME_WORDS[outcome].upper()

    def calls(group: Group) -> tuple[Claim, str, tuple[str, ...]]:
        key = group.cells[0].key
        return key.claim, key.profile, summary.names(group.cells)

    blocks = []
    for (claim, profile, names), alike in summary.gathered(groups, calls).items():
        first = alike[0].cells[0].key
        arches = ", ".join(summary.place_name(group.cells[0].key) for group in alike)
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        title = claims.of(claim).title(profile)
        headline = f"{word} {title} on {arches}: {', '.join(names[:_MOST_NAMES])}{more}"
        command = f"{INDENT}{reproduce.command(first, again.cases, again.options)}"
        blocks.append((visible(headline), visible(command)))
    return blocks


def _closing(run: Run, written: Sequence[Path], status: ExitStatus | None) -> list[str]:
    found = summarize(run)
    counts = summary.counts_text(found.counts)
    runtime = run.target.runtime
    by = f" ({runtime})" if runtime is not None else ""
    said = [cell.sentence for cell in summary.not_all_judged(run)]
    said += accepted.lines(run)
    said += [f"advice: {finding}" for finding in run.target.findings[:2]]
    said.append(f"{run.target.description}{by}: {counts}")
    if status in {None, found.ruling.exit_status}:
        said.append(found.ruling.line)
    else:
        said.append(f"from outside alone: {found.ruling.line}")
        said.append(f"exit status of the gate: {status}")
    return [*map(visible, said), *report_lines(written)]
