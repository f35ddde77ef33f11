"""Collects the cells of all workers, writes the reports, and has the last word of the run."""

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from _pytest.junitxml import LogXML

from cases.run.account import Account
from cases.run.pytest_page import Page
from probes.audit.trail import AuditTrail
from probes.cell import Cell, Outcome
from probes.documents.waivers import Granted
from probes.errors import BadInputError, ExitStatus, InstrumentError, SuiteError
from probes.run.settings import Settings
from probes.text import visible
from probes.version import DISTRIBUTION
from reports import judging, reproduce, results, summary
from reports.formats import markdown
from reports.html import compliance
from reports.results import Run, journal
from reports.results.changes import Identity
from reports.results.journal import Journal
from reports.terminal import closing

_CELLS = pytest.StashKey[dict[str, Any]]()
_CONTROLS_SENT = pytest.StashKey[Sequence[Cell]]()
_NARROWEST = 80

_RECORD: Final = "results.json"
_PAGE: Final = "compliance.html"
_SUMMARY: Final = "summary.md"
_JUNIT: Final = "junit.xml"
_PYTEST_PAGE: Final = "pytest.html"

OVERRULED: Final = {
    ExitStatus.CONFORMANT,
    ExitStatus.NOT_CONFORMANT,
    ExitStatus.NOTHING_ASSESSED,
}
"""What pytest says about tests; anything else it says about a run that ended before its time."""

NO_JOURNAL: Final = (
    "The journal could not be written ({}), so nothing would have been left of this run, had it"
    " been killed."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say about a run besides what is judged.

    Attributes:
        started: when the run started, aware, in UTC.
        folder: where the reports shall go.
        granted: the waivers.
        baseline: an earlier record to compare with; None for no comparison.
        anonymous: whether user and host names shall be left out.
    """

    started: datetime
    folder: Path
    granted: Granted
    baseline: Path | None = None
    anonymous: bool = False


class Book(Protocol):
    """What becomes known of a run; a plug-in, which hears of the tests by itself."""

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


def start(config: pytest.Config, settings: Settings, asked: Asked) -> None:
    """Starts to listen to a run of the main job, in the process that hears of every test.

    Raises:
        BadInputError: reports cannot be written to the folder, or the baseline is no record.
    """
    follow(config, OneBook(settings, asked), asked)


def follow(config: pytest.Config, book: Book, asked: Asked) -> None:
    """Starts to make reports of what a book hears.

    Raises:
        BadInputError: reports cannot be written to the folder, or the baseline is no record.
    """
    recorder = Recorder(config, book, asked)
    config.pluginmanager.register(book, f"{DISTRIBUTION} book")
    config.pluginmanager.register(recorder, f"{DISTRIBUTION} recorder")
    if config.pluginmanager.hasplugin("html"):
        config.pluginmanager.register(Page(recorder), f"{DISTRIBUTION} page")


def record(
    item: pytest.Item, cells: Sequence[Cell], controls: Sequence[Cell], trail: AuditTrail | None
) -> None:
    """Attaches to a test what it judged, and what its worker's instrument is worth.

    Args:
        item: the test.
        cells: what it judged.
        controls: what the controls came to, of the instrument that is up.
        trail: where its audit records come from; None where the test needed no instrument.
    """
    stash = item.config.stash
    # One calibration vouches for all that follows it, so one report carries it.
    news = controls if stash.get(_CONTROLS_SENT, None) is not controls else ()
    stash[_CONTROLS_SENT] = controls
    item.stash[_CELLS] = {
        "cells": [results.cell_to_json(cell) for cell in cells],
        "controls": [results.cell_to_json(cell) for cell in news],
        "audit_source": trail.source if trail else "",
        "audit_reason": trail.reason if trail else "",
    }
    item.user_properties += _properties(cells)


def _properties(cells: Sequence[Cell]) -> list[tuple[str, object]]:
    """What JUnit XML says about a test: plain strings."""
    if len(cells) == 1:
        cell = cells[0]
        told = [
            ("outcome", cell.outcome.value),
            ("cause", cell.cause.value if cell.cause else ""),
            ("sentence", cell.sentence),
            ("expected", cell.expected),
            ("observed", cell.observed),
        ]
        told += [(f"evidence.{one.kind}.{one.source}", one.text) for one in cell.evidence]
    else:
        counts = results.count_outcomes(cells)
        told = [(outcome.value, str(count)) for outcome, count in counts.items() if count]
        told += [("sentence", c.sentence) for c in cells if c.outcome is not Outcome.PASSED]
    return [(name, value) for name, value in told if value]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401 - pluggy's protocol
    """Sends the cells along with the report, which xdist carries to the controller."""
    report = yield
    if call.when == "call" and _CELLS in item.stash:
        report.syscall_conformance = item.stash[_CELLS]
    return report


class OneBook:
    """Of a run on this kernel, whose workers share the tests."""

    def __init__(self, settings: Settings, asked: Asked) -> None:
        """Begins it."""
        self.troubles: list[str] = []
        self.status: ExitStatus | None = None
        self._shut = settings.shut
        self._left_out = settings.left_out
        self._account = Account(settings, asked.granted, asked.started, anonymous=asked.anonymous)
        self._journal: Journal | None = None

    def open(self, folder: Path) -> None:
        """Begins the journal."""
        self._journal = Journal(folder, self._account.head)

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
        with self._noting() as kept:
            if kept is not None:
                kept.plan(keys, self._account.job)

    @contextmanager
    def _noting(self) -> Iterator[Journal | None]:
        """The journal; when it cannot be written, the run goes on without, and says so."""
        try:
            yield self._journal
        except OSError as error:
            if self._journal is not None:
                self._journal.close()
            self._journal = None
            self.troubles.append(NO_JOURNAL.format(error.strerror or error))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in the cells of a test."""
        carried = carried_by(report)
        if carried is None:
            return
        self._account.judged.take(report.nodeid, carried)
        with self._noting() as kept:
            if kept is not None:
                kept.note(report.nodeid, carried, datetime.now(UTC))

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

    def record(self, *, complete: bool) -> Run:
        """The record of the run."""
        return self._account.record(complete=complete)

    def limits(self, _run: Run | None) -> Sequence[str]:
        """The ABIs that are not judged, or not in full."""
        shut = [
            f"not judged: {name}, by which this kernel cannot be entered: {visible(why)}"
            for name, why in self._shut.items()
        ]
        names = ", ".join(one.name for one in self._left_out)
        left_out = (
            f"left out by --arch: {names}: the proof about every other architecture looks only at "
            "whether a documented call, or a number that no table knows, gets through there"
        )
        return [*shut, left_out] if names else shut

    def discard(self) -> None:
        """Takes the journal away."""
        if self._journal is not None:
            self._journal.discard()
            self._journal = None

    def unbegun(self) -> None:
        """Takes the journal away if nothing stands in it."""
        if not self._account.judged.by_test:
            self.discard()


def carried_by(report: pytest.TestReport) -> dict[str, Any] | None:
    """What ``record`` attached to the test; None for a report without it."""
    carried: dict[str, Any] | None = getattr(report, "syscall_conformance", None)
    return carried


def _reports_of(cell: Cell) -> Iterator[pytest.TestReport]:
    """What pytest would have told of the test of a cell that was not selected."""
    nodeid = f"cases/{reproduce.test_of(cell.key)}"
    path, _, name = nodeid.partition("::")
    failed = cell.outcome is Outcome.FAILED
    properties = [("outcome", cell.outcome.value), ("sentence", cell.sentence)]
    end = pytest.TestReport(
        nodeid=nodeid,
        location=(path, None, name),
        keywords={},
        outcome="failed" if failed else "skipped",
        longrepr=cell.sentence if failed else (path, 0, f"Skipped: {cell.sentence}"),
        when="call",
    )
    yield end
    yield pytest.TestReport(
        nodeid, end.location, {}, "passed", None, "teardown", user_properties=properties
    )


class Recorder:
    """The controller's side: one for each run of the main job.

    Attributes:
        run: the record of the run; None until it is over, and where no case was selected.
    """

    def __init__(self, config: pytest.Config, book: Book, asked: Asked) -> None:
        """Makes the folder, before a run is spent on reports that cannot be written.

        Takes pages and the like of an earlier run out of it, lest one of them is taken for this
        one's. The earlier record itself stays until this run's replaces it; while a journal is
        beside it, it is the earlier run's.

        Raises:
            BadInputError: reports cannot be written to the folder, or the baseline is no record.
        """
        self.run: Run | None = None
        self._config = config
        self._book = book
        self._folder = asked.folder
        self._cut_short = False
        self._written: list[Path] = []
        self._troubles: list[str] = []
        self._closing: Sequence[str] = ()
        # Read first: it may well be the record that this run is going to replace.
        self._baseline = None if asked.baseline is None else _earlier(asked.baseline)
        try:
            results.check_folder(self._folder)
            for name in (_PAGE, _SUMMARY, _JUNIT, _PYTEST_PAGE):
                (self._folder / name).unlink(missing_ok=True)
            for left in journal.of_nodes(self._folder):
                left.unlink()
            book.open(self._folder)
        except BadInputError as error:
            raise BadInputError(f"--report-dir: {error}") from error
        except OSError as error:
            raise BadInputError(
                f"--report-dir: {error.filename}: an earlier run's report cannot be taken away or"
                f" written anew ({error.strerror}): name another folder"
            ) from error
        self._ask_for_reports()

    def _ask_for_reports(self) -> None:
        """Has pytest write its own reports beside ours, unless the user chose other places."""
        option, plugins = self._config.option, self._config.pluginmanager
        if plugins.hasplugin("junitxml") and not option.xmlpath:
            option.xmlpath = str(self._folder / _JUNIT)
        if plugins.hasplugin("html") and not option.htmlpath:
            option.htmlpath = str(self._folder / _PYTEST_PAGE)
            option.self_contained_html = True

    @property
    def tests(self) -> Sequence[str]:
        """The node ids of the selected tests, in the order of their collection."""
        return self._book.tests

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged; *broken* cells, once the run is over, for what it never did."""
        return self._book.cells_of(nodeid)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Rules on the run, writes the reports, and sets the exit status.

        Inside of the terminal's wrapper, which prints the last word, and around the writing of
        pytest's own reports, so that whatever goes wrong there becomes a sentence.
        """
        if not self._book.tests:
            # Nothing is left of this run, and an earlier one's record would be taken for it.
            with self._guarded(session):
                (self._folder / _RECORD).unlink(missing_ok=True)
                self._book.discard()
            self._troubles += self._book.troubles
            if self._book.status is not None:
                session.exitstatus = int(self._book.status)
            return (yield)
        with self._guarded(session):
            stopped = session.shouldstop or session.shouldfail  # by -x and the like
            self._cut_short = bool(stopped) or int(session.exitstatus) not in OVERRULED
            self.run = self._compared(self._book.record(complete=not self._cut_short))
            self._troubles += self._book.troubles
            self._settle(session, self.run)
            self._write(self.run)
            self._tell_junit(self.run)
        answer = None
        with self._guarded(session):
            answer = yield
            self._written += self._pytests_own()
        with self._guarded(session):
            self._closing = self._closing_lines(self.run)
        return answer

    @contextmanager
    def _guarded(self, session: pytest.Session) -> Iterator[None]:
        """Has an error end neither in a traceback, whose exit status would read "not conformant".

        Nor in silence: it is said on the terminal and by the exit status.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(session, error)

    def _settle(self, session: pytest.Session, run: Run) -> None:
        """Sets the exit status, unless pytest has one that says more about this run."""
        status = results.summarize(run).ruling.exit_status
        said = int(session.exitstatus)
        if said not in OVERRULED:
            self._troubles.append(
                f"The run ended before its time, so the exit status is {said}, and cells that were"
                " not judged are broken."
            )
        elif status is ExitStatus.CONFORMANT and said == ExitStatus.NOT_CONFORMANT:
            session.exitstatus = int(ExitStatus.BROKEN)
            self._troubles.append(
                "Something else than a verdict failed (see above), so the exit status is"
                f" {session.exitstatus}."
            )
        else:
            session.exitstatus = int(status)

    def _fail(self, session: pytest.Session, error: Exception) -> None:
        """Says what went wrong with the reports: in a sentence, or as pytest does for a bug."""
        status = ExitStatus.INTERNAL_ERROR
        if isinstance(error, InstrumentError):
            status, sentence = error.exit_status, str(error)
        elif isinstance(error, SuiteError):
            sentence = str(error)
        elif isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            sentence = (
                f"{where}cannot write the report ({error.strerror or error}): make room there, or"
                " name another place"
            )
        else:
            sentence = f"{type(error).__name__} while the run was closed: please report this bug"
            self._config.notify_exception(pytest.ExceptionInfo.from_exception(error))
        session.exitstatus = int(status)
        self._troubles.append(f"{sentence.rstrip('.')} (exit status {status.value}).")

    def _compared(self, run: Run) -> Run:
        """The run with what has changed since the baseline, where there is one."""
        if self._baseline is None:
            return run
        earlier, digest = self._baseline
        # What is left out here has not vanished.
        left_out = self._book.left_out
        cells = [cell for cell in earlier.cells if results.identity(cell.key) not in left_out]
        found = results.changes(replace(earlier, cells=tuple(cells)), run)
        return replace(run, baseline=results.Baseline(digest, earlier.started, found))

    def _write(self, run: Run) -> None:
        for name, render in (
            (_RECORD, results.to_json),
            (_PAGE, compliance.render),
            (_SUMMARY, markdown.render),
        ):
            path = self._folder / name
            text = render(run)
            results.write_text(text, path)
            self._written.append(path)
            if name == _RECORD:
                self._book.discard()
                judging.leave_receipt(hashlib.sha256(text.encode()).hexdigest())

    def _tell_junit(self, run: Run) -> None:
        """Puts what nobody judged into pytest's own XML, where no test of it was selected.

        Whoever reads only that file would take the run for a success.
        """
        plugins = self._config.pluginmanager.get_plugins()
        tested = {cell.key for nodeid in self.tests for cell in self.cells_of(nodeid)}
        untested = [cell for cell in summary.not_all_judged(run) if cell.key not in tested]
        for plugin in plugins:
            if isinstance(plugin, LogXML):  # pytest has no public way to one file of its own
                for report in chain.from_iterable(map(_reports_of, untested)):
                    plugin.pytest_runtest_logreport(report)

    def pytest_unconfigure(self) -> None:
        """Takes a journal away in which nothing stands, for the run never began."""
        self._book.unbegun()

    def _pytests_own(self) -> list[Path]:
        """The reports that pytest and its plug-ins have written meanwhile."""
        option: Mapping[str, Any] = vars(self._config.option)
        paths = [option.get(name) for name in ("xmlpath", "htmlpath")]
        return [self._config.invocation_params.dir / path for path in paths if path]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, object, object]:
        """The last word, after those of all others: failures first, then the paths written."""
        answer = yield
        for trouble in self._troubles:
            terminalreporter.write_line(f"ERROR: {visible(trouble)}", red=True)
        if self._closing:
            terminalreporter.section(DISTRIBUTION, sep="=", bold=True)
        for line in self._closing:
            terminalreporter.write_line(line)
        return answer

    def _closing_lines(self, run: Run | None) -> Sequence[str]:
        if run is None:
            return ()
        width = max(_NARROWEST, self._config.get_terminal_writer().fullwidth)
        lines = closing.lines(run, [self._shown(path) for path in self._written], width)
        room = closing.MOST_LINES - len(lines)
        return [*lines, *self.limits[:room]]

    @property
    def page_address(self) -> str:
        """Where the compliance page is, seen from pytest-html's."""
        other = self._config.invocation_params.dir / self._config.option.htmlpath
        here = os.path.relpath(self._folder.resolve() / _PAGE, other.resolve().parent)
        return Path(here).as_posix()

    @property
    def limits(self) -> Sequence[str]:
        """What a reader could take the verdict for, and it is not."""
        return self._book.limits(self.run)

    def _shown(self, path: Path) -> Path:
        """The path as its reader would write it."""
        here = self._config.invocation_params.dir
        return path.relative_to(here) if path.is_relative_to(here) else path


def _earlier(path: Path) -> tuple[Run, str]:
    """An earlier record and the digest of its file.

    Raises:
        BadInputError: it is none.
    """
    try:
        found = results.read(path)
        return found.run(), found.sha256
    except BadInputError as error:
        raise BadInputError(f"--baseline: {error}") from error
