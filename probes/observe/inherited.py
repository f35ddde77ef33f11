"""The sockets that a command has from its start, connected already."""

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from typing import Final

from probes.observe.addresses import Address, InternetAddress, UnixAddress, VirtualAddress
from probes.observe.peers import Peer, Peers, listener

_CREDENTIALS: Final = struct.Struct("=iII")
"""struct ucred: pid, uid, gid."""


def inherited(peers: Peers) -> Iterator[Peer]:
    """Whom the sockets lead to that this process passes on to what it executes.

    The other half of a pair has no address, nor has whoever has come to this process: with a daemon
    one speaks at its address.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is needed
        with contextlib.suppress(OSError):
            descriptor = int(name)
            if os.get_inheritable(descriptor) and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connected:
                    peer = _peer(peers, connected)
                if peer is not None:
                    yield peer


def _peer(peers: Peers, connected: socket.socket) -> Peer | None:
    there = connected.getpeername()
    address = _address(connected.family, there)
    if not isinstance(address, UnixAddress):
        return peers.of(os.getpid(), address) if address is not None else None
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    return Peer(address, (str(address),), listeners=(listener(pid),) if pid > 0 else ())


def _address(family: int, there: object) -> Address | None:
    if family == socket.AF_UNIX:
        return _unix(there)
    if not isinstance(there, tuple):
        return None
    if family in {socket.AF_INET, socket.AF_INET6}:
        return InternetAddress(str(there[0]).removeprefix("::ffff:"), int(there[1]))
    if family == socket.AF_VSOCK:
        return VirtualAddress(int(there[0]), int(there[1]))
    return None


def _unix(there: object) -> UnixAddress | None:
    name = os.fsencode(there) if isinstance(there, str) else there
    if not isinstance(name, bytes) or not name.strip(b"\0"):
        return None
    return UnixAddress(name[1:], abstract=True) if name[:1] == b"\0" else UnixAddress(name)
