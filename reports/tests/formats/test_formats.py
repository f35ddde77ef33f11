"""The formats of others: what their own validators say, what is escaped, and that no gate opens."""

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from probes.action import Action, FilterReturn
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from reports import results
from reports.causes.headline import headlines
from reports.causes.looks import LOOKS
from reports.formats import markdown, sarif
from reports.formats.catalogue import FORMATS
from reports.formats.shared import checks, fingerprint
from reports.html import compliance
from reports.results import Run, Verdict
from reports.tests.support import format_oracles
from reports.tests.support.format_oracles import VALIDATORS
from reports.tests.support.format_samples import NAMES, SHA, runs
from reports.tests.support.strategies import RUNS


@cache
def rendered(form: str, name: str) -> str:
    """A sample in a format."""
    return FORMATS[form].render(runs()[name])


def parsed(form: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """A sample in a format that is JSON."""
    return json.loads(rendered(form, name))


def test_every_sample_has_its_name() -> None:
    assert set(runs()) == set(NAMES)


# What others say


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", VALIDATORS)
def test_validator_has_no_complaint(form: str, name: str) -> None:
    assert VALIDATORS[form](rendered(form, name)) == []


@pytest.mark.slow
def test_code_scanning_takes_every_log(tmp_path: Path) -> None:
    logs = {name: rendered("sarif", name) for name in NAMES}
    assert format_oracles.code_scanning(logs, tmp_path) == {}


@pytest.mark.slow
def test_code_scanning_can_refuse_a_log(tmp_path: Path) -> None:
    text = rendered("sarif", "failing")
    broken = {
        "place": edited(text, lambda document: first(document).pop("locations")),
        "rule": edited(text, lambda document: first(document).update(ruleIndex=99)),
        "file": text.replace("cases/policies", "file:///cases/policies"),
    }
    found = format_oracles.code_scanning(broken | {"whole": text}, tmp_path)
    assert set(found) == set(broken)


def edited(text: str, change: Callable[[Any], object]) -> str:
    """JSON with a change."""
    document = json.loads(text)
    change(document)
    return json.dumps(document)


def first(document: Any) -> Any:  # noqa: ANN401 - JSON
    """The first result of a SARIF log."""
    return document["runs"][0]["results"][0]


MUTANTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "a test case without a name": ("junit", lambda text: text.replace(' name="acct', ' nam="acct')),
    "a count that is wrong": (
        "junit",
        lambda text: text.replace('failures="1"', 'failures="2"', 1),
    ),
    "markup that is not escaped": ("junit", lambda text: text.replace("on x86_64", "<b>", 1)),
    "properties of a test case": (
        "junit",
        lambda text: text.replace("<system-out>", "<properties/><system-out>", 1),
    ),
    "a version that is not": ("sarif", lambda text: text.replace('"2.1.0"', '"2.1"')),
    "an issue of no place": (
        "codequality",
        lambda text: edited(text, lambda document: document[0].pop("location")),
    ),
    "an issue above the root": (
        "codequality",
        lambda text: text.replace('"path": "', '"path": "/', 1),
    ),
    "an issue that is there twice": (
        "codequality",
        lambda text: edited(text, lambda document: document.append(document[0])),
    ),
    "a severity that is none": (
        "codequality",
        lambda text: text.replace('"critical"', '"grave"', 1),
    ),
    "a comma that is not escaped": (
        "github",
        lambda text: text.replace("%3A ", "%3A a, b ", 1),
    ),
    "a colon that is not escaped": ("github", lambda text: text.replace("%3A", ":", 1)),
    "a colon that need not be escaped": ("github", lambda text: text.replace(": ", "%3A ", 1)),
    "a line that is no command": ("github", lambda text: text.replace("::error", "error", 1)),
    "a rule of no name": ("sarif", lambda text: text.replace('"ruleId": "', '"rule": "')),
    "a statement of another type": ("intoto", lambda text: text.replace("Statement/v1", "v1")),
    "a subject without a digest": (
        "intoto",
        lambda text: edited(text, lambda document: document["subject"][0].pop("digest")),
    ),
    "an unknown word of a predicate": (
        "intoto",
        lambda text: text.replace("failedTests", "brokenTests"),
    ),
    "a result that is none": ("intoto", lambda text: text.replace('"FAILED"', '"BROKEN"')),
    "an identifier that is no UUID": (
        "oscal",
        lambda text: text.replace('"uuid": "', '"uuid": "x'),
    ),
    "a time that is none": ("oscal", lambda text: text.replace('"2026-', '"26-', 1)),
    "an unknown key": ("oscal", lambda text: text.replace('"collected"', '"gathered"', 1)),
    "a target of no kind": ("oscal", lambda text: text.replace('"objective-id"', '"objective"')),
    "an observation of nothing": (
        "oscal",
        lambda text: re.sub(r'("observation-uuid": ")........', r"\g<1>00000000", text, count=1),
    ),
    "a control without results": (
        "hdf",
        lambda text: edited(
            text, lambda document: document["profiles"][0]["controls"][1].pop("results")
        ),
    ),
    "an impact that is no number": ("hdf", lambda text: text.replace("0.7,", '"high",', 1)),
    "a quotation mark that is not doubled": ("csv", lambda text: text.replace('"acct"', '"ac"ct"')),
    "a field too many": ("csv", lambda text: text.replace('"acct"', '"acct","acct"', 1)),
    "an image": ("markdown", lambda text: f"{text}\n<img src=x onerror=alert(1)>\n"),
    "an address": ("markdown", lambda text: f"{text}\nhttps://evil.example\n"),
    "a cell too many": ("markdown", lambda text: text.replace("| time |", "| ti|me |\n\n|")),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_validator_can_complain(mutant: str) -> None:
    """Each of these validators sees a fault of its own kind, or its silence would say nothing."""
    form, break_ = MUTANTS[mutant]
    text = rendered(form, "failing")
    broken = break_(text)
    assert broken != text
    assert VALIDATORS[form](broken)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(RUNS)
def test_any_run_is_valid_where_validators_are_quick(run: Run) -> None:
    """Whatever a run holds; the other validators take a second for each."""
    assert format_oracles.markdown(FORMATS["markdown"].render(run)) == []
    assert format_oracles.junit(FORMATS["junit"].render(run)) == []
    assert format_oracles.table(FORMATS["csv"].render(run)) == []
    assert format_oracles.intoto(FORMATS["intoto"].render(run)) == []
    assert format_oracles.oscal(FORMATS["oscal"].render(run)) == []


# What is escaped

ACTING = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("form", FORMATS)
def test_no_text_from_outside_acts(form: str) -> None:
    text = rendered(form, "nasty")
    assert not ACTING.search(text)
    assert "\ud800" not in text
    assert "u202e" in text or form == "html"
    if form not in {"csv", "github"}:  # which know no markup
        assert "<img" not in text
        assert "]]>" not in text
        assert "<script>alert" not in text


@pytest.mark.parametrize("form", [name for name, one in FORMATS.items() if "json" in one.file])
def test_json_is_plain_ascii_without_markup(form: str) -> None:
    text = rendered(form, "nasty")
    assert text.isascii()
    assert not set("<>&") & set(text)


@pytest.mark.slow
@settings(deadline=None)
@given(RUNS)
def test_spreadsheets_find_no_formula(run: Run) -> None:
    """No field begins as a formula does, and an honest one is as it was."""
    for row in list(csv.reader(io.StringIO(FORMATS["csv"].render(run), newline="")))[1:]:
        assert not any(field.lstrip().startswith(tuple("=+-@")) for field in row)


def test_honest_fields_are_as_they_were() -> None:
    rows = list(csv.DictReader(io.StringIO(rendered("csv", "failing"), newline="")))
    cells = results.in_order(runs()["failing"].cells)
    assert [row["sentence"] for row in rows] == [cell.sentence for cell in cells]
    assert [row["outcome"] for row in rows] == [cell.outcome for cell in cells]
    assert [row["number"] for row in rows] == [
        "" if cell.key.number is None else str(cell.key.number) for cell in cells
    ]


# Nothing depends on the moment, the place or chance

PROGRAM = "import sys; from syscall_conformance.__main__ import main; sys.exit(main())"


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(RUNS)
def test_two_renders_are_alike(run: Run) -> None:
    for form in FORMATS.values():
        assert form.render(run) == form.render(replace(run, cells=run.cells[::-1]))


@pytest.mark.slow
def test_another_process_elsewhere_renders_the_same(tmp_path: Path) -> None:
    """Neither the hash seed, the time zone, the locale nor the folder leaves a trace."""
    record = tmp_path / "results.json"
    results.write(runs()["waived"], record)
    for name, seed, zone in (("a", "1", "Asia/Tokyo"), ("b", "2", "America/Lima")):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "report", str(record), "-o", str(tmp_path / name)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            check=True,
            timeout=format_oracles.PATIENCE_SECONDS,
            capture_output=True,
        )
    for form in FORMATS.values():
        first_, second = ((tmp_path / name / form.file).read_bytes() for name in "ab")
        assert first_ == second
        assert first_.decode() == form.render(runs()["waived"])


# No gate opens


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_format_looks_like_success_unless_the_run_passed(name: str) -> None:
    """A machine that reads any of them comes to the verdict of the record."""
    passed = results.summarize(runs()[name]).ruling.verdict is Verdict.PASS
    root = ET.fromstring(rendered("junit", name))  # noqa: S314 - we wrote it
    assert (root.get("failures") == root.get("errors") == "0") == passed
    assert (parsed("intoto", name)["predicate"]["result"] != "FAILED") == passed
    run = parsed("sarif", name)["runs"][0]
    counted = [one for one in run["results"] if "suppressions" not in one]
    assert (run["invocations"][0]["executionSuccessful"] and not counted) == passed
    assert ("✅" in rendered("markdown", name)) == passed
    assert (rendered("github", name) == "") == passed
    grave = [one for one in parsed("codequality", name) if one["severity"] != "info"]
    assert (not grave) == passed


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_heimdall_shows_no_control_as_passed_that_is_not(name: str) -> None:
    run = runs()[name]
    statuses = format_oracles.heimdall(rendered("hdf", name))["statuses"]
    assert len(dict(statuses)) == len(statuses) or name == "nasty"
    verdict = results.summarize(run).ruling.verdict
    assert (
        dict(statuses)["run"]
        == {
            Verdict.PASS: "Passed",
            Verdict.FAIL: "Failed",
            Verdict.INCOMPLETE: "Not Reviewed",
            Verdict.BROKEN: "Profile Error",
        }[verdict]
    )
    if name == "nasty":  # whose names are not told apart any more
        return
    assert {name: status for name, status in statuses if name != "run"} == wanted(run)


def wanted(run: Run) -> dict[str, str]:
    """The status of each control, by its id: what did not decide is never among what passed."""
    apart = {
        Outcome.WAIVED: "Not Reviewed",
        Outcome.CANNOT_TELL: "Not Reviewed",
        Outcome.BROKEN: "Profile Error",
        Outcome.NOT_APPLICABLE: "Not Applicable",
    }
    found = {}
    for check in checks(run):
        outcomes = {cell.outcome for cell in check.cells}
        for cell in check.cells:
            if cell.outcome in apart:
                which = "" if cell.waiver is None else f"/{cell.waiver + 1}"
                name = f"{check.name}/{cell.outcome.replace('_', '-')}{which}"
                found[name] = apart[cell.outcome]
        if outcomes & {Outcome.PASSED, Outcome.FAILED}:
            found[check.name] = "Failed" if Outcome.FAILED in outcomes else "Passed"
    return found


def test_heimdall_shows_no_control_of_nist_that_the_run_is_not_about() -> None:
    """The suite's own filter says nothing about least privilege of any container."""

    def tags(name: str) -> set[str]:
        (profile,) = parsed("hdf", name)["profiles"]
        return {tag for one in profile["controls"] for tag in one["tags"]["nist"]}

    assert {"SI-6", "AU-12"} < tags("passing")
    assert not {"AC-6", "CM-7", "SC-39"} & tags("passing")
    assert {"SI-6", "AU-12", "AC-6", "CM-7", "SC-39"} < tags("deployed")


def test_heimdall_is_told_of_each_waiver() -> None:
    (profile,) = parsed("hdf", "waived")["profiles"]
    told = [one["waiver_data"] for one in profile["controls"] if one["waiver_data"]]
    assert {one["expiration_date"] for one in told} == {"2026-03-31"}
    assert all("TICKET-17" in one["justification"] for one in told)


# What stands in them


def test_junit_has_every_cell_once() -> None:
    run = runs()["failing"]
    root = ET.fromstring(rendered("junit", "failing"))  # noqa: S314 - we wrote it
    counts = results.count_outcomes(run.cells)
    assert len(list(root.iter("testcase"))) == len(run.cells) + 1
    assert len(list(root.iter("failure"))) == counts[Outcome.FAILED] + 1
    assert len(list(root.iter("skipped"))) == counts[Outcome.NOT_APPLICABLE]
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["verdict"] == "FAIL"
    assert properties["policy_sha256"] == run.policy.sha256


def test_sarif_has_failures_only_and_waivers_as_suppressions() -> None:
    failures = [cell for cell in runs()["failing"].cells if cell.outcome is Outcome.FAILED]
    open_ = parsed("sarif", "failing")["runs"][0]["results"]
    accepted = parsed("sarif", "waived")["runs"][0]["results"]
    assert parsed("sarif", "passing")["runs"][0]["results"] == []
    for found in (open_, accepted):
        listed = [cell for one in found for cell in one["properties"]["cells"]]
        assert len(listed) == len(set(listed)) == len(failures)
        assert {one["kind"] for one in found} == {"fail"}
        assert {one["level"] for one in found} == {"error"}
    assert not any("suppressions" in one for one in open_)
    for one in accepted:
        assert one["suppressions"]
        for suppression in one["suppressions"]:
            assert suppression["status"] == "accepted"
            assert "TICKET-17" in suppression["justification"]
            assert suppression["properties"]["approver"] == "security board"


def test_every_environment_is_told() -> None:
    """Of a record of three kernels: which they are, and on which one a call got through."""
    kernels = [environment.kernel for environment in runs()["merged"].environments]
    root = ET.fromstring(rendered("junit", "merged"))  # noqa: S314 - we wrote it
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert [properties[name] for name in ("kernel", "kernel_2", "kernel_3")] == kernels
    found = parsed("sarif", "merged")["runs"][0]["results"]
    assert [one["properties"]["kernels"] for one in found] == [[kernels[2]]] * len(found)
    cases = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert all("environment 3" in str(case.get("name")) for case in cases[1:])
    rows = list(csv.DictReader(io.StringIO(rendered("csv", "merged"), newline="")))
    assert {row["environment"] for row in rows} == {"1", "2", "3"}
    assert all(f"| kernel {rank} |" in rendered("markdown", "merged") for rank in (1, 2, 3))


def test_expired_waiver_is_a_result() -> None:
    (one,) = parsed("sarif", "expired")["runs"][0]["results"]
    assert one["ruleId"] == "waiver"
    assert "expired" in one["message"]["text"]


def test_fingerprints_are_the_same_in_every_run() -> None:
    """Another moment, another sentence, and other cells around: the same alert."""
    run = runs()["failing"]
    later = replace(
        run,
        started=run.started + timedelta(days=1),
        finished=run.finished + timedelta(days=1),
        cells=tuple(
            replace(cell, sentence="other words") for cell in run.cells if cell.key.profile != "log"
        ),
    )
    before, after = (
        [one["partialFingerprints"] for one in json.loads(sarif.render(each))["runs"][0]["results"]]
        for each in (run, later)
    )
    assert before == after
    assert len({one["primaryLocationLineHash"] for one in before}) == len(before)
    assert len({fingerprint(cell) for cell in run.cells}) == len(run.cells)


def test_sarif_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "MOST_RESULTS", 2)
    (run,) = json.loads(sarif.render(runs()["failing"]))["runs"]
    assert len(run["results"]) == 2
    *_, note = run["invocations"][0]["toolExecutionNotifications"]
    assert "more results are left out" in note["message"]["text"]


def test_statement_is_about_the_image() -> None:
    document = parsed("intoto", "deployed")
    assert document["subject"] == [{"name": "example/app:1", "digest": {"sha256": SHA[7:]}}]
    assert document["predicate"]["url"] == "https://ci.example/1"
    assert document["predicate"]["result"] == "PASSED"
    digests = {one["digest"]["sha256"] for one in document["predicate"]["configuration"]}
    assert {runs()["deployed"].policy.sha256, SHA[7:]} < digests


def test_statement_is_about_the_programs_where_there_is_no_image() -> None:
    run = replace(runs()["deployed"], target=replace(runs()["deployed"].target, image=None))
    subjects = json.loads(FORMATS["intoto"].render(run))["subject"]
    assert [one["name"] for one in subjects] == [
        "filter 1 of profile errno",
        "filter 2 of profile errno",
    ]


def test_statement_is_about_the_record_where_nothing_has_a_digest(tmp_path: Path) -> None:
    results.write(runs()["passing"], tmp_path / "results.json")
    (subject,) = parsed("intoto", "passing")["subject"]
    assert subject["name"] == "results.json"
    shown = subprocess.run(
        ["sha256sum", str(tmp_path / "results.json")], capture_output=True, text=True, check=True
    )
    assert subject["digest"] == {"sha256": shown.stdout.split()[0]}


def test_statement_about_a_part_or_with_waivers_warns() -> None:
    part = replace(runs()["passing"], selected_of=runs()["passing"].planned + 1)
    assert json.loads(FORMATS["intoto"].render(part))["predicate"]["result"] == "WARNED"
    assert parsed("intoto", "waived")["predicate"]["result"] == "WARNED"
    assert parsed("intoto", "waived")["predicate"]["warnedTests"]


def test_oscal_has_findings_for_assessed_controls_only() -> None:
    def findings(name: str) -> dict[str, str]:
        (result,) = parsed("oscal", name)["assessment-results"]["results"]
        return {
            one["target"]["target-id"]: one["target"]["status"]["state"]
            for one in result.get("findings", ())
        }

    assert set(findings("deployed").values()) == {"satisfied"}
    assert "cis-docker-5.21" in findings("deployed")
    assert "cis-docker-5.21" not in findings("passing")
    assert findings("failing")["si-6"] == "not-satisfied"
    assert findings("empty") == findings("broken") == findings("interrupted") == {}


@pytest.mark.slow
def test_summary_fits_into_a_step_summary() -> None:
    """However much failed, the head stays, and the reader hears what is left out."""
    whole = runs()["passing"]
    failed = [
        Cell(
            CellKey(Claim.TERMINATES, "kill", f"arch{rank}", "\u202e" * 90, rank),
            Outcome.FAILED,
            Cause.FILTER,
            "\u202e" * 2000,
            "e",
            "o",
            # A cause of its own for each.
            returned=FilterReturn(Action.ERRNO, rank),
        )
        for rank in range(2500)
    ]
    text = markdown.render(replace(whole, cells=tuple(failed)))
    assert len(text.encode()) < markdown.MOST_BYTES
    assert "lines are left out" in text
    assert text.startswith("## ")
    assert "results.json" in text.splitlines()[-1]
    assert "left out" not in rendered("markdown", "failing")


@pytest.mark.parametrize("name", ["passing", "failing", "unprivileged", "broken", "waived"])
def test_every_report_begins_with_the_first_lines(name: str) -> None:
    """The same words in each: what they say, `reports/tests/causes` holds."""
    run = runs()[name]
    told = headlines(run)
    page, text = compliance.render(run), rendered("markdown", name)
    junit = ET.fromstring(rendered("junit", name))  # noqa: S314 - our own
    (property_,) = junit.iterfind(".//property[@name='headline']")
    assert property_.get("value") == " / ".join(one.line for one in told)
    verdict = junit.find(".//testcase[@name='verdict']/*")
    for one in told:
        assert html.escape(one.line, quote=False) in page.partition('<nav class="contents"')[0]
        assert f"{LOOKS[one.kind].sign} {markdown.escaped(one.line, most=2000)}" in text
        assert verdict is None or one.line in verdict.get("message", "")
    assert (verdict is None) == (results.summarize(run).ruling.verdict is Verdict.PASS)
    assert text.index(told[0].line[:20]) < text.index("| planned |")


def test_the_summary_tells_each_cause_once() -> None:
    """With its calls and ABIs in one line, and what mends it; what is accepted stands apart."""
    text = rendered("markdown", "failing")
    (row,) = [line for line in text.splitlines() if line.startswith("| ✗ gets through | kill |")]
    assert "2 calls: acct, bpf (x86_64, x32)" in row
    assert "Take them out of the rules that allow them" in row
    assert "### Waived" not in text
    assert "### Waived: " in rendered("markdown", "waived")
