"""Binary decision diagrams: exact sets of assignments to numbered yes/no variables. Pure.

Reduced and ordered (Bryant 1986): a set has one diagram only, so equal sets are equal numbers, and
any diagram but FALSE has a member. What a seccomp filter compares makes small diagrams, because a
comparison with a constant is one path through the bits.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

FALSE: Final = 0
TRUE: Final = 1
_LAST: Final = 1 << 30
"""The variable of the two leaves: after every other."""


_MEMORIES: Final = 4
"""How many results of an operation are kept for each node that there may be."""

_Key = TypeVar("_Key", bound=tuple[int, ...])


class TooLargeError(Exception):
    """A diagram outgrew its bound."""


class Diagrams:
    """A store of diagrams over one order of variables.

    Attributes:
        limit: how many nodes it may grow to.
    """

    def __init__(self, limit: int) -> None:
        """Starts with the two leaves.

        Args:
            limit: how many nodes the store may hold.
        """
        self.limit = limit
        self._variable = [_LAST, _LAST]
        self._no = [FALSE, TRUE]
        self._yes = [FALSE, TRUE]
        self._unique: dict[tuple[int, int, int], int] = {}
        self._both: dict[tuple[int, int], int] = {}
        self._choices: dict[tuple[int, int, int], int] = {}
        self._inverse: dict[int, int] = {FALSE: TRUE, TRUE: FALSE}

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._variable)

    def variable_of(self, node: int) -> int:
        """The variable that a node decides on; beyond every variable for the leaves."""
        return self._variable[node]

    def branches(self, node: int) -> tuple[int, int]:
        """The diagrams where the node's variable is no, and where it is yes."""
        return self._no[node], self._yes[node]

    def node(self, variable: int, no: int, yes: int) -> int:
        """The diagram that decides on ``variable`` first.

        Raises:
            TooLargeError: the store is full.
        """
        if no == yes:
            return no
        key = (variable, no, yes)
        found = self._unique.get(key)
        if found is None:
            found = len(self._variable)
            if found >= self.limit:
                raise TooLargeError(f"more than {self.limit} nodes")
            self._unique[key] = found
            self._variable.append(variable)
            self._no.append(no)
            self._yes.append(yes)
        return found

    def _remember(self, memory: dict[_Key, int], key: _Key, found: int) -> None:
        if len(memory) >= _MEMORIES * self.limit:
            raise TooLargeError(f"more than {_MEMORIES * self.limit} steps")
        memory[key] = found

    def either_way(self, variable: int) -> int:
        """The set in which the variable is yes."""
        return self.node(variable, FALSE, TRUE)

    def complement(self, a: int) -> int:
        """Everything that is not in the set."""
        found = self._inverse.get(a)
        if found is None:
            found = self.node(
                self._variable[a], self.complement(self._no[a]), self.complement(self._yes[a])
            )
            self._inverse[a] = found
            self._inverse[found] = a
        return found

    def both(self, a: int, b: int) -> int:
        """What is in both sets."""
        if b in {a, TRUE}:
            return a
        if a == TRUE:
            return b
        if FALSE in {a, b}:
            return FALSE
        key = (a, b) if a < b else (b, a)
        found = self._both.get(key)
        if found is None:
            found = self._split(a, b, self.both)
            self._remember(self._both, key, found)
        return found

    def _split(self, a: int, b: int, combine: Callable[[int, int], int]) -> int:
        of_a, of_b = self._variable[a], self._variable[b]
        first = min(of_a, of_b)
        no_a, yes_a = (self._no[a], self._yes[a]) if of_a == first else (a, a)
        no_b, yes_b = (self._no[b], self._yes[b]) if of_b == first else (b, b)
        return self.node(first, combine(no_a, no_b), combine(yes_a, yes_b))

    def any_of(self, a: int, b: int) -> int:
        """What is in at least one of the sets."""
        return self.complement(self.both(self.complement(a), self.complement(b)))

    def choose(self, condition: int, a: int, b: int) -> int:
        """The set ``a`` where the condition holds, and ``b`` elsewhere."""
        if condition == TRUE or a == b:
            return a
        if condition == FALSE:
            return b
        if a == TRUE and b == FALSE:
            return condition
        variable = self._variable[condition]
        if (
            self._no[condition] == FALSE
            and self._yes[condition] == TRUE
            and variable < self._variable[a]
            and variable < self._variable[b]
        ):
            return self.node(variable, b, a)
        key = (condition, a, b)
        found = self._choices.get(key)
        if found is None:
            first = min(self._variable[node] for node in key)
            no, yes = zip(*(self._cofactors(node, first) for node in key), strict=True)
            found = self.node(first, self.choose(*no), self.choose(*yes))
            self._remember(self._choices, key, found)
        return found

    def _cofactors(self, node: int, variable: int) -> tuple[int, int]:
        if self._variable[node] == variable:
            return self._no[node], self._yes[node]
        return node, node

    def different(self, a: int, b: int) -> int:
        """What is in exactly one of the sets."""
        return self.choose(a, self.complement(b), b)

    def member(self, a: int) -> dict[int, bool] | None:
        """One assignment in the set, with "no" wherever that is possible; None for the empty set.

        Variables that do not matter are left out.
        """
        if a == FALSE:
            return None
        chosen: dict[int, bool] = {}
        while a != TRUE:
            chosen[self._variable[a]] = self._no[a] == FALSE
            a = self._yes[a] if self._no[a] == FALSE else self._no[a]
        return chosen

    def members(self, a: int) -> Iterator[dict[int, bool]]:
        """Partial assignments that together make up the set; no two of them overlap."""
        pending: list[tuple[int, dict[int, bool]]] = [(a, {})]
        while pending:
            node, chosen = pending.pop()
            if node == TRUE:
                yield chosen
            elif node != FALSE:
                variable = self._variable[node]
                pending.append((self._yes[node], {**chosen, variable: True}))
                pending.append((self._no[node], {**chosen, variable: False}))

    def support(self, a: int) -> frozenset[int]:
        """The variables on which the set depends."""
        seen: set[int] = set()
        found: set[int] = set()
        waiting = [a]
        while waiting:
            node = waiting.pop()
            if node > TRUE and node not in seen:
                seen.add(node)
                found.add(self._variable[node])
                waiting += (self._no[node], self._yes[node])
        return frozenset(found)
