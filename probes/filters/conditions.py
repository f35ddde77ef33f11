"""Conditions on a call's arguments, in the terms of OCI profiles, and the arguments that meet them.

What counts is what the kernel reads (``probes.widths``). It cuts an ``int`` to the low 32 bits of
its register, of which a filter sees all 64, so that ``0x100000026`` means AF_ALG to socket(2) as 38
does. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from probes.arch import Arch
from probes.filters.bdd import FALSE, TRUE, Diagrams
from probes.text import spelled
from probes.widths import NARROW, REGISTER_BITS, register, width

ARGUMENTS: Final = 6
"""How many arguments a filter sees (``struct seccomp_data``)."""

HIGHEST_VALUE: Final = (1 << REGISTER_BITS) - 1
"""The highest value of an argument."""

_FIRST_VARIABLE: Final = 64
_NODES: Final = 1 << 18


def variable(argument: int, bit: int) -> int:
    """The variable of a decision diagram that decides on a bit of an argument, 0 the lowest.

    The prover's diagrams have the same ones, so that conditions can be asked of them.
    """
    return _FIRST_VARIABLE + REGISTER_BITS * argument + (REGISTER_BITS - 1 - bit)


class Operator(StrEnum):
    """How an argument is compared; the names of libseccomp and of OCI profiles."""

    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"

    @property
    def sign(self) -> str:
        """The operator as a sign: ``==``, ``<=``."""
        return _SIGNS[self]


_SIGNS: Final = {
    Operator.NE: "!=",
    Operator.LT: "<",
    Operator.LE: "<=",
    Operator.EQ: "==",
    Operator.GE: ">=",
    Operator.GT: ">",
    Operator.MASKED_EQ: "==",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on an argument as it was written.

    Attributes:
        index: which argument, 0 to 5.
        operator: how it is compared.
        value: the value that it is compared with, unsigned.
        mask: the bits that are compared; None unless the operator is MASKED_EQ.
    """

    index: int
    operator: Operator
    value: int
    mask: int | None = None

    def __str__(self) -> str:
        """The condition as reports show it: ``0==38``, ``0&0x10000000==0x10000000``."""
        if self.mask is not None:
            return f"{self.index}&{self.mask:#x}{self.operator.sign}{self.value:#x}"
        return f"{self.index}{self.operator.sign}{spelled(self.value)}"


def label(name: str, conditions: Sequence[Condition]) -> str:
    """The label of a call under conditions: ``socket[0==38]``; without any, its plain name."""
    return f"{name}[{','.join(map(str, conditions))}]" if conditions else name


def name_in(label_of_call: str) -> str:
    """The name of the call in a label that ``label`` made."""
    return label_of_call.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition as it is compared on one ABI, in the bits that the kernel reads there.

    Attributes:
        index: which argument.
        operator: how it is compared; MASKED_EQ has become EQ.
        mask: the bits that count.
        value: the value that these bits are compared with.
    """

    index: int
    operator: Operator
    mask: int
    value: int

    def holds(self, args: Sequence[int]) -> bool:
        """Whether the arguments of a call meet it."""
        word = args[self.index] & self.mask
        return {
            Operator.NE: word != self.value,
            Operator.LT: word < self.value,
            Operator.LE: word <= self.value,
            Operator.EQ: word == self.value,
            Operator.GE: word >= self.value,
            Operator.GT: word > self.value,
        }[self.operator]

    def inputs(self, diagrams: Diagrams) -> int:
        """The set of arguments that meet it.

        Raises:
            TooLargeError: the diagrams are full.
        """
        if self.operator is Operator.EQ:
            return self._equal(diagrams)
        if self.operator is Operator.NE:
            return diagrams.complement(self._equal(diagrams))
        # The others are x >= value, x >= value + 1, and what is left of both.
        above = self.operator in {Operator.GT, Operator.LE}
        reached = self._reaches(diagrams, self.value + above)
        downward = self.operator in {Operator.LT, Operator.LE}
        return diagrams.complement(reached) if downward else reached

    def _equal(self, diagrams: Diagrams) -> int:
        if self.value & ~self.mask:
            return FALSE
        node = TRUE
        for bit in range(REGISTER_BITS):
            if self.mask >> bit & 1:
                branches = (FALSE, node) if self.value >> bit & 1 else (node, FALSE)
                node = diagrams.node(variable(self.index, bit), *branches)
        return node

    def _reaches(self, diagrams: Diagrams, least: int) -> int:
        if least > self.mask:
            return FALSE
        node = TRUE
        for bit in range(self.mask.bit_length()):
            branches = (FALSE, node) if least >> bit & 1 else (node, TRUE)
            node = diagrams.node(variable(self.index, bit), *branches)
        return node


def comparison(condition: Condition, call: str, arch: Arch) -> Comparison:
    """Turns a condition on a call's argument into a comparison of the bits that an ABI reads.

    Where registers have 32 bits, a negative number of 64 bits is meant as the one of 32.
    """
    seen = (1 << width(call, arch, condition.index)) - 1
    narrow = register(call, arch) == NARROW
    if condition.mask is None:
        value = _negative(condition.value) if narrow else condition.value
        return Comparison(condition.index, condition.operator, seen, value)
    whole = condition.mask >> NARROW == _ALL_OF_A_HALF
    value = _negative(condition.value) if narrow and whole else condition.value
    return Comparison(condition.index, Operator.EQ, condition.mask & seen, value)


_ALL_OF_A_HALF: Final = (1 << NARROW) - 1


def _negative(value: int) -> int:
    """The low half of a negative number; any other number as it is."""
    low = value & _ALL_OF_A_HALF
    return low if value >> (NARROW - 1) == _ALL_OF_A_HALF << 1 | 1 else value


class Where(Protocol):
    """A set of arguments."""

    def inputs(self, diagrams: Diagrams) -> int:
        """The set as a decision diagram.

        Raises:
            TooLargeError: the diagrams are full.
        """


@dataclass(frozen=True, slots=True)
class Restriction:
    """The arguments for which a documented call is restricted on one ABI.

    Attributes:
        comparisons: those that must all hold; empty where the call is restricted whatever its
            arguments.
    """

    comparisons: tuple[Comparison, ...]

    def holds(self, args: Sequence[int]) -> bool:
        """Whether a call with these arguments, of which there are six, is restricted."""
        return all(one.holds(args) for one in self.comparisons)

    def inputs(self, diagrams: Diagrams) -> int:
        """The diagram of the arguments that meet all comparisons."""
        found = TRUE
        for one in self.comparisons:
            found = diagrams.both(found, one.inputs(diagrams))
        return found


def restriction(conditions: Sequence[Condition], call: str, arch: Arch) -> Restriction:
    """Turns conditions on a call into comparisons of what the kernel reads on an ABI."""
    return Restriction(tuple(comparison(one, call, arch) for one in conditions))


@dataclass(frozen=True, slots=True)
class Outside:
    """The arguments for which none of some restrictions holds.

    Attributes:
        restrictions: those of which none may hold.
    """

    restrictions: tuple[Restriction, ...]

    def holds(self, args: Sequence[int]) -> bool:
        """Whether a call with these arguments, of which there are six, is left alone."""
        return not any(one.holds(args) for one in self.restrictions)

    def inputs(self, diagrams: Diagrams) -> int:
        """The diagram of the arguments that meet none of the restrictions."""
        return diagrams.complement(AnyOf(self.restrictions).inputs(diagrams))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The arguments for which at least one of some restrictions holds.

    Attributes:
        restrictions: those of which one has to hold.
    """

    restrictions: tuple[Restriction, ...]

    def inputs(self, diagrams: Diagrams) -> int:
        """The diagram of the arguments that meet at least one restriction."""
        found = FALSE
        for one in self.restrictions:
            found = diagrams.any_of(found, one.inputs(diagrams))
        return found


@dataclass(frozen=True, slots=True)
class Common:
    """The arguments that are in every one of some sets.

    Attributes:
        sets: the sets to intersect.
    """

    sets: tuple[Where, ...]

    def inputs(self, diagrams: Diagrams) -> int:
        """The diagram of the intersection of the sets."""
        found = TRUE
        for one in self.sets:
            found = diagrams.both(found, one.inputs(diagrams))
        return found


def example(
    where: Where, near: Sequence[int] = (), fixed: Mapping[int, int] | None = None
) -> tuple[int, ...] | None:
    """Six arguments of a set; None where there are none.

    Args:
        where: the set.
        near: arguments to stay close to: a bit differs only where it has to; 0 for what is missing.
        fixed: arguments that may not differ at all.

    Raises:
        TooLargeError: the set is too intricate.
    """
    diagrams = Diagrams(_NODES)
    node = where.inputs(diagrams)
    for index, value in (fixed or {}).items():
        exact = Comparison(index, Operator.EQ, HIGHEST_VALUE, value)
        node = diagrams.both(node, exact.inputs(diagrams))
    if node == FALSE:
        return None
    found = [*near, *(0,) * ARGUMENTS][:ARGUMENTS]
    for index, value in (fixed or {}).items():
        found[index] = value
    while node != TRUE:
        index, place = divmod(diagrams.variable_of(node) - _FIRST_VARIABLE, REGISTER_BITS)
        bit = 1 << (REGISTER_BITS - 1 - place)
        branches = diagrams.branches(node)
        liked = bool(found[index] & bit)
        chosen = liked if branches[liked] != FALSE else not liked
        found[index] = found[index] | bit if chosen else found[index] & ~bit
        node = branches[chosen]
    return tuple(found)


def is_empty(where: Where) -> bool:
    """Whether no arguments are in a set.

    Raises:
        TooLargeError: the set is too intricate.
    """
    return where.inputs(Diagrams(_NODES)) == FALSE


def is_everything(where: Where) -> bool:
    """Whether all arguments are in a set.

    Raises:
        TooLargeError: the set is too intricate.
    """
    return where.inputs(Diagrams(_NODES)) == TRUE
