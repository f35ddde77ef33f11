"""Which cases this process is going to judge next, so that the instrument can work ahead."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import pytest

from cases.run.stash import PLANNED
from probes.judging.plan import Case


class Upcoming:
    """Knows which test is running, and which ones this process will run after it.

    Without xdist that is the order of the collection. A worker of xdist is given its tests in
    portions, which wait in a queue.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        """Prepares to listen.

        Args:
            cases: the planned cases.
        """
        self._cases = {f"{case.function}[{case.id}]": case for case in cases}
        self._items: Sequence[pytest.Item] = ()
        self._places: dict[pytest.Item, int] = {}
        self._is_worker = False
        self._queue: Any = None
        self._next: pytest.Item | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes the tests in the order in which they will run, and where a worker finds its own."""
        self._items = session.items
        self._places = {item: place for place, item in enumerate(session.items)}
        self._is_worker = hasattr(session.config, "workerinput")
        plugins = session.config.pluginmanager.get_plugins()
        self._queue = next((one.torun for one in plugins if hasattr(one, "torun")), None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Notes which test comes after the one that begins."""
        del item
        self._next = nextitem

    def cases(self) -> Iterator[Case]:
        """The cases after the test that is running, the next one first."""
        for item in self._following():
            case = self._cases.get(item.name)
            if case is not None:
                yield case

    def _following(self) -> Sequence[pytest.Item]:
        if self._next is None:
            return ()
        if not self._is_worker:
            return self._items[self._places[self._next] :]
        return [self._next, *(self._items[place] for place in _waiting(self._queue))]


def _waiting(queue: Any) -> Sequence[int]:  # noqa: ANN401 - xdist has no stable types
    """The places of the tests that a worker was given and has not begun.

    None where its queue cannot be looked at, as before xdist 3.7: then the next test is all that is
    known.
    """
    if not hasattr(queue, "lock"):
        return ()
    with queue.lock() as places:
        return [place for place in places if isinstance(place, int)]


_UPCOMING: Final = pytest.StashKey[Upcoming]()


def pytest_configure(config: pytest.Config) -> None:
    """Listens where cases are judged."""
    planned = config.stash.get(PLANNED, None)
    if planned is not None:
        config.stash[_UPCOMING] = Upcoming(planned.settings.cases)
        config.pluginmanager.register(config.stash[_UPCOMING])


def of(config: pytest.Config) -> Callable[[], Iterator[Case]]:
    """What gives the cases after the test that is running, the next one first."""
    return config.stash[_UPCOMING].cases
