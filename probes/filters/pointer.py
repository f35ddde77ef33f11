"""The instruction addresses that a filter can meet: those at which code can enter the kernel.

The kernel shows a filter where the instruction of a call ends (``instruction_pointer`` in
seccomp(2)). Code can lie anywhere in user space, so a filter that makes its answer depend on it has
as many answers; but no code ends at address 0, and none lies where no page can be. A jump into
x86_64's page of vsyscalls is the exception: the kernel shows its address for one call each
(``emulate_vsyscall()`` in arch/x86/entry/vsyscall/vsyscall_64.c).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from probes.arch import ARCHES, machine_here
from probes.environment import UserSpace

_X86: Final = "x86_64"
_PAGE: Final = 4096
_X86_TOKEN: Final = ARCHES[_X86].audit_arch


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses at which code of a kind of machine can enter the kernel.

    Attributes:
        first: the lowest: where the instruction of the lowest page's beginning ends.
        last: the highest, included: the end of user space.
        step: all of them are multiples of it.
    """

    first: int
    last: int
    step: int = 1


@dataclass(frozen=True, slots=True)
class Pointers:
    """Every instruction address that a filter can meet.

    Attributes:
        spans: those of code.
        calls: those of the vsyscall page, each with the architecture token and the number that
            the kernel shows with it.
    """

    spans: tuple[Span, ...]
    calls: tuple[tuple[int, int, int], ...] = ()


# The ends of user space: the largest that a kernel of the machine can be built with.
_FOUR_LEVELS: Final = (1 << 47) - _PAGE
_FIVE_LEVELS: Final = (1 << 56) - _PAGE
_SPANS: Final = {
    "aarch64": (Span(4, 1 << 52, 4), Span(2, 1 << 32, 2)),  # 32-bit code may be Thumb
    "ppc64le": (Span(4, 1 << 52, 4),),
    "s390x": (Span(2, (1 << 64) - _PAGE, 2),),
    "riscv64": (Span(4, 1 << 56, 2),),
    "loongarch64": (Span(4, 1 << 56, 4),),
    "mips64": (Span(1, 1 << 48),),  # 32-bit code may be microMIPS, which sets the lowest bit
}
_ANY: Final = Span(1, (1 << 64) - 1)

_VSYSCALLS: Final = {
    96: 0xFFFFFFFFFF600000,  # gettimeofday
    201: 0xFFFFFFFFFF600400,  # time
    309: 0xFFFFFFFFFF600800,  # getcpu
}

_ORDINARY_FIRST: Final = 1 << 16
"""The highest vm.mmap_min_addr that is usual; below it only CAP_SYS_RAWIO can have code."""


def possible(tokens: Iterable[int], here: UserSpace) -> Pointers:
    """The instruction addresses that filters which name these architectures can meet.

    The architectures tell for which machines the filters are; without any they are for this one.

    Args:
        tokens: the architecture tokens.
        here: the properties of an x86_64 kernel that limit its addresses.
    """
    named = set(tokens)
    machines = {one.machine for one in ARCHES.values() if one.audit_arch in named}
    machines = machines or {machine_here()}
    spans: list[Span] = []
    for machine in sorted(machines):
        if machine == _X86:
            spans.append(Span(2, _FIVE_LEVELS if here.five_levels else _FOUR_LEVELS))
        else:
            spans += _SPANS.get(machine, (_ANY,))
    calls: tuple[tuple[int, int, int], ...] = ()
    if _X86 in machines and here.vsyscalls:
        calls = tuple((_X86_TOKEN, number, address) for number, address in _VSYSCALLS.items())
    return Pointers(tuple(spans), calls)


def is_vsyscall(address: int) -> bool:
    """Whether an address is one of the page of vsyscalls."""
    return address in _VSYSCALLS.values()


def is_ordinary(address: int) -> bool:
    """Whether any process can have code there, on whatever machine."""
    return _ORDINARY_FIRST <= address <= _FOUR_LEVELS


PREFERRED: Final = (
    Span(0x1000_0000_0000, 0x1FFF_FFFF_FFFF),
    Span(_ORDINARY_FIRST + _PAGE, _FOUR_LEVELS - _PAGE),
    Span(_ORDINARY_FIRST, _FOUR_LEVELS),
)
"""The addresses for code, the best first: far from all that a process usually has."""
