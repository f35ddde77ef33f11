"""How many bits of an argument the kernel reads, by ABI and call.

The kernel cuts an ``int`` to the low 32 bits of its register, of which a filter sees all 64. Which
arguments are cut is in ``argument-widths.toml``, which is read when the first width is asked for.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from probes.arch import X32_SYSCALL_BIT, Arch

REGISTER_BITS: Final = 64
"""How many bits of an argument a filter sees."""

NARROW: Final = 32
"""How many bits the registers of a 32-bit ABI have."""

_FILE: Final = Path(__file__).with_name("argument-widths.toml")
_WIDTHS: Final = {"h": 16, "i": NARROW, "l": REGISTER_BITS}
_OF_64_BITS: Final = 0x80000000
"""``__AUDIT_ARCH_64BIT`` of linux/audit.h: the bit in the token of an ABI of 64 bits."""
_FIRST_COMPAT_OF_X32: Final = X32_SYSCALL_BIT | 512
"""From here on x32 has calls that the kernel treats as those of a 32-bit ABI (syscall_64.tbl)."""


def width(call: str, arch: Arch, index: int) -> int:
    """How many of an argument's bits the kernel reads, by what is known of the call."""
    letters = _letters(arch.name, call)
    known = _WIDTHS[letters[index]] if index < len(letters) else REGISTER_BITS
    return min(known, register(call, arch))


def is_wide(arch: Arch) -> bool:
    """Whether an ABI's registers have 64 bits."""
    return bool(arch.audit_arch & _OF_64_BITS)


def register(call: str, arch: Arch) -> int:
    """How many bits an ABI's registers have for a call; of x32 it depends on the call."""
    number = arch.number(call) or 0
    compat = arch.name == "x32" and number >= _FIRST_COMPAT_OF_X32
    return REGISTER_BITS if is_wide(arch) and not compat else NARROW


def _letters(arch: str, call: str) -> str:
    tables = _tables()
    own = tables.get(arch, {}).get(call)
    return own if own is not None else tables["calls"].get(call, "")


@cache
def _tables() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
