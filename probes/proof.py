"""Claims that an analysis of the programs decides: for all arguments, all numbers, all tokens."""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from probes import plan
from probes.action import Action, FilterReturn
from probes.arch import Arch
from probes.bpf import SeccompData
from probes.plan import Case, Scope
from probes.policy import Policy
from probes.prover import Analysis


@dataclass(frozen=True, slots=True)
class Deviation:
    """An input for which the programs return something else than they must.

    Attributes:
        number: the number.
        returns: what they return.
        data: the whole input; certain only where the analysis is exact.
        count: how many numbers deviate, this one among them.
    """

    number: int
    returns: FilterReturn
    data: SeccompData
    count: int


def expected(case: Case, profile_returns: FilterReturn) -> FilterReturn:
    """What the programs must return for everything that a case covers."""
    if case.cells[0].syscall == Scope.OTHER_CALLS:
        return FilterReturn(Action.ALLOW)
    return profile_returns


def deviation(
    case: Case, policy: Policy, analysis: Analysis, wanted: FilterReturn
) -> Deviation | None:
    """The first input that a case covers and that deviates; None where there is none.

    A number about which some kernels ask no filter stands for others only if there are none.
    """
    token, numbers = _covered(case, policy, analysis)
    found = [
        (number, value, count)
        for number, count in numbers(wanted)
        for value in sorted(analysis.returns(token, number))
        if not agrees(FilterReturn.decode(value), wanted)
    ]
    if not found:
        return None
    number, value, _ = min(found, key=lambda one: plan.is_exempt_number(case.arch, one[0]))
    data = analysis.witness(token, number, value) or SeccompData(number, token)
    by_number = {place: count for place, _, count in found}
    return Deviation(number, FilterReturn.decode(value), data, sum(by_number.values()))


def agrees(returns: FilterReturn, wanted: FilterReturn) -> bool:
    """Whether two returns have the same effect; only ERRNO's data has one."""
    if returns.action is not wanted.action:
        return False
    return returns.action is not Action.ERRNO or returns.data == wanted.data


_Numbers = Callable[[FilterReturn], Iterable[tuple[int, int]]]
"""Gives numbers to look at, each with how many numbers it stands for."""


def _covered(case: Case, policy: Policy, analysis: Analysis) -> tuple[int, _Numbers]:
    key, arch = case.cells[0], case.arch
    token = arch.audit_arch
    if key.syscall == Scope.OTHER_CALLS:
        return token, lambda _: [(number, 1) for number in sorted(plan.rest_of(policy, arch))]
    if key.syscall == Scope.UNKNOWN_NUMBERS:
        known = sorted(plan.known_to(arch))
        return token, lambda wanted: _suspects(analysis, arch, token, known, wanted)
    if key.syscall == Scope.OTHER_ARCHITECTURES:
        foreign = analysis.foreign_token()
        return foreign, lambda wanted: _suspects(analysis, None, foreign, (), wanted)
    return token, lambda _: [] if key.number is None else [(key.number, 1)]


def _suspects(
    analysis: Analysis,
    arch: Arch | None,
    token: int,
    known: Sequence[int],
    wanted: FilterReturn,
) -> Iterator[tuple[int, int]]:
    """The first number of each run of numbers that may deviate, without the known ones."""
    for part in analysis.numbers(token):
        if all(agrees(FilterReturn.decode(value), wanted) for value in part.returns):
            continue
        for first, last in gaps(part.first, part.last, known):
            for low, high in _own(arch, first, last):
                yield low, high - low + 1


def gaps(first: int, last: int, known: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The runs of numbers from first to last that are not among the known ones, which ascend."""
    for number in known[bisect.bisect_left(known, first) : bisect.bisect_right(known, last)]:
        if number > first:
            yield first, number - 1
        first = number + 1
    if first <= last:
        yield first, last


_X32_HALF = 1 << 30


def _own(arch: Arch | None, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The parts of a run that belong to the ABI; a bit decides where two share a token."""
    start = first
    while start <= last:
        end = min(last, start | (_X32_HALF - 1))
        if arch is None or plan.belongs_to(arch, start):
            yield start, end
        start = end + 1
