"""The main job with waivers, with a baseline, without names, and killed."""

import hashlib
import os
from pathlib import Path

import pytest

from cases.tests.test_main_job import EMPTY_FILTER, check_complete
from probes.cell import Outcome
from probes.errors import ExitStatus
from reports import results
from reports.commands import main as cli
from reports.tests.support import job, samples
from reports.tests.support.job import ALONE, SMALL, module

WAIVERS = """
format = 1
[[waiver]]
call = "acct"
arch = "x86_64"
target = "builtin"
reason = "the <img src=x onerror=alert(1)> agent"
owner = "storage team"
approver = "security board"
created = 2026-01-31
expires = {expires}
"""


def waivers_file(folder: Path, expires: str, more: str = "", call: str = "acct") -> str:
    """The option that names a file of one waiver, and more."""
    path = folder / "waivers.toml"
    text = WAIVERS.replace("acct", call).format(expires=expires) + more
    path.write_text(text, encoding="utf-8")
    return f"--waivers={path}"


@pytest.mark.slow
def test_waived_failure_is_no_failure(tmp_path: Path) -> None:
    """Nor is it a pass: the record, the page and the terminal say what it is."""
    plugin = module(tmp_path, EMPTY_FILTER)
    options = (*ALONE, *SMALL, "-k", "x86_64-acct or leaves", waivers_file(tmp_path, "2999-12-31"))
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    check_complete(ended)
    waived = [cell for cell in ended.cells if cell["outcome"] == "waived"]
    assert {cell["syscall"] for cell in waived} == {"acct"}
    assert {cell["waiver"] for cell in waived} == {0}
    assert all("waived until 2999-12-31 by security board" in c["sentence"] for c in waived)
    (waiver,) = ended.results["waivers"]
    assert (waiver["state"], waiver["waived"]) == ("active", len(waived))
    assert any(line.startswith("waivers: 1 active") for line in ended.closing)
    assert "<img src=x" not in ended.text("compliance.html")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expires", "more", "words"),
    [
        ("2026-01-31", "", "expired on 2026-01-31"),
        ("2999-12-31", "", "did not fail: remove it"),
        (
            "2999-12-31",
            WAIVERS.replace("acct", "acctt").replace("format = 1", ""),
            "did you mean 'acct'?",
        ),
    ],
    ids=["expired", "unused", "unknown"],
)
def test_faulty_waiver_fails_the_run(expires: str, more: str, words: str, tmp_path: Path) -> None:
    """Although every cell passed."""
    option = waivers_file(tmp_path, expires, more.format(expires=expires), call="bpf")
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, "-k", "bpf", option)
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert ended.outcomes().get("failed") is None
    assert any(words in judged["sentence"] for judged in ended.results["waivers"])
    assert "at fault" in ended.summary["sentence"]
    check_complete(ended)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["waivers", "baseline"])
@pytest.mark.parametrize("content", [None, "{"], ids=["missing", "damaged"])
def test_bad_file_gets_one_sentence(option: str, content: str | None, tmp_path: Path) -> None:
    """Exit status 4, and nothing is judged; an earlier record stays."""
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "results.json").write_text("old", encoding="utf-8")
    ended = job.run(folder, *ALONE, *SMALL, f"--{option}={path}")
    assert ended.status == ExitStatus.USAGE
    (error,) = ended.errors
    assert error.startswith(f"ERROR: --{option}: {path}: ")
    assert ended.text("results.json") == "old"


@pytest.mark.slow
def test_baseline_may_be_the_record_that_is_replaced(tmp_path: Path) -> None:
    """What was judged then and is left out now has not vanished; what got worse is named."""
    folder = tmp_path / "reports"
    first = job.run(folder, *ALONE, *SMALL, "-k", "acct or bpf or controls")
    before = first.results
    assert before["baseline"] is None
    digest = hashlib.sha256((folder / "results.json").read_bytes()).hexdigest()
    options = (*ALONE, *SMALL, "-k", "x86_64-acct", f"--baseline={folder}/results.json")
    ended = job.run(folder, *options, plugin=module(tmp_path, EMPTY_FILTER))
    baseline = ended.results["baseline"]
    assert (baseline["sha256"], baseline["started"]) == (digest, before["started"])
    worse = [change for change in baseline["changes"] if change["kind"] == "worse"]
    failed = [cell for cell in ended.cells if cell["outcome"] == "failed"]
    assert len(worse) == len(failed) > 0
    # An empty filter names no ABI, so there is nothing to prove of it.
    rest = [change for change in baseline["changes"] if change not in worse]
    assert {(change["kind"], change["claim"]) for change in rest} <= {("vanished", "is proved")}
    (line,) = [line for line in ended.closing if line.startswith(f"since {before['started']}: ")]
    assert f"{len(worse)} worse" in line
    check_complete(ended)


@pytest.mark.slow
def test_names_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    """Of the user, of the host and of the account of a build system."""
    options = (*ALONE, *SMALL, "-k", "x86_64-acct")
    named = job.run(tmp_path / "named", *options)
    assert named.results["run_by"]["uid"] == os.getuid()
    assert named.results["environments"][0]["host"] == os.uname().nodename
    anonymous = job.run(tmp_path / "anonymous", *options, "--anonymous")
    assert set(anonymous.results["run_by"].values()) == {None}
    assert anonymous.results["environments"][0]["host"] is None
    check_complete(anonymous)
    called = job.run(tmp_path / "called", *options, "--anonymous", "--node-name", "rack-1:node.07")
    assert set(called.results["run_by"].values()) == {None}
    assert called.results["environments"][0]["host"] == "rack-1:node.07"
    assert "rack-1:node.07" in called.text("compliance.html")
    check_complete(called)


# A run that is killed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [ALONE, ("-n", "2")], ids=["alone", "workers"])
def test_killed_run_leaves_what_it_judged(workers: tuple[str, ...], tmp_path: Path) -> None:
    """The old record is whole, the journal says the rest, and no process stays behind."""
    folder = tmp_path / "reports"
    folder.mkdir()
    old = folder / "results.json"
    results.write(samples.empty(), old)
    before = old.read_bytes()
    # The whole job: a part of it could be over before it is killed, on a busy machine.
    left = job.kill(folder, *workers, after=20)
    assert left == []
    assert old.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [
        "results.json",
        "results.partial.jsonl",
    ]
    run = results.load(folder / "results.partial.jsonl")
    assert not run.complete
    assert 20 <= len(run.cells) < run.planned
    assert results.summarize(run).ruling.verdict is results.Verdict.INCOMPLETE
    assert {cell.outcome for cell in run.cells} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    journal = str(folder / "results.partial.jsonl")
    assert cli.run(["report", journal, "--format", "html,markdown", "--verdict"]) == 2
    for path in (folder / "compliance.html", folder / "summary.md"):
        assert "INCOMPLETE" in path.read_text(encoding="utf-8")
    again = job.run(folder, *ALONE, *SMALL, "-k", "x86_64-acct")
    check_complete(again)
    assert not (folder / "results.partial.jsonl").exists()
