"""Rules that look at bits of an argument which the kernel does not read. Pure.

The kernel cuts an int to the low 32 bits of its register, and a filter sees all 64. A denial that
compares all of them is evaded by whoever sets a bit above, and an allowance refuses a caller with
garbage there, which no ABI forbids.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from probes import arch as abi
from probes.action import FilterReturn
from probes.arch import Arch
from probes.filters.bpf import SeccompData
from probes.filters.conditions import ARGUMENTS
from probes.filters.prover import Analysis
from probes.finding import Finding
from probes.widths import REGISTER_BITS, is_wide, width

_MOST: Final = 20
"""The most findings that are reported; a filter with more repeats one fault everywhere."""

_HALF: Final = 32
_SHOWS_HIGH_HALVES: Final = frozenset({"i386"})
"""The 32-bit ABIs by which a 64-bit process can enter with more than 32 bits in a register."""


@dataclass(frozen=True, slots=True)
class _Sway:
    """An argument of which bits that the kernel does not read change the filter's answer.

    Attributes:
        call: the call.
        index: which argument.
        plain: what the filter returns without such bits.
        other: what it returns with them.
    """

    call: str
    index: int
    plain: FilterReturn
    other: FilterReturn

    @property
    def evades(self) -> bool:
        """Whether the bits loosen the filter."""
        return self.other.action.precedence > self.plain.action.precedence


def findings(analysis: Analysis, native: Arch) -> tuple[Finding, ...]:
    """Advice about decisions that the filters make by bits that the kernel does not read.

    Empty for an analysis that is not exact.

    Args:
        analysis: the analysis of the filters.
        native: the native ABI of their machine.

    Raises:
        TooComplexError: the analysis outgrew its bound.
    """
    if not analysis.exact:
        return ()
    found: dict[_Sway, dict[str, SeccompData]] = {}
    for arch in abi.offered_by(native.machine):
        for sway, data in _of(analysis, arch):
            found.setdefault(sway, {})[arch.name] = data
    told = [Finding(_sentence(sway, places)) for sway, places in found.items()]
    if len(told) > _MOST:
        more = (
            f"and {len(told) - _MOST} more arguments are compared in bits that the kernel ignores"
        )
        return (*told[:_MOST], Finding(more))
    return tuple(told)


def _of(analysis: Analysis, arch: Arch) -> Iterator[tuple[_Sway, SeccompData]]:
    """The arguments of one ABI's calls that are treated so, each with an input."""
    top = REGISTER_BITS if is_wide(arch) or arch.name in _SHOWS_HIGH_HALVES else _HALF
    for name, number in arch.numbers.items():
        if len(analysis.returns(arch.audit_arch, number)) == 1:
            continue
        for index in range(ARGUMENTS):
            unread = range(width(name, arch, index), top)
            for plain, other, data in analysis.swayed(arch.audit_arch, number, index, unread):
                sway = _Sway(name, index, FilterReturn.decode(plain), FilterReturn.decode(other))
                if sway.plain.action is not sway.other.action:
                    yield sway, data


def _sentence(sway: _Sway, places: dict[str, SeccompData]) -> str:
    where, data = next(iter(places.items()))
    bits = width(sway.call, abi.get(where), sway.index)
    mask = (1 << bits) - 1
    given = data.args[sway.index]
    rest = ", ".join(
        f"args[{index}]={value:#x}"
        for index, value in enumerate(data.args)
        if value and index != sway.index
    )
    effect = "its upper bits evade the rule" if sway.evades else "honest callers are refused"
    if not sway.evades and sway.other.action.reaches_kernel:
        effect = "honest callers are treated otherwise"
    return (
        f"{sway.call} on {', '.join(places)}: the filter compares more of args[{sway.index}] than "
        f"the low {bits} bits, which are all that the kernel reads: {given:#x} gets {sway.other} "
        f"and means the same as {given & mask:#x}, which gets {sway.plain}"
        f"{f' (with {rest})' if rest else ''}; so {effect}, and a mask of {mask:#x} mends it"
    )
