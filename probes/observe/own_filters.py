"""The filters that a workload installs itself, and which calls they may have hidden.

A program is read from its caller's memory while seccomp(2) or prctl(2) waits. Many such calls
install nothing: libseccomp asks what the kernel can do by flags without a program.
"""

import re
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from probes.filters import bpf
from probes.filters.bpf import IllegalProgramError
from probes.filters.prover import TooComplexError
from probes.observe.addresses import Memory, pointer, word_size
from probes.observe.caller import Caller, memory
from probes.observe.hiding import hidden_by
from probes.observe.listener import Notification
from probes.observe.watch import Watch, Watched

MOST: Final = 64
"""Different programs that are kept."""

# linux/seccomp.h
_NEW_LISTENER: Final = 1 << 3
_MODE_FILTER: Final = 2
_INT: Final = 0xFFFFFFFF
_SYS_ADMIN: Final = 1 << 21
"""CAP_SYS_ADMIN, without which it takes no_new_privs."""

_INSTRUCTION: Final = 8
_PROGRAM: Final = {4: struct.Struct("=H2xI"), 8: struct.Struct("=H6xQ")}
"""struct sock_fprog by the size of a pointer."""


@dataclass(frozen=True, slots=True)
class InstalledFilters:
    """What filters a program of the workload installed, and what they hide.

    Attributes:
        executable: the program.
        hidden: the documented calls that they answer before the observer can see them; None where
            that could not be found out.
    """

    executable: str
    hidden: Mapping[str, Mapping[str, str]] | None


@dataclass(slots=True)
class OwnFilters:
    """Reads the programs of calls that install filters.

    Attributes:
        watched: what is watched.
        refused: how often the kernel refused a filter with a listener, because the observer has the
            one that a process may have.
    """

    watched: Watch
    refused: int = 0
    _installed: dict[str, set[bytes]] = field(default_factory=dict)
    _unread: set[str] = field(default_factory=set)

    def installs(self, call: Watched, seen: Notification, who: Callable[[int], Caller]) -> bool:
        """Whether a call installs a filter, or tries to with a program that could be installed.

        Args:
            call: seccomp or prctl, with the operation that is meant.
            seen: it, while its caller waits.
            who: tells the caller.
        """
        if call.name == "prctl" and seen.args[1] & _INT != _MODE_FILTER:
            return False  # the strict mode, which no process under a filter can have
        try:
            raw = read_program(call, seen.args[2], lambda at, size: memory(seen.tid, at, size))
        except PermissionError:
            self._unread.add(who(seen.tid).executable)
            return True
        if raw is None or not _may_install(seen.tid):
            return False
        if call.name == "seccomp" and seen.args[1] & _NEW_LISTENER:
            self.refused += 1
            return True
        executable = who(seen.tid).executable
        kept = self._installed.setdefault(executable, set())
        if raw not in kept and sum(map(len, self._installed.values())) >= MOST:
            self._unread.add(executable)
        else:
            kept.add(raw)
        return True

    def finish(self) -> tuple[InstalledFilters, ...]:
        """What the programs hide."""
        found = []
        for executable in sorted({*self._installed, *self._unread}):
            programs = self._installed.get(executable, set())
            unread = executable in self._unread
            hidden = None if unread else self._hidden(sorted(programs))
            found.append(InstalledFilters(executable, hidden))
        return tuple(found)

    def _hidden(self, programs: list[bytes]) -> Mapping[str, Mapping[str, str]] | None:
        """What any of some programs hides, for each may have been installed without the others."""
        together: dict[str, dict[str, str]] = {}
        for raw in programs:
            program = bpf.from_bytes(raw, big_endian=sys.byteorder == "big")
            try:
                found = hidden_by([program], self.watched, newer=True)
            except TooComplexError:
                return None
            for abi, calls in found.items():
                for name, answer in calls.items():
                    before = together.setdefault(abi, {}).get(name, answer)
                    words = before if answer in before else f"{before} or {answer}"
                    together[abi][name] = words
        return together


def read_program(call: Watched, register: int, memory: Memory) -> bytes | None:
    """The program that ``struct sock_fprog`` leads to; None where the kernel takes none.

    Args:
        call: the call.
        register: the structure's address.
        memory: the caller's.

    Raises:
        PermissionError: this user may not look into the caller's memory.
    """
    form = _PROGRAM[word_size(call.arch)]
    raw = memory(pointer(call.arch, register), form.size)
    if len(raw) < form.size:
        return None
    count, place = form.unpack(raw)
    if not 0 < count <= bpf.MAX_INSTRUCTIONS:
        return None
    program = memory(place, count * _INSTRUCTION)
    if len(program) < count * _INSTRUCTION:
        return None
    try:
        bpf.check(bpf.from_bytes(program, big_endian=sys.byteorder == "big"))
    except IllegalProgramError:
        return None
    return program


def _may_install(tid: int) -> bool:
    """Whether a thread may install filters; also where nobody can tell."""
    try:
        status = Path(f"/proc/{tid}/status").read_bytes()
    except OSError:
        return True
    words = dict(re.findall(rb"^(NoNewPrivs|CapEff):\s*(\w+)$", status, re.MULTILINE))
    allowed = int(words.get(b"CapEff", b"0"), 16) & _SYS_ADMIN
    return words.get(b"NoNewPrivs") != b"0" or bool(allowed)
