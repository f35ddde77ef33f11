"""The audit trail of a run: which source of records works here, and what is read from it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from probes.action import Action, Profile
from probes.arch import Arch
from probes.audit import source
from probes.audit.auditbeat import AuditbeatCollector
from probes.audit.auditd import AuditdCollector
from probes.audit.auditd_settings import LOG as AUDITD_LOG
from probes.audit.collector import (
    MOST_CASES,
    Batch,
    Collector,
    CollectorUnavailableError,
    why_unlogged,
    why_unwritten,
)
from probes.audit.journald import JournalCollector
from probes.audit.kmsg import KmsgCollector
from probes.audit.laurel import LaurelCollector
from probes.audit.netlink import NetlinkCollector
from probes.audit.osquery import OsqueryCollector
from probes.audit.record import SeccompRecord
from probes.audit.source import RecordSource, SourceKind
from probes.instrument import witness
from probes.instrument.calls import Call, Request, Zygote

CANARIES: Final = 3
"""The number of canaries; a log without an earlier record of the kernel misses the first one."""

CANARY_DEADLINE_SECONDS: Final = 2.0
"""Seconds to wait for a canary's record before the source counts as not working."""

RECORD_DEADLINE_SECONDS: Final = 10.0
"""The seconds that a record may take to arrive; it takes about a millisecond."""

SILENT_SECONDS: Final = 1.0
"""The seconds to wait for a record, once an earlier one has not arrived."""

_FIRST_SHARE: Final = 0.2
"""The share of a deadline after which a sentinel is made once more."""

MOST_OVERDUE: Final = 3
"""The sentinels in a row that may be missing, while other events arrive, before all is given up."""


@dataclass(slots=True)
class AuditTrail:
    """The source of a run's audit records.

    A source that falls silent is given up for the rest of the run: it costs one deadline, and not
    one for every case.

    Attributes:
        collector: what reads them; None where nothing does.
        reason: why this source was chosen, or why there is none and what would help.
        lost: why nothing is read from it any more; "" while it is read.
        overdue: the sentinels in a row that have not arrived.
        pids_agree: whether a record has shown that the zygote's process ids are those of records.
    """

    collector: Collector | None
    reason: str
    lost: str = ""
    overdue: int = 0
    pids_agree: bool = False

    def read(self, zygote: Zygote, sentinel: "Sentinel") -> Batch | None:
        """Everything that was recorded until now; None where nothing is read, or not any more.

        Args:
            zygote: the process that makes the sentinel's call.
            sentinel: the call.
        """
        if self.collector is None or self.lost:
            return None
        deadline = SILENT_SECONDS if self.overdue else RECORD_DEADLINE_SECONDS
        batch = _read_twice(zygote, self.collector, deadline, sentinel)
        self.pids_agree = self.pids_agree or _pids_agree(batch.records, zygote)
        if self.pids_agree:
            batch = replace(batch, records=tuple(_without_imitations(batch.records, zygote)))
        self.overdue = self.overdue + 1 if batch.overdue else 0
        if batch.overdue and (batch.silent or self.overdue == MOST_OVERDUE):
            self.lost = f"records stopped arriving in the course of this run: {batch.reason}"
        return batch

    def why_unlogged(self, action: Action) -> str:
        """Why the kernel writes no record for an action now; "" where nothing says so."""
        return why_unlogged((action.name.lower(),)) if self.collector else ""

    def why_unwritten(self) -> str:
        """Why the kernel writes no record at all now, not even a sentinel's; "" if nothing says."""
        return why_unwritten() if self.collector else ""

    @property
    def most_cases(self) -> int:
        """How many cases may be followed by one sentinel."""
        return self.collector.most_cases if self.collector else MOST_CASES

    @property
    def source(self) -> str:
        """The collector's name, as reports show it."""
        return self.collector.name if self.collector else "none"


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A call that leaves a record for sure, made last: once its record arrives, all others have.

    Attributes:
        native: the kernel's own ABI, by which the call enters.
        number: the call's number; no filter but the one that records it restricts it.
    """

    native: Arch
    number: int


def open_trail(wanted: RecordSource, zygote: Zygote, sentinel: Sentinel) -> AuditTrail:
    """Opens a source of audit records and sees whether a canary's record arrives.

    Args:
        wanted: the value of ``--audit-source``.
        zygote: the process that emits the canary.
        sentinel: the canary's call.

    Returns:
        The trail; without a collector where none works, with the reason.
    """
    if wanted.kind is SourceKind.NONE:
        return AuditTrail(None, "records were not asked for (--audit-source none)")
    if wanted.kind is not SourceKind.BEST:
        return _tried(wanted, zygote, sentinel)
    reasons: list[str] = []
    for candidate in _candidates():
        trail = _tried(candidate, zygote, sentinel)
        if trail.collector is not None:
            return trail
        reasons.append(trail.reason)
    return AuditTrail(None, "; ".join(reasons))


def _candidates() -> list[RecordSource]:
    """The sources to try, the best one first."""
    found = [source.NETLINK]
    if os.path.lexists(AUDITD_LOG):  # unlike Path.exists() it refuses nobody
        found.append(RecordSource(SourceKind.AUDITD, str(AUDITD_LOG)))
    return found


def _tried(wanted: RecordSource, zygote: Zygote, sentinel: Sentinel) -> AuditTrail:
    """One source, with its collector if a canary's record arrived there."""
    try:
        collector = opened(wanted, zygote, sentinel)
    except CollectorUnavailableError as error:
        return AuditTrail(None, str(error))
    reason = ""
    try:
        for _ in range(CANARIES):
            name = zygote.nonce()
            batch = emit_and_read(zygote, collector, CANARY_DEADLINE_SECONDS, sentinel, name)
            if batch.complete:
                lacking = why_unlogged(["kill_process"])
                agree = _pids_agree(batch.records, zygote)
                why = lacking or "a canary's record arrived"
                return AuditTrail(collector, why, pids_agree=agree)
            reason = batch.reason
    except CollectorUnavailableError as error:
        reason = str(error)
    collector.close()
    return AuditTrail(None, reason)


def opened(wanted: RecordSource, zygote: Zygote, sentinel: Sentinel) -> Collector:
    """Opens a source.

    Args:
        wanted: the source.
        zygote: the process that causes events where the source needs some to go on.
        sentinel: the call that does so.

    Raises:
        CollectorUnavailableError: it cannot be used here.
    """
    return _openers(wanted, lambda: _push(zygote, sentinel))[wanted.kind]()


def _openers(
    wanted: RecordSource, push: Callable[[], None]
) -> dict[SourceKind, Callable[[], Collector]]:
    """How a source of each kind is opened; ``push`` causes an event."""
    path = Path(wanted.argument)
    return {
        SourceKind.NETLINK: NetlinkCollector,
        SourceKind.AUDITD: lambda: AuditdCollector(path),
        SourceKind.LAUREL: lambda: LaurelCollector(path, push),
        SourceKind.JOURNAL: JournalCollector,
        SourceKind.OSQUERY: lambda: OsqueryCollector(path),
        SourceKind.AUDITBEAT: lambda: AuditbeatCollector(path),
        SourceKind.DESCRIPTOR: lambda: NetlinkCollector(fileno=int(wanted.argument)),
        SourceKind.KMSG: KmsgCollector,
    }


def _read_twice(zygote: Zygote, collector: Collector, deadline: float, sentinel: Sentinel) -> Batch:
    """Reads up to a sentinel, and up to another one where its record does not come soon.

    What keeps the kernel from writing the record for a moment, such as an action that
    kernel.seccomp.actions_logged lacks, is no reason to give up the source.

    Args:
        zygote: the process that makes the sentinel's call.
        collector: what reads.
        deadline: seconds to wait for both.
        sentinel: the call.
    """
    name, end = zygote.nonce(), time.monotonic() + deadline
    first = emit_and_read(zygote, collector, deadline * _FIRST_SHARE, sentinel, name)
    left = end - time.monotonic()
    if not first.overdue or left <= 0:
        return first
    second = emit_and_read(zygote, collector, left, sentinel, zygote.nonce())
    came_late = any(one.comm == name for one in second.records)
    unwritten = "" if came_late else f"{name!r} left no record, though a later sentinel did"
    reason = first.damage or second.reason or unwritten
    return Batch(
        (*first.records, *second.records),
        not reason,
        reason,
        overdue=second.overdue,
        silent=first.silent and second.silent,
        damage=first.damage or second.damage,
        changes=(*first.changes, *second.changes),
    )


def emit_and_read(
    zygote: Zygote, collector: Collector, deadline: float, sentinel: Sentinel, name: str
) -> Batch:
    """Has a sentinel recorded, and reads everything that was recorded before it.

    Args:
        zygote: the process that makes the sentinel's call.
        collector: what reads.
        deadline: seconds to wait for the sentinel's record.
        sentinel: the call.
        name: the name of the sentinel's child, which no other has.
    """
    if fault := emit(zygote, sentinel, name):
        reason = f"the sentinel, whose record would come last, cannot be emitted: {fault}"
        return Batch((), complete=False, reason=reason)
    return collector.read_until(name, deadline)


def _pids_agree(records: Iterable[SeccompRecord], zygote: Zygote) -> bool:
    """Whether the zygote knows processes by the numbers that they have in records.

    Records have those of the initial pid namespace, and a zygote in a container sees others.
    """
    return any(one.pid in zygote.callers(one.comm) for one in records)


def _without_imitations(
    records: Iterable[SeccompRecord], zygote: Zygote
) -> Iterator[SeccompRecord]:
    """Leaves out the records of other processes that took the name of one of the zygote's."""
    for record in records:
        callers = zygote.callers(record.comm)
        if not callers or record.pid in callers:
            yield record


def _push(zygote: Zygote, sentinel: Sentinel) -> None:
    """Has any event recorded; where that fails, the sentinel does not arrive, which is told."""
    emit(zygote, sentinel, zygote.nonce())


def emit(zygote: Zygote, sentinel: Sentinel, name: str) -> str:
    """Has a sentinel of that name recorded, and returns why it cannot be; "" where it can."""
    native, number = sentinel.native, sentinel.number
    raw = witness.marker(native, number, Profile.LOG.returns.value)
    request = Request(native.entry.name.lower(), (Call(number),), (raw,), name, runs=False)
    return zygote.run([request])[0][0].fault
