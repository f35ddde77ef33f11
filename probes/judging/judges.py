"""The judges: each compares what the kernel did at a call with what a claim asks for. Pure."""

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.audit.record import SeccompRecord
from probes.cell import Cause, Outcome
from probes.instrument import witness
from probes.instrument.calls import Observation, Stage
from probes.instrument.effect import STOPPED, Effect, Seen, answer, asked, is_never_answered, read
from probes.judging.sighting import Judgement, Question, Sighting, Trail


def instrument_failed(seen: Seen) -> Judgement | None:
    """The verdict on a probe that did not come to its end; None on any other."""
    if seen.effect in STOPPED:
        return Judgement(Outcome.BROKEN, Cause.INSTRUMENT, seen.detail)
    return None


def act(question: Question, seen: Seen, returns: FilterReturn | None = None) -> Judgement:
    """Whether the filter did at the call what it must.

    Args:
        question: what the filter must do.
        seen: what it did, as the witness saw it.
        returns: what the filter returns, where that is known.
    """
    failed = instrument_failed(seen)
    if failed:
        return failed
    if seen.effect is Effect.ASKED:
        return Judgement(Outcome.CANNOT_TELL, Cause.FILTER, seen.detail)
    wanted = EFFECTS[question.returns.action]
    errnos = {one.data for one in question.wanted}
    right_errno = wanted is not Effect.REFUSED or seen.errno in errnos
    if seen.effect is wanted and right_errno:
        return Judgement(Outcome.PASSED, None, seen.detail)
    same = returns is None or returns.action is question.returns.action
    if same and is_unhonoured(question, seen, question.returns):
        return _unhonoured(question.returns.action, seen)
    return Judgement(
        Outcome.FAILED,
        Cause.FILTER,
        seen.detail,
        seen.effect,
        by_program=seen.by_program,
        returned=seen.returned,
    )


def is_unhonoured(question: Question, seen: Seen, returns: FilterReturn) -> bool:
    """Whether the kernel killed for an action that, by the controls, it does not honor."""
    wanted = returns.action in question.unhonoured
    return wanted and seen.effect in {Effect.KILLED_THREAD, Effect.KILLED_PROCESS}


def _unhonoured(action: Action, seen: Seen) -> Judgement:
    """The verdict on a kernel that does something else for an action than Linux does."""
    text = f"this kernel does not honour {action.name}: {seen.detail}"
    return Judgement(Outcome.FAILED, Cause.NOT_IMPLEMENTED, text, returned=seen.returned)


EFFECTS: Final[Mapping[Action, Effect]] = {
    Action.KILL_PROCESS: Effect.KILLED_PROCESS,
    Action.KILL_THREAD: Effect.KILLED_THREAD,
    Action.TRAP: Effect.TRAPPED,
    Action.ERRNO: Effect.REFUSED,
    Action.LOG: Effect.REACHED,
    Action.ALLOW: Effect.REACHED,
}


def shows(seen: Seen, returns: FilterReturn) -> bool:
    """Whether the kernel did under the witness what a return value says."""
    wanted = EFFECTS.get(returns.action, Effect.REACHED)  # TRACE and USER_NOTIF stand below it
    right_errno = wanted is not Effect.REFUSED or seen.errno == min(returns.data, MAX_ERRNO)
    return seen.effect is wanted and right_errno


def witnessed(sighting: Sighting) -> Seen:
    """The effect seen under the witness, refined by the filter program or by another call."""
    if sighting.witnessed is None:
        return Seen(Effect.FAULT, "no witnessed call was made")
    seen = read(sighting.witnessed)
    returns = sighting.returns
    if seen.effect is Effect.REACHED and returns and returns.action in _HANDED_ON:
        whom = _HANDED_ON[returns.action]
        detail = f"the program returns {returns}, which leaves it to {whom}"
        return Seen(Effect.HANDED_ON, detail, by_program=True, action=returns.action)
    if seen.effect is Effect.REACHED and returns and returns.action.reaches_kernel:
        return replace(seen, action=returns.action)
    if seen.effect is Effect.REACHED and sighting.asking is not None:
        return asked(seen, sighting.asking)
    return seen


_HANDED_ON: Final = {Action.TRACE: "a tracer", Action.USER_NOTIF: "a supervisor"}
"""Actions that rank below the witness; without a tracer or supervisor they give ENOSYS."""


def judge_act(question: Question, sighting: Sighting) -> Judgement:
    """Whether the filter did at the call what it must."""
    return act(question, witnessed(sighting), sighting.returns)


def judge_record(question: Question, sighting: Sighting) -> Judgement:
    """Whether the call left the record that its action must leave."""
    made = sighting.witnessed or sighting.free
    failed = _failure_of(made)
    if failed:
        return failed
    trail = sighting.trail
    wrong = [record for record in trail.records if not _fits(record, question.returns)]
    if wrong:
        text = f"the audit record says sig={wrong[0].signal} code={wrong[0].code:#x}"
        return Judgement(Outcome.FAILED, Cause.FILTER, text, returned=_recorded(wrong[0]))
    if trail.records:
        return Judgement(Outcome.PASSED, None, "its audit record arrived")
    return _absence(trail) or Judgement(
        Outcome.FAILED, Cause.FILTER, "it left no audit record, although a later event left one"
    )


def _failure_of(observation: Observation | None) -> Judgement | None:
    if observation is None:
        return Judgement(Outcome.BROKEN, Cause.INSTRUMENT, "no call was made")
    if observation.fault or observation.timed_out:
        return instrument_failed(read(observation))
    return None


def _fits(record: SeccompRecord, returns: FilterReturn) -> bool:
    return record.code == returns.value and record.signal == _signal_of(returns)


def _recorded(record: SeccompRecord) -> FilterReturn:
    """What the filter returned, by the record of it."""
    return FilterReturn.decode(record.code)


def _signal_of(returns: FilterReturn) -> int:
    """The signal that an audit record of an action names."""
    killed = returns.action in {Action.KILL_PROCESS, Action.KILL_THREAD}
    return int(signal.SIGSYS) if killed else 0


def _absence(trail: Trail) -> Judgement | None:
    """The verdict where a missing record proves nothing; None where it proves silence."""
    if not trail.source:
        return Judgement(Outcome.CANNOT_TELL, trail.cause, trail.reason)
    if not trail.complete:
        return Judgement(Outcome.BROKEN, Cause.INSTRUMENT, trail.reason)
    if trail.doubt:
        return Judgement(Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION, trail.doubt)
    return None


def judge_silence(question: Question, sighting: Sighting) -> Judgement:
    """Whether a denial left no record. Where nothing was denied, nothing was denied silently."""
    seen = witnessed(sighting)
    failed = instrument_failed(seen)
    if failed:
        return failed
    if seen.effect is not Effect.REFUSED:
        return act(question, seen, sighting.returns)
    if sighting.trail.records:
        first = sighting.trail.records[0]
        text = f"it left an audit record, code={first.code:#x}"
        return Judgement(Outcome.FAILED, Cause.FILTER, text, returned=_recorded(first))
    return _absence(sighting.trail) or Judgement(
        Outcome.PASSED, None, f"{seen.detail}, and no audit record was written"
    )


def judge_run(question: Question, sighting: Sighting) -> Judgement:
    """Whether the call runs as it does without a filter.

    The same errno is not enough: a filter can answer EPERM where the kernel would have. So the
    witness must have been reached too.
    """
    let_through = act(question, witnessed(sighting))
    if let_through.outcome is not Outcome.PASSED:
        return let_through
    if sighting.returns is not None and not sighting.returns.action.reaches_kernel:
        text = f"the program returns {sighting.returns} for it"
        return Judgement(
            Outcome.FAILED, Cause.FILTER, text, by_program=True, returned=sighting.returns
        )
    return _judge_answers(question, sighting.free, sighting.control)


def _judge_answers(
    question: Question, free: Observation | None, control: Observation | None
) -> Judgement:
    """Whether a call that the witness was asked about answers as it does without a filter."""
    if question.confined and free is not None and is_never_answered(free):
        text = f"{Effect.ASKED}, and none answered in time"
        return Judgement(Outcome.CANNOT_TELL, Cause.FILTER, text)
    failed = _failure_of(free) or _failure_of(control)
    if failed or free is None or control is None:
        return failed or Judgement(Outcome.BROKEN, Cause.INSTRUMENT, "no control was made")
    if Action.LOG in question.unhonoured and witness.killed_at_call(free):
        return _unhonoured(Action.LOG, read(free))
    if question.confined:
        return _judge_confined_run(free, control)
    ran, native = answer(free), answer(control)
    if ran == native:
        return Judgement(Outcome.PASSED, None, f"it answered {ran}, with a filter and without")
    return Judgement(
        Outcome.FAILED, Cause.FILTER, f"it answered {ran} and, without a filter, {native}"
    )


def _judge_confined_run(free: Observation, control: Observation) -> Judgement:
    """Whether a call answers as it must where the filter is there already.

    Under the control's filter SIGSYS ends what the filter under test returns LOG or ALLOW for, and
    such a call goes to the kernel as it does without a filter.
    """
    if free.stage is not Stage.RETURNED:
        seen = read(free)
        return Judgement(
            Outcome.FAILED, Cause.FILTER, seen.detail, seen.effect, returned=seen.returned
        )
    if control.stage is Stage.ARMED and witness.killed_at_call(control):
        text = f"it answered {answer(free)}, and by no filter, for the action is LOG or ALLOW"
        return Judgement(Outcome.PASSED, None, text)
    text = f"{Effect.ASKED}, and it answered {answer(free)}"
    return Judgement(Outcome.FAILED, Cause.FILTER, text, returned=FilterReturn(Action.TRACE))


def _judge_run_and_record(question: Question, sighting: Sighting) -> Judgement:
    """Whether a call under LOG both runs and is recorded, where one cell judges both."""
    ran = judge_run(question, sighting)
    if ran.outcome is not Outcome.PASSED:
        return ran
    recorded = judge_record(question, sighting)
    if recorded.outcome is Outcome.FAILED and recorded.returned is None:
        # It ran and left no record, which is what ALLOW does.
        return replace(recorded, returned=FilterReturn(Action.ALLOW))
    return recorded


def judge_confined(question: Question, sighting: Sighting) -> Judgement:
    """Whether the profile's action still holds, for an unknown number or after a way out."""
    loosened = [o for o in (sighting.witnessed, sighting.free) if o is not None and o.loosened]
    if loosened:
        text = "the kernel let the process leave filter mode"
        return Judgement(Outcome.FAILED, Cause.FILTER, text, returned=FilterReturn(Action.ALLOW))
    if question.returns.action is Action.LOG:
        return _judge_run_and_record(question, sighting)
    return judge_act(question, sighting)


def judge_rest(question: Question, sighting: Sighting) -> Judgement:
    """Whether a call that is not documented goes through, and unlogged."""
    let_through = act(question, witnessed(sighting))
    predicted = sighting.returns
    allowed = predicted is None or predicted.action is Action.ALLOW
    exempt, without = False, ""
    if let_through.outcome is not Outcome.PASSED and sighting.witnessed and sighting.control:
        with_filter, without = answer(sighting.witnessed), answer(sighting.control)
        asked = question.confined and _is_asked(sighting.control)
        exempt = with_filter == without and not asked
    if exempt and allowed:
        text = f"this kernel asks no filter about it ({without}, with a filter and without)"
        return Judgement(Outcome.PASSED, None, text)
    if not allowed and (exempt or let_through.outcome is Outcome.PASSED):
        # The witness sees neither LOG nor the other actions below its own. TRACE without a tracer
        # and USER_NOTIF without a listener do not let a call run.
        text = f"the program returns {predicted} for it"
        return Judgement(Outcome.FAILED, Cause.FILTER, text, by_program=True, returned=predicted)
    return let_through


def _is_asked(marked: Observation) -> bool:
    """Whether the kernel asks filters about a call that was made under a marker."""
    ended = marked.stage is Stage.ARMED and witness.killed_at_call(marked)
    return marked.errno in witness.ERRNOS or marked.trapped or ended


def judge_control(question: Question, sighting: Sighting) -> Judgement:
    """Whether the instrument sees a known filter as what it is."""
    found = act(question, witnessed(sighting))
    free = sighting.free
    runs = question.returns.action is Action.LOG and found.outcome is Outcome.PASSED
    if runs and free is not None and free.stage is not Stage.RETURNED:
        return Judgement(Outcome.FAILED, Cause.INSTRUMENT, f"it did not run: {read(free).detail}")
    if found.outcome is not Outcome.PASSED or not sighting.trail.source:
        return found
    logged = question.returns.action in {Action.KILL_PROCESS, Action.KILL_THREAD, Action.LOG}
    if logged and sighting.trail.doubt and not sighting.trail.records:
        # Whoever asks for such a record will be told so; what the kernel does was seen.
        return replace(found, observed=f"{found.observed}; no record, for {sighting.trail.doubt}")
    if logged:
        return judge_record(question, sighting)
    if sighting.trail.records:
        return Judgement(Outcome.FAILED, Cause.INSTRUMENT, "it left an audit record")
    return _absence(sighting.trail) or found


def whole_action(question: Question) -> str:
    """The profile's action, in words; for LOG with the run and the record."""
    logs = question.returns.action is Action.LOG
    return "LOG, so that it runs and is recorded" if logs else question.words


def the_return(question: Question) -> str:
    """The one answer that the filter must give, in words."""
    return str(question.returns)


def the_words(question: Question) -> str:
    """Every answer that the filter may give, in words."""
    return question.words


def for_all_threads(question: Question) -> str:
    """The action with the words "for all threads"."""
    return f"{question.returns} for all threads"


def a_record(question: Question) -> str:
    """The audit record that the call must leave, in words."""
    code, sent = question.returns.value, _signal_of(question.returns)
    return f"an audit record with sig={sent} code={code:#x}"


def no_record(_: Question) -> str:
    """A denial without an audit record, in words."""
    return "a denial that leaves no audit record"


def a_run(_: Question) -> str:
    """A call that runs, in words."""
    return "that it runs as without a filter"
