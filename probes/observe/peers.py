"""Who listens at the other end of a socket, looked up in /proc: proc(5), unix(7).

A path is looked up as the caller's root and directory have it, and then by the file that it leads
to: a daemon may have bound its socket by another name, before a mount, a link or a renaming.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import PurePath
from typing import Final

from probes.instrument import kernel
from probes.observe import diag
from probes.observe.addresses import Address, InternetAddress, UnixAddress
from probes.observe.caller import Process, process_of
from probes.text import shown

_LISTENING: Final = "0A"
"""TCP_LISTEN, as proc_net(5) has states."""
_UNCONNECTED: Final = "07"
"""TCP_CLOSE, which stands there for a socket of UDP that has no other end."""
_ACCEPTS: Final = 0x10000
"""__SO_ACCEPTCON of linux/net.h, in the flags of a socket of this machine."""
_DATAGRAMS: Final = 2
_COLUMNS: Final = 8
_LONGEST: Final = 4096
_MAIN_CLASSES: Final = ("Daemon", "DaemonMain", "NGServer")
_DELETED: Final = " (deleted)"
_SELF: Final = (b"/proc/self/", b"/proc/thread-self/")

# PROC_PID_INIT_INO of linux/proc_ns.h
_FIRST_PID_NAMESPACE: Final = f"pid:[{0xEFFFFFFC}]"

# MINORBITS of linux/kdev_t.h
_MINOR_BITS: Final = 20
_INT: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens.

    Attributes:
        process: which.
        names: what it goes by: the name of its file, of itself, and of what an interpreter runs.
        executable: the path of its program; "" where it could not be read.
    """

    process: Process
    names: tuple[str, ...]
    executable: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a socket.

    Attributes:
        address: as the caller names it.
        paths: every path of it that is known.
        port: of TCP; None for UDP, and for a socket of this machine.
        here: whether it is on this machine.
        waits: whether anybody is known to wait there.
        listeners: who does, as far as it could be found out.
    """

    address: Address
    paths: tuple[str, ...] = ()
    port: int | None = None
    here: bool = True
    waits: bool = True
    listeners: tuple[Listener, ...] = ()


@dataclass(slots=True)
class Peers:
    """Finds the other ends of sockets, and remembers those that it has found.

    Attributes:
        openat2: the number of that call.
    """

    openat2: int | None
    _holders: dict[int, tuple[Listener, ...]] = field(default_factory=dict)
    _hosts: dict[str, bool] = field(default_factory=dict)

    def of(self, tid: int, address: Address) -> Peer | None:
        """Whom a thread reaches at an address; None where nobody can be there."""
        if isinstance(address, UnixAddress):
            return self._named(tid, address) if address.abstract else self._at(tid, address)
        if isinstance(address, InternetAddress):
            if not self._is_here(address.host):
                return Peer(address, port=address.port, here=False)
            sockets = _tcp_listeners(tid, address.port)
            port = address.port if sockets else None
            if not sockets:  # then it is nobody, or datagrams are meant
                sockets = _udp_receivers(tid, address.port)
            waits, listeners = bool(sockets), self._holding(sockets)
            return Peer(address, (), port, waits=waits, listeners=listeners)
        return Peer(address, here=False)

    def _named(self, tid: int, address: UnixAddress) -> Peer | None:
        # The kernel shows a zero byte as @, and a name may be filled up with them.
        name = str(address).replace("\0", "@").rstrip("@")
        found = [one.inode for one in _unix_sockets([tid]) if one.path.rstrip("@") == name]
        return Peer(address, (name,), listeners=self._holding(found)) if found else None

    def _at(self, tid: int, address: UnixAddress) -> Peer | None:
        try:
            file = _File.of(tid, address.name, self.openat2)
        except PermissionError:  # another user's: then the path has to do
            return Peer(address, (str(address),))
        except OSError:  # nothing is there, so that the call fails
            return None
        if not file.is_socket:
            return None
        listeners = self._holding(_bound_to(file))
        if not listeners:
            everywhere = _one_of_each_network() if sees_everybody() else [tid]
            listeners = _verified(everywhere, file)
        if not listeners and sees_everybody():
            return None
        return Peer(address, tuple(dict.fromkeys((str(address), file.path))), listeners=listeners)

    def _holding(self, inodes: Iterable[int]) -> tuple[Listener, ...]:
        found: dict[Listener, None] = {}
        for inode in inodes:
            known = self._holders.get(inode)
            if not known or any(process_of(one.process[0]) != one.process for one in known):
                pids = _holders({inode}).get(inode, ())
                known = self._holders[inode] = tuple(map(listener, pids))
            found |= dict.fromkeys(known)
        return tuple(found)

    def _is_here(self, host: str) -> bool:
        known = self._hosts.get(host)
        if known is None:
            known = self._hosts[host] = _is_here(host)
        return known


@dataclass(frozen=True, slots=True)
class _File:
    """The file that a path leads to."""

    path: str
    inode: int
    device: int
    is_socket: bool

    @classmethod
    def of(cls, tid: int, path: bytes, openat2: int | None) -> "_File":
        descriptor = _opened(tid, path, openat2)
        try:
            found = os.fstat(descriptor)
            name = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - not a path of ours
        finally:
            os.close(descriptor)
        return cls(name, found.st_ino, found.st_dev, stat.S_ISSOCK(found.st_mode))

    def is_same(self, other: os.stat_result) -> bool:
        return (self.inode, self.device) == (other.st_ino, other.st_dev)


def _opened(tid: int, path: bytes, openat2: int | None) -> int:
    """A descriptor that names a file as a thread finds it.

    Raises:
        OSError: there is none, or this user may not look.
    """
    for own in _SELF:
        if path.startswith(own):
            return os.open(b"/proc/%d/%s" % (tid, path.removeprefix(own)), os.O_PATH | os.O_CLOEXEC)
    if not path.startswith(b"/"):
        path = _below_root(tid) + b"/" + path
    root = os.open(f"/proc/{tid}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        with contextlib.suppress(_CannotBeInRootError):
            return _in_root(openat2, root, path)
        # What a link of that root leads to is then looked for in ours.
        return os.open(path.lstrip(b"/") or b".", os.O_PATH | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)


class _CannotBeInRootError(Exception):
    """The kernel is older than Linux 5.6, or the path goes through a link of /proc."""


def _in_root(openat2: int | None, root: int, path: bytes) -> int:
    if openat2 is None:
        raise _CannotBeInRootError
    try:
        return kernel.open_in_root(openat2, root, path)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EXDEV, errno.ELOOP}:
            raise _CannotBeInRootError from error
        raise


def _below_root(tid: int) -> bytes:
    """A thread's directory, from its root on."""
    root = os.readlink(b"/proc/%d/root" % tid)  # noqa: PTH115 - bytes
    here = os.readlink(b"/proc/%d/cwd" % tid)  # noqa: PTH115 - bytes
    return here if root == b"/" else here.removeprefix(root)


def _verified(tids: Collection[int], file: _File) -> tuple[Listener, ...]:
    """The listeners in some threads' network namespaces whose socket's path leads to a file."""
    places = {one.inode: one.path for one in _unix_sockets(tids) if one.path[:1] != "@"}
    found = []
    for inode, holders in _holders(places).items():
        for pid in holders:
            base = "root" if places[inode].startswith("/") else "cwd"
            with contextlib.suppress(OSError):
                name = f"/proc/{pid}/{base}/{places[inode].lstrip('/')}"
                if file.is_same(os.stat(name)):  # noqa: PTH116 - a path of another root
                    found.append(pid)
    return tuple(map(listener, dict.fromkeys(found)))


def _one_of_each_network() -> list[int]:
    """A process of each network namespace."""
    found: dict[str, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if name.isdigit():
            found.setdefault(_network_of(int(name)), int(name))
    return list(found.values())


def sees_everybody() -> bool:
    """Whether this process can look at every other one of the machine."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path
    except OSError:
        return False
    return os.geteuid() == 0 and space == _FIRST_PID_NAMESPACE


@dataclass(frozen=True, slots=True)
class _UnixSocket:
    inode: int
    path: str


def _unix_sockets(tids: Collection[int]) -> Iterator[_UnixSocket]:
    """The sockets that wait for others in the network namespaces of some threads."""
    for line in dict.fromkeys(line for tid in tids for line in _lines(f"/proc/{tid}/net/unix")):
        words = line.split(maxsplit=7)
        if len(words) < _COLUMNS or words[-1] == "Path":  # it has no name, or this is the head
            continue
        with contextlib.suppress(ValueError):  # a path may hold the end of a line
            if int(words[3], 16) & _ACCEPTS or int(words[4], 16) == _DATAGRAMS:
                yield _UnixSocket(int(words[6]), words[7])


def _tcp_listeners(tid: int, port: int) -> list[int]:
    """The sockets that listen on a port in a thread's network namespace."""
    if _network_of(tid) == _network_of(os.getpid()):
        with contextlib.suppress(OSError):
            return diag.listening(port)
    found = []
    for table in ("tcp", "tcp6"):
        for line in _lines(f"/proc/{tid}/net/{table}")[1:]:
            words = line.split()
            if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                found.append(int(words[9]))
    return found


def _udp_receivers(tid: int, port: int) -> list[int]:
    """The sockets that wait for anybody's datagrams at a port, likewise."""
    found = []
    for table in ("udp", "udp6"):
        for line in _lines(f"/proc/{tid}/net/{table}")[1:]:
            words = line.split()
            if words[3] == _UNCONNECTED and int(words[1].rpartition(":")[2], 16) == port:
                found.append(int(words[9]))
    return found


def _network_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115 - no path
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    return _read(path, -1).splitlines()


def _bound_to(file: _File) -> list[int]:
    """The sockets of our own network namespace that are bound to a file."""
    device = os.major(file.device) << _MINOR_BITS | os.minor(file.device)
    bound = diag.bound_sockets()
    found = {inode: at for inode, at in bound.items() if at[0] == file.inode & _INT}
    exact = [inode for inode, at in found.items() if at[1] == device]
    return exact or list(found)  # an overlay shows another device


def _holders(inodes: Collection[int]) -> Mapping[int, list[int]]:
    """The processes that have some sockets open, as far as this user may look."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if wanted else ():  # noqa: PTH208 - names are all that is needed
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{name}/fd"):  # noqa: PTH208 - likewise
                with contextlib.suppress(OSError):
                    link = os.readlink(f"/proc/{name}/fd/{descriptor}")  # noqa: PTH115 - no path
                    if link in wanted:
                        found.setdefault(wanted[link], []).append(int(name))
    return {inode: list(dict.fromkeys(pids)) for inode, pids in found.items()}


def listener(pid: int) -> Listener:
    """What a process goes by."""
    process = process_of(pid)
    executable = program_of(pid)
    names = [PurePath(executable).name]
    names.append(_read(f"/proc/{pid}/comm").removesuffix("\n"))
    words = _read(f"/proc/{pid}/cmdline").split("\0")
    # What it calls itself, what an interpreter runs, and the main class of Java.
    names.append(" ".join([PurePath(words[0]).name, *words[1:2]]))
    names += [PurePath(word.split(" ")[0].rstrip(":")).name for word in words[:2]]
    names += [word for word in words[2:] if word.endswith(_MAIN_CLASSES)]
    known = tuple(dict.fromkeys(name for name in names if name))
    return Listener(process, known, shown(executable))


def _read(path: str, size: int = _LONGEST) -> str:
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123 - a file of /proc
            return file.read(size)
    except OSError:  # it has ended
        return ""


def program_of(pid: int) -> str:
    """The path of a process' program; "" where it cannot be read."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(_DELETED)  # noqa: PTH115 - not a path of ours
    except OSError:
        return ""


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    address = ip_address(host)
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.bind((host, 0))
    except OSError:
        return False
    return True
