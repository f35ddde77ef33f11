"""The part that runc puts before libseccomp's program, recognized in a program. Pure.

It answers ENOSYS to numbers above the highest one that a profile names on an architecture: nobody
who wrote the profile knew those calls, and a C library that gets EPERM does not fall back. Releases
of runc lay it out in different ways, and each run in another order; so what counts is its end, an
answer that all else jumps over, and what it does.

Source: runc ``libcontainer/seccomp/patchbpf/enosys_linux.go``.
"""

from dataclasses import dataclass
from typing import Final

from probes.action import Action, FilterReturn
from probes.arch import Arch, belongs_to, of_token
from probes.filters import bpf, partition, prover
from probes.filters.bpf import Program, statement
from probes.filters.prover import Analysis

_ALLOW: Final = FilterReturn(Action.ALLOW).value
_ENOSYS: Final = frozenset({38, 89})
"""The numbers of ENOSYS: on most machines, and on MIPS."""

_LOAD_TOKEN: Final = statement(bpf.LD_ABS, bpf.OFFSET_ARCH)
_LOADS: Final = frozenset({_LOAD_TOKEN, statement(bpf.LD_ABS, bpf.OFFSET_NR)})
_JUMPS: Final = frozenset({bpf.JA, bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET})
_MOST_INSTRUCTIONS: Final = 256
"""How long the part may be; the longest that was seen has 26 instructions."""


@dataclass(frozen=True, slots=True)
class Stub:
    """The part, as it answers.

    Attributes:
        program: its instructions.
    """

    program: Program
    _analysis: Analysis

    def covers(self, arch: Arch, number: int) -> bool:
        """Whether it answers a number and every higher one of the ABI that has such numbers.

        An answer to a number below one that goes on to the profile is another rule's.

        Args:
            arch: an ABI; x32 where the number carries its bit, whichever of the two is given.
            number: the number.
        """
        owner = next((one for one in of_token(arch.audit_arch) if belongs_to(one, number)), arch)
        above = [
            (max(first, number), last) for first, last in partition.share(owner) if last >= number
        ]
        goes_on = [
            part for part in self._analysis.numbers(arch.audit_arch) if _ALLOW in part.returns
        ]
        return not any(
            first <= part.last and part.first <= last for first, last in above for part in goes_on
        )


def is_enosys(returns: FilterReturn) -> bool:
    """Whether a filter returns an errno that says that there is no such call."""
    return returns.action is Action.ERRNO and returns.data in _ENOSYS


def found_in(program: Program) -> Stub | None:
    """The part at the beginning of a program; None where there is none.

    Raises:
        TooComplexError: it cannot be analyzed.
    """
    if program[:1] != (_LOAD_TOKEN,):
        return None
    for place, one in enumerate(program[:_MOST_INSTRUCTIONS]):
        if one.code == bpf.RET_K:
            return _ending_at(program, place)
        if one not in _LOADS and one.code not in _JUMPS:
            return None
    return None


def _ending_at(program: Program, place: int) -> Stub | None:
    """The part whose only answer stands at a place, if it is one, and a filter begins behind it."""
    begin = place + 1
    is_answer = is_enosys(FilterReturn.decode(program[place].k))
    if not is_answer or program[begin : begin + 1] != (_LOAD_TOKEN,):
        return None
    part = program[:begin]
    if any(at + 1 + farthest > begin for at, farthest in enumerate(map(_farthest, part))):
        return None
    analysis = prover.analyze(((*part, statement(bpf.RET_K, _ALLOW)),))
    return Stub(part, analysis)


def _farthest(one: bpf.Instruction) -> int:
    """How many instructions an instruction skips at most."""
    if one.code == bpf.JA:
        return one.k
    return max(one.jt, one.jf) if one.code in _JUMPS else 0
