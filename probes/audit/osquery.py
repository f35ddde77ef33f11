"""SECCOMP records from the results log of osquery, which stands in auditd's place.

osquery takes the records from the kernel as auditd does, keeps them in its table
``seccomp_events``, and a scheduled query writes them to the log, once every interval. A row has no
serial number, so a gap between two of them cannot be seen. Whether something was lost is told by
the numbers of the sets of results, by the kernel's counter of lost records, and by the process to
which the kernel hands its records.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from probes.audit import taker
from probes.audit.collector import (
    EVERY_CASE,
    Batch,
    CollectorUnavailableError,
    Event,
    SerialLedger,
    why_unwritten,
)
from probes.audit.log_file import LogCollector, open_at_end
from probes.audit.osquery_row import QUERY, MalformedResultError, ResultLine, read_line

_SETTLING = 0.1
"""Seconds without a further line after which a set of results is complete."""
_LONGEST_SETTLING = 2.0
_LEAST_PATIENCE = 15.0
"""Seconds to wait for a sentinel at least: results come once an interval of the schedule."""

_UNREADABLE: Final = (
    "The results log {path} cannot be read ({problem}): have osqueryd "
    "running with the filesystem logger, name osqueryd.results.log in its "
    "--logger_path, and run as root."
)


class OsqueryCollector(LogCollector):
    """Follows osquery's results log from its current end.

    A loss shows in the numbers of a query's sets of results, in the kernel's counter, as another
    process that takes the records, and as a file that was cut or is not among the rotated ones. A
    row that osquery drops out of a set does not show.
    """

    most_cases = EVERY_CASE
    keep_more = "let osquery rotate later (--logger_rotate_size), for it compresses all but one"

    def __init__(
        self, path: Path, *, root: Path = Path("/"), patience: float = _LEAST_PATIENCE
    ) -> None:
        """Opens the log.

        Args:
            path: ``osqueryd.results.log`` in osquery's ``--logger_path``.
            root: the directory that holds ``proc``, for the diagnosis of silence.
            patience: the seconds to wait for a sentinel at least.

        Raises:
            CollectorUnavailableError: the log cannot be read, or has snapshots.
        """
        file, tail = open_at_end(path, _UNREADABLE)
        self._root = root
        self._patience = patience
        self._counters: dict[str, tuple[str, int | None]] = {}
        super().__init__(f"osquery:{path}", path, file, SerialLedger(base=0))
        self._taker = self._taking()
        last = tail.splitlines()[-1:]
        if any(event.trouble == self._snapshots() for event in self._parsed(last)):
            self.close()
            raise CollectorUnavailableError(self._snapshots())

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the sentinel's record, waiting for more than one run of the query."""
        return self._read_patiently(sentinel, deadline, self._patience)

    def _note(self, events: tuple[Event, ...]) -> None:
        """Keeps what was read; what is heard has no serial number here."""
        self._arrived += sum(event.record is not None for event in events)
        self._heard = self._heard or self._arrived > 0
        super()._note(events)

    def _take(self, place: int | None) -> list[Event]:
        """Takes all events: rows of one set of results may stand in any order."""
        del place
        taken, self._events = self._events, []
        return taken

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads the sets of results that were added, each whole."""
        events = super()._read(timeout)
        begun = quiet = time.monotonic()
        while events and (now := time.monotonic()) < min(
            quiet + _SETTLING, begun + _LONGEST_SETTLING
        ):
            more = super()._read(_SETTLING)
            quiet = now if more else quiet
            events += more
        return (*events, *self._replaced())

    def _events_of(self, line: str) -> Iterator[Event]:
        """What a line of the log says."""
        try:
            found = read_line(line)
        except MalformedResultError as problem:
            yield Event(trouble=str(problem))
            return
        if found is None:
            return
        if found.snapshot:
            yield Event(trouble=self._snapshots())
            return
        yield Event(trouble=self._skipped(found))
        yield from (Event(record=record) for record in found.records)

    def _snapshots(self) -> str:
        """Why a snapshot is no source."""
        return (
            f"{self._path} has snapshots, which repeat old records and may leave out new ones: "
            "name osqueryd.results.log, and schedule the query without snapshot."
        )

    def _skipped(self, line: ResultLine) -> str:
        """Why results before this line are missing, by the numbers of a query's results."""
        if line.counter is None:
            return ""
        epoch, before = self._counters.get(line.query, (line.epoch, None))
        self._counters[line.query] = line.epoch, line.counter
        if epoch == line.epoch and (before is None or before <= line.counter <= before + 1):
            return ""
        if before is None or epoch != line.epoch or line.counter < before:
            return (
                f"osquery began to count the results of {line.query!r} anew: it was started again "
                "or its query was changed, and records of the time between may be missing."
            )
        return (
            f"{line.counter - before - 1} set(s) of results of osquery's query {line.query!r} "
            f"never reached {self._path}."
        )

    def _taking(self) -> int | None:
        """The process to which the kernel hands its records; None where that may not be asked."""
        status = self._control.status()
        return status.pid if status is not None else None

    def _replaced(self) -> Iterator[Event]:
        """Why records may be missing, by the process to which the kernel hands them."""
        before, self._taker = self._taker, self._taking()
        if before is not None and self._taker not in {None, before}:
            text = (
                f"The kernel handed its audit records to process {before} and hands them to "
                f"{self._taker or 'nobody'} now: osqueryd was restarted, or auditd runs beside it."
            )
            yield Event(trouble=text)

    def _silence(self) -> str:
        """Why nothing is added to the log."""
        if not self._taker and self._taker is not None:
            return (
                "no osqueryd takes records from the kernel (auditctl -s shows pid 0): start it "
                "with --disable_audit=false --audit_allow_seccomp_events, and without auditd."
            )
        taken = taker.why_taken(self._taker or 0, "osqueryd", self._root)
        return (
            why_unwritten(self._root)
            or taken
            or (
                f"osquery's schedule may lack {QUERY!r} with an interval of a few seconds, "
                "auditd may take the records instead of it, or an audit rule may exclude the type "
                "SECCOMP (see auditctl -l)."
            )
        )
