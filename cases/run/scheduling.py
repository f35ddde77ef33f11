"""xdist's scheduling for nodes that do not share their tests."""

from collections.abc import Sequence
from typing import Any


class EachOnItsOwn:
    """Has every node run everything, as soon as it is there; ``xdist.scheduler`` has the protocol.

    xdist's own scheduling for ``--dist each`` begins when all nodes have collected their tests,
    and lets none begin after one is lost.
    """

    def __init__(self, nodes: int) -> None:
        """Waits for nodes.

        Args:
            nodes: how many there will be.
        """
        self._awaited = nodes
        self._pending: dict[Any, list[int]] = {}
        self._collections: dict[Any, Sequence[str]] = {}

    @property
    def nodes(self) -> list[Any]:
        """The nodes that are there."""
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """Whether a node has collected its tests, so that it can begin."""
        return bool(self._collections)

    @property
    def tests_finished(self) -> bool:
        """Whether every node is gone."""
        return not self._awaited

    @property
    def has_pending(self) -> bool:
        """Whether some node has tests to run."""
        return any(self._pending.values())

    def add_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's classes have no stable types
        """Takes note of a node."""
        self._pending[node] = []

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:  # noqa: ANN401
        """Takes note of the tests that a node has collected."""
        self._collections[node] = collection
        self._pending[node] = list(range(len(collection)))

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ANN401, ARG002 - xdist's protocol
        """Takes note that a node has run a test."""
        if item_index in self._pending.get(node, ()):
            self._pending[node].remove(item_index)

    def remove_node(self, node: Any) -> str | None:  # noqa: ANN401
        """The test over which the node was lost, if it was."""
        pending = self._pending.pop(node)
        self._awaited -= 1
        return self._collections[node][pending[0]] if pending else None

    def schedule(self) -> None:
        """Everything was scheduled when the nodes came up."""
