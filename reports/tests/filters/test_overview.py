"""What a reader is told of filters, against running them."""

from collections.abc import Iterator
from random import Random

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.filters import bpf, partition, prover
from probes.filters.bpf import U32, Program, SeccompData, jump, statement
from probes.filters.comparison import effect, run
from probes.filters.prover import TooComplexError
from probes.finding import advice
from probes.targets.stack import FilterStack
from probes.tests.support import random_programs as made_up
from probes.tests.support.random_programs import ALLOW, EPERM, I386, X86_64
from reports.filters import overview, places, way
from reports.filters.places import Numbers, Place

X86 = abis.ARCHES["x86_64"]
WIDTH = 80


def opened(*programs: Program, findings: tuple[str, ...] = ()) -> FilterStack:
    return FilterStack("a made-up stack", programs, X86, advice(findings))


def lines_of(target: FilterStack, *names: str, width: int = WIDTH) -> list[str]:
    analysis = overview.analyze(target)
    wanted = [abis.get(name) for name in names]
    where = places.places(analysis, target.native, wanted)
    return overview.overview(target, analysis, where, width)


def section_lines(lines: list[str], title: str) -> list[str]:
    """The lines below a title, up to the next empty line."""
    (start,) = (index for index, line in enumerate(lines) if line.startswith(title))
    rest = lines[start + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


def clone_program() -> Program:
    """Lets clone through without new namespaces, getpid always, and nothing else; by x86_64."""
    numbers = X86.numbers
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        jump(bpf.JEQ, X86_64, 1, 0),
        statement(bpf.RET_K, FilterReturn(Action.KILL_THREAD).value),
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, numbers["getpid"], 3, 0),
        jump(bpf.JEQ, numbers["clone"], 0, 3),
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        jump(bpf.JSET, 0x7E020000, 1, 0),
        statement(bpf.RET_K, ALLOW),
        statement(bpf.RET_K, EPERM),
    )


def test_a_filter_reads_as_what_it_does() -> None:
    target = opened(clone_program(), findings=("something was left out",))
    lines = lines_of(target)
    assert lines[:4] == [
        "a made-up stack: one filter of 10 instructions",
        "",
        "findings",
        "  - advice: something was left out",
    ]
    assert "no proof" not in "\n".join(lines)
    told = section_lines(lines, "x86_64 (architecture 0xc000003e, numbers without the x32 bit")
    assert told[0] == "  ALLOW         1 call: getpid"
    assert told[1].startswith("  ERRNO(EPERM)  384 calls: _sysctl, accept, accept4,")
    assert told[-4:] == [
        "  by arguments",
        "    clone (0x38)",
        "      ALLOW if args[0] & 0x7e020000 == 0x0",
        "      ERRNO(EPERM) otherwise, as with args (0x20000, ...)",
    ]
    assert "and every number that no table knows" in " ".join(told).replace("  ", "")
    assert section_lines(lines, "x32 (") == ["  ERRNO(EPERM)  every number"]
    assert section_lines(lines, "i386 (architecture 0x40000003; treated like any other") == [
        "  KILL_THREAD  every number"
    ]
    assert section_lines(lines, "any other architecture") == ["  KILL_THREAD  every number"]


@pytest.mark.slow
def test_every_named_number_is_told_once_and_right() -> None:
    asked = 0
    for seed in range(60):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = made_up.a_stack(rng)
        try:
            analysis = prover.analyze(stack, limit=20_000)
            where = places.places(analysis, X86, ())
            sections = overview.sections(analysis, where)
        except TooComplexError:
            continue
        for section in sections:
            told = _numbers_of(section)
            named = sorted(number for numbers in told for number in numbers.named)
            arch = section.place.arch
            assert named == sorted(arch.numbers.values() if arch else ()), seed
            assert _size(section) == sum(
                last - first + 1 for first, last in section.place.shares()
            ), seed
            for returns, numbers in section.groups:
                for data in _inputs(rng, stack, section.place, numbers):
                    assert effect(run(stack, data)) == returns, seed
                    asked += 1
            for numbers, outcomes in section.dependent if analysis.exact else ():
                assert len(outcomes) > 1
                possible = {one.returns for one in outcomes}
                for data in _inputs(rng, stack, section.place, numbers):
                    assert effect(run(stack, data)) in possible, seed
                for one in outcomes:
                    assert effect(run(stack, one.example)) == one.returns, seed
                    asked += 1
    assert asked > 300


def _numbers_of(section: overview.Section) -> list[Numbers]:
    groups = [numbers for _, numbers in section.groups]
    return [*groups, *(numbers for numbers, _ in section.dependent)]


def _size(section: overview.Section) -> int:
    """How many numbers a section tells of, some of them twice if it is wrong."""
    return sum(
        len(numbers.named) + sum(last - first + 1 for first, last in numbers.unknown)
        for numbers in _numbers_of(section)
    )


def _inputs(
    rng: Random, stack: tuple[Program, ...], place: Place, numbers: Numbers
) -> Iterator[SeccompData]:
    decisive = made_up.interesting(stack)
    edges = [edge for pair in numbers.unknown[:20] for edge in pair]
    every = [*numbers.named, *edges]
    for number in rng.sample(every, min(3, len(every))):
        arguments = made_up.arguments(rng, decisive)
        yield SeccompData(number, place.token, arguments, rng.choice((0, rng.getrandbits(64))))


def test_a_program_that_names_unknown_architectures_is_told_of_them() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        jump(bpf.JEQ, 0x1234, 0, 1),
        statement(bpf.RET_K, EPERM),
        jump(bpf.JGE, 0xF0000000, 0, 1),
        statement(bpf.RET_K, FilterReturn(Action.LOG).value),
        statement(bpf.RET_K, ALLOW),
    )
    lines = lines_of(opened(program))
    assert section_lines(lines, "architecture 0x1234") == ["  ERRNO(EPERM)  every number"]
    assert section_lines(lines, "architectures 0xf0000000 to 0xffffffff") == ["  LOG  every number"]
    assert section_lines(lines, "any other architecture") == ["  ALLOW  every number"]
    assert [line for line in lines if line.startswith("aarch64")] == []
    assert section_lines(lines_of(opened(program), "aarch64"), "aarch64 (") == [
        "  ALLOW  every number"
    ]


def test_numbers_of_another_machine_have_its_names() -> None:
    aarch64 = abis.ARCHES["aarch64"]
    number = aarch64.numbers["acct"]
    program = bpf.dispatch({aarch64.audit_arch: bpf.ranges([number], EPERM, ALLOW)}, foreign=ALLOW)
    told = section_lines(lines_of(opened(program)), "aarch64 (")
    assert told[-1] == "  ERRNO(EPERM)  1 call: acct"


@pytest.mark.parametrize("width", [40, 79, 100, 200])
def test_lines_keep_to_the_width(width: int) -> None:
    lines = lines_of(opened(clone_program(), findings=("word " * 60,)), width=width)
    assert max(len(line) for line in lines) <= width
    assert max(len(line) for line in lines) > width - 25


def test_the_way_of_each_outcome_is_shown() -> None:
    target = opened(clone_program())
    analysis = overview.analyze(target)
    (place,) = places.places(analysis, X86, [X86])
    lines = overview.number_lines(target, analysis, place, X86.numbers["clone"], 100)
    assert lines[0] == "clone (0x38) on x86_64 depends on the arguments:"
    ways = [index for index, line in enumerate(lines) if "the way of args" in line]
    assert [lines[index].strip() for index in ways] == [
        "the way of args (0x0, ...):",
        "the way of args (0x20000, ...):",
    ]
    first, second = lines[ways[0] + 1 : ways[1] - 1], lines[ways[1] + 1 :]
    assert [int(line.split(":")[0]) for line in first] == [0, 1, 3, 4, 5, 6, 7, 8]
    assert [int(line.split(":")[0]) for line in second] == [0, 1, 3, 4, 5, 6, 7, 9]
    assert first[0].endswith("A = 0xc000003e")
    assert first[3].endswith("0x38 == 0x27? no, to 5")
    assert first[-2].endswith("0x0 & 0x7e020000 is 0x0: to 8")
    assert second[-1].endswith("ERRNO(EPERM)")


def test_one_call_with_its_arguments_needs_no_proof() -> None:
    square = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        statement(bpf.TAX),
        statement(bpf.MUL | bpf.SOURCE_X),
        jump(bpf.JEQ, 9, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    target = opened(square, clone_program())
    place = places.abi(X86)
    lines = overview.call_lines(target, place, SeccompData(39, X86_64, (3,)), 100)
    assert lines[0] == "getpid (0x27) on x86_64 with args (0x3, ...): ERRNO(EPERM)"
    assert "    filter 1 of 2:" in lines
    assert [line for line in lines if "mul x" in line][0].endswith("A = 0x9")  # noqa: RUF015 - the first of several, if there were
    assert [line for line in lines if "tax" in line][0].endswith("X = 0x3")  # noqa: RUF015 - likewise
    assert lines[-1] == "    of these the kernel heeds ERRNO(EPERM)"
    lines = overview.call_lines(target, place, SeccompData(39, X86_64, (4,)), 100)
    assert lines[-1] == "    of these the kernel heeds ALLOW"


def test_many_comparisons_in_a_row_are_counted() -> None:
    chain = [statement(bpf.LD_ABS, bpf.OFFSET_NR)]
    chain += [jump(bpf.JEQ, value, 200 - value, 0) for value in range(200)]
    program = (*chain, statement(bpf.RET_K, EPERM), statement(bpf.RET_K, ALLOW))
    lines = way.path_lines(opened(program), SeccompData(500, X86_64))
    assert [line.split(":")[0].strip() for line in lines] == [
        "0",
        "1",
        "... 198 more comparisons with other values",
        "200",
        "201",
    ]
    lines = way.path_lines(opened(program), SeccompData(3, X86_64))
    assert lines[2].strip() == "... 1 more comparison with other values: no"
    assert "0x3 == 0x3? yes" in lines[-2]


def test_what_is_not_exact_is_said_to_be_so() -> None:
    square = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        statement(bpf.TAX),
        statement(bpf.MUL | bpf.SOURCE_X),
        jump(bpf.JEQ, 9, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    text = "\n".join(lines_of(opened(square)))
    assert "no proof: what is shown as possible need not be" in text
    assert "instruction 2: a product" in text
    assert "perhaps if" in text
    assert "otherwise" not in text


def test_the_disassembly_names_what_is_loaded_and_returned() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        statement(bpf.LD_ABS, bpf.OFFSET_POINTER),
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * 5 + 4),
        statement(bpf.RET_K, Profile.ERRNO.returns.value),
    )
    little = way.annotated(program, big_endian=False)
    big = way.annotated(program, big_endian=True)
    assert [line.partition(" ; ")[2] for line in little] == [
        "architecture",
        "number",
        "low half of instruction pointer",
        "high half of args[5]",
        "ERRNO(EPERM)",
    ]
    assert big[3].endswith("; low half of args[5]")
    # Wherever it says high, the simulator finds the high bits.
    for big_endian, lines in ((False, little), (True, big)):
        for index in (2, 3):
            data = SeccompData(0, 0, (0,) * 5 + (7 << 32 | 9,), 7 << 32 | 9)
            one = (program[index], statement(bpf.RET_A))
            found = bpf.simulate(one, data, big_endian=big_endian)
            assert found == (7 if "high" in lines[index] else 9)
    disassembled = way.disassembly_lines(opened(program, program))
    assert disassembled[1] == "disassembly of filter 1 of 2"
    assert len(disassembled) == 2 * (len(program) + 2)


def test_arguments_are_told_without_the_last_zeros() -> None:
    assert way.arguments_text(SeccompData(0, 0, (0,) * 6)) == "args (0x0, ...)"
    assert way.arguments_text(SeccompData(0, 0, (1, 0, 2, 0, 0, 0))) == "args (0x1, 0x0, 0x2, ...)"
    six = way.arguments_text(SeccompData(0, 0, (1, 2, 3, 4, 5, 6), 8))
    assert six == "args (0x1, 0x2, 0x3, 0x4, 0x5, 0x6) at the instruction pointer 0x8"


def test_a_condition_on_the_instruction_pointer_is_told() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_POINTER + 4),
        jump(bpf.JEQ, 0, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    text = "\n".join(lines_of(opened(program), "i386"))
    assert "ALLOW if the instruction pointer >= 0x100000000" in text
    assert "ERRNO(EPERM) otherwise, as with args (0x0, ...)" in text


def test_the_places_of_a_filter_cover_every_token_and_number() -> None:
    program = clone_program()
    analysis = overview.analyze(opened(program))
    where = places.places(analysis, X86, ())
    covered: dict[int, int] = {}
    for place in where:
        size = sum(last - first + 1 for first, last in place.shares())
        covered[place.token] = covered.get(place.token, 0) + size
    assert set(covered.values()) == {U32 + 1}
    for alike in partition.token_classes(analysis):
        assert any(token in alike for token in covered)
    assert I386 in covered
