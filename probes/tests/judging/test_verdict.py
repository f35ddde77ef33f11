"""The judge, cell by cell: what each sighting comes to under each claim, and in what words.

The observations are made up here; ``test_instrument`` shows that the kernel makes such ones.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, canary
from probes.audit.collector import Batch
from probes.audit.record import SeccompRecord
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, CellKey, Claim, EvidenceKind, Outcome
from probes.documents import policy
from probes.files import SUITE
from probes.filters import bpf
from probes.instrument import effect
from probes.instrument.calls import Observation, Stage, Zygote
from probes.instrument.effect import Effect
from probes.instrument.witness import ERRNOS, MARKER_ERRNO
from probes.judging import examiner, verdict
from probes.judging.examiner import Examiner
from probes.judging.needed_calls import Way
from probes.judging.plan import Case
from probes.judging.proved import Counterexample, judge_proof
from probes.judging.sentences import subject
from probes.judging.sighting import NO_TRAIL, Question, Sighting, Trail
from probes.tests.support.stacks import target_of

EPERM, EACCES, EFAULT, ENOSYS = errno.EPERM, errno.EACCES, errno.EFAULT, errno.ENOSYS
PROGRAM = "the filter under test"
PID = 4242


def answered(error: int) -> Observation:
    return Observation(Stage.RETURNED, -1 if error else 0, error)


KILLED = Observation(Stage.ARMED, status=signal.SIGSYS)
KILLED_WITH_CORE = Observation(Stage.ARMED, status=signal.SIGSYS | 0x80)
THREAD_KILLED = Observation(Stage.ARMED, status=0, survived=True)
TRAPPED = Observation(Stage.RETURNED, 39, trapped=True)
TRAPPED_AND_DEAD = Observation(Stage.ARMED, trapped=True, status=signal.SIGSYS)
DENIED = answered(EPERM)
DENIED_OTHERWISE = answered(EACCES)
FAKED = answered(0)
MISSING = answered(ENOSYS)
REACHED = answered(MARKER_ERRNO)
RAN_AS_PID = Observation(Stage.RETURNED, PID, own_pid=True)
RAN = Observation(Stage.RETURNED, 7)
SEGFAULT = Observation(Stage.ARMED, status=signal.SIGSEGV)
EXITED = Observation(Stage.ARMED, status=3 << 8)
HUNG = Observation(Stage.ARMED, status=signal.SIGKILL, timed_out=True)
UNMADE = Observation(Stage.NOT_REACHED, status=256, fault="Invalid argument while installing")
UNMADE_BY_SIGSYS = Observation(
    Stage.NOT_REACHED, status=signal.SIGSYS, fault="the child ended before the call"
)

EFFECTS = [
    (KILLED, Effect.KILLED_PROCESS, 0),
    (KILLED_WITH_CORE, Effect.KILLED_PROCESS, 0),
    (THREAD_KILLED, Effect.KILLED_THREAD, 0),
    (TRAPPED, Effect.TRAPPED, 0),
    (TRAPPED_AND_DEAD, Effect.TRAPPED, 0),
    (DENIED, Effect.REFUSED, EPERM),
    (DENIED_OTHERWISE, Effect.REFUSED, EACCES),
    (FAKED, Effect.REFUSED, 0),
    (MISSING, Effect.REFUSED, ENOSYS),
    (REACHED, Effect.REACHED, MARKER_ERRNO),
    (RAN, Effect.FAULT, 0),
    (RAN_AS_PID, Effect.FAULT, 0),
    (SEGFAULT, Effect.ENDED_OTHERWISE, 0),
    (EXITED, Effect.ENDED_OTHERWISE, 0),
    (Observation(Stage.ARMED, status=40), Effect.ENDED_OTHERWISE, 0),
    (Observation(Stage.NOT_REACHED, status=signal.SIGSYS), Effect.ENDED_OTHERWISE, 0),
    (replace(KILLED, stage=Stage.NOT_REACHED), Effect.ENDED_OTHERWISE, 0),
    (HUNG, Effect.FAULT, 0),
    (replace(KILLED, timed_out=True), Effect.FAULT, 0),
    (UNMADE, Effect.FAULT, 0),
    (UNMADE_BY_SIGSYS, Effect.FAULT, 0),
    (replace(DENIED, fault="it was said on the way"), Effect.FAULT, 0),
]


@pytest.mark.parametrize(("observation", "wanted", "error"), EFFECTS, ids=range(len(EFFECTS)))
def test_reads_an_observation(observation: Observation, wanted: Effect, error: int) -> None:
    seen = effect.read(observation)

    assert seen.effect is wanted
    assert seen.errno == error


ANSWERS = [
    (DENIED, "EPERM"),
    (MISSING, "ENOSYS"),
    (FAKED, "0"),
    (RAN, "7"),
    (RAN_AS_PID, "the caller's pid"),
    (answered(3999), "3999"),
    (replace(RAN_AS_PID, result=-1, errno=EPERM), "EPERM"),
]


@pytest.mark.parametrize(("observation", "words"), ANSWERS)
def test_tells_an_answer(observation: Observation, words: str) -> None:
    assert effect.answer(observation) == words


def test_tells_what_came_instead_of_an_answer() -> None:
    assert "SIGSYS" in effect.answer(KILLED)
    assert "deadline" in effect.answer(HUNG)
    assert effect.answer(UNMADE) == UNMADE.fault
    assert "handler" in effect.answer(TRAPPED)


# The claims.

KILL, ERRNO, LOG = Profile.KILL.returns, Profile.ERRNO.returns, Profile.LOG.returns
ALLOW = FilterReturn(Action.ALLOW)
CODES = {
    "killed": (signal.SIGSYS, KILL.value),
    "thread killed": (signal.SIGSYS, 0),
    "logged": (0, LOG.value),
    "refused": (0, FilterReturn(Action.ERRNO).value),
    "killed without a signal": (0, KILL.value),
    "logged with a signal": (signal.SIGSYS, LOG.value),
}


def record(what: str) -> SeccompRecord:
    number, code = CODES[what]
    return SeccompRecord(
        timestamp="1.000",
        serial=1,
        pid=PID,
        uid=0,
        comm="nonce",
        exe="/bin/x",
        signal=number,
        arch=ARCHES["x86_64"].audit_arch,
        syscall=163,
        compat=0,
        ip=0,
        code=code,
        raw=f"audit(1.000:1): sig={number} code={code:#x}",
    )


def trail(*records: str, complete: bool = True) -> Trail:
    reason = "" if complete else "the sentinel did not arrive"
    return Trail("netlink", tuple(record(what) for what in records), complete, reason)


TORN = trail(complete=False)
SILENT = trail()
NO_COLLECTOR = Trail("", reason="reading audit records needs CAP_AUDIT_READ: run as root")

PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
BROKEN, CANNOT_TELL = Outcome.BROKEN, Outcome.CANNOT_TELL
INSTRUMENT, FILTER, PRIVILEGE = Cause.INSTRUMENT, Cause.FILTER, Cause.PRIVILEGE

Expectation = tuple[Sighting, Outcome, Cause | None]


def question(claim: Claim, returns: FilterReturn) -> Question:
    profile = next((p.value for p in Profile if p.returns == returns), "none")
    return Question(CellKey(claim, profile, "x86_64", "acct", 163), returns, PROGRAM)


def judge(claim: Claim, returns: FilterReturn, sighting: Sighting) -> Cell:
    return verdict.judge(question(claim, returns), sighting)


NO_VERDICT = [SEGFAULT, EXITED, HUNG, UNMADE, UNMADE_BY_SIGSYS, RAN]
"""Under a witness, nothing can be concluded from any of these."""


def acts(right: Sequence[Observation], wrong: Sequence[Observation]) -> Iterator[Expectation]:
    """A table for a claim about what the filter does at the call, records or not."""
    for held in (NO_TRAIL, TORN, SILENT, trail("killed")):
        yield from ((Sighting(one, trail=held), PASSED, None) for one in right)
        yield from ((Sighting(one, trail=held), FAILED, FILTER) for one in wrong)
        yield from ((Sighting(one, trail=held), BROKEN, INSTRUMENT) for one in NO_VERDICT)
        yield Sighting(trail=held), BROKEN, INSTRUMENT


ALL = [KILLED, THREAD_KILLED, TRAPPED, DENIED, DENIED_OTHERWISE, FAKED, MISSING, REACHED]


def but(*right: Observation) -> list[Observation]:
    return [one for one in ALL if one not in right]


def recorded(made: Observation, right: str, *, witnessed: bool) -> Iterator[Expectation]:
    """A table for a claim about the call's record."""

    def sighting(observation: Observation, held: Trail) -> Sighting:
        if witnessed:
            return Sighting(witnessed=observation, trail=held)
        return Sighting(free=observation, trail=held)

    yield sighting(made, trail(right)), PASSED, None
    yield sighting(made, trail(right, right)), PASSED, None
    yield sighting(made, trail(right, complete=False)), PASSED, None
    yield sighting(made, SILENT), FAILED, FILTER
    yield sighting(made, TORN), BROKEN, INSTRUMENT
    yield sighting(made, NO_COLLECTOR), CANNOT_TELL, PRIVILEGE
    for other in (what for what in CODES if what != right):
        yield sighting(made, trail(other)), FAILED, FILTER
        yield sighting(made, trail(right, other)), FAILED, FILTER
        yield sighting(made, trail(other, complete=False)), FAILED, FILTER
    for bad in (HUNG, UNMADE):
        yield sighting(bad, trail(right)), BROKEN, INSTRUMENT
        yield sighting(bad, SILENT), BROKEN, INSTRUMENT
    yield Sighting(trail=trail(right)), BROKEN, INSTRUMENT


def silent() -> Iterator[Expectation]:
    for denied in (DENIED, DENIED_OTHERWISE, FAKED):
        yield Sighting(denied, trail=SILENT), PASSED, None
        yield Sighting(denied, trail=TORN), BROKEN, INSTRUMENT
        yield Sighting(denied, trail=NO_COLLECTOR), CANNOT_TELL, PRIVILEGE
        for what in CODES:
            yield Sighting(denied, trail=trail(what)), FAILED, FILTER
            yield Sighting(denied, trail=trail(what, complete=False)), FAILED, FILTER
    for other in (KILLED, THREAD_KILLED, TRAPPED, REACHED):
        for held in (SILENT, TORN, NO_COLLECTOR):
            yield Sighting(other, trail=held), FAILED, FILTER
    for bad in NO_VERDICT:
        yield Sighting(bad, trail=SILENT), BROKEN, INSTRUMENT
    yield Sighting(trail=SILENT), BROKEN, INSTRUMENT


def runs() -> Iterator[Expectation]:
    for native in (DENIED, answered(EFAULT), MISSING, FAKED, RAN):
        yield Sighting(REACHED, native, native), PASSED, None
        for predicted in (LOG, ALLOW, None):
            yield Sighting(REACHED, native, native, predicted=predicted), PASSED, None
        # The same errno as the kernel's own, but from the filter: the witness was not reached.
        for wrong in but(REACHED):
            yield Sighting(wrong, native, native), FAILED, FILTER
    # What the witness outranks, and what answers ENOSYS where nobody traces or listens.
    for action in (Action.TRACE, Action.USER_NOTIF, Action.ERRNO):
        sighting = Sighting(REACHED, MISSING, MISSING, predicted=FilterReturn(action, 5))
        yield sighting, FAILED, FILTER
    yield Sighting(REACHED, DENIED, answered(EFAULT)), FAILED, FILTER
    yield Sighting(REACHED, MISSING, DENIED), FAILED, FILTER
    yield Sighting(REACHED, RAN_AS_PID, replace(RAN_AS_PID, result=PID + 1)), PASSED, None
    yield Sighting(REACHED, KILLED, DENIED), FAILED, FILTER
    for bad in (HUNG, UNMADE):
        yield Sighting(REACHED, bad, DENIED), BROKEN, INSTRUMENT
        yield Sighting(REACHED, DENIED, bad), BROKEN, INSTRUMENT
        yield Sighting(REACHED, bad, bad), BROKEN, INSTRUMENT
    yield Sighting(REACHED, DENIED), BROKEN, INSTRUMENT
    yield Sighting(REACHED, control=DENIED), BROKEN, INSTRUMENT
    yield Sighting(free=DENIED, control=DENIED), BROKEN, INSTRUMENT
    for bad in NO_VERDICT:
        yield Sighting(bad, DENIED, DENIED), BROKEN, INSTRUMENT


def rest() -> Iterator[Expectation]:
    yield Sighting(REACHED), PASSED, None
    yield Sighting(REACHED, predicted=ALLOW), PASSED, None
    for action in Action:
        if action is not Action.ALLOW:
            yield Sighting(REACHED, predicted=FilterReturn(action)), FAILED, FILTER
    for wrong in but(REACHED):
        yield Sighting(wrong), FAILED, FILTER
        yield Sighting(wrong, predicted=ALLOW), FAILED, FILTER
        # Refused with the very error of the kernel: only the program tells.
        yield Sighting(wrong, control=wrong, predicted=ERRNO), FAILED, FILTER
    for bad in NO_VERDICT:
        yield Sighting(bad), BROKEN, INSTRUMENT
    sigill = Observation(Stage.ARMED, status=signal.SIGILL)
    yield Sighting(sigill, control=sigill, predicted=ALLOW), PASSED, None
    yield Sighting(sigill, control=answered(ENOSYS), predicted=ALLOW), BROKEN, INSTRUMENT
    yield Sighting(sigill, predicted=ALLOW), BROKEN, INSTRUMENT
    yield Sighting(), BROKEN, INSTRUMENT


def logs() -> Iterator[Expectation]:
    """Where one cell stands for all that LOG must do: the run first, and then its record."""
    for sighting, outcome, cause in runs():
        yield replace(sighting, trail=trail("logged")), outcome, cause
        untold = (CANNOT_TELL, PRIVILEGE) if outcome is PASSED else (outcome, cause)
        yield replace(sighting, trail=NO_COLLECTOR), *untold
    yield Sighting(REACHED, DENIED, DENIED, trail=SILENT), FAILED, FILTER
    yield Sighting(REACHED, DENIED, DENIED, trail=TORN), BROKEN, INSTRUMENT
    yield Sighting(REACHED, DENIED, DENIED, trail=trail("killed")), FAILED, FILTER


def loosened() -> Iterator[Expectation]:
    yield Sighting(replace(DENIED, loosened=True)), FAILED, FILTER
    yield Sighting(replace(KILLED, loosened=True)), FAILED, FILTER
    out = replace(DENIED, loosened=True)
    yield Sighting(REACHED, out, DENIED, trail=trail("logged")), FAILED, FILTER


def controls(right: Observation, what: str) -> Iterator[Expectation]:
    """A known filter's act, and, where records are to be had, its record or silence."""
    held = trail(what) if what else SILENT
    yield Sighting(right), PASSED, None
    yield Sighting(right, trail=NO_COLLECTOR), PASSED, None
    yield Sighting(right, trail=held), PASSED, None
    yield Sighting(right, trail=TORN), BROKEN, INSTRUMENT
    if what:
        yield Sighting(right, trail=SILENT), FAILED, FILTER
    else:
        yield Sighting(right, trail=trail("logged")), FAILED, INSTRUMENT
    for wrong in but(right):
        if not (what == "logged" and wrong is REACHED):
            yield Sighting(wrong, trail=held), FAILED, FILTER
    for bad in NO_VERDICT:
        yield Sighting(bad, trail=held), BROKEN, INSTRUMENT


TABLES: list[tuple[Claim, FilterReturn, list[Expectation]]] = [
    (Claim.TERMINATES, KILL, list(acts([KILLED, KILLED_WITH_CORE], but(KILLED)))),
    (Claim.ENDS_EVERY_THREAD, KILL, list(acts([KILLED], but(KILLED)))),
    (Claim.IS_REPORTED, KILL, list(recorded(KILLED, "killed", witnessed=True))),
    (Claim.DENIES, ERRNO, list(acts([DENIED], but(DENIED)))),
    (Claim.IS_SILENT, ERRNO, list(silent())),
    (Claim.RUNS, LOG, list(runs())),
    (Claim.IS_RECORDED, LOG, list(recorded(DENIED, "logged", witnessed=False))),
    (Claim.LEAVES_THE_REST_ALONE, ALLOW, list(rest())),
    *(
        (claim, returns, [*acts([right], but(right)), *loosened()])
        for claim in (Claim.DEFAULT_ACTION, Claim.IS_INHERITED)
        for returns, right in ((KILL, KILLED), (ERRNO, DENIED))
    ),
    *((claim, LOG, [*logs(), *loosened()]) for claim in (Claim.DEFAULT_ACTION, Claim.IS_INHERITED)),
    (Claim.CONTROLS, KILL, list(controls(KILLED, "killed"))),
    (
        Claim.CONTROLS,
        FilterReturn(Action.KILL_THREAD),
        list(controls(THREAD_KILLED, "thread killed")),
    ),
    (Claim.CONTROLS, FilterReturn(Action.TRAP), list(controls(TRAPPED, ""))),
    (Claim.CONTROLS, ERRNO, list(controls(DENIED, ""))),
    (Claim.CONTROLS, LOG, list(controls(REACHED, "logged"))),
    (Claim.CONTROLS, ALLOW, list(controls(REACHED, ""))),
]


def test_every_claim_has_a_table() -> None:
    """The one about proofs has its own, below, and what nobody judged is known beforehand."""
    judged = set(Claim) - {Claim.IS_PROVED, Claim.IS_ALL_JUDGED}
    assert {claim for claim, _, _ in TABLES} == judged


@pytest.mark.parametrize(
    ("claim", "returns", "table"),
    TABLES,
    ids=[f"{claim}-{returns}" for claim, returns, _ in TABLES],
)
def test_the_verdict(claim: Claim, returns: FilterReturn, table: list[Expectation]) -> None:
    for sighting, outcome, cause in table:
        cell = judge(claim, returns, sighting)

        assert (cell.outcome, cell.cause) == (outcome, cause), f"{cell.sentence}\n{sighting}"


TRAP, THREAD = FilterReturn(Action.TRAP), FilterReturn(Action.KILL_THREAD)
TRACE, NOTIFY = FilterReturn(Action.TRACE), FilterReturn(Action.USER_NOTIF)
SAID: list[tuple[Claim, FilterReturn, Sighting, FilterReturn | None]] = [
    (Claim.TERMINATES, KILL, Sighting(THREAD_KILLED), THREAD),
    (Claim.TERMINATES, KILL, Sighting(TRAPPED), TRAP),
    (Claim.TERMINATES, KILL, Sighting(DENIED), ERRNO),
    (Claim.TERMINATES, KILL, Sighting(REACHED), ALLOW),
    (Claim.TERMINATES, KILL, Sighting(REACHED, predicted=LOG), LOG),
    (Claim.TERMINATES, KILL, Sighting(REACHED, predicted=TRACE), TRACE),
    (Claim.TERMINATES, KILL, Sighting(REACHED, predicted=NOTIFY), NOTIFY),
    (Claim.TERMINATES, KILL, Sighting(DENIED, predicted=KILL), ERRNO),
    (Claim.IS_REPORTED, KILL, Sighting(DENIED, trail=trail("thread killed")), THREAD),
    (Claim.IS_REPORTED, KILL, Sighting(DENIED, trail=SILENT), None),
    (Claim.DENIES, ERRNO, Sighting(KILLED), KILL),
    (Claim.DENIES, ERRNO, Sighting(MISSING), FilterReturn(Action.ERRNO, ENOSYS)),
    (Claim.DENIES, ERRNO, Sighting(FAKED), FilterReturn(Action.ERRNO, 0)),
    (Claim.IS_SILENT, ERRNO, Sighting(DENIED, trail=trail("refused")), FilterReturn(Action.ERRNO)),
    (Claim.IS_SILENT, ERRNO, Sighting(REACHED, trail=SILENT), ALLOW),
    (Claim.RUNS, LOG, Sighting(DENIED, DENIED, DENIED), ERRNO),
    (Claim.RUNS, LOG, Sighting(REACHED, DENIED, DENIED, predicted=NOTIFY), NOTIFY),
    (Claim.RUNS, LOG, Sighting(REACHED, DENIED, MISSING), None),
    (Claim.IS_RECORDED, LOG, Sighting(free=DENIED, trail=SILENT), None),
    (Claim.LEAVES_THE_REST_ALONE, ALLOW, Sighting(DENIED), ERRNO),
    (Claim.LEAVES_THE_REST_ALONE, ALLOW, Sighting(REACHED, predicted=LOG), LOG),
    (Claim.DEFAULT_ACTION, LOG, Sighting(REACHED, DENIED, DENIED, trail=SILENT), ALLOW),
    (Claim.IS_INHERITED, ERRNO, Sighting(replace(DENIED, loosened=True)), ALLOW),
]


@pytest.mark.parametrize(("claim", "wanted", "sighting", "returned"), SAID, ids=range(len(SAID)))
def test_a_failure_says_what_the_filter_returned(
    claim: Claim, wanted: FilterReturn, sighting: Sighting, returned: FilterReturn | None
) -> None:
    """What was seen counts before what the program says, which tells like-looking ones apart."""
    cell = judge(claim, wanted, sighting)
    assert (cell.outcome, cell.returned) == (FAILED, returned)


def test_only_a_failure_says_what_the_filter_returned() -> None:
    for claim, returns, table in TABLES:
        for sighting, outcome, _ in table:
            assert outcome is FAILED or judge(claim, returns, sighting).returned is None


AGREEING = {
    KILL: KILLED,
    FilterReturn(Action.KILL_THREAD): THREAD_KILLED,
    FilterReturn(Action.TRAP): TRAPPED,
    FilterReturn(Action.ERRNO, EACCES): DENIED_OTHERWISE,
    FilterReturn(Action.ERRNO): FAKED,
    FilterReturn(Action.ERRNO, 5000): answered(4095),
    FilterReturn(Action.TRACE): REACHED,
    FilterReturn(Action.USER_NOTIF): REACHED,
    LOG: REACHED,
    ALLOW: REACHED,
}
"""What the kernel shows under the witness for what a program returns."""


def prove(returns: FilterReturn, *, certain: bool, observation: Observation | None) -> Cell:
    example = Counterexample(returns, "number 0xa3", certain, observation)
    return judge_proof(question(Claim.IS_PROVED, ERRNO), example)


@pytest.mark.parametrize("returns", AGREEING, ids=str)
@pytest.mark.parametrize("certain", [True, False])
def test_the_verdict_on_a_proof(returns: FilterReturn, *, certain: bool) -> None:
    """A counterexample fails if it is certain or seen; what contradicts it breaks the proof."""
    untried = prove(returns, certain=certain, observation=None)
    assert untried.outcome is (FAILED if certain else CANNOT_TELL)
    for observation in (*ALL, answered(4095), *NO_VERDICT):
        tried = prove(returns, certain=certain, observation=observation)
        if observation == AGREEING[returns]:
            assert (tried.outcome, tried.cause, tried.returned) == (FAILED, FILTER, returns)
        elif observation in {UNMADE, UNMADE_BY_SIGSYS}:  # contradicts nothing
            assert (tried.outcome, tried.cause) == (untried.outcome, untried.cause)
            assert "not tried" in tried.sentence
        else:
            assert tried.outcome is (BROKEN if certain else CANNOT_TELL), observation
            assert tried.cause is INSTRUMENT
        assert str(returns) in tried.sentence
        assert "0xa3" in tried.sentence
        assert len(tried.sentence.splitlines()) == 1


def test_a_proof_without_counterexample_passes() -> None:
    cell = judge_proof(question(Claim.IS_PROVED, ERRNO), None)

    assert (cell.outcome, cell.cause) == (PASSED, None)
    assert [one.kind for one in cell.evidence] == [EvidenceKind.PROVED]


def test_eperm_of_a_missing_capability_is_no_denial() -> None:
    """The kernel's own EPERM never comes through the witness: then the call was let through."""
    cell = judge(Claim.DENIES, ERRNO, Sighting(REACHED, free=DENIED, control=DENIED))

    assert cell.outcome is FAILED
    assert "it through" in cell.sentence


def test_the_kernels_errno_from_the_filter_is_no_run() -> None:
    """LOG turned into ERRNO(EPERM), where the kernel would answer EPERM too."""
    cell = judge(Claim.RUNS, LOG, Sighting(DENIED, DENIED, DENIED))

    assert cell.outcome is FAILED
    assert "ERRNO(EPERM)" in cell.sentence


def test_sigsys_elsewhere_is_no_termination() -> None:
    """Neither before the call nor after it."""
    before = replace(KILLED, stage=Stage.NOT_REACHED)
    after = replace(REACHED, status=signal.SIGSYS)

    assert judge(Claim.TERMINATES, KILL, Sighting(before)).outcome is BROKEN
    assert judge(Claim.TERMINATES, KILL, Sighting(after)).outcome is FAILED


def test_no_other_errno_is_the_witness() -> None:
    """A filter may answer with any."""
    for number in range(1, 4096):
        did = effect.read(answered(number)).effect
        assert did is (Effect.REACHED if number in ERRNOS else Effect.REFUSED)


# Sentences.


def sentence_of(claim: Claim, returns: FilterReturn, sighting: Sighting) -> str:
    return judge(claim, returns, sighting).sentence


def test_a_failure_names_call_number_abi_expected_observed_and_filter() -> None:
    assert sentence_of(Claim.TERMINATES, KILL, Sighting(REACHED)) == (
        "acct (163) on x86_64: expected KILL_PROCESS, but the call reached the kernel "
        "(the witness answered): the filter under test lets it through"
    )
    assert sentence_of(Claim.DENIES, ERRNO, Sighting(DENIED_OTHERWISE)) == (
        "acct (163) on x86_64: expected ERRNO(EPERM), but the filter answered ERRNO(EACCES): "
        "the filter under test has another rule for it"
    )


def test_a_record_is_quoted_with_its_code() -> None:
    cell = judge(Claim.IS_REPORTED, KILL, Sighting(KILLED, trail=trail("thread killed")))

    assert f"sig={int(signal.SIGSYS)} code=0x80000000" in cell.expected
    assert f"sig={int(signal.SIGSYS)} code=0x0" in cell.sentence


def test_the_reason_stands_in_the_sentence() -> None:
    """Of what was not assessed, and of what could not be."""
    for claim, returns, made in [
        (Claim.IS_REPORTED, KILL, Sighting(KILLED)),
        (Claim.IS_SILENT, ERRNO, Sighting(DENIED)),
        (Claim.IS_RECORDED, LOG, Sighting(free=DENIED)),
    ]:
        untold = judge(claim, returns, replace(made, trail=NO_COLLECTOR))
        torn = judge(claim, returns, replace(made, trail=TORN))

        assert "cannot tell" in untold.sentence
        assert NO_COLLECTOR.reason in untold.sentence
        assert TORN.reason in torn.sentence

    assert UNMADE.fault in sentence_of(Claim.DENIES, ERRNO, Sighting(UNMADE))


def test_a_number_of_another_kind_reads_as_the_kernel_writes_it() -> None:
    key = CellKey(Claim.DENIES, "errno", "x32", "acct", 0x400000A3, "fork")

    assert subject(key) == "acct (0x400000a3) on x32 after fork"
    assert subject(replace(key, number=163, variant="")) == "acct (163) on x32"


@pytest.mark.parametrize("way", list(Way))
def test_each_way_has_its_words(way: Way) -> None:
    plain = CellKey(Claim.IS_INHERITED, "kill", "x86_64", "acct", 163)

    assert subject(replace(plain, variant=way.value)) != subject(plain)


def test_what_was_not_judged_has_its_sentence() -> None:
    key = CellKey(Claim.DENIES, "errno", "x32", "uselib", None)

    absent = verdict.not_applicable(key)
    untold = verdict.cannot_tell(key, Cause.INSTRUMENT, "there is no row")
    broken = verdict.broken(key, "the zygote is gone")

    assert (absent.outcome, absent.cause) == (Outcome.NOT_APPLICABLE, Cause.ARCHITECTURE)
    assert absent.sentence == ("uselib on x32: not applicable, for no number of x32 stands for it")
    assert (untold.outcome, untold.cause) == (CANNOT_TELL, INSTRUMENT)
    assert untold.sentence == "uselib on x32: cannot tell: there is no row"
    assert (broken.outcome, broken.cause) == (BROKEN, INSTRUMENT)
    assert broken.sentence == "uselib on x32: no verdict: the zygote is gone"


# Evidence.


def test_the_three_kinds_of_evidence_are_told_apart() -> None:
    sighting = Sighting(REACHED, DENIED, DENIED, trail("logged"), predicted=LOG)

    evidence = judge(Claim.RUNS, LOG, sighting).evidence

    by_kind = {kind: [one for one in evidence if one.kind is kind] for kind in EvidenceKind}
    assert [one.source for one in by_kind[EvidenceKind.OBSERVED]] == ["witness", "call", "control"]
    assert [one.text for one in by_kind[EvidenceKind.RECORDED]] == [record("logged").raw]
    assert "returns LOG" in by_kind[EvidenceKind.PROVED][0].text


def test_proved_silence_is_evidence_and_an_incomplete_trail_is_none() -> None:
    proved = judge(Claim.IS_SILENT, ERRNO, Sighting(DENIED, trail=SILENT)).evidence
    torn = judge(Claim.IS_SILENT, ERRNO, Sighting(DENIED, trail=TORN)).evidence

    assert [one.kind for one in proved] == [EvidenceKind.OBSERVED, EvidenceKind.RECORDED]
    assert [one.kind for one in torn] == [EvidenceKind.OBSERVED]


# Whatever is seen.

words = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=30)
observations = st.builds(
    Observation,
    stage=st.sampled_from(Stage),
    result=st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([-1, 0]),
    errno=st.sampled_from([0, 1, 2, EPERM, EACCES, ENOSYS, MARKER_ERRNO, 4095, 133, 134]),
    trapped=st.booleans(),
    status=st.none() | st.integers(0, 0xFFFF),
    survived=st.booleans(),
    timed_out=st.booleans(),
    own_pid=st.booleans(),
    loosened=st.booleans(),
    dropped_user=st.booleans(),
    fault=st.just("") | words,
)
records = st.builds(
    SeccompRecord,
    timestamp=st.just("1.000"),
    serial=st.integers(0, 9),
    pid=st.just(PID),
    uid=st.just(0),
    comm=words,
    exe=words,
    signal=st.sampled_from([0, 9, int(signal.SIGSYS)]),
    arch=st.just(ARCHES["x86_64"].audit_arch),
    syscall=st.just(163),
    compat=st.just(0),
    ip=st.just(0),
    code=st.sampled_from([action.value for action in Action] + [0x12340000]),
    raw=words,
)
trails = st.builds(
    Trail,
    source=st.just("") | words,
    records=st.lists(records, max_size=2).map(tuple),
    complete=st.booleans(),
    reason=words,
)
maybe = st.none() | observations
predictions = st.none() | st.builds(FilterReturn, st.sampled_from(Action), st.integers(0, 0xFFFF))
sightings = st.builds(Sighting, maybe, maybe, maybe, trails, predictions)
QUESTIONS = [(claim, returns) for claim, returns, _ in TABLES]

RIGHT: Mapping[Action, Callable[[Observation], bool]] = {
    Action.KILL_PROCESS: lambda o: o.stage is Stage.ARMED and o.signal == signal.SIGSYS,
    Action.KILL_THREAD: lambda o: o.stage is not Stage.RETURNED and o.survived,
    Action.TRAP: lambda o: o.trapped,
    Action.ERRNO: lambda o: o.stage is Stage.RETURNED and o.errno != MARKER_ERRNO,
    Action.LOG: lambda o: o.stage is Stage.RETURNED and o.errno == MARKER_ERRNO,
    Action.ALLOW: lambda o: o.stage is Stage.RETURNED and o.errno == MARKER_ERRNO,
}
"""What must be seen under a witness if a filter did that; written apart from the judge."""


@pytest.mark.slow
@settings(max_examples=500)
@given(asked=st.sampled_from(QUESTIONS), sighting=sightings)
def test_the_judge_always_has_one_line_and_never_passes_what_is_wrong(
    asked: tuple[Claim, FilterReturn], sighting: Sighting
) -> None:
    claim, returns = asked

    cell = judge(claim, returns, sighting)

    assert cell.sentence.startswith("acct (163) on x86_64")
    assert len(cell.sentence.splitlines()) == 1
    assert cell.observed in cell.sentence
    # Readers rely on these: they take no sentence apart.
    assert cell.sentence.endswith(f": {cell.reason}")
    told_by_program = cell.outcome is FAILED and cell.observed.startswith("the program returns ")
    assert cell.by_program is told_by_program
    if cell.outcome in {FAILED, CANNOT_TELL}:
        assert cell.expected in cell.sentence
    assert (cell.cause is None) is (cell.outcome is PASSED)
    if cell.outcome is PASSED:
        check_pass(claim, returns, sighting)


def check_pass(claim: Claim, returns: FilterReturn, sighting: Sighting) -> None:
    """A pass must rest on what the claim asks for."""
    made, free, control, held = (
        sighting.witnessed,
        sighting.free,
        sighting.control,
        sighting.trail,
    )
    used = [one for one in (made, free) if one is not None]
    if claim not in {Claim.IS_REPORTED, Claim.IS_RECORDED}:
        assert made is not None
        unasked = claim is Claim.LEAVES_THE_REST_ALONE and control is not None
        if not (unasked and effect.answer(made) == effect.answer(control or made)):
            assert not made.fault
            assert not made.timed_out
            assert RIGHT[returns.action](made)
        if returns.action is Action.ERRNO and claim is not Claim.IS_SILENT:
            assert made.errno == returns.data
    if claim in {Claim.IS_REPORTED, Claim.IS_RECORDED}:
        assert used
        assert held.records
        assert {one.code for one in held.records} == {returns.value}
    if claim is Claim.IS_SILENT:
        assert held.source
        assert held.complete
        assert not held.records
    logs_too = returns == LOG and claim in {Claim.DEFAULT_ACTION, Claim.IS_INHERITED}
    if claim is Claim.RUNS or logs_too:
        assert free is not None
        assert control is not None
        assert effect.answer(free) == effect.answer(control)
    if logs_too:
        assert held.records
    if claim in {Claim.DEFAULT_ACTION, Claim.IS_INHERITED}:
        assert not any(one.loosened for one in used)


def test_a_conforming_sighting_passes_every_claim() -> None:
    """So that the check above is not passed by a judge that passes nothing."""
    for claim, returns, table in TABLES:
        passed = [sighting for sighting, outcome, _ in table if outcome is PASSED]

        assert passed
        for sighting in passed:
            check_pass(claim, returns, sighting)


# Which records are counted: the examiner lets through those of the cell's own call.


POLICY = SUITE / "cases" / "policies" / "container-restrictions.toml"
NATIVE = arch.offered_by(os.uname().machine)[0]


class NamingZygote(Zygote):
    """Remembers the names that it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def nonce(self) -> str:
        """A new name."""
        self.names.append(super().nonce())
        return self.names[-1]


class TellingCollector:
    """Has one record, made up, under the name of the probe or another one.

    What known filters left beside it, the kernel has recorded, unless it is told to keep silent.
    """

    name = "told"
    most_cases = 1

    def __init__(
        self, zygote: NamingZygote, told: SeccompRecord, *, complete: bool, vouches: bool = True
    ) -> None:
        self.zygote = zygote
        self.told = told
        self.batches = 0
        self.complete = complete
        self.vouches = vouches
        self.read = len(zygote.names)

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Gives the probe's record at once; it comes before the sentinel's."""
        assert deadline > 0
        *names, last = self.zygote.names[self.read :]
        self.read = len(self.zygote.names)
        assert sentinel == last
        self.batches += 1
        comms = names if self.told.comm == "nonce" else [self.told.comm]
        reason = "" if self.complete else "something was lost"
        records = [replace(self.told, comm=comm) for comm in comms]
        if self.vouches:
            number = canary(NATIVE)[1]
            records += [replace(OWN, comm=comm, syscall=number) for comm in names]
        return Batch(tuple(records), self.complete, reason)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def naming() -> Iterator[NamingZygote]:
    with NamingZygote() as zygote:
        yield zygote


def examine(
    naming: NamingZygote, told: SeccompRecord, *, complete: bool, vouches: bool = True
) -> tuple[Cell, int]:
    """Has a call killed, with that record in the trail; the verdict, and how often it was read."""
    number = NATIVE.numbers["acct"]
    key = CellKey(Claim.IS_REPORTED, "kill", NATIVE.name, "acct", number)
    case = Case(Claim.IS_REPORTED, NATIVE, (key,), Profile.KILL)
    parts = bpf.ranges({number}, KILL.value, ALLOW.value)
    program = bpf.dispatch({NATIVE.audit_arch: parts}, ALLOW.value)
    target = target_of("test", PROGRAM, dict.fromkeys(Profile, (program,)), NATIVE)
    collector = TellingCollector(naming, told, complete=complete, vouches=vouches)
    documented = policy.load(POLICY, arch.all_names())
    trail_told = AuditTrail(collector, "")
    (cell,) = Examiner(naming, target, documented, (NATIVE,), trail_told).examine([case])
    return cell, collector.batches


OWN = replace(record("killed"), arch=NATIVE.audit_arch, syscall=NATIVE.numbers["acct"])
FOREIGN = {
    "another number": replace(OWN, syscall=OWN.syscall + 1),
    "the number of another ABI": replace(OWN, syscall=OWN.syscall | 0x40000000),
    "another architecture": replace(OWN, arch=OWN.arch ^ 1),
    "another process": replace(OWN, comm="nonce0"),
}


def test_the_records_of_the_call_are_counted(naming: NamingZygote) -> None:
    cell, _ = examine(naming, OWN, complete=True)

    assert cell.outcome is PASSED
    assert OWN.raw in {one.text for one in cell.evidence}


@pytest.mark.parametrize("told", FOREIGN.values(), ids=FOREIGN)
def test_other_records_are_not(naming: NamingZygote, told: SeccompRecord) -> None:
    cell, _ = examine(naming, told, complete=True)

    assert (cell.outcome, cell.cause) == (FAILED, FILTER)
    assert OWN.raw not in {one.text for one in cell.evidence}


def test_a_missing_record_is_no_failure_where_known_filters_leave_none(
    naming: NamingZygote,
) -> None:
    """What keeps the kernel from recording one kill keeps it from recording every other."""
    cell, attempts = examine(naming, FOREIGN["another number"], complete=True, vouches=False)

    assert (cell.outcome, cell.cause) == (CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
    assert "a known filter's KILL_PROCESS left no record either" in cell.sentence
    assert attempts > 1


def test_what_lost_records_left_undecided_is_tried_again(naming: NamingZygote) -> None:
    """But not what is decided, for a record that arrived did arrive."""
    undecided, attempts = examine(naming, FOREIGN["another number"], complete=False)
    decided, once = examine(naming, OWN, complete=False)

    assert (undecided.outcome, attempts) == (BROKEN, 1 + examiner.FURTHER_ATTEMPTS)
    assert "something was lost" in undecided.sentence
    assert (decided.outcome, once) == (PASSED, 1)
