"""What a stack of seccomp filters returns, for every architecture, number and argument. Pure.

A classic BPF program only jumps ahead, so one pass over it in order meets every instruction with
everything that can reach it: a condition on the input (a set of ``struct seccomp_data``) and, bit
for bit, what A, X and the scratch words hold under it. Sets and bits are decision diagrams
(``probes.filters.bdd``), which makes the answer exact and not a matter of paths tried: the
conditions of all returns together cover each of the 2^512 inputs once.

Where an operation would need diagrams out of all proportion (a division by something that is no
power of two, a product of two unknowns, a shift by a later argument), its result counts as unknown:
the analysis then says so (``exact`` is False) and is still sound, for it claims too many possible
returns, never too few.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import ACTION_MASK, Action, FilterReturn
from probes.filters import bpf, conditions
from probes.filters.bdd import FALSE, TRUE, Diagrams, TooLargeError
from probes.filters.bpf import Instruction, Program, SeccompData
from probes.filters.conditions import Where
from probes.filters.pointer import Pointers, Span

NODE_LIMIT: Final = 1_000_000
"""The bound on the analysis, about 300 MB; the profiles of container runtimes need half of it."""

RANGE_LIMIT: Final = 1 << 16
"""The most ranges of numbers or tokens that are told apart; a longer table is of no use."""

WORD_BITS: Final = 32
_ARCH_BASE: Final = 0
_NR_BASE: Final = WORD_BITS
_ARGS_BASE: Final = 2 * WORD_BITS
_POINTER_BASE: Final = _ARGS_BASE + 12 * WORD_BITS
_UNKNOWN_BASE: Final = _POINTER_BASE + 2 * WORD_BITS
_ARGUMENTS: Final = 6
_MOST_COMPUTED_RETURNS: Final = 256
_COUNT_BITS: Final = 5
"""The bits of a shift's count that have an effect: the kernel shifts by 0 to 31."""

ALLOWED: Final = FilterReturn(Action.ALLOW).value
"""What the kernel does where no filter says anything else."""

RECORDED: Final = 1 << 32
"""The bit above a 32-bit return value that is recorded only for the filter's flag."""

_RECORDED_BY_FLAG: Final = {Action.TRAP, Action.ERRNO, Action.USER_NOTIF, Action.TRACE}

Word = tuple[int, ...]
"""A 32-bit word, the highest bit first; each bit is the set of inputs under which it is set."""


class TooComplexError(Exception):
    """The analysis outgrew its bound, so there is no proof either way."""


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Neighbouring numbers that a stack of filters treats alike.

    Attributes:
        first: the lowest number.
        last: the highest number, included.
        returns: every raw value that some arguments lead to.
    """

    first: int
    last: int
    returns: frozenset[int]


@dataclass(frozen=True, slots=True)
class _State:
    """What A, X and the scratch words hold at an instruction."""

    condition: int
    a: Word
    x: Word
    scratch: Mapping[int, Word]


def _constant(value: int) -> Word:
    return tuple(TRUE if value >> bit & 1 else FALSE for bit in reversed(range(WORD_BITS)))


def _is_constant(word: Word) -> bool:
    return all(bit in {TRUE, FALSE} for bit in word)


def _value(word: Word) -> int:
    return sum(1 << (WORD_BITS - 1 - place) for place, bit in enumerate(word) if bit == TRUE)


_ZERO: Final = _constant(0)


class Analysis:
    """Everything that a stack of filters can return.

    Attributes:
        outcomes: every raw return value with the set of inputs that lead to it. The sets do not
            overlap and together are everything.
        inexact: where exactness was given up, in words; empty for an exact analysis.
    """

    def __init__(
        self, diagrams: Diagrams, outcomes: Mapping[int, int], inexact: Sequence[str]
    ) -> None:
        """Takes the result of ``analyze``."""
        self._diagrams = diagrams
        self.outcomes = dict(sorted(outcomes.items()))
        self.inexact = tuple(inexact)

    def __len__(self) -> int:
        """How many nodes its diagrams have: what it costs in memory."""
        return len(self._diagrams)

    @property
    def exact(self) -> bool:
        """Whether each return value that the analysis holds possible is really possible."""
        return not self.inexact

    def tokens(self) -> tuple[int, ...]:
        """The architecture tokens that the filters name: those they treat unlike their neighbours.

        Of real tokens no two are neighbours, so ranges of more than two are taken for "any other".

        Raises:
            TooComplexError: too many tokens are told apart.
        """
        parts = list(self._split(tuple(self.outcomes.values()), _ARCH_BASE))
        return tuple(
            token
            for first, last, _ in parts
            if last - first <= 1  # two neighbours may be named alike
            for token in range(first, last + 1)
        )

    def foreign_token(self) -> int:
        """A token that no ABI has, in the largest range of tokens that are treated alike.

        Raises:
            TooComplexError: too many tokens are told apart.
        """
        parts = self._split(tuple(self.outcomes.values()), _ARCH_BASE)
        first, last, _ = max(parts, key=lambda part: part[1] - part[0])
        return (first + last) // 2

    def numbers(self, token: int) -> tuple[NumberRange, ...]:
        """All 2^32 numbers of an architecture, with every value that each can return.

        Raises:
            TooComplexError: too many numbers are told apart.
        """
        below = {value: self._at(node, token, _ARCH_BASE) for value, node in self.outcomes.items()}
        values = tuple(below)
        ranges: list[NumberRange] = []
        for first, last, nodes in self._split(tuple(below.values()), _NR_BASE):
            possible = frozenset(
                value for value, node in zip(values, nodes, strict=True) if node != FALSE
            )
            if ranges and ranges[-1].returns == possible:
                first = ranges.pop().first  # noqa: PLW2901 - the range grows to the left
            ranges.append(NumberRange(first, last, possible))
        return tuple(ranges)

    def returns(self, token: int, number: int) -> frozenset[int]:
        """Every value that a number of an architecture can return."""
        return frozenset(self._conditions(token, number))

    def _conditions(self, token: int, number: int) -> dict[int, int]:
        """Every value that a number can return, with the set of arguments that lead to it."""
        found = {}
        for value, node in self.outcomes.items():
            rest = self._at(self._at(node, token, _ARCH_BASE), number, _NR_BASE)
            if rest != FALSE:
                found[value] = rest
        return found

    def met_from(self, pointers: Pointers) -> "Analysis":
        """Narrows the analysis to inputs whose instruction address a process can have.

        Raises:
            TooComplexError: it outgrew the bound.
        """
        named = set(self.tokens())
        diagrams = self._diagrams
        try:
            possible = FALSE
            for span in pointers.spans:
                possible = diagrams.any_of(possible, _in_span(diagrams, span))
            for token, number, address in pointers.calls:
                call = diagrams.both(
                    _cube(diagrams, _NR_BASE, number),
                    _in_span(diagrams, Span(address, address)),
                )
                if token in named:  # else all tokens are alike, and shall remain so
                    call = diagrams.both(_cube(diagrams, _ARCH_BASE, token), call)
                possible = diagrams.any_of(possible, call)
            met = {value: diagrams.both(node, possible) for value, node in self.outcomes.items()}
        except (TooLargeError, RecursionError) as error:
            raise TooComplexError(f"the analysis outgrew its bound ({error})") from error
        left = {value: node for value, node in met.items() if node != FALSE}
        return Analysis(diagrams, left, self.inexact)

    def values_from_anywhere(self, data: SeccompData) -> frozenset[int]:
        """The values that are possible for a call, wherever in a process its code is."""
        found = set()
        for value, node in self.outcomes.items():
            if self._rest(node, data) != FALSE:
                found.add(value)
        return frozenset(found)

    def depends_on_pointer(self, data: SeccompData) -> bool:
        """Whether the value for a call depends on where in a process its code is."""
        left = [rest for node in self.outcomes.values() if (rest := self._rest(node, data))]
        pointer = range(_POINTER_BASE, _UNKNOWN_BASE)
        return len(left) > 1 and any(
            variable in pointer for rest in left for variable in self._diagrams.support(rest)
        )

    def witness(
        self,
        token: int,
        number: int,
        value: int,
        where: Where | None = None,
        span: Span | None = None,
    ) -> SeccompData | None:
        """An input with which a number returns a value; None where there is none.

        Only certain where the analysis is exact.

        Args:
            token: the architecture.
            number: the number.
            value: the raw return value.
            where: only inputs with these arguments.
            span: only instruction addresses of this span.

        Raises:
            TooComplexError: the condition outgrew the analysis' bound.
        """
        possible = self._conditions(token, number).get(value, FALSE)
        if where is not None:
            possible = self._restricted(possible, where)
        if span is not None:
            possible = self._within(possible, span)
        chosen = self._diagrams.member(possible)
        return None if chosen is None else _assembled(token, number, chosen)

    def _within(self, node: int, span: Span) -> int:
        try:
            return self._diagrams.both(node, _in_span(self._diagrams, span))
        except TooLargeError as error:
            raise TooComplexError(f"the analysis outgrew its bound ({error})") from error

    def _restricted(self, node: int, where: Where) -> int:
        try:
            return self._diagrams.both(node, where.inputs(self._diagrams))
        except TooLargeError as error:
            raise TooComplexError(f"the analysis outgrew its bound ({error})") from error

    def swayed(
        self, token: int, number: int, argument: int, bits: range
    ) -> Iterator[tuple[int, int, SeccompData]]:
        """Finds inputs for which some bits of an argument, 0 the lowest, change the return value.

        Args:
            token: the architecture.
            number: the number.
            argument: which argument.
            bits: the bits.

        Yields:
            What is returned without the bits, what is returned with some of them, and an input
            that has these; for each such pair of values.

        Raises:
            TooComplexError: the condition outgrew the analysis' bound.
        """
        asked = frozenset(conditions.variable(argument, bit) for bit in bits)
        found = self._conditions(token, number)
        if all(asked.isdisjoint(self._diagrams.support(node)) for node in found.values()):
            return
        try:
            for plain, node in found.items():
                without = self._cleared(node, asked, {})
                for other, there in found.items():
                    chosen = self._diagrams.member(self._diagrams.both(without, there))
                    if other != plain and chosen is not None:
                        yield plain, other, _assembled(token, number, chosen)
        except TooLargeError as error:
            raise TooComplexError(f"the analysis outgrew its bound ({error})") from error

    def _cleared(self, node: int, variables: frozenset[int], known: dict[int, int]) -> int:
        """The inputs that are in a set once some of their bits are cleared."""
        if node in {FALSE, TRUE}:
            return node
        if node not in known:
            decides = self._diagrams.variable_of(node)
            no, yes = self._diagrams.branches(node)
            low = self._cleared(no, variables, known)
            known[node] = (
                low
                if decides in variables
                else self._diagrams.node(decides, low, self._cleared(yes, variables, known))
            )
        return known[node]

    def condition(self, token: int, number: int, value: int, most: int = 8) -> tuple[str, ...]:
        """The arguments with which a number returns a value, in words.

        Args:
            token: the architecture.
            number: the number.
            value: the raw return value.
            most: how many alternatives are spelled out; one more line says that there are more.

        Returns:
            Alternatives; each is a list of conditions on bits that hold together. Empty for a
            value that cannot be returned; one line "any arguments" where they do not matter.
        """
        node = self._conditions(token, number).get(value, FALSE)
        lines: list[str] = []
        for member in self._diagrams.members(node):
            if len(lines) == most:
                lines.append("...")
                break
            lines.append(_spelled(member))
        return tuple(lines)

    def value_at(self, data: SeccompData) -> frozenset[int]:
        """The values that the analysis holds possible for one input; one where it is exact."""
        found = set()
        for value, node in self.outcomes.items():
            rest = self._rest(node, data)
            rest = self._at(rest, data.instruction_pointer >> WORD_BITS, _POINTER_BASE)
            rest = self._at(rest, data.instruction_pointer & bpf.U32, _POINTER_BASE + WORD_BITS)
            if rest != FALSE:
                found.add(value)
        return frozenset(found)

    def _rest(self, node: int, data: SeccompData) -> int:
        """The instruction addresses that a set holds for one call."""
        rest = self._at(self._at(node, data.arch, _ARCH_BASE), data.nr, _NR_BASE)
        for index, argument in enumerate((*data.args, *(0,) * _ARGUMENTS)[:_ARGUMENTS]):
            base = _ARGS_BASE + 2 * WORD_BITS * index
            rest = self._at(rest, argument >> WORD_BITS, base)
            rest = self._at(rest, argument & bpf.U32, base + WORD_BITS)
        return rest

    def _at(self, node: int, value: int, base: int) -> int:
        """Restricts a set to one value of a word; earlier words must be decided already."""
        while (place := self._diagrams.variable_of(node) - base) < WORD_BITS:
            no, yes = self._diagrams.branches(node)
            node = yes if value >> (WORD_BITS - 1 - place) & 1 else no
        return node

    def _split(
        self, nodes: tuple[int, ...], base: int
    ) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Ranges of a word's values in which all the sets look alike, in order.

        Raises:
            TooComplexError: there are more than RANGE_LIMIT.
        """
        steps = 0
        pending: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, nodes)]
        last: tuple[int, int, tuple[int, ...]] | None = None
        while pending:
            place, first, now = pending.pop()
            steps += 1
            if steps > 2 * RANGE_LIMIT:
                raise TooComplexError(f"it tells more than {RANGE_LIMIT} ranges of numbers apart")
            if all(self._diagrams.variable_of(node) >= base + WORD_BITS for node in now):
                end = first + (1 << (WORD_BITS - place)) - 1
                if last is not None and last[2] == now:
                    last = (last[0], end, now)
                else:
                    if last is not None:
                        yield last
                    last = (first, end, now)
                continue
            halves = [self._halves(node, base + place) for node in now]
            middle = first + (1 << (WORD_BITS - 1 - place))
            pending.append((place + 1, middle, tuple(yes for _, yes in halves)))
            pending.append((place + 1, first, tuple(no for no, _ in halves)))
        if last is not None:
            yield last

    def _halves(self, node: int, variable: int) -> tuple[int, int]:
        if self._diagrams.variable_of(node) == variable:
            return self._diagrams.branches(node)
        return node, node


def _assembled(token: int, number: int, chosen: Mapping[int, bool]) -> SeccompData:
    """An input of which some bits were chosen; the others are 0."""
    words = [0] * (2 * _ARGUMENTS + 2)
    for variable, yes in chosen.items():
        word, place = divmod(variable - _ARGS_BASE, WORD_BITS)
        if yes and word < len(words):
            words[word] |= 1 << (WORD_BITS - 1 - place)
    pairs = [words[i] << WORD_BITS | words[i + 1] for i in range(0, len(words), 2)]
    return SeccompData(number, token, tuple(pairs[:_ARGUMENTS]), pairs[_ARGUMENTS])


def _spelled(member: Mapping[int, bool]) -> str:
    """Partial assignments of bits as comparisons of masked words."""
    masks: dict[int, int] = {}
    values: dict[int, int] = {}
    for variable, yes in member.items():
        word, place = divmod(variable - _ARGS_BASE, WORD_BITS)
        wide, half = divmod(word, 2)
        bit = 1 << (WORD_BITS - 1 - place + (0 if half else WORD_BITS))
        masks[wide] = masks.get(wide, 0) | bit
        values[wide] = values.get(wide, 0) | (bit if yes else 0)
    parts = []
    for wide, mask in sorted(masks.items()):
        name = f"args[{wide}]" if wide < _ARGUMENTS else "instruction pointer"
        if wide > _ARGUMENTS:
            name = "an unknown"
        masked = name if mask == (1 << 2 * WORD_BITS) - 1 else f"{name} & {mask:#x}"
        parts.append(f"{masked} == {values[wide]:#x}")
    return " and ".join(parts) or "any arguments"


def analyze(
    programs: Sequence[Program],
    *,
    big_endian: bool = False,
    limit: int = NODE_LIMIT,
    logged: Sequence[bool] = (),
) -> Analysis:
    """Analyzes a stack of filters together, as the kernel runs them.

    Args:
        programs: the filters, the oldest first; each must pass ``bpf.check``. Where there is none,
            everything is allowed.
        big_endian: the byte order of the machine, which decides which half of an argument an
            offset loads.
        limit: how many nodes the diagrams may have.
        logged: for each filter whether it has SECCOMP_FILTER_FLAG_LOG; what the kernel records for
            that reason alone has ``RECORDED`` in its value. Left out, nothing has.

    Raises:
        TooComplexError: the diagrams outgrew the limit.
        IllegalProgramError: the kernel would not take a program.
    """
    for program in programs:
        bpf.check(program)
    stack = _Stack(tuple(programs), tuple(logged) or (False,) * len(programs))
    diagrams = Diagrams(limit)
    outcomes: dict[int, int] = {}
    inexact: list[str] = []
    try:
        rest = TRUE
        for token in _compared_tokens(programs):
            here = _cube(diagrams, _ARCH_BASE, token)
            prover = _Prover(diagrams, big_endian=big_endian, token=token)
            _add(diagrams, outcomes, prover.run_all(stack, TRUE), here)
            inexact += prover.inexact
            rest = diagrams.without(rest, here)
        prover = _Prover(diagrams, big_endian=big_endian, token=None)
        _add(diagrams, outcomes, prover.run_all(stack, rest), TRUE)
    except (TooLargeError, RecursionError) as error:
        raise TooComplexError(f"the analysis outgrew its bound ({error})") from error
    return Analysis(diagrams, outcomes, tuple(dict.fromkeys((*inexact, *prover.inexact))))


def _add(diagrams: Diagrams, outcomes: dict[int, int], more: Mapping[int, int], where: int) -> None:
    """Adds outcomes, cut down to a part of the inputs, to those found so far."""
    for value, inputs in more.items():
        part = diagrams.both(where, inputs)
        outcomes[value] = diagrams.any_of(outcomes.get(value, FALSE), part)


def _in_span(diagrams: Diagrams, span: Span) -> int:
    """The inputs whose instruction address is one of a span's."""
    low = span.step.bit_length() - 1
    aligned = TRUE
    for place in reversed(range(2 * WORD_BITS - low, 2 * WORD_BITS)):
        aligned = diagrams.node(_POINTER_BASE + place, aligned, FALSE)
    from_first = to_last = aligned
    first = -(-span.first // span.step)
    for bit in range(2 * WORD_BITS - low):
        variable = _POINTER_BASE + 2 * WORD_BITS - low - 1 - bit
        branches = (FALSE, from_first) if first >> bit & 1 else (from_first, aligned)
        from_first = diagrams.node(variable, *branches)
        last = span.last // span.step
        branches = (aligned, to_last) if last >> bit & 1 else (to_last, FALSE)
        to_last = diagrams.node(variable, *branches)
    return diagrams.both(from_first, to_last)


def _cube(diagrams: Diagrams, base: int, value: int) -> int:
    """The inputs in which a word has a value."""
    node = TRUE
    for place in reversed(range(WORD_BITS)):
        yes = value >> (WORD_BITS - 1 - place) & 1
        node = diagrams.node(base + place, *((FALSE, node) if yes else (node, FALSE)))
    return node


_MOST_TOKENS: Final = 32


def _compared_tokens(programs: Sequence[Program]) -> tuple[int, ...]:
    """Architecture tokens that are worth a pass of their own.

    A program that compares the token does so first, and then all conditions hold for one token
    only. With the token known beforehand they need not say so, which halves them. Which tokens
    these are changes the work, not the result.
    """
    found: set[int] = set()
    for program in programs:
        certain = {0: False}
        for index, instruction in enumerate(program):
            code, k = instruction.code, instruction.k
            holds = certain.get(index, False)
            if code == bpf.JEQ and holds:
                found.add(k)
            if code == bpf.LD_ABS:
                holds = k == bpf.OFFSET_ARCH
            elif not bpf.is_jump(code):
                holds = holds and code in {bpf.ST, bpf.STX, bpf.TAX}
            for target in bpf.targets(index, instruction):
                certain[target] = certain.get(target, True) and holds
    return tuple(sorted(found)) if len(found) <= _MOST_TOKENS else ()


@dataclass(frozen=True, slots=True)
class _Stack:
    """Filters, the oldest first, and for each of them whether it has the flag that logs."""

    programs: tuple[Program, ...]
    logged: tuple[bool, ...]


class _Prover:
    """One pass over each program of a stack, in one store of diagrams."""

    def __init__(self, diagrams: Diagrams, *, big_endian: bool, token: int | None) -> None:
        self._diagrams = diagrams
        self._big_endian = big_endian
        self._token = token
        self._words: dict[int, Word] = {}
        self._unknowns = 0
        self.inexact: list[str] = []

    def stack(self, older: Mapping[int, int], newer: Mapping[int, int]) -> dict[int, int]:
        """Combines the outcomes of two filters: the lowest precedence wins; on a tie, the newer."""
        combined: dict[int, int] = {}
        for new_value, new_set in newer.items():
            for old_value, old_set in older.items():
                overlap = self._diagrams.both(new_set, old_set)
                if overlap != FALSE:
                    value = _winner(old_value, new_value)
                    combined[value] = self._diagrams.any_of(combined.get(value, FALSE), overlap)
        return combined

    def run_all(self, stack: "_Stack", condition: int) -> dict[int, int]:
        """Every value that the stack returns, with the inputs under a condition that lead to it."""
        if not stack.programs:
            return {ALLOWED: condition}
        combined: dict[int, int] = {}
        for program, is_logged in zip(stack.programs, stack.logged, strict=True):
            own = self.run(program, condition)
            if is_logged:
                own = {recorded(value): inputs for value, inputs in own.items()}
            combined = self.stack(combined, own) if combined else own
        return combined

    def run(self, program: Program, condition: int) -> dict[int, int]:
        """Every value that a program returns, with the inputs under a condition that lead to it."""
        outcomes: dict[int, int] = {}
        alive = _alive(program)
        states: dict[int, _State] = {0: _State(condition, _ZERO, _ZERO, {})}
        for index, instruction in enumerate(program):
            state = states.pop(index, None)
            if state is None or state.condition == FALSE:
                continue
            code = instruction.code
            if code in {bpf.RET_K, bpf.RET_A}:
                word = state.a if code == bpf.RET_A else _constant(instruction.k)
                self._return(outcomes, state.condition, word)
            else:
                for target, reached in self._step(index, instruction, state, outcomes):
                    kept = _without_dead_words(reached, alive[target])
                    states[target] = self._merged(states.get(target), kept)
        return outcomes

    def _return(self, outcomes: dict[int, int], condition: int, word: Word) -> None:
        for _ in range(_MOST_COMPUTED_RETURNS):
            if condition == FALSE:
                return
            value = self._sample(condition, word)
            here = self._diagrams.both(condition, self._equal(word, _constant(value)))
            outcomes[value] = self._diagrams.any_of(outcomes.get(value, FALSE), here)
            condition = self._diagrams.without(condition, here)
        if condition != FALSE:
            raise TooLargeError(f"more than {_MOST_COMPUTED_RETURNS} different returns of A")

    def _sample(self, condition: int, word: Word) -> int:
        """A value that the word has somewhere under the condition."""
        value = 0
        for bit in word:
            here = self._diagrams.both(condition, bit)
            value = value << 1 | (here != FALSE)
            condition = here if here != FALSE else condition
        return value

    def _step(
        self, index: int, instruction: Instruction, state: _State, outcomes: dict[int, int]
    ) -> list[tuple[int, _State]]:
        """Runs an instruction: the instructions that follow it, each with its state."""
        code, k = instruction.code, instruction.k
        operation = code & ~bpf.SOURCE_X
        if code == bpf.JA:
            return [(index + 1 + k, state)]
        operand = state.x if code & bpf.SOURCE_X else _constant(k)
        if operation in {bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET}:
            holds = self._holds(operation, state.a, operand)
            yes = self._diagrams.both(state.condition, holds)
            no = self._diagrams.without(state.condition, holds)
            return [
                (index + 1 + instruction.jt, _State(yes, state.a, state.x, state.scratch)),
                (index + 1 + instruction.jf, _State(no, state.a, state.x, state.scratch)),
            ]
        condition, a, x, scratch = state.condition, state.a, state.x, state.scratch
        if bpf.is_arithmetic(code):
            if operation == bpf.DIV and code & bpf.SOURCE_X:
                zero = self._diagrams.both(condition, self._equal(operand, _ZERO))
                if zero != FALSE:  # the kernel ends the program and returns 0
                    self._return(outcomes, zero, _ZERO)
                    condition = self._diagrams.without(condition, zero)
                if condition == FALSE:
                    return []
            a = self._compute(index, operation, a, operand)
        elif code in {bpf.ST, bpf.STX}:
            scratch = {**scratch, k: a if code == bpf.ST else x}
        elif code in {bpf.TAX, bpf.TXA}:
            a, x = (a, a) if code == bpf.TAX else (x, x)
        elif code == bpf.NEG:
            a = self._sum(_ZERO, self._inverted(a), carry=TRUE)
        else:
            word = self._loaded(code, k, scratch)
            to_x = code in {bpf.LDX_IMM, bpf.LDX_MEM, bpf.LDX_LEN}
            a, x = (a, word) if to_x else (word, x)
        return [(index + 1, _State(condition, a, x, scratch))]

    def _loaded(self, code: int, k: int, scratch: Mapping[int, Word]) -> Word:
        if code in {bpf.LD_IMM, bpf.LDX_IMM}:
            return _constant(k)
        if code in {bpf.LD_LEN, bpf.LDX_LEN}:
            return _constant(bpf.SECCOMP_DATA_SIZE)
        if code in {bpf.LD_MEM, bpf.LDX_MEM}:
            return scratch[k]
        return self._word(k)

    def _word(self, offset: int) -> Word:
        """The input word at an offset of ``struct seccomp_data``."""
        if offset == bpf.OFFSET_ARCH and self._token is not None:
            return _constant(self._token)
        if offset not in self._words:
            base = self._base(offset)
            self._words[offset] = tuple(
                self._diagrams.either_way(base + place) for place in range(WORD_BITS)
            )
        return self._words[offset]

    def _base(self, offset: int) -> int:
        if offset == bpf.OFFSET_NR:
            return _NR_BASE
        if offset == bpf.OFFSET_ARCH:
            return _ARCH_BASE
        wide, second = divmod(offset - bpf.OFFSET_POINTER, 8)
        low = bool(second) == self._big_endian
        base = _POINTER_BASE if wide == 0 else _ARGS_BASE + 2 * WORD_BITS * (wide - 1)
        return base + (WORD_BITS if low else 0)

    def _merged(self, one: _State | None, other: _State) -> _State:
        """Merges the states of two paths that meet; no input takes both paths."""
        if one is None or one.condition == FALSE:
            return other
        if other.condition == FALSE:
            return one
        condition = self._diagrams.any_of(one.condition, other.condition)
        scratch = {
            place: self._either(one.condition, word, other.scratch[place])
            for place, word in one.scratch.items()
            if place in other.scratch
        }
        a = self._either(one.condition, one.a, other.a)
        return _State(condition, a, self._either(one.condition, one.x, other.x), scratch)

    def _either(self, condition: int, one: Word, other: Word) -> Word:
        if one == other:
            return one
        choose = self._diagrams.choose
        return tuple(choose(condition, a, b) for a, b in zip(one, other, strict=True))

    def _holds(self, operation: int, a: Word, operand: Word) -> int:
        if operation == bpf.JEQ:
            return self._equal(a, operand)
        if operation == bpf.JSET:
            found = FALSE
            for one, other in zip(reversed(a), reversed(operand), strict=True):
                found = self._diagrams.any_of(found, self._diagrams.both(one, other))
            return found
        return self._not_less(a, operand, equal=operation == bpf.JGE)

    def _equal(self, one: Word, other: Word) -> int:
        choose = self._diagrams.choose
        same = TRUE
        for a, b in zip(reversed(one), reversed(other), strict=True):
            same = choose(a, choose(b, same, FALSE), choose(b, FALSE, same))
        return same

    def _not_less(self, one: Word, other: Word, *, equal: bool) -> int:
        """The inputs for which one word is greater than another, or equal if that counts."""
        choose = self._diagrams.choose
        found = TRUE if equal else FALSE
        for a, b in zip(reversed(one), reversed(other), strict=True):
            found = choose(a, choose(b, found, TRUE), choose(b, FALSE, found))
        return found

    def _inverted(self, word: Word) -> Word:
        return tuple(self._diagrams.complement(bit) for bit in word)

    def _sum(self, one: Word, other: Word, *, carry: int = FALSE) -> Word:
        digits: list[int] = []
        for a, b in zip(reversed(one), reversed(other), strict=True):
            unequal = self._diagrams.different(a, b)
            digits.append(self._diagrams.different(unequal, carry))
            carry = self._diagrams.choose(unequal, carry, a)
        return tuple(reversed(digits))

    def _compute(self, index: int, operation: int, a: Word, operand: Word) -> Word:
        if operation == bpf.ADD:
            return self._sum(a, operand)
        if operation == bpf.SUB:
            return self._sum(a, self._inverted(operand), carry=TRUE)
        if operation in {bpf.AND, bpf.OR, bpf.XOR}:
            combine = {
                bpf.AND: self._diagrams.both,
                bpf.OR: self._diagrams.any_of,
                bpf.XOR: self._diagrams.different,
            }[operation]
            return tuple(combine(one, other) for one, other in zip(a, operand, strict=True))
        if _is_constant(a) and _is_constant(operand):
            return _constant(bpf.compute(operation, _value(a), _value(operand)))
        if operation in {bpf.LSH, bpf.RSH}:
            return self._shift(index, a, operand, left=operation == bpf.LSH)
        return self._scaled(index, operation, a, operand)

    def _shift(self, index: int, word: Word, count: Word, *, left: bool) -> Word:
        """The word shifted by X or by a constant."""
        if self._is_tangled(word, count):
            return self._unknown(index, "shift")
        return self._shifted(word, count, left=left)

    def _is_tangled(self, word: Word, count: Word) -> bool:
        """Whether a diagram of the shifted word would have to remember all of its bits."""
        counted = [self._diagrams.support(bit) for bit in count[-_COUNT_BITS:]]
        shifted = [self._diagrams.support(bit) for bit in word]
        last = max((max(found) for found in counted if found), default=-1)
        first = min((min(found) for found in shifted if found), default=last + 1)
        return last >= first

    def _shifted(self, word: Word, count: Word, *, left: bool) -> Word:
        """The shifted word; the kernel uses the low five bits of X as the count."""
        for stage in range(_COUNT_BITS):
            by = 1 << stage
            moved = (*word[by:], *_ZERO[:by]) if left else (*_ZERO[:by], *word[:-by])
            word = self._either(count[WORD_BITS - 1 - stage], moved, word)
        return word

    def _scaled(self, index: int, operation: int, a: Word, operand: Word) -> Word:
        """A product or quotient."""
        if operation == bpf.MUL and _is_constant(a):
            a, operand = operand, a
        if _is_constant(operand):
            value = _value(operand)
            power = value.bit_length() - 1
            if operation == bpf.DIV and value == 1 << power:
                return self._shifted(a, _constant(power), left=False)
            if operation == bpf.MUL:
                total = _ZERO
                for place in (place for place in range(WORD_BITS) if value >> place & 1):
                    total = self._sum(total, self._shifted(a, _constant(place), left=True))
                return total
        return self._unknown(index, "product" if operation == bpf.MUL else "quotient")

    def _unknown(self, index: int, what: str) -> Word:
        """A word of which nothing is known."""
        self.inexact.append(f"instruction {index}: a {what} whose value is not tracked")
        base = _UNKNOWN_BASE + WORD_BITS * self._unknowns
        self._unknowns += 1
        return tuple(self._diagrams.either_way(base + place) for place in range(WORD_BITS))


_A: Final = 1 << bpf.SCRATCH_WORDS
_X: Final = 2 << bpf.SCRATCH_WORDS
"""A and X in a set of words; scratch words are the bits below."""


def _alive(program: Program) -> list[int]:
    """For each instruction, the words that it or a later one may still read.

    What nobody reads needs no diagrams where two ways meet: that is most of the work, for the
    returns of a filter are where all its ways meet.
    """
    alive = [0] * len(program)
    for index in reversed(range(len(program))):
        code, k = program[index].code, program[index].k
        x = _X if code & bpf.SOURCE_X else 0
        after = 0
        for target in bpf.targets(index, program[index]):
            after |= alive[target]
        if code in {bpf.RET_K, bpf.RET_A}:
            alive[index] = _A if code == bpf.RET_A else 0
        elif code == bpf.JA:
            alive[index] = after
        elif bpf.is_jump(code) or bpf.is_arithmetic(code):
            alive[index] = after | _A | x
        elif code in {bpf.ST, bpf.STX}:
            alive[index] = after & ~(1 << k) | (_A if code == bpf.ST else _X)
        elif code == bpf.NEG:
            alive[index] = after | _A
        else:
            written = _X if code in {bpf.LDX_IMM, bpf.LDX_MEM, bpf.LDX_LEN, bpf.TAX} else _A
            read = {bpf.TAX: _A, bpf.TXA: _X}.get(code, 0)
            if code in {bpf.LD_MEM, bpf.LDX_MEM}:
                read = 1 << k
            alive[index] = after & ~written | read
    return alive


def _without_dead_words(state: _State, alive: int) -> _State:
    return _State(
        state.condition,
        state.a if alive & _A else _ZERO,
        state.x if alive & _X else _ZERO,
        {place: word for place, word in state.scratch.items() if alive >> place & 1},
    )


def recorded(value: int) -> int:
    """Marks a return value that the kernel records for a filter's SECCOMP_FILTER_FLAG_LOG alone.

    Kills and LOG are on record whatever the flag, and ALLOW never is (``seccomp_log()`` in
    kernel/seccomp.c).
    """
    return value | RECORDED if FilterReturn.decode(value).action in _RECORDED_BY_FLAG else value


def _winner(older: int, newer: int) -> int:
    """The one of two return values that the kernel acts on (``seccomp_run_filters()``)."""
    return older if _rank(older) < _rank(newer) else newer


def _rank(value: int) -> int:
    """The precedence of a raw value: its action half as a signed number, known or not."""
    action = value & ACTION_MASK
    return action - (1 << WORD_BITS) if action >> (WORD_BITS - 1) else action
