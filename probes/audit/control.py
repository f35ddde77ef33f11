"""What the kernel's audit says of itself over NETLINK_AUDIT: its status and its rules.

See the kernel's ``include/uapi/linux/audit.h``: AUDIT_GET and AUDIT_LIST_RULES ask for
CAP_AUDIT_CONTROL in the initial user and pid namespaces. Nothing is ever changed.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from probes.audit.record import MalformedRecordError
from probes.audit.rules import AuditRule, read_rule

NETLINK_AUDIT: Final = 9
"""include/uapi/linux/netlink.h; socket has no name for it."""

LONGEST_MESSAGE: Final = 65536
"""The longest datagram that the kernel sends, in bytes."""

_AUDIT_GET = 1000
_AUDIT_LIST_RULES = 1013
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLMSG_ERROR = 2
_NLMSG_DONE = 3

_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length with the header, type, flags, sequence, port."""
_ERROR = struct.Struct("=i")
_STATUS = struct.Struct("=8I")
"""The start of struct audit_status, which every kernel has."""
_REPLY_DEADLINE = 2.0


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """The kernel's answer to AUDIT_GET, as ``auditctl -s`` shows it.

    Attributes:
        enabled: 0 off, 1 on, 2 locked; SECCOMP records are written whatever it is.
        failure: what the kernel does when it loses a record: 0 silent, 1 printk, 2 panic.
        pid: the auditd that gets the records; 0 for none.
        rate_limit: records a second; 0 for no limit.
        backlog_limit: records that may wait in the kernel; 0 for no limit.
        lost: records lost since boot.
        backlog: records waiting.
    """

    enabled: int
    failure: int
    pid: int
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int


class AuditControl:
    """Asks the kernel for its audit status and rules; it never changes them."""

    def __init__(self) -> None:
        """Opens the socket; where there is none to be had, every answer is None."""
        self._sequence = 0
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # a kernel without audit, or in a namespace
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)

    def status(self) -> AuditStatus | None:
        """The status now; None where this process may not ask (CAP_AUDIT_CONTROL)."""
        found = None
        # EPERM or ECONNREFUSED in the answer, or none in time: it may not be read.
        with contextlib.suppress(OSError):  # which is told by None
            for kind, payload in self._asked(_AUDIT_GET):
                if kind == _AUDIT_GET and len(payload) >= _STATUS.size:
                    found = AuditStatus(*_STATUS.unpack_from(payload)[1:])
                    break
        return found

    def rules(self) -> tuple[AuditRule, ...] | None:
        """The rules in force, in the order in which they are tried; None where it may not ask."""
        try:
            return tuple(
                read_rule(bytes(payload))
                for kind, payload in self._asked(_AUDIT_LIST_RULES)
                if kind == _AUDIT_LIST_RULES
            )
        except OSError:
            return None

    def lost(self) -> int | None:
        """The kernel's counter of lost records; None where this process may not ask."""
        status = self.status()
        return status.lost if status is not None else None

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _asked(self, kind: int) -> Iterator[tuple[int, bytes | memoryview]]:
        """The answers to a request, up to the end of a list; acknowledgements are left out.

        Raises:
            OSError: there is no socket, the kernel refused, or it did not answer in time.
        """
        if self._socket is None:
            raise OSError
        self._sequence += 1
        flags = _NLM_F_REQUEST | _NLM_F_ACK
        request = _HEADER.pack(_HEADER.size, kind, flags, self._sequence, 0)
        self._socket.sendto(request, (0, 0))
        end = time.monotonic() + _REPLY_DEADLINE
        while True:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            for found, sequence, payload in messages(self._socket.recv(LONGEST_MESSAGE)):
                if sequence != self._sequence:
                    continue
                if found == _NLMSG_DONE:
                    return
                if found != _NLMSG_ERROR:
                    yield found, payload
                elif code := -_ERROR.unpack_from(payload)[0]:
                    raise OSError(code, os.strerror(code))


def audit_rules() -> tuple[AuditRule, ...] | None:
    """The rules that are in force now; None where this process may not ask."""
    with contextlib.closing(AuditControl()) as control:
        return control.rules()


def messages(data: bytes | memoryview) -> Iterator[tuple[int, int, bytes | memoryview]]:
    """Takes a datagram apart into type, sequence number and payload.

    Raises:
        MalformedRecordError: a length that does not fit the datagram.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise MalformedRecordError(bytes(data[offset:]).hex())
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise MalformedRecordError(bytes(data[offset:]).hex())
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
