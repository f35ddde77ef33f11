"""What a run says about controls: every rule, and that nothing is claimed beyond the evidence."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given

from probes.cell import Cell, Claim, Outcome
from reports import controls, results
from reports.controls import ControlsError, State, Strength
from reports.results import Run, Verdict
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS

WANTED = {
    "NIST SP 800-53": {"SI-6", "CM-4(2)", "CM-7", "AU-12", "AU-3", "SI-4(5)", "AC-6", "SC-39"},
    "CIS Docker Benchmark": {"5.21", "5.22"},
    "CIS Kubernetes Benchmark": {"5.7.2", "5.6.2"},
    "DISA STIG": {"V-235812", "V-260937"},
    "Kubernetes Pod Security Standards": {"Baseline", "Restricted"},
    "MITRE ATT&CK": {"T1611", "M1048"},
}


def deployed(run: Run) -> Run:
    """The run, had a container's filter been tested."""
    return replace(run, target=replace(run.target, kind="docker"))


def states(run: Run) -> dict[str, State]:
    """The state of every control, by its token."""
    return {one.control.token: one.state for one in controls.assess(run)}


def kept(run: Run, keep: Callable[[Cell], bool]) -> Run:
    """The run with some of its cells, as if nothing else had been planned."""
    return samples.run(filter(keep, run.cells))


def test_every_framework_is_there() -> None:
    found = {
        framework: {one.id for one in controls.load() if one.framework == framework}
        for framework in WANTED
    }
    assert found == WANTED
    assert {one.framework for one in controls.load()} == set(WANTED)


def test_every_control_says_what_is_not_shown() -> None:
    for one in controls.load():
        assert one.why.endswith(".")
        assert one.not_shown.endswith(".")
        assert one.source


def test_passing_run_of_a_container_supports_every_control() -> None:
    assert set(states(deployed(samples.passing())).values()) == {State.SUPPORTED}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["builtin", "oci", "bpf"])
def test_filter_that_no_container_is_under_says_nothing_about_one(kind: str) -> None:
    """The default run tests the suite's own filter: no statement about any container."""
    run = replace(samples.passing(), target=replace(samples.passing().target, kind=kind))
    for one in controls.assess(run):
        expected = State.NOT_ASSESSED if one.control.deployed else State.SUPPORTED
        assert one.state is expected, one
        assert not one.control.deployed or kind in one.sentence


def test_failure_contradicts_what_its_claim_speaks_to() -> None:
    found = states(deployed(samples.failing()))
    assert found["cm-7"] is State.CONTRADICTED
    assert found["si-6"] is State.CONTRADICTED
    # "is reported" failed as well.
    assert found["au-12"] is State.CONTRADICTED
    # acct and bpf are no way out to the host, and nothing else failed.
    assert found["T1611"] is State.SUPPORTED


def test_broken_run_says_nothing() -> None:
    for one in controls.assess(deployed(samples.broken())):
        assert one.state is State.NOT_ASSESSED
        assert one.sentence.startswith("the run is broken")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["empty", "lost"])
def test_run_without_verdicts_says_nothing(name: str) -> None:
    assert set(states(deployed(samples.all_kinds()[name])).values()) == {State.NOT_ASSESSED}


def test_records_that_could_not_be_read_support_nothing() -> None:
    found = states(deployed(samples.unprivileged()))
    assert {found[token] for token in ("au-12", "au-3", "si-4.5", "si-6")} == {State.NOT_ASSESSED}
    assert found["cm-7"] is State.SUPPORTED


def test_waived_failure_supports_nothing() -> None:
    failing = deployed(samples.failing())
    waived = replace(
        failing,
        cells=tuple(
            replace(cell, outcome=Outcome.WAIVED) if cell.outcome is Outcome.FAILED else cell
            for cell in failing.cells
        ),
    )
    assert results.summarize(waived).ruling.verdict is Verdict.PASS
    found = {one.control.token: one for one in controls.assess(waived)}
    assert found["cm-7"].state is State.NOT_ASSESSED
    assert "waived" in found["cm-7"].sentence
    assert found["T1611"].state is State.SUPPORTED


@pytest.mark.slow
def test_calls_that_are_let_run_restrict_nothing() -> None:
    """Under `log` a call runs: that supports records, but no restriction."""
    found = states(
        deployed(kept(samples.passing(), lambda cell: cell.key.profile in {"log", "none"}))
    )
    assert found["au-12"] is State.SUPPORTED
    restrictions = ("cm-7", "ac-6", "M1048", "cis-docker-5.21")
    assert {found[token] for token in restrictions} == {State.NOT_ASSESSED}


def test_supporting_claims_alone_support_nothing() -> None:
    """A proof alone shows nothing about a kernel."""
    only = {Claim.IS_PROVED, Claim.CONTROLS}
    run = deployed(kept(samples.proved(), lambda cell: cell.key.claim in only))
    assert set(states(run).values()) == {State.NOT_ASSESSED}


def test_part_of_the_job_supports_nothing() -> None:
    whole = deployed(samples.passing())
    part = replace(whole, selected_of=whole.selected_of + 1)
    assert set(states(part).values()) == {State.NOT_ASSESSED}
    lacking = replace(whole, planned=whole.planned + 1, selected_of=whole.planned + 1)
    assert set(states(lacking).values()) == {State.NOT_ASSESSED}


@pytest.mark.slow
@given(RUNS)
def test_state_never_claims_more_than_the_cells_carry(run: Run) -> None:
    """Whatever a run holds: no support without a primary pass or beside anything that did not."""
    for one in controls.assess(run):
        outcomes = {outcome for evidence in one.evidence for outcome in evidence.counts}
        speaking = controls.speaking(run, one.control)
        assert sum(sum(each.counts.values()) for each in one.evidence) == len(speaking)
        if one.state is State.SUPPORTED:
            assert outcomes <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
            assert any(
                each.strength is Strength.PRIMARY and Outcome.PASSED in each.counts
                for each in one.evidence
            )
        if one.state is State.CONTRADICTED:
            assert Outcome.FAILED in outcomes
        if Outcome.FAILED in outcomes:
            assert one.state is not State.SUPPORTED
        assert one.sentence
        assert "\n" not in one.sentence


GOOD = """
format = 1
[[control]]
id = "A"
token = "a"
framework = "F"
edition = "E"
title = "T"
why = "W."
not_shown = "N."
source = "S"
primary = ["denies"]
supporting = ["is proved"]
profiles = ["errno"]
targets = "filters"
"""


def test_small_file_is_read() -> None:
    (one,) = controls.parse(GOOD)
    assert one.claims == {Claim.DENIES: Strength.PRIMARY, Claim.IS_PROVED: Strength.SUPPORTING}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", "format = 1"),
        ("format = 1", "format = ", "not TOML"),
        ('id = "A"', "id = 1", "id must be text"),
        ('id = "A"', "", "'id' is missing"),
        ('id = "A"', 'id = "A"\nmore = 1', "'more' is missing or unknown"),
        ('token = "a"', 'token = "5.1"', "no identifier"),
        ('primary = ["denies"]', "primary = []", "needs a primary claim"),
        ('primary = ["denies"]', 'primary = ["denys"]', "denys"),
        ('primary = ["denies"]', 'primary = ["is proved"]', "one list only"),
        ('primary = ["denies"]', 'primary = "denies"', "must be a list"),
        ('profiles = ["errno"]', 'profiles = ["warn"]', "no profile"),
        ('targets = "filters"', 'targets = "all"', "targets must be"),
    ],
)
def test_faulty_file_is_refused(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ControlsError, match=re.escape(words)):
        controls.parse(GOOD.replace(old, new))


def test_token_names_one_control() -> None:
    with pytest.raises(ControlsError, match="two controls"):
        controls.parse(GOOD + GOOD.replace("format = 1", ""))
