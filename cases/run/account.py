"""What a run is to judge and has judged, and the record of it."""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from probes import arch, files
from probes.cell import Cell, CellKey, Gap
from probes.documents import siblings
from probes.documents.waivers import Granted
from probes.finding import Finding, Weight
from probes.judging import gaps, plan, verdict
from probes.judging.claims import About, is_about
from probes.run.settings import Settings
from probes.version import DISTRIBUTION, VERSION
from reports import results
from reports.results import GAPS_WORST_FIRST, AuditSource, Run, heads, provenance
from reports.results.changes import Identity
from reports.results.journal import JudgedCells
from reports.results.model import gap_key
from reports.results.provenance import RunBy


class Account:
    """What a run on one kernel is to judge, and has judged so far.

    Attributes:
        head: what is known before anything is judged.
        judged: what the tests have judged so far.
    """

    def __init__(
        self,
        settings: Settings,
        granted: Granted,
        started: datetime,
        *,
        anonymous: bool,
        node_name: str = "",
    ) -> None:
        """Begins with nothing judged.

        Args:
            settings: what the run does.
            granted: the waivers.
            started: when the run started, aware, in UTC.
            anonymous: whether user and host names shall be left out.
            node_name: what reports shall call this machine; "" for its own name.
        """
        host = None if anonymous else os.uname().nodename
        run_by = RunBy() if anonymous else provenance.read(os.environ)
        self.head = _head(settings, granted, started, host=node_name or host, run_by=run_by)
        self.judged = JudgedCells()
        self._settings = settings
        self._granted = granted
        self._cases = {f"{case.function}[{case.id}]": case for case in settings.cases}
        self._selected: dict[str, plan.Case] = {}
        self._all_judged = _all_judged(settings, granted)
        self._never_judged: dict[CellKey, Cell] = {}

    def select(self, nodeids: Iterable[str]) -> None:
        """Notes which tests will run, in the order of their collection; once."""
        if self._selected:
            return
        for nodeid in nodeids:
            case = self._cases.get(nodeid.rpartition("::")[2])
            if case is not None:
                self._selected[nodeid] = case
        self._all_judged |= _unselected_stacks(self._settings, self._selected.values())

    @property
    def tests(self) -> dict[str, tuple[CellKey, ...]]:
        """The cells of the selected tests by node id, in the order of their collection."""
        return {nodeid: case.cells for nodeid, case in self._selected.items()}

    @property
    def job(self) -> int:
        """How many cells the whole job has."""
        return sum(len(case.cells) for case in self._settings.cases)

    @property
    def left_out(self) -> set[Identity]:
        """The cells of the job that are not judged, for their tests were not selected."""
        job = {results.identity(key) for case in self._settings.cases for key in case.cells}
        return job - {results.identity(key) for key in self._planned()}

    def cells_of(self, nodeid: str) -> Sequence[Cell]:
        """What a test judged; *broken* cells, once there is a record, for what it never did."""
        keys = self._selected[nodeid].cells if nodeid in self._selected else ()
        return cells_of(nodeid, keys, self.judged, self._never_judged)

    def _planned(self) -> Sequence[CellKey]:
        """Also what the target names and nobody judged, whichever tests were selected."""
        return list(dict.fromkeys([*planned(self.tests, self.judged), *self._all_judged]))

    @property
    def _judged(self) -> list[Cell]:
        by_tests = self.judged.cells
        known = {cell.key for cell in by_tests}
        return [*by_tests, *(one for key, one in self._all_judged.items() if key not in known)]

    def record(self, *, complete: bool) -> Run:
        """The record: what was judged, and *broken* cells for what was not.

        Args:
            complete: whether the run has come to its end.
        """
        chosen = self._planned()
        judged = self._judged
        lost = results.missing(chosen, judged)
        self._never_judged = {cell.key: cell for cell in lost}
        cells = (*judged, *lost)
        here = replace(self.head.environment, audit=self.judged.audit)
        return replace(
            self.head,
            environments=(here,),
            finished=datetime.now(UTC),
            planned=len(chosen),
            selected_of=self.job,
            cells=cells,
            gaps=_gaps(self._settings, judged),
            unreviewed=tuple(sorted(siblings.unknown_for(self._settings.policy))),
            complete=complete,
            waivers=self._granted.judge(
                {key for case in self._settings.cases for key in case.cells},
                arch.all_names(),
                arch.ARCHES,
                cells,
            ),
        )


def _all_judged(settings: Settings, granted: Granted) -> dict[CellKey, Cell]:
    """What the target names and nobody judged: known before anything is asked of the kernel."""
    cells = [
        cell
        for case in settings.cases
        if case.row.about is About.FINDING
        for cell in verdict.all_judged(case, settings.target.findings)
    ]
    return {cell.key: cell for cell in granted.waive(cells)}


def _unselected_stacks(settings: Settings, selected: Iterable[plan.Case]) -> dict[CellKey, Cell]:
    """The stacks of filters of which less was selected than of others: no verdict is on them."""
    keys = {key for case in selected for key in case.cells if not is_about(key, About.CONTROL)}
    asked = {replace(key, stack=0) for key in keys if not is_about(key, About.FINDING)}
    findings = [
        Finding(
            f"{part.description} is a part of the target, and not all that was selected for another"
            " part was selected for this one: select its tests too, or run the whole job",
            Weight.LIMITS,
            about=f"stack {stack + 1}",
        )
        for stack, part in enumerate(settings.target.members)
        if any(replace(key, stack=stack) not in keys for key in asked)
    ]
    cases = plan.all_judged(settings.profiles, settings.native, findings)
    return {cell.key: cell for case in cases for cell in verdict.all_judged(case, findings)}


def planned(tests: Mapping[str, Iterable[CellKey]], judged: JudgedCells) -> Sequence[CellKey]:
    """The cells of the tests that were selected, and the controls that vouched for them."""
    chosen = [key for keys in tests.values() for key in keys]
    return list(dict.fromkeys([*chosen, *judged.controls]))


def cells_of(
    nodeid: str,
    keys: Iterable[CellKey],
    judged: JudgedCells,
    never_judged: Mapping[CellKey, Cell],
) -> Sequence[Cell]:
    """What a test judged; *broken* cells for what it never did.

    Args:
        nodeid: the test.
        keys: its cells.
        judged: what all tests have judged.
        never_judged: *broken* cells for what they have not.
    """
    if nodeid in judged.by_test:
        return judged.by_test[nodeid]
    # A control may be known from the calibration although its own test never ran.
    known = {**judged.controls, **never_judged}
    return [known[key] for key in keys if key in known]


def _gaps(settings: Settings, judged: Sequence[Cell]) -> tuple[Gap, ...]:
    """The ways round the policy, on the ABIs that were judged or, elsewhere, proved."""
    proved = (case.arch for case in settings.cases if case.row.about is About.PROOF)
    arches = settings.arches or tuple(dict.fromkeys(proved))
    found: dict[Hashable, Gap] = {}
    for stack, part in enumerate(settings.target.members):
        seen = gaps.swept(cell for cell in judged if cell.key.stack == stack)
        for gap in gaps.find(settings.policy, part, settings.profiles, arches, seen):
            known = found.setdefault(gap_key(gap), gap)
            # What one part of the target lets through is open.
            found[gap_key(gap)] = min(known, gap, key=_gravity)
    return tuple(found.values())


def _gravity(gap: Gap) -> int:
    return GAPS_WORST_FIRST.index(gap.state)


def _head(
    settings: Settings, granted: Granted, started: datetime, *, host: str | None, run_by: RunBy
) -> Run:
    """The facts about a run that are known before anything is judged."""
    return Run(
        suite=results.Suite(DISTRIBUTION, VERSION),
        policy=heads.policy_info(settings.policy),
        target=_target(settings),
        environments=(_environment(settings, host),),
        profiles=tuple(profile.value for profile in settings.profiles),
        started=started,
        finished=started,
        planned=0,
        selected_of=0,
        cells=(),
        run_by=run_by,
        complete=False,
        waivers=granted.unjudged,
        accept=granted.accepted,
    )


def _environment(settings: Settings, host: str | None) -> results.Environment:
    return heads.environment_info(
        host,
        tuple(one.name for one in settings.arches),
        AuditSource("none", "no test reported"),
        tuple(settings.shut.items()),
    )


def _target(settings: Settings) -> results.TargetInfo:
    target = settings.target
    origin = target.origin
    has_image = origin is not None and origin.digest != ""
    return results.TargetInfo(
        kind=target.kind,
        description=target.description,
        findings=tuple(one.text for one in target.findings if one.weight is Weight.ADVICE),
        programs=tuple(
            results.TargetProgram(profile.value, program.sha256, program.instructions, stack)
            for stack, part in enumerate(target.members)
            for profile in settings.profiles
            for program in part.identities.get(profile, ())
        ),
        image=results.Image(origin.subject, origin.digest) if origin and has_image else None,
        runtime=results.RuntimeInfo(origin.runtime, origin.version) if origin else None,
        written=tuple(
            replace(one, path=files.in_repository(Path(one.path)) or Path(one.path).name)
            for one in target.written
        ),
    )
