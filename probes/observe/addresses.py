"""The other end of a socket: how calls name it, and what the name says. Pure."""

import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.arch import Arch

Memory = Callable[[int, int], bytes]
"""A caller's memory from an address on, so many bytes, or less where less is there."""

_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_INT: Final = 0xFFFFFFFF
_LONGEST: Final = 128
"""sizeof(struct sockaddr_storage), beyond which the kernel refuses an address."""
_MOST_MESSAGES: Final = 1024
"""UIO_MAXIOV, to which the kernel cuts what sendmmsg(2) is given."""
_FAMILY: Final = struct.Struct("=H")
_VSOCK: Final = struct.Struct("=4xII")
_IPV4_SIZE: Final = 8
_IPV6_SIZE: Final = 24
_VSOCK_SIZE: Final = 12

_NARROW_REGISTERS: Final = frozenset({"i386", "arm", "s390", "riscv32", "mipsel", "ppc"})
_NARROW: Final = frozenset({*_NARROW_REGISTERS, "x32", "mipsel64n32"})
"""The ABIs whose structures have pointers of 32 bits."""
_S390_ADDRESS: Final = 0x7FFFFFFF

# struct msghdr begins with msg_name and msg_namelen; the size is that of struct mmsghdr.
_MESSAGE_SIZE: Final = {4: 32, 8: 64}
_HEAD: Final = {4: struct.Struct("=II"), 8: struct.Struct("=QI")}

# linux/net.h
_OPERATIONS: Final = {3: "connect", 11: "sendto", 16: "sendmsg", 20: "sendmmsg"}


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket of this machine.

    Attributes:
        name: the path; of an abstract address what follows the zero byte.
        abstract: whether it is no path.
    """

    name: bytes
    abstract: bool = False

    def __str__(self) -> str:
        """The path, or the name behind ``@``."""
        return ("@" if self.abstract else "") + self.name.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class InternetAddress:
    """A host and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        """The host and the port as a URL writes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """A port of a virtual machine, or of its host: vsock(7)."""

    context: int
    port: int

    def __str__(self) -> str:
        """The address as socat writes it."""
        return f"vsock:{self.context}:{self.port}"


Address = UnixAddress | InternetAddress | VirtualAddress


def word_size(arch: Arch) -> int:
    """How many bytes a pointer has in the structures of an ABI."""
    return 4 if arch.name in _NARROW else 8


def pointer(arch: Arch, register: int) -> int:
    """The address that a register means on an ABI."""
    if arch.name == "s390":
        return register & _S390_ADDRESS
    return register & _INT if arch.name in _NARROW_REGISTERS else register


def named(call: str, arch: Arch, args: Sequence[int], memory: Memory) -> Iterator[bytes]:
    """The addresses that a call names, as ``struct sockaddr``.

    Args:
        call: connect, sendto, sendmsg, sendmmsg or socketcall.
        arch: the ABI.
        args: the registers.
        memory: the caller's.
    """
    size = word_size(arch)
    if call == "socketcall":
        operation = _OPERATIONS.get(args[0] & _INT)
        form = struct.Struct(f"={6}{'I' if size == 4 else 'Q'}")  # noqa: PLR2004 - bytes of a word
        raw = memory(pointer(arch, args[1]), form.size).ljust(form.size, b"\0")
        if operation is not None:
            yield from named(operation, arch, form.unpack(raw), memory)
        return
    if call == "connect":
        places = [(args[1], args[2])]
    elif call == "sendto":
        places = [(args[4], args[5])]
    else:
        places = _in_messages(call, arch, args, memory)
    for place, length in dict.fromkeys(places):
        if place and (raw := memory(pointer(arch, place), min(length & _INT, _LONGEST))):
            yield raw


def _in_messages(
    call: str, arch: Arch, args: Sequence[int], memory: Memory
) -> list[tuple[int, int]]:
    """Where the addresses of ``struct msghdr`` or an array of ``struct mmsghdr`` are."""
    size = word_size(arch)
    head = _HEAD[size]
    if call == "sendmsg":
        count, stride = 1, head.size
    else:
        count, stride = min(args[2] & _INT, _MOST_MESSAGES), _MESSAGE_SIZE[size]
    raw = memory(pointer(arch, args[1]), count * stride)
    return [head.unpack_from(raw, at) for at in range(0, len(raw) - head.size + 1, stride)]


def parsed(raw: bytes) -> Address | None:
    """What an address says; None where it is of no family that leads to another process."""
    if len(raw) < _FAMILY.size:
        return None
    (family,) = _FAMILY.unpack_from(raw)
    rest = raw[_FAMILY.size :]
    if family == socket.AF_UNIX:
        return _unix(rest)
    if family == socket.AF_INET and len(raw) >= _IPV4_SIZE:
        return InternetAddress(str(ipaddress.IPv4Address(rest[2:6])), _port(rest))
    if family == socket.AF_INET6 and len(raw) >= _IPV6_SIZE:
        host = ipaddress.IPv6Address(rest[6:22])
        return InternetAddress(str(host.ipv4_mapped or host), _port(rest))
    if family == socket.AF_VSOCK and len(raw) >= _VSOCK_SIZE:
        port, context = _VSOCK.unpack_from(raw)
        return VirtualAddress(context, port)
    return None


def _unix(rest: bytes) -> UnixAddress | None:
    if not rest:
        return None
    if rest[0] == 0:
        return UnixAddress(rest[1:], abstract=True) if len(rest) > 1 else None
    return UnixAddress(rest.split(b"\0", 1)[0])


def _port(rest: bytes) -> int:
    return int.from_bytes(rest[:2], "big")
