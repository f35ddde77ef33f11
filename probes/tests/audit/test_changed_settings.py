"""What the kernel records is changed in the course of a run: never a failure, never a success.

The settings are changed for real, at given moments of a case: before its probes, between them, and
before its sentinel. They are put back when the case is over.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit import trail
from probes.audit.netlink import NetlinkCollector
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.instrument.calls import Observation, Request, Zygote
from probes.judging import plan
from probes.judging.examiner import Examiner
from probes.judging.plan import Case
from probes.targets import StackTarget
from probes.targets.stack import FilterStack
from probes.tests.support.audit_settings import Machine, changing
from probes.tests.support.emitter import Emitter, build
from reports.tests.support import job

pytestmark = pytest.mark.root("changes what the kernel records")

NATIVE = arch.of_this_process()[0]
ACCT = NATIVE.numbers["acct"]
ALLOW = FilterReturn(Action.ALLOW)
EXCLUDE = ("always,exclude", "-F", "msgtype=SECCOMP")

Change = Callable[[Machine], object]


@dataclass
class Watched:
    """A zygote that does something else at some moments.

    Attributes:
        inner: makes the calls.
        moments: what to do before the first, the second, ... request, counted from 0.
        asked: how many requests there were.
    """

    inner: Zygote
    moments: Mapping[int, Callable[[], object]]
    asked: int = 0
    runs: list[int] = field(default_factory=list)

    def nonce(self) -> str:
        """The other's."""
        return self.inner.nonce()

    def callers(self, comm: str) -> frozenset[int]:
        """The other's."""
        return self.inner.callers(comm)

    def run(self, requests: Sequence[Request]) -> list[list[Observation]]:
        """Runs one request after the other."""
        self.runs.append(len(requests))
        seen: list[list[Observation]] = []
        for request in requests:
            self.moments.get(self.asked, lambda: None)()
            self.asked += 1
            seen += self.inner.run([request])
        return seen


@pytest.fixture(scope="module")
def alone() -> Iterator[Machine]:
    with changing() as found:
        yield found


@pytest.fixture
def machine(alone: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(trail, "RECORD_DEADLINE_SECONDS", 1.0)
    yield alone
    alone.reset()


@dataclass
class Judging:
    """Judges a filter with one rule while the machine's settings change."""

    zygote: Zygote
    machine: Machine
    read: AuditTrail | None = None

    def of(
        self,
        claim: Claim,
        profile: Profile,
        moments: Mapping[int, Change],
        *,
        returns: FilterReturn | None = None,
        logged: bool = False,
    ) -> Cell:
        """The verdict on acct(2).

        Args:
            claim: the claim.
            profile: the profile.
            moments: what to change before the first, the second, ... request, counted from 0.
            returns: what the filter returns for the call; None for what the profile asks.
            logged: whether it has SECCOMP_FILTER_FLAG_LOG.
        """
        parts = bpf.ranges({ACCT}, (returns or profile.returns).value, ALLOW.value)
        program = bpf.dispatch({NATIVE.audit_arch: parts}, ALLOW.value)
        flags = (True,) if logged else ()
        stack = FilterStack("the filter", (program,), NATIVE, logged=flags)
        target = StackTarget("test", dict.fromkeys(Profile, stack))
        key = CellKey(claim, profile.value, NATIVE.name, "acct", ACCT)
        with closing(NetlinkCollector()) as collector:
            self.read = AuditTrail(collector, "")
            examiner = self.examiner(target, moments, self.read)
            (cell,) = examiner.examine([Case(claim, NATIVE, (key,), profile)])
        return cell

    def examiner(
        self, target: StackTarget, moments: Mapping[int, Change], read: AuditTrail
    ) -> Examiner:
        """An examiner whose requests are counted."""

        def at(change: Change) -> Callable[[], object]:
            return lambda: change(self.machine)

        watched = Watched(self.zygote, {place: at(one) for place, one in moments.items()})
        documented = policy.load(DEFAULT_POLICY, arch.all_names())
        return Examiner(
            watched,  # type: ignore[arg-type] # it has what an examiner asks of a zygote
            *(target, documented, (NATIVE,), read),
        )


@pytest.fixture
def judging(zygote: Zygote, machine: Machine) -> Judging:
    return Judging(zygote, machine)


def without(action: str) -> Change:
    return lambda machine: machine.log(action)


def back(machine: Machine) -> None:
    machine.log()


def excluded(machine: Machine) -> None:
    machine.add(*EXCLUDE)


def included(machine: Machine) -> None:
    machine.remove(*EXCLUDE)


KILLED = (Claim.IS_REPORTED, Profile.KILL)
LOGGED = (Claim.IS_RECORDED, Profile.LOG)
SILENT = (Claim.IS_SILENT, Profile.ERRNO)
KEEPING = {
    "kill, the word": (KILLED, without("kill_process"), back),
    "kill, a rule": (KILLED, excluded, included),
    "log, the word": (LOGGED, without("log"), back),
    "log, a rule": (LOGGED, excluded, included),
}
"""A claim, what keeps its record away, and what has it written again."""

PROBE, SENTINEL = 0, 1
"""The requests of a first attempt, by their places."""

VOUCHED = ("before", "probe", "between", "copy", "after", "sentinel")
"""The requests of another attempt, and of every one where silence is looked for."""


def at(attempt: int, request: str) -> int:
    """The place of a request in another attempt, counted from 1."""
    return SENTINEL + 1 + (attempt - 1) * len(VOUCHED) + VOUCHED.index(request)


def always(keep: Change, let: Change) -> dict[int, Change]:
    """No record of any attempt is written but the sentinel's."""
    found = {PROBE: keep, SENTINEL: let}
    for attempt in (1, 2):
        found |= {at(attempt, "before"): keep, at(attempt, "sentinel"): let}
    return found


@pytest.mark.parametrize("which", KEEPING)
def test_a_setting_that_is_put_back_is_tried_again(which: str, judging: Judging) -> None:
    (claim, profile), keep, let = KEEPING[which]

    cell = judging.of(claim, profile, {PROBE: keep, SENTINEL: let})

    assert cell.outcome is Outcome.PASSED, cell.sentence


@pytest.mark.parametrize("which", KEEPING)
def test_one_that_is_gone_whenever_it_is_looked_at_decides_nothing(
    which: str, judging: Judging
) -> None:
    (claim, profile), keep, let = KEEPING[which]

    cell = judging.of(claim, profile, always(keep, let))

    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
    assert f"a known filter's {profile.returns.action.name} left no record" in cell.sentence


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("kill, the word", "kernel.seccomp.actions_logged lacks kill_process: sysctl -w"),
        ("log, the word", "actions_logged lacks log"),
        ("kill, a rule", "auditctl -d always,exclude -F msgtype=SECCOMP"),
        ("log, a rule", "auditctl -d always,exclude -F msgtype=SECCOMP"),
    ],
)
@pytest.mark.parametrize("moment", [PROBE, SENTINEL])
def test_one_that_stays_is_named(which: str, said: str, moment: int, judging: Judging) -> None:
    """Before the probe, or after it; where no sentinel comes either, that is the reason."""
    (claim, profile), keep, _ = KEEPING[which]

    cell = judging.of(claim, profile, {moment: keep})

    if moment == PROBE:
        assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
        assert said in cell.sentence
    else:
        assert cell.outcome is Outcome.PASSED, cell.sentence


@pytest.mark.parametrize("which", KEEPING)
def test_one_that_changes_between_the_vouching_ones(which: str, judging: Judging) -> None:
    """The probe's record is kept away and those before and after it are not; its copy's comes."""
    (claim, profile), keep, let = KEEPING[which]
    moments = {PROBE: keep, SENTINEL: let}
    moments |= {at(1, "probe"): keep, at(1, "between"): let}

    cell = judging.of(claim, profile, moments)

    assert cell.outcome is Outcome.PASSED, cell.sentence


@pytest.mark.parametrize("which", KEEPING)
def test_an_auditing_kernel_tells_of_changes(which: str, judging: Judging) -> None:
    """Even where every record that vouches is there, and none of the probes' is."""
    (claim, profile), keep, let = KEEPING[which]
    moments = {PROBE: keep, SENTINEL: let}
    for attempt in (1, 2):
        moments |= {at(attempt, "probe"): keep, at(attempt, "between"): let}
        moments |= {at(attempt, "copy"): keep, at(attempt, "after"): let}
    judging.machine.enable(1)

    cell = judging.of(claim, profile, moments)

    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
    what = "actions_logged was written" if "word" in which else "to the list exclude"
    assert what in cell.sentence


@pytest.mark.parametrize("which", ["log, the word", "log, a rule"])
def test_a_sentinel_that_is_not_recorded_is_made_again(which: str, judging: Judging) -> None:
    """It costs a second, and not the source for the rest of the run."""
    (claim, profile), keep, let = KEEPING[which]

    cell = judging.of(claim, profile, {PROBE: keep, SENTINEL + 1: let})

    assert cell.outcome is Outcome.PASSED, cell.sentence
    assert judging.read is not None
    assert not judging.read.lost
    assert not judging.read.overdue


def test_a_filter_at_fault_still_fails(judging: Judging) -> None:
    """A setting that was changed for a moment excuses nothing."""
    (claim, profile), keep, let = KEEPING["kill, the word"]
    moments = {PROBE: keep, SENTINEL: let}

    cell = judging.of(claim, profile, moments, returns=ALLOW)

    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
    assert "it left no audit record" in cell.sentence


@pytest.mark.parametrize("switch", [0, 1])
@pytest.mark.parametrize("claimed", [KILLED, LOGGED, SILENT])
def test_the_audit_switch_changes_nothing(
    switch: int, claimed: tuple[Claim, Profile], judging: Judging
) -> None:
    """A kernel writes these records whether auditing is switched on or off."""
    judging.machine.enable(1 - switch)

    cell = judging.of(*claimed, {PROBE: lambda machine: machine.enable(switch)})

    assert cell.outcome is Outcome.PASSED, cell.sentence


# Silence.


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_word_that_is_put_back_makes_no_filter_silent(count: int, judging: Judging) -> None:
    """A filter with SECCOMP_FILTER_FLAG_LOG is not silent; at that time nobody could know."""
    found: dict[int, Change] = {}
    for attempt in range(count):
        begin = attempt * len(VOUCHED)
        found |= {begin: without("errno"), begin + VOUCHED.index("sentinel"): back}

    cell = judging.of(*SILENT, found, logged=True)

    if count == 1:
        assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
        assert "it left an audit record, code=0x50000" in cell.sentence
    else:
        assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
        assert "ERRNO with SECCOMP_FILTER_FLAG_LOG left no record" in cell.sentence


def test_a_word_that_is_missing_decides_nothing_about_silence(judging: Judging) -> None:
    judging.machine.log("errno")

    cell = judging.of(*SILENT, {}, logged=True)

    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
    assert "actions_logged lacks errno: sysctl -w" in cell.sentence


@pytest.mark.parametrize("moment", [PROBE, SENTINEL, None], ids=["before", "after", "never"])
def test_no_word_makes_a_filter_loud_that_asks_for_no_record(
    moment: int | None, judging: Judging
) -> None:
    """Not even of a process whose calls are audited; nor does its absence leave a doubt."""
    judging.machine.log("errno")
    judging.machine.enable(1)
    judging.machine.add("always,exit", "-S", "acct", "-F", "auid=-1")

    cell = judging.of(*SILENT, {} if moment is None else {moment: back})

    assert cell.outcome is Outcome.PASSED, cell.sentence


# Controls, and the whole machine.


def permissive() -> StackTarget:
    """A target that is of no concern to controls."""
    program = bpf.dispatch({}, ALLOW.value)
    return StackTarget("test", dict.fromkeys(Profile, FilterStack("none", (program,), NATIVE)))


def test_controls_are_tried_again(judging: Judging) -> None:
    """Else a word that is missing for a moment would cost the whole run."""
    target = permissive()
    plain = Judging(judging.zygote, judging.machine)
    with closing(NetlinkCollector()) as collector:
        counted = plain.examiner(target, {}, AuditTrail(collector, ""))
        counted.calibrate([NATIVE])
        zygote = counted._setup.zygote
        assert isinstance(zygote, Watched)
        length = zygote.runs[0]
        moments = {0: without("kill_process"), length: back}
        examiner = plain.examiner(target, moments, AuditTrail(collector, ""))
        cells = examiner.calibrate([NATIVE])

    assert {cell.outcome for cell in cells} == {Outcome.PASSED}
    assert not examiner.fault


def test_a_control_without_its_record_fails(judging: Judging) -> None:
    """Where known filters leave some before and after, the instrument sees what it should not."""
    keep, let = without("kill_process"), back
    moments = {PROBE: keep, SENTINEL: let}
    moments |= {at(1, "probe"): keep, at(1, "between"): let}
    moments |= {at(1, "copy"): keep, at(1, "after"): let}
    target = permissive()
    (control,) = (
        case
        for case in plan.controls(NATIVE)
        if case.cells[0].variant == Action.KILL_PROCESS.name and len(case.cells) == 1
    )
    with closing(NetlinkCollector()) as collector:
        examiner = judging.examiner(target, moments, AuditTrail(collector, ""))
        (cell,) = examiner.examine([control])

    assert cell.outcome is Outcome.FAILED, cell.sentence
    assert "it left no audit record" in cell.sentence


def test_a_whole_run_while_a_word_comes_and_goes(machine: Machine, tmp_path: Path) -> None:
    """No cell is blamed on the filter, which is right; what was seen in time has passed."""
    options = ("--arch=x86_64", "--profile=kill", "-k", "is_reported")
    command = job.command(tmp_path, *job.ALONE, *options)
    with subprocess.Popen(
        command, cwd=job.CHECKOUT, env=job.environment(), stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            while run.poll() is None:
                machine.log("kill_process")
                time.sleep(0.05)
                machine.log()
                time.sleep(0.1)
        finally:
            run.kill()
        output = run.stdout.read() if run.stdout else ""
    ended = job.Job(run.returncode, output, tmp_path)

    found = ended.outcomes(claim="is reported")
    assert ended.status in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}, output
    assert found.keys() <= {"passed", "cannot_tell"}, output
    assert found["passed"], output
    assert ended.outcomes(claim="controls").keys() == {"passed"}


def test_a_rule_that_floods_costs_no_verdict_its_truth(
    judging: Judging, tmp_path_factory: pytest.TempPathFactory
) -> None:
    emitter: Emitter = build(tmp_path_factory.mktemp("emitter"))
    judging.machine.enable(1)
    judging.machine.add("always,exit", "-S", "getppid", "-F", f"exe={emitter.path}")
    command = emitter.command("flood", hex(ALLOW.value), count=1_000_000)
    with subprocess.Popen(["timeout", "20", *command]) as flood:
        try:
            cells = [judging.of(*claimed, {}) for claimed in (KILLED, LOGGED, SILENT)]
            wrong = judging.of(*KILLED, {}, returns=ALLOW)
            assert flood.poll() is None, "the flood was over too early"
        finally:
            flood.kill()

    assert not [cell.sentence for cell in cells if cell.outcome is Outcome.FAILED]
    assert wrong.outcome is not Outcome.PASSED
