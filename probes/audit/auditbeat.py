"""SECCOMP records from the events that Auditbeat writes to a file (NDJSON).

Sources: audit_linux.go of elastic/beats (module auditd), auparse and aucoalesce of
elastic/go-libaudit. An event has the kernel's number as ``auditd.sequence``. With
``include_raw_message`` it has the kernel's text as well, which is then what is read; else its
fields are: go-libaudit 2.x names the ABI, the call and the signal, where its tables do, and 1.x
leaves their numbers.
"""

import json
import re
import signal
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from probes import arch
from probes.audit.collector import (
    Batch,
    Event,
    SerialLedger,
    last_serial,
    read_event,
    why_unwritten,
)
from probes.audit.log_file import LogCollector, open_at_end, text
from probes.audit.record import SeccompRecord
from probes.libaudit_names import LIBAUDIT_NAMES

_LEAST_PATIENCE = 15.0
"""Seconds to wait for a sentinel at least: Auditbeat's queue may hold events for ten."""
_TYPE = "seccomp"
_DAMAGED = (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError)
"""What reading an event raises that is not as Auditbeat writes it."""
_UNKNOWN: Final = re.compile(r"unknown\[([0-9a-f]+)\]")
_UNSIGNED: Final = 0xFFFFFFFF
_TOKENS: Final = {word.lower(): token for token, word in arch.TOKENS.items()}

_UNREADABLE: Final = (
    "Auditbeat's file {path} cannot be read ({problem}): have Auditbeat "
    "running with output.file, name the file that it writes now, and run as root."
)


class AuditbeatCollector(LogCollector):
    """Follows a file of Auditbeat's events from its current end.

    A loss shows as in auditd's log: an event that a processor drops leaves a gap in the serial
    numbers. A new file of another name looks like silence.
    """

    keep_more = "let Auditbeat write to a file of one name (output.file, rotate_every_kb)"

    def __init__(
        self, path: Path, *, root: Path = Path("/"), patience: float = _LEAST_PATIENCE
    ) -> None:
        """Opens the file.

        Args:
            path: the file that Auditbeat writes now; it begins another when it rotates.
            root: the directory that holds ``proc``, for the diagnosis of silence.
            patience: the seconds to wait for a sentinel at least.

        Raises:
            CollectorUnavailableError: the file cannot be read.
        """
        file, tail = open_at_end(path, _UNREADABLE)
        self._root = root
        self._patience = patience
        ledger = SerialLedger(_last_serial(tail))
        super().__init__(f"auditbeat:{path}", path, file, ledger)

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the sentinel's record, which Auditbeat's queue may hold for a while."""
        return self._read_patiently(sentinel, deadline, self._patience)

    def _events_of(self, line: str) -> Iterable[Event]:
        """The event of one line."""
        return (read_line(line),)

    def _silence(self) -> str:
        """Why nothing is added to the file."""
        return why_unwritten(self._root) or (
            "Auditbeat may have begun another file (name that one), or its module auditd or a "
            "processor may drop the events, or an audit rule may exclude the type SECCOMP (see "
            "auditctl -l)."
        )


def read_line(line: str) -> Event:
    """Reads one line; one that cannot be read is an event with trouble."""
    if not line.strip():
        return Event()
    try:
        found = json.loads(line)
        audit = found.get("auditd")
        if not isinstance(audit, dict):
            return Event()  # of another module
        serial = int(audit["sequence"])
        at = _time(found.get("@timestamp"))
        if str(audit.get("message_type", _TYPE)).lower() != _TYPE:
            return Event(serial, time=at)
        return _seccomp(found, serial, at)
    except _DAMAGED as problem:
        return Event(trouble=f"This event of Auditbeat's is damaged ({problem!r}): {line[:200]!r}")


def _time(stamp: object) -> float | None:
    """The kernel's time of an event, in seconds since the epoch; None where there is none.

    Raises:
        ValueError: it is no time.
    """
    return None if stamp is None else datetime.fromisoformat(str(stamp)).timestamp()


def _seccomp(found: Mapping[str, Any], serial: int, at: float | None) -> Event:
    """An event about a SECCOMP record, by the kernel's text if it is there."""
    original = found.get("event", {}).get("original")
    texts = [original] if isinstance(original, str) else original or []
    if texts:
        return read_event(str(texts[0]))
    data, process = found["auditd"]["data"], found.get("process", {})
    token = _token(str(data["arch"]))
    record = SeccompRecord(
        timestamp=str(found.get("@timestamp", "")),
        serial=serial,
        pid=int(process["pid"]),
        uid=int(found.get("user", {}).get("id", 0)),
        comm=str(process.get("name", "")),  # go-libaudit leaves empty fields out
        exe=str(process.get("executable", "(null)")),
        signal=_signal(str(data["sig"])),
        arch=token,
        syscall=_number(token, str(data["syscall"])) & _UNSIGNED,
        compat=int(data.get("compat", 0)),
        ip=int(str(data.get("ip", "0")), 0),
        code=int(str(data["code"]), 16),
        raw=json.dumps(found),
    )
    return Event(serial, record, time=at)


def _token(word: str) -> int:
    """The architecture, by its name or by its number in hexadecimal."""
    unknown = _UNKNOWN.fullmatch(word)
    named = _TOKENS.get(word)
    if named is not None:
        return named
    return int(unknown[1] if unknown else word, 16)


def _signal(word: str) -> int:
    """The signal, by its name or by its number."""
    return int(word) if word.isdigit() else int(signal.Signals[word])


def _number(token: int, word: str) -> int:
    """The call's number, by its name or as it is.

    Raises:
        ValueError: no table knows the name.
    """
    if word.lstrip("-").isdigit():
        return int(word)
    for one in arch.of_token(token):
        theirs = {alias: name for name, alias in LIBAUDIT_NAMES.get(one.name, {}).items()}
        number = one.number(theirs.get(word, word))
        if number is not None:
            return number
    raise ValueError(f"{word!r} is no call of {arch.token_text(token)}")


def _last_serial(tail: bytes) -> int | None:
    """The highest number of an event in the file's last lines; None where there is none."""
    return last_serial(read_line(text(line)) for line in tail.split(b"\n"))
