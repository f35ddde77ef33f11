"""The target ``bpf:FILE``: programs as libseccomp, systemd and bubblewrap export them.

Such a file is the array of ``struct sock_filter`` that seccomp(2) takes, without a header, in the
byte order of the machine that it is for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.files import read
from probes.filters import bpf
from probes.filters.bpf import IllegalProgramError, Program
from probes.text import shown

MAX_INSTRUCTIONS_PER_PATH: Final = 32768
"""MAX_INSNS_PER_PATH of kernel/seccomp.c, over all filters of a process; ENOMEM above it."""

FILTER_PENALTY: Final = 4
"""Instructions that ``seccomp_attach_filter()`` adds for each filter but the newest."""

_INSTRUCTION_SIZE: Final = 8
_WHAT: Final = "a file of struct sock_filter, as seccomp_export_bpf(3) writes it"


def load(paths: Sequence[Path], *, big_endian: bool) -> tuple[Program, ...]:
    """Reads programs that stack in the order of their files, the oldest first.

    The kernel counts the instructions of the stack after it has converted them, which makes them
    more, never fewer: a stack that is refused here is too long for every kernel.

    Args:
        paths: the files; a file may be there more than once.
        big_endian: the byte order of the machine that the programs are for.

    Raises:
        BadInputError: a file cannot be read or holds no program that the kernel would accept,
            or they are too long together.
    """
    if not paths:
        raise BadInputError(f"no file of a filter was named; name {_WHAT}")
    programs = tuple(_load(path, big_endian=big_endian) for path in paths)
    total = sum(len(program) for program in programs) + FILTER_PENALTY * (len(programs) - 1)
    if total > MAX_INSTRUCTIONS_PER_PATH:
        raise BadInputError(
            f"{len(programs)} filters on one process, {shown(paths[-1])} the newest, count "
            f"{total} instructions, and the kernel takes {MAX_INSTRUCTIONS_PER_PATH}; "
            f"stack fewer files"
        )
    return programs


def _load(path: Path, *, big_endian: bool) -> Program:
    raw = read(path, bpf.MAX_INSTRUCTIONS * _INSTRUCTION_SIZE, _WHAT)
    if not raw:
        raise BadInputError(f"{shown(path)}: the file is empty; name {_WHAT}")
    if raw.lstrip()[:1] in {b"{", b"["}:
        raise BadInputError(f"{shown(path)}: this looks like JSON; a profile's word is oci:FILE")
    if len(raw) > bpf.MAX_INSTRUCTIONS * _INSTRUCTION_SIZE:
        raise BadInputError(
            f"{shown(path)}: the file has more than {bpf.MAX_INSTRUCTIONS} instructions, the most "
            f"that the kernel takes; name {_WHAT}"
        )
    try:
        program = bpf.from_bytes(raw, big_endian=big_endian)
        bpf.check(program)
    except IllegalProgramError as error:
        hint = _hint(raw, big_endian=big_endian)
        raise BadInputError(
            f"{shown(path)}: the kernel would refuse this program ({error}); {hint}"
        ) from error
    return program


def _hint(raw: bytes, *, big_endian: bool) -> str:
    """How to mend a file that holds no program."""
    try:
        bpf.check(bpf.from_bytes(raw, big_endian=not big_endian))
    except IllegalProgramError:
        return f"name {_WHAT}"
    order = "little" if big_endian else "big"
    return f"in {order}-endian byte order it is one: say which architecture it is for"
