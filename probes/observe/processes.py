"""The processes below this one, found in /proc and ended by descriptor, so that no other is hit."""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_PARENT: Final = 1
"""Field 4 of proc_pid_stat(5), the second after the name."""
ENDED: Final = (b"Z", b"X", b"x")
"""The states of a process that has ended."""


def family(ancestor: int) -> Mapping[int, Sequence[bytes]]:
    """Every process below one, ended ones too, with what proc_pid_stat(5) says after its name."""
    children: dict[int, list[int]] = {}
    known: dict[int, Sequence[bytes]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if name.isdigit() and (fields := stat_of(int(name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
            known[int(name)] = fields
    found: dict[int, Sequence[bytes]] = {}
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found[child] = known[child]
            waiting.append(child)
    return found


def descendants(ancestor: int) -> frozenset[int]:
    """Every process below one that has not ended."""
    found = family(ancestor).items()
    return frozenset(pid for pid, fields in found if fields[0] not in ENDED)


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


def stat_of(pid: int) -> Sequence[bytes]:
    """The fields of proc_pid_stat(5) after the name; none if there is no such process."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return raw.rpartition(b")")[2].split()
