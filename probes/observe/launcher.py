"""The program by which a container's own program comes under the observer's filter.

It is the container's first process: a static executable, so that it needs nothing of the image. It
installs the filter, waits in a loop until the observer has taken the listener, and becomes the
image's program. It says what it does in its own memory, which the observer reads and writes by
/proc/PID/mem, so that it makes no system calls but seccomp(2), prctl(2), close(2) and execve(2).
"""

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from probes.errors import BadInputError
from probes.instrument import kernel

MACHINE: Final = "x86_64"
"""The only machine that there is one for."""

READY: Final = 1
"""The state in which the filter is installed and the listener may be taken."""

_CODE_ADDRESS: Final = 0x400000
_DATA_ADDRESS: Final = 0x600000
_PAGE: Final = 0x1000
_FIRST_WAIT_KILLABLE: Final = (5, 19)

# See elf(5) for what stands where.
_HEADER: Final = struct.Struct("<4s5B7x2HI3QI6H")
_SEGMENT: Final = struct.Struct("<2I6Q")
_LOAD: Final = 1
_STACK: Final = 0x6474E551
_READ_AND_EXECUTE: Final = 5
_READ_AND_WRITE: Final = 6

# What the code works with: state, go, listener (or -errno), flags, no_new_privs, a descriptor to
# close or -1; then struct sock_fprog, and the paths to try, each with a zero byte, and another one.
_WORDS: Final = struct.Struct("<IIiIIi")
_FPROG: Final = struct.Struct("<H6xQ")
_GO_OFFSET: Final = 4

# The tests assemble the words on the right. rbx: the data; rbp: argc, argv and envp.
LISTING: Final = f"""\
4889e5           mov rbp, rsp
bb00006000       mov ebx, {_DATA_ADDRESS:#x}
49bc0000000001000000 movabs r12, 0x100000000
                 install:
b83d010000       mov eax, 317                   # seccomp(SECCOMP_SET_MODE_FILTER, flags, fprog)
bf01000000       mov edi, 1
8b730c           mov esi, [rbx+12]
488d5318         lea rdx, [rbx+24]
0f05             syscall
85c0             test eax, eax
792d             jns ready
83f8f3           cmp eax, -13                   # EACCES: it takes no_new_privs, once
7533             jne refused
837b1000         cmp dword ptr [rbx+16], 0
752d             jne refused
c7431001000000   mov dword ptr [rbx+16], 1
b89d000000       mov eax, 157                   # prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
bf26000000       mov edi, 38
be01000000       mov esi, 1
31d2             xor edx, edx
4531d2           xor r10d, r10d
4531c0           xor r8d, r8d
0f05             syscall
ebbc             jmp install
                 ready:
894308           mov [rbx+8], eax
c70301000000     mov dword ptr [rbx], 1
eb09             jmp waiting
                 refused:
894308           mov [rbx+8], eax
c70302000000     mov dword ptr [rbx], 2
                 waiting:
f390             pause
49ffcc           dec r12                        # for some minutes
7447             jz failed
837b0400         cmp dword ptr [rbx+4], 0
74f3             je waiting
833b01           cmp dword ptr [rbx], 1
753c             jne failed
8b7b14           mov edi, [rbx+20]
85ff             test edi, edi
7807             js execute
b803000000       mov eax, 3                     # close
0f05             syscall
                 execute:
4c8d6b28         lea r13, [rbx+40]
                 next:
41807d0000       cmp byte ptr [r13], 0
7423             je failed
4c89ef           mov rdi, r13
488d7510         lea rsi, [rbp+16]              # argv without this program's own name
488b5500         mov rdx, [rbp]
488d54d510       lea rdx, [rbp+rdx*8+16]
b83b000000       mov eax, 59                    # execve
0f05             syscall
                 skip:
49ffc5           inc r13
41807dff00       cmp byte ptr [r13-1], 0
75f6             jne skip
ebd6             jmp next
                 failed:
bf7f000000       mov edi, 127                   # what shells say of a command that is not there
b8e7000000       mov eax, 231                   # exit_group
0f05             syscall
"""

_CODE: Final = b"".join(
    bytes.fromhex(found[1]) for found in re.finditer(r"^([0-9a-f]+) ", LISTING, re.MULTILINE)
)


def program(code: bytes, paths: Sequence[str], name: str, *, spare: int = -1) -> bytes:
    """The executable.

    Args:
        code: the filter.
        paths: the files that the container's program may be, in the order in which to try them.
        name: stands at the end of the file, so that a process can be told by what it executes.
        spare: a descriptor that is closed before; -1 for none.

    Raises:
        BadInputError: there is none for this machine.
    """
    if os.uname().machine != MACHINE:
        raise BadInputError(
            f"images are observed on {MACHINE} only, and this machine is {os.uname().machine}: "
            "observe the program itself, with observe -- COMMAND"
        )
    tried = b"".join(os.fsencode(path) + b"\0" for path in paths) + b"\0"
    tried += bytes(-len(tried) % 8)
    address = _DATA_ADDRESS + _WORDS.size + _FPROG.size + len(tried)
    words = _WORDS.pack(0, 0, 0, _flags(os.uname().release), 0, spare)
    data = words + _FPROG.pack(len(code) // 8, address) + tried + code + name.encode()
    start = _HEADER.size + 3 * _SEGMENT.size
    size = start + len(_CODE)
    header = _HEADER.pack(
        *(b"\x7fELF", 2, 1, 1, 0, 0),  # 64 bits, little endian
        *(2, 62, 1),  # an executable for x86_64
        *(_CODE_ADDRESS + start, _HEADER.size, 0, 0),
        *(_HEADER.size, _SEGMENT.size, 3, 0, 0, 0),
    )
    segments = (
        (_LOAD, _READ_AND_EXECUTE, 0, _CODE_ADDRESS, size, _PAGE),
        (_LOAD, _READ_AND_WRITE, _PAGE, _DATA_ADDRESS, len(data), _PAGE),
        (_STACK, _READ_AND_WRITE, 0, 0, 0, 16),
    )
    table = b"".join(
        _SEGMENT.pack(kind, flags, offset, where, where, length, length, align)
        for kind, flags, offset, where, length, align in segments
    )
    return (header + table + _CODE).ljust(_PAGE, b"\0") + data


def _flags(release: str) -> int:
    flags = kernel.SECCOMP_FILTER_FLAG_NEW_LISTENER
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) >= _FIRST_WAIT_KILLABLE:
        flags |= kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    return flags


@dataclass(frozen=True, slots=True)
class Said:
    """What the launcher says.

    Attributes:
        state: 0 at first, then READY or, where the filter was refused, something else.
        listener: the listener's descriptor, or the negative errno of the refusal.
        no_new_privs: whether it had to set that.
    """

    state: int
    listener: int
    no_new_privs: bool


def ask(pid: int) -> Said:
    """Reads what a launcher says.

    Raises:
        OSError: it has ended, or this user may not look.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - unbuffered
        memory.seek(_DATA_ADDRESS)
        state, _, listener, _, no_new_privs, _ = _WORDS.unpack(memory.read(_WORDS.size))
    return Said(state, listener, bool(no_new_privs))


def let_go(pid: int) -> None:
    """Lets a launcher become the container's program.

    Raises:
        OSError: it has ended, or this user may not.
    """
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123 - unbuffered
        memory.seek(_DATA_ADDRESS + _GO_OFFSET)
        memory.write(struct.pack("<I", 1))
