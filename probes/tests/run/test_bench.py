"""The instrument works ahead: many cases, one sentinel, and the verdicts of cases judged alone."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import pytest

from probes import arch
from probes.action import Profile
from probes.audit.collector import Batch, Collector
from probes.audit.netlink import NetlinkCollector
from probes.audit.trail import AuditTrail
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import InstrumentError
from probes.files import DEFAULT_POLICY
from probes.instrument.calls import Call, Observation, Request, Zygote
from probes.judging import plan, records, verdict
from probes.judging.claims import About
from probes.judging.examiner import Examiner, Unready
from probes.judging.plan import Case
from probes.judging.sighting import Question, Sighting
from probes.run import bench, settings, values
from probes.run.bench import Bench
from probes.run.settings import Settings
from probes.targets import StackTarget, Target
from probes.targets.stack import FilterStack
from probes.tests.support import mutants
from probes.tests.support.emitter import sharing_records
from probes.tests.support.mutants import Mutant
from reports import results
from reports.tests.support import job

pytestmark = pytest.mark.root("reads the kernel's audit records")


@pytest.fixture(scope="module")
def resolved() -> Settings:
    return settings.resolve(values.read(DEFAULT_POLICY, arch="x86_64"))


@dataclass
class Counting:
    """Reads for another collector, counts its batches, and says of some that they are torn."""

    inner: Collector
    torn: Sequence[int] = ()
    silent_from: int = 1 << 30
    most_cases: int = 64
    read: int = 0

    @property
    def name(self) -> str:
        """The other's."""
        return self.inner.name

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """What the other has read; without its records where it is torn, or none at all."""
        self.read += 1
        batch = self.inner.read_until(sentinel, deadline)
        if self.read >= self.silent_from:
            return Batch((), complete=False, reason="nothing came.", overdue=True, silent=True)
        if self.read in self.torn:
            return Batch((), complete=False, reason="1 event was lost.")
        return batch

    def close(self) -> None:
        """Closes the other."""
        self.inner.close()


@dataclass
class Run:
    """What a run over some cases asks its bench for, one case after the other."""

    cases: Sequence[Case]
    place: int = 0
    collectors: list[Counting] = field(default_factory=list)

    def upcoming(self) -> Sequence[Case]:
        """The cases after the one that is judged."""
        return self.cases[self.place + 1 :]

    @property
    def read(self) -> int:
        """How many sentinels were waited for."""
        return sum(one.read for one in self.collectors)


class Late(BaseException):
    """What a plug-in raises that limits the time of tests; it is no ``Exception``."""


def late(*_: object) -> NoReturn:
    raise Late


Judge = Callable[..., tuple[dict[CellKey, Cell], Run]]


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    with sharing_records():
        yield


@pytest.fixture
def judge(resolved: Settings, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Judges cases as the tests of a run do, one after the other."""

    def judged(
        cases: Sequence[Case],
        *,
        target: Target | None = None,
        ahead: bool = True,
        **disturbed: object,
    ) -> tuple[dict[CellKey, Cell], Run]:
        run = Run(cases)

        def trail_of(*_: object) -> AuditTrail:
            run.collectors.append(Counting(NetlinkCollector(), **disturbed))  # type: ignore[arg-type] # the caller's words
            return AuditTrail(run.collectors[-1], "")

        monkeypatch.setattr(bench, "trail_of", trail_of)
        given = resolved if target is None else replace(resolved, target=target)
        made = Bench(given, run.upcoming) if ahead else Bench(given)
        found: dict[CellKey, Cell] = {}
        with contextlib.closing(made):
            for place, case in enumerate(cases):
                run.place = place
                with contextlib.suppress(Late, ZeroDivisionError):
                    found |= {cell.key: cell for cell in made.judge(case)}
        return found, run

    return judged


def of(resolved: Settings, *claims: Claim) -> list[Case]:
    """The cases of some claims."""
    return [case for case in resolved.cases if case.claim in claims]


def plain(cells: dict[CellKey, Cell]) -> list[dict[str, object]]:
    """What is reported, but for times, pids and the like."""
    return job.normalized([results.cell_to_json(cell) for cell in cells.values()])


def sentences(cells: dict[CellKey, Cell]) -> dict[CellKey, str]:
    """The verdicts alone."""
    return {key: cell.sentence for key, cell in cells.items()}


def one_of_each(resolved: Settings) -> Iterator[Mutant]:
    """Wrong filters of different kinds, for each profile."""
    for profile in Profile:
        for make in (mutants.dropped_together, mutants.wrong_actions, mutants.structural):
            made = list(make(resolved.policy, resolved.offered, profile))
            yield made[0]


def _is_sample(case: Case) -> bool:
    about = case.row.about
    few = about is not About.DOCUMENTED_CALL or (case.cells[0].number or 0) % 8 == 0
    return few and about is not About.OTHER_CALL


def _reads(case: Case) -> bool:
    return not case.is_control and case.row.calls(case.cells[0]).records


OBSERVED = [claim for claim in Claim if claim not in {Claim.IS_PROVED, Claim.IS_ALL_JUDGED}]


def test_the_verdicts_are_those_of_cases_judged_alone(judge: Judge, resolved: Settings) -> None:
    cases = [case for case in of(resolved, *OBSERVED) if _is_sample(case)]
    alone, by_ones = judge(cases, ahead=False)
    together, by_many = judge(cases)

    assert plain(together) == plain(alone)
    assert {cell.outcome for cell in together.values()} <= {
        Outcome.PASSED,
        Outcome.NOT_APPLICABLE,
    }
    assert by_ones.read > len([case for case in cases if _reads(case)]) > 20
    assert by_many.read < 10


@pytest.mark.slow
def test_of_wrong_filters_too(judge: Judge, resolved: Settings) -> None:
    for mutant in one_of_each(resolved):
        cases = [
            case
            for case in of(resolved, *OBSERVED)
            if case.profile is mutant.profile and _is_sample(case)
        ]
        alone, by_ones = judge(cases, ahead=False, target=mutant.target)
        together, by_many = judge(cases, target=mutant.target)

        assert plain(together) == plain(alone), mutant.name
        assert any(cell.outcome is Outcome.FAILED for cell in together.values()), mutant.name
        assert by_many.read <= by_ones.read, mutant.name


def test_each_part_of_a_target_is_judged_by_its_own_filters(
    judge: Judge, resolved: Settings
) -> None:
    """Tests of both come in turn: that of one part is not worked ahead for with the other."""
    native = resolved.native
    wrong = next(iter(mutants.dropped_together(resolved.policy, resolved.offered, Profile.KILL)))
    other = FilterStack("the other part", (wrong.program,), native)
    right = tuple(resolved.target.programs(Profile.KILL))
    both = FilterStack("both", right, native, first="one part", further=(other,))
    target = StackTarget("test", dict.fromkeys(Profile, both))
    first = of(resolved, Claim.IS_REPORTED)[::4]
    pairs = zip(first, plan.of_stack(first, 1), strict=True)
    cases = [case for pair in pairs for case in pair]

    alone, _ = judge(cases, ahead=False, target=target)
    together, by_many = judge(cases, target=target)

    assert plain(together) == plain(alone)
    outcomes = {
        stack: {cell.outcome for key, cell in together.items() if key.stack == stack}
        for stack in (0, 1)
    }
    assert Outcome.FAILED not in outcomes[0]
    assert Outcome.FAILED in outcomes[1]
    assert by_many.read < 10


def test_a_collector_says_how_many_cases_a_sentinel_is_worth(
    judge: Judge, resolved: Settings
) -> None:
    cases = of(resolved, Claim.IS_REPORTED)
    reads = [judge(cases, most_cases=most)[1].read for most in (1, 7, 1000)]

    most, some, least = (one - reads[2] + 1 for one in reads)
    assert (most, some, least) == (60, 9, 1)


def test_a_torn_batch_is_tried_again_by_fewer_cases(judge: Judge, resolved: Settings) -> None:
    """And if that is torn, too, one by one, which is tried three times."""
    cases = of(resolved, Claim.IS_REPORTED, Claim.IS_SILENT)
    whole, run = judge(cases)
    calibration, second = run.read - 2, len(cases) - 64
    for torn, more in (
        ([calibration + 1], 8),
        ([calibration + 2], second // 7),
        ([calibration + 1, calibration + 2], 8 + 8),
        ([calibration + 1, calibration + 2, calibration + 3], 8 + 9),
    ):
        found, again = judge(cases, torn=torn)

        # Of one that is tried again alone there are two records.
        assert sentences(found) == sentences(whole), torn
        assert again.read == run.read + more, torn


def test_of_a_source_that_falls_silent_one_case_tells(judge: Judge, resolved: Settings) -> None:
    cases = of(resolved, Claim.IS_REPORTED, Claim.IS_SILENT)
    calibration = judge(cases[:1])[1].read - 1
    found, run = judge(cases, silent_from=calibration + 1)

    outcomes = [cell.outcome for cell in found.values()]
    assert outcomes == [Outcome.BROKEN] + [Outcome.CANNOT_TELL] * (len(cases) - 1)
    # The sentinel is made once more, in case its record alone was kept from it.
    assert run.read == calibration + 2
    # And by ones it is the same.
    alone, _ = judge(cases, ahead=False, silent_from=calibration + 1)
    assert plain(found) == plain(alone)


PAUSE = arch.of_this_process()[0].numbers["pause"]


def disturbing(
    monkeypatch: pytest.MonkeyPatch, number: int, disturb: Callable[[Zygote, Request], Request]
) -> None:
    """Has something happen when the witnessed call of this number is about to be made."""
    run = Zygote.run

    def disturbed(self: Zygote, requests: Sequence[Request]) -> list[list[Observation]]:
        return run(
            self,
            [
                disturb(self, one) if one.calls == (Call(number, one.calls[0].arguments),) else one
                for one in requests
            ],
        )

    monkeypatch.setattr(Zygote, "run", disturbed)


def kill(zygote: Zygote, request: Request) -> Request:
    os.kill(zygote.pid, signal.SIGKILL)
    return request


def hang(_: Zygote, request: Request) -> Request:
    return replace(request, calls=(Call(PAUSE),), programs=(), deadline=2.0)


def numbers(cases: Sequence[Case]) -> list[int]:
    return [case.cells[0].number or 0 for case in cases]


@pytest.mark.parametrize("place", [0, 17, 59], ids=["the first", "one ahead", "the last"])
def test_a_zygote_that_dies_breaks_what_it_was_asked(
    place: int, judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = of(resolved, Claim.TERMINATES)
    disturbing(monkeypatch, numbers(cases)[place], kill)
    found, run = judge(cases)

    broken = [cell for cell in found.values() if cell.outcome is Outcome.BROKEN]
    assert [cell.key for cell in broken] == [cases[place].cells[0]]
    assert "is gone" in broken[0].sentence
    assert {cell.outcome for cell in found.values() if cell not in broken} == {Outcome.PASSED}
    assert len(run.collectors) == 2, "the instrument was put up anew"


def test_a_zygote_that_dies_over_the_sentinel_breaks_one_case(
    judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = of(resolved, Claim.IS_REPORTED)
    killed: list[int] = []

    def read(*_: object) -> Batch | None:
        if not killed:
            killed.append(1)
            raise InstrumentError("the process that forks the probes is gone")
        return None

    monkeypatch.setattr(records, "read", read)
    monkeypatch.setattr(Examiner, "calibrate", lambda *_: [])
    found, _ = judge(cases)

    outcomes = [cell.outcome for cell in found.values()]
    assert outcomes == [Outcome.BROKEN] + [Outcome.CANNOT_TELL] * 59


def test_a_probe_that_hangs_costs_its_own_deadline(
    judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = of(resolved, Claim.IS_RECORDED)
    disturbing(monkeypatch, numbers(cases)[20], hang)
    found, _ = judge(cases)

    other = [cell for cell in found.values() if cell.outcome is not Outcome.PASSED]
    assert [cell.key for cell in other] == [cases[20].cells[0]]
    assert "killed at its deadline" in other[0].sentence


def test_where_time_is_up_the_rest_waits(
    judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for many cases that take long each."""
    cases = of(resolved, Claim.IS_REPORTED)
    examine = Examiner.examine_together
    asked: list[int] = []

    def hurried(self: Examiner, together: Sequence[Case]) -> list[list[Cell] | Unready]:
        found = examine(self, together, seconds=0.0)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Examiner, "examine_together", hurried)
    found, _ = judge(cases)

    assert {cell.outcome for cell in found.values()} == {Outcome.PASSED}
    assert asked == [1] * 59, "the next one is not examined alone, but with those after it"


def test_an_error_over_a_case_ahead_is_told_where_it_is_asked_for(
    judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = of(resolved, Claim.TERMINATES)
    guilty = cases[5].cells[0]
    judged = verdict.judge

    def erring(question: Question, sighting: Sighting) -> Cell:
        if question.key == guilty:
            raise ZeroDivisionError("one of ours")
        return judged(question, sighting)

    monkeypatch.setattr(verdict, "judge", erring)
    found, _ = judge(cases)

    assert list(found) == [case.cells[0] for case in cases if case.cells[0] != guilty]
    assert {cell.outcome for cell in found.values()} == {Outcome.PASSED}


def test_what_is_interrupted_leaves_nothing_behind(
    judge: Judge, resolved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in that limits the time of tests raises what is no ``Exception``; the run goes on."""
    cases = of(resolved, Claim.TERMINATES)
    begun: list[int] = []

    def hang_once_for_too_long(made: Zygote, request: Request) -> Request:
        if not begun:
            signal.setitimer(signal.ITIMER_REAL, 0.3)  # the probe's own is 2 s
        begun.append(made.pid)
        return hang(made, request)

    disturbing(monkeypatch, numbers(cases)[5], hang_once_for_too_long)
    before = signal.signal(signal.SIGALRM, late)
    try:
        found, run = judge(cases)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert cases[0].cells[0] not in found
    other = [cell for cell in found.values() if cell.outcome is not Outcome.PASSED]
    assert [cell.key for cell in other] == [cases[5].cells[0]]
    assert len(run.collectors) == 2, "the instrument was put up anew"
