"""Classic BPF as seccomp runs it: assemble, disassemble, check, simulate. Pure; no system calls.

Instruction encoding: ``include/uapi/linux/filter.h``. What a seccomp filter may contain:
``seccomp_check_filter()`` in ``kernel/seccomp.c`` and ``bpf_check_classic()`` in
``net/core/filter.c``.
"""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAX_INSTRUCTIONS: Final = 4096
"""BPF_MAXINSNS: the kernel answers EINVAL to a longer program."""

SECCOMP_DATA_SIZE: Final = 64
"""sizeof(struct seccomp_data): nr, arch, instruction_pointer, args[6]."""

SCRATCH_WORDS: Final = 16
"""The size of the scratch memory in words: BPF_MEMWORDS of linux/filter.h."""

OFFSET_NR: Final = 0
OFFSET_ARCH: Final = 4
OFFSET_POINTER: Final = 8
OFFSET_ARGS: Final = 16

U32: Final = 0xFFFFFFFF

# Whole opcodes, class | size or operation | mode or source, as filter.h composes them.
LD_ABS: Final = 0x20
LD_IMM: Final = 0x00
LD_MEM: Final = 0x60
LD_LEN: Final = 0x80
LDX_IMM: Final = 0x01
LDX_MEM: Final = 0x61
LDX_LEN: Final = 0x81
ST: Final = 0x02
STX: Final = 0x03
TAX: Final = 0x07
TXA: Final = 0x87
NEG: Final = 0x84
JA: Final = 0x05
JEQ: Final = 0x15
JGT: Final = 0x25
JGE: Final = 0x35
JSET: Final = 0x45
RET_K: Final = 0x06
RET_A: Final = 0x16
SOURCE_X: Final = 0x08
"""Added to an arithmetic or jump opcode: the operand is X, not k."""

ADD: Final = 0x04
SUB: Final = 0x14
MUL: Final = 0x24
DIV: Final = 0x34
OR: Final = 0x44
AND: Final = 0x54
LSH: Final = 0x64
RSH: Final = 0x74
XOR: Final = 0xA4

_ARITHMETIC: Final = {
    ADD: "add",
    SUB: "sub",
    MUL: "mul",
    DIV: "div",
    OR: "or",
    AND: "and",
    LSH: "lsh",
    RSH: "rsh",
    XOR: "xor",
}
_CONDITIONS: Final = {JEQ: "jeq", JGT: "jgt", JGE: "jge", JSET: "jset"}
_PLAIN: Final = {
    LD_ABS: "ld [{k}]",
    LD_IMM: "ld #{k:#x}",
    LD_MEM: "ld M[{k}]",
    LD_LEN: "ld #len",
    LDX_IMM: "ldx #{k:#x}",
    LDX_MEM: "ldx M[{k}]",
    LDX_LEN: "ldx #len",
    ST: "st M[{k}]",
    STX: "stx M[{k}]",
    TAX: "tax",
    TXA: "txa",
    NEG: "neg",
    RET_K: "ret #{k:#010x}",
    RET_A: "ret a",
}
_LONGEST_SHORT_JUMP: Final = 255
_SHIFT_LIMIT: Final = 32
_PROGRAM_ITEM: Final = 8


class IllegalProgramError(ValueError):
    """A program that the kernel would refuse; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One ``struct sock_filter``."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class SeccompData:
    """The data of a call that a filter sees: ``struct seccomp_data``."""

    nr: int
    arch: int
    args: tuple[int, ...] = (0,) * 6
    instruction_pointer: int = 0

    def words(self, *, big_endian: bool = False) -> tuple[int, ...]:
        """The 16 aligned 32-bit words that a filter can load, in order of offset."""
        args = (*self.args, *(0,) * 6)[:6]
        quads = (self.instruction_pointer, *args)
        halves = tuple(
            half & U32
            for quad in quads
            for half in ((quad >> 32, quad) if big_endian else (quad, quad >> 32))
        )
        return (self.nr & U32, self.arch & U32, *halves)


def statement(code: int, k: int = 0) -> Instruction:
    """Makes an instruction that does not jump, as BPF_STMT() of linux/filter.h does."""
    return Instruction(code, 0, 0, k)


def jump(code: int, k: int, jt: int, jf: int) -> Instruction:
    """Makes a conditional jump, as BPF_JUMP() of linux/filter.h does."""
    return Instruction(code, jt, jf, k)


def to_bytes(program: Program, *, big_endian: bool = False) -> bytes:
    """The array of ``struct sock_filter`` that the kernel reads, in the machine's byte order."""
    layout = struct.Struct(">HBBI" if big_endian else "<HBBI")
    return b"".join(layout.pack(i.code, i.jt, i.jf, i.k) for i in program)


def from_bytes(raw: bytes, *, big_endian: bool = False) -> Program:
    """Reads an array of ``struct sock_filter``.

    Raises:
        IllegalProgramError: the size is no multiple of 8 bytes.
    """
    if len(raw) % _PROGRAM_ITEM:
        raise IllegalProgramError(
            f"{len(raw)} bytes are no whole number of {_PROGRAM_ITEM}-byte BPF instructions"
        )
    layout = struct.Struct(">HBBI" if big_endian else "<HBBI")
    return tuple(Instruction(*fields) for fields in layout.iter_unpack(raw))


def check(program: Program) -> None:
    """Accepts exactly the programs that seccomp(SECCOMP_SET_MODE_FILTER) accepts.

    Raises:
        IllegalProgramError: names the first instruction that the kernel would refuse, and why.
    """
    if not 0 < len(program) <= MAX_INSTRUCTIONS:
        raise IllegalProgramError(
            f"a program has 1 to {MAX_INSTRUCTIONS} instructions, this one {len(program)}"
        )
    for index, instruction in enumerate(program):
        _check_instruction(index, instruction, len(program))
    if program[-1].code not in {RET_K, RET_A}:
        raise IllegalProgramError(f"instruction {len(program) - 1}: the last one must return")
    _check_scratch_memory(program)


def _check_instruction(index: int, instruction: Instruction, length: int) -> None:
    code, k = instruction.code, instruction.k
    after = length - index - 1
    arithmetic = code & ~SOURCE_X
    problem = ""
    if code == JA:
        problem = f"jumps {k} ahead, out of the program" if k >= after else ""
    elif code & ~SOURCE_X in _CONDITIONS:
        furthest = max(instruction.jt, instruction.jf)
        problem = f"jumps {furthest} ahead, out of the program" if furthest >= after else ""
    elif arithmetic in _ARITHMETIC:
        if code == DIV and k == 0:
            problem = "divides by zero"
        elif code in {LSH, RSH} and k >= _SHIFT_LIMIT:
            problem = f"shifts a 32-bit word by {k}"
    elif code not in _PLAIN:
        problem = f"opcode {code:#06x} is not allowed in a seccomp filter"
    elif code == LD_ABS and (k % 4 or k >= SECCOMP_DATA_SIZE):
        problem = f"loads from offset {k}, which is no aligned word of struct seccomp_data"
    elif code in {LD_MEM, LDX_MEM, ST, STX} and k >= SCRATCH_WORDS:
        problem = f"uses scratch word {k} of {SCRATCH_WORDS}"
    if problem:
        raise IllegalProgramError(f"instruction {index}: {problem}")


def _check_scratch_memory(program: Program) -> None:
    """A scratch word may be loaded only where every path has stored it before.

    The kernel tracks this in one forward pass (``check_load_and_stores()``): jumps only go
    ahead, so the words known at a place are those known on every way to it.
    """
    everything = (1 << SCRATCH_WORDS) - 1
    known = [everything] * (len(program) + 1)
    valid = 0
    for index, instruction in enumerate(program):
        valid &= known[index]
        code, k = instruction.code, instruction.k
        if code in {ST, STX}:
            valid |= 1 << k
        elif code in {LD_MEM, LDX_MEM}:
            if not valid >> k & 1:
                raise IllegalProgramError(
                    f"instruction {index}: loads scratch word {k}, which no path has stored"
                )
        elif code == JA:
            known[index + 1 + k] &= valid
            valid = everything
        elif code & ~SOURCE_X in _CONDITIONS:
            known[index + 1 + instruction.jt] &= valid
            known[index + 1 + instruction.jf] &= valid
            valid = everything


def simulate(  # noqa: C901 - an interpreter's loop has one branch a kind of instruction
    program: Program, data: SeccompData, *, big_endian: bool = False
) -> int:
    """The 32-bit value that the kernel would get from a program that ``check`` accepts."""
    words = data.words(big_endian=big_endian)
    scratch = [0] * SCRATCH_WORDS
    a = x = pc = 0
    while True:
        instruction = program[pc]
        code, k = instruction.code, instruction.k
        pc += 1
        operation = code & ~SOURCE_X
        operand = x if code & SOURCE_X else k
        if code in {RET_K, RET_A}:
            return a if code == RET_A else k
        if code == JA:
            pc += k
        elif operation in _CONDITIONS:
            pc += instruction.jt if _holds(operation, a, operand) else instruction.jf
        elif operation == DIV and operand == 0:
            return 0  # the kernel ends the program so, and 0 is KILL_THREAD
        elif operation in _ARITHMETIC:
            a = compute(operation, a, operand)
        elif code in {ST, STX}:
            scratch[k] = a if code == ST else x
        elif code in {LDX_IMM, LDX_LEN, LDX_MEM, TAX}:
            x = a if code == TAX else _loaded(code, k, scratch)
        elif code == LD_ABS:
            a = words[k // 4]
        elif code in {TXA, NEG}:
            a = x if code == TXA else -a & U32
        else:
            a = _loaded(code, k, scratch)


def _loaded(code: int, k: int, scratch: Sequence[int]) -> int:
    if code in {LD_IMM, LDX_IMM}:
        return k
    return SECCOMP_DATA_SIZE if code in {LD_LEN, LDX_LEN} else scratch[k]


def _holds(condition: int, a: int, operand: int) -> bool:
    if condition == JEQ:
        return a == operand
    if condition == JGT:
        return a > operand
    if condition == JGE:
        return a >= operand
    return bool(a & operand)


def is_arithmetic(code: int) -> bool:
    """Whether an opcode computes with A and an operand."""
    return code & ~SOURCE_X in _ARITHMETIC


def is_jump(code: int) -> bool:
    """Whether an opcode leads elsewhere than to the next instruction, or may."""
    return code == JA or code & ~SOURCE_X in _CONDITIONS


def targets(index: int, instruction: Instruction) -> tuple[int, ...]:
    """The indices of the instructions that may follow one; none for a return."""
    code = instruction.code
    if code in {RET_K, RET_A}:
        return ()
    if code == JA:
        return (index + 1 + instruction.k,)
    if is_jump(code):
        return (index + 1 + instruction.jt, index + 1 + instruction.jf)
    return (index + 1,)


def compute(operation: int, a: int, operand: int) -> int:
    """The result of an arithmetic opcode, without its source bit; division by zero gives 0."""
    shift = operand & (_SHIFT_LIMIT - 1)  # eBPF masks the count of a shift by X
    results = {
        "add": a + operand,
        "sub": a - operand,
        "mul": a * operand,
        "div": a // operand if operand else 0,
        "or": a | operand,
        "and": a & operand,
        "lsh": a << shift,
        "rsh": a >> shift,
        "xor": a ^ operand,
    }
    return results[_ARITHMETIC[operation]] & U32


def reads_only_number_and_arch(program: Program) -> bool:
    """Whether the verdict on a call can depend on nothing but its number and architecture."""
    return all(i.code != LD_ABS or i.k in {OFFSET_NR, OFFSET_ARCH} for i in program)


def reads_pointer(program: Program) -> bool:
    """Whether the verdict on a call can depend on where its code is."""
    halves = {OFFSET_POINTER, OFFSET_POINTER + 4}
    return any(i.code == LD_ABS and i.k in halves for i in program)


def disassemble(program: Program) -> str:
    """One line an instruction, jump targets as absolute indices."""
    return "\n".join(f"{index:4d}: {_mnemonic(index, i)}" for index, i in enumerate(program))


def _mnemonic(index: int, instruction: Instruction) -> str:
    code, k = instruction.code, instruction.k
    base = code & ~SOURCE_X
    operand = "x" if code & SOURCE_X else f"#{k:#x}"
    if code == JA:
        return f"ja {index + 1 + k}"
    if base in _CONDITIONS:
        yes, no = index + 1 + instruction.jt, index + 1 + instruction.jf
        return f"{_CONDITIONS[base]} {operand} ? {yes} : {no}"
    if base in _ARITHMETIC:
        return f"{_ARITHMETIC[base]} {operand}"
    template = _PLAIN.get(code)
    return template.format(k=k) if template else f".word {code:#06x}, k={k:#x}"


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers ``first`` to ``last`` (both included) and what a filter returns for them.

    Attributes:
        first: the lowest number.
        last: the highest number.
        returns: what a filter returns for them.
        code: instructions that run in place of a plain return, where arguments matter; every path
            through them ends in a return.
    """

    first: int
    last: int
    returns: int
    code: Program = ()


def ranges(chosen: Collection[int], returns: int, otherwise: int) -> tuple[Range, ...]:
    """Covers all 2^32 numbers: ``returns`` for the chosen ones, ``otherwise`` for the rest."""
    return ranges_from(dict.fromkeys(chosen, returns), otherwise)


def ranges_from(
    returns: Mapping[int, int], otherwise: int, code: Mapping[int, Program] | None = None
) -> tuple[Range, ...]:
    """Covers all 2^32 numbers with what each returns; neighbours that agree are one range.

    Args:
        returns: what some numbers return.
        otherwise: what all others return.
        code: the instructions for each number whose arguments matter.
    """
    by_arguments = code or {}
    found: list[Range] = []
    following = 0
    for number in sorted({*returns, *by_arguments}):
        if number > following:
            found.append(Range(following, number - 1, otherwise))
        value = returns.get(number, otherwise)
        found.append(Range(number, number, value, by_arguments.get(number, ())))
        following = number + 1
    if following <= U32:
        found.append(Range(following, U32, otherwise))
    return _merged(found)


def _merged(parts: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last is not None and (last.returns, last.code) == (part.returns, part.code):
            merged[-1] = Range(last.first, part.last, part.returns, part.code)
        else:
            merged.append(part)
    return tuple(merged)


def tree(parts: Sequence[Range]) -> Program:
    """A balanced search tree over A, which holds the number: log2(ranges) comparisons a call."""
    if len(parts) == 1:
        return parts[0].code or (statement(RET_K, parts[0].returns),)
    middle = len(parts) // 2
    below, above = tree(parts[:middle]), tree(parts[middle:])
    if len(below) <= _LONGEST_SHORT_JUMP:
        return (jump(JGE, parts[middle].first, len(below), 0), *below, *above)
    return (jump(JGE, parts[middle].first, 0, 1), statement(JA, len(below)), *below, *above)


def dispatch(by_arch: Mapping[int, Sequence[Range]], foreign: int) -> Program:
    """A whole filter: the ranges of each AUDIT_ARCH token, ``foreign`` for any other token."""
    code: list[Instruction] = [statement(LD_ABS, OFFSET_ARCH)]
    for token, parts in by_arch.items():
        block = (statement(LD_ABS, OFFSET_NR), *tree(parts))
        code += (jump(JEQ, token, 1, 0), statement(JA, len(block)), *block)
    code.append(statement(RET_K, foreign))
    program = tuple(code)
    check(program)
    return program
