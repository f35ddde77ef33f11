"""The way through a program, against the simulator that knows nothing of ways."""

from random import Random

import pytest

from probes.filters import bpf, trace
from probes.filters.bpf import Program, SeccompData, jump, statement
from probes.tests.support import random_programs as made_up


@pytest.mark.slow
@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
def test_a_way_ends_where_the_simulator_returns(big_endian: bool) -> None:  # noqa: FBT001 - a parameter
    lengths = set()
    for seed in range(300):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        for program in made_up.a_stack(rng):
            for data in made_up.inputs(rng, (program,), 3):
                path = list(trace.steps(program, data, big_endian=big_endian))
                assert path[-1].returns == bpf.simulate(program, data, big_endian=big_endian), seed
                assert [step.following for step in path[:-1]] == [step.index for step in path[1:]]
                assert all(step.returns is None for step in path[:-1])
                assert _cut_at_its_ways(program, data, path, big_endian=big_endian), seed
                lengths.add(len(path))
    assert max(lengths) > 20


def _cut_at_its_ways(
    program: Program, data: SeccompData, path: list[trace.Step], *, big_endian: bool
) -> bool:
    """Whether A is what a program gives out that returns it at the same place."""
    return all(
        bpf.simulate(
            (*program[: step.index], statement(bpf.RET_A), *program[step.index + 1 :]),
            data,
            big_endian=big_endian,
        )
        == step.a
        for step in path
    )


def test_a_division_by_zero_ends_the_way() -> None:
    program = (
        statement(bpf.LD_IMM, 7),
        statement(bpf.DIV | bpf.SOURCE_X),
        statement(bpf.RET_K, 0x7FFF0000),
    )
    last = list(trace.steps(program, SeccompData(0, 0)))[-1]
    assert (last.index, last.following, last.returns) == (1, None, 0)


def test_a_jump_says_where_it_goes() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, 5, 1, 0),
        statement(bpf.RET_K, 0),
        statement(bpf.RET_K, 1),
    )
    assert [step.index for step in trace.steps(program, SeccompData(5, 0))] == [0, 1, 3]
    assert [step.index for step in trace.steps(program, SeccompData(6, 0))] == [0, 1, 2]
