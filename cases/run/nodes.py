"""The main job on several machines at once: pytest-xdist's ``--dist each``, a kernel a node.

Each node judges its own kernel as a run without xdist would, and hands its record over when it is
done. Here, in the process that starts the nodes, the records are joined to one. What a node has
reported is kept in a journal meanwhile, so that a node that is lost leaves what it has judged; the
rest of its cells is *broken*.
"""

import os
import re
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from cases.run.asked import Asked
from cases.run.carried import carried_by
from cases.run.node import BEGUN, ORDER, OUTPUT, Begun
from cases.run.node_run import NodeRun, loss, why_lost, why_unreachable
from cases.run.scheduling import EachOnItsOwn
from cases.run.silence import SilenceWatch, at_most
from probes.cell import Cell
from probes.errors import ExitStatus
from probes.run.order import Order
from probes.text import visible
from reports import results, summary
from reports.results import Run, journal, provenance
from reports.results.changes import Identity
from reports.results.provenance import RunBy

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_XDISTS_OWN: Final = "execmodel=main_thread_only//"
"""What xdist puts before the words by which the user names a node."""


class Nodes:
    """Starts nodes, follows their runs, and joins their records."""

    def __init__(self, config: pytest.Config, order: Order, asked: Asked, silence: float) -> None:
        """Prepares xdist for nodes of this kind.

        Args:
            config: pytest's.
            order: what every node shall judge.
            asked: what the options say about the run besides.
            silence: for how many seconds a node may say nothing.
        """
        self._config = config
        self._order = order
        self._asked = asked
        self._silence = silence
        self._folder = asked.folder
        self._runs: dict[str, NodeRun] = {}
        self._tests: dict[str, tuple[NodeRun, str]] = {}
        self._reached: set[str] = set()
        self._controllers: dict[str, Any] = {}
        self._session: pytest.Session | None = None
        self._watch = SilenceWatch(silence, self._runs, self._controllers)
        # A node that is lost has lost its kernel, too: what is started anew is another run.
        config.option.maxworkerrestart = "0"

    # What xdist tells

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None, None, None]:
        """Has a node that cannot be reached end the run in a sentence, before it begins."""
        self._session = session
        try:
            with at_most(self._silence):
                yield
        except pytest.UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever execnet and xdist run into
            runs = self._runs.values()
            missing = [run for run in runs if run.name not in self._reached]
            which = next(iter(missing or runs), None)
            pytest.exit(why_unreachable(which, error), returncode=int(ExitStatus.BROKEN))
        self._watch.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config, specs: Sequence[Any]) -> None:
        """Takes note of the nodes, and keeps xdist from copying pytest to them.

        Raises:
            UsageError: a node has no good name, or words of the command line mean nothing there.
        """
        for spec in specs:
            if not _NAME.fullmatch(str(spec.id)):
                raise pytest.UsageError(
                    f"--tx: the node's name {visible(str(spec.id))!r} is no name of a"
                    " file: write such as id=s390x"
                )
            if spec.id in self._runs:
                raise pytest.UsageError(
                    f"--tx: two nodes have the name {spec.id}: give each an id of its own"
                )
            words = str(spec).removeprefix(_XDISTS_OWN)
            self._runs[spec.id] = NodeRun(spec.id, words, time.monotonic())
        session: Any = config.pluginmanager.getplugin("dsession")
        manager = session.nodemanager
        # Otherwise it puts this pytest into the checkouts there, in front of their own.
        chosen = {Path(folder).resolve() for folder in config.getoption("rsyncdir")}
        manager.roots = [root for root in manager.roots if root in chosen]
        if not manager.roots and any(spec.chdir or not spec.popen for spec in specs):
            self._refuse_paths()

    def _refuse_paths(self) -> None:
        for word in map(str, self._config.invocation_params.args):
            if (self._config.invocation_params.dir / word.partition("::")[0]).exists():
                raise pytest.UsageError(
                    f"{word}: xdist cannot hand a path to a node elsewhere: select tests by -k,"
                    " and join an option and its path by an equals sign"
                )

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_newgateway(self, gateway: Any) -> None:  # noqa: ANN401
        """Notes which nodes are reached."""
        self._reached.add(gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401
        """Gives the order."""
        self._controllers[node.gateway.id] = node
        self._heard(node)
        node.workerinput[ORDER] = self._order.to_plain()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> EachOnItsOwn:
        """Lets every node run on its own."""
        return EachOnItsOwn(len(self._runs))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: Any) -> None:  # noqa: ANN401
        """Tells a node to run everything, and to end then."""
        self._heard(node)
        node.send_runtest_all()
        node.shutdown()

    def _heard(self, node: Any) -> NodeRun:  # noqa: ANN401
        run = self._runs[node.gateway.id]
        run.heard = time.monotonic()
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in what a node says of a test, and has everybody else see whose test it is."""
        run = self._heard(report.node)
        begun = getattr(report, BEGUN, None)
        if begun is not None:
            self._begin(run, Begun.from_plain(begun))
        carried = carried_by(report)
        if carried is not None:
            run.take(report.nodeid, carried)
        report.nodeid = run.named(report.nodeid)

    def _begin(self, run: NodeRun, begun: Begun) -> None:
        run.begin(begun, journal.of_node(self._folder, run.name))
        self._tests |= {run.named(nodeid): (run, nodeid) for nodeid in begun.tests}
        if self._session is not None:  # of which xdist only knows one node's
            self._session.testscollected = sum(len(one.tests) for one in self._runs.values())

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401
        """Takes in a node's record, or why there is none."""
        run = self._heard(node)
        self._controllers.pop(run.name, None)
        output = getattr(node, "workeroutput", {}).get(OUTPUT)
        if output is None:
            run.lost = run.lost or why_lost(error)
        elif output["record"]:
            run.receive(output["record"])
        else:
            run.lost, run.status = output["refusal"], ExitStatus(output["status"])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Ends the watch."""
        self._watch.end()

    # What the reports ask, by ``Follower``

    @property
    def troubles(self) -> Sequence[str]:
        """Sentences about what went wrong, alike ones of several nodes together."""
        runs = self._runs.values()
        lost = summary.gathered((run for run in runs if run.lost), lambda run: run.lost)
        unkept = [trouble for run in runs for trouble in run.kept.troubles]
        return [*unkept, *(loss(same) for same in lost.values())]

    @property
    def status(self) -> ExitStatus | None:
        """The exit status where no test was begun on any node."""
        told = {run.status for run in self._runs.values()}
        if not told:
            return None
        return ExitStatus.BROKEN if ExitStatus.BROKEN in told else min(told)

    @property
    def tests(self) -> Sequence[str]:
        """The tests of all nodes, node by node."""
        return [run.named(nodeid) for run in self._runs.values() for nodeid in run.tests]

    @property
    def left_out(self) -> set[Identity]:
        """The cells that a node could judge and none does.

        The controls are judged wherever anything is.
        """
        runs = self._runs.values()
        left_out = {identity for run in runs for identity in run.left_out}
        return left_out - {results.identity(key) for run in runs for key in run.planned}

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test of a node came to."""
        run, test = self._tests.get(nodeid, (None, ""))
        return () if run is None else run.cells_of(test)

    def open(self, folder: Path) -> None:
        """The journals are begun when the nodes have said what they do."""
        self._folder = folder

    def record(self, *, complete: bool) -> Run:
        """The nodes' records as one."""
        records = [run.record(complete=complete) for run in self._runs.values()]
        # A node may be lost with nothing broken: before it began, or when all was judged but not
        # what the waivers came to.
        whole = all(run.run or run.never for run in self._runs.values())
        joined = results.join([record for record in records if record is not None])
        return replace(
            joined,
            started=self._asked.started,
            finished=datetime.now(UTC),
            run_by=RunBy() if self._asked.anonymous else provenance.read(os.environ),
            complete=complete and whole and joined.complete,
        )

    def limits(self, run: Run | None) -> Sequence[str]:
        """The ABIs that are not judged, by kernel."""
        return [
            f"not judged: {name}, by which {visible(where.kernel)} cannot be entered:"
            f" {visible(why)}"
            for where in (run.environments if run else ())
            for name, why in where.shut
        ]

    def discard(self) -> None:
        """Takes the journals away, and their folders if nothing else is in there."""
        for run in self._runs.values():
            if run.kept.discard():
                folder = journal.of_node(self._folder, run.name)
                with suppress(OSError):
                    folder.rmdir()
                    folder.parent.rmdir()

    def unbegun(self) -> None:
        """There is no journal of a node that never began."""
