"""A stack of filters as people read it: by architecture and action, in names, and why. Pure."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from probes.action import FilterReturn
from probes.errors import InstrumentError
from probes.filters import partition, prover, unread
from probes.filters.bpf import SeccompData
from probes.filters.comparison import effect, run
from probes.filters.partition import Alternatives
from probes.filters.prover import Analysis
from probes.targets.stack import FilterStack
from reports.filters import places, way
from reports.filters.places import Numbers, Place
from reports.filters.way import INDENT, wrapped

_MOST_RANGES = 12


@dataclass(frozen=True, slots=True)
class PossibleReturn:
    """A return value that a call may get, and the arguments with which it gets it.

    Attributes:
        returns: what the kernel does.
        condition: the arguments with which it does.
        example: one such call.
    """

    returns: FilterReturn
    condition: Alternatives
    example: SeccompData


@dataclass(frozen=True, slots=True)
class Section:
    """The numbers of one architecture, by what a stack of filters does with them.

    Attributes:
        place: the place.
        groups: the numbers by what happens to them whatever their arguments.
        dependent: the numbers whose arguments matter, with what may happen, together where it is
            the same.
    """

    place: Place
    groups: tuple[tuple[FilterReturn, Numbers], ...]
    dependent: tuple[tuple[Numbers, tuple[PossibleReturn, ...]], ...]


def sections(analysis: Analysis, where: Iterable[Place]) -> tuple[Section, ...]:
    """Reads an analysis, place by place.

    Raises:
        TooComplexError: the filters tell too many numbers apart.
    """
    return tuple(_section(analysis, place) for place in where)


def _section(analysis: Analysis, place: Place) -> Section:
    groups: dict[FilterReturn, list[Numbers]] = {}
    dependent: dict[tuple[tuple[FilterReturn, str], ...], list[Numbers]] = {}
    possible: dict[tuple[tuple[FilterReturn, str], ...], tuple[PossibleReturn, ...]] = {}
    for part in partition.number_ranges(analysis, place.token):
        numbers = places.within(place, part.first, part.last)
        if not numbers.named and not numbers.unknown:
            continue
        effects = {effect(value) for value in part.returns}
        if len(effects) == 1:
            groups.setdefault(effects.pop(), []).append(numbers)
        else:
            found = outcomes(analysis, place.token, numbers.first)
            key = tuple((one.returns, str(one.condition)) for one in found)
            dependent.setdefault(key, []).append(numbers)
            possible.setdefault(key, found)
    return Section(
        place,
        tuple(
            (returns, places.together(parts))
            for returns, parts in sorted(groups.items(), key=lambda item: -item[0].action)
        ),
        tuple((places.together(parts), possible[key]) for key, parts in dependent.items()),
    )


def outcomes(analysis: Analysis, token: int, number: int) -> tuple[PossibleReturn, ...]:
    """What may happen to a number, the shortest condition first."""
    by_effect: dict[FilterReturn, list[int]] = {}
    for value in sorted(analysis.returns(token, number)):
        by_effect.setdefault(effect(value), []).append(value)
    found = []
    for returns, values in by_effect.items():
        condition = partition.condition(analysis, token, number, values)
        example = analysis.witness(token, number, values[0])
        if condition is None or example is None:
            raise InstrumentError(f"number {number:#x} has an outcome without a condition")
        found.append(PossibleReturn(returns, condition, example))
    found.sort(key=lambda one: (len(one.condition.alternatives), -one.returns.action))
    return tuple(found)


def overview(
    opened: FilterStack, analysis: Analysis, where: Sequence[Place], width: int
) -> list[str]:
    """What a target does with every call, as lines.

    Args:
        opened: the target.
        analysis: what its filters do.
        where: the places to show.
        width: how long a line may be.

    Raises:
        TooComplexError: the filters tell too many tokens or numbers apart.
    """
    lines = [*headline(with_unread(opened, analysis), width), *inexactness(analysis, width)]
    for section in sections(analysis, where):
        lines += ["", *_section_lines(section, analysis, width)]
    return lines


def with_unread(opened: FilterStack, analysis: Analysis) -> FilterStack:
    """The target, its findings with those about bits that the kernel does not read."""
    found = unread.findings(analysis, opened.native)
    return replace(opened, findings=(*opened.findings, *found))


def headline(opened: FilterStack, width: int) -> list[str]:
    """What the target is, and its findings."""
    lines = wrapped(f"{opened.description}: {_stack_text(opened)}", width)
    if opened.findings:
        lines += ["", "findings"]
        for finding in opened.findings:
            lines += wrapped(f"- {finding.line}", width, INDENT, INDENT * 2)
    return lines


def _stack_text(opened: FilterStack) -> str:
    """How many filters there are, how long they are, and which of them log what they do."""
    lengths = [f"{len(program):,}" for program in opened.programs]
    if not lengths:
        return "no filter, so that everything is allowed"
    marks = [
        f"{length} (SECCOMP_FILTER_FLAG_LOG)" if is_logged else length
        for length, is_logged in itertools.zip_longest(lengths, opened.logged)
    ]
    if len(lengths) > 1:
        return f"{len(lengths)} filters, the oldest first, of {', '.join(marks)} instructions"
    flag = " (SECCOMP_FILTER_FLAG_LOG)" if any(opened.logged) else ""
    return f"one filter of {lengths[0]} instructions{flag}"


def inexactness(analysis: Analysis, width: int) -> list[str]:
    """Why the analysis is not exact, as lines; no line where it is."""
    if analysis.exact:
        return []
    lines = ["", "no proof: what is shown as possible need not be, for the analysis is not exact"]
    for words in analysis.inexact:
        lines += wrapped(f"- {words}", width, INDENT, INDENT * 2)
    return lines


def _section_lines(section: Section, analysis: Analysis, width: int) -> list[str]:
    place = section.place
    lines = wrapped(place.heading, width)
    room = max((len(str(returns)) for returns, _ in section.groups), default=0) + 2
    for returns, numbers in section.groups:
        lead = f"{INDENT}{returns!s:<{room}}"
        lines += wrapped(group_text(place, numbers), width, lead, " " * len(lead))
    if section.dependent:
        lines.append(f"{INDENT}by arguments")
        for numbers, found in section.dependent:
            text = ", ".join(_number_texts(place, numbers))
            lines += wrapped(text, width, INDENT * 2, INDENT * 3)
            for text in outcome_texts(found, exact=analysis.exact):
                lines += wrapped(text, width, INDENT * 3, INDENT * 4)
    return lines


def group_text(place: Place, numbers: Numbers) -> str:
    """Some of the numbers of a place in words: names, and what else there is."""
    if numbers == places.everything(place):
        return "every number"
    named = sorted(_name(place, number) for number in numbers.named)
    count = "1 call: " if len(named) == 1 else f"{len(named):,} calls: "
    words = [f"{count}{', '.join(named)}"] if named else []
    unknown = list(places.unknown_texts(place, numbers, _MOST_RANGES))
    if unknown and named:
        words.append(f"and {', '.join(unknown)}")
    elif unknown:
        words.append(", ".join(unknown))
    return "; ".join(words)


def _name(place: Place, number: int) -> str:
    return (place.arch.name_of(number) if place.arch else None) or f"{number:#x}"


def _number_texts(place: Place, numbers: Numbers) -> Iterator[str]:
    for number in numbers.named:
        yield places.number_text(place, number)
    yield from places.unknown_texts(place, numbers, _MOST_RANGES)


def outcome_texts(found: Sequence[PossibleReturn], *, exact: bool) -> Iterator[str]:
    """Each outcome with its condition; the last one's is "otherwise", which is exact then."""
    for place, one in enumerate(found):
        if one.condition.always and len(found) == 1:
            yield f"{one.returns}, whatever the arguments"
        elif exact and place == len(found) - 1:
            yield f"{one.returns} otherwise, as with {way.arguments_text(one.example)}"
        else:
            may = "if" if exact else "perhaps if"
            example = (
                "" if one.condition.complete else f", as with {way.arguments_text(one.example)}"
            )
            yield f"{one.returns} {may} {one.condition}{example}"


def number_lines(
    opened: FilterStack, analysis: Analysis, place: Place, number: int, width: int
) -> list[str]:
    """Why a number gets its return values: for each, the instructions that an example runs through.

    Raises:
        InstrumentError: the filters do not do what the analysis says.
    """
    text = f"{places.number_text(place, number)} on {place.title}"
    found = outcomes(analysis, place.token, number)
    depends = "" if len(found) == 1 else " depends on the arguments"
    lines = wrapped(f"{text}{depends}:", width)
    big_endian = opened.native.big_endian
    for one, words in zip(found, outcome_texts(found, exact=analysis.exact), strict=True):
        got = effect(run(opened.programs, one.example, big_endian=big_endian))
        if analysis.exact and got != one.returns:
            raise InstrumentError(
                f"{text} with {way.arguments_text(one.example)}: the analysis says {one.returns}, "
                f"but the filters return {got}"
            )
        lines += wrapped(words, width, INDENT, INDENT * 2)
        if len(found) > 1:
            lines += wrapped(f"the way of {way.arguments_text(one.example)}:", width, INDENT * 2)
        lines += way.path_lines(opened, one.example)
    return lines


def call_lines(opened: FilterStack, place: Place, data: SeccompData, width: int) -> list[str]:
    """What one call with given arguments gets, and the instructions that it runs through."""
    returns = effect(run(opened.programs, data, big_endian=opened.native.big_endian))
    text = f"{places.number_text(place, data.nr)} on {place.title} with {way.arguments_text(data)}"
    return [*wrapped(f"{text}: {returns}", width), *way.path_lines(opened, data)]


def analyze(opened: FilterStack) -> Analysis:
    """The analysis of a target.

    Raises:
        TooComplexError: there is none.
    """
    return prover.analyze(opened.programs, big_endian=opened.native.big_endian)
