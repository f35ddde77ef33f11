"""The processes below this one, found in /proc and ended by descriptor, so that no other is hit."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

_PARENT: Final = 1
"""Field 4 of proc_pid_stat(5), the second after the name."""
_ENDED: Final = (b"Z", b"X", b"x")


def descendants(ancestor: int) -> frozenset[int]:
    """Every process below one that has not ended."""
    children: dict[int, list[int]] = {}
    ended = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if name.isdigit() and (fields := _fields(int(name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
            if fields[0] in _ENDED:
                ended.add(int(name))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return frozenset(found - ended)


def signal_descendants(ancestor: int, number: signal.Signals) -> None:
    """Sends a signal to every process below one."""
    for pid in descendants(ancestor):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            descriptor = os.pidfd_open(pid)
            try:
                # An id may have been given to another process since it was looked up.
                if pid in descendants(ancestor):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def _fields(pid: int) -> list[bytes]:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return raw.rpartition(b")")[2].split()
