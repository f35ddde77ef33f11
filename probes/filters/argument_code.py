"""Classic BPF that compares a call's arguments. Pure.

A program loads 32 bits at a time, so a comparison of a whole register is one of its halves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from probes.action import Action, FilterReturn
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.filters.conditions import Comparison, Operator, Restriction

_HALF: Final = 32


class _To(Enum):
    """The target of a comparison's jump, before it has a distance."""

    NEXT = auto()
    HOLDS = auto()
    FAILS = auto()


@dataclass(frozen=True, slots=True)
class _Step:
    """An instruction whose jumps lead to a ``_To`` and have no distance yet."""

    code: int
    k: int
    yes: _To = _To.NEXT
    no: _To = _To.NEXT


def decision(answers: Iterable[tuple[Restriction, int]], *, big_endian: bool) -> Program:
    """Assembles code that returns the answer of the first restriction that holds, else ALLOW.

    Args:
        answers: restrictions, each with the raw value to return where it holds.
        big_endian: the byte order of the machine.
    """
    code: list[bpf.Instruction] = []
    for restriction, value in answers:
        # From its end, for each comparison has to know how far it is to what follows the return.
        block: Program = (bpf.statement(bpf.RET_K, value),)
        for one in reversed(restriction.comparisons):
            block = (*compared(one, len(block), big_endian=big_endian), *block)
        code += block
    return (*code, bpf.statement(bpf.RET_K, FilterReturn(Action.ALLOW).value))


def compared(one: Comparison, skipped: int, *, big_endian: bool) -> Program:
    """Assembles code that continues if a comparison holds, and else skips what follows.

    Args:
        one: the comparison.
        skipped: how many instructions are jumped over.
        big_endian: the byte order of the machine, which decides which half stands first.
    """
    steps = _steps(one, big_endian=big_endian)
    return tuple(
        _resolved(step, len(steps) - index - 1, skipped) for index, step in enumerate(steps)
    )


def _resolved(step: _Step, left: int, skipped: int) -> bpf.Instruction:
    places = {_To.NEXT: 0, _To.HOLDS: left, _To.FAILS: left + skipped}
    if step.code == bpf.JA:
        return bpf.statement(bpf.JA, places[step.yes])
    if bpf.is_jump(step.code):
        return bpf.jump(step.code, step.k, places[step.yes], places[step.no])
    return bpf.statement(step.code, step.k)


def _steps(one: Comparison, *, big_endian: bool) -> list[_Step]:
    exact = one.operator in {Operator.EQ, Operator.NE}
    if one.value & ~one.mask if exact else one.value > one.mask:
        # No bits that count make such a value.
        always = one.operator in {Operator.NE, Operator.LT, Operator.LE}
        return [] if always else [_Step(bpf.JA, 0, yes=_To.FAILS)]
    high, low = one.mask >> _HALF, one.mask & bpf.U32
    value = (one.value >> _HALF, one.value & bpf.U32)
    loads = (
        _loaded(one.index, high, upper=True, big_endian=big_endian),
        _loaded(one.index, low, upper=False, big_endian=big_endian),
    )
    if one.operator is Operator.EQ:
        return [
            step
            for load, wanted in zip(loads, value, strict=True)
            if load
            for step in (*load, _Step(bpf.JEQ, wanted, no=_To.FAILS))
        ]
    if one.operator is Operator.NE:
        return _differing(loads, value)
    return _ordered(one.operator, loads, value)


_Halves = tuple[list[_Step], list[_Step]]


def _differing(loads: _Halves, value: tuple[int, int]) -> list[_Step]:
    """Steps that hold if one of the halves differs from the value."""
    halves = [pair for pair in zip(loads, value, strict=True) if pair[0]]
    if not halves:
        return [_Step(bpf.JA, 0, yes=_To.FAILS)]
    *first, (last_load, last_wanted) = halves
    steps = [
        step for load, wanted in first for step in (*load, _Step(bpf.JEQ, wanted, no=_To.HOLDS))
    ]
    return [*steps, *last_load, _Step(bpf.JEQ, last_wanted, yes=_To.FAILS)]


def _ordered(operator: Operator, loads: _Halves, value: tuple[int, int]) -> list[_Step]:
    """Steps that compare an argument with a value by one of ``<``, ``<=``, ``>`` and ``>=``."""
    upward = operator in {Operator.GT, Operator.GE}
    above, below = (_To.HOLDS, _To.FAILS) if upward else (_To.FAILS, _To.HOLDS)
    code = bpf.JGT if operator in {Operator.GT, Operator.LE} else bpf.JGE
    high, low = loads
    steps = []
    if high:
        steps += [
            *high,
            _Step(bpf.JGT, value[0], yes=above),
            _Step(bpf.JEQ, value[0], no=below),
        ]
    return [*steps, *low, _Step(code, value[1], yes=above, no=below)]


def _loaded(index: int, mask: int, *, upper: bool, big_endian: bool) -> list[_Step]:
    """Steps that load the compared bits of one half of an argument; none if none is compared."""
    if not mask:
        return []
    offset = bpf.OFFSET_ARGS + 8 * index + (4 if upper != big_endian else 0)
    masked = [] if mask == bpf.U32 else [_Step(bpf.AND, mask)]
    return [_Step(bpf.LD_ABS, offset), *masked]
