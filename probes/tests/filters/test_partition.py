"""How an analysis is divided for readers, against the simulator."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from probes.arch import ARCHES
from probes.filters import bpf, partition, prover
from probes.filters.bpf import U32, Program, SeccompData, jump, statement
from probes.filters.comparison import run
from probes.filters.partition import WIDE, Alternative, Alternatives, Between, Masked, TokenClass
from probes.filters.prover import Analysis, TooComplexError
from probes.tests.support import random_programs as made_up
from probes.tests.support.random_programs import ALLOW, EPERM

LOW, HIGH = bpf.OFFSET_ARGS, bpf.OFFSET_ARGS + 4
"""Where a little-endian program finds the halves of the first argument."""


def exact_analyses(count: int) -> Iterator[tuple[int, Random, tuple[Program, ...], Analysis]]:
    """Made-up stacks with analyses that are exact and small enough to be divided."""
    found = 0
    for seed in range(count):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = made_up.a_stack(rng)
        try:
            analysis = prover.analyze(stack, limit=20_000)
            partition.token_classes(analysis)
        except TooComplexError:
            continue
        if analysis.exact:
            found += 1
            yield seed, rng, stack, analysis
    assert found > count // 2  # a test of nothing would pass


def words(part: Masked | Between, data: SeccompData) -> int:
    return (*data.args, data.instruction_pointer)[part.word]


def holds(alternative: Alternative, data: SeccompData) -> bool:
    """Our reading of a condition, apart from the one that wrote it."""
    for part in alternative:
        word = words(part, data)
        if isinstance(part, Masked):
            if word & part.mask != part.value:
                return False
        elif not part.first <= (word % (1 << 32) if part.low_half else word) <= part.last:
            return False
    return True


@pytest.mark.slow
def test_every_token_and_number_is_in_one_part_and_alike_there() -> None:
    for seed, rng, stack, analysis in exact_analyses(60):
        classes = partition.token_classes(analysis)
        ranges = sorted(pair for alike in classes for pair in alike.ranges)
        assert ranges[0][0] == 0, seed
        assert ranges[-1][1] == U32, seed
        assert all(a[1] + 1 == b[0] for a, b in pairwise(ranges)), seed
        assert [alike.size for alike in classes] == sorted(alike.size for alike in classes)
        for data in made_up.inputs(rng, stack, 12):
            (alike,) = (one for one in classes if data.arch in one)
            moved = SeccompData(data.nr, alike.example, data.args, data.instruction_pointer)
            assert run(stack, moved) == run(stack, data), seed
            try:
                numbers = partition.number_ranges(analysis, data.arch)
            except TooComplexError:
                continue
            assert numbers[0].first == 0, seed
            assert numbers[-1].last == U32, seed
            (part,) = (one for one in numbers if one.first <= data.nr <= one.last)
            for other in (part.first, part.last, (part.first + part.last) // 2):
                moved = SeccompData(other, data.arch, data.args, data.instruction_pointer)
                assert run(stack, moved) == run(stack, data), seed
            assert run(stack, data) in part.returns, seed


@pytest.mark.slow
def test_conditions_hold_exactly_where_the_simulator_returns_the_value() -> None:
    spelled = 0
    for seed, rng, stack, analysis in exact_analyses(80):
        for data in made_up.inputs(rng, stack, 20):
            returned = run(stack, data)
            for value in analysis.returns(data.arch, data.nr):
                condition = partition.condition(analysis, data.arch, data.nr, {value})
                assert condition is not None, seed
                met = any(holds(one, data) for one in condition.alternatives)
                assert met <= (value == returned), (seed, data, str(condition))
                if condition.complete:
                    assert met == (value == returned), (seed, data, str(condition))
                    spelled += not condition.always
    assert spelled > 50


def test_conditions_of_several_values_are_told_together() -> None:
    stack = (
        (
            statement(bpf.LD_ABS, LOW),
            jump(bpf.JEQ, 1, 1, 0),
            jump(bpf.JEQ, 2, 1, 2),
            statement(bpf.RET_K, ALLOW),
            statement(bpf.RET_K, ALLOW | 1),
            statement(bpf.RET_K, EPERM),
        ),
    )
    analysis = prover.analyze(stack)
    condition = partition.condition(analysis, 0, 0, {ALLOW, ALLOW | 1})
    assert str(condition) == "0x1 <= args[0] & 0xffffffff <= 0x2"
    assert partition.condition(analysis, 0, 0, {7}) is None
    always = partition.condition(analysis, 0, 0, {ALLOW, ALLOW | 1, EPERM})
    assert always is not None
    assert always.always
    assert str(always) == "whatever the arguments"


def wide(first: int, last: int) -> Program:
    """Allows exactly first <= args[0] <= last, in halves as compilers do."""

    def at_least(value: int, yes: int) -> list[bpf.Instruction]:
        """Goes ``yes`` instructions beyond its end if the argument is at least the value."""
        return [
            statement(bpf.LD_ABS, HIGH),
            jump(bpf.JGT, value >> 32, yes + 3, 0),
            jump(bpf.JEQ, value >> 32, 0, 2),
            statement(bpf.LD_ABS, LOW),
            jump(bpf.JGE, value & U32, yes, 0),
        ]

    body = at_least(first, 1)
    body.append(statement(bpf.RET_K, EPERM))
    body += at_least(last + 1, 1)
    return (*body, statement(bpf.RET_K, ALLOW), statement(bpf.RET_K, EPERM))


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (5, 5, "args[0] == 0x5"),
        (0, 0x123456788, "args[0] <= 0x123456788"),
        (7, 0x1_0000_0007, "0x7 <= args[0] <= 0x100000007"),
    ],
)
def test_64_bit_comparisons_in_halves_read_as_one(first: int, last: int, words: str) -> None:
    analysis = prover.analyze((wide(first, last),))
    assert str(partition.condition(analysis, 0, 0, {ALLOW})) == words


def test_masks_stay_masks() -> None:
    program = (
        statement(bpf.LD_ABS, LOW),
        jump(bpf.JSET, 0x7E020000, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    analysis = prover.analyze((program,))
    assert str(partition.condition(analysis, 0, 0, {ALLOW})) == "args[0] & 0x7e020000 == 0x0"


def test_what_is_not_spelled_out_is_said_to_be_there() -> None:
    cases = [statement(bpf.LD_ABS, LOW)]
    cases += [jump(bpf.JEQ, 3 * value, 20 - index, 0) for index, value in enumerate(range(20))]
    program = (*cases, statement(bpf.RET_K, EPERM), statement(bpf.RET_K, ALLOW))
    condition = partition.condition(prover.analyze((program,)), 0, 0, {ALLOW}, most=4)
    assert condition is not None
    assert len(condition.alternatives) == 4
    assert not condition.complete
    assert str(condition).endswith(", or ...")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Masked(1, WIDE, 3), "args[1] == 0x3"),
        (Masked(6, 0xFF, 3), "the instruction pointer & 0xff == 0x3"),
        (Masked(9, 1, 1), "a value that is not tracked & 0x1 == 0x1"),
        (Between(2, 1, WIDE), "args[2] >= 0x1"),
        (Between(2, 1, U32), "0x1 <= args[2] <= 0xffffffff"),
        (Between(2, 1, U32, low_half=True), "args[2] & 0xffffffff >= 0x1"),
    ],
)
def test_comparisons_read_as_people_write_them(part: Masked | Between, text: str) -> None:
    assert str(part) == text
    assert str(Alternatives(((part, Masked(0, 1, 0)),), complete=True)) == (
        f"{text} and args[0] & 0x1 == 0x0"
    )


@pytest.mark.slow
def test_examples_return_their_value() -> None:
    for seed, _, stack, analysis in exact_analyses(40):
        for value in analysis.outcomes:
            assert run(stack, partition.example(analysis, value)) == value, seed


def test_the_x32_bit_divides_a_token_between_two_abis() -> None:
    def size(name: str) -> int:
        return sum(last - first + 1 for first, last in partition.share(ARCHES[name]))

    assert size("x86_64") + size("x32") == size("i386") == 1 << 32
    shared = set(partition.share(ARCHES["x86_64"])) & set(partition.share(ARCHES["x32"]))
    assert not shared
    assert partition.share(ARCHES["x32"])[0] == (0x40000000, 0x7FFFFFFF)


def test_a_class_of_tokens_counts_and_names_them() -> None:
    alike = TokenClass(((3, 4), (9, 9)))
    assert alike.size == 3
    assert alike.tokens() == (3, 4, 9)
    assert [token for token in range(12) if token in alike] == [3, 4, 9]
