"""The way that one call takes through a program, instruction by instruction. Pure.

Each instruction that computes or compares is run by ``bpf.simulate`` as a program of its own, so
what it means is written down there only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from probes.filters import bpf
from probes.filters.bpf import Instruction, Program, SeccompData

_JUMPS: Final = frozenset({bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET})


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction on the path of a call.

    Attributes:
        index: its place in the program.
        a: what A holds before it.
        x: what X holds before it.
        following: where the call goes next; None where it returns.
        returns: the raw return value; None where the call goes on.
    """

    index: int
    a: int
    x: int
    following: int | None
    returns: int | None = None


def steps(program: Program, data: SeccompData, *, big_endian: bool = False) -> Iterator[Step]:
    """Every instruction on the way of a call, the returning one last.

    Args:
        program: a program that ``bpf.check`` accepts.
        data: the call.
        big_endian: the byte order of the machine.
    """
    a = x = pc = 0
    scratch: dict[int, int] = {}
    while True:
        instruction = program[pc]
        code = instruction.code
        held = (bpf.statement(bpf.LD_IMM, a), bpf.statement(bpf.LDX_IMM, x))
        if code in {bpf.RET_K, bpf.RET_A} or (code == bpf.DIV | bpf.SOURCE_X and x == 0):
            value = bpf.simulate((*held, instruction, bpf.statement(bpf.RET_A)), data)
            yield Step(pc, a, x, None, value)
            return
        following = pc + 1 + _skipped(instruction, held, data)
        yield Step(pc, a, x, following)
        if code in {bpf.ST, bpf.STX}:
            scratch[instruction.k] = a if code == bpf.ST else x
        elif code & ~bpf.SOURCE_X not in _JUMPS and code != bpf.JA:
            only = (*held, _without_scratch(instruction, scratch))
            a, x = (
                bpf.simulate((*only, *last), data, big_endian=big_endian)
                for last in (
                    (bpf.statement(bpf.RET_A),),
                    (bpf.statement(bpf.TXA), bpf.statement(bpf.RET_A)),
                )
            )
        pc = following


def _skipped(instruction: Instruction, held: Program, data: SeccompData) -> int:
    """How many instructions a jump skips for a call."""
    if instruction.code == bpf.JA:
        return instruction.k
    if instruction.code & ~bpf.SOURCE_X not in _JUMPS:
        return 0
    asked = bpf.jump(instruction.code, instruction.k, 0, 1)
    answers = (bpf.statement(bpf.RET_K, 1), bpf.statement(bpf.RET_K, 0))
    return instruction.jt if bpf.simulate((*held, asked, *answers), data) else instruction.jf


def _without_scratch(instruction: Instruction, scratch: Mapping[int, int]) -> Instruction:
    if instruction.code == bpf.LD_MEM:
        return bpf.statement(bpf.LD_IMM, scratch[instruction.k])
    if instruction.code == bpf.LDX_MEM:
        return bpf.statement(bpf.LDX_IMM, scratch[instruction.k])
    return instruction
