"""What a target names and nobody judged: in the exit status and in every report, always."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cases.run.account import Account
from probes import arch
from probes.action import Profile
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.documents.waivers import Granted, Waiver
from probes.errors import ExitStatus
from probes.finding import Finding, Weight, advice, undecided, weighty
from probes.judging import plan
from probes.judging.examiner import Examiner
from probes.run import settings, values
from probes.run.bench import open_zygote
from probes.run.settings import Settings
from probes.targets import StackTarget
from reports import reproduce, results, summary
from reports.formats import catalogue
from reports.reproduce import test_of
from reports.results import Run, summarize
from reports.terminal import closing, gate_lines
from reports.tests.support import job, samples

test_of.__test__ = False  # type: ignore[attr-defined]  # it names tests and is none

TEXT = "thread 12 (worker) of process 11 was not read: run it again while the process is idle"
LIMIT = Finding(TEXT, Weight.LIMITS, about="another thread")
CONTRADICTION = replace(LIMIT, weight=Weight.CONTRADICTS)
TEST = "cases/test_kill.py::test_terminates[x86_64-acct]"


def limited(*findings: Finding) -> Settings:
    """The main job's kill profile, about whose target there is something to be said."""
    resolved = settings.resolve(values.read(samples.POLICY_FILE, profile="kill", arch="x86_64"))
    target = resolved.target
    assert isinstance(target, StackTarget)
    cases = plan.all_judged(resolved.profiles, resolved.native, findings)
    return replace(
        resolved, target=target.with_findings(*findings), cases=(*resolved.cases, *cases)
    )


def record_of(*findings: Finding, waivers: tuple[Waiver, ...] = ()) -> Run:
    """The record of a run in which one other test was selected, which passed."""
    granted = Granted(waivers, "builtin", date(2026, 11, 28))
    made = Account(limited(*findings), granted, datetime.now(UTC), anonymous=True)
    made.select([TEST])
    controls = [
        Cell(
            CellKey(Claim.CONTROLS, plan.NO_PROFILE, "x86_64", "getppid", 110, "ALLOW"),
            Outcome.PASSED,
            None,
            "it does",
            "ALLOW",
            "ALLOW",
        )
    ]
    key = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
    cells = [Cell(key, Outcome.PASSED, None, "acct (163) on x86_64: killed, as expected", "", "")]
    made.judged.take(
        TEST,
        {
            "cells": [results.cell_to_json(one) for one in cells],
            "controls": [results.cell_to_json(one) for one in controls],
            "audit_source": "none",
            "audit_reason": "not asked for",
        },
    )
    return made.record(complete=True)


def test_only_a_finding_with_weight_takes_part() -> None:
    passed = summarize(record_of())
    assert passed.ruling.exit_status is ExitStatus.CONFORMANT
    hinted = record_of(Finding("the rule for fooctl is in vain"))
    assert summarize(hinted).ruling.exit_status is ExitStatus.CONFORMANT
    assert summarize(hinted).planned == passed.planned
    assert hinted.target.findings == ("the rule for fooctl is in vain",)

    limit, contradiction = record_of(LIMIT), record_of(CONTRADICTION)
    assert summarize(limit).ruling.exit_status is ExitStatus.CANNOT_TELL
    assert summarize(contradiction).ruling.exit_status is ExitStatus.NOT_CONFORMANT
    assert summarize(limit).planned == passed.planned + 1
    (cell,) = summary.not_all_judged(limit)
    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.TARGET)
    assert cell.sentence == f"another thread: cannot tell: {TEXT}"


@pytest.mark.slow
@pytest.mark.parametrize("finding", [LIMIT, CONTRADICTION], ids=["limit", "contradiction"])
@pytest.mark.parametrize("name", catalogue.FORMATS)
def test_every_report_has_the_sentence(name: str, finding: Finding) -> None:
    run = record_of(finding)
    text = catalogue.FORMATS[name].render(run)
    if name == "sarif":
        (log,) = json.loads(text)["runs"]
        told = [*log["results"], *log["invocations"][0]["toolExecutionNotifications"]]
        assert any(TEXT in one["message"]["text"] for one in told)
    elif name == "junit":
        assert any(TEXT in "".join(one.itertext()) for one in ET.fromstring(text).iter())  # noqa: S314 - our own
    elif name == "intoto":
        counted = json.loads(text)["predicate"]
        warned = finding.weight is Weight.LIMITS
        assert any(
            "is-all-judged" in one for one in counted["warnedTests" if warned else "failedTests"]
        )
        assert counted["result"] == "FAILED"
    elif name in {"oscal", "hdf"}:
        assert finding.about in text
    else:
        assert TEXT.replace("(", "\\(") in text.replace(")", "\\)") or TEXT in text


@pytest.mark.parametrize("finding", [LIMIT, CONTRADICTION], ids=["limit", "contradiction"])
def test_the_gate_and_the_terminal_have_it(finding: Finding, tmp_path: Path) -> None:
    run = record_of(finding)
    again = reproduce.again(tmp_path, (), "reports")
    assert any(TEXT in line for line in gate_lines.lines(run, [], again, ()))
    terminal = " ".join(line.strip() for line in closing.lines(run, []))
    assert TEXT in terminal


def test_a_record_with_it_can_be_read_again() -> None:
    run = record_of(LIMIT)
    again = results.from_json(json.loads(results.to_json(run)))
    assert results.in_order(again.cells) == results.in_order(run.cells)


@pytest.mark.slow
@pytest.mark.skipif(not job.on_x86_64, reason="other kernels ask filters about every call")
def test_a_call_about_which_kernels_ask_no_filter_cannot_be_told(tmp_path: Path) -> None:
    """Whoever documents it asks for something that no filter can do."""
    call = 'family = "a"\ndescription = "It returns."\nwhy = "A test."\n'
    path = tmp_path / "own.toml"
    path.write_text(
        'format = 1\nname = "own"\ntitle = "Own"\nsource = "A test."\nfamilies = ["a"]\n'
        + "".join(f'[[call]]\nname = "{name}"\n{call}' for name in ("acct", "uretprobe"))
    )
    words = (f"--policy={path}", "--profile=kill", "--arch=x86_64", *job.ALONE)
    ended = job.run(tmp_path / "reports", *words, "-k", "terminates or denies")
    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    told = {cell["syscall"]: cell for cell in ended.cells if cell["claim"] == "terminates"}
    assert told["acct"]["outcome"] == "passed"
    assert told["uretprobe"]["outcome"] == "cannot_tell"
    assert "ask no filter about uretprobe" in told["uretprobe"]["sentence"]


@pytest.mark.slow
def test_it_says_nothing_of_audit_records(tmp_path: Path) -> None:
    """No instrument is needed for it, so none is put up, and there is nothing to say of one."""
    words = ("--profile=errno", f"--target=oci:{tmp_path / 'old.json'}", "--arch=x86_64")
    (tmp_path / "old.json").write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW",'
        ' "syscalls": [{"name": "mount", "action": "SCMP_ACT_ERRNO"}]}'
    )
    ended = job.run(tmp_path / "reports", *words, "-k", "all_judged or (denies and acct)")
    (where,) = ended.results["environments"]
    audit = where["audit"]
    assert audit["source"], "the other test needed one"
    assert "," not in audit["source"], "one answer, of the one instrument"
    assert "put up" not in audit["reason"]


def test_calls_that_it_concerns_cannot_be_told() -> None:
    """What is known about others stays known; no call is made for those."""
    doubt = replace(LIMIT, about="readers", calls=("acct",))
    resolved = limited(doubt)
    with open_zygote(resolved) as zygote:
        trail = AuditTrail(None, "not asked for")
        examiner = Examiner(zygote, resolved.target, resolved.policy, resolved.offered, trail)
        examiner.calibrate(resolved.arches)
        for claim, call, outcome in (
            (Claim.TERMINATES, ("x86_64", "acct"), Outcome.CANNOT_TELL),
            (Claim.IS_PROVED, ("kill", "x86_64", "acct"), Outcome.CANNOT_TELL),
            (Claim.TERMINATES, ("x86_64", "mount"), Outcome.PASSED),
            (Claim.IS_ALL_JUDGED, ("kill", "readers"), Outcome.CANNOT_TELL),
        ):
            (cell,) = examiner.examine([resolved.case(claim, call)])
            assert cell.outcome is outcome, cell
            assert (TEXT in cell.sentence) == (outcome is Outcome.CANNOT_TELL)


def test_it_can_be_looked_at_again() -> None:
    (case,) = plan.all_judged([Profile.KILL], arch.of_this_process()[0], [LIMIT])
    assert test_of(case.cells[0]) == f"test_all_judged.py::{case.function}[{case.id}]"
    assert case.id == "kill-another_thread"


def test_a_finding_says_what_its_weight_needs() -> None:
    assert weighty([LIMIT, *advice(["a hint"])]) == (LIMIT,)
    assert undecided([replace(LIMIT, calls=("acct",))], "acct") == TEXT
    assert undecided([LIMIT], "acct") == ""
    assert Finding.from_plain(LIMIT.to_plain()) == LIMIT
    with expect_refusal("has to say what it is about"):
        Finding(TEXT, Weight.LIMITS)
    for odd in (
        {"weight": Weight.CONTRADICTS, "about": "x", "calls": ("acct",)},
        {"everything": True},
    ):
        with expect_refusal("only a limit can leave calls undecided"):
            Finding(TEXT, **odd)


@contextmanager
def expect_refusal(words: str) -> Iterator[None]:
    """Expects a ValueError that says so."""
    with pytest.raises(ValueError, match=words):
        yield
