"""Who made a call, read from /proc while the caller waits for its answer: proc(5)."""

import os
import sys
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from probes.text import shown

NOBODY_KNOWS: Final = "?"
"""What stands for a name that /proc did not tell."""

_STAT_SIZE: Final = 1024
_START_TIME: Final = 19
"""Field 22 of proc_pid_stat(5), the twentieth after the name."""
_COMM_SIZE: Final = 64
_WORD_SIZE: Final = 8
_REMEMBERED: Final = 256
"""Threads whose file is kept open, well below the usual limit of 1024 descriptors."""

Process = tuple[int, int]
"""A process id, and when the process started in clock ticks: an id can be used again."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The program that made a call.

    Attributes:
        process: the process that the thread is of.
        comm: the thread's name.
        executable: the path of the program, as the caller's mount namespace has it.
    """

    process: Process
    comm: str
    executable: str


_NOBODY: Final = Caller((0, 0), NOBODY_KNOWS, NOBODY_KNOWS)


class Callers:
    """Finds out which program made a call.

    Of the last threads it keeps /proc/TID/comm open. That costs less than opening it for each call,
    and what is read there can only be of the same thread: once it has ended, nothing is, even if
    its id has been given to another.
    """

    def __init__(self) -> None:
        """Knows nobody yet."""
        self._known: dict[int, tuple[int, Process]] = {}

    def of(self, tid: int) -> Caller:
        """The thread that waits for an answer; what cannot be read is ``NOBODY_KNOWS``."""
        known = self._known.get(tid)
        raw = _reread(known[0]) if known is not None else None
        if known is None or raw is None:
            known = self._meet(tid)
            raw = _reread(known[0]) if known is not None else None
            if known is None or raw is None:
                return _NOBODY
        try:
            executable = shown(os.readlink(f"/proc/{tid}/exe"))  # noqa: PTH115 - as often as a call
        except OSError:  # EACCES: another user's, such as that of a set-user-ID program
            executable = NOBODY_KNOWS
        comm = raw.removesuffix(b"\n").decode(errors="backslashreplace")
        return Caller(known[1], shown(comm), executable)

    def close(self) -> None:
        """Forgets everybody."""
        for descriptor, _ in self._known.values():
            os.close(descriptor)
        self._known.clear()

    def _meet(self, tid: int) -> tuple[int, Process] | None:
        before = self._known.pop(tid, None)
        if before is None and len(self._known) >= _REMEMBERED:
            before = self._known.pop(next(iter(self._known)))
        if before is not None:
            os.close(before[0])
        try:
            descriptor = os.open(f"/proc/{tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        known = self._known[tid] = (descriptor, process_of(tid))
        return known


def _reread(descriptor: int) -> bytes | None:
    try:
        return os.pread(descriptor, _COMM_SIZE, 0)
    except OSError:  # ESRCH: it has ended
        return None


def _read(path: str, size: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, size)
    except OSError:  # ESRCH: it has ended since
        return None
    finally:
        os.close(descriptor)


def process_of(tid: int) -> Process:
    """The process of a thread."""
    status = _read(f"/proc/{tid}/status", 4 * _STAT_SIZE) or b""
    _, _, tail = status.partition(b"\nTgid:")
    leader = int(tail.split(maxsplit=1)[0]) if tail else tid
    stat = _read(f"/proc/{leader}/stat", _STAT_SIZE)
    return leader, int(stat.rpartition(b")")[2].split()[_START_TIME]) if stat else 0


def memory(tid: int, address: int, size: int) -> bytes:
    """A thread's memory from an address on; less where less is there.

    Raises:
        PermissionError: this user may not look into it.
    """
    try:
        descriptor = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError:  # it has ended
        return b""
    try:
        return os.pread(descriptor, size, address)
    except (OSError, OverflowError):  # EIO: nothing is there; no file is so large
        return b""
    finally:
        os.close(descriptor)


def memory_word(tid: int, address: int) -> int | None:
    """64 bits of a thread's memory, in the machine's byte order; None where nobody can tell."""
    try:
        raw = memory(tid, address, _WORD_SIZE)
    except PermissionError:
        return None
    return int.from_bytes(raw, sys.byteorder) if len(raw) == _WORD_SIZE else None


@dataclass(frozen=True, slots=True)
class _Mapping:
    first: int
    end: int
    offset: int
    name: str


def site(tid: int, pointer: int) -> str:
    """The code that an address is in, as ``libc.so.6+0x11e7fb``: a file and the offset in it.

    Code that is in no file goes by what the kernel calls it, such as ``[vdso]+0xc1a``, or
    ``anonymous+0x10``, which is from the start of the mapping.
    """
    try:
        with open(f"/proc/{tid}/maps", "rb") as file:  # noqa: PTH123 - it is read ten thousand times
            mappings = [_mapping(line) for line in file]
    except OSError:
        return NOBODY_KNOWS
    index = bisect_right([one.first for one in mappings], pointer) - 1
    if index < 0 or pointer >= mappings[index].end:
        return f"{pointer:#x}"
    found = mappings[index]
    return f"{found.name}+{pointer - found.first + found.offset:#x}"


def _mapping(line: bytes) -> _Mapping:
    where, _, offset, _, inode, *rest = line.rstrip(b"\n").split(b" ", 5)
    first, _, end = where.partition(b"-")
    name = shown(rest[0].strip().decode(errors="backslashreplace")) if rest else ""
    if inode == b"0":
        return _Mapping(int(first, 16), int(end, 16), 0, name or "anonymous")
    return _Mapping(int(first, 16), int(end, 16), int(offset, 16), PurePath(name).name)
