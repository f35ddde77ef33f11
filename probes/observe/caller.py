"""Who made a call, read from /proc while the caller waits for its answer: proc(5)."""

import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from probes.targets.files import shown

NOBODY_KNOWS: Final = "?"
"""What stands for a name that /proc did not tell."""

_STAT_SIZE: Final = 1024
_START_TIME: Final = 19
"""Field 22 of proc_pid_stat(5), the twentieth after the name."""
_REMEMBERED: Final = 65536

Process = tuple[int, int]
"""A process id, and when the process started in clock ticks: an id can be used again."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a call.

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
    """Tells callers; remembers of each thread which process it is of."""

    def __init__(self) -> None:
        """Knows nobody yet."""
        self._processes: dict[Process, Process] = {}

    def of(self, tid: int) -> Caller:
        """The thread that waits for an answer; what cannot be read is ``NOBODY_KNOWS``."""
        stat = _stat(tid)
        if stat is None:
            return _NOBODY
        comm, start = stat
        thread = (tid, start)
        process = self._processes.get(thread)
        if process is None:
            process = _process(tid, start)
            if len(self._processes) >= _REMEMBERED:
                del self._processes[next(iter(self._processes))]
            self._processes[thread] = process
        try:
            executable = shown(os.readlink(f"/proc/{tid}/exe"))  # noqa: PTH115 - as often as a call
        except OSError:  # EACCES: another user's, such as that of a set-user-ID program
            executable = NOBODY_KNOWS
        return Caller(process, comm, executable)


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


def _stat(tid: int) -> tuple[str, int] | None:
    raw = _read(f"/proc/{tid}/stat", _STAT_SIZE)
    if not raw:
        return None
    head, _, tail = raw.rpartition(b")")
    comm = head.partition(b"(")[2].decode(errors="backslashreplace")
    return shown(comm), int(tail.split()[_START_TIME])


def _process(tid: int, start: int) -> Process:
    raw = _read(f"/proc/{tid}/status", 4 * _STAT_SIZE) or b""
    _, _, tail = raw.partition(b"\nTgid:")
    leader = int(tail.split(maxsplit=1)[0]) if tail else tid
    if leader == tid:
        return tid, start
    stat = _stat(leader)
    return leader, stat[1] if stat else start


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
