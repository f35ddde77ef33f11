"""Where two stacks of filters treat a call differently: for every token, number, argument. Pure.

Each is analyzed by itself; then what they return is brought into one store of diagrams, where equal
sets are equal numbers. So the comparison is as exact as the analyses are.
"""
# ruff: noqa: SLF001 - it reads the diagrams that prover.Analysis made, as partition does

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes import bpf, prover
from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.bdd import FALSE, TRUE, Diagrams, TooLargeError
from probes.bpf import Program, SeccompData
from probes.prover import NODE_LIMIT, Analysis, TooComplexError


@dataclass(frozen=True, slots=True)
class Pair:
    """What two stacks of filters do about the same call.

    Attributes:
        left: what the first one does.
        right: what the second one does.
    """

    left: FilterReturn
    right: FilterReturn

    @property
    def differs(self) -> bool:
        """Whether they do different things."""
        return self.left != self.right


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two stacks of filters side by side.

    Attributes:
        pairs: what the two do, for each way in which they go together.
        analysis: what inputs lead to which pair; its return values are indices into ``pairs``.
    """

    pairs: tuple[Pair, ...]
    analysis: Analysis

    @property
    def exact(self) -> bool:
        """Whether every difference that is told is one."""
        return self.analysis.exact

    @property
    def differing(self) -> frozenset[int]:
        """The indices of the pairs that differ; empty only if the two are equal, exact or not."""
        return frozenset(index for index in self.analysis.outcomes if self.pairs[index].differs)


def effect(value: int) -> FilterReturn:
    """What the kernel makes of a raw return value; equal effects cannot be told apart.

    The data counts where somebody sees it: the errno, clamped as the kernel clamps it, the si_errno
    of TRAP's signal, and the message of TRACE's event. Nobody sees it for any other action.
    """
    decoded = FilterReturn.decode(value)
    if decoded.action is Action.ERRNO:
        return FilterReturn(decoded.action, min(decoded.data, MAX_ERRNO))
    if decoded.action in {Action.TRAP, Action.TRACE}:
        return decoded
    return FilterReturn(decoded.action)


def run(programs: Sequence[Program], data: SeccompData, *, big_endian: bool = False) -> int:
    """The raw value that the kernel heeds of those that a stack of filters returns.

    Args:
        programs: the filters, the oldest first.
        data: the call.
        big_endian: the byte order of the machine.
    """
    heeded = bpf.simulate(programs[0], data, big_endian=big_endian)
    for program in programs[1:]:
        newer = bpf.simulate(program, data, big_endian=big_endian)
        heeded = prover._winner(heeded, newer)
    return heeded


def compare(
    left: Sequence[Program],
    right: Sequence[Program],
    *,
    big_endian: bool = False,
    limit: int = NODE_LIMIT,
) -> Comparison:
    """Compares two stacks of filters for every input.

    Args:
        left: the first stack, its oldest filter first; each must pass ``bpf.check``.
        right: the second stack.
        big_endian: the byte order of the machine.
        limit: how many nodes the diagrams may have.

    Raises:
        TooComplexError: the diagrams outgrew the limit.
        IllegalProgramError: the kernel would not take a program.
        ValueError: a stack is empty.
    """
    of_left = prover.analyze(left, big_endian=big_endian, limit=limit)
    of_right = prover.analyze(right, big_endian=big_endian, limit=limit)
    diagrams = Diagrams(limit)
    try:
        ours = _effects(diagrams, _copied(of_left, diagrams, apart=0))
        theirs = _effects(diagrams, _copied(of_right, diagrams, apart=_APART))
        sets = {
            Pair(a, b): diagrams.both(in_a, in_b)
            for a, in_a in ours.items()
            for b, in_b in theirs.items()
        }
    except (TooLargeError, RecursionError) as error:
        raise TooComplexError(f"the comparison outgrew its bound ({error})") from error
    met = {pair: node for pair, node in sets.items() if node != FALSE}
    pairs = tuple(sorted(met, key=lambda pair: (pair.left.value, pair.right.value)))
    outcomes = {index: met[pair] for index, pair in enumerate(pairs)}
    inexact = [f"{side}, {words}" for side, words in _inexact(of_left, of_right)]
    return Comparison(pairs, Analysis(diagrams, outcomes, inexact))


_APART: Final = 1 << 24
"""Added to what one analysis does not track, so that the other one's unknowns are not the same."""


def _copied(analysis: Analysis, store: Diagrams, *, apart: int) -> dict[int, int]:
    """An analysis' outcomes in another store."""
    source = analysis._diagrams
    reached: set[int] = set()
    waiting = list(analysis.outcomes.values())
    while waiting:
        node = waiting.pop()
        if node > TRUE and node not in reached:
            reached.add(node)
            waiting += source.branches(node)
    copies = {FALSE: FALSE, TRUE: TRUE}
    for node in sorted(reached):  # a node is younger than its branches
        variable = source.variable_of(node)
        no, yes = source.branches(node)
        known = variable < prover._UNKNOWN_BASE
        copies[node] = store.node(variable if known else variable + apart, copies[no], copies[yes])
    return {value: copies[node] for value, node in analysis.outcomes.items()}


def _effects(diagrams: Diagrams, outcomes: Mapping[int, int]) -> dict[FilterReturn, int]:
    """The inputs by effect: raw values that do the same are taken together."""
    found: dict[FilterReturn, int] = {}
    for value, node in outcomes.items():
        key = effect(value)
        found[key] = diagrams.any_of(found.get(key, FALSE), node)
    return found


def _inexact(left: Analysis, right: Analysis) -> list[tuple[str, str]]:
    return [
        (side, words)
        for side, analysis in (("the first", left), ("the second", right))
        for words in analysis.inexact
    ]
