"""What differs between two records. Pure."""

from collections.abc import Iterable
from typing import Final

from probes.cell import Cell, CellKey, Outcome
from probes.judging.plan import UNKNOWN
from reports.results.model import Change, ChangeKind, Environment, Run, sort_key

RANKS: Final = {
    Outcome.PASSED: 0,
    Outcome.NOT_APPLICABLE: 0,
    Outcome.WAIVED: 1,
    Outcome.ACCEPTED: 1,
    Outcome.CANNOT_TELL: 2,
    Outcome.BROKEN: 2,
    Outcome.FAILED: 3,
}
"""How far an outcome is from one that a gate lets pass without a word."""

Identity = tuple[str | int | None, ...]
"""What makes two cells of two records the same one."""


def identity(key: CellKey) -> Identity:
    """What makes two cells the same one: all but the number.

    A call may get a number only when a newer table knows it. Numbers that no table knows have
    nothing else that tells them apart.
    """
    number = key.number if key.syscall == UNKNOWN else None
    return (key.claim, key.profile, key.arch, key.syscall, key.variant, number, key.stack)


def kind_of(before: Outcome | None, after: Outcome | None) -> ChangeKind | None:
    """How an outcome differs from an earlier one; None where it does not.

    *Better* is only what holds now. That a failure is waived, or can no longer be told, is neither
    better nor worse. None as an outcome: the record does not have the cell.
    """
    if before is after:
        return None
    if before is None:
        return ChangeKind.APPEARED
    if after is None:
        return ChangeKind.VANISHED
    was, now = RANKS[before], RANKS[after]
    if now > was:
        return ChangeKind.WORSE
    return ChangeKind.BETTER if now == 0 < was else ChangeKind.OTHER


def changes(old: Run, new: Run) -> tuple[Change, ...]:
    """What differs between two records, in the order of the newer one's cells.

    Where a record has several environments, only cells of like ones are the same: of the same
    host, machine and kernel.
    """
    return tuple(change for change, _ in changed_cells(old, new))


def changed_cells(old: Run, new: Run) -> tuple[tuple[Change, Cell], ...]:
    """The same, each with the later record's cell, or the earlier one's where there is no later."""
    placed = len(old.environments) > 1 or len(new.environments) > 1
    earlier, later = _placed(old, placed=placed), _placed(new, placed=placed)
    found = []
    for one in {**earlier, **later}:
        was, now = earlier.get(one), later.get(one)
        before, after = _outcome(was), _outcome(now)
        kind, told = kind_of(before, after), now or was
        if kind is not None and told is not None:
            found.append((Change(kind, told.key, before, after, told.sentence), told))
    return tuple(sorted(found, key=lambda pair: (sort_key(pair[0].key), pair[0].kind)))


def _outcome(cell: Cell | None) -> Outcome | None:
    return None if cell is None else cell.outcome


def _placed(run: Run, *, placed: bool) -> dict[Identity, Cell]:
    """The cells of a run, those of unlike environments apart where that is wanted."""
    places = [_place(environment) if placed else () for environment in run.environments]
    return _worst(((*identity(one.key), *places[one.environment]), one) for one in run.cells)


def by_identity(cells: Iterable[Cell]) -> dict[Identity, Cell]:
    """The cells; where several are the same one, the worst of them."""
    return _worst((identity(cell.key), cell) for cell in cells)


def _worst(cells: Iterable[tuple[Identity, Cell]]) -> dict[Identity, Cell]:
    found: dict[Identity, Cell] = {}
    for one, cell in cells:
        known = found.get(one)
        if known is None or RANKS[known.outcome] < RANKS[cell.outcome]:
            found[one] = cell
    return found


def _place(environment: Environment) -> Identity:
    return (environment.host, environment.machine, environment.kernel)


def count_kinds(found: Iterable[Change]) -> dict[ChangeKind, int]:
    """How many changes there are of each kind; every kind has an entry."""
    counts = dict.fromkeys(ChangeKind, 0)
    for change in found:
        counts[change.kind] += 1
    return counts
