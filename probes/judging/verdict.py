"""Verdicts: compares what was expected with what was seen. Pure; no I/O.

An observation is read by ``probes.instrument.effect``, never by errno or by SIGSYS alone.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Outcome
from probes.finding import Finding, Weight, weighty
from probes.instrument.effect import Effect, answer, is_hidden, reached, read
from probes.judging import claims
from probes.judging.claims import About
from probes.judging.judges import witnessed
from probes.judging.plan import Case
from probes.judging.sentences import is_conditional, reason, sentence, subject
from probes.judging.sighting import Judgement, Question, Sighting


def judge(question: Question, sighting: Sighting) -> Cell:
    """The verdict on one cell."""
    row = claims.of(question.key.claim)
    if row.judge is None:
        raise LookupError(f"no call decides the claim {row.claim!r}")
    sighting = _narrowed(sighting)
    finding = _hidden(question, sighting) or _by_address(sighting) or row.judge(question, sighting)
    if question.confined and finding.outcome is Outcome.BROKEN:
        finding = _prevented(sighting) or finding
    expected = row.expected(question)
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
        evidence=_evidence(question, sighting),
    )


def _narrowed(sighting: Sighting) -> Sighting:
    """Removes simulated values that the witness would have shown, where there are several."""
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


def _by_address(sighting: Sighting) -> Judgement | None:
    """The verdict where the filter decides by the address of a call's code; None elsewhere."""
    if sighting.witnessed is None or not reached(sighting.witnessed):
        return None
    returns = dict.fromkeys(str(FilterReturn.decode(one)) for one in sighting.simulated)
    if len(returns) < 2:  # noqa: PLR2004 - several
        return None
    text = (
        f"the program returns {' or '.join(returns)} by the address of the call's code, and it "
        "cannot be seen which of them it returned"
    )
    return Judgement(Outcome.CANNOT_TELL, Cause.FILTER, text)


def _hidden(question: Question, sighting: Sighting) -> Judgement | None:
    """The verdict on an unknown action, which the witness outranks, so that the program decides.

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
        return Judgement(Outcome.CANNOT_TELL, Cause.INSTRUMENT, f"{text}, and the witness hides it")
    return Judgement(
        Outcome.FAILED, Cause.FILTER, text, by_program=True, returned=FilterReturn.decode(value)
    )


def _prevented(sighting: Sighting) -> Judgement | None:
    """The verdict of a confined process on a probe that could not be made; None if all were."""
    for one in (sighting.witnessed, sighting.free, sighting.control):
        if one is not None and (seen := read(one)).effect is Effect.FAULT:
            text = f"this process's confinement keeps the probe from being made: {seen.detail}"
            return Judgement(Outcome.CANNOT_TELL, Cause.PRIVILEGE, text)
    return None


def all_judged(case: Case, findings: Iterable[Finding]) -> list[Cell]:
    """The verdicts on parts of a target that nobody judged.

    Args:
        case: a case of the claim "is all judged".
        findings: the findings about the target; one is about the case's cell.

    Raises:
        KeyError: no finding is about the case's cell.
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
    if is_conditional(key):
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
        if seen.effect is Effect.REACHED and witnessed(sighting).effect is not Effect.REACHED:
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


def expected_of(profile: Profile | None, claim: Claim, variant: str) -> FilterReturn:
    """The return value that a filter must give for the number of a cell."""
    if profile is None:
        action = Action[variant]
        return Profile.ERRNO.returns if action is Action.ERRNO else FilterReturn(action)
    is_other = claims.of(claim).about is About.OTHER_CALL
    return FilterReturn(Action.ALLOW) if is_other else profile.returns
