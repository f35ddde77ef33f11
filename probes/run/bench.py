"""The instrument of a process that judges: started, calibrated, and restarted when it dies."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from probes.audit.source import SourceKind
from probes.audit.trail import AuditTrail, Sentinel, open_trail
from probes.cell import Cause, Cell
from probes.errors import InstrumentError
from probes.finding import all_undecided
from probes.instrument.calls import Zygote
from probes.judging import verdict
from probes.judging.claims import About
from probes.judging.examiner import Examiner, cannot_tell
from probes.judging.plan import Case
from probes.judging.records import sentinel_number
from probes.run.settings import Settings
from probes.targets import confinement
from probes.targets.confinement import ConfinedError

_MOST_ATTEMPTS: Final = 3


class Bench:
    """A worker's instrument: started and calibrated at first use, and again when it dies.

    Attributes:
        controls: the cells of the controls, as the running instrument judged them.
        trail: the source of its audit records; None before the instrument is started.
    """

    def __init__(self, resolved: Settings) -> None:
        """Notes what will be judged; nothing is started yet."""
        self.controls: list[Cell] = []
        self.trail: AuditTrail | None = None
        self._settings = resolved
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
            examiners = self._examiners or self._try_to_put_up()
            if case.is_control:
                return [cell for cell in self.controls if cell.key in case.cells]
            return examiners[case.stack].examine([case])
        except ConfinedError as error:
            self.close()
            return cannot_tell(case, str(error))
        except InstrumentError as error:
            self.close()
            return [verdict.broken(key, str(error)) for key in case.cells]
        except Exception:  # whatever it is goes on; but no later case may use what it left behind
            self.close()
            raise

    def close(self) -> None:
        """Gives everything back."""
        self._examiners = ()
        self._stack.close()


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
