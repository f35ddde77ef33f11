"""What is known of a node's run in the process that has started the node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cases.run import account
from cases.run.keeping import KeptJournal
from cases.run.node import Begun
from probes.cell import Cell, CellKey
from probes.errors import BadInputError, ExitStatus
from reports import results
from reports.results import Run, journal
from reports.results.changes import Identity
from reports.results.codec import from_json
from reports.results.fields import parse
from reports.results.journal import JudgedCells


@dataclass(slots=True)
class NodeRun:
    """A node, and what has become known of its run.

    Attributes:
        name: the node's name.
        spec: how it is reached, as the user wrote it.
        heard: when it last said something, by the monotonic clock.
        begun: what it said before it judged anything; None until then.
        judged: what it has judged so far.
        kept: the journal of its run.
        run: its own record, once it is done.
        lost: why it has none, in a sentence; "" while that is not known.
        status: the exit status that goes with that.
        never: *broken* cells for what it never judged, by key; others may be among them.
    """

    name: str
    spec: str
    heard: float
    begun: Begun | None = None
    judged: JudgedCells = field(default_factory=JudgedCells)
    kept: KeptJournal = field(default_factory=KeptJournal)
    run: Run | None = None
    lost: str = ""
    status: ExitStatus = ExitStatus.BROKEN
    never: dict[CellKey, Cell] = field(default_factory=dict)

    @property
    def tests(self) -> Mapping[str, tuple[CellKey, ...]]:
        """The cells of its tests by node id; none before it has begun."""
        return self.begun.tests if self.begun else {}

    @property
    def left_out(self) -> frozenset[Identity]:
        """The cells of its job that it does not judge."""
        return self.begun.left_out if self.begun else frozenset()

    @property
    def planned(self) -> Sequence[CellKey]:
        """The cells that it judges, and the controls that vouch for them."""
        return account.planned(self.tests, self.judged)

    def named(self, nodeid: str) -> str:
        """A test's node id that no other node has: ``test_kill.py::test_terminates[acct@gw0]``."""
        # Behind the bracket pytest's summary would not take it for part of the name.
        return f"{nodeid[:-1]}@{self.name}]" if nodeid.endswith("]") else f"{nodeid}@{self.name}"

    def begin(self, begun: Begun, folder: Path) -> None:
        """Takes in what it says before it judges.

        Args:
            begun: that.
            folder: where its journal shall be.
        """
        self.begun = begun
        self.kept.begin_if_possible(folder, begun.head)
        self.kept.plan({key for keys in begun.tests.values() for key in keys}, begun.job)

    def take(self, nodeid: str, carried: Mapping[str, Any]) -> None:
        """Takes in what a test of it has judged."""
        self.judged.take(nodeid, carried)
        self.kept.note(nodeid, carried)

    def receive(self, text: str) -> None:
        """Takes in its record, if it is whole."""
        try:
            run = from_json(parse(text))
        except BadInputError as error:
            self.lost = f"its record is damaged: {error}"
            return
        known = {cell.key: cell for cell in run.cells}
        lacking = set(self.planned) - set(known)
        if lacking or run.planned != len(known):
            self.lost = f"its record lacks cells that it was to judge, {len(lacking)} of them"
            return
        self.run, self.never = run, known

    def record(self, *, complete: bool) -> Run | None:
        """Its record, of a lost node with *broken* cells; None if it never began."""
        if self.run is not None or self.begun is None:
            return self.run
        chosen = self.planned
        lost = results.missing(chosen, self.judged.cells)
        self.never = {cell.key: cell for cell in lost}
        known = journal.so_far(self.begun.head, self.judged)
        return replace(
            known,
            planned=len(chosen),
            selected_of=self.begun.job,
            cells=(*known.cells, *lost),
            complete=complete,
        )

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test came to on it."""
        return account.cells_of(nodeid, self.tests.get(nodeid, ()), self.judged, self.never)


def why_lost(error: object) -> str:
    """What xdist says of a node that went without a record, in a sentence."""
    said = str(error or "").strip().splitlines()
    if not said or said[-1] == "Not properly terminated":
        return "it was lost: its process, its machine or the connection to it broke off"
    return f"it was lost: {said[-1]}"


def loss(same: Sequence[NodeRun]) -> str:
    """Why nodes have no record of their own, in a sentence.

    Args:
        same: nodes that were lost alike.
    """
    names = ", ".join(f"{node.name} ({node.spec})" for node in same)
    which = "node" if len(same) == 1 else "nodes"
    begun = any(node.tests for node in same)
    rest = "; what it did not judge is broken" if begun else ""
    return f"{which} {names}: {same[0].lost.rstrip('.')}{rest}"


def why_unreachable(node: NodeRun | None, error: Exception) -> str:
    """Why a node cannot be brought up, in a sentence.

    Args:
        node: the node; None where nobody knows which it is.
        error: what execnet or xdist ran into.
    """
    said = str(error).strip().splitlines()
    why = f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
    which = f"node {node.name} ({node.spec})" if node else "a node"
    return (
        f"{which} cannot be brought up: {why}: see that it is up, and that its Python has the"
        " packages that the suite needs; nothing was judged"
    )
