"""A claim is one row: what is said of a new one is planned, judged, shown and made again."""

import ast
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from probes import arch
from probes.action import Profile
from probes.cell import Cell, Claim, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY, SUITE
from probes.instrument.calls import Observation, Route, Stage
from probes.judging import advice, claims, judges, plan, verdict
from probes.judging.claims import About, Row
from probes.judging.needed_calls import Calls, always
from probes.judging.sighting import Question, Sighting
from reports.causes.mending import mend_cell
from reports.formats import hdf, oscal
from reports.html.compliance import render
from reports.reproduce import test_of as reproduced
from reports.results import codec
from reports.tests.support import samples

X86_64: Final = arch.get("x86_64")
POLICY: Final = policy.load(DEFAULT_POLICY, arch.all_names())
WORDS: Final = "is made up"
MEANING: Final = "A documented call is made up for a test."


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A claim that no file of the suite has heard of: a name and a row."""
    claim = str.__new__(Claim, WORDS)
    claim._name_, claim._value_ = "IS_MADE_UP", WORDS
    monkeypatch.setitem(Claim._member_map_, claim._name_, claim)
    monkeypatch.setitem(Claim._value2member_map_, WORDS, claim)
    monkeypatch.setattr(Claim, "_member_names_", [*Claim._member_names_, claim._name_])
    row = Row(
        claim,
        "test_made_up.py",
        About.DOCUMENTED_CALL,
        (Profile.KILL,),
        MEANING,
        advice.refuse,
        always(Calls(route=Route.THREADS)),
        judge=judges.judge_act,
        expected=judges.for_all_threads,
    )
    monkeypatch.setitem(claims.ROWS, claim, row)
    return claim


def planned(claim: Claim, profile: Profile = Profile.KILL) -> list[plan.Case]:
    """Its cases in the plan of a whole run."""
    cases = plan.plan(POLICY, (profile,), (X86_64,), (X86_64,), (X86_64,))
    return [case for case in cases if case.claim is claim]


def judged(case: plan.Case) -> Cell:
    """The verdict on its cell where the kernel has ended the process."""
    question = Question(case.cells[0], Profile.KILL.returns, "the filter")
    ended = Observation(Stage.ARMED, status=signal.SIGSYS)
    return verdict.judge(question, Sighting(witnessed=ended))


def test_new_claim_is_planned_as_its_row_says(made_up: Claim) -> None:
    cases = planned(made_up)
    assert [case.cells[0].syscall for case in cases] == [call.label for call in POLICY.calls]
    assert {case.row.calls(case.cells[0]).route for case in cases} == {Route.THREADS}
    assert planned(made_up, Profile.LOG) == []


def test_new_claim_is_judged_by_its_row(made_up: Claim) -> None:
    cell = judged(planned(made_up)[0])
    assert cell.outcome is Outcome.PASSED
    assert cell.expected == "KILL_PROCESS for all threads"
    assert "is made up" not in cell.sentence


def test_new_claim_is_shown_and_made_again(made_up: Claim) -> None:
    """Page, formats, advice and command know it, and a record of it is read back."""
    case = planned(made_up)[0]
    failed = replace(judged(case), outcome=Outcome.FAILED)
    run = samples.run([*samples.controls(), failed])
    again = codec.from_json(json.loads(codec.to_json(run)))
    page = render(again)
    assert MEANING in page
    assert "KILL is made up" in page
    assert MEANING in oscal.render(again)
    assert MEANING in hdf.render(again)
    assert mend_cell(failed) == advice.refuse(failed)
    assert reproduced(failed.key) == f"test_made_up.py::test_is_made_up[{case.id}]"


def test_claim_without_a_row_is_nowhere(made_up: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the row that does it: the name alone is neither planned nor shown."""
    case = planned(made_up)[0]
    monkeypatch.delitem(claims.ROWS, made_up)
    assert planned(made_up) == []
    with pytest.raises(KeyError):
        judged(case)
    with pytest.raises(KeyError):
        reproduced(case.cells[0])


def test_row_is_in_order_and_has_its_test() -> None:
    """Every claim has a row, and every row a test function of its own."""
    assert list(claims.ROWS) == list(Claim)
    for row in claims.ROWS.values():
        tree = ast.parse((SUITE / "cases" / row.module).read_text(encoding="utf-8"))
        assert row.function in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}


ALLOWED: Final = {
    "probes/benchmarks/node_cost.py",  # times the one claim that a survey makes
    "probes/judging/claims.py",  # the rows
    "probes/documents/waivers.py",  # controls take no waiver; documents stand below the rows
    "reports/benchmarks/merge_cost.py",  # makes cells up
}
"""Where single claims are named: nothing else is keyed by a claim."""


def named(path: Path) -> bool:
    """Whether a module names a single claim: ``Claim.RUNS``."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Claim"
        and node.attr in Claim.__members__
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_no_other_module_names_a_claim(tmp_path: Path) -> None:
    modules = [
        path
        for folder in ("probes", "reports", "cases")
        for path in (SUITE / folder).rglob("*.py")
        if "tests" not in path.parts and not path.name.startswith("test_")
    ]
    assert len(modules) > 100
    found = {path.relative_to(SUITE).as_posix() for path in modules if named(path)}
    assert found == ALLOWED
    fresh = tmp_path / "fresh.py"
    fresh.write_text("from probes.cell import Claim\nTABLE = {Claim.RUNS: 1}\n")
    assert named(fresh)
