"""The listener of a filter: notifications in, answers out.

Layouts and requests are those of linux/seccomp.h. A reader must ask poll(2) first: where the
caller has died meanwhile, older kernels (5.10 and 6.1 were seen to) keep it waiting.
"""

import contextlib
import fcntl
import struct
from dataclasses import dataclass
from typing import Final

# struct seccomp_notif: id, pid, flags, and struct seccomp_data: nr, arch, instruction_pointer, args
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, val, error, flags
_ANSWER: Final = struct.Struct("=QqiI")
_RECV: Final = 0xC0502100
_SEND: Final = 0xC0182101
_CONTINUE: Final = 1


@dataclass(frozen=True, slots=True)
class Notification:
    """A call whose caller waits for an answer.

    Attributes:
        cookie: the kernel's id of the notification.
        tid: the calling thread, by its id in our own pid namespace; 0 if it has none there.
        number: the call's number.
        token: the AUDIT_ARCH token of its ABI.
        pointer: the address of the instruction after the one that entered the kernel.
        args: the six registers.
    """

    cookie: int
    tid: int
    number: int
    token: int
    pointer: int
    args: tuple[int, ...]


def receive(listener: int) -> Notification | None:
    """Takes the next notification; None if its caller was interrupted or died before.

    Raises:
        OSError: the listener is none.
    """
    room = bytearray(_NOTIFICATION.size)  # the kernel refuses one that is not all zero
    try:
        fcntl.ioctl(listener, _RECV, room)
    except FileNotFoundError:  # ENOENT
        return None
    cookie, tid, _flags, number, token, pointer, *args = _NOTIFICATION.unpack(room)
    return Notification(cookie, tid, number & 0xFFFFFFFF, token, pointer, tuple(args))


def let_run(listener: int, notification: Notification) -> bool:
    """Lets the call run as if nobody had looked.

    Returns:
        Whether the caller was still waiting; otherwise a signal has interrupted or ended it.

    Raises:
        OSError: the listener is none.
    """
    with contextlib.suppress(FileNotFoundError):  # ENOENT
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(notification.cookie, 0, 0, _CONTINUE))
        return True
    return False
