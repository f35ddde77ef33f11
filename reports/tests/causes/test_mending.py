"""How causes are mended: one advice each, that names what to write."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given

from probes.action import FilterReturn
from probes.cell import Cause, Cell, Claim, Outcome
from reports.causes.grouping import FaultGroup, causes
from reports.causes.mending import mend
from reports.results import Run
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS


def group_of(claim: Claim, returned: str | None, *, cause: Cause | None = None) -> FaultGroup:
    """The only cause where a claim does not hold for acct, and all else holds."""
    value = None if returned is None else FilterReturn.parse(returned)

    def one(cell: Cell) -> Cell:
        named = cell.key.syscall in {"acct", "call17", "unknown"}
        judged = named and cell.key.claim is claim and cell.outcome is Outcome.PASSED
        return (
            replace(cell, outcome=Outcome.FAILED, returned=value, cause=cause) if judged else cell
        )

    run = samples.passing()
    found = causes(replace(run, cells=tuple(map(one, run.cells))))
    return found[0]


@pytest.mark.parametrize(
    ("claim", "returned", "said"),
    [
        (Claim.TERMINATES, "ALLOW", '{"names": ["acct"], "action": "SCMP_ACT_KILL_PROCESS"}'),
        (Claim.DENIES, "ALLOW", '{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}'),
        (Claim.TERMINATES, "KILL_THREAD", "answers SCMP_ACT_KILL_THREAD (SCMP_ACT_KILL)"),
        (Claim.TERMINATES, "ERRNO(EPERM)", "answers SCMP_ACT_ERRNO with errnoRet 1"),
        (Claim.IS_REPORTED, None, "kill_process is in /proc/sys/kernel/seccomp/actions_logged"),
        (Claim.IS_SILENT, "ERRNO(EPERM)", "without SECCOMP_FILTER_FLAG_LOG"),
        (Claim.IS_RECORDED, None, '"action": "SCMP_ACT_LOG"'),
        (Claim.LEAVES_THE_REST_ALONE, "ERRNO(EPERM)", '["call17"], "action": "SCMP_ACT_ALLOW"}'),
        (Claim.DEFAULT_ACTION, "ALLOW", "the filter's default action"),
    ],
)
def test_the_advice_names_what_to_write(claim: Claim, returned: str | None, said: str) -> None:
    words = mend(group_of(claim, returned))
    assert said in words
    for rule in re.findall(r"\{.*?\}", words):
        assert json.loads(rule)["names"]


def test_a_kernel_that_does_not_honour_an_action_is_not_mended_in_the_profile() -> None:
    words = mend(group_of(Claim.TERMINATES, "ALLOW", cause=Cause.NOT_IMPLEMENTED))
    assert "this kernel does something else" in words


@given(RUNS)
def test_every_cause_has_one(run: Run) -> None:
    """And every cell that does not hold, besides controls, is in exactly one cause."""
    groups = causes(run)
    assert all(mend(group).endswith((".", "how.")) for group in groups)
    found = [(cell.key, cell.environment) for group in groups for cell in group.cells]
    wanted = [
        (cell.key, cell.environment)
        for cell in run.cells
        if cell.outcome in {Outcome.FAILED, Outcome.WAIVED, Outcome.ACCEPTED}
        and cell.key.claim is not Claim.CONTROLS
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))
