"""From cases to verdicts: makes the calls, waits for the records, and asks the judge."""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import chain
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch, Entry, belongs_to, canary, of_token, token_text
from probes.audit.collector import Batch
from probes.audit.record import SeccompRecord
from probes.audit.trail import AuditTrail, Sentinel, emit_and_read
from probes.cell import Cause, Cell, CellKey, Outcome
from probes.documents.policy import DocumentedCall, Policy
from probes.filters import bpf, pointer
from probes.filters.bpf import Program, SeccompData
from probes.filters.comparison import run
from probes.filters.conditions import ARGUMENTS, example, name_in
from probes.filters.prover import Analysis, TooComplexError
from probes.finding import undecided
from probes.instrument import effect, witness
from probes.instrument.calls import (
    DEADLINE_SECONDS,
    Call,
    Observation,
    Request,
    Route,
    Zygote,
    can_place,
)
from probes.instrument.harmless import Preparation, probe_for
from probes.instrument.witness import Attempt, Witness
from probes.judging import calibration, executed, plan, proof, proved, sentences, verdict
from probes.judging.calls import Calls, Way
from probes.judging.claims import About
from probes.judging.obstacles import BY_SECCOMP, INSTALLING, decisive, explaining, killed_on_its_way
from probes.judging.plan import Case, Scope
from probes.judging.proof import Deviation
from probes.judging.proved import Counterexample
from probes.judging.sighting import NO_TRAIL, Question, Sighting, Trail
from probes.targets import Target, confinement
from probes.targets.ambient import SECONDS_TO_ANSWER
from probes.targets.confinement import Confinement
from probes.targets.stack import analyzed
from probes.widths import width

RECORD_DEADLINE_SECONDS = 10.0
"""How long a record may take to arrive; it takes about a millisecond."""

SILENT_SECONDS = 1.0
"""Likewise after one that did not arrive."""

UNANSWERED_SECONDS = 0.5
"""How long a supervisor may take after a call that it did not answer."""

FURTHER_ATTEMPTS = 2
"""How often a case is tried again whose records were lost: other processes fill the trail too."""

_EVERYTHING_ALLOWED = bpf.dispatch({}, FilterReturn(Action.ALLOW).value)
_ALL_ONES = (1 << 64) - 1
_UNKNOWN_ARGUMENTS = (_ALL_ONES,) * 6
"""For numbers that no table knows: no valid pointer, descriptor or flag, should a kernel know."""

_EXEMPT: Final = (
    "newer kernels ask no filter about {}, whoever makes it (seccomp_uprobe_exception() in "
    "kernel/seccomp.c), so no filter restricts it there"
)


class _Role(Enum):
    """What a call serves for; see ``verdict.Sighting``."""

    WITNESSED = auto()
    UNREAD = auto()
    PLAIN = auto()
    FREE = auto()
    CONTROL = auto()
    OWN = auto()
    """Without the filter under test, to see what this process's own confinement answers."""
    OWN_BELOW = auto()
    """Likewise, of a harmless call, and what it answers below a kill."""
    ASKING = auto()


@dataclass(frozen=True, slots=True)
class _Try:
    """One child for a cell: what it serves for, what it does, and who of it makes the call."""

    role: _Role
    attempt: Attempt
    route: Route


_UNDER_TEST = frozenset({_Role.WITNESSED, _Role.UNREAD, _Role.PLAIN, _Role.FREE})
"""The calls that are made under the filters under test."""

_MAY_RUN = frozenset({_Role.FREE, _Role.CONTROL, _Role.OWN_BELOW})


def _by_role(
    tries: Sequence[_Try], seen: Sequence[Observation]
) -> dict[_Role, tuple[Observation, ...]]:
    pairs = list(zip(tries, seen, strict=True))
    return {role: tuple(made for one, made in pairs if one.role is role) for role in _Role}


@dataclass(slots=True)
class _Inquiry:
    """One case's requests, and what makes cells of their answers.

    Attributes:
        case: what is judged.
        requests: the children that it takes.
        nonces: their names, by which their records are known.
        vouchers: the names of children whose known filter leaves a record, each with its ABI,
            number and code.
        needs_records: whether the audit trail is read.
        is_open: whether a record was missing that nobody vouched for, or a call was let through
            and it was not tried if somebody is asked about it: try again.
        again: whether this is another attempt, which tries all that; see ``is_open``.
        judge: makes the cells.
    """

    case: Case
    again: bool = False
    requests: list[Request] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)
    vouchers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    needs_records: bool = False
    is_open: bool = False
    judge: Callable[[Sequence[Sequence[Observation]], Batch | None], list[Cell]] | None = None


class Examiner:
    """Judges cases on this kernel.

    Attributes:
        fault: why no verdict of this examiner counts; "" once calibrated.
        doubt: why none can be had, for it cannot be calibrated; likewise.
    """

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
        """
        self._observes = observes
        self._zygote = zygote
        self._target = target
        self._policy = policy
        self._offered = tuple(offered)
        self._native = offered[0]
        self._trail = trail
        self._own = own
        self._ambient = target if target.is_ambient else None
        self._witness: Witness = target.witness
        self._raw: dict[tuple[Profile, bool], tuple[bytes, ...]] = {}
        self._reached: dict[tuple[str, Route], bool] = {}
        self._unhonoured: frozenset[tuple[str, Action]] = frozenset()
        self._patience = RECORD_DEADLINE_SECONDS
        self._supervisors_time = SECONDS_TO_ANSWER
        self.fault = ""
        self.doubt = ""

    def beside(self, target: Target) -> "Examiner":
        """One that judges another part of the target by the same instrument, once calibrated."""
        other = copy(self)
        other._target = target  # noqa: SLF001 - it is one of this class
        other._raw = {}  # noqa: SLF001 - likewise: the raw filters are those of the target
        return other

    def calibrate(
        self, arches: Iterable[Arch], profiles: Iterable[Profile] = tuple(Profile)
    ) -> list[Cell]:
        """Judges the controls; unless those pass that matter, every later verdict is *broken*.

        Where a confinement keeps controls from being judged, what it keeps cannot be told. Where
        the kernel does something else than Linux, that is what later verdicts say.

        Args:
            arches: the ABIs that are judged.
            profiles: the profiles that are judged.
        """
        asked = tuple(profiles)
        plain = [case for arch in arches for case in plan.controls(arch)]
        canaries = self._target.canaries if self._own is None else self._own.canaries
        cases = plan.with_canaries(plain, canaries)
        cells = self.examine(cases)
        by_key = {case.cells[0]: case for case in cases}
        suspects = calibration.suspects(cells, asked)
        of_kernel = [cell for cell in suspects if self._is_unhonoured(by_key[cell.key])]
        found = calibration.weigh(cells, asked, of_kernel)
        self.fault, self.doubt = found.fault, "" if found.fault else found.doubt
        self._unhonoured = found.unhonoured
        return list(found.cells)

    def _is_unhonoured(self, case: Case) -> bool:
        """Tries once more, in two ways, whether the kernel takes a known filter for another."""
        action, call = calibration.action_of_case(case), Call(_number(case.cells[0]))
        requests = [
            Request(
                *(_entry(case.arch), (call,), self._filters(case), self._zygote.nonce(), route),
                runs=False,
            )
            for route in (Route.SIBLING, Route.THREADS)
        ]
        answers = self._zygote.run(requests)
        return calibration.is_unhonoured(action, [answer[0] for answer in answers])

    def examine(self, cases: Sequence[Case]) -> list[Cell]:
        """The verdicts on all cells of the cases, in order; one wait for records for all.

        Raises:
            InstrumentError: the process that makes the calls is gone.
        """
        verdicts = self._attempt(cases)
        for _ in range(FURTHER_ATTEMPTS):
            torn = [index for index, (_, is_torn) in enumerate(verdicts) if is_torn]
            if not torn:
                break
            anew = self._attempt([cases[index] for index in torn], again=True)
            for index, found in zip(torn, anew, strict=True):
                verdicts[index] = found
        return [self._of_part(cell) for cells, _ in verdicts for cell in cells]

    def _of_part(self, cell: Cell) -> Cell:
        """The cell; where the target has several parts, its sentence says which one it is about."""
        whose = self._target.description
        if not cell.key.stack or whose in cell.sentence:
            return cell
        what = sentences.subject(cell.key)
        return replace(cell, sentence=cell.sentence.replace(what, f"{what}, {whose}", 1))

    def _attempt(
        self, cases: Sequence[Case], *, again: bool = False
    ) -> list[tuple[list[Cell], bool]]:
        """The cells of each case, and whether it takes another attempt.

        That is so where records were lost, and where one was missing or a call let through: few
        cases have need of what makes these a verdict.

        Args:
            cases: what is judged.
            again: whether this is another attempt.
        """
        inquiries = [self._inquire(case, again=again) for case in cases]
        if again:
            for inquiry in inquiries:
                self._vouch(inquiry)
        requests = [request for inquiry in inquiries for request in inquiry.requests]
        answers = iter(self._zygote.run(requests))
        batch = self._records() if any(inquiry.needs_records for inquiry in inquiries) else None
        lossy = batch is not None and not batch.complete
        verdicts: list[tuple[list[Cell], bool]] = []
        for inquiry in inquiries:
            seen = [next(answers) for _ in inquiry.requests]
            cells = inquiry.judge(seen, batch) if inquiry.judge is not None else []
            undecided = any(cell.outcome is Outcome.BROKEN for cell in cells)
            torn = lossy and inquiry.needs_records and undecided
            verdicts.append((cells, inquiry.is_open or torn))
        return verdicts

    def _vouch(self, inquiry: _Inquiry) -> None:
        """Has a known filter leave a record before and after the case's own, in the same way.

        What keeps the kernel from writing one, an action that kernel.seccomp.actions_logged lacks
        or an audit rule, keeps it from writing the other.
        """
        case, judge = inquiry.case, inquiry.judge
        returns = _recorded(case)
        if returns is None or judge is None or not inquiry.needs_records:
            return
        arch, number = self._canary(case.arch)
        raw = _known_filter(arch, number, returns)
        route = case.row.calls(case.cells[0]).route
        before, after = (
            Request(_entry(arch), (Call(number),), (raw,), self._zygote.nonce(), route, runs=False)
            for _ in range(2)
        )
        inquiry.requests = [before, *inquiry.requests, after]
        record = (arch.audit_arch, number, returns.value)
        inquiry.vouchers = {one.comm: record for one in (before, after)}
        inquiry.judge = lambda seen, batch: judge(seen[1:-1], batch)

    def _canary(self, arch: Arch) -> tuple[Arch, int]:
        """A call about which no other filter has a say, on an ABI or on the kernel's own."""
        if self._ambient is not None:
            found = self._ambient.canaries.get(arch.name)
            if found is not None and found.returns.action is Action.ALLOW:
                return arch, found.number
            return self._native, sentinel_number(self._target, self._native)
        if self._own is not None and arch.name in self._own.canaries:
            return arch, self._own.canaries[arch.name].number
        return arch, canary(arch)[1]

    def _records(self) -> Batch | None:
        """Everything that was recorded until now, up to a sentinel that is recorded for sure."""
        if self._trail.collector is None:
            return None
        number = sentinel_number(self._target, self._native, self._own)
        batch = emit_and_read(
            *(self._zygote, self._trail.collector, self._patience), Sentinel(self._native, number)
        )
        # Where records do not arrive any more, not every case shall wait as long as the first.
        self._patience = RECORD_DEADLINE_SECONDS if batch.complete else SILENT_SECONDS
        return batch

    def _inquire(self, case: Case, *, again: bool = False) -> _Inquiry:
        inquiry = _Inquiry(case, again)
        if case.row.about is About.FINDING:
            inquiry.judge = lambda _seen, _batch: verdict.all_judged(case, self._target.findings)
        elif self.fault and not case.is_control:
            inquiry.judge = lambda _seen, _batch: [
                verdict.broken(key, self.fault) for key in case.cells
            ]
        elif self.doubt and case.row.about not in {About.CONTROL, About.PROOF}:
            inquiry.judge = lambda _seen, _batch: cannot_tell(case, self.doubt)
        elif case.row.about is About.DOCUMENTED_CALL and plan.is_exempt(case.cells[0]):
            inquiry.judge = lambda _seen, _batch: cannot_tell(
                case, _EXEMPT.format(case.cells[0].syscall), Cause.ARCHITECTURE
            )
        elif reason := self._undecided(case):
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.TARGET, reason) for key in case.cells
            ]
        elif case.row.about is About.PROOF and not _is_absent(case):
            self._prove(inquiry)
        elif case.cells[0].number is None:
            inquiry.judge = lambda _seen, _batch: [
                verdict.not_applicable(key) for key in case.cells
            ]
        elif case.row.about is About.OTHER_CALL:
            self._sweep(inquiry)
        elif _is_by_exec(case):
            self._compare(inquiry)
        else:
            self._ask(inquiry)
        return inquiry

    def _undecided(self, case: Case) -> str:
        """Why a finding about the target leaves the case's call open; "" where none does."""
        key = case.cells[0]
        findings = self._target.findings
        if case.row.about is About.PROOF and key.syscall == Scope.OTHER_CALLS:
            rest = plan.rest_of(self._policy, case.arch).values()
            return next(filter(None, (undecided(findings, call) for call in rest)), "")
        has_call = key.number is not None and len(case.cells) == 1
        if case.is_control or not has_call:
            return ""
        return undecided(self._target.findings, key.syscall) or undecided(
            self._target.findings, name_in(key.syscall)
        )

    def _documented(self, key: CellKey) -> DocumentedCall | None:
        """The documented call that a cell is about; None where it is about something else."""
        return next((call for call in self._policy.calls if call.label == key.syscall), None)

    def _compare(self, inquiry: _Inquiry) -> None:
        """Compares what the runtime's exec confines by; where that is the same, a call is made."""
        case, profile = inquiry.case, _profile(inquiry.case)
        key = case.cells[0]
        first, other = self._target.programs(profile), self._executed
        try:
            found = executed.difference(
                first,
                other,
                case.arch,
                big_endian=case.arch.big_endian,
                logged=(self._flags(by_exec=False), self._flags(by_exec=True)),
            )
        except TooComplexError as error:
            reason = f"there is no proof that exec confines alike, for {error}"
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.INSTRUMENT, reason)
            ]
            return
        if not found:
            self._ask(inquiry)
            return
        question = self._question(key, profile)
        inquiry.judge = lambda _seen, _batch: [proved.judge_difference(question, found)]

    @property
    def _executed(self) -> tuple[Program, ...]:
        """The filters of a process that the runtime's exec started."""
        origin = self._target.origin
        if origin is None or origin.executed is None:
            raise LookupError("a case about the runtime's exec was planned for a target without it")
        return origin.executed

    def _sweep(self, inquiry: _Inquiry) -> None:
        """One child makes all the calls, none of which can run; others make the exempt ones."""
        case, profile = inquiry.case, _profile(inquiry.case)
        if reason := decisive(self._programs(case), self._native, Route.DIRECT):
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.FILTER, reason) for key in case.cells
            ]
            return
        under_test = self._filters(case)
        calls, untold = self._left_alone(case)
        exempt = [key for key in case.cells if plan.is_exempt(key)]
        swept = [key for key in calls if not plan.is_exempt(key)]
        attempts = [
            self._witness.sweep(case.arch, [calls[key] for key in keys], under_test)
            for keys in (swept, *([key] for key in exempt))
        ]
        bare = [self._witness.unasked(case.arch, Call(_number(key))) for key in exempt]
        # Where somebody is there who could be asked, nobody knows which of them do no harm.
        safe = self._ambient is not None and self._ambient.alone
        asking = [witness.asking_many(case.arch, [calls[key] for key in swept])] if safe else []
        inquiry.requests += [
            Request(_entry(case.arch), one.calls, one.programs, self._zygote.nonce(), runs=False)
            for one in (*chain.from_iterable(attempts), *bare, *asking)
        ]
        if self._own is not None:
            (alone,) = witness.MARKER.sweep(
                case.arch, [calls.get(key, Call(_number(key))) for key in case.cells], ()
            )
            inquiry.requests.append(
                Request(
                    *(_entry(case.arch), alone.calls, alone.programs, self._zygote.nonce()),
                    runs=False,
                )
            )

        def judge(seen: Sequence[Sequence[Observation]], _: Batch | None) -> list[Cell]:
            answers = iter(seen)
            witnessed: dict[CellKey, Observation] = {}
            for keys, tried in zip((swept, *([key] for key in exempt)), attempts, strict=True):
                made = zip(*(next(answers) for _ in tried), strict=True)
                witnessed |= zip(keys, map(self._witness.told, made), strict=True)
            controls = {key: next(answers)[0] for key in exempt}
            asked = dict(zip(swept, next(answers), strict=True)) if asking else {}
            own = dict(zip(case.cells, next(answers), strict=True)) if self._own else {}
            cells = []
            for key in case.cells:
                if key in untold:
                    cells.append(verdict.cannot_tell(key, Cause.INSTRUMENT, untold[key]))
                    continue
                if reason := undecided(self._target.findings, key.syscall):
                    cells.append(verdict.cannot_tell(key, Cause.TARGET, reason))
                    continue
                call = witness.marked(calls[key])
                sighting = Sighting(
                    witnessed=witnessed[key],
                    control=controls.get(key),
                    predicted=self._target.predict(profile, case.arch, _number(key)),
                    simulated=self._simulate(case, call),
                    asking=self._asking_of_rest(asked.get(key)),
                )
                alone = [own[key]] if own else []
                if own and plan.is_exempt(key) and not confinement.is_shut(own[key]):
                    alone = []  # this kernel may ask no filter about it, and so no marker either
                if reason := self._answered(key, Route.DIRECT, alone, sighting):
                    cells.append(verdict.cannot_tell(key, Cause.PRIVILEGE, reason))
                    continue
                cell = verdict.judge(self._question(key, profile), sighting)
                cells.append(self._explained(case, Route.DIRECT, sighting, cell))
            return cells

        inquiry.judge = judge

    def _left_alone(self, case: Case) -> tuple[dict[CellKey, Call], dict[CellKey, str]]:
        """The calls of a sweep, and the cells for which there is none, with the reason.

        A call that is restricted for some arguments is made with others, as near as can be.
        """
        parts = plan.partly_restricted(self._policy, case.arch)
        calls: dict[CellKey, Call] = {}
        untold: dict[CellKey, str] = {}
        for key in case.cells:
            rest = parts.get(_number(key))
            if rest is None:
                calls[key] = Call(_number(key))
                continue
            near = example(rest.restrictions[0]) or ()
            arguments = example(rest, near, {ARGUMENTS - 1: witness.SWEEP_MAGIC})
            if arguments is None:
                untold[key] = (
                    "the policy leaves it alone only with a sixth argument other than the one by "
                    "which the witness knows the probed calls"
                )
            else:
                calls[key] = Call(_number(key), arguments)
        return calls, untold

    def _prove(self, inquiry: _Inquiry) -> None:
        """Analyzes the programs; a counterexample is tried on the kernel, under the witness."""
        case, profile = inquiry.case, _profile(inquiry.case)
        key = case.cells[0]
        wanted = proof.expected(case, self._policy)
        question = Question(
            key,
            wanted[0],
            self._target.description,
            others=wanted[1:],
            unhonoured=self._not_honoured(case.arch.name),
        )
        try:
            analysis = self._target.analysis(profile)
            found = proof.deviation(case, self._policy, analysis, wanted)
        except TooComplexError as error:
            reason = f"there is no proof, for {error}"
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.INSTRUMENT, reason)
            ]
            return
        trial = self._trial(case, found) if found is not None else None
        if trial is not None:
            inquiry.requests.append(trial)
            if self._own is not None:
                nonce = self._zygote.nonce()
                inquiry.requests.append(replace(trial, programs=trial.programs[:1], comm=nonce))

        def judge(seen: Sequence[Sequence[Observation]], _: Batch | None) -> list[Cell]:
            if found is None:
                return [proved.judge_proof(question, None)]
            tried = seen[0][0] if seen else None
            if len(seen) > 1 and confinement.overruling(seen[1][0]):
                tried = None  # what this process's own confinement answers shows nothing
            elsewhere = key.syscall == Scope.OTHER_ARCHITECTURES
            text = _input_words(found, _place_words(found) if elsewhere else "")
            rare = _rarely_had(found)
            example = Counterexample(found.returns, text, analysis.exact, tried, rare)
            return [proved.judge_proof(question, example)]

        inquiry.judge = judge

    def _trial(self, case: Case, found: Deviation) -> Request | None:
        """What shows this kernel an input exactly as it was found, under the witness.

        None where the kernel has no such ABI, where this process cannot make the input, and for a
        number about which it may ask no filter, so that nothing keeps the call from running.
        """
        # The case has the ABI as 64-bit processes enter it; a proof needs no process at all.
        entered = next((one for one in self._offered if one.name == case.arch.name), None)
        if entered is None or case.cells[0].syscall == Scope.OTHER_ARCHITECTURES or self.doubt:
            return None
        if not self._observes:
            return None
        if plan.is_exempt_number(case.arch, found.number) or effect.is_hidden(found.value):
            return None
        address = found.data.instruction_pointer
        if not can_place(address) or max(found.data.args) > _widest():
            return None
        by_seccomp = self._is_prctl(entered, found.number)
        installing = BY_SECCOMP if by_seccomp else INSTALLING
        filters = self._target.programs(_profile(case))
        if decisive(filters, self._native, Route.SIBLING, installing=installing):
            return None
        call = Call(found.number, found.data.args)
        (attempt,) = witness.MARKER.one(entered, call, self._filters(case), ())
        return Request(
            *(_entry(entered), (call,), attempt.programs, self._zygote.nonce(), Route.SIBLING),
            seccomp=self._native.numbers["seccomp"],
            by_seccomp=by_seccomp,
            address=address,
        )

    def _is_prctl(self, arch: Arch, number: int) -> bool:
        """Whether a call is the one that installs filters, which its marker would answer.

        Not where the filters under test are there already: one marker is all that is installed.
        """
        same = arch.audit_arch == self._native.audit_arch and self._ambient is None
        return same and number == self._native.number("prctl")

    def _ask(self, inquiry: _Inquiry) -> None:
        """Plans up to three calls for a case of one cell, and how their answers are judged."""
        case = inquiry.case
        key = case.cells[0]
        recipe = case.row.calls(case.cells[0])
        row = probe_for(name_in(key.syscall))
        harmless = self._harmless_arguments(case)
        if harmless is None and recipe.free and not case.row.own_calls:
            reason = (
                f"the catalogue has no arguments for {key.syscall} that are known to be harmless; "
                "add a row to probes/instrument/harmless.py"
            )
            inquiry.judge = lambda _seen, _batch: [
                verdict.cannot_tell(key, Cause.INSTRUMENT, reason)
            ]
            return
        arguments = self._any_arguments(case) if harmless is None else harmless
        call = Call(_number(key), tuple(one & _widest(case.arch) for one in arguments))
        new_session = row is not None and row.prepare is Preparation.NEW_SESSION
        later = key.variant == Way.LATER_FILTER
        if reason := decisive(self._programs(case), self._native, recipe.route, later=later):
            inquiry.judge = lambda _seen, _batch: [verdict.cannot_tell(key, Cause.FILTER, reason)]
            return
        twice = recipe.plainly and not recipe.records
        other = self._with_unread_bits(case, call) if twice else None
        tries = list(self._tries(case, recipe, call, other, again=inquiry.again))
        for one in tries:
            nonce = self._zygote.nonce()
            if one.role in {_Role.WITNESSED, _Role.FREE}:
                inquiry.nonces.append(nonce)
            # A canary does no harm with capabilities either.
            runs = self._runs(one.role) and not case.is_control
            made = (_entry(case.arch), one.attempt.calls, one.attempt.programs, nonce)
            request = Request(
                *made,
                one.route,
                new_session and runs,
                self._deadline(runs=runs),
                runs=runs,
                logged=self._logged(case, one),
                seccomp=self._native.numbers["seccomp"],
                by_seccomp=self._is_prctl(case.arch, call.number),
            )
            inquiry.requests.append(request)
        inquiry.needs_records = recipe.records
        own = tuple(inquiry.requests)  # without those of known filters, which may be put around

        def judge(seen: Sequence[Sequence[Observation]], batch: Batch | None) -> list[Cell]:
            found = _by_role(tries, [answer[0] for answer in seen])
            told = self._told(found)
            reached = told is not None and effect.read(told).effect is effect.Effect.REACHED
            if reached and not recipe.control and self._can_ask(case) and not inquiry.again:
                inquiry.is_open = True
            sighting = Sighting(
                witnessed=told,
                free=next(iter(found[_Role.FREE]), None),
                control=next(iter(found[_Role.CONTROL]), None),
                trail=self._found(inquiry, batch) if recipe.records else NO_TRAIL,
                predicted=self._predict(case),
                simulated=self._simulate(case, call),
                asking=self._asking(case, recipe, next(iter(found[_Role.ASKING]), None)),
            )
            alone = (*found[_Role.OWN], *found[_Role.OWN_BELOW])
            if reason := self._answered(key, recipe.route, alone, sighting):
                return [verdict.cannot_tell(key, Cause.PRIVILEGE, reason)]
            cell = verdict.judge(self._question(key, case.profile), sighting)
            if other is not None and cell.outcome is Outcome.PASSED:
                watched = self._witness.told(found[_Role.UNREAD])
                simulated = self._simulate(case, other)
                sighting = replace(sighting, witnessed=watched, simulated=simulated)
                cell = verdict.judge(self._question(key, case.profile), sighting)
                if cell.outcome is not Outcome.PASSED:
                    made = f" ({_arguments_words(other)})"
                    sentence, reason = f"{cell.sentence}{made}", f"{cell.why}{made}"
                    cell = replace(cell, sentence=sentence, reason=reason)
            again = [
                replace(request, comm=self._zygote.nonce())
                for one, request in zip(tries, own, strict=True)
                if one.role in {_Role.WITNESSED, _Role.FREE}
            ]
            return [self._explained(case, recipe.route, sighting, cell, again)]

        inquiry.judge = judge

    def _harmless_arguments(self, case: Case) -> tuple[int, ...] | None:
        """Arguments that are known to do no harm; None where none are."""
        key = case.cells[0]
        if case.row.about is About.UNKNOWN_NUMBER:
            return _UNKNOWN_ARGUMENTS
        documented = self._documented(key)
        if documented is not None:
            return plan.harmless_arguments(documented, case.arch)
        row = probe_for(key.syscall)
        return None if row is None else row.args

    def _any_arguments(self, case: Case) -> tuple[int, ...]:
        """Arguments of a call that cannot run: such as the document restricts it for."""
        documented = self._documented(case.cells[0])
        if documented is None or not documented.args:
            return ()
        return example(documented.restriction(case.arch)) or ()

    def _with_unread_bits(self, case: Case, call: Call) -> Call | None:
        """The same call to the kernel, with bits in the registers that it does not read.

        None where a document's conditions are on nothing but whole registers.
        """
        documented = self._documented(case.cells[0])
        if documented is None or self._own is not None:
            return None  # what confines this process may look at such bits, too
        arguments = [*call.arguments, *(0,) * ARGUMENTS][:ARGUMENTS]
        for one in documented.args:
            bits = width(documented.name, case.arch, one.index)
            arguments[one.index] |= _ALL_ONES >> bits << bits & _widest()
        made = (*call.arguments, *(0,) * ARGUMENTS)[:ARGUMENTS]
        return None if tuple(arguments) == made else Call(call.number, tuple(arguments))

    def _tries(
        self, case: Case, recipe: Calls, call: Call, other: Call | None, *, again: bool
    ) -> Iterator[_Try]:
        """What is tried for one cell."""
        under_test = self._filters(case)
        later = (
            (bpf.to_bytes(_EVERYTHING_ALLOWED, big_endian=case.arch.big_endian),)
            if case.cells[0].variant == Way.LATER_FILTER
            else ()
        )
        if recipe.witnessed:
            for attempt in self._witness.one(case.arch, call, under_test, later):
                yield _Try(_Role.WITNESSED, attempt, recipe.route)
        if other is not None:
            for attempt in self._witness.one(case.arch, other, under_test, later):
                yield _Try(_Role.UNREAD, attempt, recipe.route)
        if recipe.plainly and self._witness.marks:
            for attempt in witness.ORDER.one(case.arch, call, under_test, later):
                yield _Try(_Role.PLAIN, attempt, recipe.route)
        if recipe.free:
            yield _Try(_Role.FREE, Attempt((call,), (*under_test, *later)), recipe.route)
        if recipe.control:
            yield _Try(_Role.CONTROL, self._witness.control(case.arch, call), Route.DIRECT)
        elif recipe.witnessed and again and self._can_ask(case):
            yield _Try(_Role.ASKING, witness.asking(case.arch, call), Route.DIRECT)
        yield from self._tries_of_its_own(case, recipe, call)

    def _tries_of_its_own(self, case: Case, recipe: Calls, call: Call) -> Iterator[_Try]:
        """What shows what this process's own confinement answers, where another is judged."""
        if self._own is not None:
            yield from _alone(case, recipe, call)

    def _answered(
        self, key: CellKey, route: Route, alone: Sequence[Observation], sighting: Sighting
    ) -> str:
        """Why what was seen may be by this process's own confinement; "" where it cannot.

        Args:
            key: the cell.
            route: who made the calls under the filter under test.
            alone: what came of the calls without it.
            sighting: what was seen with it.
        """
        if self._own is None or not alone:
            return ""
        first, *rest = alone
        watched = sighting.witnessed
        by_target = watched is not None and confinement.is_told_apart(first, watched, route)
        if by_target and watched is not None and not effect.reached(watched):
            return ""
        what = "" if by_target else confinement.overruling(first)
        if rest and not what:
            what = confinement.handing_on(rest)
        return self._own.answers(key.syscall, what) if what else ""

    def _runs(self, role: _Role) -> bool:
        """Whether a call may run: what is asked about only if somebody is there to have it run."""
        if role is _Role.ASKING:
            return self._ambient is None or not self._ambient.alone
        return role in _MAY_RUN

    def _deadline(self, *, runs: bool) -> float:
        """How long a child may take: not long where a supervisor may never answer its call."""
        supervised = self._ambient is not None and self._ambient.supervised
        return self._supervisors_time if runs and supervised else DEADLINE_SECONDS

    def _can_ask(self, case: Case) -> bool:
        """Whether it is tried if somebody is asked about a call.

        Where nobody is there who could be asked no call runs for it, so every one can be tried.
        Elsewhere it may: then only one that is known to do no harm.
        """
        if self._ambient is None or case.is_control:
            return False
        harmless = self._harmless_arguments(case) is not None
        return self._ambient.alone or harmless or case.row.own_calls

    def _asking(self, case: Case, recipe: Calls, made: Observation | None) -> effect.Asking | None:
        """What is known of whoever may be asked about a case's call."""
        ambient = self._ambient
        if ambient is None or recipe.control or case.is_control:
            return None
        if made is not None and made.timed_out:
            self._supervisors_time = UNANSWERED_SECONDS
        if made is None and not ambient.supervised:
            return None  # that nobody knows is a finding, and nothing hints at anybody
        return effect.Asking(made, self._untried, ambient.alone)

    def _asking_of_rest(self, made: Observation | None) -> effect.Asking | None:
        """Likewise of a call that the document leaves alone."""
        if self._ambient is None or (made is None and not self._ambient.supervised):
            return None
        return effect.Asking(made, self._untried, self._ambient.alone)

    @property
    def _untried(self) -> str:
        """Why nobody tries whether somebody is asked about a call."""
        who = self._ambient.supervised if self._ambient else ""
        return (
            f"whether a tracer or a supervisor is asked about it ({who}) cannot be tried, for it "
            "might run, and it is not known to be harmless"
        )

    def _told(self, found: Mapping[_Role, Sequence[Observation]]) -> Observation | None:
        """What became of the call under the witness; of the marked and the plain one, the worse.

        For the plain one a filter answers every call of that number, those of the probe's own, too;
        where that keeps it from being made, the marked one counts alone.
        """
        watched, plain = found[_Role.WITNESSED], found[_Role.PLAIN]
        if not watched:
            return None
        told = self._witness.told(watched)
        if not plain or effect.read(told).effect is effect.Effect.REACHED:
            return told
        other = witness.ORDER.told(plain)
        alike = effect.is_stopped(other) or effect.read(other) == effect.read(told)
        return told if alike else other

    def _predict(self, case: Case) -> FilterReturn | None:
        """What the filter under test returns for a case's one number, where that is certain."""
        if case.profile is None or _is_by_exec(case):
            return None
        return self._target.predict(case.profile, case.arch, _number(case.cells[0]))

    def _found(self, inquiry: _Inquiry, batch: Batch | None) -> Trail:
        if batch is None:
            return Trail("", reason=self._trail.reason)
        key = inquiry.case.cells[0]
        records = tuple(
            record
            for record in batch.records
            if record.comm in inquiry.nonces
            and _concerns(record, inquiry.case.arch, key)
            and record.code not in witness.UNKNOWN_ACTIONS
        )
        doubt = "" if records else self._doubt(inquiry, batch)
        return Trail(self._trail.source, records, batch.complete, batch.reason, doubt)

    def _doubt(self, inquiry: _Inquiry, batch: Batch) -> str:
        """Why a record may be missing that the action should have left; "" where it should be here.

        A kernel that was told otherwise meanwhile does not say so: so a known filter has to have
        left such records before and after.
        """
        case = inquiry.case
        action = _leaving_records(case)
        if action is None or (action is Action.ERRNO and not self._may_log(case)):
            return ""
        if reason := self._trail.why_unlogged(action):
            return reason
        if _recorded(case) is None:
            return ""
        found = {one.comm: (one.arch, one.syscall, one.code) for one in batch.records}
        if inquiry.vouchers and all(
            found.get(one) == inquiry.vouchers[one] for one in inquiry.vouchers
        ):
            return ""
        inquiry.is_open = not inquiry.vouchers
        return (
            f"a known filter's {action.name} left no record either at that time: "
            "kernel.seccomp.actions_logged or an audit rule (auditctl -l) kept the kernel from it"
        )

    def _may_log(self, case: Case) -> bool:
        """Whether a filter may be installed so that the kernel records more than its own wont."""
        if self._ambient is not None:
            return True
        return case.profile is not None and any(self._flags(by_exec=_is_by_exec(case)))

    def _question(self, key: CellKey, profile: Profile | None) -> Question:
        program = self._target.description if profile is not None else "a known filter"
        returns = verdict.expected_of(profile, key.claim, key.variant)
        if profile is None and self._ambient is not None:
            # Both filters are there, and of two equal actions the newest filter's data counts.
            of_both = (returns, self._ambient.canaries[key.arch].returns)
            returns = min(of_both, key=lambda one: one.action.precedence)
        others: tuple[FilterReturn, ...] = ()
        documented = self._documented(key)
        if documented is not None and profile is not None:
            returns, *more = documented.returns(profile, ARCHES[key.arch])
            others = tuple(more)
        return Question(
            key,
            returns,
            program,
            confined=self._ambient is not None,
            others=others,
            unhonoured=self._not_honoured(key.arch),
        )

    def _not_honoured(self, arch: str) -> frozenset[Action]:
        """The actions that the kernel takes for another on an ABI."""
        return frozenset(action for where, action in self._unhonoured if where == arch)

    def _filters(self, case: Case) -> tuple[bytes, ...]:
        """The filters under test, the oldest first; a control has a known one instead."""
        if case.profile is None:
            key = case.cells[0]
            returns = verdict.expected_of(None, case.claim, key.variant)
            return (_known_filter(case.arch, _number(key), returns),)
        which = (case.profile, _is_by_exec(case))
        if which not in self._raw:
            self._raw[which] = tuple(
                bpf.to_bytes(one, big_endian=case.arch.big_endian) for one in self._programs(case)
            )
        return self._raw[which]

    def _programs(self, case: Case) -> tuple[Program, ...]:
        """The filters under test, the oldest first; none where they are not known or a control's.

        A filter of the runtime's exec is judged in place of the container's.
        """
        if case.profile is None:
            return ()
        return self._executed if _is_by_exec(case) else self._target.programs(case.profile)

    def _logged(self, case: Case, one: _Try) -> tuple[bool, ...]:
        """Which of a try's filters log what they do, whatever their actions: by their places."""
        if one.role not in _UNDER_TEST or case.profile is None:
            return ()
        flags = self._flags(by_exec=_is_by_exec(case))
        before = one.attempt.before
        after = len(one.attempt.programs) - before - len(flags)
        return (*(False,) * before, *flags, *(False,) * after)

    def _flags(self, *, by_exec: bool) -> tuple[bool, ...]:
        """Which of the filters under test log what they do; () where none does."""
        target = self._target
        if not by_exec:
            return target.logged
        return () if target.origin is None else target.origin.executed_logged

    def _simulate(self, case: Case, call: Call) -> tuple[int, ...]:
        """Every raw value that the filters under test return for a call; none if not known.

        Several where they look at the address of the call's code, which is another one in each
        process.
        """
        programs = self._programs(case)
        if not programs:
            return ()
        arguments = (*call.arguments, 0, 0, 0, 0, 0, 0)[:6]
        data = SeccompData(call.number, case.arch.audit_arch, arguments)
        big_endian = case.arch.big_endian
        if not any(map(bpf.reads_pointer, programs)):
            return (run(programs, data, big_endian=big_endian),)
        try:
            analysis = (
                analyzed(programs, big_endian=big_endian)
                if _is_by_exec(case)
                else self._target.analysis(_profile(case))
            )
        except TooComplexError:
            return tuple(FilterReturn(action).value for action in Action)  # whatever it may be
        return tuple(sorted(analysis.values_from_anywhere(data)))

    def _explained(
        self,
        case: Case,
        route: Route,
        sighting: Sighting,
        cell: Cell,
        again: Sequence[Request] = (),
    ) -> Cell:
        """The cell; where the filter under test kept its probe from being made, it says so.

        Args:
            case: the case.
            route: who made the probed calls.
            sighting: what was seen.
            cell: the verdict on that.
            again: the requests of the probes, to see whether the same comes of them.
        """
        made = [one for one in (sighting.witnessed, sighting.free) if one is not None]
        stopped = [one for one in made if effect.is_stopped(one)]
        programs = self._programs(case)
        if cell.outcome is not Outcome.BROKEN or not stopped or not programs:
            return cell
        reason = explaining(programs, self._native, route, self._analysis(case))
        if not any(map(killed_on_its_way, stopped)):
            if not self._can_be_made(case.arch, route):
                return self._prevented(cell)
            # Whether a call comes to pass that a filter refuses may be a matter of moments.
            if not reason and not any(effect.is_stopped(one[0]) for one in self._zygote.run(again)):
                return cell
        why = f": {reason}" if reason else ""
        text = f"the filter under test ended the probe before its call ({cell.observed}){why}"
        return verdict.cannot_tell(cell.key, Cause.FILTER, text)

    def _can_be_made(self, arch: Arch, route: Route) -> bool:
        """Whether a probe reaches its call where there is no filter under test; asked once."""
        known = self._reached.get((arch.name, route))
        if known is None:
            _, number = canary(arch)
            (attempt,) = witness.MARKER.one(arch, Call(number), (), ())
            made = (_entry(arch), attempt.calls, attempt.programs, self._zygote.nonce())
            observation = self._zygote.run([Request(*made, route)])[0][0]
            known = self._reached[arch.name, route] = not effect.is_stopped(observation)
        return known

    def _prevented(self, cell: Cell) -> Cell:
        """The cell of a probe that reaches no call even without the filter under test."""
        if self._own is None:
            return cell
        return verdict.cannot_tell(cell.key, Cause.PRIVILEGE, self._own.prevents(cell.observed))

    def _analysis(self, case: Case) -> Analysis | None:
        """The analysis of the filters under test, where there is one."""
        try:
            return None if _is_by_exec(case) else self._target.analysis(_profile(case))
        except TooComplexError:
            return None


def _known_filter(arch: Arch, number: int, returns: FilterReturn) -> bytes:
    """A filter with one rule, which allows everything else."""
    allow = FilterReturn(Action.ALLOW).value
    parts = bpf.ranges({number}, returns.value, allow)
    program = bpf.dispatch({arch.audit_arch: parts}, allow)
    return bpf.to_bytes(program, big_endian=arch.big_endian)


def cannot_tell(case: Case, reason: str, cause: Cause = Cause.PRIVILEGE) -> list[Cell]:
    """The cells of a case that cannot be judged, as a rule because of this confinement."""
    return [
        verdict.cannot_tell(key, cause, reason)
        if key.number is not None or key.syscall in {scope.value for scope in Scope}
        else verdict.not_applicable(key)
        for key in case.cells
    ]


def sentinel_number(target: Target | None, native: Arch, own: Confinement | None = None) -> int:
    """The number of a call that serves as a sentinel."""
    for whose in (target, own):
        if whose is not None and native.name in whose.canaries:
            return whose.canaries[native.name].number
    return canary(native)[1]


def _leaving_records(case: Case) -> Action | None:
    """The action of a case's filter whose record is looked for, if any."""
    if case.profile is None:
        action = calibration.action_of_case(case)
        return action if action in _RECORDED_ACTIONS else None
    return case.profile.returns.action


_RECORDED_ACTIONS = frozenset({Action.KILL_PROCESS, Action.KILL_THREAD, Action.LOG})
"""What the kernel records unasked; see ``seccomp_log()`` in kernel/seccomp.c."""


def _recorded(case: Case) -> FilterReturn | None:
    """What a known filter returns that has to leave the record that a case asks for; None if none.

    Of a control the filter is the known one, and where none may be left nothing is missing.
    """
    if case.profile is None or case.profile is Profile.ERRNO:
        return None
    return case.profile.returns


def _is_by_exec(case: Case) -> bool:
    """Whether the case is about what a runtime's exec starts."""
    return case.cells[0].variant == Way.RUNTIME_EXEC


def _entry(arch: Arch) -> str:
    return arch.entry.name.lower()


def _is_absent(case: Case) -> bool:
    """Whether a documented call has no number on the case's ABI."""
    key = case.cells[0]
    return key.number is None and key.syscall not in {scope.value for scope in Scope}


def _place_words(found: Deviation) -> str:
    """The call that a number is, where that is known, and the architecture."""
    token, number = found.data.arch, found.number
    names = (arch.name_of(number) for arch in of_token(token) if belongs_to(arch, number))
    name = next(filter(None, names), "")
    return f"{f' ({name})' if name else ''} on architecture {token_text(token)}"


def _input_words(found: Deviation, where: str) -> str:
    """An input in words: the number, and the arguments that are not zero."""
    arguments = ", ".join(
        f"args[{index}]={value:#x}" for index, value in enumerate(found.data.args) if value
    )
    more = f" and {found.count - 1} more numbers" if found.count > 1 else ""
    with_them = f" with {arguments}" if arguments else ""
    address = found.data.instruction_pointer
    at = f" at instruction address {address:#x}" if address else ""
    return f"number {found.number:#x}{where}{with_them}{at}{more}"


def _widest(arch: Arch | None = None) -> int:
    """The highest argument that a process has in its registers: this one, or one of an ABI."""
    narrow = sys.maxsize <= bpf.U32 or (arch is not None and arch.entry is Entry.INT80)
    return bpf.U32 if narrow else _ALL_ONES


def _rarely_had(found: Deviation) -> str:
    """Why not every process can make an input, in words; "" where each can."""
    address = found.data.instruction_pointer
    narrow = not found.data.arch & _AUDIT_ARCH_64BIT and max(found.data.args) > bpf.U32
    if narrow and max(found.data.args) > _widest() and os.uname().machine != "x86_64":
        return "only code of 64 bits has such an argument in its registers"
    if not address or pointer.is_ordinary(address) or pointer.is_vsyscall(address):
        return ""
    return (
        f"code at {address:#x} takes more than any process has (CAP_SYS_RAWIO or a lower "
        "vm.mmap_min_addr, or page tables of five levels)"
    )


_AUDIT_ARCH_64BIT = 0x80000000
"""__AUDIT_ARCH_64BIT of linux/audit.h."""


def _alone(case: Case, recipe: Calls, call: Call) -> Iterator[_Try]:
    """What shows a call under this process's own confinement alone."""
    yield _Try(_Role.OWN, confinement.above(case.arch, call), Route.SIBLING)
    if recipe.free or case.is_control:
        for attempt in confinement.below(case.arch, call):
            yield _Try(_Role.OWN_BELOW, attempt, Route.SIBLING)


def _arguments_words(call: Call) -> str:
    pairs = enumerate(call.arguments)
    return "with " + ", ".join(f"args[{index}]={value:#x}" for index, value in pairs if value)


def _number(key: CellKey) -> int:
    if key.number is None:
        raise ValueError(f"{key} has no number to call")
    return key.number


def _profile(case: Case) -> Profile:
    if case.profile is None:
        raise ValueError(f"{case.id} has no profile")
    return case.profile


def _concerns(record: SeccompRecord, arch: Arch, key: CellKey) -> bool:
    return record.arch == arch.audit_arch and record.syscall == key.number


def entered(zygote: Zygote, arches: Sequence[Arch]) -> Iterator[tuple[Arch, str]]:
    """Asks the kernel by which of the ABIs it can be entered.

    Yields:
        Each ABI with "" if a call through it came back, else with what happened instead. One that
        came back with ENOSYS counts only if a filter is asked about it before the kernel is: x32
        on a kernel without it, and not the 32-bit entry of a kernel that is not Linux.
    """
    for arch in arches:
        if arch.entry is Entry.NONE:
            yield arch, "it takes a program of that ABI"
            continue
        call = Call(canary(arch)[1])
        (marked,) = witness.MARKER.one(arch, call, (), ())
        bare, asked = (
            zygote.run([Request(_entry(arch), (call,), programs, zygote.nonce(), runs=runs)])[0][0]
            for programs, runs in (((), True), (marked.programs, False))
        )
        came_back = bare.status is None and not bare.fault
        if came_back and bare.errno == errno.ENOSYS and asked.errno == errno.ENOSYS:
            yield arch, "the kernel answers ENOSYS to its calls, and asks no filter"
        else:
            yield arch, "" if came_back else effect.answer(bare)
