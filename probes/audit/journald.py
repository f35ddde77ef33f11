"""SECCOMP records from systemd's journal, followed by journalctl(1).

journald reads the kernel's audit messages itself, beside whoever else does, and keeps each as an
entry: ``MESSAGE`` is the kernel's text behind the name of the type, ``_AUDIT_ID`` the serial number
and ``_SOURCE_REALTIME_TIMESTAMP`` the kernel's time in microseconds. No client can write a field
that begins with an underscore (systemd.journal-fields(7)).
"""

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from probes.audit import journald_settings
from probes.audit.collector import (
    CollectorUnavailableError,
    Event,
    SequencedCollector,
    SerialLedger,
    read_event,
    why_silent,
)
from probes.audit.control import AuditControl
from probes.audit.record import (
    CONFIG_CHANGE_MESSAGE_TYPE,
    SECCOMP_MESSAGE_TYPE,
    MalformedRecordError,
    change_of_settings,
)

COMMAND: Final = (
    *("journalctl", "--quiet", "--follow", "--boot", "--output=json", "--all"),
    # Whatever is written while journalctl starts is among them.
    "--lines=100",
    "--output-fields=MESSAGE,_AUDIT_ID,_AUDIT_TYPE,_SOURCE_REALTIME_TIMESTAMP",
    "_TRANSPORT=audit",
)
_CHUNK = 1 << 16
_END_SECONDS = 5.0
_MOST_SAID = 200


class JournalCollector(SequencedCollector):
    """Follows the journal's entries about audit messages of this boot.

    A loss shows as a gap in the serial numbers, in the kernel's counter of lost records, as an
    entry that cannot be read, and as the end of journalctl. journald's rate limit is for services'
    messages, and leaves out none of the kernel's audit.
    """

    def __init__(self, command: Sequence[str] = COMMAND, *, root: Path = Path("/")) -> None:
        """Starts journalctl.

        Args:
            command: how to start it.
            root: the directory that holds ``proc`` and ``run``, for the diagnosis of silence.

        Raises:
            CollectorUnavailableError: it cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C is for this process, which ends it.
                start_new_session=True,
            )
        except OSError as problem:
            raise CollectorUnavailableError(
                f"The journal cannot be read, for {command[0]} cannot be started "
                f"({problem.strerror}): it takes systemd's journalctl."
            ) from problem
        self._output = _pipe(self._process.stdout)
        self._errors = _pipe(self._process.stderr)
        self._partial = b""
        self._ended = ""
        self._root = root
        self._control = AuditControl()
        super().__init__("journal", self._control.lost, SerialLedger())

    def close(self) -> None:
        """Ends journalctl."""
        self._process.kill()
        self._process.wait(_END_SECONDS)
        self._output.close()
        self._errors.close()
        self._control.close()

    def _note(self, events: tuple[Event, ...]) -> None:
        """Keeps what was read; from the first entry on journalctl leaves out none."""
        if self._ledger.base is None:
            first = next((event.serial for event in events if event.serial is not None), None)
            self._ledger.base = first - 1 if first is not None else None
        super()._note(events)

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads what journalctl has printed."""
        if self._ended:
            time.sleep(timeout)
            return ()
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return ()
        printed = os.read(self._output.fileno(), _CHUNK)
        if not printed:
            self._ended = self._last_words()
            return (Event(trouble=f"{self._ended}."),)
        *lines, self._partial = (self._partial + printed).split(b"\n")
        return tuple(event_of(line) for line in lines)

    def _last_words(self) -> str:
        """What became of journalctl, in one clause."""
        status = self._process.wait(_END_SECONDS)
        said = self._errors.read(_MOST_SAID).decode("utf-8", "replace").split("\n")[0].strip()
        return f"journalctl ended with {status}{f': {said}' if said else ''}".rstrip(".")

    def _silence(self) -> str:
        """Why there are no entries."""
        if self._ended:
            return f"{self._ended}."
        return journald_settings.why_not_read(self._root) or (
            f"{_NOT_KEPT}; or {why_silent(self._root)}"
        )


_NOT_KEPT: Final = (
    "journald may not read audit messages (systemd-journald-audit.socket) or not keep them "
    "(MaxLevelStore= in journald.conf below notice), or this user may not read the system's "
    "journal (it takes root or the group systemd-journal)"
)


def event_of(line: bytes) -> Event:
    """Reads an entry as journalctl prints it; one that cannot be read is an event with trouble.

    Args:
        line: the entry, in JSON.
    """
    try:
        return _read_entry(json.loads(line))
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError):
        text = line.decode("utf-8", "surrogateescape")
        return Event(trouble=str(MalformedRecordError(text)))


def _read_entry(entry: Mapping[str, Any]) -> Event:
    """The event of an entry.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is no entry about an audit message.
    """
    serial, kind = int(entry["_AUDIT_ID"]), int(entry["_AUDIT_TYPE"])
    if kind == CONFIG_CHANGE_MESSAGE_TYPE:
        return Event(serial, change=change_of_settings(_text(entry["MESSAGE"])))
    if kind != SECCOMP_MESSAGE_TYPE:
        return Event(serial)  # of this boot, as all are that journalctl is asked for
    _, _, fields = _text(entry["MESSAGE"]).partition(" ")
    seconds, rest = divmod(int(entry["_SOURCE_REALTIME_TIMESTAMP"]), 1_000_000)
    return read_event(f"audit({seconds}.{rest // 1000:03d}:{serial}): {fields}")


def _text(value: object) -> str:
    """A field's text, which is a list of bytes where it is not UTF-8.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if isinstance(value, list):
        return bytes(value).decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe of a process that was started with it."""
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe
