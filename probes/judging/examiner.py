"""From cases to verdicts: makes the calls, waits for the records, and asks the judge."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import inf
from typing import Final

from probes.action import Profile
from probes.arch import Arch
from probes.audit.collector import Batch
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, Outcome
from probes.documents.policy import Policy
from probes.errors import InstrumentError
from probes.filters.conditions import name_in
from probes.filters.prover import TooComplexError
from probes.finding import undecided
from probes.instrument.calls import Call, Observation, Request, Route, Zygote
from probes.judging import (
    calibration,
    counterexamples,
    executed,
    plan,
    proved,
    records,
    sentences,
    single,
    sweep,
    under_test,
    verdict,
)
from probes.judging.claims import About
from probes.judging.inquiry import Inquiry, entry, is_absent, is_by_exec, number_of, profile_of
from probes.judging.plan import Case, Scope
from probes.judging.setup import Setup
from probes.targets import Target
from probes.targets.confinement import Confinement

FURTHER_ATTEMPTS = 2
"""The most further attempts at a case whose records were lost in those of other processes."""

TOGETHER_SECONDS: Final = 5.0
"""The seconds after which no further case is begun of those that are examined together."""

_EXEMPT: Final = (
    "newer kernels ask no filter about {}, whoever makes it (seccomp_uprobe_exception() in "
    "kernel/seccomp.c), so no filter restricts it there"
)


class LostOverCaseError(InstrumentError):
    """The process that makes the calls was lost over a case.

    Attributes:
        case: the case.
    """

    def __init__(self, case: Case, text: str) -> None:
        """Takes the case and the sentence."""
        super().__init__(text)
        self.case = case


class Unready(Enum):
    """Why a case has no verdict yet that was examined with others."""

    TORN = auto()
    """Records were lost: with fewer others there may be less to lose."""
    UNDECIDED = auto()
    """The instrument failed, or more calls are needed: it has to be examined alone."""


@dataclass(frozen=True, slots=True)
class _Attempted:
    """What an attempt at a case came to.

    Attributes:
        cells: the verdicts.
        is_open: whether another attempt, by more calls, can decide more.
        is_torn: whether records that it needs were lost.
    """

    cells: list[Cell]
    is_open: bool
    is_torn: bool

    @property
    def is_broken(self) -> bool:
        """Whether the instrument failed."""
        return any(cell.outcome is Outcome.BROKEN for cell in self.cells)


class Examiner:
    """Judges cases on this kernel."""

    def __init__(  # noqa: PLR0913 - they are the parts of an instrument
        self,
        zygote: Zygote,
        target: Target,
        policy: Policy,
        offered: Sequence[Arch],
        trail: AuditTrail,
        *,
        own: Confinement | None = None,
        observes: bool = True,
        any_refusal: bool = False,
    ) -> None:
        """Takes its instrument.

        Args:
            zygote: makes the calls.
            target: gives the filters.
            policy: says which calls are documented.
            offered: the ABIs by which the kernel can be entered, its own one first.
            trail: gives the records.
            own: what confines this process itself while it judges something else.
            observes: whether filters can be tried here at all; elsewhere only proofs can be had.
            any_refusal: whether proofs ask only that a call is refused, in whatever way.
        """
        self._setup = Setup(
            zygote,
            target,
            policy,
            tuple(offered),
            trail,
            own,
            observes,
            ambient=target if target.is_ambient else None,
            witness=target.witness,
            any_refusal=any_refusal,
        )

    @property
    def fault(self) -> str:
        """Why no verdict of this examiner counts; "" once calibrated."""
        return self._setup.fault

    @property
    def doubt(self) -> str:
        """Why no verdict can be had, for the instrument cannot be calibrated; "" where it can."""
        return self._setup.doubt

    def beside(self, target: Target) -> "Examiner":
        """An examiner of another part of the target, by the same calibrated instrument."""
        other = copy(self)
        # The raw filters are those of the target.
        other._setup = replace(self._setup, target=target, raw={})  # noqa: SLF001 - of this class
        return other

    def calibrate(
        self, arches: Iterable[Arch], profiles: Iterable[Profile] = tuple(Profile)
    ) -> list[Cell]:
        """Judges the controls; unless those pass that matter, every later verdict is *broken*.

        If a confinement prevents controls, later verdicts are *cannot tell*. If the kernel does
        something else than Linux, later verdicts blame the kernel.

        Args:
            arches: the ABIs that are judged.
            profiles: the profiles that are judged.
        """
        asked = tuple(profiles)
        plain = [case for arch in arches for case in plan.controls(arch)]
        canaries = (
            self._setup.target.canaries if self._setup.own is None else self._setup.own.canaries
        )
        cases = plan.with_canaries(plain, canaries)
        cells = self.examine(cases)
        by_key = {case.cells[0]: case for case in cases}
        suspects = calibration.suspects(cells, asked)
        of_kernel = [cell for cell in suspects if self._is_unhonoured(by_key[cell.key])]
        found = calibration.weigh(cells, asked, of_kernel)
        self._setup.fault, self._setup.doubt = found.fault, "" if found.fault else found.doubt
        self._setup.unhonoured = found.unhonoured
        return list(found.cells)

    def _is_unhonoured(self, case: Case) -> bool:
        """Tries once more, in two ways, whether the kernel takes a known filter for another."""
        action, call = calibration.action_of_case(case), Call(number_of(case.cells[0]))
        requests = [
            Request(
                *(
                    entry(case.arch),
                    (call,),
                    under_test.filters(self._setup, case),
                    self._setup.zygote.nonce(),
                    route,
                ),
                runs=False,
            )
            for route in (Route.SIBLING, Route.THREADS)
        ]
        answers = self._setup.zygote.run(requests)
        return calibration.is_unhonoured(action, [answer[0] for answer in answers])

    def examine(self, cases: Sequence[Case]) -> list[Cell]:
        """The verdicts on all cells of the cases, in order; one wait for records for all.

        Raises:
            InstrumentError: the process that makes the calls is gone.
        """
        found = self._attempt(cases)
        for _ in range(FURTHER_ATTEMPTS):
            again = [index for index, one in enumerate(found) if one.is_open or one.is_torn]
            if not again:
                break
            anew = self._attempt([cases[index] for index in again], again=True)
            for index, one in zip(again, anew, strict=True):
                found[index] = one
        return [self._of_part(cell) for one in found for cell in one.cells]

    @property
    def may_work_ahead(self) -> bool:
        """Whether cases may be examined together.

        Not where a supervisor may be asked about their calls: how long it is waited for is learned
        from case to case.
        """
        ambient = self._setup.ambient
        return ambient is None or not ambient.supervised

    def examine_together(
        self, cases: Sequence[Case], seconds: float = TOGETHER_SECONDS
    ) -> list[list[Cell] | Unready]:
        """The verdicts on the cells of each case, with one wait for records for all.

        The last cases are left out where there was no time to begin with them.

        Args:
            cases: the cases.
            seconds: the time after which no further case is begun.

        Raises:
            LostOverCaseError: the process that makes the calls is gone.
            InstrumentError: it is gone, when all cases had made their calls.
        """
        found = self._attempt(cases, seconds=seconds)
        opened = [i for i, one in enumerate(found) if one.is_open and not one.is_torn]
        anew = self._attempt([cases[i] for i in opened], again=True, seconds=seconds)
        for index, one in zip(opened, anew, strict=False):
            found[index] = one
        return [self._ready(one, is_first=not index) for index, one in enumerate(found)]

    def _ready(self, found: _Attempted, *, is_first: bool) -> list[Cell] | Unready:
        """The verdicts on a case that was examined with others; none where they may be to blame.

        Args:
            found: what the attempt came to.
            is_first: whether the case is the one that was asked for: of a source of records that
                falls silent it tells.
        """
        if found.is_torn:
            return Unready.TORN
        if found.is_open or (found.is_broken and not is_first):
            return Unready.UNDECIDED
        return [self._of_part(cell) for cell in found.cells]

    def _of_part(self, cell: Cell) -> Cell:
        """Names the part of the target in a cell's sentence, where the target has several."""
        whose = self._setup.target.description
        if not cell.key.stack or whose in cell.sentence:
            return cell
        what = sentences.subject(cell.key)
        return replace(cell, sentence=cell.sentence.replace(what, f"{what}, {whose}", 1))

    def _attempt(
        self, cases: Sequence[Case], *, again: bool = False, seconds: float = inf
    ) -> list[_Attempted]:
        """What each case came to; fewer than there are cases where the time did not suffice.

        A case is tried again where records were lost, where a record was missing, and where a call
        was let through: these take more calls to decide, and few cases need them.

        Args:
            cases: the cases to judge.
            again: whether this is another attempt.
            seconds: the time after which no further case is begun.
        """
        end = time.monotonic() + seconds
        asked: list[tuple[Inquiry, list[list[Observation]]]] = []
        for case in cases:
            if asked and time.monotonic() > end:
                break
            inquiry = self._inquire(case, again=again)
            records.vouch(self._setup, inquiry)
            with _over(case):
                asked.append((inquiry, self._setup.zygote.run(inquiry.requests)))
        # Every child has ended by now, so the sentinel's record comes after theirs.
        needed = any(inquiry.needs_records for inquiry, _ in asked)
        batch = records.read(self._setup) if needed else None
        return [self._judged(inquiry, seen, batch) for inquiry, seen in asked]

    def _judged(
        self, inquiry: Inquiry, seen: Sequence[Sequence[Observation]], batch: Batch | None
    ) -> _Attempted:
        """What a case came to by what was seen of its calls.

        Args:
            inquiry: the case.
            seen: the observations.
            batch: the records; None where none were read.
        """
        with _over(inquiry.case):
            cells = inquiry.judge(seen, batch) if inquiry.judge is not None else []
        found = _Attempted(cells, inquiry.is_open, is_torn=False)
        lossy = batch is not None and not batch.complete
        # Of a silent source one case tells, and no further attempt helps it. Controls are tried
        # once more without records, so that all the rest can be judged.
        helps = inquiry.case.is_control or not self._setup.trail.lost
        torn = lossy and inquiry.needs_records and found.is_broken and helps
        return replace(found, is_torn=torn)

    def _inquire(self, case: Case, *, again: bool = False) -> Inquiry:
        inquiry = Inquiry(case, again)
        if case.row.about is About.FINDING:
            inquiry.judge = lambda _seen, _batch: verdict.all_judged(
                case, self._setup.target.findings
            )
        elif self._setup.fault and not case.is_control:
            inquiry.judge = lambda _seen, _batch: [
                verdict.broken(key, self._setup.fault) for key in case.cells
            ]
        elif self._setup.doubt and case.row.about not in {About.CONTROL, About.PROOF}:
            inquiry.judge = lambda _seen, _batch: cannot_tell(case, self._setup.doubt)
        elif case.row.about is About.DOCUMENTED_CALL and plan.is_exempt(case.cells[0]):
            inquiry.judge = lambda _seen, _batch: cannot_tell(
                case, _EXEMPT.format(case.cells[0].syscall), Cause.ARCHITECTURE
            )
        elif reason := self._undecided(case):
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.TARGET, reason) for key in case.cells
            ]
        elif case.row.about is About.PROOF and not is_absent(case):
            counterexamples.prove(self._setup, inquiry)
        elif case.cells[0].number is None:
            inquiry.judge = lambda _seen, _batch: [
                verdict.not_applicable(key) for key in case.cells
            ]
        elif case.row.about is About.OTHER_CALL:
            sweep.sweep(self._setup, inquiry)
        elif is_by_exec(case):
            self._compare(inquiry)
        else:
            single.ask(self._setup, inquiry)
        return inquiry

    def _undecided(self, case: Case) -> str:
        """Why a finding leaves the case's call undecided; "" where none does."""
        key = case.cells[0]
        findings = self._setup.target.findings
        if case.row.about is About.PROOF and key.syscall == Scope.OTHER_CALLS:
            rest = plan.rest_of(self._setup.policy, case.arch).values()
            return next(filter(None, (undecided(findings, call) for call in rest)), "")
        has_call = key.number is not None and len(case.cells) == 1
        if case.is_control or not has_call:
            return ""
        return undecided(self._setup.target.findings, key.syscall) or undecided(
            self._setup.target.findings, name_in(key.syscall)
        )

    def _compare(self, inquiry: Inquiry) -> None:
        """Compares the filters of exec with the container's own; if equal, makes a call."""
        case, profile = inquiry.case, profile_of(inquiry.case)
        key = case.cells[0]
        first, other = (
            self._setup.target.programs(profile),
            under_test.executed_programs(self._setup),
        )
        try:
            found = executed.difference(
                first,
                other,
                case.arch,
                big_endian=case.arch.big_endian,
                logged=(
                    under_test.flags_of(self._setup, by_exec=False),
                    under_test.flags_of(self._setup, by_exec=True),
                ),
            )
        except TooComplexError as error:
            reason = f"there is no proof that exec confines alike, for {error}"
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.INSTRUMENT, reason)
            ]
            return
        if not found:
            single.ask(self._setup, inquiry)
            return
        question = under_test.question_about(self._setup, key, profile)
        inquiry.judge = lambda _seen, _batch: [proved.judge_difference(question, found)]


@contextmanager
def _over(case: Case) -> Iterator[None]:
    """Says over which case the process that makes the calls was lost.

    Raises:
        LostOverCaseError: it was lost.
    """
    try:
        yield
    except InstrumentError as error:
        raise LostOverCaseError(case, str(error)) from error


def cannot_tell(case: Case, reason: str, cause: Cause = Cause.PRIVILEGE) -> list[Cell]:
    """The cells of a case that cannot be judged, as a rule because of this confinement."""
    return [
        verdict.cannot_tell(key, cause, reason)
        if key.number is not None or key.syscall in {scope.value for scope in Scope}
        else verdict.not_applicable(key)
        for key in case.cells
    ]
