"""The command ``report``: what it writes where, what it refuses, and its exit status."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from probes.cell import Claim
from probes.errors import ExitStatus
from reports import results
from reports.commands import main as cli
from reports.formats.catalogue import FORMATS
from reports.results.journal import Journal
from reports.tests.support.format_samples import runs


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of a run that failed."""
    path = tmp_path_factory.mktemp("record") / "results.json"
    results.write(runs()["failing"], path)
    return path


@pytest.mark.slow
def test_all_formats_by_default(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", str(record), "-o", str(tmp_path / "new")]) == ExitStatus.CONFORMANT
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written == {one.file for one in FORMATS.values()}
    said = capsys.readouterr()
    assert all(name in said.out for name in written)
    assert said.err == ""


@pytest.mark.slow
def test_reports_go_to_the_record_where_no_folder_is_named(record: Path, tmp_path: Path) -> None:
    """The record itself stays as it was."""
    here = tmp_path / "results.json"
    here.write_bytes(record.read_bytes())
    assert cli.run(["report", str(here), "--format=csv,sarif"]) == ExitStatus.CONFORMANT
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "results.csv", "results.sarif"}
    assert here.read_bytes() == record.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_one_format_on_standard_output(
    form: str, record: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.run(["report", str(record), "--format", form, "-o", "-"]) == ExitStatus.CONFORMANT
    said = capfdbinary.readouterr()
    assert said.out.decode() == FORMATS[form].render(results.load(record))
    assert said.err == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("passing", ExitStatus.CONFORMANT),
        ("failing", ExitStatus.NOT_CONFORMANT),
        ("expired", ExitStatus.NOT_CONFORMANT),
        ("unprivileged", ExitStatus.CANNOT_TELL),
        ("interrupted", ExitStatus.INTERRUPTED),
        ("broken", ExitStatus.BROKEN),
        ("empty", ExitStatus.NOTHING_ASSESSED),
    ],
)
def test_status_is_that_of_the_rendering_unless_the_verdict_is_asked_for(
    name: str, status: ExitStatus, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    results.write(runs()[name], path)
    words = ["report", str(path), "--format", "intoto"]
    assert cli.run(words) == ExitStatus.CONFORMANT
    assert cli.run([*words, "--verdict"]) == status


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status"),
    [("passing", ExitStatus.INTERRUPTED), ("failing", ExitStatus.NOT_CONFORMANT)],
)
def test_a_good_record_is_no_answer_where_a_later_run_was_killed(
    name: str, status: ExitStatus, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    results.write(runs()[name], path)
    Journal(tmp_path, runs()["empty"]).close()
    words = ["report", str(path), "--format", "intoto"]
    assert cli.run(words) == ExitStatus.CONFORMANT
    assert cli.run([*words, "--verdict"]) == status


@pytest.mark.slow
def test_journal_of_a_killed_run_is_rendered_as_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was judged until then is shown, and no reader takes it for the whole."""
    run = runs()["passing"]
    controls = [cell for cell in run.cells if cell.key.claim is Claim.CONTROLS]
    some = [cell for cell in run.cells if cell.key.claim is Claim.TERMINATES]
    journal = Journal(tmp_path, replace(run, cells=()))
    journal.plan([cell.key for cell in run.cells], run.selected_of)
    sent = {
        "cells": list(map(results.cell_to_json, some)),
        "controls": list(map(results.cell_to_json, controls)),
        "audit_source": "netlink",
        "audit_reason": "a record arrived",
    }
    journal.note("test[x]", sent, run.finished)
    journal.close()
    words = ["report", str(journal.path), "--format", "markdown", "-o", "-"]
    assert cli.run([*words, "--verdict"]) == ExitStatus.INTERRUPTED
    said = capsys.readouterr().out
    assert "INCOMPLETE" in said
    assert "ended before its time" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "sraif"], "did you mean sarif?"),
        (["--format", "latex"], "known are html, markdown"),
        (["--format", "sarif,,csv"], "'' is no format"),
        (["--format", "csv,\x1b[31m"], "is no format"),
        (["-o", "-"], "standard output takes one format"),
        (["--format", "csv,sarif", "-o", "-"], "standard output takes one format"),
    ],
)
def test_faulty_options_are_refused_in_a_sentence(
    options: list[str], words: str, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", str(record), *options]) == ExitStatus.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.err.rstrip("\n").isprintable()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version": "2.1.0", "runs": []}'])
def test_damaged_or_foreign_record_is_refused_in_a_sentence(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written then."""
    path = tmp_path / "results.json"
    path.write_bytes(content)
    assert cli.run(["report", str(path)]) == ExitStatus.USAGE
    said = capsys.readouterr()
    assert str(path) in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_half_a_record_is_refused(record: Path, tmp_path: Path) -> None:
    text = record.read_text(encoding="utf-8")
    path = tmp_path / "results.json"
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    assert cli.run(["report", str(path)]) == ExitStatus.USAGE


def test_record_that_was_edited_is_refused(record: Path, tmp_path: Path) -> None:
    """No report says PASS because somebody changed a word at the head."""
    document = json.loads(record.read_text(encoding="utf-8"))
    document["summary"]["verdict"] = "PASS"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert cli.run(["report", str(path)]) == ExitStatus.USAGE


@pytest.mark.slow
def test_folder_that_cannot_be_written_is_refused(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert cli.run(["report", str(record), "-o", str(file / "out")]) == ExitStatus.USAGE
    assert "name another folder" in capsys.readouterr().err


def test_missing_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(tmp_path / "results.json")]) == ExitStatus.USAGE
    assert os.strerror(2) in capsys.readouterr().err


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["report", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(one.file in said and one.name in said for one in FORMATS.values())
