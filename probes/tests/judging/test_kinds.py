"""What became of calls, told by cells: the four kinds, and when a kind is not known."""

import errno
from dataclasses import replace

import pytest

from probes.action import Action, FilterReturn
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.judging import kinds
from probes.judging.kinds import Fate, Kind, Manner, Subject
from probes.judging.plan import Scope

EPERM = FilterReturn(Action.ERRNO, errno.EPERM)
ENOSYS = FilterReturn(Action.ERRNO, errno.ENOSYS)
ALLOW, LOG = FilterReturn(Action.ALLOW), FilterReturn(Action.LOG)


def cell(
    claim: Claim,
    outcome: Outcome = Outcome.PASSED,
    returned: FilterReturn | None = None,
    **about: str,
) -> Cell:
    """A cell about a call of x86_64: ``acct`` under ``kill`` unless said otherwise."""
    profile, call = about.get("profile", "kill"), about.get("syscall", "acct")
    key = CellKey(claim, profile, "x86_64", call, 163, about.get("variant", ""))
    return Cell(key, outcome, None, "sentence", "expected", "observed", returned=returned)


def only(*cells: Cell) -> Fate:
    """The fate of the one thing that all the cells are about."""
    (fate,) = kinds.fates(cells)
    return fate


FAILED = Outcome.FAILED


@pytest.mark.parametrize(
    ("profile", "claim", "returned", "kind"),
    [
        ("kill", Claim.TERMINATES, ALLOW, Kind.GETS_THROUGH),
        ("kill", Claim.TERMINATES, LOG, Kind.GETS_THROUGH),
        ("kill", Claim.TERMINATES, FilterReturn(Action.TRACE), Kind.GETS_THROUGH),
        ("kill", Claim.TERMINATES, FilterReturn(Action.USER_NOTIF), Kind.GETS_THROUGH),
        ("kill", Claim.TERMINATES, EPERM, Kind.REFUSED_OTHERWISE),
        ("kill", Claim.TERMINATES, FilterReturn(Action.KILL_THREAD), Kind.REFUSED_OTHERWISE),
        ("kill", Claim.TERMINATES, FilterReturn(Action.TRAP), Kind.REFUSED_OTHERWISE),
        ("errno", Claim.DENIES, ENOSYS, Kind.REFUSED_OTHERWISE),
        ("errno", Claim.DENIES, FilterReturn(Action.KILL_PROCESS), Kind.REFUSED_OTHERWISE),
        ("errno", Claim.DENIES, ALLOW, Kind.GETS_THROUGH),
        ("log", Claim.RUNS, EPERM, Kind.REFUSED_OTHERWISE),
        ("log", Claim.RUNS, FilterReturn(Action.USER_NOTIF), Kind.GETS_THROUGH),
        ("log", Claim.RUNS, None, Kind.REFUSED_OTHERWISE),
    ],
)
def test_the_action_that_answered_decides(
    profile: str, claim: Claim, returned: FilterReturn | None, kind: Kind
) -> None:
    """Only what is let through gets through; any other refusal is one, though not the right one."""
    fate = only(cell(claim, FAILED, returned, profile=profile))
    assert (fate.kind, fate.outcome, fate.returned) == (kind, FAILED, returned)


def test_all_claims_about_a_call_make_one_fate() -> None:
    """What holds is as documented, whoever says it."""
    fate = only(cell(Claim.TERMINATES), cell(Claim.IS_REPORTED), cell(Claim.IS_PROVED))
    assert (fate.kind, fate.outcome) == (Kind.AS_DOCUMENTED, Outcome.PASSED)
    assert fate.thing.subject is Subject.DOCUMENTED_CALL


def test_a_refusal_that_leaves_another_record_is_named_by_the_refusal() -> None:
    """Of an errno there is no record to expect, and a missing one makes no call open."""
    fate = only(
        cell(Claim.RUNS, FAILED, EPERM, profile="log"),
        cell(Claim.IS_RECORDED, FAILED, profile="log"),
    )
    assert (fate.kind, fate.manner) == (Kind.REFUSED_OTHERWISE, Manner.PLAINLY)
    assert len(fate.faults) == 2


def test_a_call_that_runs_unrecorded_gets_through() -> None:
    """Under log the record is the restriction; a call that is refused by itself needs none."""
    recorded = cell(Claim.IS_RECORDED, FAILED, profile="log")
    fate = only(cell(Claim.RUNS, profile="log"), recorded)
    assert (fate.kind, fate.manner) == (Kind.GETS_THROUGH, Manner.UNRECORDED)
    assert only(recorded).kind is Kind.REFUSED_OTHERWISE
    fate = only(cell(Claim.TERMINATES), cell(Claim.IS_REPORTED, FAILED))
    assert (fate.kind, fate.manner) == (Kind.REFUSED_OTHERWISE, Manner.UNRECORDED)


def test_a_recorded_refusal_is_one() -> None:
    """Of an ERRNO with a record only the record is amiss; of anything else the act is."""
    fate = only(
        cell(Claim.DENIES, profile="errno"),
        cell(Claim.IS_SILENT, FAILED, EPERM, profile="errno"),
    )
    assert (fate.kind, fate.manner) == (Kind.REFUSED_OTHERWISE, Manner.RECORDED)


def test_arguments_by_which_a_call_gets_through_outweigh_another_refusal() -> None:
    """A hole that only an analysis has found is one."""
    proved = cell(Claim.IS_PROVED, FAILED, ALLOW)
    for seen in (cell(Claim.TERMINATES), cell(Claim.TERMINATES, FAILED, EPERM)):
        fate = only(seen, proved)
        assert (fate.kind, fate.manner) == (Kind.GETS_THROUGH, Manner.BY_SOME_ARGUMENTS)


def test_an_analysis_alone_does_not_say_that_it_takes_some_arguments() -> None:
    """Its counterexample may stand for all of them."""
    proved = cell(Claim.IS_PROVED, FAILED, ALLOW)
    for unseen in ([], [cell(Claim.TERMINATES, Outcome.CANNOT_TELL)]):
        fate = only(proved, *unseen)
        assert (fate.kind, fate.manner) == (Kind.GETS_THROUGH, Manner.PLAINLY)


def test_of_two_claims_that_show_the_same_the_call_itself_tells() -> None:
    """What an analysis says of it as well is no other manner."""
    proved = cell(Claim.IS_PROVED, FAILED, ALLOW, profile="log")
    unrecorded = cell(Claim.IS_RECORDED, FAILED, profile="log")
    fate = only(proved, cell(Claim.RUNS, profile="log"), unrecorded)
    assert (fate.kind, fate.manner) == (Kind.GETS_THROUGH, Manner.UNRECORDED)
    fate = only(proved, cell(Claim.RUNS, profile="log"))
    assert (fate.kind, fate.manner) == (Kind.GETS_THROUGH, Manner.BY_SOME_ARGUMENTS)


def test_a_fault_that_is_accepted_keeps_its_kind() -> None:
    """It is told apart by its outcome alone, and only where all of it is accepted."""
    waived = cell(Claim.TERMINATES, Outcome.WAIVED, ALLOW)
    assert only(waived).outcome is Outcome.WAIVED
    fate = only(waived, cell(Claim.IS_REPORTED, FAILED))
    assert (fate.kind, fate.outcome) == (Kind.GETS_THROUGH, FAILED)
    assert [one.outcome for one in fate.faults] == [FAILED, Outcome.WAIVED]


def test_an_open_record_leaves_the_refusal_known() -> None:
    """Without audit records a kill is still a kill, and the claim that is open is named."""
    fate = only(cell(Claim.TERMINATES), cell(Claim.IS_REPORTED, Outcome.CANNOT_TELL))
    assert (fate.kind, fate.open) == (Kind.AS_DOCUMENTED, (Claim.IS_REPORTED,))
    fate = only(cell(Claim.TERMINATES, Outcome.BROKEN), cell(Claim.IS_PROVED))
    assert (fate.kind, fate.outcome) == (Kind.NOT_JUDGED, Outcome.BROKEN)


def test_what_is_not_documented_has_one_kind_of_fault() -> None:
    """Whatever a filter does with it besides letting it be."""
    for returned in (EPERM, LOG, FilterReturn(Action.KILL_PROCESS)):
        fate = only(cell(Claim.LEAVES_THE_REST_ALONE, FAILED, returned, syscall="read"))
        assert (fate.kind, fate.thing.subject) == (Kind.BLOCKED_TOO_MUCH, Subject.OTHER_CALL)
    fate = only(cell(Claim.IS_PROVED, FAILED, EPERM, syscall=Scope.OTHER_CALLS.value))
    assert (fate.kind, fate.thing.subject) == (Kind.BLOCKED_TOO_MUCH, Subject.OTHER_CALL)


def test_numbers_ways_and_parts_are_things_of_their_own() -> None:
    """None of them makes a documented call another one; what may be open there counts as open."""
    fates = kinds.fates(
        [
            cell(Claim.TERMINATES),
            cell(Claim.DEFAULT_ACTION, FAILED, ALLOW, syscall="unknown"),
            cell(Claim.IS_INHERITED, FAILED, variant="runtime exec"),
            cell(Claim.IS_ALL_JUDGED, FAILED, syscall="threads"),
            cell(Claim.IS_PROVED, FAILED, ALLOW, syscall="every other architecture"),
            cell(Claim.CONTROLS, FAILED, ALLOW, profile="none"),
        ]
    )
    assert [(one.thing.subject, one.kind) for one in fates] == [
        (Subject.DOCUMENTED_CALL, Kind.AS_DOCUMENTED),
        (Subject.UNKNOWN_NUMBER, Kind.GETS_THROUGH),
        (Subject.WAY, Kind.GETS_THROUGH),
        (Subject.PART, Kind.GETS_THROUGH),
        (Subject.OTHER_ARCHITECTURE, Kind.GETS_THROUGH),
    ]


def test_a_kernel_that_does_not_honour_an_action_is_named() -> None:
    """The filter may be right then."""
    failed = replace(cell(Claim.TERMINATES, FAILED, EPERM), cause=Cause.NOT_IMPLEMENTED)
    fate = only(failed)
    assert fate.manner is Manner.BY_KERNEL
