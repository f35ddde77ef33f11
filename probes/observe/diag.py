"""The kernel's list of sockets, of this process' own network namespace: sock_diag(7)."""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

# linux/netlink.h, linux/sock_diag.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_A_DUMP: Final = 0x301
_DONE: Final = 3
_ERROR: Final = 2
_BUFFER: Final = 1 << 16
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_SECONDS: Final = 1.0

# linux/unix_diag.h
_SHOW_FILE: Final = 2
_FILE: Final = 1
_EVERY: Final = 0xFFFFFFFF
_UNIX_ASKED: Final = struct.Struct("=BBHIII2I")
_UNIX_TOLD: Final = struct.Struct("=4BI2I")
_FILE_ID: Final = struct.Struct("=II")

# linux/inet_diag.h: the state and struct inet_diag_sockid, which begins with the port
_LISTEN: Final = 1 << 10
_INET_ASKED: Final = struct.Struct("=BBBBI48x")
_PORT: Final = struct.Struct(">4xH")
_INODE: Final = struct.Struct("=68xI")


def bound_sockets() -> Mapping[int, tuple[int, int]]:
    """Inode and device of the file of each socket that is bound to one; none if nobody can tell."""
    found: dict[int, tuple[int, int]] = {}
    asked = _UNIX_ASKED.pack(socket.AF_UNIX, 0, 0, _EVERY, 0, _SHOW_FILE, _EVERY, _EVERY)
    with contextlib.suppress(OSError):
        for told in _dump(asked):
            *_, inode, _, _ = _UNIX_TOLD.unpack_from(told)
            for kind, value in _attributes(told[_UNIX_TOLD.size :]):
                if kind == _FILE:
                    found[inode] = _FILE_ID.unpack_from(value)
    return found


def listening(port: int) -> list[int]:
    """The TCP sockets that listen on a port.

    Raises:
        OSError: the kernel does not tell.
    """
    found: list[int] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for told in _dump(_INET_ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTEN)):
            if _PORT.unpack_from(told) == (port,):
                found += _INODE.unpack_from(told)
    return found


def _dump(asked: bytes) -> Iterator[bytes]:
    """The answers to a question.

    Raises:
        OSError: the kernel does not answer.
    """
    head = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _REQUEST_A_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        asking.settimeout(_SECONDS)
        asking.send(head + asked)
        while True:
            raw = asking.recv(_BUFFER)
            at = 0
            while at + _HEADER.size <= len(raw):
                size, kind, *_ = _HEADER.unpack_from(raw, at)
                if kind == _DONE:
                    return
                if kind == _ERROR or size < _HEADER.size:
                    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
                yield raw[at + _HEADER.size : at + size]
                at += size + 3 & ~3


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(raw):
        size, kind = _ATTRIBUTE.unpack_from(raw, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind, raw[at + _ATTRIBUTE.size : at + size]
        at += size + 3 & ~3
