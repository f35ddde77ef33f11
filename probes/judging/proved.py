"""Verdicts by analysis of the programs, with what the kernel did on a counterexample. Pure."""

from dataclasses import dataclass

from probes.action import FilterReturn
from probes.cell import Cause, Cell, Evidence, EvidenceKind, Outcome
from probes.instrument.calls import Observation, Stage
from probes.instrument.effect import is_stopped, read
from probes.judging.judges import is_unhonoured, shows
from probes.judging.sentences import is_conditional, reason, sentence, subject
from probes.judging.sighting import Judgement, Question


@dataclass(frozen=True, slots=True)
class Counterexample:
    """An input for which the programs return a wrong value, and what the kernel did with it.

    Attributes:
        returns: the value that the programs return for it, by the analysis.
        text: the input, in words.
        certain: whether the analysis is exact.
        observation: what the kernel did with it; None where it could not be tried here.
        rare: why not every process can make the input, in words, so that it counts only if this
            process can; "" where each can.
    """

    returns: FilterReturn
    text: str
    certain: bool
    observation: Observation | None
    rare: str = ""


def judge_proof(question: Question, counterexample: Counterexample | None) -> Cell:
    """The verdict on what an analysis of the programs covers."""
    finding = _judge_proof(question, counterexample)
    conditional = is_conditional(question.key)
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
        sentence=sentence(question, expected, finding),
        reason=reason(question, expected, finding),
        by_program=finding.by_program,
        returned=finding.returned,
        expected=expected,
        observed=finding.observed,
        evidence=tuple(evidence),
    )


def _judge_proof(question: Question, found: Counterexample | None) -> Judgement:
    if found is None:
        conditional = is_conditional(question.key)
        which = "arguments meet the conditions" if conditional else "the arguments"
        text = f"{question.program} returns {question.words} whatever {which}"
        return Judgement(Outcome.PASSED, None, text)
    text = f"{question.program} returns {found.returns} for {found.text}"
    if found.observation is None or _never_made(found.observation):
        return _untried(found, text)
    seen = read(found.observation)
    if shows(seen, found.returns) or is_unhonoured(question, seen, found.returns):
        return _failed(found, f"{text}, and so it is on this kernel")
    if not found.certain:
        return Judgement(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"perhaps {text}")
    differs = f"by the analysis {text}, but on this kernel {seen.detail}"
    return Judgement(Outcome.BROKEN, Cause.INSTRUMENT, differs)


def _never_made(observation: Observation) -> bool:
    """Whether a trial came to its end before the call, so that it contradicts nothing."""
    return observation.stage is Stage.NOT_REACHED and is_stopped(observation)


def _untried(found: Counterexample, text: str) -> Judgement:
    """The verdict on an input that the kernel was not shown."""
    why = "" if found.observation is None else f" (not tried: {read(found.observation).detail})"
    if not found.certain:
        return Judgement(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"perhaps {text}{why}")
    if found.rare:
        text = f"{text}, but {found.rare}{why}"
        return Judgement(Outcome.CANNOT_TELL, Cause.PRIVILEGE, text)
    return _failed(found, f"{text}{why}")


def _failed(found: Counterexample, text: str) -> Judgement:
    return Judgement(Outcome.FAILED, Cause.FILTER, text, returned=found.returns)


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
