"""The program that a container runs while its filters are read: written here, byte by byte.

The filters belong to the container, not to the image, so what runs under them may be exchanged.
An image without a shell or a library can then be judged, and one whose program ends at once. The
holder makes no system call at all, so that no filter can end or stop it: it counts down, and then
ends by an instruction that no processor knows. A container that nobody removes is gone then.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError

# See elf(5) for what stands where.
_ADDRESS: Final = 0x400000
_HEADER: Final = struct.Struct("<4s5B7x2HI3QI6H")
_SEGMENT: Final = struct.Struct("<2I6Q")
_CLASS_64, _LITTLE_ENDIAN, _VERSION, _ABI_SYSTEM_V = 2, 1, 1, 0
_TYPE_EXECUTABLE: Final = 2
_LOAD, _STACK = 1, 0x6474E551
_READ_AND_EXECUTE, _READ_AND_WRITE = 5, 6
_PAGE: Final = 0x10000
"""The largest page of the machines below: segments are aligned to it."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """A machine's code.

    Attributes:
        elf: ``e_machine``.
        code: counts down from 2^38, which takes a minute or two, and ends by an illegal
            instruction.
        flags: ``e_flags``.
    """

    elf: int
    code: bytes
    flags: int = 0


_MACHINES: Final[Mapping[str, _Machine]] = MappingProxyType(
    {
        # movabs rax, 1<<38; dec rax; jnz .-3; ud2
        "x86_64": _Machine(62, bytes.fromhex("48b8 0000000040000000 48ffc8 75fb 0f0b")),
        # movz x0, 64, lsl 32; subs x0, x0, 1; b.ne .-4; udf 0
        "aarch64": _Machine(183, struct.pack("<4I", 0xD2C00800, 0xF1000400, 0x54FFFFE1, 0)),
        # li a0, 1; slli a0, a0, 38; addi a0, a0, -1; bnez a0, .-4; unimp
        "riscv64": _Machine(
            243, struct.pack("<5I", 0x00100513, 0x02651513, 0xFFF50513, 0xFE051EE3, 0)
        ),
    }
)


def program(machine: str, name: str) -> bytes:
    """A static executable that holds a container.

    Args:
        machine: as uname(2) says it.
        name: stands at the end of the file, so that a process can be told by what it executes.

    Raises:
        BadInputError: there is none for the machine.
    """
    if machine not in _MACHINES:
        raise BadInputError(
            f"containers are held on {', '.join(_MACHINES)} only, and this machine is {machine}: "
            "start the container yourself and judge its first process with --target pid:N"
        )
    made = _MACHINES[machine]
    start = _HEADER.size + 2 * _SEGMENT.size
    body = made.code + name.encode()
    header = _HEADER.pack(
        b"\x7fELF",
        *(_CLASS_64, _LITTLE_ENDIAN, _VERSION, _ABI_SYSTEM_V, 0),
        *(_TYPE_EXECUTABLE, made.elf, _VERSION),
        *(_ADDRESS + start, _HEADER.size, 0),
        made.flags,
        *(_HEADER.size, _SEGMENT.size, 2, 0, 0, 0),
    )
    size = start + len(body)
    load = _SEGMENT.pack(_LOAD, _READ_AND_EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, _PAGE)
    # Without this segment the kernel would make all readable memory executable (elf(5)).
    stack = _SEGMENT.pack(_STACK, _READ_AND_WRITE, 0, 0, 0, 0, 0, 16)
    return header + load + stack + body
