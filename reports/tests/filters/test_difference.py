"""Comparisons as readers get them, against running both stacks."""

from dataclasses import replace
from random import Random

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.errors import ExitStatus, InstrumentError
from probes.filters import bpf
from probes.filters.bpf import Program, SeccompData, jump, statement
from probes.filters.comparison import Pair, compare, effect, run
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight
from probes.targets.stack import FilterStack
from probes.tests.support import random_programs as made_up
from probes.tests.support.random_programs import ALLOW, EPERM, X86_64
from reports.filters import difference as module
from reports.filters import places
from reports.filters.difference import difference, rows
from reports.filters.places import Place

X86 = abis.ARCHES["x86_64"]
I386 = abis.ARCHES["i386"]
KILL = Profile.KILL.returns.value
WIDTH = 100


def opened(*programs: Program, name: str = "a stack") -> FilterStack:
    return FilterStack(name, programs, X86)


def filter_of(**returns: int) -> Program:
    """By x86_64's calls, whatever the arguments; everything else is let through."""
    chosen = {X86.numbers[name]: value for name, value in returns.items()}
    return bpf.dispatch({X86_64: bpf.ranges_from(chosen, ALLOW)}, foreign=ALLOW)


def test_equal_filters_are_proved_equal() -> None:
    left, right = filter_of(acct=EPERM), filter_of(acct=EPERM)
    found = difference(opened(left), opened(right, right, name="two of them"), (), WIDTH)
    assert found.status is ExitStatus.CONFORMANT
    assert found.lines == (
        "A  a stack",
        "B  two of them",
        "",
        "A and B are equal on every architecture, for every number and all arguments: proved.",
    )


def test_a_call_that_differs_is_in_the_table() -> None:
    left, right = filter_of(acct=EPERM, mount=EPERM), filter_of(acct=KILL, mount=EPERM)
    found = difference(opened(left), opened(right), (), WIDTH)
    assert found.status is ExitStatus.NOT_CONFORMANT
    assert found.lines[2:] == (
        "",
        "A and B differ here:",
        "",
        "x86_64 (architecture 0xc000003e, numbers without the x32 bit 0x40000000)",
        "  A             B",
        "  ERRNO(EPERM)  KILL_PROCESS  1 call: acct",
    )


def test_an_argument_that_differs_is_told_with_a_call() -> None:
    def program(mask: int) -> Program:
        return (
            statement(bpf.LD_ABS, bpf.OFFSET_NR),
            jump(bpf.JEQ, X86.numbers["clone"], 0, 3),
            statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
            jump(bpf.JSET, mask, 0, 1),
            statement(bpf.RET_K, EPERM),
            statement(bpf.RET_K, ALLOW),
        )

    found = difference(opened(program(0x30000)), opened(program(0x10000)), [X86], WIDTH)
    assert found.status is ExitStatus.NOT_CONFORMANT
    assert found.lines[-1] == (
        "  ERRNO(EPERM)  ALLOW  1 call: clone; if args[0] & 0x30000 == 0x20000, "
        "as with args (0x20000, ...)"
    )


def test_only_the_abis_that_are_asked_about_count() -> None:
    left, right = opened(filter_of(acct=EPERM)), opened(filter_of(acct=KILL))
    here = difference(left, right, [X86], WIDTH)
    there = difference(left, right, [I386, abis.ARCHES["x32"]], WIDTH)
    assert here.status is ExitStatus.NOT_CONFORMANT
    assert here.lines[3] == "A and B differ on x86_64:"
    assert there.status is ExitStatus.CONFORMANT
    assert there.lines[-1].startswith("A and B are equal on i386, x32, for every number")


def test_a_difference_on_an_architecture_that_nobody_knows_is_found() -> None:
    def program(token: int) -> Program:
        return (
            statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
            jump(bpf.JEQ, token, 0, 1),
            statement(bpf.RET_K, EPERM),
            statement(bpf.RET_K, ALLOW),
        )

    found = difference(opened(program(0x1234)), opened(program(0x4321)), (), WIDTH)
    text = "\n".join(found.lines)
    assert "architecture 0x1234\n  A             B\n  ERRNO(EPERM)  ALLOW  every number" in text
    assert "architecture 0x4321\n  A      B\n  ALLOW  ERRNO(EPERM)  every number" in text


@pytest.mark.slow
def test_every_difference_is_in_a_row_and_every_row_is_one() -> None:
    shown = compared = found_again = 0
    for seed in range(60):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        left = made_up.a_stack(rng)
        right = (*left[:-1], _changed(rng, left[-1])) if seed % 2 else made_up.a_stack(rng)
        try:
            comparison = compare(left, right, limit=20_000)
            where = places.places(comparison.analysis, X86, ())
            found = rows(comparison, opened(*left), opened(*right), where)
        except TooComplexError:
            continue
        compared += 1
        for row in found:
            got = Pair(effect(run(left, row.example)), effect(run(right, row.example)))
            assert got == row.pair, seed
            assert got.differs, seed
            shown += 1
        for data in made_up.inputs(rng, (*left, *right), 20):
            pair = Pair(effect(run(left, data)), effect(run(right, data)))
            here = [place for place in where if _is_at(place, data)]
            if pair.differs and comparison.exact and here:
                told = [row.pair for row in found if row.place in here and _has(row, data.nr)]
                assert pair in told, seed
                found_again += 1
    assert compared > 30
    assert shown > 100
    assert found_again > 100


def _changed(rng: Random, program: Program) -> Program:
    places_ = [index for index, one in enumerate(program) if one.code == bpf.RET_K]
    if not places_:
        return program
    place = rng.choice(places_)
    changed = replace(program[place], k=made_up.a_return(rng))
    return (*program[:place], changed, *program[place + 1 :])


def _is_at(place: Place, data: SeccompData) -> bool:
    inside = any(first <= data.nr <= last for first, last in place.shares())
    return place.token == data.arch and inside


def _has(row: module.DifferenceRow, number: int) -> bool:
    inside = any(first <= number <= last for first, last in row.numbers.unknown)
    return number in row.numbers.named or inside


def squared(when: int, returned: int, otherwise: int) -> Program:
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        statement(bpf.TAX),
        statement(bpf.MUL | bpf.SOURCE_X),
        jump(bpf.JEQ, when, 0, 1),
        statement(bpf.RET_K, returned),
        statement(bpf.RET_K, otherwise),
    )


def test_without_an_exact_analysis_nothing_is_claimed_to_be_equal() -> None:
    same = squared(9, ALLOW, ALLOW)
    found = difference(opened(same), opened(same), (), WIDTH)
    assert found.status is ExitStatus.BROKEN
    assert (
        found.lines[3]
        == "No difference was found, but that is no proof: the analysis is not exact."
    )
    assert "the second, instruction 2" in found.lines[-1]
    different = difference(opened(squared(9, EPERM, ALLOW)), opened(same), (), WIDTH)
    assert different.status is ExitStatus.BROKEN  # 9 is a square, but it takes more to know


def test_without_an_exact_analysis_a_difference_counts_if_running_shows_it() -> None:
    found = difference(opened(squared(0, EPERM, ALLOW)), opened(filter_of()), (), WIDTH)
    assert found.status is ExitStatus.NOT_CONFORMANT
    assert "There may be more differences: the analysis is not exact." in found.lines


@pytest.mark.slow
def test_more_differences_than_can_be_listed_are_still_differences() -> None:
    odd = (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JSET, 1, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    found = difference(opened(odd), opened(filter_of()), (), 1000)
    assert found.status is ExitStatus.NOT_CONFORMANT
    assert found.lines[-1] == (
        "A and B differ in more places than can be listed; one is number 0x1 on architecture 0x0 "
        "with args (0x0, ...): ERRNO(EPERM) in A, ALLOW in B"
    )
    assert difference(opened(odd), opened(odd), (), WIDTH).status is ExitStatus.CONFORMANT
    with pytest.raises(TooComplexError):
        difference(opened(odd), opened(filter_of()), [X86], WIDTH)


def test_findings_of_both_are_told() -> None:
    left = replace(opened(filter_of()), findings=(Finding("a finding"),))
    lines = difference(left, opened(filter_of()), (), WIDTH).lines
    assert lines[:3] == ("A  a stack", "    - advice: a finding", "B  a stack")


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_equal_is_not_all_where_a_finding_says_so(side: str) -> None:
    """Advice leaves the verdict as it is, and what differs stays different."""
    whole = opened(filter_of())
    limit = Finding("a thread was not read", Weight.LIMITS, about="a thread")
    for finding, status in (
        (Finding("a hint"), ExitStatus.CONFORMANT),
        (limit, ExitStatus.CANNOT_TELL),
        (replace(limit, weight=Weight.CONTRADICTS), ExitStatus.CANNOT_TELL),
    ):
        part = replace(whole, findings=(finding,))
        pair = (part, whole) if side == "left" else (whole, part)
        found = difference(*pair, (), WIDTH)
        assert found.status is status
        assert finding.line in " ".join(line.strip(" -") for line in found.lines)
    other = opened(filter_of(ioctl=EPERM))
    assert difference(replace(other, findings=(limit,)), whole, (), WIDTH).status is (
        ExitStatus.NOT_CONFORMANT
    )


def test_the_data_of_actions_counts_where_somebody_sees_it() -> None:
    def status(one: int, other: int) -> ExitStatus:
        return difference(
            opened(filter_of(acct=one)), opened(filter_of(acct=other)), (), WIDTH
        ).status

    trap = FilterReturn(Action.TRAP).value
    assert status(ALLOW, ALLOW | 1) is ExitStatus.CONFORMANT
    assert status(KILL, KILL | 1) is ExitStatus.CONFORMANT
    assert status(EPERM, EPERM + 1) is ExitStatus.NOT_CONFORMANT
    assert status(trap, trap + 1) is ExitStatus.NOT_CONFORMANT


def test_a_row_is_run_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = filter_of(acct=EPERM), filter_of()
    monkeypatch.setattr(module, "outcome", lambda *_, **__: (FilterReturn(Action.ALLOW), False))
    with pytest.raises(InstrumentError, match="says that the filters differ, but they do"):
        difference(opened(left), opened(right), (), WIDTH)


def test_a_byte_order_is_the_machine_s() -> None:
    s390x = abis.ARCHES["s390x"]
    low_half = (
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 4),
        jump(bpf.JEQ, 1, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, ALLOW),
    )
    allow = (statement(bpf.RET_K, ALLOW),)
    left, right = (FilterStack("x", (program,), s390x) for program in (low_half, allow))
    lines = difference(left, right, [s390x], WIDTH).lines
    assert "if args[0] & 0xffffffff == 0x1" in lines[-1]
    assert "as with args (0x1, ...)" in lines[-1]
    assert (
        effect(run((low_half,), SeccompData(0, s390x.audit_arch, (1,)), big_endian=True))
        == Profile.ERRNO.returns
    )
