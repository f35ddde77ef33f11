"""The page of a fleet: well-formed, the same every time, and with machine and call by name."""

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import ExitStatus
from reports import results
from reports.commands import main as cli
from reports.pages import fleet_page
from reports.results import Run, fleet, journal
from reports.summary import OUTCOME_WORDS
from reports.tests.results.test_fleet import CONTROL, gathered, node
from reports.tests.support.pages import Checker, check
from reports.tests.support.strategies import RUNS

HOSTILE = '<script>alert(1)</script> & "\x1b[31m'


def denied(call: str, number: int, outcome: Outcome) -> Cell:
    """A cell about a denied call."""
    key = CellKey(Claim.DENIES, "errno", "x86_64", call, number)
    return Cell(key, outcome, None, f"{call}: it came to {outcome}", "e", "o")


def machine(name: str, mount: Outcome) -> Run:
    """The record of a machine with two calls, of which the one that mounts may be open."""
    return node(name, denied("acct", 163, Outcome.PASSED), denied("mount", 165, mount))


def section(page: str, name: str) -> str:
    """The text of a section of a page."""
    begin = page.index(f'id="{name}"')
    checker = Checker(page[begin : page.index("</section>", begin)])
    return checker.text


def test_machine_and_call_are_named() -> None:
    """Of three machines one has lost a rule."""
    outcomes = {"a": Outcome.PASSED, "b": Outcome.FAILED, "c": Outcome.PASSED}
    page = fleet_page.render(gathered([machine(*one) for one in outcomes.items()]))
    check(page)
    assert section(page, "verdict-title").startswith('id="verdict-title">✗FAIL')
    differing = section(page, "differing")
    assert "mount (x86_64)" in differing
    assert "mount: it came to failed" in differing
    assert "acct" not in differing
    assert [name for name in "abc" if f"<h3>{name}</h3>" in page] == ["b"]
    assert "mount (x86_64)1 of 3" in section(page, "failed")


def test_what_fails_on_every_machine_is_named_too() -> None:
    """Though none differs from the others."""
    page = fleet_page.render(gathered([machine(name, Outcome.FAILED) for name in "ab"]))
    assert "No machine differs" in section(page, "differing")
    assert "mount (x86_64)2 of 2" in section(page, "failed")
    assert "FAIL" in section(page, "verdict")


def test_machine_that_is_not_there_leaves_no_pass() -> None:
    """It is named, and the verdict is none."""
    made = gathered([machine("a", Outcome.PASSED)])
    assert "PASS" in section(fleet_page.render(made), "verdict").partition("Exit")[0]
    page = fleet_page.render(made, ["b", HOSTILE])
    check(page)
    told = section(page, "verdict")
    assert "INCOMPLETE" in told.partition("Exit")[0]
    assert "There is no record of 2 more: b, " in told
    assert "Exit status 2" in told
    assert "<script" not in page


@pytest.mark.slow
@given(st.lists(RUNS, max_size=3))
def test_every_fleet_has_a_page(runs: list[Run]) -> None:
    """Well-formed whatever the records say, and the same in any order of the files."""
    page = fleet_page.render(gathered(runs))
    check(page)
    assert fleet_page.render(gathered(runs[::-1])) == page


def written(folder: Path, *runs: Run) -> list[str]:
    """The records of machines as files, each in a folder of its own."""
    files = []
    for run in runs:
        path = folder / str(run.environment.host) / "results.json"
        results.write(run, path)
        files.append(str(path))
    return files


LACKS_C = "note: no record of 1 of 3 machines: c\n"


@pytest.mark.parametrize(
    ("expected", "mount", "status", "note"),
    [
        ("a,b", Outcome.PASSED, ExitStatus.CONFORMANT, ""),
        ("a", Outcome.PASSED, ExitStatus.CONFORMANT, ""),
        ("a,b,c,c", Outcome.PASSED, ExitStatus.INTERRUPTED, LACKS_C),
        ("a,b,c", Outcome.FAILED, ExitStatus.NOT_CONFORMANT, LACKS_C),
    ],
)
def test_machines_that_are_expected(
    expected: str, mount: Outcome, status: ExitStatus, note: str, tmp_path: Path
) -> None:
    """A machine that left no record is none that holds."""
    files = written(tmp_path, machine("a", Outcome.PASSED), machine("b", mount))
    for form in ((), ("--record",)):
        out = str(tmp_path / "out.json")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            assert cli.run(["merge", *files, "-o", out, *form, f"--expect={expected}"]) == status
        assert said.getvalue() == note


@pytest.mark.parametrize("names", ["", "a,,b", "a,"])
def test_empty_list_of_machines_is_refused(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the program that makes the list fails."""
    files = written(tmp_path, machine("a", Outcome.PASSED))
    out = tmp_path / "out.json"
    assert cli.run(["merge", *files, "-o", str(out), "--expect", names]) == ExitStatus.USAGE
    assert "a name is empty: give the machines' names with commas" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("place", [0, 1])
def test_page_in_place_of_a_record_is_refused(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = written(tmp_path, machine("a", Outcome.PASSED))
    out = tmp_path / "out.json"
    page = [str(out), *files][place]
    before = Path(files[0]).read_text()
    assert cli.run(["merge", *files, "-o", str(out), f"--html={page}"]) == ExitStatus.USAGE
    assert "a record stands there: name another file" in capsys.readouterr().err
    assert not out.exists()
    assert Path(files[0]).read_text() == before


def test_record_of_an_earlier_run_is_no_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The later one was killed, and its journal lies beside the record."""
    runs = (machine("a", Outcome.PASSED), machine("b", Outcome.PASSED))
    first, second = written(tmp_path, *runs)
    Path(second).with_name(journal.NAME).write_text("")
    out = str(tmp_path / "out.json")
    assert cli.run(["merge", first, second, "-o", out]) == ExitStatus.INTERRUPTED
    assert f"note: {second} is of an earlier run: " in capsys.readouterr().err
    copy = Path(second).rename(Path(second).with_name("b.json"))  # a record of another folder
    assert cli.run(["merge", first, str(copy), "-o", out]) == ExitStatus.CONFORMANT
    assert capsys.readouterr().err == ""


def test_page_is_written_beside_the_file(tmp_path: Path) -> None:
    """With what the file says."""
    run = replace(machine("a", Outcome.PASSED), cells=(CONTROL,))
    files = written(tmp_path, run, machine("b", Outcome.FAILED))
    out, page = tmp_path / "fleet.json", tmp_path / "pages/fleet.html"
    assert cli.run(["merge", *files, "-o", str(out), f"--html={page}", "--expect=a,b,c"]) == 1
    assert page.read_text() == fleet_page.render(
        gathered([results.load(Path(one)) for one in files]), ["c"]
    )


def map_of(page: str) -> dict[tuple[str, str], str]:
    """What the table of machines and calls says: a word for each machine and call."""
    found = {}
    for table in re.findall(r'<table class="matrix machines">(.*?)</table>', page):
        head, _, body = table.partition("</thead>")
        columns = [Checker(one).text.split(", ") for one in re.findall(r"<th[^>]*>.*?</th>", head)]
        for row in re.findall(r"<tr>(.*?)</tr>", body):
            calls = re.findall("<code>(.*?)</code>", row)
            words = re.findall(r"<td[^>]*>.*?<span class=.hidden.>(.*?)</span>", row)
            for names, word in zip(columns[1:], words, strict=True):
                found.update({(name, call): word for name in names for call in calls})
    return found


def test_map_says_what_each_call_came_to_on_each_machine() -> None:
    """The gravest of its cells; a call that passed everywhere is only counted."""
    outcomes = {
        "a": (Outcome.PASSED, Outcome.PASSED),
        "b": (Outcome.FAILED, Outcome.PASSED),
        "c": (Outcome.PASSED, Outcome.CANNOT_TELL),
        "d": (Outcome.CANNOT_TELL, Outcome.FAILED),
    }
    runs = []
    for name, (mount, bpf) in outcomes.items():
        twice = replace(denied("mount", 21, Outcome.PASSED).key, arch="i386")
        passed = replace(denied("mount", 21, Outcome.PASSED), key=twice)
        cells = [denied("acct", 163, Outcome.PASSED), denied("mount", 165, mount), passed]
        runs.append(node(name, *cells, denied("bpf", 321, bpf)))
    page = fleet_page.render(gathered(runs))
    check(page)
    assert map_of(page) == {
        (name, call): OUTCOME_WORDS[outcome]
        for name, pair in outcomes.items()
        for call, outcome in zip(("mount", "bpf"), pair, strict=True)
    }
    assert "1 of 3 documented calls passed on every machine." in section(page, "map")


def test_machines_of_two_kinds_and_without_a_majority() -> None:
    """A table for each kind, and nobody is said to differ where one stands against one."""
    one, two = machine("a", Outcome.PASSED), machine("b", Outcome.FAILED)
    other = replace(machine("c", Outcome.FAILED), target=replace(one.target, kind="docker"))
    page = fleet_page.render(gathered([one, two, other]))
    check(page)
    assert "No machine differs" in section(page, "differing")
    assert "failed b" in section(page, "divided")
    assert "passed a" in section(page, "divided")
    assert "builtin: 2 machines" in section(page, "map")
    assert "docker: 1 machine" in section(page, "map")
    assert "For 1 cell there is no majority." in section(page, "verdict")


def test_form_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OUT is in the form that was asked for, the other forms stand beside it."""
    files = written(tmp_path, machine("a", Outcome.PASSED), machine("b", Outcome.PASSED))
    page, beside = tmp_path / "fleet.html", tmp_path / "fleet.json"
    words = ["merge", *files, "-o", str(page), "--format=html", f"--json={beside}"]
    assert cli.run(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("2 nodes, ")
    made = gathered([results.load(Path(one)) for one in files])
    assert page.read_text() == fleet_page.render(made)
    assert beside.read_text() == fleet.to_json(made)
    assert cli.run(["merge", *files, "-o", "-"]) == 0
    assert capsys.readouterr().out == beside.read_text()
    assert cli.run(["merge", *files, "-o", "-", "--format=text"]) == 0
    assert capsys.readouterr().out == text
    assert cli.run(["merge", *files, "-o", "x", "--record", "--html=y"]) == ExitStatus.USAGE
    assert "--html: not with --record" in capsys.readouterr().err
