"""SECCOMP records from the kernel's own multicast group.

See netlink(7), capabilities(7) and the kernel's ``include/uapi/linux/audit.h``: the group
AUDIT_NLGRP_READLOG asks for CAP_AUDIT_READ. In a network namespace other than the initial one the
group can be joined and stays silent.
"""

import contextlib
import errno
import math
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

from probes import environment
from probes.audit.collector import (
    CollectorUnavailableError,
    Event,
    SequencedCollector,
    SerialLedger,
    read_event,
    why_silent,
)
from probes.audit.control import LONGEST_MESSAGE, NETLINK_AUDIT, AuditControl, messages
from probes.audit.record import (
    CONFIG_CHANGE_MESSAGE_TYPE,
    SECCOMP_MESSAGE_TYPE,
    MalformedRecordError,
    change_of_settings,
    kernel_serial,
)

RECEIVE_BUFFER = 16 * 1024 * 1024
"""The receive buffer in bytes; it holds some 20,000 records."""

# socket has no names for these. include/uapi/linux/netlink.h, audit.h, asm-generic/socket.h
_AUDIT_NLGRP_READLOG = 1
_SO_RCVBUFFORCE = 33
_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5

_OVERFLOW = (
    "The socket's receive buffer overflowed (ENOBUFS) and audit records were lost: read more "
    "often, or grant CAP_NET_ADMIN for a larger buffer."
)
_READ_AT_ONCE = 4096


class NetlinkCollector(SequencedCollector):
    """Reads the records that the kernel sends to AUDIT_NLGRP_READLOG.

    A loss shows as a gap in the serial numbers, in the kernel's counter of lost records, and as an
    overflow of the socket's buffer (ENOBUFS).
    """

    def __init__(
        self,
        *,
        fileno: int | None = None,
        receive_buffer: int = RECEIVE_BUFFER,
        root: Path = Path("/"),
    ) -> None:
        """Joins the group.

        Args:
            fileno: a socket that has joined it already, such as one opened on the host and
                passed into a container; it is duplicated and stays the caller's. Whoever opens
                it gives it a large receive buffer, which may not be done in a container.
            receive_buffer: bytes to ask for, unless ``fileno`` is given.
            root: the directory that holds ``proc``, for the diagnosis of silence.

        Raises:
            CollectorUnavailableError: this process may not join, this kernel has no audit, or
                ``fileno`` is another kind of socket.
        """
        self._socket = joined(receive_buffer) if fileno is None else _passed(fileno)
        self._socket.setblocking(False)  # noqa: FBT003 - socket's own signature
        _tell_losses(self._socket)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._buffer = bytearray(LONGEST_MESSAGE)
        self._overflow = ""
        self._root = root
        self._control = AuditControl()
        super().__init__("netlink", self._control.lost, SerialLedger())

    def _note(self, events: tuple[Event, ...]) -> None:
        """Keeps what was read; the group delivers everything from the first event on."""
        if self._ledger.base is None:
            first = next((event.serial for event in events if event.serial is not None), None)
            self._ledger.base = first - 1 if first is not None else None
        super()._note(events)

    def close(self) -> None:
        """Leaves the group."""
        self._socket.close()
        self._control.close()

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Drains the socket."""
        events: list[Event] = []
        view = memoryview(self._buffer)
        for _ in range(_READ_AT_ONCE):
            try:
                size, sender = self._socket.recvfrom_into(self._buffer)
            except BlockingIOError:
                if self._overflow:
                    # Whatever was queued when the buffer overflowed is behind us, and what was
                    # lost belongs here.
                    events.append(Event(trouble=self._overflow))
                    self._overflow = ""
                if events or not timeout:
                    break
                self._poll.poll(math.ceil(timeout * 1000))
                timeout = 0.0
                continue
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    text = _refused("recvfrom(2) of an audit socket", problem, self._root)
                    raise CollectorUnavailableError(text) from problem
                # Raised before the messages that were queued earlier.
                self._overflow = _OVERFLOW
                continue
            if sender[0] == 0:  # from the kernel
                events.extend(_events(view[:size], self._overflow))
        return tuple(events)

    def _silence(self) -> str:
        """Why the group delivers nothing, as a clause that follows a colon."""
        return why_silent(self._root)


def joined(receive_buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """A socket of our own in the group.

    Args:
        receive_buffer: bytes to ask for.

    Raises:
        CollectorUnavailableError: this process may not join, or this kernel has no audit.
    """
    try:
        own = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
    except OSError as problem:
        raise CollectorUnavailableError(why_no_socket(problem)) from problem
    _enlarge(own, receive_buffer)  # before the first record arrives
    try:
        own.bind((0, 1 << (_AUDIT_NLGRP_READLOG - 1)))
    except OSError as problem:
        own.close()
        raise CollectorUnavailableError(why_unbound(problem)) from problem
    return own


def why_no_socket(problem: OSError, root: Path = Path("/")) -> str:
    """Why no socket is to be had for audit records, one sentence.

    Every kernel with sockets has AF_NETLINK, and one without audit says EPROTONOSUPPORT; one with
    audit lists its own socket in ``/proc/net/netlink``. Whatever does not fit, a filter answers.

    Args:
        problem: what socket(2) said.
        root: the directory that holds ``proc``.
    """
    if problem.errno == errno.EPROTONOSUPPORT and not _has_audit(root):
        return (
            f"This kernel offers no NETLINK_AUDIT socket ({problem.strerror}): audit records need "
            "one built with CONFIG_AUDIT."
        )
    return _refused("socket(AF_NETLINK)", problem, root)


def why_unbound(problem: OSError, root: Path = Path("/")) -> str:
    """Why a socket cannot join the group, one sentence: the kernel's only reason is EPERM.

    Args:
        problem: what bind(2) said.
        root: the directory that holds ``proc``.
    """
    if problem.errno == errno.EPERM and not _may_read_audit(root):
        return (
            "Reading audit records from the kernel needs CAP_AUDIT_READ in the initial user "
            f"namespace (bind: {problem.strerror}): run as root, grant the capability, or name "
            "auditd's log with --audit-source."
        )
    return _refused("bind(2) of an audit socket", problem, root)


def _refused(what: str, problem: OSError, root: Path) -> str:
    """The sentence about a call that something else than the kernel's audit refuses."""
    name = errno.errorcode.get(problem.errno or 0, str(problem.errno))
    mode = environment.seccomp_mode(root)
    if mode:
        who, shown = "This process's own filter", f"its /proc/self/status says Seccomp: {mode}"
    else:
        who, shown = "A security module or the kernel", f"no filter is seen: Seccomp: {mode}"
    return (
        f"{who} answers {what} with {name} ({shown}), so no audit record can be read from the "
        "kernel here: allow that call, or have with-audit open the socket outside (--audit-fd)."
    )


def _has_audit(root: Path) -> bool:
    """Whether the kernel has a NETLINK_AUDIT socket of its own, with port 0."""
    try:
        rows = (root / "proc/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    return any(row.split()[1:3] == [str(NETLINK_AUDIT), "0"] for row in rows)


def _may_read_audit(root: Path) -> bool:
    """Whether this process has CAP_AUDIT_READ, as root of the initial user namespace has it."""
    try:
        ranges = (root / "proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return False
    capabilities = int(environment.read(root).capabilities, 16)
    return ranges == _EVERY_USER and bool(capabilities >> _CAP_AUDIT_READ & 1)


_EVERY_USER = ["0", "0", "4294967295"]
_CAP_AUDIT_READ = 37


def _passed(fileno: int) -> socket.socket:
    """Duplicates the caller's socket, and checks that it reads audit records."""
    try:
        duplicate = os.dup(fileno)
    except OSError as problem:
        raise CollectorUnavailableError(
            f"File descriptor {fileno} is not open ({problem.strerror}): have with-audit, or "
            "whatever opened it on the host, pass it on to this process."
        ) from problem
    try:
        passed = socket.socket(fileno=duplicate)
    except OSError as problem:
        os.close(duplicate)
        raise CollectorUnavailableError(
            f"File descriptor {fileno} is no socket ({problem.strerror}): pass one that has joined "
            "the audit group."
        ) from problem
    kind = (passed.family, passed.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
    if kind == (socket.AF_NETLINK, NETLINK_AUDIT):
        groups = passed.getsockname()[1]
        if groups & (1 << (_AUDIT_NLGRP_READLOG - 1)):
            return passed
    passed.close()
    raise CollectorUnavailableError(
        f"File descriptor {fileno} is not a NETLINK_AUDIT socket in the group "
        "AUDIT_NLGRP_READLOG: open and bind it so on the host."
    )


def _tell_losses(own: socket.socket) -> None:
    """Turns NETLINK_NO_ENOBUFS off, so that an overflow raises ENOBUFS."""
    with contextlib.suppress(OSError):  # the serial numbers show a loss, too
        own.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 0)


def _enlarge(own: socket.socket, size: int) -> None:
    """Sets the receive buffer's size, past the system's limit where this process may."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):  # a small one overflows sooner, and says so
            own.setsockopt(socket.SOL_SOCKET, option, size)
            return


def _events(datagram: memoryview, trouble: str) -> Iterator[Event]:
    """Reads a datagram.

    Args:
        datagram: the bytes that were received.
        trouble: what is known to be wrong at this place already.
    """
    try:
        for kind, _, payload in messages(datagram):
            text = bytes(payload).rstrip(b"\0\n").decode("utf-8", "surrogateescape")
            if kind == SECCOMP_MESSAGE_TYPE:
                yield read_event(text, trouble)
            else:
                change = change_of_settings(text) if kind == CONFIG_CHANGE_MESSAGE_TYPE else ""
                yield Event(kernel_serial(text), None, trouble, change)
    except MalformedRecordError as problem:
        yield Event(trouble=trouble or str(problem))
