"""Sets of arguments as the rules of OCI profiles: which comparisons say the same. Pure.

A rule of a profile has one comparison an argument, all of which hold together, and libseccomp takes
several rules for one call for alternatives. It knows no "masked and unequal", so such a set becomes
one rule for each way through its bits. The same rules count on every ABI of a profile, and on those
of 32 bits, x32 among them, libseccomp compares low halves only: what comes out is held against what
each ABI's kernel reads before it is given to anybody.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.arch import Arch
from probes.filters.bdd import FALSE, TRUE, Diagrams
from probes.filters.conditions import (
    ARGUMENTS,
    HIGHEST_VALUE,
    Comparison,
    Operator,
    Outside,
    Restriction,
    Where,
    variable,
)
from probes.widths import REGISTER_BITS, is_wide

MOST: Final = 512
"""More rules for one call than these are given to nobody: libseccomp's work grows faster."""

_NODES: Final = 1 << 18
_LOW: Final = 0xFFFFFFFF
_HIGH: Final = HIGHEST_VALUE ^ _LOW
_COMPARED_BY_HALVES: Final = frozenset({"x32", "mipsel64n32"})
"""ABIs of 64-bit registers that libseccomp takes for ones of 32 (``arch-x32.c`` and the like)."""

_OPPOSITES: Final = {
    Operator.EQ: Operator.NE,
    Operator.NE: Operator.EQ,
    Operator.LT: Operator.GE,
    Operator.GE: Operator.LT,
    Operator.GT: Operator.LE,
    Operator.LE: Operator.GT,
}

OciRule = tuple[Comparison, ...]
"""Comparisons that hold together, at most one an argument."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a profile says about a call's arguments.

    Attributes:
        rules: the alternatives.
        stricter: the ABIs of 64-bit registers on which they leave out arguments that belong to
            the set, for libseccomp compares 32 bits there.
    """

    rules: tuple[OciRule, ...]
    stricter: tuple[str, ...]


def rules(sets: Mapping[Arch, Where]) -> Rules | None:
    """The rules that say which arguments a set has; None where a profile cannot say it.

    Args:
        sets: what the set is on each ABI of the profile.

    Raises:
        TooLargeError: it is too intricate.
    """
    diagrams = Diagrams(_NODES)
    wanted = {arch: where.inputs(diagrams) for arch, where in sets.items()}
    best: Rules | None = None
    for candidate in _candidates(sets, diagrams):
        if len(candidate) > MOST:
            continue
        said = {arch: _said(candidate, arch, diagrams) for arch in sets}
        if any(diagrams.without(said[arch], wanted[arch]) != FALSE for arch in sets):
            continue
        stricter = tuple(arch.name for arch in sets if said[arch] != wanted[arch])
        if set(stricter) - _COMPARED_BY_HALVES:
            continue
        if best is None or len(stricter) < len(best.stricter):
            best = Rules(candidate, stricter)
        if not stricter:
            break
    return best


def _said(candidate: Sequence[OciRule], arch: Arch, diagrams: Diagrams) -> int:
    """The arguments that rules pick on an ABI, as libseccomp compiles them."""
    bits = HIGHEST_VALUE if is_wide(arch) and arch.name not in _COMPARED_BY_HALVES else _LOW
    found = FALSE
    for rule in candidate:
        cut = Restriction(tuple(_cut(one, bits) for one in rule))
        found = diagrams.any_of(found, cut.inputs(diagrams))
    return found


def _cut(one: Comparison, bits: int) -> Comparison:
    return Comparison(one.index, one.operator, one.mask & bits, one.value & bits)


def _candidates(sets: Mapping[Arch, Where], diagrams: Diagrams) -> Iterator[tuple[OciRule, ...]]:
    """Rules that may describe the set, the plainest first."""
    for where in dict.fromkeys(sets.values()):
        yield from _plain(where)
    for where in dict.fromkeys(sets.values()):
        yield _by_bits(where.inputs(diagrams), diagrams)
    for where in dict.fromkeys(sets.values()):
        if (halved := _by_halves(where, diagrams)) is not None:
            yield halved


def _plain(where: Where) -> Iterator[tuple[OciRule, ...]]:
    """The comparisons themselves, or their opposites, where a profile has them."""
    if isinstance(where, Restriction):
        found: tuple[OciRule, ...] = (where.comparisons,)
    elif isinstance(where, Outside) and len(where.restrictions) == 1:
        found = tuple(
            (Comparison(one.index, _OPPOSITES[one.operator], one.mask, one.value),)
            for one in where.restrictions[0].comparisons
        )
    else:
        return
    if all(map(_can_be_said, found)):
        yield found


def _can_be_said(rule: OciRule) -> bool:
    """Whether a profile can hold it: one comparison an argument, and masks only for equality."""
    indexes = [one.index for one in rule]
    return len(set(indexes)) == len(indexes) and all(
        one.operator is Operator.EQ or one.mask == HIGHEST_VALUE for one in rule
    )


def _by_bits(node: int, diagrams: Diagrams) -> tuple[OciRule, ...]:
    """One rule for each way through the bits; one more than MOST where there are more."""
    found: list[OciRule] = []
    for member in diagrams.members(node):
        found.append(tuple(_equalities(member)))
        if len(found) > MOST:
            break
    return tuple(found)


def _equalities(member: Mapping[int, bool]) -> Iterator[Comparison]:
    for index in range(ARGUMENTS):
        chosen = {
            bit: member[place]
            for bit in range(REGISTER_BITS)
            if (place := variable(index, bit)) in member
        }
        if chosen:
            mask = sum(1 << bit for bit in chosen)
            value = sum(1 << bit for bit, yes in chosen.items() if yes)
            yield Comparison(index, Operator.EQ, mask, value)


def _by_halves(where: Where, diagrams: Diagrams) -> tuple[OciRule, ...] | None:
    """The rules of a set in which a high half counts only by whether it is zero.

    ``> 0xffffffff`` says that it is not on an ABI of 64 bits, and never holds on one of 32, so that
    these rules mean the same on both. None where more of a high half counts.
    """
    told = where.restrictions if isinstance(where, Outside) else (where,)
    found = FALSE
    for one in told:
        if not isinstance(one, Restriction):
            return None
        together = TRUE
        for comparison in one.comparisons:
            node = _halved(comparison, diagrams)
            if node is None:
                return None
            together = diagrams.both(together, node)
        found = diagrams.any_of(found, together)
    node = diagrams.complement(found) if isinstance(where, Outside) else found
    rules_found: list[OciRule] = []
    for rule in _by_bits(node, diagrams):
        whole = [_whole(one) for one in rule]
        if None in whole:
            return None
        rules_found.append(tuple(one for one in whole if one is not None))
    return tuple(rules_found)


_NOT_ZERO: Final = 1 << (REGISTER_BITS - 1)
"""The bit that stands for a high half which is not zero."""


def _halved(one: Comparison, diagrams: Diagrams) -> int | None:
    """The set of a comparison with one bit in place of the high half."""
    if not one.mask & _HIGH:
        return one.inputs(diagrams)
    if one.mask & _HIGH != _HIGH or one.value & _HIGH:
        return None
    low = Comparison(one.index, one.operator, one.mask & _LOW, one.value)
    zero = Comparison(one.index, Operator.EQ, _NOT_ZERO, 0).inputs(diagrams)
    beyond = TRUE if one.operator in {Operator.NE, Operator.GT, Operator.GE} else FALSE
    return diagrams.choose(zero, low.inputs(diagrams), beyond)


def _whole(one: Comparison) -> Comparison | None:
    """The comparison of a whole argument for one with the substitute bit; None if there is none."""
    if not one.mask & _NOT_ZERO:
        return one
    if not one.value & _NOT_ZERO:
        return Comparison(one.index, Operator.EQ, one.mask | _HIGH, one.value)
    if one.mask == _NOT_ZERO:
        return Comparison(one.index, Operator.GT, HIGHEST_VALUE, _LOW)
    return None


def as_oci(rule: OciRule) -> list[dict[str, object]]:
    """The ``args`` of a rule in a profile."""
    return [
        {"index": one.index, "value": one.value, "op": one.operator.value}
        if one.mask == HIGHEST_VALUE
        else {
            "index": one.index,
            "value": one.mask,
            "valueTwo": one.value,
            "op": Operator.MASKED_EQ.value,
        }
        for one in rule
    ]
