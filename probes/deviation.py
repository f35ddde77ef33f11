"""What runtimes do to every profile, be it ever so right: known deviations, by name. Pure.

A failed cell that is exactly one of them says so, and a run may accept it. Each is about calls and
numbers that no policy documents; whether a documented call is refused, none of them excuses.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from probes.cell import Cell, Outcome
from probes.errors import BadInputError
from probes.text import did_you_mean, shown


class KnownDeviation(StrEnum):
    """The deviations, by the names that ``--accept`` takes."""

    RUNC_ENOSYS_STUB = "runc-enosys-stub"
    LIBSECCOMP_UNKNOWN_CALLS = "libseccomp-unknown-calls"
    BAD_ARCH_KILL_THREAD = "bad-arch-kill-thread"


@dataclass(frozen=True, slots=True)
class DeviationRow:
    """What is known of a deviation.

    Attributes:
        name: its name.
        by: the programs that do it, with the releases from which on.
        met_under: the runtimes of ``--runtime`` under which a right profile meets it.
        meaning: what they do, in a sentence.
    """

    name: KnownDeviation
    by: str
    met_under: tuple[str, ...]
    meaning: str


_BY_RUNC: Final = ("docker", "runc", "containerd", "cri")

_TABLE: Final = (
    DeviationRow(
        KnownDeviation.RUNC_ENOSYS_STUB,
        "runc from 1.0.0 on",
        _BY_RUNC,
        "A number above the highest one that the profile names gets ENOSYS, unless the default"
        " action lets calls run.",
    ),
    DeviationRow(
        KnownDeviation.LIBSECCOMP_UNKNOWN_CALLS,
        "every libseccomp",
        (*_BY_RUNC, "podman", "crun"),
        "A call that is newer than libseccomp, or that it does not know on an ABI, gets what a"
        " number without a rule gets, even if the profile names it.",
    ),
    DeviationRow(
        KnownDeviation.BAD_ARCH_KILL_THREAD,
        "every libseccomp",
        (*_BY_RUNC, "podman", "crun"),
        "A call by an architecture that the profile does not name ends its thread, whatever the"
        " profile says.",
    ),
)

ROWS: Final = {row.name: row for row in _TABLE}
"""The deviations in the order in which people read of them."""


def named(words: Iterable[str]) -> tuple[KnownDeviation, ...]:
    """The deviations of some names, each once and in the order of the table.

    Raises:
        BadInputError: a name is not known.
    """
    wanted = list(words)
    for word in wanted:
        if word not in set(KnownDeviation):
            near = did_you_mean(word, KnownDeviation, alike=0.7)
            raise BadInputError(
                f"{shown(word) or 'an empty name'} is no known deviation of a runtime:"
                f"{f' {near}' if near else ''} known are {', '.join(ROWS)}"
            )
    return tuple(name for name in ROWS if name in wanted)


def accept(cells: Iterable[Cell], accepted: Collection[KnownDeviation]) -> list[Cell]:
    """The cells, those that failed by nothing but accepted deviations turned into *accepted*.

    Args:
        cells: what was judged.
        accepted: the deviations that the run accepts.
    """
    return [
        _accepted(cell) if cell.outcome is Outcome.FAILED and is_explained(cell, accepted) else cell
        for cell in cells
    ]


def is_explained(cell: Cell, accepted: Collection[KnownDeviation]) -> bool:
    """Whether accepted deviations are all that makes a cell fail."""
    return bool(cell.deviations) and set(cell.deviations) <= set(accepted)


def _accepted(cell: Cell) -> Cell:
    words = f"; accepted as {' and '.join(cell.deviations)}"
    return replace(
        cell,
        outcome=Outcome.ACCEPTED,
        sentence=f"{cell.sentence}{words}",
        reason=f"{cell.why}{words}",
    )


def met_by(cells: Iterable[Cell], name: KnownDeviation) -> Sequence[Cell]:
    """The cells in which a deviation was accepted."""
    return [c for c in cells if c.outcome is Outcome.ACCEPTED and name in c.deviations]
