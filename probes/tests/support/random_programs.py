"""Made-up seccomp programs, and inputs that lead to their edges: the same seed, the same ones.

Three kinds: programs of any legal instructions in any order, programs in the style of compilers
that people use, and programs that the kernel refuses. What is legal is decided here apart from
``bpf.check``: a scratch word counts as stored by the sets of words on the ways to a place.
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.arch import ARCHES, X32_SYSCALL_BIT
from probes.filters import bpf
from probes.filters.bpf import U32, Instruction, Program, SeccompData, jump, statement

ALLOW: Final = FilterReturn(Action.ALLOW).value
EPERM: Final = FilterReturn(Action.ERRNO, errno.EPERM).value
ENOSYS: Final = FilterReturn(Action.ERRNO, errno.ENOSYS).value

_ABIS: Final = [
    "x86_64",
    "i386",
    "aarch64",
    "arm",
    "ppc64le",
    "s390x",
    "riscv64",
    "loongarch64",
    "mips64el",
]
TOKENS: Final = tuple(sorted({ARCHES[name].audit_arch for name in _ABIS}))
"""Listed here, so that the programs of a seed stay the same when the suite learns of an ABI."""
X86_64: Final = ARCHES["x86_64"].audit_arch
I386: Final = ARCHES["i386"].audit_arch

_CALLS: Final = ("acct", "mount", "clone", "socket", "ioctl", "personality", "msgrcv", "mprotect")
NUMBERS: Final = (
    *sorted({ARCHES[name].numbers[call] for name in ("x86_64", "x32") for call in _CALLS}),
    *(117, 0, 1, 511, 512, 4096, X32_SYSCALL_BIT, 0x7FFFFFFF, 0x80000000, U32),
)
"""Numbers that filters name or that lie on an edge; 117 is ipc on i386."""

HALVES: Final = (
    *(0, 1, 2, 3, 10, 12, 16, 38, 40, 0x1000C),
    *(0x5412, 0x541C, 0x20000, 0x20008, 0x7E020000, 0x10000000, 0x7C020000),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, U32),
)
"""Halves of arguments: families, requests, personalities, clone flags, signs and edges."""

_OPERANDS: Final = (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 0xFF, 0xFFFF, 0xF0F0F0F0, 0xFFFFFFF0, U32)
_POINTER_WORDS: Final = (bpf.OFFSET_POINTER, bpf.OFFSET_POINTER + 4)
LOADABLE: Final = tuple(range(0, bpf.SECCOMP_DATA_SIZE, 4))
"""Every offset of struct seccomp_data that a filter may load."""
NO_POINTER: Final = tuple(offset for offset in LOADABLE if offset not in _POINTER_WORDS)
"""Those whose value is known before the call is made."""

_LOWEST_UNKNOWN_ACTIONS: Final = (0x00010000, 0x00060000, 0x7FFE0000, 0x80010000, 0xFFFF0000)
_LONGEST_JUMP: Final = 255


def a_return(rng: Random) -> int:
    """A raw return value; kills are rare, for each costs a process where the kernel runs it."""
    kind = rng.random()
    if kind < 0.35:
        return ALLOW
    if kind < 0.80:
        data = rng.choice(
            (0, 1, 2, 13, 38, 133, MAX_ERRNO, MAX_ERRNO + 1, 0xFFFF, rng.randrange(2000))
        )
        return FilterReturn(Action.ERRNO, data).value
    if kind < 0.96:
        action = rng.choice((Action.LOG, Action.TRAP, Action.TRACE, Action.USER_NOTIF))
        return FilterReturn(action, rng.choice((0, 1, 77, 0xFFFF))).value
    if kind < 0.98:
        return rng.choice((Action.KILL_PROCESS, Action.KILL_THREAD)).value
    return rng.choice(_LOWEST_UNKNOWN_ACTIONS) | rng.choice((0, 5))


def _constant_for(rng: Random, offset: int | None) -> int:
    """Something worth comparing a word with."""
    if rng.random() < 0.05:
        return rng.getrandbits(32)
    if offset == bpf.OFFSET_ARCH:
        return rng.choice(TOKENS)
    if offset == bpf.OFFSET_NR:
        return rng.choice(NUMBERS)
    return rng.choice(HALVES)


@dataclass(slots=True)
class _Anything:
    """Writes one program of any instructions, first to last."""

    rng: Random
    length: int
    offsets: Sequence[int]
    code: list[Instruction] = field(default_factory=list)
    loaded: int | None = None
    x_is_set: bool = False
    stored: set[int] = field(default_factory=set)
    on_the_way: dict[int, set[int]] = field(default_factory=dict)

    def write(self) -> Program:
        while len(self.code) < self.length - 1:
            index = len(self.code)
            if index in self.on_the_way:
                self.stored &= self.on_the_way.pop(index)
            self.code.append(self._next(self.length - index - 2))
        last = self.rng.random() < 0.1 and self.length > 1
        self.code.append(statement(bpf.RET_A) if last else statement(bpf.RET_K, a_return(self.rng)))
        return tuple(self.code)

    def _next(self, furthest: int) -> Instruction:
        # A return or a jump where no other way leads past it would cut off all that follows.
        passed = any(target > len(self.code) + 1 for target in self.on_the_way) or (
            len(self.code) + 1 in self.on_the_way
        )
        kinds: Mapping[Callable[[int], Instruction], int] = {
            self._load: 15 if self.loaded is not None else 200,
            self._compare: 40 if self.loaded is not None else 2,
            self._compute: 8,
            self._scratch: 9,
            self._to_x: 6,
            self._ahead: 3 if passed else 0,
            self._return: 25 if passed else 0,
        }
        return self.rng.choices(tuple(kinds), tuple(kinds.values()))[0](furthest)

    def _load(self, _: int) -> Instruction:
        kind = self.rng.random()
        if kind < 0.04:
            self.loaded = None
            return statement(bpf.LD_IMM, self.rng.choice((*HALVES, a_return(self.rng))))
        if kind < 0.05:
            self.loaded = None
            return statement(bpf.LD_LEN, self.rng.choice((0, 3)))
        heads = (bpf.OFFSET_NR, bpf.OFFSET_ARCH)
        self.loaded = self.rng.choice(heads if kind < 0.45 else self.offsets)
        return statement(bpf.LD_ABS, self.loaded)

    def _compare(self, furthest: int) -> Instruction:
        code = self.rng.choice((bpf.JEQ, bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET))
        by_x = self.rng.random() < (0.15 if self.x_is_set else 0.01)
        yes, no = self._distance(furthest), self._distance(furthest)
        if self.rng.random() < 0.7 and furthest:
            yes, no = self.rng.sample((self.rng.randint(1, min(furthest, 2)), 0), 2)
        here = len(self.code) + 1
        for target in (here + yes, here + no):
            self._meets(target)
        self.stored = set(range(bpf.SCRATCH_WORDS))
        k = _constant_for(self.rng, self.loaded)
        if k in {0, U32} and self.rng.random() < 0.8:
            k = 0x7FFFFFFF  # most comparisons with the ends are true, or false, for everything
        return jump(code | bpf.SOURCE_X if by_x else code, k, yes, no)

    def _meets(self, target: int) -> None:
        self.on_the_way[target] = self.stored & self.on_the_way.get(target, self.stored)

    def _distance(self, furthest: int) -> int:
        longest = self.rng.choice((0, 1, 2, 4, 8, 40, _LONGEST_JUMP))
        return self.rng.randint(0, min(longest, furthest, _LONGEST_JUMP))

    def _compute(self, _: int) -> Instruction:
        code = self.rng.choice(
            (bpf.ADD, bpf.SUB, bpf.OR, bpf.AND, bpf.AND, bpf.XOR, bpf.LSH, bpf.RSH, bpf.NEG)
            if self.rng.random() < 0.9
            else (bpf.MUL, bpf.DIV)
        )
        if code == bpf.NEG:
            return statement(bpf.NEG)
        if self.rng.random() < 0.2:
            return statement(code | bpf.SOURCE_X, self.rng.choice((0, 40)))
        k = self.rng.choice((*_OPERANDS, self.rng.choice(HALVES)))
        if code in {bpf.LSH, bpf.RSH}:
            k = self.rng.randrange(32)
        if code == bpf.DIV:
            k = self.rng.choice((1, 2, 3, 16, 0x80000000))
        if code == bpf.MUL:
            k = self.rng.choice((0, 1, 2, 3, 0x10000))
        return statement(code, k)

    def _scratch(self, _: int) -> Instruction:
        word = self.rng.randrange(bpf.SCRATCH_WORDS)
        if self.stored and self.rng.random() < 0.5:
            word = self.rng.choice(sorted(self.stored))
            return statement(self.rng.choice((bpf.LD_MEM, bpf.LD_MEM, bpf.LDX_MEM)), word)
        self.stored = self.stored | {word}
        return statement(self.rng.choice((bpf.ST, bpf.STX)), word)

    def _to_x(self, _: int) -> Instruction:
        code = self.rng.choice(
            (bpf.LDX_IMM, bpf.LDX_IMM, bpf.LDX_IMM, bpf.TAX, bpf.TXA, bpf.LDX_LEN)
        )
        self.loaded = None if code == bpf.TXA else self.loaded
        self.x_is_set = True
        return statement(code, self.rng.choice((*HALVES, *_OPERANDS)))

    def _ahead(self, furthest: int) -> Instruction:
        k = self._distance(furthest) % 6
        self._meets(len(self.code) + 1 + k)
        self.stored = set(range(bpf.SCRATCH_WORDS))
        return statement(bpf.JA, k)

    def _return(self, _: int) -> Instruction:
        if self.rng.random() < 0.05:
            return statement(bpf.RET_A)
        return statement(bpf.RET_K, a_return(self.rng))


def anything(rng: Random, length: int, offsets: Sequence[int] = LOADABLE) -> Program:
    """A legal program of any instructions, exactly ``length`` long."""
    return _Anything(rng, length, offsets).write()


def a_length(rng: Random) -> int:
    """1 to 60 as a rule, and now and then up to what the kernel takes, less a gate of six."""
    if rng.random() < 0.99:
        return rng.randint(1, 60)
    return rng.randint(60, bpf.MAX_INSTRUCTIONS - 6)


_COMPUTATIONS: Final = (
    *(bpf.ADD, bpf.SUB, bpf.OR, bpf.AND, bpf.XOR, bpf.LSH, bpf.RSH),
    *(bpf.MUL, bpf.DIV, bpf.NEG, bpf.LD_MEM, bpf.LDX_MEM),
)
_RETURNED_BITS: Final = 4


def computing(rng: Random, offsets: Sequence[int] = LOADABLE) -> Program:
    """A program that answers with an errno of some bits of what it computes.

    In other programs a wrong result seldom changes a comparison; here it shows.
    """
    code = [
        statement(bpf.LD_ABS, rng.choice(offsets)),
        statement(bpf.ST, 0),
        statement(bpf.TAX),
        statement(bpf.LD_ABS, rng.choice(offsets)),
    ]
    if rng.random() < 0.6:
        code.append(statement(bpf.LDX_IMM, rng.choice((*HALVES, *_OPERANDS))))
    for _ in range(rng.randint(1, 3)):
        operation = rng.choice(_COMPUTATIONS)
        k = rng.choice((*HALVES, *_OPERANDS, rng.getrandbits(32)))
        if operation in {bpf.LD_MEM, bpf.LDX_MEM}:
            code.append(statement(operation, 0))
        elif operation == bpf.NEG:
            code.append(statement(bpf.NEG))
        elif rng.random() < 0.4:
            code.append(statement(operation | bpf.SOURCE_X))
        else:
            k = k % 32 if operation in {bpf.LSH, bpf.RSH} else k
            code.append(statement(operation, k or 1))
    code += (
        statement(bpf.RSH, rng.choice((0, 1, 7, 16, 28, 31))),
        statement(bpf.AND, (1 << _RETURNED_BITS) - 1),
        statement(bpf.OR, FilterReturn(Action.ERRNO, 0x100).value),
        statement(bpf.RET_A),
    )
    return tuple(code)


class _Backwards:
    """Assembles from the last instruction to the first, so that every target has its place."""

    def __init__(self) -> None:
        self._code: list[Instruction] = []

    def mark(self) -> int:
        """The place of the instruction that was written last."""
        return len(self._code)

    def put(self, code: int, k: int) -> int:
        self._code.append(statement(code, k))
        return self.mark()

    def branch(self, code: int, k: int, yes: int, no: int) -> int:
        """A conditional jump, over an unconditional one where the way is too long."""
        if len(self._code) - no > _LONGEST_JUMP:
            no = self.put(bpf.JA, len(self._code) - no)
        if len(self._code) - yes > _LONGEST_JUMP:
            yes = self.put(bpf.JA, len(self._code) - yes)
        self._code.append(jump(code, k, len(self._code) - yes, len(self._code) - no))
        return self.mark()

    def program(self) -> Program:
        return tuple(reversed(self._code))


def _low(argument: int) -> int:
    return bpf.OFFSET_ARGS + 8 * argument


def _wide(rng: Random) -> int:
    """A 64-bit constant for an argument."""
    high = rng.choice((0, 0, 0, 1, 0x80000000, U32))
    return high << 32 | rng.choice(HALVES)


def _argument_test(rng: Random, to: _Backwards, yes: int, no: int) -> int:
    """A 64-bit comparison in halves, the way libseccomp writes them."""
    low, value = _low(rng.randrange(6)), _wide(rng)
    kind = rng.choice((bpf.JEQ, bpf.JEQ, bpf.AND, bpf.JGT, bpf.JGE))
    if kind == bpf.AND:
        mask = rng.choice((0xFF, 0x7E020000, 0x10000000, U32, U32 << 32 | U32, 1 << 63 | 1))
        to.branch(bpf.JEQ, value & mask & U32, yes, no)
        to.put(bpf.AND, mask & U32)
        here = to.put(bpf.LD_ABS, low)
        to.branch(bpf.JEQ, (value & mask) >> 32, here, no)
        to.put(bpf.AND, mask >> 32)
        return to.put(bpf.LD_ABS, low + 4)
    to.branch(kind, value & U32, yes, no)
    here = to.put(bpf.LD_ABS, low)
    if kind == bpf.JEQ:
        to.branch(bpf.JEQ, value >> 32, here, no)
    else:
        equal = to.branch(bpf.JEQ, value >> 32, here, no)
        to.branch(bpf.JGT, value >> 32, yes, equal)
    return to.put(bpf.LD_ABS, low + 4)


def _chain(rng: Random, to: _Backwards, default: int) -> int:
    """One architecture as libseccomp has it: number by number, some with argument conditions."""
    other = to.put(bpf.RET_K, default)
    shared = [to.put(bpf.RET_K, a_return(rng)) for _ in range(rng.randint(1, 3))]
    following = other
    for number in rng.sample(range(450), rng.choice((2, 5, 20, 60))):
        hit = rng.choice(shared)
        if rng.random() < 0.25:
            for _ in range(rng.randint(1, 3)):
                hit = _argument_test(rng, to, hit, other)
        following = to.branch(bpf.JEQ, number, hit, following)
    return following


def _tree(rng: Random, to: _Backwards, leaves: Sequence[tuple[int, int]], default: int) -> int:
    """A search tree over numbers, each leaf the first number of a range and what it returns."""
    if len(leaves) == 1:
        hit = to.put(bpf.RET_K, leaves[0][1])
        if rng.random() < 0.3:
            return _argument_test(rng, to, hit, to.put(bpf.RET_K, default))
        return hit
    middle = len(leaves) // 2
    above = _tree(rng, to, leaves[middle:], default)
    below = _tree(rng, to, leaves[:middle], default)
    if rng.random() < 0.5:
        return to.branch(bpf.JGE, leaves[middle][0], above, below)
    return to.branch(bpf.JGT, leaves[middle][0] - 1, above, below)


def _by_token(rng: Random, block: Callable[[_Backwards], int], foreign: int) -> Program:
    """Dispatches on the architecture; some programs tell x32 from x86_64 too."""
    to = _Backwards()
    following = to.put(bpf.RET_K, foreign)
    for token in rng.choice(((X86_64,), (X86_64, I386), (I386, X86_64, *TOKENS[:1]))):
        here = block(to)
        if token == X86_64 and rng.random() < 0.6:
            x32 = to.put(bpf.RET_K, rng.choice((ENOSYS, EPERM, a_return(rng))))
            if rng.random() < 0.5:
                here = to.branch(bpf.JGE, X32_SYSCALL_BIT, x32, here)
            else:
                here = to.branch(bpf.JSET, X32_SYSCALL_BIT, x32, here)
        to.put(bpf.LD_ABS, bpf.OFFSET_NR)
        following = to.branch(bpf.JEQ, token, to.mark(), following)
    to.put(bpf.LD_ABS, bpf.OFFSET_ARCH)
    return to.program()


def like_libseccomp(rng: Random) -> Program:
    """Chains of numbers, argument comparisons in halves, long jumps."""
    default = rng.choice((ALLOW, EPERM, ENOSYS))
    return _by_token(rng, lambda to: _chain(rng, to, default), rng.choice((EPERM, ALLOW)))


def like_chrome(rng: Random) -> Program:
    """Balanced trees over ranges of numbers, as Chrome's and libseccomp's optimizers write them."""
    default = rng.choice((ALLOW, EPERM))
    firsts = [0, *sorted(rng.sample(range(1, 460), rng.choice((3, 12, 70))))]
    leaves = [(first, a_return(rng)) for first in firsts]
    return _by_token(rng, lambda to: _tree(rng, to, leaves, default), rng.choice((EPERM, ALLOW)))


def like_systemd(rng: Random) -> tuple[Program, ...]:
    """A stack of small filters, one restriction each."""

    def restriction(to: _Backwards) -> int:
        allowed = to.put(bpf.RET_K, ALLOW)
        refused = to.put(bpf.RET_K, a_return(rng))
        following = allowed
        for number in rng.sample(NUMBERS, rng.randint(1, 4)):
            tested = _argument_test(rng, to, refused, allowed)
            following = to.branch(bpf.JEQ, number, tested, following)
        return following

    return tuple(_by_token(rng, restriction, ALLOW) for _ in range(rng.randint(2, 5)))


def a_stack(rng: Random, offsets: Sequence[int] = LOADABLE) -> tuple[Program, ...]:
    """One filter or a few, of any kind; the oldest first."""
    kind = rng.random()
    if kind < 0.70:
        return (anything(rng, a_length(rng), offsets),)
    if kind < 0.78:
        return (like_libseccomp(rng),)
    if kind < 0.84:
        return (like_chrome(rng),)
    if kind < 0.90:
        return like_systemd(rng)
    return tuple(anything(rng, rng.randint(1, 25), offsets) for _ in range(rng.randint(2, 5)))


def interesting(programs: Sequence[Program]) -> tuple[int, ...]:
    """The words on which programs decide: what they compare with, and its neighbours."""
    decisive = {
        instruction.k
        for program in programs
        for instruction in program
        if instruction.code & 7 in {bpf.JEQ & 7, bpf.ADD & 7} and instruction.code != bpf.JA
    }
    return tuple(sorted({word + step & U32 for word in decisive for step in (-1, 0, 0, 1)}))


def a_word(rng: Random, decisive: Sequence[int], usual: Sequence[int]) -> int:
    """A word at an edge of the programs, at a usual one, or anywhere."""
    kind = rng.random()
    if decisive and kind < 0.5:
        return rng.choice(decisive)
    return rng.choice(usual) if kind < 0.95 else rng.getrandbits(32)


def arguments(rng: Random, decisive: Sequence[int]) -> tuple[int, ...]:
    """Six arguments of 64 bits."""
    return tuple(
        (a_word(rng, decisive, (0, 0, 0, 1, U32)) if rng.random() < 0.5 else 0) << 32
        | a_word(rng, decisive, HALVES)
        for _ in range(6)
    )


def inputs(rng: Random, programs: Sequence[Program], count: int) -> Iterator[SeccompData]:
    """Inputs that a stack is likely to treat differently."""
    decisive = interesting(programs)
    for _ in range(count):
        token = rng.choice((X86_64, X86_64, I386, a_word(rng, decisive, TOKENS)))
        number = a_word(rng, decisive, NUMBERS)
        pointer = rng.choice((0, 0x7F00_0000_1000, rng.getrandbits(64)))
        yield SeccompData(number, token, arguments(rng, decisive), pointer)


_ILLEGAL_OPCODES: Final = (
    *(0x08, 0x0D, 0x0E, 0x10, 0x21, 0x28, 0x30, 0x40, 0x48, 0x50, 0x64 | 0x80, 0x69),
    *(0x8C, 0x94, 0x9C, 0xA0, 0xB1, 0xB4, 0xB5, 0xC4, 0xFF, 0x120, 0x8006, 0xFFFF),
)
"""Byte and half-word loads, loads relative to X, MOD, returns of X, eBPF's jumps, and so on."""


def _after(head: Sequence[Instruction]) -> Callable[[Random, Program], Program]:
    return lambda _, program: (*head, *program)


def _jump_out(rng: Random, program: Program) -> Program:
    length = len(program) + 1
    beyond = rng.choice((length - 1, length, 0x7FFFFFFF, 0x80000000, U32))
    if beyond > _LONGEST_JUMP or rng.random() < 0.5:
        return (statement(bpf.JA, beyond), *program)
    far = rng.sample((0, beyond), 2)
    return (jump(rng.choice((bpf.JEQ, bpf.JSET)), 0, *far), *program)


def _bad_opcode(rng: Random, program: Program) -> Program:
    return (statement(rng.choice(_ILLEGAL_OPCODES), 1), *program)


def _bad_offset(rng: Random, program: Program) -> Program:
    offset = rng.choice((1, 2, 3, 6, 62, 63, 64, 68, 0x80000000, 0xFFFFF000, 0xFFFFFFFC))
    return (statement(bpf.LD_ABS, offset), *program)


def _bad_scratch(rng: Random, program: Program) -> Program:
    word = rng.choice((0, 15, 16, 17, 32, U32))
    stored = (statement(bpf.ST, word & 15), jump(bpf.JEQ, 1, 1, 0), statement(bpf.STX, 9))
    code = rng.choice((bpf.LD_MEM, bpf.LDX_MEM))
    head = (statement(code, word),) if rng.random() < 0.5 else (*stored, statement(code, 9))
    if word in {0, 15} or len(head) > 1:
        return (*head, *program)
    return (statement(rng.choice((bpf.ST, bpf.STX, code)), word), *program)


def _bad_shift(rng: Random, program: Program) -> Program:
    count = rng.choice((32, 33, 63, 64, 0x80000000, U32))
    return (statement(rng.choice((bpf.LSH, bpf.RSH)), count), *program)


def _no_return(rng: Random, program: Program) -> Program:
    last = rng.choice((bpf.LD_IMM, bpf.TAX, bpf.NEG, bpf.ST))
    return (*program, statement(last))


def _too_long(rng: Random, program: Program) -> Program:
    missing = bpf.MAX_INSTRUCTIONS + rng.choice((1, 2, 500)) - len(program)
    return (*program, *(statement(bpf.RET_K, ALLOW),) * missing)


SPOILERS: Final[Mapping[str, Callable[[Random, Program], Program]]] = {
    "jumps out": _jump_out,
    "illegal opcode": _bad_opcode,
    "illegal offset": _bad_offset,
    "illegal scratch word": _bad_scratch,
    "shift too far": _bad_shift,
    "division by zero": _after((statement(bpf.DIV, 0),)),
    "no return at the end": _no_return,
    "too long": _too_long,
    "empty": lambda _, __: (),
}
"""Ways to make a legal program one that the kernel refuses, by name."""


def changed_at_random(rng: Random, program: Program) -> Program:
    """A program with some fields of some instructions changed; legal or not."""
    code = list(program)
    for _ in range(rng.randint(1, 2)):
        index = rng.randrange(len(code))
        old = code[index]
        code[index] = rng.choice(
            (
                Instruction(old.code ^ 1 << rng.randrange(9), old.jt, old.jf, old.k),
                Instruction(old.code, rng.randrange(256), old.jf, old.k),
                Instruction(old.code, old.jt, rng.randrange(20), old.k),
                Instruction(old.code, old.jt, old.jf, rng.choice((0, 4, 15, 16, 31, 32, 60, 64))),
                Instruction(rng.randrange(0x100), old.jt, old.jf, old.k % 64),
                statement(rng.choice((bpf.LD_MEM, bpf.LDX_MEM)), rng.randrange(18)),
            )
        )
    return tuple(code)


def heeded(oldest_first: Sequence[int]) -> int:
    """What the kernel heeds of the values that stacked filters return (seccomp(2)).

    The lowest action wins, read as a signed number, and among equal actions the newest filter.
    """

    def signed(value: int) -> int:
        action = value >> 16 << 16
        return int.from_bytes(action.to_bytes(4, "little"), "little", signed=True)

    return min(reversed(oldest_first), key=signed)


def simulated(programs: Sequence[Program], data: SeccompData, *, big_endian: bool = False) -> int:
    """What a stack returns by simulation of each program."""
    return heeded([bpf.simulate(program, data, big_endian=big_endian) for program in programs])
