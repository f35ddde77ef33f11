"""Two ways of judging a container, from outside and from inside: they must agree. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from probes.cell import Cell, Outcome
from probes.errors import ExitStatus
from probes.judging.claims import About, is_about
from reports.results import Run, in_order

_DECIDED: Final = {
    Outcome.PASSED: Outcome.PASSED,
    Outcome.FAILED: Outcome.FAILED,
    Outcome.WAIVED: Outcome.FAILED,  # the waiver excuses what was seen all the same
    Outcome.ACCEPTED: Outcome.FAILED,  # likewise
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the verdicts from outside and from inside agree.

    Attributes:
        agreed: how many cells came to the same, passed or failed.
        differing: the cells that did not, as judged from outside and from inside.
        only_outside: how many were decided from outside and not inside.
    """

    agreed: int
    differing: tuple[tuple[Cell, Cell], ...]
    only_outside: int


def compare(outside: Run, inside: Run) -> Agreement:
    """Compares what was observed cell by cell, where both came to a verdict.

    The controls are about the instrument, and a proof needs the programs, which only one has.
    """
    other = {cell.key: cell for cell in inside.cells}
    pairs = [(cell, other.get(cell.key)) for cell in in_order(_observed(outside.cells))]
    both = [(a, b) for a, b in pairs if b is not None and b.outcome in _DECIDED]
    differing = tuple((a, b) for a, b in both if _DECIDED[a.outcome] is not _DECIDED[b.outcome])
    return Agreement(len(both) - len(differing), differing, len(pairs) - len(both))


def _observed(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.outcome in _DECIDED and _shows_inside(cell)]


def _shows_inside(cell: Cell) -> bool:
    """Whether the verdict from outside rests on what can be seen inside as well.

    Of a call that must go through, the kernel shows there neither that it logs it nor what it would
    do about a number on which it asks no filter: from outside the program tells.
    """
    if is_about(cell.key, About.CONTROL, About.PROOF, About.FINDING):
        return False
    return not (is_about(cell.key, About.OTHER_CALL) and cell.by_program)


def both_decided(found: Agreement, inside: ExitStatus) -> bool:
    """Whether anything was decided from inside that can agree or differ.

    Args:
        found: the two side by side.
        inside: the exit status of the record from inside.
    """
    return bool(found.differing) or (found.agreed > 0 and inside is not ExitStatus.BROKEN)


def together(outside: ExitStatus, inside: ExitStatus) -> ExitStatus:
    """The exit status of a gate that was to judge from inside, too, and could decide nothing there.

    Args:
        outside: the exit status of the record from outside.
        inside: that of the record from inside.
    """
    if outside not in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}:
        return outside
    return ExitStatus.BROKEN if inside is ExitStatus.BROKEN else ExitStatus.CANNOT_TELL


def lines(found: Agreement, most: int) -> list[str]:
    """The lines for a terminal: some of the differences, and one line with the counts.

    Args:
        found: how far the verdicts agree.
        most: how many differences to name at most.
    """
    counts = (
        f"from inside: {found.agreed:,} verdicts agree, {len(found.differing):,} differ, "
        f"{found.only_outside:,} cannot be told there"
    )
    if found.differing:
        counts += ": one of the two is wrong, so neither counts (exit status 7)"
    differences = (
        f"DIFFERS: from outside, {outside.sentence}; from inside, {inside.sentence}"
        for outside, inside in found.differing[:most]
    )
    return [*differences, counts]
