"""Whom a workload talks to, and whether work is started for it where nobody looks."""

import re
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Final

from probes.observe import processes
from probes.observe.addresses import Address, Memory, VirtualAddress, named, parsed
from probes.observe.caller import Caller, Process, memory, process_of
from probes.observe.daemons import Daemon, by_client, by_path, by_port, by_program, daemons
from probes.observe.listener import Notification
from probes.observe.peers import Peer, Peers, program_of
from probes.observe.watch import Addressing
from probes.text import shown

MOST: Final = 256
"""Contacts that are told apart; what comes then is not told."""
_MOST_SEEN: Final = 1 << 16
"""Addresses that are remembered, so that they are looked up once."""

GRACE_SECONDS: Final = 0.2
"""How long a listener has, after the workload's end, to begin what it was asked for."""

_POLL_SECONDS: Final = 0.02
_SYSTEMD: Final = "systemd"
_CHILD_FAULTS: Final = (8, 10)
"""Fields 11 and 13 of proc_pid_stat(5), counted after the name."""


class Work(StrEnum):
    """What is known of the work that the other end does for the workload."""

    STARTS = "starts work"
    """That is what it is there for."""
    STARTED = "started processes"
    """It did so meanwhile."""
    ENDED = "has ended"
    """So that it cannot be asked any more."""
    UNKNOWN = "not known"
    """Who is there, or what was reached, could not be looked up."""
    NONE = "none seen"
    """It started no process meanwhile."""

    @property
    def limits(self) -> bool:
        """Whether something may have been done that nobody saw."""
        return self is not Work.NONE


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody outside the workload to whom one of its programs talked.

    Attributes:
        executable: the workload's program.
        where: the other end's address.
        listener: the program that listens there; "" where it is not known.
        daemon: what it is; "" if it is none that is known.
        starts: what that starts for its clients.
        image: whether ``--image`` sees what it starts.
        work: what is known of its work.
    """

    executable: str
    where: str
    listener: str
    daemon: str
    starts: str
    image: bool
    work: Work


@dataclass(frozen=True, slots=True)
class _State:
    """What tells whether a process, or one below it, has started another."""

    process: Process
    executable: str
    faults: Mapping[int, Sequence[bytes]]
    """Page faults of the children that were waited for, by process."""
    reaps_silently: bool

    @classmethod
    def of(cls, pid: int) -> "_State":
        everybody = {pid: processes.stat_of(pid), **processes.family(pid)}
        faults = {
            one: tuple(fields[at] for at in _CHILD_FAULTS)
            for one, fields in everybody.items()
            if fields
        }
        return cls(process_of(pid), program_of(pid), faults, _ignores_ends(pid))

    def work(self) -> Work:
        """What was done since."""
        now = _State.of(self.process[0])
        if now.process != self.process or _has_ended(self.process[0]):
            return Work.ENDED
        started = now.executable != self.executable or any(
            self.faults.get(pid) != faults for pid, faults in now.faults.items()
        )
        if started:
            return Work.STARTED
        return Work.UNKNOWN if self.reaps_silently else Work.NONE


def _has_ended(pid: int) -> bool:
    fields = processes.stat_of(pid)
    return not fields or fields[0] in processes.ENDED


def _ignores_ends(pid: int) -> bool:
    """Whether a process has the kernel reap its children, so that they leave no trace."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    found = re.search(rb"^SigIgn:\s*([0-9a-f]+)", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) & 1 << signal.SIGCHLD - 1)


@dataclass(slots=True)
class Contacts:
    """Looks at the calls that name the other end of a socket.

    Attributes:
        peers: finds who is there.
        below: tells the processes of the workload.
        full: whether there were more than ``MOST``.
        unreadable: the programs of which an address could not be read.
    """

    peers: Peers
    below: Callable[[], Collection[int]]
    full: bool = False
    unreadable: dict[str, None] = field(default_factory=dict)
    _seen: set[tuple[Process, str, bytes]] = field(default_factory=set)
    _found: dict[Contact, None] = field(default_factory=dict)
    _asked: dict[Contact, "_Asked"] = field(default_factory=dict)

    def look(self, what: Addressing, seen: Notification, who: Callable[[int], Caller]) -> None:
        """Takes note of whom a call is about to reach.

        Args:
            what: the call.
            seen: it, while its caller waits.
            who: tells the caller.
        """
        try:
            raw = list(named(what.name, what.arch, seen.args, _memory_of(seen.tid)))
        except PermissionError:
            self.unreadable[who(seen.tid).executable] = None
            return
        for one in raw:
            address = parsed(one)
            if address is not None:
                self._reach(seen.tid, who(seen.tid), address, one)

    def _reach(self, tid: int, caller: Caller, address: Address, raw: bytes) -> None:
        key = (caller.process, caller.executable, raw)
        if key in self._seen:
            return
        peer = self.peers.of(tid, address)
        if peer is None:
            return
        if len(self._seen) < _MOST_SEEN and (peer.listeners or not peer.here):
            self._seen.add(key)
        self.note(caller.executable, peer)

    def note(self, executable: str, peer: Peer) -> None:
        """Takes note of a peer, unless it is of the workload or known to start nothing.

        Args:
            executable: the program that talks to it; "" for what was so at the start.
            peer: whom it talks to.
        """
        inside = self.below() if peer.listeners else ()
        if any(one.process[0] in inside for one in peer.listeners):
            return
        found = judged(executable, peer)
        if found is None or found.contact in self._found:
            return
        if len(self._found) >= MOST:
            self.full = True
            return
        self._found[found.contact] = None
        if found.contact.work is Work.NONE:
            # systemd may hold a socket along with the service, and starts others all the time.
            alone = [one for one in peer.listeners if _SYSTEMD not in one.names]
            states = tuple(_State.of(one.process[0]) for one in alone)
            self._asked[found.contact] = _Asked(states, quiet=found.quiet)

    def finish(self) -> tuple[Contact, ...]:
        """What came of it: to be asked once the workload has ended."""
        until = time.monotonic() + GRACE_SECONDS
        told: dict[Contact, Work] = {}
        while self._asked:
            for one, asked in self._asked.items():
                if told.get(one, Work.NONE) is Work.NONE:
                    told[one] = asked.work()
            if Work.NONE not in told.values() or time.monotonic() > until:
                break
            time.sleep(_POLL_SECONDS)
        found = [
            replace(one, work=told.get(one, one.work))
            for one in self._found
            if not (one in self._asked and self._asked[one].quiet and told[one] is Work.NONE)
        ]
        return tuple(sorted(found, key=lambda one: (one.executable, one.where, one.listener)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Listeners that are asked at the end what they have done."""

    states: tuple[_State, ...]
    quiet: bool

    def work(self) -> Work:
        found = {state.work() for state in self.states}
        return next((one for one in _WORST_FIRST if one in found), Work.NONE)


_WORST_FIRST: Final = (Work.STARTED, Work.ENDED, Work.UNKNOWN)


def _memory_of(tid: int) -> Memory:
    return lambda address, size: memory(tid, address, size)


@dataclass(frozen=True, slots=True)
class JudgedContact:
    """The judgment of a peer: the contact that it is, and on what condition it is reported.

    Attributes:
        contact: the contact as a report shows it.
        quiet: whether it is reported only if it is seen to start something.
    """

    contact: Contact
    quiet: bool = False


def judged(executable: str, peer: Peer) -> JudgedContact | None:
    """What a peer is to a workload's program; None where it starts nothing. Pure.

    That a program or a path starts work outweighs all else. A port says less than a program that is
    known to start nothing: it may be anybody's.
    """
    programs = [by_program(one.names) for one in peer.listeners]
    path = by_path(peer.paths)
    port = by_port(peer.port) if peer.port is not None else None
    client = by_client({PurePath(executable).name}) if peer.port not in _NAME_SERVICE else None
    if peer.port is None and _harmless(programs, path):
        client = None
    starting = next((one for one in (*programs, path) if one and one.starts), None)
    if starting is None and not any(programs):
        starting = port if port and port.starts else None
    starting = starting or client
    if starting is None and not any(programs) and path is None:
        starting = _by_activation(peer)
    if starting is not None:
        return JudgedContact(_contact(executable, peer, starting, Work.STARTS))
    if any(programs) or not peer.waits:
        return None
    if not peer.here:
        # A virtual machine's port has no table; another host's service is a service as any other.
        virtual = isinstance(peer.address, VirtualAddress)
        return JudgedContact(_contact(executable, peer, None, Work.UNKNOWN)) if virtual else None
    known = path or port
    if not peer.listeners:
        return None if known else JudgedContact(_contact(executable, peer, None, Work.UNKNOWN))
    return JudgedContact(_contact(executable, peer, None, Work.NONE), quiet=known is not None)


_NAME_SERVICE: Final = frozenset({53, 853})


def _harmless(programs: Iterable[Daemon | None], path: Daemon | None) -> bool:
    known = [one for one in (*programs, path) if one]
    return bool(known) and not any(one.starts for one in known)


def _by_activation(peer: Peer) -> Daemon | None:
    """systemd, where it holds a socket alone: it starts a unit for the first who comes."""
    if peer.listeners and all(_SYSTEMD in one.names for one in peer.listeners):
        return next(one for one in daemons() if one.name == _SYSTEMD)
    return None


def _where(peer: Peer) -> str:
    """The address, and where a relative path or a link leads."""
    further = [path for path in peer.paths[1:] if path != str(peer.address)]
    return shown(" -> ".join((str(peer.address), *further)))


def _contact(executable: str, peer: Peer, daemon: Daemon | None, work: Work) -> Contact:
    programs = dict.fromkeys(one.executable for one in peer.listeners if one.executable)
    return Contact(
        executable,
        _where(peer),
        next(iter(programs), ""),
        daemon.name if daemon else "",
        daemon.starts if daemon else "",
        image=daemon.image if daemon else False,
        work=work,
    )
