"""Following a log that is written by whole lines and rotated by renaming.

auditd, and whoever does as it does, renames ``LOG.N`` to ``LOG.N+1`` from the highest number
down, ``LOG`` to ``LOG.1`` last, before it creates a new ``LOG``. Other programs rename, copy and
truncate, or delete.
"""

import errno
import os
import stat
import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from probes.audit.collector import (
    Batch,
    CollectorUnavailableError,
    Event,
    SequencedCollector,
    SerialLedger,
)
from probes.audit.control import AuditControl

_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.020
_MOST_ROTATED = 999
"""auditd.conf(5): the largest num_logs."""
_ROTATION_DEADLINE = 1.0
"""Seconds after which missing file names no longer count as a rotation under way."""
_LESS = 5
"""The part of a slow program's patience that is had once a sentinel has not arrived."""
_AGAIN = 0.1
"""Seconds after which a new file that could not be opened is tried again."""
_ANCHOR = 256
_LONGEST_TAIL = 1 << 16
_LONGEST_LINE = 1 << 26
"""The bytes of a line beyond which it is none; osquery writes all rows of one time in one line."""
_SHOWN = 1 << 10
_CHUNK = 1 << 20


@dataclass(slots=True)
class LogFile:
    """An open log, read up to ``offset``.

    Attributes:
        descriptor: the open file; -1 when closed.
        offset: bytes read so far.
        partial: the pieces of a line whose end is not written yet.
        anchor: the last bytes read; where they are gone, the file was truncated or overwritten.
    """

    descriptor: int
    offset: int = 0
    partial: list[bytes] = field(default_factory=list)
    anchor: bytes = b""

    @classmethod
    def open(cls, path: Path) -> "LogFile":
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
        start = max(size - _LONGEST_TAIL, 0)
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
        self.offset, self.partial, self.anchor = 0, [], b""

    def lines(self) -> Iterator[bytes]:
        """The whole lines that were added, without their line ends.

        Of a line without end only the start is given, and the rest of the file is left out.
        """
        while chunk := os.pread(self.descriptor, _CHUNK, self.offset):
            self.offset += len(chunk)
            self.anchor = (self.anchor + chunk)[-_ANCHOR:]
            first, *further = chunk.split(b"\n")
            self.partial.append(first)
            if further:
                yield b"".join(self.partial)
                yield from further[:-1]
                self.partial = [further[-1]]
            elif sum(map(len, self.partial)) > _LONGEST_LINE:
                yield self.torn()[:_SHOWN]
                self.skip()
                self.partial = []

    def torn(self) -> bytes:
        """The start of a last line that lacks its end."""
        return b"".join(self.partial)

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class LogCollector(SequencedCollector):
    """Follows a log from its current end, over all rotations.

    Attributes:
        keep_more: what to do where a rotated file is gone before it was read.
    """

    keep_more: ClassVar[str]

    def __init__(self, name: str, path: Path, file: LogFile, ledger: SerialLedger) -> None:
        """Starts behind what was read of the open log.

        Args:
            name: what reports call the collector.
            path: the name under which the newest file of the log is found.
            file: that file, open.
            ledger: what is known of the events before.
        """
        self._file = file
        self._path = path
        self._pause = _SHORTEST_PAUSE
        self._astray_since: float | None = None
        self._late_once = False
        self._control = AuditControl()
        super().__init__(name, self._control.lost, ledger)

    def close(self) -> None:
        """Closes the log."""
        self._file.close()
        self._control.close()

    @abstractmethod
    def _events_of(self, line: str) -> Iterable[Event]:
        """The events in one line of the log."""

    def _parsed(self, lines: Iterable[bytes]) -> Iterator[Event]:
        """Turns lines of the log into events."""
        for line in lines:
            yield from self._events_of(text(line))

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads the events that were added; waits a little if there are none."""
        events: list[Event] = []
        unread = ""
        try:
            events.extend(self._added())
        except OSError as problem:
            unread = f"{self._path} can be read no longer ({problem.strerror})."
        if events:
            self._pause = _SHORTEST_PAUSE
        else:
            time.sleep(min(self._pause, timeout))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        if unread:
            events.append(Event(trouble=unread))
        return tuple(events)

    def _read_patiently(self, sentinel: str, deadline: float, least: float) -> Batch:
        """Reads up to a sentinel that the log's program may hold back for a while.

        Args:
            sentinel: the name that the record has by which the batch ends.
            deadline: the seconds to wait at most, unless ``least`` is more.
            least: the seconds to wait at least; fewer where the last sentinel did not arrive.
        """
        batch = super().read_until(
            sentinel, max(deadline, least / (_LESS if self._late_once else 1))
        )
        self._late_once = batch.overdue
        return batch

    def _added(self) -> Iterator[Event]:
        """The events that were added, over all rotations."""
        if not self._file.intact():
            yield Event(trouble=f"{self._path} was truncated or overwritten while it was followed.")
            self._file.restart()
        yield from self._parsed(self._file.lines())
        following, astray = self._following()
        for successor in following:
            # It was written to: whatever the open file lacks now, it will always lack.
            yield from self._parsed(self._file.lines())
            if torn := self._file.torn():
                # Nothing shows how much is lacking, and a record's last number is its action.
                yield Event(trouble=f"A line of {self._path} was written by half: {torn[:200]!r}")
            self._file.close()
            self._file = successor
        if astray:
            yield Event(trouble=astray)
        yield from self._parsed(self._file.lines())

    def _following(self) -> tuple[list[LogFile], str]:
        """The files that come after the open one, oldest first, and why some may be missing.

        An empty successor is left alone: whoever rotates by renaming and then tells the writer has
        the writer go on in the renamed file for a while.
        """
        try:
            newest = self._path.stat()
        except OSError:
            # Deleted, or about to be created: the writer may still have the open file.
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
            f"{self.keep_more}"
        )
        try:
            return [LogFile.open(self._path)], f"{trouble}."
        except OSError as problem:
            # Soon again, so that every batch says so.
            self._astray_since = now - _ROTATION_DEADLINE + _AGAIN
            return [], f"{trouble}; the new one cannot be read ({problem.strerror})."

    def _chain(self) -> list[LogFile] | None:
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
        opened: list[LogFile] = []
        try:
            for place in names:
                opened.append(LogFile.open(place))  # noqa: PERF401 - closed below, if one fails
            # A rotation meanwhile moves names from one file to another.
            if _identity_at(name) == self._file.identity and all(
                _identity_at(place) == file.identity
                for place, file in zip(names, opened, strict=True)
            ):
                return opened
        except OSError:  # a file was rotated away meanwhile; the next attempt finds it
            pass
        for file in opened:
            file.close()
        return None


def open_at_end(path: Path, unreadable: str) -> tuple[LogFile, bytes]:
    """Opens a log and goes to its current end.

    Args:
        path: the log.
        unreadable: the sentence where it cannot be read, with ``{path}`` and ``{problem}``.

    Returns:
        The log, and its last lines.

    Raises:
        CollectorUnavailableError: it cannot be read.
    """
    try:
        file = LogFile.open(path)
        return file, file.skip()
    except OSError as problem:
        sentence = unreadable.format(path=path, problem=problem.strerror)
        raise CollectorUnavailableError(sentence) from problem


def text(line: bytes) -> str:
    """A line as text; undecodable bytes become surrogate escapes."""
    return line.decode("utf-8", "surrogateescape")


def _identity(status: os.stat_result) -> tuple[int, int]:
    """The device and inode, which tell a file from every other one that exists."""
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    """The identity of the file of that name; None where there is none."""
    try:
        return _identity(path.stat())
    except OSError:
        return None
