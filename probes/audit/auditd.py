"""SECCOMP records from the log that auditd writes.

See auditd(8) and auditd.conf(5): auditd appends whole lines, and rotates by renaming
``audit.log.N`` to ``audit.log.N+1`` from the highest number down, ``audit.log`` to
``audit.log.1`` last, before it creates a new ``audit.log``. Other programs rename, copy and
truncate, or delete.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.audit.collector import (
    CollectorUnavailableError,
    Event,
    SequencedCollector,
    SerialLedger,
    read_event,
    why_unwritten,
)
from probes.audit.netlink import AuditControl
from probes.audit.record import kernel_serial

_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.020
_MOST_ROTATED = 999
"""auditd.conf(5): the largest num_logs."""
_ROTATION_DEADLINE = 1.0
"""Seconds after which missing file names no longer count as a rotation under way."""
_ANCHOR = 256
_LONGEST_LINE = 1 << 16
_CHUNK = 1 << 20


@dataclass(slots=True)
class _LogFile:
    """An open log, read up to ``offset``.

    Attributes:
        descriptor: the open file; -1 when closed.
        offset: bytes read so far.
        partial: the start of a line whose end is not written yet.
        anchor: the last bytes read; where they are gone, the file was truncated or overwritten.
    """

    descriptor: int
    offset: int = 0
    partial: bytes = b""
    anchor: bytes = b""

    @classmethod
    def open(cls, path: Path) -> "_LogFile":
        """Opens a log at its beginning.

        Raises:
            OSError: there is no readable regular file.
        """
        # Opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return cls(descriptor)
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")

    @property
    def identity(self) -> tuple[int, int]:
        """The device and inode of the file, which a rename does not change."""
        return _identity(os.fstat(self.descriptor))

    def skip(self) -> bytes:
        """Leaves out the whole lines that are there, and returns the last of them."""
        size = os.fstat(self.descriptor).st_size
        start = max(size - _LONGEST_LINE, 0)
        tail = os.pread(self.descriptor, size - start, start)
        tail = tail[: tail.rfind(b"\n") + 1]
        self.offset = start + len(tail)
        self.anchor = tail[-_ANCHOR:]
        return tail

    def intact(self) -> bool:
        """Whether what was read last still stands before the offset."""
        start = self.offset - len(self.anchor)
        return os.pread(self.descriptor, len(self.anchor), start) == self.anchor

    def restart(self) -> None:
        """Has the next reading start at the beginning of the file."""
        self.offset, self.partial, self.anchor = 0, b"", b""

    def lines(self) -> Iterator[bytes]:
        """The whole lines that were added, without their line ends."""
        while chunk := os.pread(self.descriptor, _CHUNK, self.offset):
            self.offset += len(chunk)
            self.anchor = (self.anchor + chunk)[-_ANCHOR:]
            *whole, self.partial = (self.partial + chunk).split(b"\n")
            yield from whole

    def rest(self) -> Iterator[bytes]:
        """The lines that were added to a file that is complete: its last line may lack its end."""
        yield from self.lines()
        if self.partial:
            yield self.partial

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class AuditdCollector(SequencedCollector):
    """Follows an audit log from its current end."""

    def __init__(self, path: Path, *, root: Path = Path("/")) -> None:
        """Opens the log.

        Args:
            path: the ``log_file`` of auditd.conf.
            root: the directory that holds ``proc``, for the diagnosis of silence.

        Raises:
            CollectorUnavailableError: the log cannot be read.
        """
        try:
            self._file = _LogFile.open(path)
            ledger = SerialLedger(_last_serial(self._file.skip()))
        except OSError as problem:
            raise CollectorUnavailableError(
                f"The audit log {path} cannot be read ({problem.strerror}): have auditd running, "
                "name the log_file of its auditd.conf, and run as root or in its log_group."
            ) from problem
        self._path = path
        self._root = root
        self._pause = _SHORTEST_PAUSE
        self._astray_since: float | None = None
        self._control = AuditControl()
        super().__init__(f"auditd:{path}", self._control.lost, ledger)

    def close(self) -> None:
        """Closes the log."""
        self._file.close()
        self._control.close()

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads the events that were added; waits a little if there are none."""
        events = list(self._added())
        if events:
            self._pause = _SHORTEST_PAUSE
        else:
            time.sleep(min(self._pause, timeout))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return tuple(events)

    def _added(self) -> Iterator[Event]:
        """The events that were added, over all rotations."""
        if not self._file.intact():
            yield Event(trouble=f"{self._path} was truncated or overwritten while it was followed.")
            self._file.restart()
        yield from _events(self._file.lines())
        following, astray = self._following()
        for successor in following:
            # It was written to: whatever the open file lacks now, it will always lack.
            yield from _events(self._file.rest())
            self._file.close()
            self._file = successor
        if astray:
            yield Event(trouble=astray)
        yield from _events(self._file.lines())

    def _following(self) -> tuple[list[_LogFile], str]:
        """The files that come after the open one, oldest first, and why some may be missing.

        An empty successor is left alone: whoever rotates by renaming and then tells auditd has
        auditd write to the renamed file for a while.
        """
        try:
            newest = self._path.stat()
        except OSError:
            # Deleted, or about to be created: auditd may still write to the open file.
            self._astray_since = None
            return [], ""
        if _identity(newest) == self._file.identity or not newest.st_size:
            self._astray_since = None
            return [], ""
        chain = self._chain()
        if chain is not None:
            self._astray_since = None
            return chain, ""
        now = time.monotonic()
        if self._astray_since is None:
            self._astray_since = now
        if now - self._astray_since < _ROTATION_DEADLINE:
            return [], ""
        self._astray_since = None
        trouble = (
            f"{self._path} was replaced and the file read so far is not among its rotated ones: "
            "let auditd keep more of them (num_logs, max_log_file)"
        )
        try:
            return [_LogFile.open(self._path)], f"{trouble}."
        except OSError as problem:
            return [], f"{trouble}; the new one cannot be read ({problem.strerror})."

    def _chain(self) -> list[_LogFile] | None:
        """Opens the files after the open one; None where the names do not lead to it (yet)."""
        names = [self._path]
        for number in range(1, _MOST_ROTATED + 1):
            name = Path(f"{self._path}.{number}")
            found = _identity_at(name)
            if found == self._file.identity:
                break
            if found is None:
                return None
            names.insert(0, name)
        else:
            return None
        opened: list[_LogFile] = []
        try:
            for place in names:
                opened.append(_LogFile.open(place))  # noqa: PERF401 - closed below, if one fails
            # A rotation meanwhile moves names from one file to another.
            if _identity_at(name) == self._file.identity and all(
                _identity_at(place) == file.identity
                for place, file in zip(names, opened, strict=True)
            ):
                return opened
        except OSError:
            pass
        for file in opened:
            file.close()
        return None

    def _silence(self) -> str:
        """Why nothing is added to the log."""
        status = self._control.status()
        if status is not None and not status.pid:
            return "no auditd takes records from the kernel (auditctl -s shows pid 0); start it."
        if not self._path.exists():
            return "the log was deleted; restart auditd."
        return why_unwritten(self._root) or (
            "auditd may write another log (log_file in auditd.conf) or have suspended logging, or "
            "an audit rule may exclude the type SECCOMP (see auditctl -l)."
        )


def _events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Turns lines of the log into events."""
    return (read_event(_text(line)) for line in lines)


def _text(line: bytes) -> str:
    """A line as text; undecodable bytes become surrogate escapes."""
    return line.decode("utf-8", "surrogateescape")


def _last_serial(tail: bytes) -> int | None:
    """The highest number of an event in the log's last lines: auditd was there for it.

    None where there is no such line, as in a new log. auditd swallows the first record that
    reaches it within 0.1 s of its start (audit_set_pid() of libaudit), so there is no telling
    what came before the first record in a log.
    """
    serials = [
        serial for line in tail.split(b"\n") if (serial := kernel_serial(_text(line))) is not None
    ]
    return max(serials, default=None)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """The device and inode, which tell a file from every other one that exists."""
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    """The identity of the file of that name; None where there is none."""
    try:
        return _identity(path.stat())
    except OSError:
        return None
