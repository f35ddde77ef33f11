"""A snap's filters in one file, as snapd's snap-seccomp writes and its snap-confine reads it.

Its name ends in ``.bin2``. Behind a head stand two programs: the first allows what the snap may do,
the second denies what it must not do even so. snap-confine installs the denying one first and both
with SECCOMP_FILTER_FLAG_LOG, or none at all where the head says that the snap is unrestricted.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from probes.errors import SuiteError

MAGIC: Final = b"SC"
"""How the file begins, as no program does: no instruction has this opcode in any byte order."""

NO_FILTER: Final = b"@unrestricted\n"
"""The whole of the older file (``.bin``, else a bare program) of a snap that gets no filter."""

HEAD_SIZE: Final = 128
"""The size of the head, most of which is kept for later versions."""

MAX_PROGRAM_BYTES: Final = 32 * 1024
"""The size of a program above which snap-confine refuses the file."""

MAX_BYTES: Final = HEAD_SIZE + 2 * MAX_PROGRAM_BYTES
"""The size of the largest file that snap-confine reads."""

_VERSION: Final = 1
_UNRESTRICTED: Final = 1
_INSTRUCTION_SIZE: Final = 8
_FIELDS: Final = "2sBB4xII"


class IllegalSnapProfileError(SuiteError):
    """snap-confine would refuse the file."""


@dataclass(frozen=True, slots=True)
class SnapProfile:
    """The filters of a snap.

    Attributes:
        programs: the raw programs by what they are for, in the order in which snap-confine
            installs them; none of a snap that is unrestricted.
    """

    programs: Mapping[str, bytes]


def parse(raw: bytes, *, big_endian: bool) -> SnapProfile:
    """Takes a file apart as snap-confine does.

    Args:
        raw: the content, which begins with ``MAGIC``.
        big_endian: the byte order of the machine that the snap is for.

    Raises:
        IllegalSnapProfileError: snap-confine would refuse it.
    """
    if len(raw) < HEAD_SIZE:
        raise IllegalSnapProfileError(f"its head has {len(raw)} of {HEAD_SIZE} bytes")
    _, version, restriction, allowing, denying = struct.unpack_from(_format(big_endian), raw)
    if version != _VERSION:
        raise IllegalSnapProfileError(f"its head says version {version}, and 1 is the only one")
    _check_sizes(raw, {"allow": allowing, "deny": denying}, big_endian=big_endian)
    if restriction == _UNRESTRICTED:
        return SnapProfile({})
    for name, size in (("allow", allowing), ("deny", denying)):
        if not size:
            raise IllegalSnapProfileError(
                f"it has no {name} filter, and its head does not say that the snap is unrestricted"
            )
    first_denied = HEAD_SIZE + allowing
    return SnapProfile({"deny": raw[first_denied:], "allow": raw[HEAD_SIZE:first_denied]})


def _format(big_endian: bool) -> str:  # noqa: FBT001 - the one thing that it depends on
    return (">" if big_endian else "<") + _FIELDS


def _check_sizes(raw: bytes, sizes: Mapping[str, int], *, big_endian: bool) -> None:
    if len(raw) != HEAD_SIZE + sum(sizes.values()):
        _, _, _, allowing, denying = struct.unpack_from(_format(not big_endian), raw)
        order = "little" if big_endian else "big"
        hint = (
            f"; in {order}-endian byte order they fit: say which architecture it is for"
            if len(raw) == HEAD_SIZE + allowing + denying
            else ", so it was cut or put together wrongly"
        )
        raise IllegalSnapProfileError(
            f"its head announces filters of {sizes['allow']} and {sizes['deny']} bytes, and "
            f"{len(raw) - HEAD_SIZE} follow{hint}"
        )
    for name, size in sizes.items():
        if size > MAX_PROGRAM_BYTES or size % _INSTRUCTION_SIZE:
            raise IllegalSnapProfileError(
                f"its {name} filter has {size} bytes, which is no whole number of"
                f" {_INSTRUCTION_SIZE}-byte BPF instructions or more than {MAX_PROGRAM_BYTES} bytes"
            )
