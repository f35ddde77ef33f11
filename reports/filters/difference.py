"""Two stacks of filters side by side: where they do different things, with examples. Pure."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.arch import Arch
from probes.errors import ExitStatus, InstrumentError
from probes.filters import partition
from probes.filters.bpf import SeccompData
from probes.filters.comparison import Pair, StackComparison, compare, outcome
from probes.filters.partition import Alternatives
from probes.filters.prover import TooComplexError
from probes.finding import weighty
from probes.targets.stack import FilterStack
from reports.filters import overview, places, way
from reports.filters.places import Numbers, Place
from reports.filters.way import INDENT, wrapped


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """Numbers about which two stacks of filters differ in one way.

    Attributes:
        place: where.
        numbers: the numbers.
        pair: what the two do.
        condition: the arguments with which they do; None where these do not matter.
        example: a call with which both were run, and did so.
    """

    place: Place
    numbers: Numbers
    pair: Pair
    condition: Alternatives | None
    example: SeccompData


@dataclass(frozen=True, slots=True)
class StackDifference:
    """What the comparison of one stack of A with one stack of B came to.

    Attributes:
        status: as in ``DifferenceReport``.
        sentence: what it came to.
        where: what was looked at, in the order of a report; () where that cannot be told apart.
        rows: the differences, place by place.
        doubts: why the analysis is not exact; () where it is.
    """

    status: ExitStatus
    sentence: str
    where: tuple[Place, ...] = ()
    rows: tuple[DifferenceRow, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparedStacks:
    """A stack of A and a stack of B, and what their comparison came to.

    Attributes:
        left: the stack of A.
        right: the stack of B.
        names: what the two are called.
        found: what the comparison came to.
    """

    left: FilterStack
    right: FilterStack
    names: tuple[str, str]
    found: StackDifference


@dataclass(frozen=True, slots=True)
class DifferenceReport:
    """What the comparison of two targets came to.

    Attributes:
        status: CONFORMANT for equal, NOT_CONFORMANT for different, CANNOT_TELL where what was
            compared is equal and is not all, BROKEN for no proof.
        lines: what a reader is told.
        parts: every stack of A compared with every stack of B.
        sentence: what it came to, in one sentence.
    """

    status: ExitStatus
    lines: tuple[str, ...]
    parts: tuple[ComparedStacks, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class _Sides:
    left: FilterStack
    right: FilterStack

    def confirmed(self, pair: Pair, data: SeccompData) -> bool:
        """Whether the filters themselves do what a pair says."""
        (left, left_recorded), (right, right_recorded) = (
            outcome(side.programs, data, side.logged, big_endian=side.native.big_endian)
            for side in (self.left, self.right)
        )
        return Pair(left, right, left_recorded, right_recorded) == pair


def rows(
    comparison: StackComparison, left: FilterStack, right: FilterStack, where: Sequence[Place]
) -> tuple[DifferenceRow, ...]:
    """Every difference, place by place; each is confirmed by running the filters.

    Raises:
        TooComplexError: too many tokens or numbers are told apart.
        InstrumentError: the filters do not do what an exact analysis says.
    """
    sides = _Sides(left, right)
    return tuple(row for place in where for row in _rows_of(comparison, sides, place))


def _rows_of(comparison: StackComparison, sides: _Sides, place: Place) -> Iterator[DifferenceRow]:
    """The differences on one architecture; numbers with the same pair and condition share a row."""
    found: dict[tuple[int, str], tuple[list[Numbers], Alternatives | None, SeccompData]] = {}
    for part in partition.number_ranges(comparison.analysis, place.token):
        indices = sorted(part.returns & comparison.differing)
        numbers = places.within(place, part.first, part.last) if indices else Numbers((), ())
        if not numbers.named and not numbers.unknown:
            continue
        for index in indices:
            example = _confirmed(comparison, sides, place.token, numbers.first, index)
            if example is None:
                continue
            condition = None
            if len(part.returns) > 1:
                condition = partition.condition(
                    comparison.analysis, place.token, numbers.first, {index}
                )
            key = (index, "" if condition is None else str(condition))
            found.setdefault(key, ([], condition, example))[0].append(numbers)
    for (index, _), (parts, condition, example) in found.items():
        yield DifferenceRow(
            place, places.together(parts), comparison.pairs[index], condition, example
        )


def _confirmed(
    comparison: StackComparison, sides: _Sides, token: int, number: int, index: int
) -> SeccompData | None:
    """A call about which the two differ; None where an analysis that is not exact was wrong."""
    example = comparison.analysis.witness(token, number, index)
    if example is not None and sides.confirmed(comparison.pairs[index], example):
        return example
    if comparison.exact:
        raise InstrumentError(
            f"number {number:#x} of architecture {token:#x}: the analysis says that the filters "
            f"differ, but they do not"
        )
    return None


def difference(
    left: FilterStack, right: FilterStack, wanted: Sequence[Arch], width: int
) -> DifferenceReport:
    """Compares two targets; where they have several stacks of filters, every one with every one.

    Args:
        left: the one that is called A.
        right: the one that is called B.
        wanted: the only ABIs to look at; empty for everything.
        width: how long a line may be.

    Raises:
        TooComplexError: there is no proof, nor a difference that is certain.
        InstrumentError: the analysis contradicts the filters.
    """
    lines = _headline(left, right, width)
    pairs = list(itertools.product(_parts("A", left), _parts("B", right)))
    if len(pairs) == 1:
        found = _of_stacks(left, right, wanted)
        one = ComparedStacks(left, right, ("A", "B"), found)
        lines += _part_lines(found, width)
        return DifferenceReport(found.status, tuple(lines), (one,), found.sentence)
    parts = []
    for (one_name, ours), (other_name, theirs) in pairs:
        part = _told(ours, theirs, wanted)
        parts.append(ComparedStacks(ours, theirs, (one_name, other_name), part))
        lines += ["", *wrapped(f"{one_name} and {other_name}", width), *_part_lines(part, width)]
    status = next(one for one in _GRAVEST_FIRST if any(part.found.status is one for part in parts))
    lines += ["", *wrapped(_SUMS[status], width)]
    return DifferenceReport(status, tuple(lines), tuple(parts), _SUMS[status])


_GRAVEST_FIRST: Final = (
    ExitStatus.NOT_CONFORMANT,
    ExitStatus.BROKEN,
    ExitStatus.CANNOT_TELL,
    ExitStatus.CONFORMANT,
)
_SUMS: Final = {
    ExitStatus.NOT_CONFORMANT: "Taken together: not every stack of A is equal to every stack of B.",
    ExitStatus.BROKEN: "Taken together: not every stack of A is proved equal to every stack of B.",
    ExitStatus.CANNOT_TELL: "Taken together: what was compared is equal, but is not all.",
    ExitStatus.CONFORMANT: "Taken together: every stack of A is equal to every stack of B.",
}


def _parts(letter: str, opened: FilterStack) -> list[tuple[str, FilterStack]]:
    """The stacks of filters of a target, each with what it is called."""
    if not opened.further:
        return [(letter, opened)]
    return [
        (f"{letter}, stack {number} ({part.description})", part)
        for number, part in enumerate(opened.members, 1)
    ]


def _told(left: FilterStack, right: FilterStack, wanted: Sequence[Arch]) -> StackDifference:
    """Compares two of several stacks; a pair that cannot be proved ends only its own comparison."""
    try:
        return _of_stacks(left, right, wanted)
    except TooComplexError as error:
        return StackDifference(ExitStatus.BROKEN, f"There is no proof: {error}.")


def _of_stacks(left: FilterStack, right: FilterStack, wanted: Sequence[Arch]) -> StackDifference:
    """Compares two stacks of filters.

    Raises:
        TooComplexError: there is no proof, nor a difference that is certain.
        InstrumentError: the analysis contradicts the filters.
    """
    comparison = compare(
        left.programs,
        right.programs,
        logged=(left.logged, right.logged),
        big_endian=left.native.big_endian,
    )
    if not comparison.differing:
        return _no_difference(comparison, _Sides(left, right), wanted)
    try:
        where = places.places(comparison.analysis, left.native, wanted)
        found = rows(comparison, left, right, where)
    except TooComplexError:
        if wanted:
            raise
        return _beyond_counting(comparison, _Sides(left, right))
    if not found:
        if comparison.exact and not wanted:
            raise InstrumentError("the analysis says that the filters differ, but not where")
        return _no_difference(comparison, _Sides(left, right), wanted)
    said = f"A and B differ {_scope(wanted)}"
    doubts = _doubts(comparison)
    return StackDifference(ExitStatus.NOT_CONFORMANT, said, where, found, doubts)


def _part_lines(part: StackDifference, width: int) -> list[str]:
    """What the comparison of two stacks came to, as lines."""
    colon = ":" if part.rows else ""
    lines = ["", *wrapped(f"{part.sentence}{colon}", width)]
    for place in part.where:
        lines += _place_lines(place, [row for row in part.rows if row.place == place], width)
    if part.doubts and part.rows:
        lines += ["", *wrapped("There may be more differences: the analysis is not exact.", width)]
    for words in part.doubts:
        lines += wrapped(f"- {words}", width, INDENT, INDENT * 2)
    return lines


def _headline(left: FilterStack, right: FilterStack, width: int) -> list[str]:
    lines = []
    for letter, opened in (("A", left), ("B", right)):
        lines += wrapped(f"{letter}  {opened.description}", width, "", INDENT)
        for finding in opened.findings:
            lines += wrapped(f"- {finding.line}", width, INDENT * 2, INDENT * 3)
    return lines


def _scope(wanted: Sequence[Arch]) -> str:
    return f"on {', '.join(arch.name for arch in wanted)}" if wanted else "here"


def _no_difference(
    comparison: StackComparison, sides: _Sides, wanted: Sequence[Arch]
) -> StackDifference:
    if not comparison.exact:
        said = "No difference was found, but that is no proof: the analysis is not exact."
        return StackDifference(ExitStatus.BROKEN, said, doubts=_doubts(comparison))
    where = f"on {', '.join(arch.name for arch in wanted)}" if wanted else "on every architecture"
    if weighty((*sides.left.findings, *sides.right.findings)):
        said = (
            f"What was compared of A and B is equal {where}, but a finding says that they are more"
            " than that: cannot tell."
        )
        return StackDifference(ExitStatus.CANNOT_TELL, said)
    said = f"A and B are equal {where}, for every number and all arguments: proved."
    return StackDifference(ExitStatus.CONFORMANT, said)


def _doubts(comparison: StackComparison) -> tuple[str, ...]:
    return () if comparison.exact else tuple(comparison.analysis.inexact)


def _beyond_counting(comparison: StackComparison, sides: _Sides) -> StackDifference:
    """Filters that differ in more places than can be told apart: one of them.

    Raises:
        TooComplexError: no difference is certain.
    """
    for index in sorted(comparison.differing):
        data = partition.example(comparison.analysis, index)
        pair = comparison.pairs[index]
        if sides.confirmed(pair, data):
            in_a, in_b = pair.words
            said = (
                f"A and B differ in more places than can be listed; one is number {data.nr:#x} on "
                f"architecture {data.arch:#x} with {way.arguments_text(data)}: {in_a} in A, "
                f"{in_b} in B"
            )
            return StackDifference(ExitStatus.NOT_CONFORMANT, said)
    raise TooComplexError("the filters tell too many numbers apart")


def _place_lines(place: Place, found: Sequence[DifferenceRow], width: int) -> list[str]:
    """The table of a place; nothing where the two agree."""
    if not found:
        return []
    one, two = (
        max(2, *map(len, sides)) for sides in zip(*(row.pair.words for row in found), strict=True)
    )
    lines = ["", *wrapped(place.heading, width), f"{INDENT}{'A':<{one}}  {'B':<{two}}"]
    for row in found:
        in_a, in_b = row.pair.words
        lead = f"{INDENT}{in_a:<{one}}  {in_b:<{two}}  "
        lines += wrapped(_row_text(row), width, lead, " " * len(lead))
    return [line.rstrip() for line in lines]


def _row_text(row: DifferenceRow) -> str:
    numbers = overview.group_text(row.place, row.numbers)
    if row.condition is None:
        return numbers
    return f"{numbers}; if {row.condition}, as with {way.arguments_text(row.example)}"
