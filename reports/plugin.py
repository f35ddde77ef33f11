"""Collects the cells of all workers, writes the reports, and has the last word of the run."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from probes import environment
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import BadInputError, ExitStatus
from probes.examiner import AuditTrail
from probes.settings import Settings
from reports import results, summary
from reports.html import compliance
from reports.results import AuditSource, Run

DISTRIBUTION = "syscall-conformance"

_CELLS = pytest.StashKey[dict[str, Any]]()
_KEPT_BY_PYTEST = {
    ExitStatus.INTERRUPTED,
    ExitStatus.INTERNAL_ERROR,
    ExitStatus.USAGE,
}


def record(
    item: pytest.Item, cells: Sequence[Cell], controls: Sequence[Cell], trail: AuditTrail
) -> None:
    """Attaches to a test what it judged, and what its worker's instrument is worth."""
    item.stash[_CELLS] = {
        "cells": [results.cell_to_json(cell) for cell in cells],
        "controls": [results.cell_to_json(cell) for cell in controls],
        "audit_source": trail.source,
        "audit_reason": trail.reason,
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


def _check_folder(folder: Path) -> None:
    """Makes the folder for the reports, before a run is spent on reports that cannot be written.

    Raises:
        BadInputError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise BadInputError(
            f"--report-dir {folder}: cannot write there ({error.strerror}); name another folder"
        ) from error


class Recorder:
    """The controller's side: one for each run of the main job."""

    def __init__(self, config: pytest.Config, settings: Settings, folder: Path) -> None:
        """Starts to listen.

        Raises:
            BadInputError: reports cannot be written to the folder.
        """
        self._config = config
        self._settings = settings
        self._folder = folder
        self._started = datetime.now(UTC)
        self._selected: set[str] = set()
        self._cells: list[Cell] = []
        self._controls: dict[CellKey, Cell] = {}
        self._audit = AuditSource("none", "no test ran")
        self._run: Run | None = None
        self._written: list[Path] = []
        _check_folder(folder)
        self._ask_for_reports()

    def _ask_for_reports(self) -> None:
        """Has pytest write its own reports beside ours, unless the user chose other places."""
        option = self._config.option
        if not option.xmlpath:
            option.xmlpath = str(self._folder / "junit.xml")
        if not getattr(option, "htmlpath", None):
            option.htmlpath = str(self._folder / "pytest.html")
            option.self_contained_html = True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes which tests will run, where there are no workers."""
        self._selected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Notes which tests will run on the workers; every worker collects them all."""
        self._selected |= set(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in the cells of a test."""
        carried = getattr(report, "syscall_conformance", None)
        if carried is None:
            return
        self._cells += [results.cell_from_json(cell) for cell in carried["cells"]]
        for cell in map(results.cell_from_json, carried["controls"]):
            known = self._controls.get(cell.key)
            if known is None or known.outcome is Outcome.PASSED:
                self._controls[cell.key] = cell
        self._audit = AuditSource(carried["audit_source"], carried["audit_reason"])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Rules on the run, writes the reports, and sets the exit status."""
        planned = self._planned()
        if not planned:
            return
        self._run = self._assemble(planned)
        self._write(self._run)
        status = ExitStatus(int(session.exitstatus))
        if status not in _KEPT_BY_PYTEST:
            session.exitstatus = int(results.summarize(self._run).ruling.exit_status)

    def _planned(self) -> list[CellKey]:
        """The cells of the tests that were selected, and the controls of every ABI they need."""
        names = {nodeid.rpartition("::")[2] for nodeid in self._selected}
        chosen = [c for c in self._settings.cases if f"{c.function}[{c.id}]" in names]
        keys = [key for case in chosen for key in case.cells]
        return [*keys, *(key for key in self._controls if key not in set(keys))] if keys else []

    def _assemble(self, planned: Sequence[CellKey]) -> Run:
        judged = [cell for cell in self._cells if cell.key.claim is not Claim.CONTROLS]
        judged += [cell for key, cell in self._controls.items() if key in set(planned)]
        here = environment.read()
        settings = self._settings
        return Run(
            suite=results.Suite(DISTRIBUTION, version(DISTRIBUTION)),
            policy=results.Policy(
                name=settings.policy.name,
                title=settings.policy.title,
                sha256=settings.policy.sha256,
                calls=tuple(
                    results.DocumentedCall(
                        name=call.name,
                        family=call.family,
                        description=call.description,
                        why=call.why,
                        cves=call.cves,
                        attack=call.attack,
                        obsolete=call.obsolete,
                    )
                    for call in settings.policy.calls
                ),
            ),
            target=results.Target(settings.target.kind, settings.target.description),
            environment=results.Environment(
                kernel=here.kernel,
                machine=here.machine,
                capabilities=here.capabilities,
                uid=here.uid,
                no_new_privs=here.no_new_privs,
                seccomp=here.seccomp,
                seccomp_filters=here.seccomp_filters,
                actions_logged=here.actions_logged,
                audit=self._audit,
                arches=tuple(arch.name for arch in settings.arches),
            ),
            profiles=tuple(profile.value for profile in settings.profiles),
            started=self._started,
            finished=datetime.now(UTC),
            planned=len(planned),
            cells=(*judged, *results.missing(planned, judged)),
        )

    def _write(self, run: Run) -> None:
        path = self._folder / "results.json"
        results.write(run, path)
        page = self._folder / "compliance.html"
        results.write_text(compliance.render(run), page)
        option = self._config.option
        self._written = [path, page, Path(option.xmlpath), Path(option.htmlpath)]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The last word: at most 20 lines, failures first, then the paths written."""
        if self._run is None:
            return
        terminalreporter.section("syscall-conformance", sep="=", bold=True)
        width = max(80, self._config.get_terminal_writer().fullwidth)
        for line in summary.terminal_lines(self._run, self._written, width):
            terminalreporter.write_line(line)
