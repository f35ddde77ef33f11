"""What a whole run came to: the verdict, the exit status, and one sentence. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from probes.cell import Cell, Outcome
from probes.documents.waivers import FAULTS, JudgedWaiver
from probes.errors import ExitStatus
from probes.judging import claims
from probes.judging.calibration import is_of_kernel, is_off
from probes.judging.claims import About, is_about
from reports.results.model import DECIDED, Run, count_outcomes


class Verdict(StrEnum):
    """The verdict on a whole run."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCOMPLETE = "INCOMPLETE"
    BROKEN = "BROKEN"


class Ruling(NamedTuple):
    """The verdict on a run, the exit status that goes with it, and one sentence for people."""

    verdict: Verdict
    exit_status: ExitStatus
    sentence: str

    @property
    def line(self) -> str:
        """All of it in one line: ``PASS (exit status 0): The restrictions hold ...``."""
        return f"{self.verdict} (exit status {self.exit_status.value}): {self.sentence}"


@dataclass(frozen=True, slots=True)
class Summary:
    """How many cells came to which outcome, and what the run came to.

    Attributes:
        planned: how many cells were to be judged.
        selected_of: how many the whole job has.
        counts: how many came to each outcome; every outcome has an entry.
        ruling: the verdict on the run.
    """

    planned: int
    selected_of: int
    counts: dict[Outcome, int]
    ruling: Ruling

    @property
    def judged(self) -> int:
        """How many cells have an outcome, whatever it is."""
        return sum(self.counts.values())


def verdict(
    cells: Iterable[Cell],
    planned: int,
    waivers: Sequence[JudgedWaiver] = (),
    *,
    complete: bool = True,
) -> Ruling:
    """Rules on a run; the first rule that applies decides.

    1. A control failed or broke, or cells passed or failed on an ABI on which no control was
       judged: BROKEN, because nothing then vouches for the instrument. What was proved rests on
       an analysis instead, and needs none. A control on which nothing that was asked about depends
       does not count, nor one that failed for what the kernel does
       (``probes.judging.calibration``).
    2. A cell failed, or the kernel does something else for an action than Linux does, or a waiver
       has expired, names nothing or is not needed: FAIL.
    3. The run did not come to its end: INCOMPLETE.
    4. A cell is broken, or the number of judged cells is not the planned one: BROKEN.
    5. A cell could not be told: INCOMPLETE.
    6. No cell but controls passed: INCOMPLETE, because nothing was assessed.
    7. Otherwise PASS.

    Args:
        cells: every judged cell.
        planned: how many were to be judged.
        waivers: what came of each waiver.
        complete: whether the run came to its end.
    """
    every = tuple(cells)
    counts = count_outcomes(cell for cell in every if _counts(cell))
    return (
        _calibration(every)
        or _failure(counts, waivers, "" if complete else _ended(planned, every))
        or (None if complete else _incompleteness(planned, every))
        or _breakage(counts, planned, len(every))
        or _gap(counts)
        or _conformance(counts, observed=any(map(_is_observed_pass, every)))
    )


def why_none_counts(cells: Iterable[Cell]) -> str:
    """Why no verdict on a run's cells counts, in a sentence; "" where they do."""
    ruling = _calibration(tuple(cells))
    return "" if ruling is None else ruling.sentence


def _counts(cell: Cell) -> bool:
    """Whether a cell is about what was put to the test, which most controls are not."""
    return not is_about(cell.key, About.CONTROL) or is_of_kernel(cell)


def _is_observed(cell: Cell) -> bool:
    """Whether the cell says what the kernel does."""
    return claims.of(cell.key.claim).observed


def _is_observed_pass(cell: Cell) -> bool:
    is_control = is_about(cell.key, About.CONTROL)
    return cell.outcome is Outcome.PASSED and _is_observed(cell) and not is_control


def _place(cell: Cell) -> tuple[int, str]:
    """What a control vouches for: an ABI of the kernel on which it was judged."""
    return cell.environment, cell.key.arch


def _calibration(cells: Sequence[Cell]) -> Ruling | None:
    controls = [cell for cell in cells if is_about(cell.key, About.CONTROL)]
    off = sum(map(is_off, controls))
    untold = {_place(cell) for cell in controls if cell.outcome is Outcome.CANNOT_TELL}
    calibrated = {_place(cell) for cell in controls} - untold
    observed = [cell for cell in cells if _is_observed(cell)]
    used = {_place(cell) for cell in observed if cell.outcome in DECIDED}
    uncalibrated = sorted({arch for _, arch in used - calibrated})
    if off:
        sentence = (
            f"The instrument is out of calibration: {off:,} of {_count(len(controls), 'control')}"
            " did not pass, so no verdict of this run counts."
        )
    elif uncalibrated:
        sentence = (
            f"The instrument was not calibrated on {', '.join(uncalibrated)}: no control was judged"
            " there, so no verdict of this run counts."
        )
    else:
        return None
    return Ruling(Verdict.BROKEN, ExitStatus.BROKEN, sentence)


def _failure(
    counts: dict[Outcome, int], waivers: Sequence[JudgedWaiver], ended: str
) -> Ruling | None:
    failed = counts[Outcome.FAILED]
    faults = [judged.sentence for judged in waivers if judged.state in FAULTS]
    told = [_failures(counts)] if failed else []
    if len(faults) == 1:
        told.append(f"A waiver is at fault: {faults[0]}.")
    elif faults:
        told.append(f"{len(faults):,} waivers are at fault; the first: {faults[0]}.")
    if not told:
        return None
    if ended:
        told.append(ended)
    return Ruling(Verdict.FAIL, ExitStatus.NOT_CONFORMANT, " ".join(told))


def _failures(counts: dict[Outcome, int]) -> str:
    failed = counts[Outcome.FAILED]
    decided = failed + counts[Outcome.PASSED]
    undecided = counts[Outcome.BROKEN] + counts[Outcome.CANNOT_TELL]
    tail = f"; {undecided:,} more could not be decided" if undecided else ""
    return (
        f"The restrictions do not hold as documented: {failed:,} of"
        f" {_count(decided, 'decided cell')} failed{tail}."
    )


def _incompleteness(planned: int, cells: Sequence[Cell]) -> Ruling:
    return Ruling(Verdict.INCOMPLETE, ExitStatus.INTERRUPTED, _ended(planned, cells))


def _ended(planned: int, cells: Sequence[Cell]) -> str:
    # Whoever ends a run counts what it did not reach as broken.
    reached = sum(cell.outcome is not Outcome.BROKEN for cell in cells)
    if reached == planned:
        return "The run ended before its time: what it did not reach is not even known to it."
    return (
        f"The run ended before its time: {reached:,} of {_count(planned, 'planned cell')}"
        f" {_were(reached)} reached."
    )


def _breakage(counts: dict[Outcome, int], planned: int, judged: int) -> Ruling | None:
    if broken := counts[Outcome.BROKEN]:
        sentence = f"The instrument failed on {_count(broken, 'cell')}, so there is no verdict."
    elif planned != judged:
        sentence = (
            f"{_count(planned, 'cell')} {_were(planned)} planned but {judged:,}"
            f" {_were(judged)} judged, so there is no verdict."
        )
    else:
        return None
    return Ruling(Verdict.BROKEN, ExitStatus.BROKEN, sentence)


def _gap(counts: dict[Outcome, int]) -> Ruling | None:
    unknown = counts[Outcome.CANNOT_TELL]
    if not unknown:
        return None
    return Ruling(
        Verdict.INCOMPLETE,
        ExitStatus.CANNOT_TELL,
        f"{_count(unknown, 'cell')} could not be assessed here;"
        f" {_count(counts[Outcome.PASSED], 'cell')} passed and none failed.",
    )


def _conformance(counts: dict[Outcome, int], *, observed: bool) -> Ruling:
    passed = counts[Outcome.PASSED]
    if not passed:
        return Ruling(
            Verdict.INCOMPLETE, ExitStatus.NOTHING_ASSESSED, "No restriction was assessed."
        )
    forgiven = {"waived": counts[Outcome.WAIVED], "accepted": counts[Outcome.ACCEPTED]}
    tail = "".join(
        f"; {count:,} {'is' if count == 1 else 'are'} {word}"
        for word, count in forgiven.items()
        if count
    )
    if not observed:
        tail += ", all by analysis: nothing was observed on a kernel"
    return Ruling(
        Verdict.PASS,
        ExitStatus.CONFORMANT,
        f"The restrictions hold as documented: {_count(passed, 'cell')} passed and none"
        f" failed{tail}.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def summarize(run: Run) -> Summary:
    """Counts a run's cells and rules on it."""
    ruling = verdict(run.cells, run.planned, run.waivers, complete=run.complete)
    if run.planned < run.selected_of:
        part = (
            f" Only {run.planned:,} of the job's {_count(run.selected_of, 'cell')} were selected."
        )
        ruling = ruling._replace(sentence=ruling.sentence + part)
    return Summary(run.planned, run.selected_of, count_outcomes(run.cells), ruling)
