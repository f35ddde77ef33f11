"""The interface of collectors of audit records, and the implementation that they share.

The absence of a record proves something only if nothing was lost. So a batch of records ends with
a *sentinel*, a record emitted after everything of interest, and is complete only if all of this
holds:

- the sentinel arrived;
- the source reported no loss: no overflow of a buffer, no damaged line, no file it missed;
- the kernel's counter of lost records stood still, where this process may read it;
- the events' serial numbers, which the kernel gives without a gap, have none. This finds what
  no counter shows: with auditd stalled and no ``audit=1`` on the kernel's command line,
  kauditd_hold_skb() (kernel/audit.c) drops records without counting them.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from probes.audit.control import audit_rules
from probes.audit.record import (
    MalformedRecordError,
    SeccompRecord,
    change_of_settings,
    is_change,
    parse,
    stamp_of,
)
from probes.audit.rules import why_excluded
from probes.errors import ExitStatus, SuiteError

_GRACE = 1.0
"""Seconds to wait for an event that was numbered before the sentinel and queued after it.

The number is given when a record is begun, its place in the queue when it is finished: another
process may lie between the two when the sentinel is emitted.
"""

MOST_CASES = 64
"""The cases that one sentinel follows, of a source that brings its record within a millisecond."""

EVERY_CASE = 10_000
"""The cases that one sentinel follows, of a source that takes seconds to bring its record."""


class CollectorUnavailableError(SuiteError):
    """A collector that cannot be used here; the sentence says what to do."""

    exit_status = ExitStatus.CANNOT_TELL


@dataclass(frozen=True, slots=True)
class Batch:
    """The records that were read in one go.

    Attributes:
        records: everything read since the last call, in order, up to and including the
            sentinel; other processes' records are among them.
        complete: whether the sentinel arrived and nothing was lost before it.
        reason: why the absence of a record in this batch proves nothing, one sentence; "" where
            the batch is complete.
        overdue: whether the sentinel was emitted and did not arrive before the deadline.
        silent: whether no event at all arrived meanwhile, of whatever process.
        damage: why something may be missing, besides that the sentinel is overdue; "" where nothing
            is known to be.
        changes: what the kernel says was changed meanwhile of what it records, each in a clause;
            it says so only while auditing is switched on, and few collectors bring it.
    """

    records: tuple[SeccompRecord, ...]
    complete: bool
    reason: str
    overdue: bool = False
    silent: bool = False
    damage: str = ""
    changes: tuple[str, ...] = ()


class Collector(Protocol):
    """A source of audit records. One process reads it, from one thread."""

    @property
    def name(self) -> str:
        """The name of the collector in reports: ``netlink``, ``auditd:FILE``."""

    @property
    def most_cases(self) -> int:
        """How many cases may leave records before one sentinel."""

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the first record that carries the sentinel's name.

        Args:
            sentinel: the ``comm`` of a record that was emitted after everything of interest.
            deadline: seconds to wait for it.
        """

    def close(self) -> None:
        """Gives back what the collector holds; a second call does nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message or line of the audit stream, of any type, or a place where some may be missing.

    Attributes:
        serial: the kernel's number of the event; None for what the kernel did not number.
        record: the SECCOMP record in it; None for other types.
        trouble: why something may be missing here, in the words of ``Batch.reason``; "" where
            nothing is.
        change: what it says was changed of what the kernel records; "" for other types.
        time: when it was, by the kernel's clock; None where that is not known.
        node: the machine, where a log names it: each numbers its own events.
    """

    serial: int | None = None
    record: SeccompRecord | None = None
    trouble: str = ""
    change: str = ""
    time: float | None = field(default=None, compare=False)
    node: str = field(default="", compare=False)


def read_event(text: str, trouble: str = "") -> Event:
    """Reads one line of the audit stream; one that cannot be read is an event with trouble.

    Args:
        text: the line, as for ``record.parse``.
        trouble: what is known to be wrong at this place already.
    """
    record, change = None, ""
    try:
        change = change_of_settings(text) if is_change(text) else ""
        record = parse(text)
    except MalformedRecordError as problem:
        trouble = trouble or str(problem)
    stamp = stamp_of(text)
    if stamp is None:
        return Event(None, record, trouble, change)
    return Event(stamp.serial, record, trouble, change, stamp.time, stamp.node)


@dataclass(slots=True)
class SerialLedger:
    """Finds gaps in the kernel's serial numbers.

    Every boot numbers its events anew, and so does every machine whose events arrive in a log as
    well. So only those count that are of the sentinel's machine and of its boot.

    Attributes:
        base: the number up to which nothing needs to be checked any more; None while unknown.
        seen: the events above it that have arrived.
    """

    base: int | None = None
    seen: set[tuple[int, float | None, str]] = field(default_factory=set)

    def add(self, event: Event) -> None:
        """Notes that an event arrived."""
        if event.serial is not None and (self.base is None or event.serial > self.base):
            self.seen.add((event.serial, event.time, event.node))

    def missing(self, last: Event) -> int:
        """How many events after the base and before this one have not arrived."""
        if self.base is None or last.serial is None or last.serial <= self.base:
            return 0
        booted = _booted_by(last.time)
        arrived = {
            serial
            for serial, at, node in self.seen
            if serial <= last.serial and node == last.node and (at is None or at >= booted)
        }
        return last.serial - self.base - len(arrived)

    def advance(self, serial: int) -> None:
        """Takes everything up to ``serial`` as checked."""
        self.base = serial
        self.seen = {one for one in self.seen if one[0] > serial}


def last_serial(events: Iterable[Event]) -> int | None:
    """The highest number of the events at a log's end, for a ledger's base.

    Args:
        events: the last events of the log, which may be of several boots.

    Returns:
        The number; None where none is known.
    """
    numbered = [(one.serial, one.time) for one in events if one.serial is not None]
    booted = _booted_by(max((at for _, at in numbered if at is not None), default=None))
    return max((serial for serial, at in numbered if at is None or at >= booted), default=None)


def _booted_by(when: float | None) -> float:
    """The time of this boot by the clock that shows ``when`` now; 0 where nothing is shown."""
    return 0.0 if when is None else when - time.clock_gettime(time.CLOCK_BOOTTIME)


class SequencedCollector(ABC):
    """A collector that puts the events of a source together into batches.

    While the ledger has no base the first batch cannot be complete: nothing tells whether its
    first event was preceded by a lost one. Its sentinel is the base of the next batch.

    Attributes:
        most_cases: how many cases may leave records before one sentinel.
    """

    most_cases: int = MOST_CASES

    def __init__(self, name: str, lost: Callable[[], int | None], ledger: SerialLedger) -> None:
        """Starts with the events that arrive from now on.

        Args:
            name: what reports call the collector.
            lost: reads the kernel's counter of lost records; None where it may not be read.
            ledger: what is known of the events before.
        """
        self._name = name
        self._lost = lost
        self._lost_before = lost()
        self._ledger = ledger
        self._events: list[Event] = []
        self._lost_lately = ""
        self._heard = False
        self._arrived = 0

    @property
    def name(self) -> str:
        """The name of the collector in reports."""
        return self._name

    @abstractmethod
    def close(self) -> None:
        """Gives back what the collector holds; a second call does nothing."""

    @abstractmethod
    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads what is there; waits up to ``timeout`` seconds where nothing is."""

    @abstractmethod
    def _silence(self) -> str:
        """Why nothing arrives, in one clause that follows a colon."""

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the sentinel's record, and says whether a record may be missing before it."""
        end = time.monotonic() + deadline
        self._arrived = 0
        scanned = 0
        place: int | None = None
        patience = end
        timeout = 0.0
        while True:
            self._note(self._read(timeout))
            now = time.monotonic()
            if place is None:
                place = _find(self._events, sentinel, scanned)
                scanned = len(self._events)
                patience = end if place is None else min(end, now + _GRACE)
            if now >= patience or (place is not None and not self._missing(place)):
                break
            timeout = patience - now
        return self._batch(place, sentinel, deadline)

    def _note(self, events: tuple[Event, ...]) -> None:
        """Keeps what was read."""
        for event in events:
            if event.serial is not None:
                self._ledger.add(event)
                self._heard = True
                self._arrived += 1
        self._events.extend(events)

    def _missing(self, place: int) -> int:
        """How many events are missing before the one at ``place``."""
        return self._ledger.missing(self._events[place])

    def _batch(self, place: int | None, sentinel: str, deadline: float) -> Batch:
        """Cuts the batch off the events that were read."""
        gap = "" if place is None else self._gap(place)
        taken = self._take(place)
        records = tuple(event.record for event in taken if event.record is not None)
        trouble = next((event.trouble for event in taken if event.trouble), "")
        lost = self._newly_lost()
        late = "" if place is not None else self._late(sentinel, deadline, len(records))
        # Where nothing ever arrives, that comes before what others may have lost.
        silence = "" if self._heard else late
        damage = trouble or lost or self._lost_lately
        reason = trouble or silence or damage or gap or late
        # The counter does not say on which side of the sentinel the loss lies.
        self._lost_lately = lost
        return Batch(
            *(records, not reason, reason),
            overdue=place is None,
            silent=not self._arrived,
            damage=damage,
            changes=tuple(event.change for event in taken if event.change),
        )

    def _gap(self, place: int) -> str:
        """Why events before the one at ``place`` may be missing, by their serial numbers."""
        if self._ledger.base is None:
            return (
                f"This is the first sentinel by {self._name}, so nothing shows whether an event "
                "before it was lost: emit another one."
            )
        missing = self._missing(place)
        if not missing:
            return ""
        return f"{missing} audit event(s) before the sentinel never reached {self._name}."

    def _take(self, place: int | None) -> list[Event]:
        """Takes the events of the batch, and leaves those of the next one."""
        if place is None:
            taken, self._events = self._events, []
            return taken
        end = self._events[place]
        serial = end.serial or 0  # a record has one
        after = self._events[place + 1 :]
        overtaken = [event for event in after if _precedes(event, serial)]
        taken = [*self._events[:place], *overtaken, end]
        self._events = [event for event in after if not _precedes(event, serial)]
        self._ledger.advance(serial)
        return taken

    def _newly_lost(self) -> str:
        """Why records since the last batch may be lost, by the kernel's counter of lost records."""
        if self._lost_before is None:
            return ""
        before, self._lost_before = self._lost_before, self._lost()
        if self._lost_before is None:
            self._lost_before = before  # every batch is incomplete until it can be read again
            return "The kernel's counter of lost audit records could be read before, but not now."
        if self._lost_before == before:
            return ""
        return why_lost(self._lost_before - before)

    def _late(self, sentinel: str, deadline: float, others: int) -> str:
        """The sentence for a sentinel that did not arrive."""
        sentence = (
            f"The sentinel record {sentinel!r} did not arrive by {self._name} within {deadline:g} s"
        )
        if others:
            return f"{sentence}, though {others} other SECCOMP record(s) did."
        if self._arrived:
            why = self._silence().rstrip(".")
            return f"{sentence} ({why}), though other audit events did: was it emitted?"
        if self._heard:
            return (
                f"{sentence}, nor did any other event, though earlier ones did: {self._silence()}"
            )
        return f"{sentence}: {self._silence()}"


def _find(events: list[Event], sentinel: str, start: int) -> int | None:
    """The place of the first record that carries the sentinel's name."""
    for place in range(start, len(events)):
        record = events[place].record
        if record is not None and record.comm == sentinel:
            return place
    return None


def _precedes(event: Event, serial: int) -> bool:
    """Whether the event was numbered before ``serial``."""
    return event.serial is not None and event.serial < serial


def why_lost(count: int) -> str:
    """The sentence about records that the kernel counted as lost.

    Args:
        count: the difference of its counter, which has 32 bits.
    """
    return (
        f"The kernel lost {count & 0xFFFFFFFF} audit record(s): raise backlog_limit (auditctl -b), "
        "lift rate_limit (auditctl -r 0), and where the kernel was booted with audit=1 have "
        "auditd running."
    )


def why_unwritten(root: Path = Path("/")) -> str:
    """Why the kernel writes no SECCOMP record, whoever reads them, as far as files can tell.

    Args:
        root: the directory that holds ``proc``.

    Returns:
        One clause that says what to do; "" where the files give no reason.
    """
    return why_not_built(root) or why_switched_off(root) or _not_logged(root) or excluded()


def why_silent(root: Path = Path("/")) -> str:
    """Why no SECCOMP record arrives from the kernel's multicast group, as far as files can tell.

    Args:
        root: the directory that holds ``proc``.

    Returns:
        One clause that says what to do; a possibility where the files give no reason.
    """
    unwritten = why_unwritten(root)
    if unwritten:
        return unwritten
    if elsewhere := why_elsewhere(root):
        return elsewhere
    rule = "an audit rule may exclude the type SECCOMP (see auditctl -l)."
    if _in_initial_network(root):
        return rule
    return (
        "the network namespace may not be the initial one, the only one in which records arrive "
        f"(share the host's), or {rule}"
    )


def why_elsewhere(root: Path = Path("/")) -> str:
    """Why no record reaches this process from the kernel's multicast group, by its namespaces.

    Args:
        root: the directory that holds ``proc``.

    Returns:
        One clause that says what to do; "" where the namespace is the right one or nothing tells.
    """
    if _in_initial_network(root) is not False:
        return ""
    return (
        "this process is not in the initial network namespace, the only one in which records "
        "arrive; run the suite there (a container: with the host's network)."
    )


def why_not_built(root: Path) -> str:
    """The finding about the kernel's own symbols.

    The function that writes these records is of the part that audits calls, which some kernels with
    auditing lack, such as Debian's of mips64el.
    """
    text = _read_text(root / "proc/kallsyms") or ""
    if " audit_log_start\n" not in text or " audit_seccomp\n" in text:
        return ""
    return (
        "this kernel was built without CONFIG_AUDITSYSCALL and writes no SECCOMP record; run the "
        "suite on one that was built with it."
    )


def why_switched_off(root: Path) -> str:
    """The finding about the kernel's command line."""
    text = _read_text(root / "proc/cmdline")
    words = [] if text is None else text.split()
    if "--" in words:
        # What follows is for the first process.
        words = words[: words.index("--")]
    for word in words:
        if word in {"audit=0", "audit=off"}:
            return f"the kernel was booted with {word}; boot it without."
    return ""


def _not_logged(root: Path) -> str:
    """The finding about the actions whose records the profiles ask for."""
    reason = why_unlogged(("kill_process", "log"), root)
    return f"{reason}." if reason else ""


def why_unlogged(actions: Sequence[str], root: Path = Path("/")) -> str:
    """Why the kernel writes no record for an action, by kernel.seccomp.actions_logged (seccomp(2)).

    Args:
        actions: as the sysctl names them.
        root: the directory that holds ``proc``.

    Returns:
        One clause with the command that mends it; "" where all are there, or nothing is known.
    """
    text = _read_text(root / "proc/sys/kernel/seccomp/actions_logged")
    logged = actions if text is None else text.split()
    lacking = [action for action in actions if action not in logged]
    if not lacking:
        return ""
    every = " ".join([*lacking, *logged])
    return (
        f"kernel.seccomp.actions_logged lacks {' and '.join(lacking)}: "
        f"sysctl -w kernel.seccomp.actions_logged='{every}'"
    )


def excluded() -> str:
    """The audit rules that keep SECCOMP records from being written, if they can be listed.

    Returns:
        One clause with the command that removes them; "" where there is none, or nothing is known.
    """
    return why_excluded(audit_rules() or ())


def _in_initial_network(root: Path) -> bool | None:
    """Whether this process is in the initial network namespace; None where nothing tells.

    The kernel's own threads are in it; they can be seen in the initial pid namespace only.
    Process 1 is the host's there; in a container it usually shares this process's namespace, so
    only a difference says anything.
    """
    own = _link(root / "proc/self/ns/net")
    if own is None:
        return None
    if _read_text(root / "proc/2/comm") == "kthreadd\n":
        kernel = _link(root / "proc/2/ns/net")
        if kernel is not None:
            return own == kernel
    first = _link(root / "proc/1/ns/net")
    return False if first is not None and own != first else None


def _read_text(path: Path) -> str | None:
    """A small file's text; None where it is missing or may not be read: no finding then."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _link(path: Path) -> str | None:
    """A symbolic link's target; None where it is missing or may not be read."""
    try:
        return str(path.readlink())
    except OSError:
        return None
