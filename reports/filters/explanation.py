"""What a stack of filters does, as data from which documents and pages are made. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from probes.action import FilterReturn
from probes.filters.bpf import SeccompData
from probes.filters.comparison import effect, run
from probes.filters.partition import Alternatives
from probes.filters.prover import Analysis
from probes.targets.stack import FilterStack
from reports.filters import overview
from reports.filters.overview import Section
from reports.filters.places import Place

DEPENDS = "depends on the arguments"
"""What stands in the place of an action that a number does not always get."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """Something that a call may get.

    Attributes:
        returns: what the kernel does.
        condition: the arguments with which it does; None where one call with its arguments is
            looked at.
        words: the same as a sentence has it.
        example: one such call.
    """

    returns: FilterReturn
    condition: Alternatives | None
    words: str
    example: SeccompData


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """A number of one place, with all that it may get.

    Attributes:
        place: the place.
        number: the number.
        outcomes: what it may get, the shortest condition first.
    """

    place: Place
    number: int
    outcomes: tuple[CallOutcome, ...]


@dataclass(frozen=True, slots=True)
class StackExplanation:
    """What one stack of filters does.

    Attributes:
        stack: the filters; with findings about bits that the kernel does not read.
        doubts: why the analysis is not exact; () where it is.
        sections: every number, place by place; () where one call was asked about.
        calls: the call that was asked about, place by place; () where none was.
    """

    stack: FilterStack
    doubts: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    calls: tuple[ExplainedCall, ...] = ()


def of_everything(
    stack: FilterStack, analysis: Analysis, where: Sequence[Place]
) -> StackExplanation:
    """What a stack does with every number of some places.

    Raises:
        TooComplexError: the filters tell too many tokens or numbers apart.
    """
    told = overview.with_unread(stack, analysis)
    return StackExplanation(told, _doubts(analysis), overview.sections(analysis, where))


def of_call(
    stack: FilterStack, analysis: Analysis, spots: Sequence[tuple[Place, int]]
) -> StackExplanation:
    """What a stack does with one call, whatever its arguments.

    Args:
        stack: the filters.
        analysis: what they do.
        spots: the places where the call is, each with its number there.
    """
    calls = tuple(
        ExplainedCall(place, number, tuple(_outcomes(analysis, place, number)))
        for place, number in spots
    )
    told = overview.with_unread(stack, analysis)
    return StackExplanation(told, _doubts(analysis), calls=calls)


def _outcomes(analysis: Analysis, place: Place, number: int) -> Iterator[CallOutcome]:
    found = overview.outcomes(analysis, place.token, number)
    told = overview.outcome_texts(found, exact=analysis.exact)
    for one, words in zip(found, told, strict=True):
        yield CallOutcome(one.returns, one.condition, words, one.example)


def of_arguments(
    stack: FilterStack, spots: Sequence[tuple[Place, int]], values: tuple[int, ...]
) -> StackExplanation:
    """What a stack does with one call of given arguments, which needs no proof.

    Args:
        stack: the filters.
        spots: the places where the call is, each with its number there.
        values: its six arguments.
    """
    calls = []
    for place, number in spots:
        data = SeccompData(number, place.token, values)
        returns = effect(run(stack.programs, data, big_endian=stack.native.big_endian))
        calls.append(
            ExplainedCall(place, number, (CallOutcome(returns, None, str(returns), data),))
        )
    return StackExplanation(stack, (), calls=tuple(calls))


def _doubts(analysis: Analysis) -> tuple[str, ...]:
    return () if analysis.exact else tuple(analysis.inexact)


def returns_at(section: Section, number: int) -> FilterReturn | None:
    """What a number of a place gets; None where that depends on its arguments."""
    for returns, numbers in section.groups:
        if numbers.holds(number):
            return returns
    return None


def answers(section: Section, names: Sequence[str]) -> dict[str, FilterReturn | None]:
    """What calls of a place get, by name; calls that it does not have are left out."""
    arch = section.place.arch
    if arch is None:
        return {}
    found = {name: number for name in names if (number := arch.number(name)) is not None}
    return {name: returns_at(section, number) for name, number in found.items()}
