"""The ABIs through which a process enters the kernel, and the numbers of their calls.

Numbers come from the package ``system-calls``, which reads the kernel's own tables, and from
``legacy-numbers.toml`` for the calls that the package leaves out. Importing this module loads
neither: a table is read when its first number is asked for, and then kept.
"""

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError, InstrumentError
from probes.text import did_you_mean, in_brackets

X32_SYSCALL_BIT = 0x40000000
"""``__X32_SYSCALL_BIT`` of asm/unistd.h: what tells an x32 number from one of x86_64."""

CANARY: Final = "getppid"
"""The call of the controls: it has no arguments, changes nothing, and always succeeds.

Architectures without it are served by ``getpid``; see ``canary``.
"""

_LEGACY_FILE = Path(__file__).with_name("legacy-numbers.toml")


class Entry(Enum):
    """The ways in which a process of the kernel's native ABI calls through another ABI."""

    SYSCALL = auto()
    """The C library's syscall(2), with the ABI's number."""
    INT80 = auto()
    """The instruction ``int 0x80``, which an x86_64 process may execute too."""
    NONE = auto()
    """No such way: only a process of that ABI can make its calls."""


@dataclass(frozen=True, slots=True)
class Arch:
    """An ABI of the kernel.

    Attributes:
        name: what this project calls it.
        audit_arch: ``AUDIT_ARCH_*`` of linux/audit.h, which a filter sees in seccomp_data.arch.
            x32 has the token of x86_64: only the number tells them apart.
        entry: how a process of the kernel's native ABI enters it.
        machine: uname(2)'s machine of the kernel that offers it, as a 64-bit process sees it.
        scmp: the name in libseccomp and in OCI profiles; "" where libseccomp does not know it.
        big_endian: the byte order of the ABI.
        highest: the highest number that a call can have there when a filter sees it, and that a
            kernel then treats as without one. s390 kernels keep 16 bits of it (``do_syscall()`` in
            arch/s390/kernel/syscall.c), others 32; to 32-bit arm kernels -1 means, after a filter,
            that the call shall not be made (``__sys_trace`` in arch/arm/kernel/entry-common.S).
    """

    name: str
    audit_arch: int
    entry: Entry
    machine: str
    scmp: str
    big_endian: bool = False
    highest: int = 0xFFFFFFFF

    @property
    def numbers(self) -> Mapping[str, int]:
        """Every call's number by name, sorted by name, exactly as seccomp_data.nr shows it.

        x32's carry ``X32_SYSCALL_BIT``. arm's private calls (``cacheflush`` and others, from
        0xf0001 on) are there, for arm's seccomp sees them like any other number. The mapping
        cannot be changed. No two names have the same number.

        Raises:
            InstrumentError: the package and our own file contradict each other.
        """
        return _numbers(self.name)

    def number(self, name: str) -> int | None:
        """The number of a call, or None where the ABI has none."""
        return self.numbers.get(name)

    def name_of(self, number: int) -> str | None:
        """The call that a number stands for, or None for a number that no table knows."""
        return _names(self.name).get(number)

    def __str__(self) -> str:
        """The ABI's name."""
        return self.name


_ALL = (
    Arch("x86_64", 0xC000003E, Entry.SYSCALL, "x86_64", "SCMP_ARCH_X86_64"),
    Arch("x32", 0xC000003E, Entry.SYSCALL, "x86_64", "SCMP_ARCH_X32"),
    Arch("i386", 0x40000003, Entry.INT80, "x86_64", "SCMP_ARCH_X86"),
    Arch("aarch64", 0xC00000B7, Entry.SYSCALL, "aarch64", "SCMP_ARCH_AARCH64"),
    Arch("arm", 0x40000028, Entry.NONE, "aarch64", "SCMP_ARCH_ARM", highest=0xFFFFFFFE),
    Arch("ppc64le", 0xC0000015, Entry.SYSCALL, "ppc64le", "SCMP_ARCH_PPC64LE"),
    Arch(
        *("s390x", 0x80000016, Entry.SYSCALL, "s390x", "SCMP_ARCH_S390X"),
        big_endian=True,
        highest=0xFFFF,
    ),
    Arch(
        *("s390", 0x00000016, Entry.NONE, "s390x", "SCMP_ARCH_S390"),
        big_endian=True,
        highest=0xFFFF,
    ),
    Arch("riscv64", 0xC00000F3, Entry.SYSCALL, "riscv64", "SCMP_ARCH_RISCV64"),
    Arch("riscv32", 0x400000F3, Entry.NONE, "riscv64", ""),
    Arch("loongarch64", 0xC0000102, Entry.SYSCALL, "loongarch64", "SCMP_ARCH_LOONGARCH64"),
    Arch("mips64el", 0xC0000008, Entry.SYSCALL, "mips64", "SCMP_ARCH_MIPSEL64"),
    Arch("mipsel", 0x40000008, Entry.NONE, "mips64", "SCMP_ARCH_MIPSEL"),
    Arch("mipsel64n32", 0xE0000008, Entry.NONE, "mips64", "SCMP_ARCH_MIPSEL64N32"),
    Arch("ppc64", 0x80000015, Entry.SYSCALL, "ppc64", "SCMP_ARCH_PPC64", big_endian=True),
    Arch("ppc", 0x00000014, Entry.NONE, "ppc64", "SCMP_ARCH_PPC", big_endian=True),
)

ARCHES: Mapping[str, Arch] = MappingProxyType({arch.name: arch for arch in _ALL})
"""The known ABIs by name; those of one kernel stand together, its native one first."""

_PACKAGE_NAMES = {
    "aarch64": "arm64",
    "ppc64le": "powerpc64",
    "ppc64": "powerpc64",
    "ppc": "powerpc",
    "mips64el": "mips64",
    "mipsel": "mipso32",
    "mipsel64n32": "mips64n32",
}
"""The names of ABIs in ``system-calls``, where they differ. Byte order does not change numbers."""

_NAMES_ELSEWHERE = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "386": "i386",
    "i686": "i386",
    "x86": "i386",
    "arm64": "aarch64",
    "armhf": "arm",
    "armv7l": "arm",
    "powerpc64le": "ppc64le",
    "ppc64el": "ppc64le",
    "loong64": "loongarch64",
    "mips64": "mips64el",
    "mips64le": "mips64el",
    "mipso32": "mipsel",
    "mipsle": "mipsel",
    "mipsn32el": "mipsel64n32",
    "mips64n32": "mipsel64n32",
    "powerpc": "ppc",
    "powerpc64": "ppc64",
}
"""The names of ABIs in Debian, Go and elsewhere; only for suggestions."""


def get(name: str) -> Arch:
    """The ABI of that name.

    Raises:
        BadInputError: no ABI is called so; the sentence suggests the nearest and lists them all.
    """
    if name in ARCHES:
        return ARCHES[name]
    elsewhere = _NAMES_ELSEWHERE.get(name.lower())
    hint = in_brackets(did_you_mean(elsewhere or name, ARCHES))
    raise BadInputError(f"unknown architecture {name!r}{hint}: the names are {', '.join(ARCHES)}")


def offered_by(machine: str) -> tuple[Arch, ...]:
    """The ABIs that a kernel of that machine may offer, its native one first.

    Whether this kernel does offer one depends on how it was configured and on its release: 31-bit
    s390 has gone from Linux 7. ABIs that no table here knows are not among them (big endian mips,
    32-bit programs on a ppc64le kernel, sparc).

    Args:
        machine: uname(2)'s machine, as a 64-bit process sees it. ``mips64`` is what mips kernels
            of both byte orders say; it is taken for little endian, the only one known here.

    Raises:
        BadInputError: no ABI of such a machine is known.
    """
    if found := tuple(arch for arch in _ALL if arch.machine == machine):
        return found
    known = ", ".join(dict.fromkeys(arch.machine for arch in _ALL))
    raise BadInputError(
        f"this kernel says that its machine is {machine!r}, whose system calls the suite does not "
        f"know: run it from a 64-bit process, not under setarch, on one of {known}"
    )


_OF_32_BITS = {
    "x86_64": "i386",
    "i386": "i386",
    "i486": "i386",
    "i586": "i386",
    "i686": "i386",
    "aarch64": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
}
"""The ABI of a 32-bit process, by uname(2)'s machine as it sees it."""


def of_this_process() -> tuple[Arch, ...]:
    """The ABIs by which this process may enter the kernel, its own one first.

    A 32-bit process has its own only, whatever else its kernel offers to others.

    Raises:
        BadInputError: no ABI of such a process is known.
    """
    machine = os.uname().machine
    if sys.maxsize > 1 << 32 or machine not in _OF_32_BITS:
        return offered_by(machine)
    return (replace(ARCHES[_OF_32_BITS[machine]], entry=Entry.SYSCALL),)


def machine_here() -> str:
    """uname(2)'s machine of this kernel, as a 64-bit process sees it.

    A kernel of 32 bits, which has none, goes by the name of the kernel that offers its ABI, too.

    Raises:
        BadInputError: no ABI of such a machine is known.
    """
    return of_this_process()[0].machine


TOKENS: Mapping[int, str] = MappingProxyType(
    {
        0xC00000B7: "AARCH64",
        0xC0009026: "ALPHA",
        0x4000005D: "ARCOMPACT",
        0x0000005D: "ARCOMPACTBE",
        0x400000C3: "ARCV2",
        0x000000C3: "ARCV2BE",
        0x40000028: "ARM",
        0x00000028: "ARMEB",
        0x4000008C: "C6X",
        0x0000008C: "C6XBE",
        0x4000004C: "CRIS",
        0x400000FC: "CSKY",
        0x00005441: "FRV",
        0x0000002E: "H8300",
        0x000000A4: "HEXAGON",
        0x40000003: "I386",
        0xC0000032: "IA64",
        0x00000058: "M32R",
        0x00000004: "M68K",
        0x000000BD: "MICROBLAZE",
        0x00000008: "MIPS",
        0x40000008: "MIPSEL",
        0x80000008: "MIPS64",
        0xA0000008: "MIPS64N32",
        0xC0000008: "MIPSEL64",
        0xE0000008: "MIPSEL64N32",
        0x400000A7: "NDS32",
        0x000000A7: "NDS32BE",
        0x40000071: "NIOS2",
        0x0000005C: "OPENRISC",
        0x0000000F: "PARISC",
        0x8000000F: "PARISC64",
        0x00000014: "PPC",
        0x80000015: "PPC64",
        0xC0000015: "PPC64LE",
        0x400000F3: "RISCV32",
        0xC00000F3: "RISCV64",
        0x00000016: "S390",
        0x80000016: "S390X",
        0x0000002A: "SH",
        0x4000002A: "SHEL",
        0x8000002A: "SH64",
        0xC000002A: "SHEL64",
        0x00000002: "SPARC",
        0x8000002B: "SPARC64",
        0xC00000BF: "TILEGX",
        0x400000BF: "TILEGX32",
        0x400000BC: "TILEPRO",
        0x4000006E: "UNICORE",
        0xC000003E: "X86_64",
        0x0000005E: "XTENSA",
        0x40000102: "LOONGARCH32",
        0xC0000102: "LOONGARCH64",
    }
)
"""``AUDIT_ARCH_*`` of linux/audit.h, whether the suite has a table of the ABI's calls or not."""


def token_text(token: int) -> str:
    """An architecture token as a sentence names it: ``0x16 (AUDIT_ARCH_S390)``."""
    name = TOKENS.get(token)
    return f"{token:#x} (AUDIT_ARCH_{name})" if name else f"{token:#x}"


def of_token(token: int) -> tuple[Arch, ...]:
    """The ABIs with this architecture token; two for x86_64's, none for a token not known here."""
    return tuple(arch for arch in _ALL if arch.audit_arch == token)


def canary(arch: Arch) -> tuple[str, int]:
    """The name and the number of the call that the controls make on an ABI."""
    for name in (CANARY, "getpid", "gettid"):
        number = arch.number(name)
        if number is not None:
            return name, number
    raise LookupError(f"{arch.name} has none of the canary calls")


def known_to(arch: Arch) -> frozenset[int]:
    """Every number that some ABI with the architecture's token knows."""
    return frozenset(
        number
        for other in _ALL
        if other.audit_arch == arch.audit_arch
        for number in other.numbers.values()
    )


def belongs_to(arch: Arch, number: int) -> bool:
    """Whether a number of the architecture's token belongs to this ABI: x86_64 or x32."""
    if arch.audit_arch != ARCHES["x32"].audit_arch:
        return True
    return bool(number & X32_SYSCALL_BIT) == (arch.name == "x32")


@cache
def all_names() -> frozenset[str]:
    """The name of every call that any table knows."""
    return frozenset(name for arch in _ALL for name in arch.numbers)


@cache
def _numbers(name: str) -> Mapping[str, int]:
    # Here, not above: the package's list of all names is read on import, and most users of this
    # module only need an ABI's name or token.
    from system_calls import syscalls  # noqa: PLC0415

    table = syscalls().load_arch_table(_PACKAGE_NAMES.get(name, name))
    return _merged(name, table, _legacy()[name])


def _merged(name: str, table: Mapping[str, int], legacy: Mapping[str, int]) -> Mapping[str, int]:
    """One table of two that may overlap but not contradict each other.

    Raises:
        InstrumentError: a name has two numbers, or a number two names.
    """
    callers = {number: call for call, number in table.items()}
    for call, number in legacy.items():
        if table.get(call, number) != number or callers.get(number, call) != call:
            raise InstrumentError(
                f"{_LEGACY_FILE.name} and the installed system-calls contradict each other about "
                f"{call} ({number}) on {name}: mend the file by the kernel's own table"
            )
    return MappingProxyType(dict(sorted({**table, **legacy}.items())))


@cache
def _legacy() -> Mapping[str, Mapping[str, int]]:
    """The content of ``legacy-numbers.toml``: call numbers by name, by ABI."""
    with _LEGACY_FILE.open("rb") as file:
        return {name: section["numbers"] for name, section in tomllib.load(file).items()}


@cache
def _names(name: str) -> Mapping[int, str]:
    return MappingProxyType({number: call for call, number in _numbers(name).items()})
