"""On a node of xdist's ``--dist each``: its run on its own kernel, and what it hands over."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import pytest

from cases.run import ending
from cases.run.account import Account
from cases.run.carried import carried_by
from probes.cell import CellKey, Claim
from probes.errors import ExitStatus
from reports.results import Run, journal
from reports.results.changes import Identity
from reports.results.codec import to_json

ORDER: Final = "syscall_conformance_order"
"""Where in xdist's ``workerinput`` a node's order is, in plain data."""

OUTPUT: Final = "syscall_conformance"
"""The key in xdist's ``workeroutput`` of what a node sends to the controller, in plain data."""

BEGUN: Final = "syscall_conformance_begun"
"""The key in a node's first report of what the node is going to judge, in plain data."""


class Node:
    """The plug-in of a node: keeps account of its run, and sends the record to the controller."""

    def __init__(self, made: Account | None, refusal: str = "", status: int = 0) -> None:
        """Prepares to listen.

        Args:
            made: the account of the run; None where there is none.
            refusal: why there is none, in a sentence.
            status: the exit status that goes with the refusal.
        """
        self._account = made
        self._output = {"refusal": refusal, "status": status, "record": ""}
        self._told = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Runs nothing where the order was refused."""
        if self._account is None:
            items.clear()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes which tests will run."""
        if self._account is not None:
            self._account.select([item.nodeid for item in session.items])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        """Sends with the first report what is going to be judged, and where."""
        report = yield
        if self._account is not None and not self._told:
            setattr(report, BEGUN, Begun.of(self._account).to_plain())
            self._told = True
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in the cells of a test."""
        carried = carried_by(report)
        if self._account is not None and carried is not None:
            self._account.judged.take(report.nodeid, carried)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hands the record over; xdist sends it after this."""
        if self._account is not None and not self._account.tests:
            self._output["refusal"] = "no test was selected there"
            self._output["status"] = int(ExitStatus.NOTHING_ASSESSED)
        elif self._account is not None:
            complete = not ending.is_cut_short(session)
            self._output["record"] = to_json(self._account.record(complete=complete))
        session.config.workeroutput[OUTPUT] = self._output  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Begun:
    """The first message of a node, sent before it judges.

    Attributes:
        head: what is known of its run by then.
        tests: the cells of its tests by node id.
        left_out: the cells of its job that it does not judge.
        job: how many cells its whole job has.
    """

    head: Run
    tests: Mapping[str, tuple[CellKey, ...]]
    left_out: frozenset[Identity]
    job: int

    @classmethod
    def of(cls, made: Account) -> Self:
        """What the account of a run says."""
        return cls(made.head, made.tests, frozenset(made.left_out), made.job)

    def to_plain(self) -> dict[str, Any]:
        """In types that xdist can send, and ``from_plain`` understands."""
        return {
            "head": journal.head_to_text(self.head),
            "tests": [
                [nodeid, list(map(_key_to_plain, keys))] for nodeid, keys in self.tests.items()
            ],
            "left_out": [list(map(_plain, one)) for one in self.left_out],
            "job": self.job,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """What ``to_plain`` was given."""
        return cls(
            journal.head_from_text(plain["head"]),
            {nodeid: tuple(map(_key_from_plain, keys)) for nodeid, keys in plain["tests"]},
            frozenset((Claim(one[0]), *one[1:]) for one in plain["left_out"]),
            plain["job"],
        )


def _key_to_plain(key: CellKey) -> list[Any]:
    told = [str(key.claim), key.profile, key.arch, key.syscall, key.number]
    return [*told, key.variant, key.stack]


def _key_from_plain(plain: Sequence[Any]) -> CellKey:
    claim, *rest = plain
    return CellKey(Claim(claim), *rest)


def _plain(value: str | int | None) -> str | int | None:
    return str(value) if isinstance(value, str) else value
