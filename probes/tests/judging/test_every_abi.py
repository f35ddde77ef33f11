"""Every architecture that a filter names is judged, or said not to be; the oracle is libpcap.

Nothing here is entered: the verdict comes from an analysis of the program, and the oracle runs it
with others' interpreter, number by number.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, TOKENS, X32_SYSCALL_BIT, Arch, belongs_to
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf, prover
from probes.filters.bpf import Instruction, Program, SeccompData, jump, statement
from probes.finding import Weight
from probes.judging import plan, proof
from probes.judging.plan import Scope
from probes.targets import builtin
from probes.tests.support import libpcap

POLICY = policy.load(DEFAULT_POLICY, arch.all_names())
ALLOW: Final = FilterReturn(Action.ALLOW).value
KILL: Final = Profile.KILL.returns.value

CALLS: Final = range(480)
"""Where the numbers of calls lie on most ABIs."""
CALLS_OF_MIPS: Final = tuple(base + number for base in (4000, 5000, 6000) for number in CALLS)
BEYOND: Final = (0x01000000, 0x2FFFFFFF, 0x41000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers that no call has on any ABI."""
X32: Final = tuple(X32_SYSCALL_BIT | number for number in range(560))

MIPS = 8
"""EM_MIPS of linux/elf-em.h, which all its tokens end with."""
X86_64 = ARCHES["x86_64"].audit_arch
PPC_LITTLE_ENDIAN = 0x40000014
"""What a 32-bit program gets on a ppc64le kernel, which has no name in linux/audit.h."""
X86_64_WITHOUT_ITS_BIT = 0x4000003E


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to by the proofs about architectures alone."""

    fails: bool
    untold: tuple[str, ...]


FAILS: Final = Verdict(fails=True, untold=())
HOLDS: Final = Verdict(fails=False, untold=())


def judged(program: Program, named: Sequence[Arch], profile: Profile = Profile.KILL) -> Verdict:
    """What the suite says, when only these ABIs were asked for."""
    cases = [
        case
        for case in plan.plan(POLICY, [profile], [], [], named)
        if case.cells[0].syscall == Scope.OTHER_ARCHITECTURES
    ]
    (case,) = cases
    analysis = prover.analyze([program], big_endian=named[0].big_endian)
    found = proof.deviation(case, POLICY, analysis, proof.expected(case, POLICY))
    untold = proof.unjudged(analysis, profile.returns)
    assert {one.weight for one in untold} <= {Weight.LIMITS}
    return Verdict(found is not None, tuple(one.about for one in untold))


def by_hand(
    program: Program, named: Sequence[Arch], tokens: Iterable[int], profile: Profile = Profile.KILL
) -> Verdict:
    """What follows from what libpcap's interpreter returns."""
    run = libpcap.interpreter(program)
    wanted = profile.returns.value
    fails, untold = False, []
    for token in sorted(set(tokens)):
        asked = [one for one in named if one.audit_arch == token]
        tables = [one for one in ARCHES.values() if one.audit_arch == token]
        more = CALLS_OF_MIPS if token & 0xFFFF == MIPS else X32 if token == X86_64 else ()
        wrong = {
            number
            for number in (*CALLS, *more, *BEYOND)
            if run(SeccompData(number, token)) != wanted
        }
        if not tables:
            fails |= bool(wrong & set(BEYOND))
            if wrong and not wrong & set(BEYOND):
                untold.append(f"architecture {token:#x}")
            continue
        for one in tables:
            if one in asked:
                continue
            theirs = {number for number in wrong if belongs_to(one, number)}
            fails |= any((one.name_of(n) in {None, *POLICY.names}) for n in theirs)
    return Verdict(fails, tuple(untold))


def named_first(rules: Sequence[tuple[Sequence[Instruction], Program]], rest: Program) -> Program:
    """A program that asks about the architecture, and does something of its own for some."""
    code: list[Instruction] = [statement(bpf.LD_ABS, bpf.OFFSET_ARCH)]
    for question, answer in rules:
        *before, last = question
        code += before
        code.append(replace(last, jt=0, jf=len(answer)))
        code += answer
        code.append(statement(bpf.LD_ABS, bpf.OFFSET_ARCH))
    return (*code, *rest)


def answers(*parts: tuple[int, int]) -> Program:
    """Returns by number: each value up to a number, the last for all others."""
    code = [statement(bpf.LD_ABS, bpf.OFFSET_NR)]
    for below, value in parts[:-1]:
        code += [jump(bpf.JGE, below, 1, 0), statement(bpf.RET_K, value)]
    return (*code, statement(bpf.RET_K, parts[-1][1]))


OPEN: Final = answers((0, ALLOW))
SHUT: Final = answers((0, KILL))
SOME: Final = answers((400, ALLOW), (0, KILL))
ALL_BUT_SOME: Final = answers((400, KILL), (0, ALLOW))

WITHOUT_A_TABLE: Final = (
    *(0x2, 0x8000002B, 0xF, 0x8000000F, 0x4, 0xC0009026),  # sparc, parisc, m68k, alpha
    *(0x8, 0xA0000008, 0x80000008),  # mips of the other byte order
    *(PPC_LITTLE_ENDIAN, X86_64_WITHOUT_ITS_BIT, 0x40000102, 0x12345678, 0xFFFFFFFF, 0),
)


@cache
def builtin_for(machine: str) -> tuple[Program, tuple[Arch, ...]]:
    arches = arch.offered_by(machine)
    return builtin.build(POLICY, arches, Profile.KILL), arches


def equals(token: int) -> tuple[Instruction, ...]:
    return (jump(bpf.JEQ, token, 0, 0),)


@pytest.mark.slow
@pytest.mark.parametrize("token", WITHOUT_A_TABLE, ids=hex)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OPEN, FAILS),
        (ALL_BUT_SOME, FAILS),
        (SOME, replace(HOLDS, untold=("architecture {}",))),
        (SHUT, HOLDS),
    ],
    ids=["open", "a denylist", "an allowlist", "shut"],
)
def test_a_token_without_a_table(token: int, answer: Program, expected: Verdict) -> None:
    """Open fails, for there are numbers that no call can have; an allowlist cannot be told."""
    rest, arches = builtin_for("x86_64")
    program = named_first([(equals(token), answer)], rest)
    told = Verdict(expected.fails, tuple(one.format(hex(token)) for one in expected.untold))
    assert judged(program, arches) == told
    assert by_hand(program, arches, [token, 0x77777777]) == told


LEFT_OUT: Final = (
    ("mips64", 0x40000008),
    ("mips64", 0xE0000008),
    ("s390x", 0x16),
    ("riscv64", 0x400000F3),
    ("ppc64", 0x14),
    ("x86_64", 0x40000003),
    ("aarch64", 0x40000028),
)


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "token"), LEFT_OUT)
def test_a_second_abi_that_was_not_asked_for_may_not_be_open(machine: str, token: int) -> None:
    """What is documented gets through there, or what no table knows."""
    rest, arches = builtin_for(machine)
    (second,) = arch.of_token(token)
    mount = second.numbers["mount"]
    for answer, fails in ((OPEN, True), (SHUT, False), (SOME, mount < 400 or machine == "mips64")):
        program = named_first([(equals(token), answer)], rest)
        assert judged(program, arches[:1]).fails is fails
        assert by_hand(program, arches[:1], [token]).fails is fails
    assert judged(rest, arches[:1]) == HOLDS
    one_call = answers((mount, KILL), (mount + 1, ALLOW), (0, KILL))
    assert judged(named_first([(equals(token), one_call)], rest), arches[:1]).fails
    # Where it was asked for, it has cells of its own.
    assert judged(named_first([(equals(token), OPEN)], rest), arches) == HOLDS


def test_x32_shares_a_token_and_is_looked_at_all_the_same() -> None:
    """A filter that opens the numbers with the x32 bit, when only x86_64 was asked for."""
    _, arches = builtin_for("x86_64")
    x86_64, x32, _ = arches
    shut = builtin.build(POLICY, arches, Profile.KILL)
    bit = X32_SYSCALL_BIT
    opened = (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, x32.numbers["mount"], 0, 1),
        statement(bpf.RET_K, ALLOW),
    )
    assert x32.numbers["mount"] & bit
    assert judged(shut, [x86_64]) == HOLDS
    assert judged((*opened, *shut), [x86_64]).fails


QUESTIONS: Final = (
    ("from a token on", (jump(bpf.JGE, 0xC0000000, 0, 0),)),
    ("above a token", (jump(bpf.JGT, 0xC000003E, 0, 0),)),
    ("with a bit", (jump(bpf.JSET, 0x20000000, 0, 0),)),
    ("without its convention", (statement(bpf.AND, 0xCFFFFFFF), jump(bpf.JEQ, 0xC0000008, 0, 0))),
    ("by its machine", (statement(bpf.AND, 0x3FFFFFFF), jump(bpf.JEQ, 0x2B, 0, 0))),
    ("of a width", (statement(bpf.AND, 0xC0000000), jump(bpf.JEQ, 0x80000000, 0, 0))),
)


@pytest.mark.slow
@pytest.mark.parametrize("question", [made for _, made in QUESTIONS], ids=[n for n, _ in QUESTIONS])
@pytest.mark.parametrize("answer", [OPEN, SOME, SHUT], ids=["open", "an allowlist", "shut"])
def test_a_token_that_is_compared_otherwise(
    question: tuple[Instruction, ...], answer: Program
) -> None:
    """By a range, a bit or a mask: a filter need not spell a token out to let it through."""
    rest, arches = builtin_for("x86_64")
    program = named_first([(question, answer)], rest)
    mine = judged(program, arches)
    theirs = by_hand(program, arches, [*TOKENS, PPC_LITTLE_ENDIAN, X86_64_WITHOUT_ITS_BIT])
    assert (mine.fails or bool(mine.untold)) is (answer is not SHUT)
    if theirs.fails:
        assert mine.fails
    assert set(mine.untold) >= set(theirs.untold) or mine.fails


def random_program(rng: Random) -> Program:
    """Questions about the architecture of every kind, each with an answer of its own."""
    pool = [*TOKENS, PPC_LITTLE_ENDIAN, X86_64_WITHOUT_ITS_BIT, rng.randrange(1 << 32)]
    rules = []
    for _ in range(rng.randint(1, 4)):
        token = rng.choice(pool)
        kind = rng.random()
        if kind < 0.6:
            question = equals(token)
        elif kind < 0.8:
            question = (jump(rng.choice((bpf.JGE, bpf.JGT)), token, 0, 0),)
        else:
            mask = ~rng.choice((0x40000000, 0x20000000, 0x80000000, 0xC0000000)) & 0xFFFFFFFF
            question = (statement(bpf.AND, mask), jump(bpf.JEQ, token & mask, 0, 0))
        edges = sorted(rng.sample((1, 21, 40, 165, 400, 600, 4021, 6700, 0x40000000), 2))
        values = [rng.choice((ALLOW, KILL, KILL)) for _ in range(3)]
        answer = answers(*itertools.zip_longest(edges, values, fillvalue=0))
        rules.append((question, answer if rng.random() < 0.7 else SHUT))
    return named_first(rules, builtin_for("x86_64")[0])


SEEDS: Final = range(40)


def seen(program: Program, named: Sequence[Arch]) -> Iterator[bool]:
    """Whether each side found something, the suite first."""
    for told in (judged(program, named), by_hand(program, named, TOKENS)):
        yield told.fails or bool(told.untold)


@pytest.mark.slow
def test_no_open_architecture_passes() -> None:
    """Of made-up filters, whatever the interpreter finds open on a real token is no pass."""
    arches = arch.offered_by("x86_64")
    both = []
    for seed in SEEDS:
        program = random_program(Random(seed))  # noqa: S311 - reproducible, not secret
        named = arches if seed % 2 else arches[:1]
        mine, theirs = seen(program, named)
        assert mine >= theirs, f"seed {seed}: {bpf.disassemble(program)}"
        both.append((mine, theirs))
    assert {(True, True), (False, False)} <= set(both)


def test_what_is_not_told_says_what_would_tell() -> None:
    rest, _ = builtin_for("x86_64")
    program = named_first([(equals(0x2), SOME)], rest)
    (found,) = proof.unjudged(prover.analyze([program]), Profile.KILL.returns)
    assert found.about == "architecture 0x2"
    assert "architecture 0x2 (AUDIT_ARCH_SPARC)" in found.text
    assert "(0x0 to 0x18f)" in found.text
