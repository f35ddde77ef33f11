"""SECCOMP records from the log that auditd writes; see auditd(8) and auditd.conf(5)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from probes.audit import auditd_settings, taker
from probes.audit.collector import (
    Event,
    SerialLedger,
    last_serial,
    read_event,
    why_unwritten,
)
from probes.audit.log_file import LogCollector, open_at_end, text

_UNREADABLE: Final = (
    "The audit log {path} cannot be read ({problem}): have auditd running, "
    "name the log_file of its auditd.conf, and run as root or in its log_group."
)


class AuditdCollector(LogCollector):
    """Follows an audit log from its current end.

    A loss shows as a gap in the serial numbers, in the kernel's counter of lost records, as a line
    that cannot be read, and as a file that was cut or is not among the rotated ones.
    """

    keep_more = "let auditd keep more of them (num_logs, max_log_file)"

    def __init__(self, path: Path, *, root: Path = Path("/")) -> None:
        """Opens the log.

        Args:
            path: the ``log_file`` of auditd.conf.
            root: the directory that holds ``proc``, for the diagnosis of silence.

        Raises:
            CollectorUnavailableError: the log cannot be read.
        """
        file, tail = open_at_end(path, _UNREADABLE)
        ledger = SerialLedger(_last_serial(tail))
        self._root = root
        super().__init__(f"auditd:{path}", path, file, ledger)

    def _events_of(self, line: str) -> Iterable[Event]:
        """The event of one line."""
        return (read_event(line),)

    def _silence(self) -> str:
        """Why nothing is added to the log."""
        status = self._control.status()
        if status is not None and not status.pid:
            return "no auditd takes records from the kernel (auditctl -s shows pid 0); start it."
        if not self._path.exists():
            return "the log was deleted; restart auditd."
        taken = status is not None and taker.why_taken(status.pid, "auditd", self._root)
        return (
            why_unwritten(self._root)
            or taken
            or auditd_settings.why_not_in(self._path, self._root)
            or _PERHAPS
        )


_PERHAPS: Final = (
    "auditd may write another log (log_file in auditd.conf) or have suspended logging, or an audit "
    "rule may exclude the type SECCOMP (see auditctl -l)."
)


def _last_serial(tail: bytes) -> int | None:
    """The highest number of an event in the log's last lines: auditd was there for it.

    None where there is no such line, as in a new log. auditd swallows the first record that
    reaches it within 0.1 s of its start (audit_set_pid() of libaudit), so there is no telling
    what came before the first record in a log.
    """
    return last_serial(read_event(text(line)) for line in tail.split(b"\n"))
