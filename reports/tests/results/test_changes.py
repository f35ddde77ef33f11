"""What differs between two records, and the command that says it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import ExitStatus
from reports import results
from reports.commands import main as cli
from reports.results import ChangeKind, Run
from reports.results.changes import kind_of
from reports.summary import OUTCOME_WORDS
from reports.tests.support import samples
from reports.tests.support.strategies import CELL_LISTS

KEY = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
CONTROL = Cell(
    CellKey(Claim.CONTROLS, "none", "x86_64", "getppid", 110, "LOG"),
    Outcome.PASSED,
    None,
    "s",
    "e",
    "o",
)


def cell(outcome: Outcome, key: CellKey = KEY) -> Cell:
    """A cell of which only the key and the outcome matter."""
    return Cell(key, outcome, None, f"it came to {outcome}", "e", "o")


def one(outcome: Outcome, key: CellKey = KEY) -> Run:
    """A calibrated run of one cell."""
    return samples.run([CONTROL, cell(outcome, key)])


def compare(
    old: Run, new: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The status and the output of the command."""
    results.write(old, folder / "old.json")
    results.write(new, folder / "new.json")
    status = cli.run(["compare", str(folder / "old.json"), str(folder / "new.json")])
    return status, capsys.readouterr().out


GOOD = {Outcome.PASSED, Outcome.NOT_APPLICABLE}
OPEN = {Outcome.CANNOT_TELL, Outcome.BROKEN}
FORGIVEN = {Outcome.WAIVED, Outcome.ACCEPTED}


@pytest.mark.parametrize("before", Outcome)
@pytest.mark.parametrize("after", Outcome)
def test_every_pair_of_outcomes(before: Outcome, after: Outcome) -> None:
    """Written out once more, by what a gate makes of each."""
    kind = kind_of(before, after)
    if before is after:
        assert kind is None
    elif (
        after is Outcome.FAILED
        or (after in OPEN and before in {*GOOD, *FORGIVEN})
        or (after in FORGIVEN and before in GOOD)
    ):
        assert kind is ChangeKind.WORSE
    elif after in GOOD and before not in GOOD:
        assert kind is ChangeKind.BETTER
    else:
        assert kind is ChangeKind.OTHER


@given(CELL_LISTS)
def test_nothing_differs_from_itself(cells: tuple[Cell, ...]) -> None:
    """Whatever the cells are."""
    run = samples.run(replace(one, waiver=None) for one in cells)
    assert results.changes(run, run) == ()


@given(CELL_LISTS, CELL_LISTS)
def test_the_other_way_round(first: tuple[Cell, ...], second: tuple[Cell, ...]) -> None:
    """What appeared there vanished here; each change is found both ways."""
    old, new = samples.run(first), samples.run(second)
    there = {results.identity(c.key): (c.before, c.after) for c in results.changes(old, new)}
    back = {results.identity(c.key): (c.after, c.before) for c in results.changes(new, old)}
    assert there == back


@given(CELL_LISTS, st.randoms())
def test_order_of_cells_leaves_no_trace(cells: tuple[Cell, ...], random: object) -> None:
    """Two records of the same cells are the same."""
    shuffled = list(cells)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert results.changes(samples.run(cells), samples.run(shuffled)) == ()


def test_a_call_that_gets_its_number_is_the_same_cell() -> None:
    """A newer table may know it; numbers that no table knows are cells of their own."""
    old = one(Outcome.NOT_APPLICABLE, replace(KEY, number=None))
    (change,) = results.changes(old, one(Outcome.FAILED))
    assert (change.kind, change.key) == (ChangeKind.WORSE, KEY)
    unknown = replace(KEY, syscall="unknown", claim=Claim.DEFAULT_ACTION)
    found = results.changes(
        one(Outcome.PASSED, unknown), one(Outcome.PASSED, replace(unknown, number=600))
    )
    assert {change.kind for change in found} == {ChangeKind.APPEARED, ChangeKind.VANISHED}


def test_like_environments_are_compared_where_there_are_several() -> None:
    """A new failure on one kernel does not hide behind an old one on another."""
    single = one(Outcome.PASSED)
    here = single.environment
    there = replace(here, kernel="5.10")
    cells = [CONTROL, cell(Outcome.FAILED), replace(cell(Outcome.PASSED), environment=1)]
    old = replace(single, environments=(here, there), cells=tuple(cells))
    new = replace(old, cells=(*cells[:2], replace(cells[2], outcome=Outcome.FAILED)))
    (change,) = results.changes(old, new)
    assert change.kind is ChangeKind.WORSE
    swapped = replace(
        old,
        environments=(there, here),
        cells=(
            replace(CONTROL, environment=1),
            *(replace(cell, environment=1 - cell.environment) for cell in cells[1:]),
        ),
    )
    assert results.changes(old, swapped) == ()


# The command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (Outcome.PASSED, Outcome.PASSED, ExitStatus.CONFORMANT),
        (Outcome.FAILED, Outcome.PASSED, ExitStatus.CONFORMANT),
        (Outcome.FAILED, Outcome.FAILED, ExitStatus.CONFORMANT),
        (Outcome.FAILED, Outcome.WAIVED, ExitStatus.CONFORMANT),
        (Outcome.PASSED, Outcome.FAILED, ExitStatus.NOT_CONFORMANT),
        (Outcome.PASSED, Outcome.WAIVED, ExitStatus.NOT_CONFORMANT),
        (Outcome.PASSED, Outcome.CANNOT_TELL, ExitStatus.NOT_CONFORMANT),
    ],
)
def test_status_says_whether_anything_is_worse(
    before: Outcome,
    after: Outcome,
    status: ExitStatus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not whether anything is bad."""
    assert compare(one(before), one(after), tmp_path, capsys)[0] == status


@pytest.mark.slow
def test_worse_comes_first_with_its_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a reader came for."""
    status, said = compare(samples.passing(), samples.failing(), tmp_path, capsys)
    assert status == ExitStatus.NOT_CONFORMANT
    lines = said.splitlines()
    assert lines[0].startswith("old: 2026-01-31T12:00:00Z PASS: ")
    assert lines[1].startswith("new: 2026-01-31T12:00:00Z FAIL: ")
    assert lines[2].startswith("15 worse, 0 better")
    assert lines[3:5] == [
        "worse: 4 cells passed -> failed on x32, x86_64: acct, bpf",
        "    denies (errno)",
    ]
    assert lines[5].startswith("    expected ERRNO(EPERM), but the call reached the kernel")


def test_failure_that_appeared_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell that was not there before has no good past."""
    old = samples.run([CONTROL])
    assert compare(old, one(Outcome.FAILED), tmp_path, capsys)[0] == ExitStatus.NOT_CONFORMANT
    assert compare(old, one(Outcome.PASSED), tmp_path, capsys)[0] == ExitStatus.CONFORMANT


@pytest.mark.parametrize("outcome", [Outcome.CANNOT_TELL, Outcome.FAILED, Outcome.WAIVED])
def test_part_that_is_no_longer_judged_is_worse(
    outcome: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cell is there only since then; before, all was judged."""
    old = one(Outcome.PASSED)
    part = cell(outcome, CellKey(Claim.IS_ALL_JUDGED, "kill", "any", "readers", None))
    new = replace(old, cells=(*old.cells, part), planned=old.planned + 1)
    status, said = compare(old, new, tmp_path, capsys)
    assert status == ExitStatus.NOT_CONFORMANT
    assert f"1 cell not there -> {OUTCOME_WORDS[outcome]} on any: readers" in said
    assert "is all judged (kill)" in said
    assert compare(new, new, tmp_path, capsys)[0] == ExitStatus.CONFORMANT
    assert compare(one(Outcome.CANNOT_TELL), old, tmp_path, capsys)[0] == ExitStatus.CONFORMANT


def test_less_is_not_good_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record without the cells that failed before is no green gate, nor is half a record."""
    less = samples.run([CONTROL])
    assert compare(one(Outcome.PASSED), less, tmp_path, capsys)[0] == ExitStatus.CANNOT_TELL
    gone = one(Outcome.NOT_APPLICABLE)
    assert compare(gone, less, tmp_path, capsys)[0] == ExitStatus.CONFORMANT
    half = replace(one(Outcome.PASSED), complete=False)
    assert compare(one(Outcome.PASSED), half, tmp_path, capsys)[0] == ExitStatus.CANNOT_TELL


def test_unlike_records_get_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may be of two things, and one may be of an earlier run."""
    old = one(Outcome.PASSED)
    new = replace(old, target=replace(old.target, description="<b>other</b>\x1b[31m"))
    results.write(old, tmp_path / "old.json")
    results.write(new, tmp_path / "new.json")
    (tmp_path / "results.partial.jsonl").touch()
    cli.run(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")])
    notes = capsys.readouterr().err.splitlines()
    assert sum("is of an earlier run" in note for note in notes) == 2
    (note,) = [note for note in notes if "targets differ" in note]
    assert note.isprintable()


@pytest.mark.parametrize("name", ["old.json", "new.json"])
def test_damaged_record_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the file that it is."""
    for one_name in ("old.json", "new.json"):
        results.write(samples.empty(), tmp_path / one_name)
    (tmp_path / name).write_text(json.dumps({"schema": "other"}))
    status = cli.run(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")])
    assert status == ExitStatus.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"compare: {tmp_path / name}: not a results.json" in said
