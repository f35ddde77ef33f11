"""The BPF module on its own: encoding, checks, simulation, and the tree that it builds."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.filters import bpf
from probes.filters.bpf import Instruction, SeccompData, jump, statement

X86_64 = 0xC000003E
I386 = 0x40000003


def test_encodes_like_sock_filter() -> None:
    program = (statement(bpf.LD_ABS, 4), jump(bpf.JEQ, X86_64, 1, 0), statement(bpf.RET_K, 0))
    assert bpf.to_bytes(program)[:8] == b"\x20\x00\x00\x00\x04\x00\x00\x00"
    assert bpf.to_bytes(program, big_endian=True)[:8] == b"\x00\x20\x00\x00\x00\x00\x00\x04"
    assert bpf.from_bytes(bpf.to_bytes(program)) == program


def test_refuses_a_torn_program() -> None:
    with pytest.raises(bpf.IllegalProgramError, match="9 bytes"):
        bpf.from_bytes(b"123456789")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ((), "1 to 4096"),
        ((statement(bpf.LD_IMM),), "must return"),
        ((statement(bpf.JA, 1), statement(bpf.RET_K)), "out of the program"),
        ((jump(bpf.JEQ, 0, 0, 9), statement(bpf.RET_K)), "out of the program"),
        ((statement(0x34, 0), statement(bpf.RET_K)), "divides by zero"),
        ((statement(0x64, 32), statement(bpf.RET_K)), "shifts"),
        ((statement(bpf.LD_ABS, 2), statement(bpf.RET_K)), "aligned"),
        ((statement(bpf.LD_ABS, 64), statement(bpf.RET_K)), "aligned"),
        ((statement(bpf.ST, 16), statement(bpf.RET_K)), "scratch"),
        ((statement(bpf.LD_MEM, 3), statement(bpf.RET_K)), "no path has stored"),
        ((statement(0x94, 3), statement(bpf.RET_K)), "not allowed"),
        ((statement(bpf.RET_K),) * 4097, "1 to 4096"),
    ],
)
def test_names_what_the_kernel_refuses(program: bpf.Program, words: str) -> None:
    with pytest.raises(bpf.IllegalProgramError, match=words):
        bpf.check(program)


def test_scratch_must_be_stored_on_every_path() -> None:
    one_path_only = (
        jump(bpf.JEQ, 0, 0, 1),
        statement(bpf.ST, 0),
        statement(bpf.LD_MEM, 0),
        statement(bpf.RET_A),
    )
    with pytest.raises(bpf.IllegalProgramError, match="no path has stored"):
        bpf.check(one_path_only)
    bpf.check((statement(bpf.ST, 0), *one_path_only))


@pytest.mark.parametrize(
    ("code", "k", "result"),
    [
        (0x04, 5, 14),
        (0x14, 10, 0xFFFFFFFF),
        (0x24, 3, 27),
        (0x34, 2, 4),
        (0x44, 6, 15),
        (0x54, 8, 8),
        (0x64, 4, 144),
        (0x74, 3, 1),
        (0xA4, 1, 8),
        (bpf.NEG, 0, 0xFFFFFFF7),
    ],
)
def test_arithmetic(code: int, k: int, result: int) -> None:
    program = (statement(bpf.LD_IMM, 9), statement(code, k), statement(bpf.RET_A))
    assert bpf.simulate(program, SeccompData(0, 0)) == result


def test_division_by_a_zero_x_kills_the_thread() -> None:
    program = (
        statement(bpf.LDX_IMM, 0),
        statement(0x34 | bpf.SOURCE_X),
        statement(bpf.RET_K, 0x7FFF0000),
    )
    assert bpf.simulate(program, SeccompData(0, 0)) == 0


def test_arguments_are_split_in_the_machines_order() -> None:
    data = SeccompData(1, 2, (0x1111111122222222,))
    assert data.words()[4:6] == (0x22222222, 0x11111111)
    assert data.words(big_endian=True)[4:6] == (0x11111111, 0x22222222)


def test_disassembly_names_targets() -> None:
    program = bpf.dispatch({X86_64: bpf.ranges({3}, 1, 2)}, 0)
    text = bpf.disassemble(program)
    assert "jeq #0xc000003e ? 3 : 2" in text
    assert text.count("\n") == len(program) - 1


returns = st.integers(0, bpf.U32)
tables = st.dictionaries(st.integers(0, bpf.U32) | st.integers(0, 600), returns, max_size=400)


@given(table=tables, other=returns, foreign=returns)
def test_every_edge_of_every_range_gets_its_own_return(
    table: Mapping[int, int], other: int, foreign: int
) -> None:
    program = bpf.dispatch(
        {X86_64: bpf.ranges_from(table, other), I386: bpf.ranges({1}, 7, 9)}, foreign
    )
    edges = {number + step for number in table for step in (-1, 0, 1)} | {0, bpf.U32}
    for number in (edge for edge in edges if 0 <= edge <= bpf.U32):
        wanted = table.get(number, other)
        assert bpf.simulate(program, SeccompData(number, X86_64)) == wanted
    assert bpf.simulate(program, SeccompData(1, I386)) == 7
    assert bpf.simulate(program, SeccompData(2, I386)) == 9
    assert bpf.simulate(program, SeccompData(1, 0x12345678)) == foreign


@given(table=tables, other=returns)
def test_ranges_cover_all_numbers_without_gap_or_overlap(
    table: Mapping[int, int], other: int
) -> None:
    parts = bpf.ranges_from(table, other)
    assert parts[0].first == 0
    assert parts[-1].last == bpf.U32
    for left, right in itertools.pairwise(parts):
        assert left.last + 1 == right.first
        assert left.returns != right.returns


def test_the_tree_is_balanced() -> None:
    numbers = set(range(0, 4000, 4))
    code = bpf.tree(bpf.ranges(numbers, 1, 2))

    def depth(pc: int) -> int:
        instruction: Instruction = code[pc]
        if instruction.code == bpf.RET_K:
            return 0
        if instruction.code == bpf.JA:
            return depth(pc + 1 + instruction.k)
        return 1 + max(depth(pc + 1 + instruction.jt), depth(pc + 1 + instruction.jf))

    assert depth(0) <= 11
