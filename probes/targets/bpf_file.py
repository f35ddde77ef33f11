"""The target ``bpf:FILE``: programs as libseccomp, systemd, bubblewrap and snapd export them.

Such a file is the array of ``struct sock_filter`` that seccomp(2) takes, without a header, in the
byte order of the machine that it is for; or one of snapd's, with a head and two of these arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.files import read
from probes.filters import bpf
from probes.filters.bpf import IllegalProgramError, Program
from probes.targets import snap_profile
from probes.targets.oci import rule_lines
from probes.targets.snap_profile import IllegalSnapProfileError
from probes.text import shown
from probes.written import WrittenProfile

MAX_INSTRUCTIONS_PER_PATH: Final = 32768
"""MAX_INSNS_PER_PATH of kernel/seccomp.c, over all filters of a process; ENOMEM above it."""

FILTER_PENALTY: Final = 4
"""Instructions that ``seccomp_attach_filter()`` adds for each filter but the newest."""

_INSTRUCTION_SIZE: Final = 8
_WHAT: Final = (
    "a file of struct sock_filter, as seccomp_export_bpf(3) writes it, or a .bin2 of snapd's"
)


@dataclass(frozen=True, slots=True)
class FilterFiles:
    """The filters that files hold together.

    Attributes:
        programs: the filters, the oldest first.
        logged: for each of them whether it is installed with SECCOMP_FILTER_FLAG_LOG; () where
            none is.
        unrestricted: the files that say that a snap gets no filter.
        written: the files.
    """

    programs: tuple[Program, ...]
    logged: tuple[bool, ...] = ()
    unrestricted: tuple[Path, ...] = ()
    written: tuple[WrittenProfile, ...] = ()


def load(paths: Sequence[Path], *, big_endian: bool) -> FilterFiles:
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
    files = [_load(path, big_endian=big_endian) for path in paths]
    programs = tuple(program for one in files for program in one.programs)
    total = sum(len(program) for program in programs) + FILTER_PENALTY * (len(programs) - 1)
    if total > MAX_INSTRUCTIONS_PER_PATH:
        raise BadInputError(
            f"{len(programs)} filters on one process, {shown(paths[-1])} the newest, count "
            f"{total} instructions, and the kernel takes {MAX_INSTRUCTIONS_PER_PATH}; "
            f"stack fewer files"
        )
    flags = tuple(flag for one in files for flag in one.logged)
    unrestricted = tuple(path for one in files for path in one.unrestricted)
    written = tuple(dict.fromkeys(file for one in files for file in one.written))
    return FilterFiles(programs, flags if any(flags) else (), unrestricted, written)


def _load(path: Path, *, big_endian: bool) -> FilterFiles:
    """The filters of one file, with a flag for each."""
    raw = read(path, snap_profile.MAX_BYTES, _WHAT)
    if not raw:
        raise BadInputError(f"{shown(path)}: the file is empty; name {_WHAT}")
    if raw.lstrip()[:1] in {b"{", b"["}:
        raise BadInputError(f"{shown(path)}: this looks like JSON; a profile's word is oci:FILE")
    return replace(
        _filters(path, raw, big_endian=big_endian), written=(rule_lines.of_program(path, raw),)
    )


def _filters(path: Path, raw: bytes, *, big_endian: bool) -> FilterFiles:
    if raw == snap_profile.NO_FILTER:
        return FilterFiles((), (), (path,))
    if raw.startswith(snap_profile.MAGIC):
        return _of_a_snap(path, raw, big_endian=big_endian)
    return FilterFiles((_program(shown(path), raw, big_endian=big_endian),), (False,))


def _of_a_snap(path: Path, raw: bytes, *, big_endian: bool) -> FilterFiles:
    try:
        profile = snap_profile.parse(raw, big_endian=big_endian)
    except IllegalSnapProfileError as error:
        raise BadInputError(
            f"{shown(path)}: snap-confine would refuse this file ({error}); have snapd write it"
            " anew, or name another"
        ) from error
    if not profile.programs:
        return FilterFiles((), (), (path,))
    programs = tuple(
        _program(f"{shown(path)}, its {name} filter", one, big_endian=big_endian)
        for name, one in profile.programs.items()
    )
    return FilterFiles(programs, (True,) * len(programs))


def _program(what: str, raw: bytes, *, big_endian: bool) -> Program:
    if len(raw) > bpf.MAX_INSTRUCTIONS * _INSTRUCTION_SIZE:
        raise BadInputError(
            f"{what}: the file has more than {bpf.MAX_INSTRUCTIONS} instructions, the most "
            f"that the kernel takes; name {_WHAT}"
        )
    try:
        program = bpf.from_bytes(raw, big_endian=big_endian)
        bpf.check(program)
    except IllegalProgramError as error:
        hint = _hint(raw, big_endian=big_endian)
        raise BadInputError(
            f"{what}: the kernel would refuse this program ({error}); {hint}"
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
