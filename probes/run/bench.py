"""The instrument of a process that judges: started, calibrated, and restarted when it dies."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Final

from probes.audit.source import SourceKind
from probes.audit.trail import AuditTrail, Sentinel, open_trail
from probes.cell import Cause, Cell, CellKey
from probes.errors import InstrumentError
from probes.finding import all_undecided
from probes.instrument.calls import Zygote
from probes.judging import verdict
from probes.judging.claims import About
from probes.judging.examiner import Examiner, LostOverCaseError, Unready, cannot_tell
from probes.judging.plan import Case
from probes.judging.records import sentinel_number
from probes.run.settings import Settings
from probes.targets import confinement
from probes.targets.confinement import ConfinedError

AHEAD: Final = 64
"""The most cases without records that are examined together."""

_FEWER: Final = 8
"""By how much fewer cases are examined together once records of theirs were lost."""

_MOST_ATTEMPTS: Final = 3


class Bench:
    """A worker's instrument: started and calibrated at first use, and again when it dies.

    It works ahead: together with a case it examines some of those that will be asked for next, so
    that one sentinel serves them all. Their verdicts are kept until then, and nobody hears of one
    that is never asked for.

    Attributes:
        controls: the cells of the controls, as the running instrument judged them.
        trail: the source of its audit records; None before the instrument is started.
    """

    def __init__(
        self, resolved: Settings, upcoming: Callable[[], Iterable[Case]] = lambda: ()
    ) -> None:
        """Notes what will be judged; nothing is started yet.

        Args:
            resolved: what the run does.
            upcoming: gives the cases that will be asked for next, the next one first.
        """
        self.controls: list[Cell] = []
        self.trail: AuditTrail | None = None
        self._settings = resolved
        self._upcoming = upcoming
        self._ready: dict[CellKey, list[Cell]] = {}
        self._at_most: dict[CellKey, int] = {}
        self._stack = ExitStack()
        self._examiners: Sequence[Examiner] = ()
        self._attempts = 0
        self._trouble = ""

    def _try_to_put_up(self) -> Sequence[Examiner]:
        if self._attempts == _MOST_ATTEMPTS:
            raise InstrumentError(f"the instrument cannot be put up: {self._trouble}")
        self._attempts += 1
        try:
            self._examiners = self._put_up()
        except Exception as error:
            self._trouble = str(error)
            raise
        self._attempts = 0
        return self._examiners

    def _put_up(self) -> Sequence[Examiner]:
        """Gives an examiner for each stack of the target's filters; they share one calibration."""
        resolved = self._settings
        zygote = self._stack.enter_context(open_zygote(resolved))
        trail = trail_of(resolved, zygote)
        if trail.collector is not None:
            self._stack.callback(trail.collector.close)
        self.trail = trail
        first, *others = resolved.target.members
        examiner = Examiner(
            *(zygote, first, resolved.policy, resolved.offered, trail),
            own=resolved.confinement,
            observes=not resolved.emulation,
        )
        told = [arch for arch in resolved.arches if not resolved.untold(arch)]
        self.controls = examiner.calibrate(told, resolved.profiles)
        return [examiner, *map(examiner.beside, others)]

    def _known(self, case: Case) -> list[Cell]:
        """The cells of a case that is decided before anything is asked; none of any other."""
        findings = self._settings.target.findings
        if case.row.about is About.FINDING:
            return verdict.all_judged(case, findings)
        untold = self._settings.untold(case.arch)
        if untold and case.row.about is not About.PROOF:
            return cannot_tell(case, untold)
        reason = all_undecided(findings)
        if reason and not case.is_control:
            return cannot_tell(case, reason, Cause.TARGET)
        return []

    def judge(self, case: Case) -> list[Cell]:
        """The verdicts on a case's cells; *broken* ones where the instrument dies over it."""
        if known := self._known(case):
            return known
        try:
            if case.is_control:
                self._put_up_if_needed()
                return [cell for cell in self.controls if cell.key in case.cells]
            while (cells := self._ready.pop(case.cells[0], None)) is None:
                self._examine(case)
        except ConfinedError as error:
            self.close()
            return cannot_tell(case, str(error))
        except InstrumentError as error:
            self.close()
            return _broken(case, error)
        except BaseException:  # whatever it is goes on; but no later case may use what it left
            self.close()
            raise
        return cells

    def _put_up_if_needed(self) -> Sequence[Examiner]:
        return self._examiners or self._try_to_put_up()

    def _examine(self, case: Case) -> None:
        """Makes verdicts ready: a case's own and those of the next ones, or another case's.

        Raises:
            InstrumentError: the instrument died over the case, or when all had made their calls.
        """
        examiner = self._put_up_if_needed()[case.stack]
        together = [case, *self._ahead(case, examiner)]
        if len(together) == 1:
            self._ready[case.cells[0]] = examiner.examine(together)
            return
        try:
            found = examiner.examine_together(together)
        except LostOverCaseError as error:
            if error.case == case:
                raise
            self.close()
            self._ready[error.case.cells[0]] = _broken(error.case, error)
            return
        except InstrumentError:
            raise
        except Exception:  # noqa: BLE001 - it is told where its own case is asked for
            self.close()
            self._at_most |= {one.cells[0]: 1 for one in together}
            return
        for one, cells in zip(together, found, strict=False):  # there was no time for the others
            if cells is Unready.TORN:
                self._at_most[one.cells[0]] = len(together) // _FEWER
            elif cells is Unready.UNDECIDED:
                self._at_most[one.cells[0]] = 1
            else:
                self._ready[one.cells[0]] = cells

    def _ahead(self, case: Case, examiner: Examiner) -> Iterator[Case]:
        """The cases to examine together with a case: the next ones that need the same of it."""
        if not examiner.may_work_ahead or not self._may_be_together(case):
            return iter(())
        limit = self.trail.most_cases if self.trail and _needs_records(case) else AHEAD
        most = self._at_most.get(case.cells[0], limit)
        alike = (
            one
            for one in self._upcoming()
            if one.stack == case.stack
            and _needs_records(one) == _needs_records(case)
            and one.cells[0] not in self._ready
            and self._at_most.get(one.cells[0], limit) >= most
            and self._may_be_together(one)
        )
        return islice(alike, max(most - 1, 0))

    def _may_be_together(self, case: Case) -> bool:
        is_asked = case.row.judge is not None and not case.is_control
        return is_asked and not self._known(case)

    def close(self) -> None:
        """Gives everything back."""
        self._examiners = ()
        self._stack.close()


def _broken(case: Case, error: InstrumentError) -> list[Cell]:
    return [verdict.broken(key, str(error)) for key in case.cells]


def _needs_records(case: Case) -> bool:
    return case.row.calls(case.cells[0]).records


def open_zygote(resolved: Settings) -> Zygote:
    """Starts the process that makes a run's calls.

    Raises:
        InstrumentError: it cannot be started, or cannot witness calls as it could before.
    """
    if resolved.confinement is not None:
        return confinement.open_zygote(resolved.native, resolved.confinement.words)
    return resolved.target.open_zygote(resolved.native)


def trail_of(resolved: Settings, zygote: Zygote) -> AuditTrail:
    """Opens the audit trail of a run; one without a collector where no record can be told.

    Args:
        resolved: what the run does.
        zygote: the process that makes its calls.
    """
    target, native, wanted = resolved.target, resolved.native, resolved.audit_source
    if resolved.emulation:
        return AuditTrail(None, resolved.emulation)
    if wanted.kind is not SourceKind.NONE and (reason := target.why_unrecorded(native)):
        return AuditTrail(None, reason)
    number = sentinel_number(target, native, resolved.confinement)
    return open_trail(wanted, zygote, Sentinel(native, number))
