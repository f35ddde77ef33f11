"""What was seen of a workload: its watched calls, counted. No I/O."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from probes.observe.caller import Caller, Process
from probes.observe.listener import Notification
from probes.observe.watch import Kind, Watch, Watched

ARGUMENTS_KEPT: Final = 8
"""Distinct argument lists that are kept of a row, the first ones."""
SITES_SOUGHT: Final = 64
"""Addresses of a row that are looked up at most: an address means another place in each process."""


@dataclass(frozen=True, slots=True)
class TallyKey:
    """The properties that the calls of one row share.

    Attributes:
        kind: what the call is to the platform.
        abi: the ABI's name.
        number: the call's number.
        name: its name; the number where no table knows it.
        comm: the calling thread's name.
        executable: the caller's program.
    """

    kind: Kind
    abi: str
    number: int
    name: str
    comm: str
    executable: str


@dataclass(slots=True)
class TallyRow:
    """The calls of one key.

    Attributes:
        first: when the first came, in nanoseconds after the start.
        gives: of a sibling, the documented calls whose power it has.
        count: how many there were.
        cut_short: how many of them did not run, for their caller was ended or interrupted first.
        processes: how many each process made.
        arguments: the first distinct argument lists, and how often each came.
        sites: how often each known place in the code was called from.
        sought: how many addresses were looked up.
        last: when the last came, in nanoseconds after the start.
    """

    first: int
    gives: tuple[str, ...] = ()
    count: int = 0
    cut_short: int = 0
    processes: Counter[Process] = field(default_factory=Counter)
    arguments: Counter[tuple[int, ...]] = field(default_factory=Counter)
    sites: Counter[str] = field(default_factory=Counter)
    sought: int = 0
    last: int = 0


class Tally:
    """Counts notifications.

    Attributes:
        rows: the counts.
        repeats: calls that came again because a signal had interrupted them.
    """

    def __init__(self, watched: Watch) -> None:
        """Has counted none yet."""
        self.rows: dict[TallyKey, TallyRow] = {}
        self.repeats = 0
        self._watched = watched
        self._interrupted: dict[tuple[int, Process], tuple[Notification, TallyRow]] = {}
        self._sites: dict[tuple[Process, str, int], str] = {}

    def take(
        self,
        seen: Notification,
        caller: Caller,
        nanoseconds: int,
        site: Callable[[int, int], str],
    ) -> TallyRow:
        """Counts a call.

        A signal that comes while a call waits for its answer makes the kernel start the call
        again: from Linux 5.19 on only before it was received, on older kernels also after.
        That is one call.

        Args:
            seen: the call.
            caller: who made it.
            nanoseconds: when, after the start.
            site: tells the place of an address in a thread's process.

        Returns:
            The row that it belongs to.
        """
        repeated = self._repeated(seen, caller) if self._interrupted else None
        if repeated is not None:
            self.repeats += 1
            repeated.cut_short -= 1
            return repeated
        watched = self._watched.recognize(seen.token, seen.number, seen.args)
        key = self._key(watched, seen, caller)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = TallyRow(nanoseconds, watched.gives if watched else ())
        row.last = nanoseconds
        row.count += 1
        row.processes[caller.process] += 1
        if seen.args in row.arguments or len(row.arguments) < ARGUMENTS_KEPT:
            row.arguments[seen.args] += 1
        place = (caller.process, caller.executable, seen.pointer)
        known = self._sites.get(place)
        if known is None and row.sought < SITES_SOUGHT:
            row.sought += 1
            known = self._sites[place] = site(seen.tid, seen.pointer)
        if known is not None:
            row.sites[known] += 1
        return row

    def interrupted(self, row: TallyRow, seen: Notification, caller: Caller) -> None:
        """Notes that a call's caller did not wait for the answer."""
        row.cut_short += 1
        self._interrupted[seen.tid, caller.process] = (seen, row)

    def _repeated(self, seen: Notification, caller: Caller) -> TallyRow | None:
        """The row in which a call has been counted, if this is the same that starts again."""
        before, row = self._interrupted.pop((seen.tid, caller.process), (None, None))
        return row if before is not None and _essence(before) == _essence(seen) else None

    def _key(self, watched: Watched | None, seen: Notification, caller: Caller) -> TallyKey:
        if watched is not None:
            kind, abi, name = watched.kind, watched.arch.name, watched.name
        else:
            kind, name = Kind.UNKNOWN, f"{seen.number:#x}"
            abi = self._watched.abi_of(seen.token, seen.number)
        return TallyKey(kind, abi, seen.number, name, caller.comm, caller.executable)


def _essence(seen: Notification) -> tuple[int, int, int, tuple[int, ...]]:
    return seen.token, seen.number, seen.pointer, seen.args
