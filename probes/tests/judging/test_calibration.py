"""What failed controls say: that the instrument is wrong, or that the kernel is another one.

The kernel is made up; gVisor, which is one, is asked in ``cases/tests/test_other_kernels.py``.
"""

import signal
from collections.abc import Iterable
from dataclasses import replace

import pytest

from probes.action import Action, FilterReturn, Profile
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.errors import ExitStatus
from probes.instrument.calls import Observation, Stage
from probes.judging import calibration, plan
from probes.judging.calibration import Calibration
from probes.judging.sighting import Question, Sighting
from probes.judging.verdict import judge
from reports import results

SURVIVED = Observation(Stage.ARMED, survived=True)
KILLED = Observation(Stage.ARMED, status=signal.SIGSYS.value)
RETURNED = Observation(Stage.RETURNED, result=1)
LOST = Observation(Stage.NOT_REACHED, fault="the child was lost")


def control(action: Action, outcome: Outcome = Outcome.PASSED, arch: str = "x86_64") -> Cell:
    key = CellKey(Claim.CONTROLS, plan.NO_PROFILE, arch, "getppid", 110, action.name)
    cause = None if outcome is Outcome.PASSED else Cause.FILTER
    return Cell(key, outcome, cause, f"{action.name} came out {outcome}", action.name, "seen")


def controls(off: Iterable[tuple[Action, Outcome]] = ()) -> list[Cell]:
    wrong = dict(off)
    return [control(one.action, wrong.get(one.action, Outcome.PASSED)) for one in plan.CONTROLS]


def weighed(
    profiles: Iterable[Profile], *off: tuple[Action, Outcome], kernel: bool = True
) -> Calibration:
    cells, asked = controls(off), tuple(profiles)
    suspects = calibration.suspects(cells, asked)
    return calibration.weigh(cells, asked, suspects if kernel else ())


def test_right_controls_say_nothing() -> None:
    found = weighed(Profile)

    assert (found.fault, found.doubt, found.unhonoured) == ("", "", frozenset())
    assert {cell.outcome for cell in found.cells} == {Outcome.PASSED}


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("action", [one.action for one in plan.CONTROLS])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.BROKEN])
def test_a_control_counts_where_the_profile_needs_it(
    outcome: Outcome, action: Action, profile: Profile
) -> None:
    found = weighed([profile], (action, outcome), kernel=False)

    needed = action in plan.NEEDED[profile]
    assert bool(found.fault) == needed
    (cell,) = [cell for cell in found.cells if cell.key.variant == action.name]
    assert cell.outcome is (outcome if needed else Outcome.NOT_APPLICABLE)


def test_what_a_profile_asks_for_is_always_needed() -> None:
    for profile in Profile:
        assert {profile.returns.action, Action.ALLOW, Action.ERRNO} <= plan.NEEDED[profile]


@pytest.mark.parametrize(
    ("profile", "action"),
    [(Profile.KILL, Action.KILL_PROCESS), (Profile.LOG, Action.LOG)],
)
def test_a_kernel_that_takes_an_action_for_another_is_no_broken_instrument(
    profile: Profile, action: Action
) -> None:
    found = weighed([profile], (action, Outcome.FAILED))

    assert found.fault == ""
    assert found.unhonoured == {("x86_64", action)}
    (cell,) = [cell for cell in found.cells if cell.key.variant == action.name]
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.NOT_IMPLEMENTED)
    assert f"this kernel does not honour {action.name}" in cell.sentence


@pytest.mark.parametrize("other", [Action.ERRNO, Action.ALLOW, Action.TRAP, Action.KILL_THREAD])
def test_where_another_control_is_off_it_is_the_instrument(other: Action) -> None:
    """Nothing then vouches for what was seen instead."""
    off = ((Action.KILL_PROCESS, Outcome.FAILED), (other, Outcome.FAILED))

    assert calibration.suspects(controls(off), [Profile.KILL]) == ()
    assert weighed([Profile.KILL], *off).fault != ""


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.FAILED}))
def test_only_what_was_seen_to_be_otherwise_is_the_kernels(outcome: Outcome) -> None:
    cells = controls([(Action.KILL_PROCESS, outcome)])

    assert calibration.suspects(cells, [Profile.KILL]) == ()


@pytest.mark.parametrize(
    ("action", "seen", "wanted"),
    [
        (Action.KILL_PROCESS, (SURVIVED, SURVIVED), True),
        (Action.KILL_PROCESS, (SURVIVED, KILLED), False),
        (Action.KILL_PROCESS, (KILLED, KILLED), False),
        (Action.KILL_PROCESS, (SURVIVED, RETURNED), False),
        (Action.KILL_PROCESS, (SURVIVED, LOST), False),
        (Action.LOG, (SURVIVED, KILLED), True),
        (Action.LOG, (SURVIVED, RETURNED), False),
        (Action.LOG, (SURVIVED, LOST), False),
    ],
)
def test_every_route_has_to_show_it(
    action: Action, seen: tuple[Observation, ...], *, wanted: bool
) -> None:
    assert calibration.is_unhonoured(action, seen) is wanted


TERMINATES = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
KILL = FilterReturn(Action.KILL_PROCESS)


@pytest.mark.parametrize(
    ("returns", "cause"),
    [
        (KILL, Cause.NOT_IMPLEMENTED),
        (None, Cause.NOT_IMPLEMENTED),
        (FilterReturn(Action.KILL_THREAD), Cause.FILTER),
    ],
    ids=["the filter asks for it", "nobody knows the filter", "the filter asks for less"],
)
def test_whose_fault_a_surviving_process_is(returns: FilterReturn | None, cause: Cause) -> None:
    asked = Question(TERMINATES, KILL, "it", unhonoured=frozenset({Action.KILL_PROCESS}))
    seen = Sighting(witnessed=SURVIVED, predicted=returns)

    cell = judge(asked, seen)
    honest = judge(replace(asked, unhonoured=frozenset()), seen)

    assert (cell.outcome, cell.cause) == (Outcome.FAILED, cause)
    assert (honest.outcome, honest.cause) == (Outcome.FAILED, Cause.FILTER)


def test_no_kernel_makes_a_pass_of_it() -> None:
    """Whatever it does for KILL_PROCESS, a call that returned was not terminated."""
    asked = Question(TERMINATES, KILL, "it", unhonoured=frozenset(Action))

    for made in (RETURNED, SURVIVED, LOST):
        assert judge(asked, Sighting(witnessed=made)).outcome is not Outcome.PASSED


def ruling(*cells: Cell) -> tuple[results.Verdict, ExitStatus]:
    found = results.verdict(cells, len(cells))
    return found.verdict, found.exit_status


PASSED_DENIAL = Cell(
    CellKey(Claim.DENIES, "errno", "x86_64", "acct", 163), Outcome.PASSED, None, "", "", ""
)


def test_the_ruling_takes_the_kernel_for_what_was_put_to_the_test() -> None:
    kernels = weighed([Profile.KILL], (Action.KILL_PROCESS, Outcome.FAILED)).cells
    instruments = weighed([Profile.KILL], (Action.KILL_PROCESS, Outcome.FAILED), kernel=False).cells
    needless = weighed([Profile.ERRNO], (Action.KILL_PROCESS, Outcome.FAILED)).cells

    failed = (results.Verdict.FAIL, ExitStatus.NOT_CONFORMANT)
    assert ruling(*kernels) == failed
    assert ruling(*kernels, PASSED_DENIAL) == failed
    assert ruling(*instruments, PASSED_DENIAL)[1] is ExitStatus.BROKEN
    assert ruling(*needless, PASSED_DENIAL)[1] is ExitStatus.CONFORMANT
