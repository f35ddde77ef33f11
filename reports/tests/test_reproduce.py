"""Advice: every planned cell can be judged again by one command, and every failure mended."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from probes.cell import Cause, CellKey, Claim, Outcome
from probes.files import SUITE
from probes.finding import Finding, Weight
from probes.judging import plan
from probes.run import settings, values
from reports import results
from reports.causes.mending import mend_cell
from reports.reproduce import command_elsewhere, test_name, test_of
from reports.tests.support import samples

for named in (test_name, test_of):
    named.__test__ = False  # type: ignore[attr-defined]  # it names tests and is none


def test_every_planned_cell_has_its_test() -> None:
    """The name that a report gives is that of the test, for every cell of the job."""
    resolved = settings.resolve(values.read(samples.POLICY_FILE))
    part = Finding("a part was not judged", Weight.LIMITS, about="another part")
    more = plan.all_judged(resolved.profiles, resolved.native, [part])
    claims = set()
    for case in (*resolved.cases, *more):
        for key in case.cells:
            assert test_name(key) == f"{case.function}[{case.id}]", key
            module, _, name = test_of(key).partition("::")
            assert name == test_name(key)
            assert f"def {case.function}(" in (SUITE / "cases" / module).read_text()
            claims.add(key.claim)
    assert claims == set(Claim)


def test_command_is_one_line_that_a_shell_takes_apart() -> None:
    run = samples.failing()
    cell = next(cell for cell in run.cells if cell.outcome is Outcome.FAILED)
    assert shlex.split(command_elsewhere(run, cell.key)) == [
        "pytest",
        "--profile=kill",
        "-k",
        "test_terminates[x86_64-acct]",
    ]
    foreign = replace(run, target=results.TargetInfo("oci", "x"))
    assert "--target=oci:..." in command_elsewhere(foreign, cell.key)
    nasty = replace(cell.key, syscall="a'; rm -rf \u202e\n$(x)")
    words = shlex.split(command_elsewhere(run, nasty))
    assert len(words) == 4
    assert "\n" not in command_elsewhere(run, nasty)


@pytest.mark.parametrize("claim", list(Claim))
@pytest.mark.parametrize("profile", samples.PROFILES)
def test_every_claim_can_be_mended(claim: Claim, profile: str) -> None:
    """A sentence that names what to change, and the number where there is one."""
    cell = next(iter(samples.documented()))
    words = mend_cell(replace(cell, key=CellKey(claim, profile, "x32", "acct", 0x400000A3)))
    assert words.endswith(".")
    assert len(words) > 40
    if claim is Claim.TERMINATES:
        assert "acct (0x400000a3) on x32" in words
    kernels = replace(cell, cause=Cause.NOT_IMPLEMENTED)
    assert "this kernel does something else" in mend_cell(kernels)
    broken = replace(cell, cause=Cause.INSTRUMENT)
    assert "bug of the suite" in mend_cell(broken)


def test_samples_policy_is_the_shipped_one() -> None:
    assert Path(samples.POLICY_FILE).name == "container-restrictions.toml"
