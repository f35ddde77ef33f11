"""SECCOMP records from the log that laurel writes, a plug-in of auditd: one event a line, in JSON.

See laurel(8). All of this was seen with 0.5.1, 0.7.1 and 0.8.2. An event's ``ID`` has the kernel's
time and serial number, and ``SECCOMP`` is a list of records, whose numbers are as in the kernel's
text: ``arch``, ``ip`` and ``code`` hexadecimal strings, the others numbers. Translated values stand
under names of their own, which begin with a capital. Lines are not in the order of the serial
numbers. Text is escaped as in URLs.

laurel takes any event for one whose other records are yet to come, unless a user sent it. It
writes such an event when a record says that it is whole, which the kernel sends only along with a
SYSCALL record, or when another one arrives whose own time is 5 seconds later. So the last record on
a quiet machine is never written, and has to be followed by another one.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from probes.audit import laurel_settings, taker
from probes.audit.collector import (
    EVERY_CASE,
    Batch,
    Event,
    SerialLedger,
    last_serial,
    why_unwritten,
)
from probes.audit.log_file import LogCollector, open_at_end, text
from probes.audit.record import MalformedRecordError, SeccompRecord

PENDING_SECONDS: Final = 5.2
"""Seconds after which another event has laurel write a record; what it waits, and a little."""

AGAIN_SECONDS: Final = 1.1
"""Seconds until the next one: once a second laurel looks through what it holds back."""

_ID = re.compile(r"(?P<timestamp>\d+\.\d{3}):(?P<serial>\d+)")
_ONES_OWN = "DAEMON_"
"""How the types of records begin that auditd writes about itself and numbers on its own."""

_UNREADABLE: Final = (
    "The log {path} of laurel cannot be read ({problem}): have auditd run "
    "laurel as its plug-in, name the file of [auditlog] in the directory of its "
    "configuration, and run as root or as one of its read-users; laurel creates the "
    "log when the first event is whole."
)


class LaurelCollector(LogCollector):
    """Follows laurel's log from its current end.

    A loss shows as in auditd's log: a record that laurel drops leaves a gap in the serial numbers.
    """

    most_cases = EVERY_CASE
    keep_more = "let laurel keep more of them (generations and size of [auditlog])"

    def __init__(self, path: Path, push: Callable[[], None], *, root: Path = Path("/")) -> None:
        """Opens the log.

        Args:
            path: the ``file`` of the ``directory`` of laurel's configuration.
            push: causes any event, so that laurel writes what it holds back.
            root: the directory that holds ``proc``, for the diagnosis of silence.

        Raises:
            CollectorUnavailableError: the log cannot be read.
        """
        file, tail = open_at_end(path, _UNREADABLE)
        ledger = SerialLedger(_last_serial(tail))
        self._root = root
        self._push = push
        self._due = 0.0
        super().__init__(f"laurel:{path}", path, file, ledger)

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the sentinel's record, which laurel holds back until another one comes."""
        self._due = time.monotonic() + PENDING_SECONDS
        return super().read_until(sentinel, deadline + PENDING_SECONDS)

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads the events that were added, and has those added that are held back."""
        now = time.monotonic()
        if now >= self._due:
            self._push()
            self._due = now + AGAIN_SECONDS
        return super()._read(timeout)

    def _events_of(self, line: str) -> Iterable[Event]:
        """The records of one line, or the number of an event without any."""
        return events(line)

    def _silence(self) -> str:
        """Why nothing is added to the log."""
        status = self._control.status()
        if status is not None and not status.pid:
            return "laurel gets records from auditd, and none runs (auditctl -s shows pid 0)."
        if not self._path.exists():
            return "the log was deleted; restart auditd, which starts laurel."
        taken = status is not None and taker.why_taken(status.pid, "auditd", self._root)
        return (
            why_unwritten(self._root)
            or taken
            or laurel_settings.why_not_in(self._path, self._root)
            or _PERHAPS
        )


_PERHAPS: Final = (
    "laurel may not run (see its file in auditd's plugins.d), may write another file, or leave "
    "these events out ([filter] of its configuration)."
)


def events(line: str) -> tuple[Event, ...]:
    """Reads one line of laurel's log.

    Args:
        line: the line, with or without what ``line-prefix`` puts before it; undecodable bytes as
            surrogate escapes.

    Returns:
        An event for each of its SECCOMP records, or one event without; one with trouble where the
        line cannot be read, for it may have been such a record.
    """
    try:
        return tuple(_read_line(line))
    except (KeyError, TypeError, ValueError, RecursionError):
        return (Event(trouble=str(MalformedRecordError(line))),)


def _read_line(line: str) -> Iterator[Event]:
    """The events of one line.

    Raises:
        KeyError, TypeError, ValueError: it is no event of laurel's.
        RecursionError: it is nested too deeply.
    """
    if not line.strip():
        return
    event = json.loads(line[line.index("{") :])
    identity = _ID.fullmatch(event["ID"])
    if identity is None:
        raise ValueError(event["ID"])
    serial = None if any(kind.startswith(_ONES_OWN) for kind in event) else int(identity["serial"])
    at, node = float(identity["timestamp"]), str(event.get("NODE", ""))
    found = event.get("SECCOMP", [])
    # Types of records that occur once in an event are written without the list.
    records = [found] if isinstance(found, dict) else found
    for one in records:
        record = _record(one, identity["timestamp"], int(identity["serial"]), line)
        yield Event(serial, record, time=at, node=node)
    if not records:
        yield Event(serial, time=at, node=node)


def _record(fields: Mapping[str, Any], timestamp: str, serial: int, line: str) -> SeccompRecord:
    """One record.

    Raises:
        KeyError, TypeError, ValueError: it is not as laurel writes it.
    """
    return SeccompRecord(
        timestamp=timestamp,
        serial=serial,
        pid=_number(fields["pid"]),
        # With drop-raw there is only the user's name.
        uid=_number(fields["uid"]) if "uid" in fields else None,
        comm=_unescaped(fields["comm"]),
        exe="(null)" if fields["exe"] is None else _unescaped(fields["exe"]),
        signal=_number(fields["sig"]),
        arch=_number(fields["arch"]),
        syscall=_number(fields["syscall"]) & 0xFFFFFFFF,
        compat=_number(fields["compat"]),
        ip=_number(fields["ip"]),
        code=_number(fields["code"]),
        raw=line,
    )


def _number(value: object) -> int:
    """A number, decimal as such or hexadecimal as a string.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if isinstance(value, str):
        if not value.startswith("0x"):
            raise ValueError(value)
        return int(value, 16)
    if type(value) is not int:  # a bool is none here
        raise TypeError(value)
    return value


def _unescaped(value: object) -> str:
    """Undoes the escapes of text; bytes that are not UTF-8 become surrogate escapes.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(value, str):
        raise TypeError(value)
    return unquote(value, errors="surrogateescape")


def _last_serial(tail: bytes) -> int | None:
    """The highest number of an event in the log's last lines; None where there is none.

    Earlier events may be held back yet: they are read when they come, and none is counted on.
    """
    return last_serial(event for line in tail.split(b"\n") for event in events(text(line)))
