"""Seccomp actions, what a filter returns for them, and the profiles that use them.

Values and precedence are those of the kernel's ``include/uapi/linux/seccomp.h`` and of
seccomp(2); the ``SCMP_ACT_*`` names are those of libseccomp and of the OCI runtime-spec.
"""

import errno
import os
import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

ACTION_MASK = 0xFFFF0000
DATA_MASK = 0x0000FFFF
MAX_ERRNO = 4095
"""The kernel clamps the data of SECCOMP_RET_ERRNO to this."""


class Action(IntEnum):
    """The action half of a filter's 32-bit return value (``SECCOMP_RET_ACTION_FULL``)."""

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000

    @property
    def precedence(self) -> int:
        """The rank among stacked filters: the lowest wins.

        The kernel compares the actions as signed 32-bit numbers, so KILL_PROCESS is lowest.
        """
        return self.value - (1 << 32) if self.value & 0x80000000 else self.value

    @property
    def scmp(self) -> str:
        """The name in libseccomp and in OCI profiles."""
        return _SCMP_NAMES.get(self, f"SCMP_ACT_{self.name}")

    @property
    def reaches_kernel(self) -> bool:
        """Whether the call itself runs under this action (with no tracer or supervisor)."""
        return self in {Action.LOG, Action.ALLOW}


_SCMP_NAMES = {Action.USER_NOTIF: "SCMP_ACT_NOTIFY"}


@dataclass(frozen=True, slots=True)
class FilterReturn:
    """A filter's return value, taken apart.

    Attributes:
        action: what the kernel does; an unknown action acts as KILL_PROCESS.
        data: the low 16 bits: the errno of ERRNO, the message of TRAP and TRACE.
    """

    action: Action
    data: int = 0

    @classmethod
    def decode(cls, value: int) -> "FilterReturn":
        """Takes a raw 32-bit return value apart the way the kernel does."""
        try:
            action = Action(value & ACTION_MASK)
        except ValueError:
            action = Action.KILL_PROCESS
        return cls(action, value & DATA_MASK)

    @classmethod
    def parse(cls, text: str) -> "FilterReturn":
        """Takes what people write back into a return value: ``ERRNO(EPERM)``, ``KILL_PROCESS``.

        Raises:
            ValueError: it is none.
        """
        match = _WRITTEN.fullmatch(text)
        if match is None or match["action"] not in Action.__members__:
            raise ValueError(f"{text!a} is no return value of a filter")
        action, data = Action[match["action"]], match["data"] or "0"
        if data.isdigit():
            return cls(action, min(int(data), DATA_MASK))
        if action is not Action.ERRNO or data not in ERRNO_NAMES:
            raise ValueError(f"{data!a} is no errno of this machine")
        return cls(action, int(getattr(errno, data)))

    @property
    def value(self) -> int:
        """The raw 32-bit return value."""
        return self.action.value | self.data

    def __str__(self) -> str:
        """The action as people write it: ``ERRNO(EPERM)``, ``KILL_PROCESS``."""
        if self.action is Action.ERRNO:
            return f"ERRNO({errno_name(min(self.data, MAX_ERRNO))})"
        return f"{self.action.name}({self.data})" if self.data else self.action.name


_WRITTEN = re.compile(r"(?P<action>[A-Z_]+)(?:\((?P<data>[A-Z][A-Z0-9]*|[0-9]{1,5})\))?", re.ASCII)


def errno_name(number: int) -> str:
    """The symbolic name of an errno, or the number where there is none."""
    return errno.errorcode.get(number, str(number))


ERRNO_NAMES = frozenset(name for name in vars(errno) if re.fullmatch("E[A-Z0-9]+", name))
"""The names of the errnos that this machine has, ``EWOULDBLOCK`` and its like among them."""


def errno_number(name: str, machine: str) -> int:
    """The number of an errno.

    Args:
        name: one of ERRNO_NAMES.
        machine: uname(2)'s machine of the kernel that answers with it.
    """
    if _is_mips(machine) and not _is_mips(os.uname().machine):
        return _MIPS_ERRNOS.get(name, int(getattr(errno, name)))
    return int(getattr(errno, name))


def _is_mips(machine: str) -> bool:
    return machine.startswith("mips")


_MIPS_ERRNOS = {
    name: first + offset
    for first, names in (
        (35, "ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EDEADLK"),
        (46, "ENOLCK"),
        (50, "EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EDEADLOCK"),
        (74, "EMULTIHOP"),
        (77, "EBADMSG ENAMETOOLONG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN"),
        (86, "ELIBMAX ELIBEXEC EILSEQ ENOSYS ELOOP ERESTART ESTRPIPE ENOTEMPTY EUSERS ENOTSOCK"),
        (96, "EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT"),
        (120, "EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE"),
        (126, "EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS"),
        (133, "EISCONN ENOTCONN EUCLEAN"),
        (137, "ENOTNAM ENAVAIL EISNAM EREMOTEIO"),
        (143, "ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY"),
        (150, "EINPROGRESS ESTALE"),
        (158, "ECANCELED ENOMEDIUM EMEDIUMTYPE ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED"),
        (165, "EOWNERDEAD ENOTRECOVERABLE ERFKILL"),
        (1133, "EDQUOT"),
    )
    for offset, name in enumerate(names.split())
} | {"ENOTSUP": 122}
"""The errnos whose numbers differ on MIPS (arch/mips/include/uapi/asm/errno.h)."""


class Profile(StrEnum):
    """How a filter answers a call that the document restricts: kill, errno or log."""

    KILL = "kill"
    ERRNO = "errno"
    LOG = "log"

    @property
    def returns(self) -> FilterReturn:
        """What a filter with this profile returns for every call that is not allowed."""
        return _PROFILE_RETURNS[self]


_PROFILE_RETURNS = {
    Profile.KILL: FilterReturn(Action.KILL_PROCESS),
    Profile.ERRNO: FilterReturn(Action.ERRNO, errno.EPERM),
    Profile.LOG: FilterReturn(Action.LOG),
}
