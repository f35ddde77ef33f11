"""The judge: what was expected, what was seen, and what that means. Pure; no I/O.

An observation is read by ``probes.instrument.effect``, never by errno or by SIGSYS alone.
"""

import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from probes.action import MAX_ERRNO, Action, FilterReturn, Profile
from probes.audit.record import SeccompRecord
from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Outcome
from probes.filters.conditions import name_in
from probes.finding import Finding, Weight, weighty
from probes.instrument import witness
from probes.instrument.calls import Observation, Stage
from probes.instrument.effect import (
    STOPPED,
    Asking,
    Effect,
    Seen,
    answer,
    asked,
    is_hidden,
    is_never_answered,
    is_stopped,
    reached,
    read,
)
from probes.judging.plan import ANY_ARCH, Case


@dataclass(frozen=True, slots=True)
class Trail:
    """What the audit trail holds about one probe.

    Attributes:
        source: the collector's name; "" where there is none.
        records: the records with the probe's nonce, number and architecture.
        complete: whether a missing record was never written.
        reason: why absence proves nothing, or why there is no collector and what would help.
        doubt: why the kernel may write no record of what the filter did, although others arrive;
            "" where a known filter that did the same left one meanwhile.
    """

    source: str
    records: tuple[SeccompRecord, ...] = ()
    complete: bool = False
    reason: str = ""
    doubt: str = ""


NO_TRAIL: Final = Trail("", reason="no audit records were asked for")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Everything that was seen for one cell.

    Attributes:
        witnessed: the call under the filter and the witness: it cannot run.
        free: the call under the filter alone: it runs if the filter lets it.
        control: the same call without any filter.
        trail: the audit records of the call.
        predicted: what the program returns for the number, by simulation, where that is certain.
        simulated: the raw value that the filters under test return for the very call; none where
            they are not known, and several where they decide by the address of its code.
        asking: whether somebody is asked about a call that the witness was asked about; None where
            the filters are known, or nothing is known of anybody.
    """

    witnessed: Observation | None = None
    free: Observation | None = None
    control: Observation | None = None
    trail: Trail = NO_TRAIL
    predicted: FilterReturn | None = None
    simulated: tuple[int, ...] = ()
    asking: Asking | None = None

    @property
    def returns(self) -> FilterReturn | None:
        """What the filters return for the very call, where that is known."""
        if self.predicted is None and len(self.simulated) == 1:
            return FilterReturn.decode(self.simulated[0])
        return self.predicted


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one cell.

    Attributes:
        key: the cell.
        returns: what the filter must return for the number.
        program: what a sentence calls the filter.
        confined: the filter is there already, so there is no call without any, and what the
            probes do besides is under it too.
        others: what the filter may return just as well, with another errno.
        unhonoured: the actions for which this kernel does something else, by the controls.
    """

    key: CellKey
    returns: FilterReturn
    program: str
    confined: bool = False
    others: tuple[FilterReturn, ...] = ()
    unhonoured: frozenset[Action] = frozenset()

    @property
    def wanted(self) -> tuple[FilterReturn, ...]:
        """All that the filter may return."""
        return (self.returns, *self.others)

    @property
    def words(self) -> str:
        """All that the filter may return, as people write it."""
        return " or ".join(map(str, self.wanted))


@dataclass(frozen=True, slots=True)
class _Finding:
    """A verdict before it becomes a cell.

    Attributes:
        outcome: what it is.
        cause: what made it so.
        observed: what was seen, in words.
        effect: what became of the call, where that was judged.
        by_program: whether it rests on what the program returns, which the kernel did not show.
    """

    outcome: Outcome
    cause: Cause | None
    observed: str
    effect: Effect | None = None
    by_program: bool = False


def judge(question: Question, sighting: Sighting) -> Cell:
    """The verdict on one cell."""
    sighting = _narrowed(sighting)
    finding = (
        _hidden(question, sighting)
        or _by_address(sighting)
        or _JUDGES[question.key.claim](question, sighting)
    )
    if question.confined and finding.outcome is Outcome.BROKEN:
        finding = _prevented(sighting) or finding
    expected = _EXPECTED[question.key.claim](question)
    return Cell(
        key=question.key,
        outcome=finding.outcome,
        cause=finding.cause,
        sentence=_sentence(question, expected, finding),
        reason=_reason(question, expected, finding),
        by_program=finding.by_program,
        expected=expected,
        observed=finding.observed,
        evidence=_evidence(question, sighting),
    )


def _narrowed(sighting: Sighting) -> Sighting:
    """Without those of several values that the witness would have shown."""
    made = sighting.witnessed
    if len(sighting.simulated) < 2 or made is None or not reached(made):  # noqa: PLR2004 - several
        return sighting
    left = tuple(
        value
        for value in sighting.simulated
        if is_hidden(value) or FilterReturn.decode(value).action in _BELOW_THE_WITNESS
    )
    return replace(sighting, simulated=left)


_BELOW_THE_WITNESS: Final = frozenset({Action.USER_NOTIF, Action.TRACE, Action.LOG, Action.ALLOW})


def _by_address(sighting: Sighting) -> _Finding | None:
    """What cannot be told because the filter looks where a call's code is."""
    if sighting.witnessed is None or not reached(sighting.witnessed):
        return None
    returns = dict.fromkeys(str(FilterReturn.decode(one)) for one in sighting.simulated)
    if len(returns) < 2:  # noqa: PLR2004 - several
        return None
    text = (
        f"the program returns {' or '.join(returns)} by the address of the call's code, and it "
        "cannot be seen which of them it returned"
    )
    return _Finding(Outcome.CANNOT_TELL, Cause.FILTER, text)


def _hidden(question: Question, sighting: Sighting) -> _Finding | None:
    """What is judged by the program alone, for the witness outranks an action that nobody knows.

    The kernel ends the process for it (since Linux 4.14; SECCOMP_RET_KILL_PROCESS in seccomp(2)),
    which is no claim's wording but the one that it must be terminated.
    """
    if len(sighting.simulated) != 1 or sighting.witnessed is None:
        return None
    (value,) = sighting.simulated
    if not is_hidden(value):
        return None
    text = f"the program returns {value:#x}, an action that no kernel knows and kills for"
    if question.returns.action is Action.KILL_PROCESS:
        return _Finding(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"{text}, and the witness hides it")
    return _Finding(Outcome.FAILED, Cause.FILTER, text, by_program=True)


def _prevented(sighting: Sighting) -> _Finding | None:
    """What kept a probe from being made: in a confined process that is its confinement."""
    for one in (sighting.witnessed, sighting.free, sighting.control):
        if one is not None and (seen := read(one)).effect is Effect.FAULT:
            text = f"this process's confinement keeps the probe from being made: {seen.detail}"
            return _Finding(Outcome.CANNOT_TELL, Cause.PRIVILEGE, text)
    return None


@dataclass(frozen=True, slots=True)
class Counterexample:
    """An input that a proof found to go wrong, and what came of it.

    Attributes:
        returns: what the programs return for it, by the analysis.
        text: the input, in words.
        certain: whether the analysis is exact.
        observation: what the kernel did with it; None where it could not be tried here.
        rare: why not every process can make it, in words, so that it counts only if this one can;
            "" where each can.
    """

    returns: FilterReturn
    text: str
    certain: bool
    observation: Observation | None
    rare: str = ""


def judge_proof(question: Question, counterexample: Counterexample | None) -> Cell:
    """The verdict on what an analysis of the programs covers."""
    finding = _judge_proof(question, counterexample)
    conditional = _is_conditional(question.key)
    which = "all arguments that meet the conditions" if conditional else "all arguments"
    expected = f"{question.words} for {which}"
    evidence: list[Evidence] = []
    if finding.outcome is Outcome.PASSED:
        text = f"no input leads to anything but {question.words}"
        evidence.append(Evidence(EvidenceKind.PROVED, "analysis", text))
    if counterexample is not None:
        text = f"{counterexample.text} returns {counterexample.returns}"
        evidence.append(Evidence(EvidenceKind.PROVED, "analysis", text))
        if counterexample.observation is not None and not _never_made(counterexample.observation):
            detail = read(counterexample.observation).detail
            evidence.append(Evidence(EvidenceKind.OBSERVED, "witness", detail))
    return Cell(
        key=question.key,
        outcome=finding.outcome,
        cause=finding.cause,
        sentence=_sentence(question, expected, finding),
        reason=_reason(question, expected, finding),
        by_program=finding.by_program,
        expected=expected,
        observed=finding.observed,
        evidence=tuple(evidence),
    )


def _judge_proof(question: Question, found: Counterexample | None) -> _Finding:
    if found is None:
        conditional = _is_conditional(question.key)
        which = "arguments meet the conditions" if conditional else "the arguments"
        text = f"{question.program} returns {question.words} whatever {which}"
        return _Finding(Outcome.PASSED, None, text)
    text = f"{question.program} returns {found.returns} for {found.text}"
    if found.observation is None or _never_made(found.observation):
        return _untried(found, text)
    seen = read(found.observation)
    if _agrees(seen, found.returns) or _is_unhonoured(question, seen, found.returns):
        return _Finding(Outcome.FAILED, Cause.FILTER, f"{text}, and so it is on this kernel")
    if not found.certain:
        return _Finding(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"perhaps {text}")
    differs = f"by the analysis {text}, but on this kernel {seen.detail}"
    return _Finding(Outcome.BROKEN, Cause.INSTRUMENT, differs)


def _never_made(observation: Observation) -> bool:
    """Whether a trial came to its end before the call, so that it contradicts nothing."""
    return observation.stage is Stage.NOT_REACHED and is_stopped(observation)


def _untried(found: Counterexample, text: str) -> _Finding:
    """The verdict on an input that the kernel was not shown."""
    why = "" if found.observation is None else f" (not tried: {read(found.observation).detail})"
    if not found.certain:
        return _Finding(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"perhaps {text}{why}")
    if found.rare:
        text = f"{text}, but {found.rare}{why}"
        return _Finding(Outcome.CANNOT_TELL, Cause.PRIVILEGE, text)
    return _Finding(Outcome.FAILED, Cause.FILTER, f"{text}{why}")


def _agrees(seen: Seen, returns: FilterReturn) -> bool:
    """Whether the kernel did under the witness what a return value says."""
    wanted = _EFFECTS.get(returns.action, Effect.REACHED)  # TRACE and USER_NOTIF stand below it
    right_errno = wanted is not Effect.REFUSED or seen.errno == min(returns.data, MAX_ERRNO)
    return seen.effect is wanted and right_errno


def judge_difference(question: Question, found: str) -> Cell:
    """The verdict on a runtime whose exec confines otherwise than it confined the first process.

    Args:
        question: the cell.
        found: the calls about which the filters differ, in words.
    """
    expected = "the filters of the container's first process"
    text = f"a process that exec starts there is confined differently {found}"
    reason = f"expected {expected}, but {text} ({question.program})"
    return Cell(
        key=question.key,
        outcome=Outcome.FAILED,
        cause=Cause.FILTER,
        sentence=f"{subject(question.key)}: {reason}",
        reason=reason,
        expected=expected,
        observed=text,
        evidence=(Evidence(EvidenceKind.PROVED, "analysis", text),),
    )


def all_judged(case: Case, findings: Iterable[Finding]) -> list[Cell]:
    """The verdicts on what a target names and nobody judged.

    Args:
        case: of the claim "is all judged".
        findings: those of the target; one is about the case's cell.

    Raises:
        KeyError: none is.
    """
    by_name = {one.about: one for one in weighty(findings)}
    return [_of_finding(key, by_name[key.syscall]) for key in case.cells]


def _of_finding(key: CellKey, finding: Finding) -> Cell:
    contradicts = finding.weight is Weight.CONTRADICTS
    reason = f"{'' if contradicts else 'cannot tell: '}{finding.text}"
    return Cell(
        key,
        Outcome.FAILED if contradicts else Outcome.CANNOT_TELL,
        Cause.FILTER if contradicts else Cause.TARGET,
        f"{subject(key)}: {reason}",
        "that all of the target was judged",
        "confined otherwise" if contradicts else "not judged",
        reason=reason,
    )


def not_applicable(key: CellKey) -> Cell:
    """The verdict on a call that an ABI does not have."""
    observed = f"{key.arch} has no such call"
    why = f"no number of {key.arch} stands for it"
    if _is_conditional(key):
        observed += ", or none with such arguments"
        why += ", or no arguments of it meet the conditions there"
    reason = f"not applicable, for {why}"
    return Cell(
        key,
        Outcome.NOT_APPLICABLE,
        Cause.ARCHITECTURE,
        f"{subject(key)}: {reason}",
        "nothing",
        observed,
        reason=reason,
    )


def _is_conditional(key: CellKey) -> bool:
    """Whether a cell is about a call with some arguments only."""
    return name_in(key.syscall) != key.syscall


def cannot_tell(key: CellKey, cause: Cause, reason: str) -> Cell:
    """The verdict on a cell that was not assessed."""
    return Cell(
        key,
        Outcome.CANNOT_TELL,
        cause,
        f"{subject(key)}: cannot tell: {reason}",
        "",
        "not assessed",
        reason=f"cannot tell: {reason}",
    )


def broken(key: CellKey, reason: str) -> Cell:
    """The verdict on a cell whose probe could not be made, or not be trusted."""
    return Cell(
        key,
        Outcome.BROKEN,
        Cause.INSTRUMENT,
        f"{subject(key)}: no verdict: {reason}",
        "",
        "the instrument failed",
        reason=f"no verdict: {reason}",
    )


def subject(key: CellKey) -> str:
    """What a sentence is about: ``acct (163) on x86_64 after fork``."""
    number = "" if key.number is None else f" ({_readable(key.number)})"
    part = f" in {key.part}" if key.part else ""
    if key.arch == ANY_ARCH:
        return f"{key.syscall}{part}"
    return f"{key.syscall}{number} on {key.arch}{_VARIANT_WORDS.get(key.variant, '')}{part}"


_HIGHEST_PLAIN_NUMBER = 0xFFFF
_VARIANT_WORDS: Final[Mapping[str, str]] = {
    "fork": " after fork",
    "thread": " in a new thread",
    "execve": " after execve",
    "setuid": " after a change of user",
    "later filter": " under a later filter that allows everything",
    "runtime exec": " in a process that the runtime's exec starts",
    "removal": " after trying to leave filter mode",
}


def _readable(number: int) -> str:
    return str(number) if number <= _HIGHEST_PLAIN_NUMBER else f"{number:#x}"


def _sentence(question: Question, expected: str, finding: _Finding) -> str:
    lead = {
        Outcome.CANNOT_TELL: f"cannot tell (expected {expected}): ",
        Outcome.BROKEN: "no verdict: ",
    }
    reason = _reason(question, expected, finding)
    return f"{subject(question.key)}: {lead.get(finding.outcome, '')}{reason}"


def _reason(question: Question, expected: str, finding: _Finding) -> str:
    if finding.outcome is Outcome.PASSED:
        return f"{finding.observed}, as expected"
    if finding.outcome in {Outcome.CANNOT_TELL, Outcome.BROKEN}:
        return finding.observed
    return f"expected {expected}, but {finding.observed}{_blame(question, finding)}"


def _blame(question: Question, finding: _Finding) -> str:
    """Which rule is wrong, where the filter's own answer shows it."""
    if finding.cause is not Cause.FILTER or question.key.claim is Claim.IS_PROVED:
        return ""
    if finding.by_program:
        return f" ({question.program})"
    if finding.effect is Effect.REACHED:
        return f": {question.program} lets it through"
    return f": {question.program} has another rule for it"


def _evidence(question: Question, sighting: Sighting) -> tuple[Evidence, ...]:
    found: list[Evidence] = []
    if (
        question.key.variant == "setuid"
        and sighting.witnessed is not None
        and not sighting.witnessed.fault
    ):
        dropped = sighting.witnessed.dropped_user
        text = "nobody" if dropped else "its own user again, for it may become no other"
        found.append(Evidence(EvidenceKind.OBSERVED, "setuid", f"the process became {text}"))
    if sighting.witnessed is not None:
        seen = read(sighting.witnessed)
        if seen.effect is Effect.REACHED and _witnessed(sighting).effect is not Effect.REACHED:
            seen = replace(seen, detail="no refusal and no kill: the witness answered")
        found.append(Evidence(EvidenceKind.OBSERVED, "witness", seen.detail))
    if sighting.free is not None:
        found.append(Evidence(EvidenceKind.OBSERVED, "call", answer(sighting.free)))
    if sighting.control is not None:
        under = _CONFINED_CONTROL if question.confined else "without a filter"
        text = f"{under}: {answer(sighting.control)}"
        found.append(Evidence(EvidenceKind.OBSERVED, "control", text))
    found += [
        Evidence(EvidenceKind.RECORDED, sighting.trail.source, record.raw)
        for record in sighting.trail.records
    ]
    if sighting.asking is not None and sighting.asking.observation is not None:
        text = f"{_CONFINED_CONTROL}: {answer(sighting.asking.observation)}"
        found.append(Evidence(EvidenceKind.OBSERVED, "control", text))
    if sighting.trail.complete and not sighting.trail.records:
        text = "no record, and a later event's record arrived"
        found.append(Evidence(EvidenceKind.RECORDED, sighting.trail.source, text))
    if sighting.returns is not None:
        how = "whatever the" if sighting.predicted is not None else "with these"
        text = f"the program returns {sighting.returns} for this number, {how} arguments"
        found.append(Evidence(EvidenceKind.PROVED, "simulation", text))
    return tuple(found)


_CONFINED_CONTROL: Final = "under a filter that kills where no other one answers"


def _instrument_failed(seen: Seen) -> _Finding | None:
    if seen.effect in STOPPED:
        return _Finding(Outcome.BROKEN, Cause.INSTRUMENT, seen.detail)
    return None


def _act(question: Question, seen: Seen, returns: FilterReturn | None = None) -> _Finding:
    """Whether the filter did at the call what it must.

    Args:
        question: what it must do.
        seen: what it did.
        returns: what it returns, where that is known.
    """
    failed = _instrument_failed(seen)
    if failed:
        return failed
    if seen.effect is Effect.ASKED:
        return _Finding(Outcome.CANNOT_TELL, Cause.FILTER, seen.detail)
    wanted = _EFFECTS[question.returns.action]
    errnos = {one.data for one in question.wanted}
    right_errno = wanted is not Effect.REFUSED or seen.errno in errnos
    if seen.effect is wanted and right_errno:
        return _Finding(Outcome.PASSED, None, seen.detail)
    same = returns is None or returns.action is question.returns.action
    if same and _is_unhonoured(question, seen, question.returns):
        return _unhonoured(question.returns.action, seen.detail)
    return _Finding(
        Outcome.FAILED,
        Cause.FILTER,
        seen.detail,
        seen.effect,
        by_program=seen.by_program,
    )


def _is_unhonoured(question: Question, seen: Seen, returns: FilterReturn) -> bool:
    """Whether the kernel ended but a thread for a filter that asked it for something else."""
    wanted = returns.action in question.unhonoured
    return wanted and seen.effect in {Effect.KILLED_THREAD, Effect.KILLED_PROCESS}


def _unhonoured(action: Action, seen: str) -> _Finding:
    """The verdict on a kernel that does something else for an action than Linux does."""
    text = f"this kernel does not honour {action.name}: {seen}"
    return _Finding(Outcome.FAILED, Cause.NOT_IMPLEMENTED, text)


_EFFECTS: Final[Mapping[Action, Effect]] = {
    Action.KILL_PROCESS: Effect.KILLED_PROCESS,
    Action.KILL_THREAD: Effect.KILLED_THREAD,
    Action.TRAP: Effect.TRAPPED,
    Action.ERRNO: Effect.REFUSED,
    Action.LOG: Effect.REACHED,
    Action.ALLOW: Effect.REACHED,
}


def _witnessed(sighting: Sighting) -> Seen:
    if sighting.witnessed is None:
        return Seen(Effect.FAULT, "no witnessed call was made")
    seen = read(sighting.witnessed)
    returns = sighting.returns
    if seen.effect is Effect.REACHED and returns and returns.action in _HANDED_ON:
        whom = _HANDED_ON[returns.action]
        detail = f"the program returns {returns}, which leaves it to {whom}"
        return Seen(Effect.HANDED_ON, detail, by_program=True)
    if seen.effect is Effect.REACHED and sighting.asking is not None:
        return asked(seen, sighting.asking)
    return seen


_HANDED_ON: Final = {Action.TRACE: "a tracer", Action.USER_NOTIF: "a supervisor"}
"""These rank below the witness; with nobody there the call answers ENOSYS (seccomp(2))."""


def _judge_act(question: Question, sighting: Sighting) -> _Finding:
    return _act(question, _witnessed(sighting), sighting.returns)


def _judge_record(question: Question, sighting: Sighting) -> _Finding:
    """Whether the call left the record that its action must leave."""
    made = sighting.witnessed or sighting.free
    failed = _failure_of(made)
    if failed:
        return failed
    trail = sighting.trail
    wrong = [record for record in trail.records if not _fits(record, question.returns)]
    if wrong:
        text = f"the audit record says sig={wrong[0].signal} code={wrong[0].code:#x}"
        return _Finding(Outcome.FAILED, Cause.FILTER, text)
    if trail.records:
        return _Finding(Outcome.PASSED, None, "its audit record arrived")
    return _absence(trail) or _Finding(
        Outcome.FAILED, Cause.FILTER, "it left no audit record, although a later event left one"
    )


def _failure_of(observation: Observation | None) -> _Finding | None:
    if observation is None:
        return _Finding(Outcome.BROKEN, Cause.INSTRUMENT, "no call was made")
    if observation.fault or observation.timed_out:
        return _instrument_failed(read(observation))
    return None


def _fits(record: SeccompRecord, returns: FilterReturn) -> bool:
    killed = returns.action in {Action.KILL_PROCESS, Action.KILL_THREAD}
    return record.code == returns.value and record.signal == (signal.SIGSYS if killed else 0)


def _absence(trail: Trail) -> _Finding | None:
    """Why a missing record means nothing; None where it means that there was none."""
    if not trail.source:
        return _Finding(Outcome.CANNOT_TELL, Cause.PRIVILEGE, trail.reason)
    if not trail.complete:
        return _Finding(Outcome.BROKEN, Cause.INSTRUMENT, trail.reason)
    if trail.doubt:
        return _Finding(Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION, trail.doubt)
    return None


def _judge_silence(question: Question, sighting: Sighting) -> _Finding:
    """Whether a denial left no record. Where nothing was denied, nothing was denied silently."""
    seen = _witnessed(sighting)
    failed = _instrument_failed(seen)
    if failed:
        return failed
    if seen.effect is not Effect.REFUSED:
        return _act(question, seen, sighting.returns)
    if sighting.trail.records:
        code = sighting.trail.records[0].code
        return _Finding(Outcome.FAILED, Cause.FILTER, f"it left an audit record, code={code:#x}")
    return _absence(sighting.trail) or _Finding(
        Outcome.PASSED, None, f"{seen.detail}, and no audit record was written"
    )


def _judge_run(question: Question, sighting: Sighting) -> _Finding:
    """Whether the call runs as it does without a filter.

    The same errno is not enough: a filter can answer EPERM where the kernel would have. So the
    witness must have been reached too.
    """
    let_through = _act(question, _witnessed(sighting))
    if let_through.outcome is not Outcome.PASSED:
        return let_through
    if sighting.returns is not None and not sighting.returns.action.reaches_kernel:
        text = f"the program returns {sighting.returns} for it"
        return _Finding(Outcome.FAILED, Cause.FILTER, text, by_program=True)
    return _judge_answers(question, sighting.free, sighting.control)


def _judge_answers(
    question: Question, free: Observation | None, control: Observation | None
) -> _Finding:
    """Whether a call that the witness was asked about answers as it does without a filter."""
    if question.confined and free is not None and is_never_answered(free):
        text = f"{Effect.ASKED}, and none answered in time"
        return _Finding(Outcome.CANNOT_TELL, Cause.FILTER, text)
    failed = _failure_of(free) or _failure_of(control)
    if failed or free is None or control is None:
        return failed or _Finding(Outcome.BROKEN, Cause.INSTRUMENT, "no control was made")
    if Action.LOG in question.unhonoured and witness.killed_at_call(free):
        return _unhonoured(Action.LOG, read(free).detail)
    if question.confined:
        return _judge_confined_run(free, control)
    ran, native = answer(free), answer(control)
    if ran == native:
        return _Finding(Outcome.PASSED, None, f"it answered {ran}, with a filter and without")
    return _Finding(
        Outcome.FAILED, Cause.FILTER, f"it answered {ran} and, without a filter, {native}"
    )


def _judge_confined_run(free: Observation, control: Observation) -> _Finding:
    """Likewise where the filter is there already, so that nothing runs without it.

    Under the control's filter SIGSYS ends what the filter under test returns LOG or ALLOW for, and
    such a call goes to the kernel as it does without a filter.
    """
    if free.stage is not Stage.RETURNED:
        seen = read(free)
        return _Finding(Outcome.FAILED, Cause.FILTER, seen.detail, seen.effect)
    if control.stage is Stage.ARMED and witness.killed_at_call(control):
        text = f"it answered {answer(free)}, and by no filter, for the action is LOG or ALLOW"
        return _Finding(Outcome.PASSED, None, text)
    text = f"{Effect.ASKED}, and it answered {answer(free)}"
    return _Finding(Outcome.FAILED, Cause.FILTER, text)


def _judge_run_and_record(question: Question, sighting: Sighting) -> _Finding:
    """What LOG must do where one cell stands for all of it."""
    ran = _judge_run(question, sighting)
    return ran if ran.outcome is not Outcome.PASSED else _judge_record(question, sighting)


def _judge_confined(question: Question, sighting: Sighting) -> _Finding:
    """Whether the profile's action still holds, for an unknown number or after a way out."""
    loosened = [o for o in (sighting.witnessed, sighting.free) if o is not None and o.loosened]
    if loosened:
        return _Finding(
            Outcome.FAILED, Cause.FILTER, "the kernel let the process leave filter mode"
        )
    if question.returns.action is Action.LOG:
        return _judge_run_and_record(question, sighting)
    return _judge_act(question, sighting)


def _judge_rest(question: Question, sighting: Sighting) -> _Finding:
    """Whether a call that is not documented goes through, and unlogged."""
    let_through = _act(question, _witnessed(sighting))
    predicted = sighting.returns
    allowed = predicted is None or predicted.action is Action.ALLOW
    exempt, without = False, ""
    if let_through.outcome is not Outcome.PASSED and sighting.witnessed and sighting.control:
        with_filter, without = answer(sighting.witnessed), answer(sighting.control)
        asked = question.confined and _is_asked(sighting.control)
        exempt = with_filter == without and not asked
    if exempt and allowed:
        text = f"this kernel asks no filter about it ({without}, with a filter and without)"
        return _Finding(Outcome.PASSED, None, text)
    if not allowed and (exempt or let_through.outcome is Outcome.PASSED):
        # The witness sees neither LOG nor the other actions below its own. TRACE without a tracer
        # and USER_NOTIF without a listener do not let a call run.
        text = f"the program returns {predicted} for it"
        return _Finding(Outcome.FAILED, Cause.FILTER, text, by_program=True)
    return let_through


def _is_asked(marked: Observation) -> bool:
    """Whether the kernel asks filters about a call that was made under a marker."""
    ended = marked.stage is Stage.ARMED and witness.killed_at_call(marked)
    return marked.errno in witness.ERRNOS or marked.trapped or ended


def _judge_control(question: Question, sighting: Sighting) -> _Finding:
    """Whether the instrument sees a known filter as what it is."""
    act = _act(question, _witnessed(sighting))
    free = sighting.free
    runs = question.returns.action is Action.LOG and act.outcome is Outcome.PASSED
    if runs and free is not None and free.stage is not Stage.RETURNED:
        return _Finding(Outcome.FAILED, Cause.INSTRUMENT, f"it did not run: {read(free).detail}")
    if act.outcome is not Outcome.PASSED or not sighting.trail.source:
        return act
    logged = question.returns.action in {Action.KILL_PROCESS, Action.KILL_THREAD, Action.LOG}
    if logged and sighting.trail.doubt and not sighting.trail.records:
        # Whoever asks for such a record will be told so; what the kernel does was seen.
        return replace(act, observed=f"{act.observed}; no record, for {sighting.trail.doubt}")
    if logged:
        return _judge_record(question, sighting)
    if sighting.trail.records:
        return _Finding(Outcome.FAILED, Cause.INSTRUMENT, "it left an audit record")
    return _absence(sighting.trail) or act


_JUDGES: Final[Mapping[Claim, Callable[[Question, Sighting], _Finding]]] = {
    Claim.CONTROLS: _judge_control,
    Claim.TERMINATES: _judge_act,
    Claim.ENDS_EVERY_THREAD: _judge_act,
    Claim.IS_REPORTED: _judge_record,
    Claim.DENIES: _judge_act,
    Claim.IS_SILENT: _judge_silence,
    Claim.RUNS: _judge_run,
    Claim.IS_RECORDED: _judge_record,
    Claim.LEAVES_THE_REST_ALONE: _judge_rest,
    Claim.DEFAULT_ACTION: _judge_confined,
    Claim.IS_INHERITED: _judge_confined,
}


def _confined_words(question: Question) -> str:
    logs = question.returns.action is Action.LOG
    return "LOG, so that it runs and is recorded" if logs else question.words


_EXPECTED: Final[Mapping[Claim, Callable[[Question], str]]] = {
    Claim.CONTROLS: lambda question: str(question.returns),
    Claim.TERMINATES: lambda question: question.words,
    Claim.ENDS_EVERY_THREAD: lambda question: f"{question.returns} for all threads",
    Claim.IS_REPORTED: lambda _: f"an audit record with sig={int(signal.SIGSYS)} code=0x80000000",
    Claim.DENIES: lambda question: question.words,
    Claim.IS_SILENT: lambda _: "a denial that leaves no audit record",
    Claim.RUNS: lambda _: "that it runs as without a filter",
    Claim.IS_RECORDED: lambda _: "an audit record with sig=0 code=0x7ffc0000",
    Claim.LEAVES_THE_REST_ALONE: lambda question: str(question.returns),
    Claim.DEFAULT_ACTION: _confined_words,
    Claim.IS_INHERITED: _confined_words,
}


def expected_of(profile: Profile | None, claim: Claim, variant: str) -> FilterReturn:
    """What a filter must return for the number of a cell."""
    if profile is None:
        action = Action[variant]
        return Profile.ERRNO.returns if action is Action.ERRNO else FilterReturn(action)
    return FilterReturn(Action.ALLOW) if claim is Claim.LEAVES_THE_REST_ALONE else profile.returns
