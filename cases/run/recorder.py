"""Collects the cells of all workers, writes the reports, and has the last word of the run."""

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from cases.run import command_line, ending, pytest_junit
from cases.run.asked import Asked
from cases.run.ending import Ending
from cases.run.follower import Follower
from cases.run.progress import Progress
from cases.run.pytest_page import Page
from probes.cell import Cell
from probes.errors import BadInputError, SuiteError
from probes.text import visible
from probes.version import DISTRIBUTION
from reports import channel, reproduce, results, summary
from reports.causes import looks
from reports.formats import markdown
from reports.html import compliance
from reports.reproduce import Again
from reports.results import Run, journal
from reports.terminal import closing
from reports.terminal.lines import UNCUT

_RECORD: Final = "results.json"
_PAGE: Final = "compliance.html"
_SUMMARY: Final = "summary.md"
_JUNIT: Final = "junit.xml"
_PYTEST_PAGE: Final = "pytest.html"


def follow(config: pytest.Config, follower: Follower, asked: Asked) -> None:
    """Starts to make reports of a run.

    Args:
        config: pytest's, in the process that hears of every test.
        follower: what follows the run.
        asked: what the options say about it besides.

    Raises:
        BadInputError: reports cannot be written to the folder, or the baseline is no record.
    """
    recorder = Recorder(config, follower, asked)
    config.pluginmanager.register(follower, f"{DISTRIBUTION} follower")
    config.pluginmanager.register(recorder, f"{DISTRIBUTION} recorder")
    if channel.is_listened_to():
        config.pluginmanager.register(Progress(follower), f"{DISTRIBUTION} progress")
    if config.pluginmanager.hasplugin("html"):
        config.pluginmanager.register(Page(recorder), f"{DISTRIBUTION} page")


class Recorder:
    """Makes the reports of a run of the main job, and sets its exit status.

    Attributes:
        run: the record of the run; None until it is over, and where no case was selected.
    """

    def __init__(self, config: pytest.Config, follower: Follower, asked: Asked) -> None:
        """Makes the folder, before a run is spent on reports that cannot be written.

        Takes pages and the like of an earlier run out of it, lest one of them is taken for this
        one's. The earlier record itself stays until this run's replaces it; while a journal is
        beside it, it is the earlier run's.

        Raises:
            BadInputError: reports cannot be written to the folder, or the baseline is no record.
        """
        self.run: Run | None = None
        self._config = config
        self._follower = follower
        self._folder = asked.folder
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
            follower.open(self._folder)
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
        return self._follower.tests

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged; *broken* cells, once the run is over, for what it never did."""
        return self._follower.cells_of(nodeid)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Rules on the run, writes the reports, and sets the exit status.

        Inside of the terminal's wrapper, which prints the last word, and around the writing of
        pytest's own reports, so that whatever goes wrong there becomes a sentence.
        """
        if not self._follower.tests:
            # Nothing is left of this run, and an earlier one's record would be taken for it.
            with self._guarded(session):
                (self._folder / _RECORD).unlink(missing_ok=True)
                self._follower.discard()
            self._tell(self._follower.troubles)
            if self._follower.status is not None:
                session.exitstatus = int(self._follower.status)
            answer = None
            with self._guarded(session):
                answer = yield
            return answer
        with self._guarded(session):
            complete = not ending.is_cut_short(session)
            self.run = self._compared(self._follower.record(complete=complete))
            self._tell(self._follower.troubles)
            self._end(session, ending.settled(self.run, int(session.exitstatus)))
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

    def _fail(self, session: pytest.Session, error: Exception) -> None:
        """Says what went wrong with the reports: in a sentence, or as pytest does for a bug."""
        if not isinstance(error, SuiteError | OSError):
            self._config.notify_exception(pytest.ExceptionInfo.from_exception(error))
        self._end(session, ending.failed(error))

    def _end(self, session: pytest.Session, end: Ending) -> None:
        session.exitstatus = end.status
        self._tell([end.trouble] if end.trouble else [])

    def _tell(self, troubles: Sequence[str]) -> None:
        """Notes what went wrong, for the last word and for whoever has started the run."""
        self._troubles += troubles
        for trouble in troubles:
            channel.tell_trouble(visible(trouble))

    def _compared(self, run: Run) -> Run:
        """The run with what has changed since the baseline, where there is one."""
        if self._baseline is None:
            return run
        earlier, digest = self._baseline
        # What is left out here has not vanished.
        left_out = self._follower.left_out
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
                self._follower.discard()
                channel.tell_record(hashlib.sha256(text.encode()).hexdigest())

    def _tell_junit(self, run: Run) -> None:
        """Puts what nobody judged into pytest's own XML."""
        tested = {cell.key for nodeid in self.tests for cell in self.cells_of(nodeid)}
        untested = [cell for cell in summary.not_all_judged(run) if cell.key not in tested]
        pytest_junit.tell(self._config.pluginmanager.get_plugins(), untested)

    def pytest_unconfigure(self) -> None:
        """Takes a journal away in which nothing stands, for the run never began."""
        self._follower.unbegun()

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
            terminalreporter.write_line(line, **dict.fromkeys(looks.colours(line), True))
        return answer

    def _closing_lines(self, run: Run | None) -> Sequence[str]:
        if run is None:
            return ()
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        is_terminal = reporter is not None and reporter.isatty
        width = self._config.get_terminal_writer().fullwidth if is_terminal else UNCUT
        written = [self._shown(path) for path in self._written]
        verbose = self._config.getoption("verbose") > 0
        lines = closing.lines(run, written, width, again=self._again(run), verbose=verbose)
        room = None if verbose else max(0, closing.MOST_LINES - len(lines))
        return [*lines, *self.limits[:room]]

    def _again(self, run: Run) -> Again | None:
        """How to repeat a part of the run; None where nobody can by a command from here."""
        if run.target.survey is not None or len(run.environments) > 1:
            return None
        here = self._config.invocation_params.dir
        folder = str(self._shown(self._folder))
        return reproduce.again(here, command_line.given(self._config), folder)

    @property
    def page_address(self) -> str:
        """Where the compliance page is, seen from pytest-html's."""
        other = self._config.invocation_params.dir / self._config.option.htmlpath
        here = os.path.relpath(self._folder.resolve() / _PAGE, other.resolve().parent)
        return Path(here).as_posix()

    @property
    def limits(self) -> Sequence[str]:
        """What a reader could take the verdict for, and it is not."""
        return self._follower.limits(self.run)

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
