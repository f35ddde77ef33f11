"""Plays a collector that writes a log: real records of the kernel, as they come.

It reads the kernel's multicast group by itself and shares no code with the suite's collectors.
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

_NETLINK_AUDIT = 9
_AUDIT_NLGRP_READLOG = 1
_SECCOMP = 1326
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 16 << 20
_HEADER = struct.Struct("=IHHII")
_INTERVAL = 0.1
"""Seconds between two times of writing; osquery's least is a second."""

Write = Callable[[list[str]], None]
"""What writes records to a log."""


def _texts(reader: socket.socket) -> Iterator[str]:
    """The records that are there."""
    while select.select([reader], [], [], 0)[0]:
        message = reader.recv(1 << 16)
        length, kind, *_ = _HEADER.unpack_from(message)
        if kind == _SECCOMP:
            yield message[_HEADER.size : max(length, len(message))].rstrip(b"\0\n").decode()


def _play(reader: socket.socket, write: Write, ended: threading.Event, interval: float) -> None:
    while not ended.wait(interval):
        write(list(_texts(reader)))


@contextlib.contextmanager
def replayed(write: Write, interval: float = _INTERVAL) -> Iterator[None]:
    """Has every record written meanwhile; root's, in the initial network namespace.

    Args:
        write: writes the records of an interval, or none.
        interval: in seconds.
    """
    ended = threading.Event()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_AUDIT) as reader:
        # What the collectors that it plays can keep, and hundreds of records come in a row.
        reader.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        reader.bind((0, 1 << (_AUDIT_NLGRP_READLOG - 1)))
        player = threading.Thread(target=_play, args=(reader, write, ended, interval))
        player.start()
        try:
            yield
        finally:
            ended.set()
            player.join()
