"""The prover against the simulator, and against what must be true of any analysis.

The programs are made up from seeds (``random_programs``): a failure names its seed.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest

from probes.action import Action, FilterReturn
from probes.filters import bpf, prover
from probes.filters.bdd import FALSE, TRUE, Diagrams
from probes.filters.bpf import Program, SeccompData, jump, statement
from probes.filters.prover import Analysis, TooComplexError
from probes.tests.support import random_programs as made_up
from probes.tests.support.random_programs import ALLOW, EPERM, I386, X86_64

LIMIT = 60_000
"""Nodes for a made-up program: enough for most, and little time for the others."""

ORDERS = pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
BATCHES = pytest.mark.parametrize("batch", range(6))
STACKS_IN_A_BATCH = 40
KILL_THREAD = FilterReturn(Action.KILL_THREAD).value
LOG = FilterReturn(Action.LOG).value


def analyzed(
    seeds: Iterator[int] | range, *, big_endian: bool = False
) -> Iterator[tuple[int, Random, tuple[Program, ...], Analysis]]:
    """Made-up stacks with their analyses, without those that outgrow the limit.

    Most must not: a test of nothing would pass.
    """
    tried = given_up = 0
    for seed in seeds:
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = made_up.a_stack(rng)
        tried += 1
        try:
            analysis = prover.analyze(stack, big_endian=big_endian, limit=LIMIT)
        except TooComplexError:
            given_up += 1
            continue
        yield seed, rng, stack, analysis
    assert given_up <= tried // 5


def seeds_of(batch: int) -> range:
    return range(batch * STACKS_IN_A_BATCH, (batch + 1) * STACKS_IN_A_BATCH)


def diagrams_of(analysis: Analysis) -> Diagrams:
    return analysis._diagrams


@pytest.mark.slow
@ORDERS
@BATCHES
def test_agrees_with_the_simulator(batch: int, *, big_endian: bool) -> None:
    exact = values = 0
    for seed, rng, stack, analysis in analyzed(seeds_of(batch), big_endian=big_endian):
        returned = set()
        for data in made_up.inputs(rng, stack, 25):
            value = made_up.simulated(stack, data, big_endian=big_endian)
            claimed = analysis.value_at(data)
            assert value in claimed, f"seed {seed}: {value:#x} for {data}"
            assert not analysis.exact or len(claimed) == 1, f"seed {seed}: {claimed} for {data}"
            returned.add(value)
        exact += analysis.exact
        values += len(returned)
    assert exact > STACKS_IN_A_BATCH // 2
    assert values > STACKS_IN_A_BATCH * 1.5


@pytest.mark.slow
@BATCHES
def test_outcomes_share_nothing_and_leave_nothing_out(batch: int) -> None:
    for seed, _, _, analysis in analyzed(seeds_of(batch)):
        diagrams, everything = diagrams_of(analysis), FALSE
        for one, other in itertools.combinations(analysis.outcomes.values(), 2):
            assert diagrams.both(one, other) == FALSE, f"seed {seed}"
        for value, inputs in analysis.outcomes.items():
            assert inputs != FALSE, f"seed {seed}: {value:#x} is claimed and never returned"
            everything = diagrams.any_of(everything, inputs)
        assert everything == TRUE, f"seed {seed}"


@pytest.mark.slow
@ORDERS
@BATCHES
def test_every_claimed_return_has_a_witness(batch: int, *, big_endian: bool) -> None:
    """The witness runs to that value, so nothing is claimed that cannot happen."""
    witnessed = 0
    for seed, rng, stack, analysis in analyzed(seeds_of(batch), big_endian=big_endian):
        if not analysis.exact:
            continue
        places = [(data.arch, data.nr) for data in made_up.inputs(rng, stack, 8)]
        for token, number in places:
            claimed = analysis.returns(token, number)
            assert claimed
            for value in claimed:
                data = analysis.witness(token, number, value)
                assert data is not None
                assert (data.arch, data.nr) == (token, number)
                returned = made_up.simulated(stack, data, big_endian=big_endian)
                assert returned == value, f"seed {seed}: {data}"
                witnessed += 1
            for value in set(analysis.outcomes) - claimed:
                assert analysis.witness(token, number, value) is None
                assert analysis.condition(token, number, value) == ()
    assert witnessed > 8 * STACKS_IN_A_BATCH // 2


@pytest.mark.slow
@BATCHES
def test_ranges_of_numbers_have_no_gap_and_are_right_at_their_edges(batch: int) -> None:
    for seed, rng, _, analysis in analyzed(seeds_of(batch)):
        for token in (X86_64, I386, 0x12345678):
            try:
                parts = analysis.numbers(token)
            except TooComplexError:
                continue  # a program that tells even numbers from odd ones
            assert parts[0].first == 0
            assert parts[-1].last == bpf.U32
            for left, right in itertools.pairwise(parts):
                assert left.last + 1 == right.first, f"seed {seed}"
                assert left.returns != right.returns, f"seed {seed}"
            some = parts if len(parts) < 12 else rng.sample(parts, 12)
            for part in some:
                for number in {part.first, part.last, rng.randint(part.first, part.last)}:
                    assert analysis.returns(token, number) == part.returns, f"seed {seed}"


def number_only(rng: Random) -> Program:
    """A program whose return depends on nothing but the number and the architecture."""
    offsets = (bpf.OFFSET_NR, bpf.OFFSET_ARCH)
    return made_up.anything(rng, rng.randint(5, 60), offsets)


@pytest.mark.slow
@BATCHES
def test_small_numbers_one_by_one(batch: int) -> None:
    """Where arguments do not matter, the simulator can try a whole range of numbers."""
    compared = 0
    for seed in seeds_of(batch):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = tuple(number_only(rng) for _ in range(rng.choice((1, 1, 2))))
        try:
            analysis = prover.analyze(stack, limit=LIMIT)
            parts = analysis.numbers(X86_64)
        except TooComplexError:
            continue
        if not analysis.exact:
            continue
        edges = {edge for part in parts[:50] for edge in (part.first, part.last)}
        ranges = iter(parts)
        part = next(ranges)
        for number in sorted({*range(520), *edges}):
            while number > part.last:
                part = next(ranges)
            value = made_up.simulated(stack, SeccompData(number, X86_64))
            assert part.returns == {value}, f"seed {seed}: {number}"
            compared += 1
    assert compared > 520 * STACKS_IN_A_BATCH * 0.6


PART = re.compile(r"(args\[\d\]|instruction pointer)(?: & (0x[0-9a-f]+))? == (0x[0-9a-f]+)")


def fulfils(line: str, data: SeccompData) -> bool:
    """Whether an input is what a line of ``condition`` says, read as a person would."""
    if line == "any arguments":
        return True
    for part in line.split(" and "):
        found = PART.fullmatch(part)
        assert found, part
        name, mask, value = found.groups()
        word = data.instruction_pointer if name.startswith("i") else data.args[int(name[5])]
        if word & int(mask or "0xffffffffffffffff", 16) != int(value, 16):
            return False
    return True


@pytest.mark.slow
def test_conditions_say_when_a_value_is_returned() -> None:
    told = 0
    for seed, rng, stack, analysis in analyzed(range(120)):
        if not analysis.exact:
            continue
        for data in made_up.inputs(rng, stack, 6):
            value = made_up.simulated(stack, data)
            lines = analysis.condition(data.arch, data.nr, value, most=2000)
            assert lines, f"seed {seed}"
            if lines[-1] == "...":
                continue
            assert any(fulfils(line, data) for line in lines), f"seed {seed}: {data}: {lines}"
            for other in analysis.returns(data.arch, data.nr) - {value}:
                lines = analysis.condition(data.arch, data.nr, other, most=300)
                assert not any(fulfils(line, data) for line in lines if line != "...")
                told += 1
    assert told > 60


def test_no_more_alternatives_are_told_than_asked_for() -> None:
    tests = [
        instruction
        for bit in range(12)
        for instruction in (jump(bpf.JEQ, bit * 7, 0, 1), statement(bpf.RET_K, ALLOW))
    ]
    program = (statement(bpf.LD_ABS, bpf.OFFSET_ARGS), *tests, statement(bpf.RET_K, EPERM))
    analysis = prover.analyze([program])

    lines = analysis.condition(X86_64, 0, ALLOW, most=3)

    assert len(lines) == 4
    assert lines[-1] == "..."
    assert len(analysis.condition(X86_64, 0, ALLOW, most=100)) <= 12


# Stacks.

PRECEDENCE = (
    Action.KILL_PROCESS,
    Action.KILL_THREAD,
    Action.TRAP,
    Action.ERRNO,
    Action.USER_NOTIF,
    Action.TRACE,
    Action.LOG,
    Action.ALLOW,
)
"""As seccomp(2) lists them, the highest first."""


@pytest.mark.parametrize(
    ("high", "low"), list(itertools.combinations(PRECEDENCE, 2)), ids=lambda action: action.name
)
def test_the_higher_action_wins_wherever_it_stands(high: Action, low: Action) -> None:
    values = (FilterReturn(high, 7).value, FilterReturn(low, 9).value)
    for order in (values, values[::-1]):
        stack = [(statement(bpf.RET_K, value),) for value in order]
        assert set(prover.analyze(stack).outcomes) == {values[0]}
        assert made_up.heeded(order) == values[0]


@pytest.mark.parametrize("action", PRECEDENCE, ids=lambda action: action.name)
def test_among_equals_the_newest_filters_data_wins(action: Action) -> None:
    stack = [(statement(bpf.RET_K, FilterReturn(action, data).value),) for data in (3, 1, 2)]

    assert set(prover.analyze(stack).outcomes) == {FilterReturn(action, 2).value}


@pytest.mark.slow
def test_order_of_a_stack_matters_only_among_equals() -> None:
    for seed in range(60):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = made_up.like_systemd(rng)
        forth = prover.analyze(stack, limit=LIMIT * 5)
        back = prover.analyze(stack[::-1], limit=LIMIT * 5)
        for data in made_up.inputs(rng, stack, 20):
            (one,), (other,) = forth.value_at(data), back.value_at(data)
            assert one >> 16 == other >> 16
            assert one == made_up.simulated(stack, data)
            assert other == made_up.simulated(stack[::-1], data)


def test_without_a_filter_everything_is_allowed() -> None:
    """As the kernel has it: a process without one makes every call."""
    analysis = prover.analyze([])
    assert analysis.exact
    assert analysis.tokens() == ()
    for data in made_up.inputs(Random(1), (), 20):  # noqa: S311 - a failure must come again
        assert analysis.value_at(data) == {ALLOW}


def test_a_program_that_the_kernel_refuses_is_not_analyzed() -> None:
    good = (statement(bpf.RET_K, ALLOW),)
    rng = Random(0)  # noqa: S311 - a failure must come again
    for spoil in made_up.SPOILERS.values():
        with pytest.raises(bpf.IllegalProgramError):
            prover.analyze([good, spoil(rng, good)])


# Each instruction by itself, on the words that show its edges.

EDGES = (0, 1, 2, 3, 31, 32, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, bpf.U32, 0x12345678)
ARITHMETIC: Mapping[str, tuple[int, Sequence[int]]] = {
    "add": (bpf.ADD, EDGES),
    "sub": (bpf.SUB, EDGES),
    "or": (bpf.OR, EDGES),
    "and": (bpf.AND, EDGES),
    "xor": (bpf.XOR, EDGES),
    "lsh": (bpf.LSH, (0, 1, 4, 16, 31)),
    "rsh": (bpf.RSH, (0, 1, 4, 16, 31)),
    "div": (bpf.DIV, (1, 2, 16, 0x80000000)),
    "mul": (bpf.MUL, (0, 1, 2, 3, 0x80000000)),
    "neg": (bpf.NEG, (0,)),
}


def compared(*computation: bpf.Instruction, wanted: int) -> Program:
    """Computes from argument 0's low half and tells whether the result is the wanted one."""
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        *computation,
        jump(bpf.JEQ, wanted, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_exact(name: str) -> None:
    """The set of words with a given result is the right one at every edge, K or X."""
    code, operands = ARITHMETIC[name]
    for operand, word in itertools.product(operands, EDGES):
        forms: list[Program] = [(statement(code, operand),)]
        if code != bpf.NEG:
            forms.append((statement(bpf.LDX_IMM, operand), statement(code | bpf.SOURCE_X)))
        for form in forms:
            identity = (statement(bpf.LD_IMM, word), *form, statement(bpf.RET_A))
            result = bpf.simulate(identity, SeccompData(0, 0))
            program = compared(*form, wanted=result)
            analysis = prover.analyze([program])
            assert analysis.exact
            for argument in EDGES:
                data = SeccompData(0, X86_64, (argument,))
                assert analysis.value_at(data) == {bpf.simulate(program, data)}
            assert set(prover.analyze([identity]).outcomes) == {result}


def shift_by_x(code: int, word: int, count: int) -> Program:
    """A test of some bits of one argument, shifted by another."""
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * count),
        statement(bpf.TAX),
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * word),
        statement(code | bpf.SOURCE_X),
        jump(bpf.JSET, 0x80010001, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )


@pytest.mark.parametrize("count", [0, 1, 5, 31, 32, 33, 63, 0x80000001, bpf.U32])
@pytest.mark.parametrize("code", [bpf.LSH, bpf.RSH], ids=["lsh", "rsh"])
def test_a_shift_by_x_uses_five_bits(code: int, count: int) -> None:
    """Both the shifted word and the count are arguments."""
    program = shift_by_x(code, word=1, count=0)
    analysis = prover.analyze([program])

    assert analysis.exact
    for word in EDGES:
        data = SeccompData(0, 0, (count, word))
        assert analysis.value_at(data) == {bpf.simulate(program, data)}


def test_a_shift_by_a_later_argument_is_not_tracked() -> None:
    """Its diagrams would have to remember every bit: the analysis says so instead, and is sound."""
    analysis = prover.analyze([shift_by_x(bpf.LSH, word=0, count=1)])

    assert not analysis.exact
    assert "shift" in analysis.inexact[0]
    assert analysis.value_at(SeccompData(0, 0, (1, 4))) == {EPERM, ALLOW}


def test_division_by_a_zero_x_is_a_return_of_its_own() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        statement(bpf.TAX),
        statement(bpf.LD_IMM, 8),
        statement(bpf.DIV | bpf.SOURCE_X),
        statement(bpf.RET_K, ALLOW),
    )
    analysis = prover.analyze([program])

    assert analysis.value_at(SeccompData(0, 0, (0,))) >= {KILL_THREAD}
    assert analysis.value_at(SeccompData(0, 0, (1 << 32,))) >= {KILL_THREAD}
    assert analysis.value_at(SeccompData(0, 0, (2,))) == {ALLOW}
    assert set(analysis.outcomes) == {KILL_THREAD, ALLOW}


def test_division_by_nothing_but_zero_ends_every_way() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        statement(bpf.LDX_IMM, 0),
        statement(bpf.DIV | bpf.SOURCE_X),
        statement(bpf.RET_K, ALLOW),
    )

    assert prover.analyze([program]).outcomes == {KILL_THREAD: TRUE}


@pytest.mark.parametrize(
    "unknown",
    [(statement(bpf.DIV, 10),), (statement(bpf.TAX), statement(bpf.MUL | bpf.SOURCE_X))],
    ids=["quotient", "product"],
)
def test_what_is_not_tracked_is_said_and_never_left_out(
    unknown: tuple[bpf.Instruction, ...],
) -> None:
    program = compared(*unknown, wanted=100)
    analysis = prover.analyze([program])

    assert not analysis.exact
    assert "instruction" in analysis.inexact[0]
    for argument in (0, 10, 1000, 1009, 1010, bpf.U32):
        data = SeccompData(0, 0, (argument,))
        assert bpf.simulate(program, data) in analysis.value_at(data)
    # A stack is as inexact as its parts.
    assert not prover.analyze([program, (statement(bpf.RET_K, LOG),)]).exact


# The halves of an argument, and each word of the input.


@ORDERS
@pytest.mark.parametrize("offset", made_up.LOADABLE)
def test_each_offset_is_its_own_word(offset: int, *, big_endian: bool) -> None:
    wanted = 0xA5A50001
    program = (
        statement(bpf.LD_ABS, offset),
        jump(bpf.JEQ, wanted, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    blank = SeccompData(0, 0)
    both = wanted << 32
    variants = [
        replace(blank, nr=wanted),
        replace(blank, arch=wanted),
        *(replace(blank, instruction_pointer=word) for word in (wanted, both)),
        *(
            replace(blank, args=(*(0,) * place, word))
            for place in range(6)
            for word in (wanted, both)
        ),
    ]
    analysis = prover.analyze([program], big_endian=big_endian)

    hits = 0
    for data in variants:
        value = bpf.simulate(program, data, big_endian=big_endian)
        assert analysis.value_at(data) == {value}
        hits += value == EPERM
    assert hits == 1


# What outgrows its bounds ends, and says so.


def adversaries() -> Iterator[tuple[str, Program]]:
    """Programs whose diagrams need more nodes than there are atoms, in a few instructions."""
    first, second = bpf.OFFSET_ARGS, bpf.OFFSET_ARGS + 8
    end = (statement(bpf.RET_K, ALLOW), statement(bpf.RET_K, EPERM))
    yield (
        "two arguments are equal",
        (
            statement(bpf.LD_ABS, first),
            statement(bpf.TAX),
            statement(bpf.LD_ABS, second),
            jump(bpf.JEQ | bpf.SOURCE_X, 0, 0, 1),
            *end,
        ),
    )
    yield (
        "a hash of an argument",
        (
            statement(bpf.LD_ABS, first),
            statement(bpf.MUL, 0x9E3779B1),
            statement(bpf.MUL, 0x85EBCA6B),
            statement(bpf.XOR, 0x1234567),
            jump(bpf.JGT, 0x7777777, 0, 1),
            *end,
        ),
    )
    yield "a return of A", (statement(bpf.LD_ABS, first), statement(bpf.RET_A))
    mixing = [
        instruction
        for offset in range(first, bpf.SECCOMP_DATA_SIZE, 4)
        for instruction in (
            statement(bpf.LD_ABS, offset),
            statement(bpf.LDX_MEM, 0),
            statement(bpf.ADD | bpf.SOURCE_X),
            statement(bpf.MUL, 0x01000193),
            statement(bpf.ST, 0),
        )
    ]
    yield (
        "a sum of everything",
        (statement(bpf.ST, 0), *mixing, jump(bpf.JGE, 0x13579BDF, 0, 1), *end),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [pytest.param(program, id=name) for name, program in adversaries()]
)
def test_too_much_ends_in_a_refusal(program: Program) -> None:
    """The bound is on nodes and on steps, so it bounds time and memory alike."""
    with pytest.raises(TooComplexError, match="outgrew its bound"):
        prover.analyze([program], limit=LIMIT)


@pytest.mark.slow
@pytest.mark.parametrize("bit", [0, 8])
def test_too_many_ranges_end_in_a_refusal(bit: int) -> None:
    """The analysis is small and exact; only a table of it would be endless."""
    for offset in (bpf.OFFSET_NR, bpf.OFFSET_ARCH):
        program = (
            statement(bpf.LD_ABS, offset),
            jump(bpf.JSET, 1 << bit, 0, 1),
            statement(bpf.RET_K, EPERM),
            statement(bpf.RET_K, ALLOW),
        )
        analysis = prover.analyze([program])

        assert analysis.exact
        assert analysis.value_at(SeccompData(1 << bit, 1 << bit)) == {EPERM}
        with pytest.raises(TooComplexError, match="ranges"):
            analysis.numbers(X86_64) if offset == bpf.OFFSET_NR else analysis.tokens()


# Programs as long as the kernel takes them.


def longest_chain() -> Program:
    """A return of its own kind for each of some 2,000 numbers, one after the other."""
    pairs = [
        instruction
        for place in range((bpf.MAX_INSTRUCTIONS - 2) // 2)
        for instruction in (
            jump(bpf.JEQ, place * 3, 0, 1),
            statement(bpf.RET_K, FilterReturn(Action.ERRNO, place % 100).value),
        )
    ]
    return (statement(bpf.LD_ABS, bpf.OFFSET_NR), *pairs, statement(bpf.RET_K, ALLOW))


def longest_with_arguments() -> Program:
    """As many numbers as fit, each with a 64-bit argument of its own."""
    code: list[bpf.Instruction] = []
    place = 0
    while len(code) + 8 <= bpf.MAX_INSTRUCTIONS:
        low = bpf.OFFSET_ARGS + 8 * (place % 6)
        code += (
            statement(bpf.LD_ABS, bpf.OFFSET_NR),
            jump(bpf.JEQ, place, 0, 5),
            statement(bpf.LD_ABS, low + 4),
            jump(bpf.JEQ, place % 3, 0, 3),
            statement(bpf.LD_ABS, low),
            jump(bpf.JEQ, 1000 + place, 0, 1),
            statement(bpf.RET_K, EPERM),
        )
        place += 1
    return (*code, statement(bpf.RET_K, ALLOW))


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(longest_chain(), id="chain"),
        pytest.param(longest_with_arguments(), id="arguments"),
        pytest.param(
            bpf.dispatch(
                {
                    X86_64: bpf.ranges_from({n: n for n in range(0, 1900, 2)}, ALLOW),
                    I386: bpf.ranges_from(dict.fromkeys(range(0, 180, 3), EPERM), ALLOW),
                },
                EPERM,
            ),
            id="tree",
        ),
    ],
)
def test_the_longest_programs(program: Program) -> None:
    assert bpf.MAX_INSTRUCTIONS - 90 < len(program) <= bpf.MAX_INSTRUCTIONS
    analysis = prover.analyze([program])

    assert analysis.exact
    for number in (*range(0, 6200, 13), 3, 6, 585, 586, bpf.U32):
        for token in (X86_64, I386, 0):
            argument = number % 3 << 32 | 1000 + number
            args = tuple(argument if place == number % 6 else 0 for place in range(6))
            for data in (SeccompData(number, token), SeccompData(number, token, args)):
                assert analysis.value_at(data) == {bpf.simulate(program, data)}


def test_names_the_tokens_and_a_foreign_one() -> None:
    table = {X86_64: bpf.ranges({1}, EPERM, ALLOW), I386: bpf.ranges({2}, EPERM, ALLOW)}
    analysis = prover.analyze([bpf.dispatch(table, KILL_THREAD)])

    assert set(analysis.tokens()) == {X86_64, I386}
    foreign = analysis.foreign_token()
    assert foreign not in made_up.TOKENS
    (everything,) = analysis.numbers(foreign)
    assert everything.returns == {KILL_THREAD}
