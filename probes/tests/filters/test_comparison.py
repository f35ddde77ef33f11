"""The comparison of two stacks, against running both."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES
from probes.filters import bpf, partition
from probes.filters.bpf import IllegalProgramError, Program, SeccompData, jump, statement
from probes.filters.comparison import Pair, StackComparison, compare, effect, run
from probes.filters.prover import TooComplexError
from probes.tests.support import random_programs as made_up
from probes.tests.support.random_programs import ALLOW, EPERM, X86_64

Stack = tuple[Program, ...]


def pairs_of_stacks(count: int) -> Iterator[tuple[int, Random, Stack, Stack, StackComparison]]:
    """Made-up stacks, each against one that differs in a return value or is another one."""
    compared = 0
    for seed in range(count):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        left = made_up.a_stack(rng)
        right = changed(rng, left) if seed % 2 else made_up.a_stack(rng)
        try:
            comparison = compare(left, right, limit=20_000)
        except TooComplexError:
            continue
        compared += 1
        yield seed, rng, left, right, comparison
    assert compared > count // 2


def changed(rng: Random, stack: Stack) -> Stack:
    """The stack with another value at one of its returns, which need not be reached."""
    which = rng.randrange(len(stack))
    program = list(stack[which])
    places = [index for index, one in enumerate(program) if one.code == bpf.RET_K]
    if places:
        place = rng.choice(places)
        program[place] = replace(program[place], k=made_up.a_return(rng))
    return (*stack[:which], tuple(program), *stack[which + 1 :])


@pytest.mark.slow
def test_what_two_stacks_do_together_is_among_the_pairs() -> None:
    unequal = equal = 0
    for seed, rng, left, right, comparison in pairs_of_stacks(70):
        for data in made_up.inputs(rng, (*left, *right), 25):
            pair = Pair(effect(run(left, data)), effect(run(right, data)))
            possible = {
                comparison.pairs[index] for index in comparison.analysis.returns(data.arch, data.nr)
            }
            assert pair in possible, seed
            if comparison.exact:
                assert {
                    comparison.pairs[index] for index in comparison.analysis.value_at(data)
                } == {pair}, seed
        if comparison.differing:
            unequal += 1
        elif comparison.exact:
            equal += 1
    assert unequal > 10
    assert equal > 3


@pytest.mark.slow
def test_every_difference_has_a_call_that_shows_it() -> None:
    shown = 0
    for seed, _, left, right, comparison in pairs_of_stacks(50):
        for index in comparison.differing if comparison.exact else ():
            data = partition.example(comparison.analysis, index)
            pair = Pair(effect(run(left, data)), effect(run(right, data)))
            assert pair == comparison.pairs[index], seed
            assert pair.differs
            shown += 1
    assert shown > 20


def test_a_single_argument_of_a_single_call_is_found() -> None:
    def program(value: int) -> Program:
        return (
            statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
            jump(bpf.JEQ, X86_64, 0, 4),
            statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * 5 + 4),
            jump(bpf.JEQ, 0xDEADBEEF, 0, 2),
            statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * 5),
            jump(bpf.JEQ, value, 1, 0),
            statement(bpf.RET_K, ALLOW),
            statement(bpf.RET_K, EPERM),
        )

    comparison = compare((program(1),), (program(2),))
    found = {
        partition.example(comparison.analysis, index).args[5] for index in comparison.differing
    }
    assert found == {0xDEADBEEF_00000001, 0xDEADBEEF_00000002}
    assert not compare((program(1),), (program(1), program(1))).differing


def test_a_tree_equals_a_chain() -> None:
    numbers = list(ARCHES["x86_64"].numbers.values())[::3]
    parts = bpf.ranges(numbers, ALLOW, EPERM)
    chain = [statement(bpf.LD_ABS, bpf.OFFSET_NR)]
    for number in numbers:
        chain += [jump(bpf.JEQ, number, 0, 1), statement(bpf.RET_K, ALLOW)]
    tree = (statement(bpf.LD_ABS, bpf.OFFSET_NR), *bpf.tree(parts))
    whole = compare((tree,), ((*chain, statement(bpf.RET_K, EPERM)),))
    assert whole.exact
    assert not whole.differing
    less = compare((tree,), ((*chain[:-2], statement(bpf.RET_K, EPERM)),))
    (index,) = less.differing
    assert partition.example(less.analysis, index).nr == numbers[-1]


def untracked(returned: int) -> Program:
    """Depends on the square of an argument, which the analysis does not track."""
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        statement(bpf.TAX),
        statement(bpf.MUL | bpf.SOURCE_X),
        jump(bpf.JEQ, 9, 0, 1),
        statement(bpf.RET_K, returned),
        statement(bpf.RET_K, ALLOW),
    )


def test_what_is_not_tracked_on_both_sides_is_not_the_same() -> None:
    comparison = compare((untracked(EPERM),), (untracked(EPERM),))
    assert not comparison.exact
    assert comparison.differing  # it cannot know that both mean the same square
    assert [words.split(",")[0] for words in comparison.analysis.inexact] == [
        "the first",
        "the second",
    ]


def test_the_data_counts_where_somebody_sees_it() -> None:
    assert effect(ALLOW | 7) == effect(ALLOW) == FilterReturn(Action.ALLOW)
    assert effect(Action.LOG | 7) == FilterReturn(Action.LOG)
    assert effect(Action.ERRNO | 0xFFFF) == FilterReturn(Action.ERRNO, 4095)
    assert effect(Action.ERRNO | 1) != effect(Action.ERRNO | 2)
    assert effect(Action.TRAP | 1) != effect(Action.TRAP | 2)
    assert effect(Action.TRACE | 1) != effect(Action.TRACE | 2)
    assert effect(0x12340000) == FilterReturn(Action.KILL_PROCESS)


def test_of_a_stack_the_kernel_heeds_the_strictest_and_of_equals_the_newest() -> None:
    def always(*values: int) -> Stack:
        return tuple((statement(bpf.RET_K, value),) for value in values)

    nothing = SeccompData(0, 0)
    kill, trap = Profile.KILL.returns.value, FilterReturn(Action.TRAP, 3).value
    assert run(always(ALLOW, EPERM, ALLOW), nothing) == EPERM
    assert run(always(kill, trap), nothing) == kill
    assert run(always(EPERM, EPERM + 1), nothing) == EPERM + 1
    assert run(always(EPERM + 1, EPERM), nothing) == EPERM


def test_it_gives_up_at_its_bound() -> None:
    stack = ((*made_up.like_libseccomp(Random(3)),),)  # noqa: S311 - a failure must come again
    with pytest.raises(TooComplexError):
        compare(stack, stack, limit=100)


def test_it_takes_programs_that_the_kernel_takes() -> None:
    good = ((statement(bpf.RET_K, 0),),)
    with pytest.raises(IllegalProgramError):
        compare(good, ((statement(bpf.LD_ABS, 3), statement(bpf.RET_K, 0)),))


def test_a_big_endian_machine_has_the_other_half_first() -> None:
    def looks_at(offset: int) -> Stack:
        return (
            (
                statement(bpf.LD_ABS, offset),
                jump(bpf.JEQ, 1, 0, 1),
                statement(bpf.RET_K, EPERM),
                statement(bpf.RET_K, ALLOW),
            ),
        )

    for big_endian, offset in ((False, bpf.OFFSET_ARGS), (True, bpf.OFFSET_ARGS + 4)):
        comparison = compare(
            looks_at(offset), ((statement(bpf.RET_K, ALLOW),),), big_endian=big_endian
        )
        (index,) = comparison.differing
        assert partition.example(comparison.analysis, index).args[0] & 0xFFFFFFFF == 1
