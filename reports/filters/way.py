"""The instructions that a call runs through in a stack of filters, and disassembly. Pure."""

import textwrap
from dataclasses import dataclass

from probes.action import FilterReturn
from probes.filters import bpf, trace
from probes.filters.bpf import Instruction, Program, SeccompData
from probes.filters.comparison import outcome
from probes.filters.trace import Step
from probes.targets.stack import FilterStack
from probes.text import visible

INDENT = "  "
"""How far a line stands to the right of what it belongs to."""

_ARGUMENTS = 6


def wrapped(text: str, width: int, lead: str = "", hang: str | None = None) -> list[str]:
    """The text in lines of a width, with what stands before the first and before the others."""
    return textwrap.wrap(
        visible(text),
        width,
        initial_indent=lead,
        subsequent_indent=INDENT if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def arguments_text(data: SeccompData) -> str:
    """The arguments of a call as people write them; ``...`` stands for zeros."""
    args = list(data.args)
    while len(args) > 1 and args[-1] == 0:
        args.pop()
    spelled = [f"{value:#x}" for value in args]
    if len(args) < _ARGUMENTS:
        spelled.append("...")
    words = f"args ({', '.join(spelled)})"
    if data.instruction_pointer:
        words += f" at the instruction pointer {data.instruction_pointer:#x}"
    return words


def path_lines(opened: FilterStack, data: SeccompData) -> list[str]:
    """The instructions that a call runs through, in every filter, with what they compare."""
    big_endian = opened.native.big_endian
    lines = []
    count = len(opened.programs)
    for place, program in enumerate(opened.programs):
        if count > 1:
            lines.append(f"{INDENT * 2}filter {place + 1} of {count}{_flag(opened, place)}:")
        lines += _path(program, data, big_endian=big_endian)
    if count > 1:
        returns, is_recorded = outcome(opened.programs, data, opened.logged, big_endian=big_endian)
        record = ", and records it for that filter's flag" if is_recorded else ""
        lines.append(f"{INDENT * 2}of these the kernel heeds {returns}{record}")
    if not count:
        lines.append(f"{INDENT * 2}there is no filter, so that the call is allowed")
    return lines


def _flag(opened: FilterStack, place: int) -> str:
    return ", with SECCOMP_FILTER_FLAG_LOG" if opened.logged and opened.logged[place] else ""


@dataclass(frozen=True, slots=True)
class PathRow:
    """An instruction that a call runs through.

    Attributes:
        index: its place in the program.
        instruction: its disassembly, with the names of what it loads and returns.
        said: what it did with the call; may be "".
        fails: whether it is a comparison with a constant that does not hold.
    """

    index: int
    instruction: str
    said: str
    fails: bool


def path(program: Program, data: SeccompData, *, big_endian: bool) -> tuple[PathRow, ...]:
    """Every instruction of one filter that a call runs through, the returning one last."""
    run = list(trace.steps(program, data, big_endian=big_endian))
    mnemonics = annotated(program, big_endian=big_endian)
    return tuple(
        PathRow(
            step.index,
            mnemonics[step.index],
            _said(program[step.index], step, following),
            _fails(program[step.index], step),
        )
        for step, following in zip(run, [*run[1:], None], strict=True)
    )


def paths(opened: FilterStack, data: SeccompData) -> tuple[tuple[PathRow, ...], ...]:
    """The instructions that a call runs through, filter by filter."""
    big_endian = opened.native.big_endian
    return tuple(path(program, data, big_endian=big_endian) for program in opened.programs)


def _path(program: Program, data: SeccompData, *, big_endian: bool) -> list[str]:
    """The instructions of one filter that run; failed comparisons in a row are only counted."""
    rows = path(program, data, big_endian=big_endian)
    lines = []
    skipped = 0
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if row.fails and following is not None and following.fails:
            skipped += 1
            if skipped > 1:
                continue
        elif skipped > 1:
            noun = "comparison" if skipped == _SHORTEST_RUN else "comparisons"
            lines.append(f"{INDENT * 2}  ... {skipped - 1} more {noun} with other values: no")
            skipped = 0
        else:
            skipped = 0
        lines.append(f"{INDENT * 2}{row.instruction:<40}  {row.said}".rstrip())
    return lines


_SHORTEST_RUN = 2


def _fails(instruction: Instruction, step: Step) -> bool:
    """Whether a comparison with a constant does not hold."""
    return instruction.code == bpf.JEQ and step.a != instruction.k


_COMPARISONS = {bpf.JEQ: "==", bpf.JGT: ">", bpf.JGE: ">="}


def _said(instruction: Instruction, step: Step, following: Step | None) -> str:
    """What an instruction did with a call."""
    if step.returns is not None:
        return str(FilterReturn.decode(step.returns))
    kind = instruction.code & ~bpf.SOURCE_X
    operand = step.x if instruction.code & bpf.SOURCE_X else instruction.k
    taken = f"to {step.following}"
    if kind == bpf.JSET:
        return f"{step.a:#x} & {operand:#x} is {step.a & operand:#x}: {taken}"
    if kind in _COMPARISONS:
        holds = step.following == step.index + 1 + instruction.jt
        if instruction.jt == instruction.jf:
            return taken
        answer = "yes" if holds else "no"
        return f"{step.a:#x} {_COMPARISONS[kind]} {operand:#x}? {answer}, {taken}"
    if following is None or instruction.code in {bpf.JA, bpf.ST, bpf.STX}:
        return ""
    changed_x = following.x != step.x or instruction.code in {
        bpf.TAX,
        bpf.LDX_IMM,
        bpf.LDX_MEM,
        bpf.LDX_LEN,
    }
    return f"X = {following.x:#x}" if changed_x else f"A = {following.a:#x}"


def annotated(program: Program, *, big_endian: bool) -> list[str]:
    """The disassembly of a program, with the names of what it loads and returns."""
    return [
        f"{line}{_meaning(instruction, big_endian=big_endian)}"
        for line, instruction in zip(bpf.disassemble(program).splitlines(), program, strict=True)
    ]


def _meaning(instruction: Instruction, *, big_endian: bool) -> str:
    k = instruction.k
    if instruction.code == bpf.RET_K:
        return f" ; {FilterReturn.decode(k)}"
    if instruction.code != bpf.LD_ABS:
        return ""
    if k in {bpf.OFFSET_NR, bpf.OFFSET_ARCH}:
        return " ; number" if k == bpf.OFFSET_NR else " ; architecture"
    wide, second = divmod(k - bpf.OFFSET_POINTER, 8)
    half = "low" if bool(second) == big_endian else "high"
    name = "instruction pointer" if wide == 0 else f"args[{wide - 1}]"
    return f" ; {half} half of {name}"


def disassembly_lines(opened: FilterStack) -> list[str]:
    """Every filter, instruction by instruction."""
    lines = []
    count = len(opened.programs)
    for place, program in enumerate(opened.programs):
        which = "the filter" if count == 1 else f"filter {place + 1} of {count}"
        lines += ["", f"disassembly of {which}{_flag(opened, place)}"]
        lines += annotated(program, big_endian=opened.native.big_endian)
    return lines
