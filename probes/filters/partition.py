"""Divides an analysis into ranges of architectures, numbers and arguments that people read. Pure.

``probes.filters.prover`` answers for one architecture and number; here are the whole spaces: which
tokens are treated alike, where the numbers change, and the arguments of an outcome as comparisons.
"""
# ruff: noqa: SLF001 - the other half of prover.Analysis: it reads the diagrams that it made

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from probes.arch import X32_SYSCALL_BIT, Arch, belongs_to
from probes.errors import InstrumentError
from probes.filters import prover
from probes.filters.bdd import FALSE, TRUE, Diagrams
from probes.filters.bpf import U32, SeccompData
from probes.filters.prover import Analysis, NumberRange

ARGUMENTS: Final = 6
POINTER: Final = 6
"""The word of ``Masked`` and ``Between`` that stands for the instruction pointer."""

_WIDE_BITS: Final = 2 * prover.WORD_BITS
WIDE: Final = (1 << _WIDE_BITS) - 1
"""The highest 64-bit argument."""


@dataclass(frozen=True, slots=True)
class TokenClass:
    """Architecture tokens that a stack of filters treats exactly alike.

    Attributes:
        ranges: the tokens as ranges, first and last included, in order.
    """

    ranges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return sum(last - first + 1 for first, last in self.ranges)

    @property
    def example(self) -> int:
        """One of the tokens: the middle of the largest range, where no ABI's token is near."""
        first, last = max(self.ranges, key=lambda pair: pair[1] - pair[0])
        return (first + last) // 2

    def __contains__(self, token: int) -> bool:
        """Whether the token is among them."""
        return any(first <= token <= last for first, last in self.ranges)

    def tokens(self) -> tuple[int, ...]:
        """Every token, in order; only for small classes."""
        return tuple(token for first, last in self.ranges for token in range(first, last + 1))


def token_classes(analysis: Analysis) -> tuple[TokenClass, ...]:
    """All 2^32 tokens, those that are treated alike together; the smallest class first."""
    alike: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    outcomes = tuple(analysis.outcomes.values())
    for first, last, nodes in analysis._split(outcomes, prover._ARCH_BASE):
        alike.setdefault(nodes, []).append((first, last))
    classes = (TokenClass(tuple(ranges)) for ranges in alike.values())
    return tuple(sorted(classes, key=lambda one: (one.size, one.ranges)))


def unnamed_tokens(analysis: Analysis) -> tuple[int, ...]:
    """One token from each class of architectures that the filters do not name.

    Together they stand for every token but those of ``Analysis.tokens``.
    """
    found = []
    for one in token_classes(analysis):
        wide = tuple((first, last) for first, last in one.ranges if last - first > 1)
        if wide:
            found.append(TokenClass(wide).example)
    return tuple(found)


def number_ranges(analysis: Analysis, token: int) -> tuple[NumberRange, ...]:
    """All 2^32 numbers of an architecture in order.

    Finer than ``Analysis.numbers``: within a range the arguments matter in one and the same way.
    """
    below = {
        value: analysis._at(node, token, prover._ARCH_BASE)
        for value, node in analysis.outcomes.items()
    }
    return tuple(
        NumberRange(
            first,
            last,
            frozenset(value for value, node in zip(below, nodes, strict=True) if node != FALSE),
        )
        for first, last, nodes in analysis._split(tuple(below.values()), prover._NR_BASE)
    )


def share(arch: Arch) -> tuple[tuple[int, int], ...]:
    """The ranges of an ABI's token's numbers that are its own: a bit tells x32 from x86_64."""
    step = X32_SYSCALL_BIT
    return tuple(
        (first, first + step - 1) for first in range(0, U32 + 1, step) if belongs_to(arch, first)
    )


@dataclass(frozen=True, slots=True)
class Masked:
    """The comparison ``word & mask == value``.

    Attributes:
        word: which argument, 0 to 5; POINTER; above it a word that the analysis does not track.
        mask: the bits that are compared.
        value: what they must be.
    """

    word: int
    mask: int
    value: int

    def __str__(self) -> str:
        """The comparison as people write it."""
        name = _word_name(self.word)
        return f"{name if self.mask == WIDE else f'{name} & {self.mask:#x}'} == {self.value:#x}"


@dataclass(frozen=True, slots=True)
class Between:
    """The comparison ``first <= word <= last``, unsigned.

    Attributes:
        word: as in ``Masked``.
        first: the lowest value.
        last: the highest value, included.
        low_half: whether only the low 32 bits of the word are compared.
    """

    word: int
    first: int
    last: int
    low_half: bool = False

    def __str__(self) -> str:
        """The comparison as people write it."""
        highest = U32 if self.low_half else WIDE
        name = _word_name(self.word) + (f" & {U32:#x}" if self.low_half else "")
        if self.first == self.last:
            return f"{name} == {self.first:#x}"
        if self.first == 0:
            return f"{name} <= {self.last:#x}"
        if self.last == highest:
            return f"{name} >= {self.first:#x}"
        return f"{self.first:#x} <= {name} <= {self.last:#x}"


def _word_name(word: int) -> str:
    if word < ARGUMENTS:
        return f"args[{word}]"
    return "the instruction pointer" if word == POINTER else "a value that is not tracked"


Alternative = tuple[Masked | Between, ...]
"""Comparisons that hold together; none for "whatever the arguments"."""


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The arguments with which a call gets an outcome: one of the alternatives holds.

    Attributes:
        alternatives: the first of them; they do not overlap.
        complete: whether there are no others.
    """

    alternatives: tuple[Alternative, ...]
    complete: bool

    @property
    def always(self) -> bool:
        """Whether the arguments do not matter."""
        return () in self.alternatives

    def __str__(self) -> str:
        """The condition as people write it."""
        if self.always:
            return "whatever the arguments"
        words = [" and ".join(str(part) for part in parts) for parts in self.alternatives]
        if not self.complete:
            words.append("...")
        return ", or ".join(words)


def condition(
    analysis: Analysis, token: int, number: int, values: Collection[int], most: int = 8
) -> Alternatives | None:
    """The arguments with which a number returns one of the values, spelled out.

    Spelled out as ranges of values if that takes no more words than comparisons under masks.

    Args:
        analysis: the analysis of the filters.
        token: the architecture.
        number: the number.
        values: raw return values, taken together.
        most: how many alternatives are spelled out.

    Returns:
        The condition; None where the number returns none of them.
    """
    node = _set(analysis, token, number, values)
    if node == FALSE:
        return None
    masked = _masked(analysis._diagrams, node, most + 1)
    ranges = _ranges(analysis._diagrams, node, most + 1)
    chosen = ranges if ranges is not None and len(ranges) <= len(masked) else masked
    return Alternatives(tuple(chosen[:most]), len(chosen) <= most)


def example(analysis: Analysis, value: int) -> SeccompData:
    """A call that returns a value, on whatever architecture and number; only certain if exact.

    Raises:
        KeyError: no call returns it.
    """
    chosen = analysis._diagrams.member(analysis.outcomes[value]) or {}
    token, number = (
        sum(
            1 << (prover.WORD_BITS - 1 - place)
            for place in range(prover.WORD_BITS)
            if chosen.get(base + place)
        )
        for base in (prover._ARCH_BASE, prover._NR_BASE)
    )
    found = analysis.witness(token, number, value)
    if found is None:
        raise InstrumentError(f"the analysis lost the calls that return {value:#x}")
    return found


def _set(analysis: Analysis, token: int, number: int, values: Collection[int]) -> int:
    by_value: Mapping[int, int] = analysis._conditions(token, number)
    node = FALSE
    for value in values:
        node = analysis._diagrams.any_of(node, by_value.get(value, FALSE))
    return node


def _masked(diagrams: Diagrams, node: int, most: int) -> list[Alternative]:
    found: list[Alternative] = []
    for member in diagrams.members(node):
        bits: dict[int, tuple[int, int]] = {}
        for variable, yes in member.items():
            word, place = divmod(variable - prover._ARGS_BASE, _WIDE_BITS)
            bit = 1 << (_WIDE_BITS - 1 - place)
            mask, value = bits.get(word, (0, 0))
            bits[word] = (mask | bit, value | (bit if yes else 0))
        found.append(tuple(Masked(word, *pair) for word, pair in sorted(bits.items())))
        if len(found) == most:
            break
    return found


def _ranges(diagrams: Diagrams, node: int, most: int) -> list[Alternative] | None:
    """The set as ranges of words that hold together; None where there would be too many."""
    if node == TRUE:
        return [()]
    bits = diagrams.support(node)
    word, place = divmod(min(bits) - prover._ARGS_BASE, _WIDE_BITS)
    base = prover._ARGS_BASE + word * _WIDE_BITS
    low_half = place >= prover.WORD_BITS
    start = base + prover.WORD_BITS if low_half else base
    found: list[Alternative] = []
    parts = _intervals(diagrams, node, start, base + _WIDE_BITS)
    for count, (first, last, rest) in enumerate(parts):
        if count == 2 * most:  # every other range may be empty
            return None
        if rest == FALSE:
            continue
        below = _ranges(diagrams, rest, most)
        if below is None or len(found) + len(below) > most:
            return None
        found += [(Between(word, first, last, low_half), *others) for others in below]
    return found


def _intervals(
    diagrams: Diagrams, node: int, start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """The ranges of a word's values, in order, each with what is left of the set there.

    The word is the variables from start to before end.
    """
    pending = [(start, 0, node)]
    last: tuple[int, int, int] | None = None
    while pending:
        place, first, now = pending.pop()
        if diagrams.variable_of(now) >= end:
            final = first + (1 << (end - place)) - 1
            if last is not None and last[2] == now:
                last = (last[0], final, now)
                continue
            if last is not None:
                yield last
            last = (first, final, now)
            continue
        no = yes = now
        if diagrams.variable_of(now) == place:
            no, yes = diagrams.branches(now)
        pending.append((place + 1, first + (1 << (end - 1 - place)), yes))
        pending.append((place + 1, first, no))
    if last is not None:
        yield last
