"""The main job on several machines at once: pytest-xdist's ``--dist each``, a kernel a node.

Each node judges its own kernel as a run without xdist would, and hands its record over when it is
done. Here they are joined to one. What a node has reported is kept in a journal meanwhile, so that
a node that is lost leaves what it has judged; the rest of its cells is *broken*.

On the node ``Node`` listens, in the process that starts the nodes ``Nodes``.
"""

import contextlib
import os
import re
import signal
import threading
import time
from collections import ChainMap
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from cases.run import account
from cases.run.account import Account
from cases.run.recorder import NO_JOURNAL, OVERRULED, Asked, carried_by
from probes.cell import Cell, CellKey, Claim
from probes.errors import BadInputError, ExitStatus
from probes.run.order import Order
from probes.text import visible
from reports import results, summary
from reports.results import Run, journal, provenance
from reports.results.changes import Identity
from reports.results.codec import from_json, to_json
from reports.results.fields import parse
from reports.results.journal import Journal, JudgedCells
from reports.results.provenance import RunBy

ORDER: Final = "syscall_conformance_order"
"""Where in xdist's ``workerinput`` a node's order is, in plain data."""

_OUTPUT: Final = "syscall_conformance"
_BEGUN: Final = "syscall_conformance_begun"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOK_SECONDS: Final = 0.5
_XDISTS_OWN: Final = "execmodel=main_thread_only//"
"""What xdist puts before the words by which the user names a node."""


class Node:
    """On the node: keeps account of its run, and hands it over."""

    def __init__(self, made: Account | None, refusal: str = "", status: int = 0) -> None:
        """Begins it.

        Args:
            made: of the run; None where there is none, and
            refusal: the reason for that, in a sentence,
            status: with the exit status that goes with it.
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
            setattr(report, _BEGUN, _begun(self._account))
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
            stopped = session.shouldstop or session.shouldfail
            complete = not stopped and int(session.exitstatus) in OVERRULED
            self._output["record"] = to_json(self._account.record(complete=complete))
        session.config.workeroutput[_OUTPUT] = self._output  # type: ignore[attr-defined]


def _begun(made: Account) -> dict[str, Any]:
    """What a node says before it judges: its head, and which tests judge what."""
    return {
        "head": journal.head_to_text(made.head),
        "tests": [[nodeid, list(map(_key_to_plain, keys))] for nodeid, keys in made.tests.items()],
        "left_out": [list(map(_plain, one)) for one in made.left_out],
        "job": made.job,
    }


def _key_to_plain(key: CellKey) -> list[Any]:
    told = [str(key.claim), key.profile, key.arch, key.syscall, key.number]
    return [*told, key.variant, key.stack]


def _key_from_plain(plain: Sequence[Any]) -> CellKey:
    claim, *rest = plain
    return CellKey(Claim(claim), *rest)


def _plain(value: str | int | None) -> str | int | None:
    return str(value) if isinstance(value, str) else value


@dataclass(slots=True)
class _Seat:
    """What is known of a node in the process that has started it.

    Attributes:
        name: its name.
        spec: how it is reached, as the user wrote it.
        heard: when it last said something, by the monotonic clock.
        head: what it said before it judged anything; None until then.
        tests: the cells of its tests by node id.
        left_out: the cells of its job that it does not judge.
        job: how many cells its whole job has.
        judged: what it has judged so far.
        kept: its journal, while that can be written.
        run: its own record, once it is done.
        lost: why it has none, in a sentence; "" while that is not known.
        status: the exit status that goes with that.
        never: *broken* cells for what it never judged, by key; others may be among them.
    """

    name: str
    spec: str
    heard: float
    head: Run | None = None
    tests: dict[str, tuple[CellKey, ...]] = field(default_factory=dict)
    left_out: set[Identity] = field(default_factory=set)
    job: int = 0
    judged: JudgedCells = field(default_factory=JudgedCells)
    kept: Journal | None = None
    run: Run | None = None
    lost: str = ""
    status: ExitStatus = ExitStatus.BROKEN
    never: dict[CellKey, Cell] = field(default_factory=dict)

    def named(self, nodeid: str) -> str:
        """A test's node id that no other node has: ``test_kill.py::test_terminates[acct@gw0]``."""
        # Behind the bracket pytest's summary would not take it for part of the name.
        return f"{nodeid[:-1]}@{self.name}]" if nodeid.endswith("]") else f"{nodeid}@{self.name}"

    def record(self, *, complete: bool) -> Run | None:
        """Its record, of a lost node with *broken* cells; None if it never began."""
        if self.run is not None or self.head is None:
            return self.run
        chosen = account.planned(self.tests, self.judged)
        lost = results.missing(chosen, self.judged.cells)
        self.never = {cell.key: cell for cell in lost}
        known = journal.so_far(self.head, self.judged)
        return replace(
            known,
            planned=len(chosen),
            selected_of=self.job,
            cells=(*known.cells, *lost),
            complete=complete,
        )

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test came to on it."""
        if nodeid in self.judged.by_test:
            return self.judged.by_test[nodeid]
        known = ChainMap(self.never, self.judged.controls)
        return [known[key] for key in self.tests.get(nodeid, ()) if key in known]


class _EachOnItsOwn:
    """xdist's scheduling for nodes that do not share their tests; see ``xdist.scheduler``.

    xdist's own for ``--dist each`` begins when all nodes have collected their tests, and lets none
    begin after one is lost. These are told to run everything as soon as they are there.
    """

    def __init__(self, nodes: int) -> None:
        self._awaited = nodes
        self._pending: dict[Any, list[int]] = {}
        self._collections: dict[Any, Sequence[str]] = {}

    @property
    def nodes(self) -> list[Any]:
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        return bool(self._collections)

    @property
    def tests_finished(self) -> bool:
        return not self._awaited

    @property
    def has_pending(self) -> bool:
        return any(self._pending.values())

    def add_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's classes have no stable types
        self._pending[node] = []

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:  # noqa: ANN401
        self._collections[node] = collection
        self._pending[node] = list(range(len(collection)))

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ANN401, ARG002 - xdist's protocol
        if item_index in self._pending.get(node, ()):
            self._pending[node].remove(item_index)

    def remove_node(self, node: Any) -> str | None:  # noqa: ANN401
        """The test over which the node was lost, if it was."""
        pending = self._pending.pop(node)
        self._awaited -= 1
        return self._collections[node][pending[0]] if pending else None

    def schedule(self) -> None:
        """Everything was scheduled when the nodes came up."""


def _why_lost(error: object) -> str:
    """What xdist says of a node that went without a record, in a sentence."""
    said = str(error or "").strip().splitlines()
    if not said or said[-1] == "Not properly terminated":
        return "it was lost: its process, its machine or the connection to it broke off"
    return f"it was lost: {said[-1]}"


def _loss(same: Sequence[_Seat]) -> str:
    """Of nodes without a record of their own, why."""
    names = ", ".join(f"{seat.name} ({seat.spec})" for seat in same)
    which = "node" if len(same) == 1 else "nodes"
    begun = any(seat.tests for seat in same)
    rest = "; what it did not judge is broken" if begun else ""
    return f"{which} {names}: {same[0].lost.rstrip('.')}{rest}"


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends what blocks the main thread, such as a node that does not answer, with TimeoutError."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer for {seconds:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Nodes:
    """Where the nodes are started: follows them, and joins their records."""

    def __init__(self, config: pytest.Config, order: Order, asked: Asked, silence: float) -> None:
        """Prepares xdist for nodes of this kind.

        Args:
            config: pytest's.
            order: what every node shall judge.
            asked: what the options say about the run besides.
            silence: for how many seconds a node may say nothing.
        """
        self._unkept: list[str] = []
        self._config = config
        self._order = order
        self._asked = asked
        self._silence = silence
        self._folder = asked.folder
        self._seats: dict[str, _Seat] = {}
        self._tests: dict[str, tuple[_Seat, str]] = {}
        self._up: set[str] = set()
        self._controllers: dict[str, Any] = {}
        self._session: pytest.Session | None = None
        self._over = threading.Event()
        # A node that is lost has lost its kernel, too: what is started anew is another run.
        config.option.maxworkerrestart = "0"

    # What xdist tells

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None, None, None]:
        """Has a node that cannot be reached end the run in a sentence, before it begins."""
        self._session = session
        try:
            with _at_most(self._silence):
                yield
        except pytest.UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever execnet and xdist run into
            pytest.exit(self._unreachable(error), returncode=int(ExitStatus.BROKEN))
        watch = threading.Thread(target=self._watch, name="watch over nodes", daemon=True)
        watch.start()

    def _unreachable(self, error: Exception) -> str:
        said = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
        missing = [seat for seat in self._seats.values() if seat.name not in self._up]
        seat = next(iter(missing or self._seats.values()), None)
        which = f"node {seat.name} ({seat.spec})" if seat else "a node"
        return (
            f"{which} cannot be brought up: {why}: see that it is up, and that its Python has the"
            " packages that the suite needs; nothing was judged"
        )

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
            if spec.id in self._seats:
                raise pytest.UsageError(
                    f"--tx: two nodes have the name {spec.id}: give each an id of its own"
                )
            words = str(spec).removeprefix(_XDISTS_OWN)
            self._seats[spec.id] = _Seat(spec.id, words, time.monotonic())
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
        self._up.add(gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401
        """Gives the order."""
        self._controllers[node.gateway.id] = node
        self._heard(node)
        node.workerinput[ORDER] = self._order.to_plain()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> _EachOnItsOwn:
        """Lets every node run on its own."""
        return _EachOnItsOwn(len(self._seats))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: Any) -> None:  # noqa: ANN401
        """Tells a node to run everything, and to end then."""
        self._heard(node)
        node.send_runtest_all()
        node.shutdown()

    def _heard(self, node: Any) -> _Seat:  # noqa: ANN401
        seat = self._seats[node.gateway.id]
        seat.heard = time.monotonic()
        return seat

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in what a node says of a test, and has everybody else see whose test it is."""
        seat = self._heard(report.node)
        begun = getattr(report, _BEGUN, None)
        if begun is not None:
            self._begin(seat, begun)
        carried = carried_by(report)
        if carried is not None:
            seat.judged.take(report.nodeid, carried)
            with self._noting(seat) as kept:
                if kept is not None:
                    kept.note(report.nodeid, carried, datetime.now(UTC))
        report.nodeid = seat.named(report.nodeid)

    def _begin(self, seat: _Seat, begun: Mapping[str, Any]) -> None:
        seat.head = journal.head_from_text(begun["head"])
        seat.tests = {nodeid: tuple(map(_key_from_plain, keys)) for nodeid, keys in begun["tests"]}
        self._tests |= {seat.named(nodeid): (seat, nodeid) for nodeid in seat.tests}
        seat.left_out = {(Claim(one[0]), *one[1:]) for one in begun["left_out"]}
        seat.job = begun["job"]
        if self._session is not None:  # of which xdist only knows one node's
            tests = sum(len(each.tests) for each in self._seats.values())
            self._session.testscollected = tests
        folder = journal.of_node(self._folder, seat.name)
        with self._noting(seat):
            folder.mkdir(parents=True, exist_ok=True)
            seat.kept = Journal(folder, seat.head)
            keys = {key for keys in seat.tests.values() for key in keys}
            seat.kept.plan(keys, seat.job)

    @contextlib.contextmanager
    def _noting(self, seat: _Seat) -> Iterator[Journal | None]:
        """A node's journal; when it cannot be written, the run goes on without, and says so."""
        try:
            yield seat.kept
        except OSError as error:
            if seat.kept is not None:
                seat.kept.close()
            seat.kept = None
            self._unkept.append(NO_JOURNAL.format(error.strerror or error))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401
        """Takes in a node's record, or why there is none."""
        seat = self._heard(node)
        self._controllers.pop(seat.name, None)
        output = getattr(node, "workeroutput", {}).get(_OUTPUT)
        if output is None:
            seat.lost = seat.lost or _why_lost(error)
        elif output["record"]:
            self._receive(seat, output["record"])
        else:
            seat.lost, seat.status = output["refusal"], ExitStatus(output["status"])

    def _receive(self, seat: _Seat, text: str) -> None:
        """Takes in a node's record, if it is whole."""
        try:
            run = from_json(parse(text))
        except BadInputError as error:
            seat.lost = f"its record is damaged: {error}"
            return
        known = {cell.key: cell for cell in run.cells}
        lacking = set(account.planned(seat.tests, seat.judged)) - set(known)
        if lacking or run.planned != len(known):
            seat.lost = f"its record lacks cells that it was to judge, {len(lacking)} of them"
            return
        seat.run, seat.never = run, known

    # A node that hangs

    def _watch(self) -> None:
        """Gives nodes up that say nothing for too long; in a thread of its own."""
        while not self._over.wait(_LOOK_SECONDS):
            for name, node in list(self._controllers.items()):
                seat = self._seats[name]
                if time.monotonic() - seat.heard > self._silence and not seat.lost:
                    seat.lost = f"it has said nothing for {self._silence:.0f} s"
                    with contextlib.suppress(OSError):  # it has gone meanwhile
                        node.channel.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Ends the watch."""
        self._over.set()

    # What the reports ask; see ``cases.run.recorder.Book``

    @property
    def troubles(self) -> Sequence[str]:
        """Sentences about what went wrong, alike ones of several nodes together."""
        lost = summary.gathered(
            (seat for seat in self._seats.values() if seat.lost), lambda seat: seat.lost
        )
        return [*self._unkept, *(_loss(same) for same in lost.values())]

    @property
    def status(self) -> ExitStatus | None:
        """The exit status where no test was begun on any node."""
        told = {seat.status for seat in self._seats.values()}
        if not told:
            return None
        return ExitStatus.BROKEN if ExitStatus.BROKEN in told else min(told)

    @property
    def tests(self) -> Sequence[str]:
        """The tests of all nodes, node by node."""
        return [seat.named(nodeid) for seat in self._seats.values() for nodeid in seat.tests]

    @property
    def left_out(self) -> set[Identity]:
        """The cells that a node could judge and none does.

        The controls are judged wherever anything is.
        """
        seats = self._seats.values()
        left_out = {identity for seat in seats for identity in seat.left_out}
        judged = (key for seat in seats for key in account.planned(seat.tests, seat.judged))
        return left_out - set(map(results.identity, judged))

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test of a node came to."""
        seat, test = self._tests.get(nodeid, (None, ""))
        return () if seat is None else seat.cells_of(test)

    def open(self, folder: Path) -> None:
        """The journals are begun when the nodes have said what they do."""
        self._folder = folder

    def record(self, *, complete: bool) -> Run:
        """The nodes' records as one."""
        runs = []
        for seat in self._seats.values():
            run = seat.record(complete=complete)
            if run is not None:
                runs.append(run)
        # A node may be lost with nothing broken: before it began, or when all was judged but not
        # what the waivers came to.
        whole = all(seat.run or seat.never for seat in self._seats.values())
        joined = results.join(runs)
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
        """Takes the journals away; says which nodes were lost."""
        for seat in self._seats.values():
            if seat.kept is not None:
                seat.kept.discard()
                seat.kept = None
                with contextlib.suppress(OSError):  # something else is in there
                    folder = journal.of_node(self._folder, seat.name)
                    folder.rmdir()
                    folder.parent.rmdir()

    def unbegun(self) -> None:
        """There is no journal of a node that never began."""
