"""Binary decision diagrams: exact sets of assignments to numbered yes/no variables. Pure.

Reduced and ordered (Bryant 1986): a set has one diagram only, so equal sets are equal numbers, and
any diagram but FALSE has a member. What a seccomp filter compares makes small diagrams, because a
comparison with a constant is one path through the bits.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

FALSE: Final = 0
TRUE: Final = 1
_LAST: Final = 1 << 30
"""The variable of the two leaves: after every other."""


_MEMORIES: Final = 4
"""The most cached results of an operation, for each node that the store may hold."""

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
        self._any: dict[tuple[int, int], int] = {}
        self._without: dict[tuple[int, int], int] = {}

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
        """The set of all assignments in which the variable is yes."""
        return self.node(variable, FALSE, TRUE)

    # The next three are written out, each with its own memory, because they are most of a proof.

    def both(self, a: int, b: int) -> int:
        """The intersection of two sets."""
        if a > b:
            a, b = b, a
        if a <= TRUE or a == b:
            return b if a == TRUE else a
        found = self._both.get((a, b))
        if found is None:
            of_a, of_b = self._variable[a], self._variable[b]
            if of_a == of_b:
                no = self.both(self._no[a], self._no[b])
                yes = self.both(self._yes[a], self._yes[b])
            elif of_a < of_b:
                no, yes = self.both(self._no[a], b), self.both(self._yes[a], b)
            else:
                no, yes = self.both(a, self._no[b]), self.both(a, self._yes[b])
            found = self.node(min(of_a, of_b), no, yes)
            self._remember(self._both, (a, b), found)
        return found

    def any_of(self, a: int, b: int) -> int:
        """The union of two sets."""
        if a > b:
            a, b = b, a
        if a <= TRUE or a == b:
            return b if a == FALSE else a
        found = self._any.get((a, b))
        if found is None:
            of_a, of_b = self._variable[a], self._variable[b]
            if of_a == of_b:
                no = self.any_of(self._no[a], self._no[b])
                yes = self.any_of(self._yes[a], self._yes[b])
            elif of_a < of_b:
                no, yes = self.any_of(self._no[a], b), self.any_of(self._yes[a], b)
            else:
                no, yes = self.any_of(a, self._no[b]), self.any_of(a, self._yes[b])
            found = self.node(min(of_a, of_b), no, yes)
            self._remember(self._any, (a, b), found)
        return found

    def without(self, a: int, b: int) -> int:
        """The difference of two sets: what is in the first and not in the second."""
        if FALSE in {a, b}:
            return a
        if b in {a, TRUE}:
            return FALSE
        found = self._without.get((a, b))
        if found is None:
            of_a, of_b = self._variable[a], self._variable[b]
            if of_a == of_b:
                no = self.without(self._no[a], self._no[b])
                yes = self.without(self._yes[a], self._yes[b])
            elif of_a < of_b:
                no, yes = self.without(self._no[a], b), self.without(self._yes[a], b)
            else:
                no, yes = self.without(a, self._no[b]), self.without(a, self._yes[b])
            found = self.node(min(of_a, of_b), no, yes)
            self._remember(self._without, (a, b), found)
        return found

    def complement(self, a: int) -> int:
        """The complement of the set."""
        return self.without(TRUE, a)

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
        """The symmetric difference: what is in exactly one of the two sets."""
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
