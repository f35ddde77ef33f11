"""Where two stacks of filters treat a call differently: for every token, number, argument. Pure.

Each is analyzed by itself; then what they return is brought into one store of diagrams, where equal
sets are equal numbers. So the comparison is as exact as the analyses are.
"""
# ruff: noqa: SLF001 - it reads the diagrams that prover.Analysis made, as partition does

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.filters import bpf, prover
from probes.filters.bdd import FALSE, TRUE, Diagrams, TooLargeError
from probes.filters.bpf import Program, SeccompData
from probes.filters.prover import ALLOWED, NODE_LIMIT, RECORDED, Analysis, TooComplexError


@dataclass(frozen=True, slots=True)
class Pair:
    """The effects of two stacks of filters on the same call.

    Attributes:
        left: the effect of the first stack.
        right: the effect of the second stack.
        left_recorded: whether the kernel records that because the first one's filter says so.
        right_recorded: whether the kernel records that because the second one's filter says so.
    """

    left: FilterReturn
    right: FilterReturn
    left_recorded: bool = False
    right_recorded: bool = False

    @property
    def differs(self) -> bool:
        """Whether they do different things."""
        return (self.left, self.left_recorded) != (self.right, self.right_recorded)

    @property
    def words(self) -> tuple[str, str]:
        """Both effects in words: that of the first stack, then that of the second."""
        return _in_words(self.left, self.left_recorded), _in_words(self.right, self.right_recorded)


def _in_words(returns: FilterReturn, is_recorded: bool) -> str:  # noqa: FBT001 - a field of Pair
    return f"{returns}, recorded" if is_recorded else str(returns)


@dataclass(frozen=True, slots=True)
class StackComparison:
    """Two stacks of filters side by side.

    Attributes:
        pairs: the pairs of effects that some call has, each once.
        analysis: what inputs lead to which pair; its return values are indices into ``pairs``.
    """

    pairs: tuple[Pair, ...]
    analysis: Analysis

    @property
    def exact(self) -> bool:
        """Whether every difference that is reported is a real one."""
        return self.analysis.exact

    @property
    def differing(self) -> frozenset[int]:
        """The indices of the pairs that differ; empty only if the two are equal, exact or not."""
        return frozenset(index for index in self.analysis.outcomes if self.pairs[index].differs)


def effect(value: int) -> FilterReturn:
    """What a raw return value makes the kernel do; equal effects cannot be told apart.

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
        programs: the filters, the oldest first; without any the call is allowed.
        data: the call.
        big_endian: the byte order of the machine.
    """
    heeded = ALLOWED
    for program in programs:
        newer = bpf.simulate(program, data, big_endian=big_endian)
        heeded = prover._winner(heeded, newer)
    return heeded


def outcome(
    programs: Sequence[Program],
    data: SeccompData,
    logged: Sequence[bool],
    *,
    big_endian: bool = False,
) -> tuple[FilterReturn, bool]:
    """The effect of a stack of filters on a call, and whether a filter's flag has it recorded.

    Args:
        programs: the filters, the oldest first.
        data: the call.
        logged: for each of them whether it has SECCOMP_FILTER_FLAG_LOG; () where none has.
        big_endian: the byte order of the machine.
    """
    heeded = ALLOWED
    for program, is_logged in zip(programs, logged or (False,) * len(programs), strict=True):
        value = bpf.simulate(program, data, big_endian=big_endian)
        heeded = prover._winner(heeded, prover.recorded(value) if is_logged else value)
    return _effect(heeded)


Flags = tuple[Sequence[bool], Sequence[bool]]
"""For each filter of two stacks whether it has SECCOMP_FILTER_FLAG_LOG; () where none has."""


def compare(
    left: Sequence[Program],
    right: Sequence[Program],
    *,
    logged: Flags = ((), ()),
    big_endian: bool = False,
    limit: int = NODE_LIMIT,
) -> StackComparison:
    """Compares two stacks of filters for every input.

    Args:
        left: the first stack, its oldest filter first; each must pass ``bpf.check``.
        right: the second stack.
        logged: for the filters of each stack whether they have SECCOMP_FILTER_FLAG_LOG.
        big_endian: the byte order of the machine.
        limit: how many nodes the diagrams may have.

    Raises:
        TooComplexError: the diagrams outgrew the limit.
        IllegalProgramError: the kernel would not take a program.
    """
    of_left, of_right = (
        prover.analyze(programs, big_endian=big_endian, limit=limit, logged=flags)
        for programs, flags in zip((left, right), logged, strict=True)
    )
    diagrams = Diagrams(limit)
    try:
        ours = _effects(diagrams, _copied(of_left, diagrams, apart=0))
        theirs = _effects(diagrams, _copied(of_right, diagrams, apart=_APART))
        sets = {
            Pair(a, b, a_recorded, b_recorded): diagrams.both(in_a, in_b)
            for (a, a_recorded), in_a in ours.items()
            for (b, b_recorded), in_b in theirs.items()
        }
    except (TooLargeError, RecursionError) as error:
        raise TooComplexError(f"the comparison outgrew its bound ({error})") from error
    met = {pair: node for pair, node in sets.items() if node != FALSE}
    pairs = tuple(sorted(met, key=_rank))
    outcomes = {index: met[pair] for index, pair in enumerate(pairs)}
    inexact = [f"{side}, {words}" for side, words in _inexact(of_left, of_right)]
    return StackComparison(pairs, Analysis(diagrams, outcomes, inexact))


_APART: Final = 1 << 24
"""Added to the unknown words of one analysis, so that they differ from those of the other."""


def _copied(analysis: Analysis, store: Diagrams, *, apart: int) -> dict[int, int]:
    """The outcomes of an analysis, copied into another store of diagrams."""
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


def _rank(pair: Pair) -> tuple[int, int, bool, bool]:
    return pair.left.value, pair.right.value, pair.left_recorded, pair.right_recorded


def _effect(value: int) -> tuple[FilterReturn, bool]:
    """The effect of a return value, and whether only the filter's flag has it recorded."""
    return effect(value & ~RECORDED), bool(value & RECORDED)


def _effects(
    diagrams: Diagrams, outcomes: Mapping[int, int]
) -> dict[tuple[FilterReturn, bool], int]:
    """The inputs by effect: raw values that do the same are taken together."""
    found: dict[tuple[FilterReturn, bool], int] = {}
    for value, node in outcomes.items():
        key = _effect(value)
        found[key] = diagrams.any_of(found.get(key, FALSE), node)
    return found


def _inexact(left: Analysis, right: Analysis) -> list[tuple[str, str]]:
    return [
        (side, words)
        for side, analysis in (("the first", left), ("the second", right))
        for words in analysis.inexact
    ]
