"""Reads the filters of several processes that belong together, until none comes or goes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from probes.errors import BadInputError
from probes.instrument import harvest
from probes.instrument.harvest import Harvest

_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Harvests:
    """The filters of several processes.

    Attributes:
        processes: each process that was alive.
        settled: whether none of them, and none of their threads, came or went while they were read.
    """

    processes: tuple[Harvest, ...]
    settled: bool


def filters_of_all(listed: Callable[[], Sequence[int]]) -> Harvests:
    """Reads the filters of processes; at most ``harvest.MOST_READINGS`` times.

    Args:
        listed: gives the processes that belong together now, by our pids.

    Raises:
        BadInputError: this user may not read one of them.
        InstrumentError: this kernel does not tell, or a process cannot be stopped in time.
    """
    found: tuple[Harvest, ...] = ()
    trouble: BadInputError | None = None
    for _ in range(harvest.MOST_READINGS):
        pids = list(listed())
        try:
            found, trouble = _read(pids), None
        except BadInputError as error:  # perhaps it was just starting another program
            trouble = error
        if trouble is None and list(listed()) == pids:
            return Harvests(found, all(one.settled for one in found))
        time.sleep(_PAUSE_SECONDS)
    if trouble is not None:
        raise trouble
    return Harvests(found, settled=False)


def _read(pids: Sequence[int]) -> tuple[Harvest, ...]:
    return tuple(one for pid in pids if (one := _alive(pid)) is not None)


def _alive(pid: int) -> Harvest | None:
    """The filters of a process; None if it has ended, and so confines nobody."""
    try:
        return harvest.filters_of(pid)
    except BadInputError:
        if harvest.is_alive(pid):
            raise
        return None
