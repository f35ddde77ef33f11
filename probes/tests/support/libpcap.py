"""libpcap's interpreter, checker and disassembler of classic BPF: others' work, on our programs.

It was written for packets: words are loaded in network byte order, from a buffer that we fill
accordingly. Unlike the kernel it shifts by 32 and more to 0, where X gives the count, and it does
not refuse what only seccomp refuses.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Final

from probes.filters.bpf import Instruction, Program, SeccompData
from probes.tests.support.oracles import missing

_LIBRARY: Final = "libpcap.so.0.8"


class _Instruction(ctypes.Structure):
    """struct bpf_insn of pcap/bpf.h."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    library.bpf_filter.restype = ctypes.c_uint
    library.bpf_image.restype = ctypes.c_char_p
    return library


def _need() -> ctypes.CDLL:
    library = _library()
    if library is None:
        missing(_LIBRARY, "libpcap0.8")
    return library


def _array(program: Program) -> ctypes.Array[_Instruction]:
    items = (_Instruction(each.code, each.jt, each.jf, each.k) for each in program)
    return (_Instruction * len(program))(*items)


def interpreter(program: Program) -> Callable[[SeccompData], int]:
    """``bpf_filter()`` with the program: what it returns for an input."""
    library, code = _need(), _array(program)

    def run(data: SeccompData) -> int:
        packet = b"".join(word.to_bytes(4, "big") for word in data.words())
        size = len(packet)
        return int(library.bpf_filter(code, packet, size, size))

    return run


def accepts(program: Program) -> bool:
    """``bpf_validate()``."""
    return bool(_need().bpf_validate(_array(program), len(program)))


def line(index: int, instruction: Instruction) -> str:
    """``bpf_image()``: an instruction in the assembler's words, blanks made one."""
    text = _need().bpf_image(_array((instruction,)), index)
    return " ".join(text.decode("ascii").split())
