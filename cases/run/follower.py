"""What follows a run in the process that hears of every test, and knows in the end what came of it.

A run on this kernel is followed here, one on several nodes in ``cases.run.nodes``.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from cases.run.account import Account
from cases.run.asked import Asked
from cases.run.carried import carried_by
from cases.run.keeping import KeptJournal
from probes.cell import Cell
from probes.errors import ExitStatus
from probes.run.settings import Settings
from probes.text import visible
from reports.results import Run
from reports.results.changes import Identity


class Follower(Protocol):
    """A plug-in that hears of the tests of a run by itself, and tells what becomes known of it."""

    @property
    def troubles(self) -> Sequence[str]:
        """Sentences about what went wrong on the way."""

    @property
    def status(self) -> ExitStatus | None:
        """The exit status where no test was begun; None for pytest's."""

    @property
    def tests(self) -> Sequence[str]:
        """The node ids of the selected tests, in the order of their collection."""

    @property
    def left_out(self) -> set[Identity]:
        """The cells of the whole job that are not judged, for their tests were not selected."""

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged; *broken* cells, once there is a record, for what it never did."""

    def open(self, folder: Path) -> None:
        """Begins a journal in the folder of reports.

        Raises:
            OSError: it cannot be written there.
        """

    def record(self, *, complete: bool) -> Run:
        """The record of the run, which is over.

        Args:
            complete: whether it has come to its end.
        """

    def limits(self, run: Run | None) -> Sequence[str]:
        """What a reader could take the verdict for, and it is not."""

    def discard(self) -> None:
        """Takes the journal away, which the record replaces."""

    def unbegun(self) -> None:
        """Takes a journal away in which nothing stands, for the run never began."""


class LocalRun:
    """Follows a run on this kernel, whose workers share the tests."""

    status: ExitStatus | None = None

    def __init__(self, settings: Settings, asked: Asked) -> None:
        """Prepares to listen.

        Args:
            settings: what the run does.
            asked: what the options say about it besides.
        """
        self._shut = settings.shut
        self._not_proved = settings.left_out
        self._account = Account(
            settings,
            asked.granted,
            asked.started,
            anonymous=asked.anonymous,
            node_name=asked.node_name,
        )
        self._journal = KeptJournal()

    # What pytest and xdist tell

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes which tests will run, where there are no workers."""
        self._select([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """Lets a worker be gone when it is given tests; xdist hears next that it is."""
        give = node.send_runtest_some

        def given(indices: Sequence[int]) -> None:
            with suppress(OSError):  # of execnet, for a connection that has broken off
                give(indices)

        node.send_runtest_some = given

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Notes which tests will run on the workers; every worker collects them all."""
        self._select(ids)

    def _select(self, nodeids: Sequence[str]) -> None:
        if self._account.tests:
            return
        self._account.select(nodeids)
        keys = {key for keys in self._account.tests.values() for key in keys}
        self._journal.plan(keys, self._account.job)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in the cells of a test."""
        carried = carried_by(report)
        if carried is not None:
            self._account.judged.take(report.nodeid, carried)
            self._journal.note(report.nodeid, carried)

    # What the reports ask, by ``Follower``

    @property
    def troubles(self) -> Sequence[str]:
        """Sentences about what went wrong on the way."""
        return self._journal.troubles

    @property
    def tests(self) -> Sequence[str]:
        """The node ids of the selected tests, in the order of their collection."""
        return tuple(self._account.tests)

    @property
    def left_out(self) -> set[Identity]:
        """The cells of the job that are not judged, for their tests were not selected."""
        return self._account.left_out

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged; *broken* cells, once there is a record, for what it never did."""
        return self._account.cells_of(nodeid)

    def open(self, folder: Path) -> None:
        """Begins the journal.

        Raises:
            OSError: it cannot be written there.
        """
        self._journal.begin(folder, self._account.head)

    def record(self, *, complete: bool) -> Run:
        """The record of the run."""
        return self._account.record(complete=complete)

    def limits(self, _run: Run | None) -> Sequence[str]:
        """The ABIs that are not judged, or not in full."""
        shut = [
            f"not judged: {name}, by which this kernel cannot be entered: {visible(why)}"
            for name, why in self._shut.items()
        ]
        names = ", ".join(one.name for one in self._not_proved)
        not_proved = (
            f"left out by --arch: {names}: the proof about every other architecture looks only at "
            "whether a documented call, or a number that no table knows, gets through there"
        )
        return [*shut, not_proved] if names else shut

    def discard(self) -> None:
        """Takes the journal away."""
        self._journal.discard()

    def unbegun(self) -> None:
        """Takes the journal away if nothing stands in it."""
        if not self._account.judged.by_test:
            self.discard()
