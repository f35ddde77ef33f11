"""The journal: what is left of a run that is killed."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents.waivers import WaiverState
from probes.errors import BadInputError
from reports import results
from reports.results import AuditSource, Run
from reports.results.journal import NAME, Journal, JudgedCells, is_journal
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS


def sent(cells: Iterable[Cell], controls: Iterable[Cell] = ()) -> dict[str, Any]:
    """What a test sends that judged these cells."""
    return {
        "cells": [results.cell_to_json(cell) for cell in cells],
        "controls": [results.cell_to_json(cell) for cell in controls],
        "audit_source": "netlink",
        "audit_reason": "a record arrived",
    }


def write(folder: Path, run: Run) -> Path:
    """The journal of a run, of a test a cell, but for the controls, which came with the first."""
    journal = Journal(folder, replace(run, cells=()))
    controls = [cell for cell in run.cells if cell.key.claim is Claim.CONTROLS]
    others = [cell for cell in run.cells if cell.key.claim is not Claim.CONTROLS]
    journal.plan([cell.key for cell in run.cells], run.selected_of)
    for number, cell in enumerate(others):
        news = controls if number == 0 else ()
        journal.note(f"test[{number}]", sent([cell], news), run.finished)
    if not others:
        journal.note("test_controls", sent(controls), run.finished)
    journal.close()
    return folder / NAME


def expected(run: Run) -> Run:
    """What is read from the journal of a run."""
    source = AuditSource("netlink", "a record arrived")
    waived = [sum(c.waiver == index for c in run.cells) for index in range(len(run.waivers))]
    return replace(
        run,
        environments=(replace(run.environments[0], audit=source),),
        planned=len(run.cells),
        complete=False,
        cells=results.in_order(run.cells),
        gaps=(),
        unreviewed=(),
        baseline=None,
        waivers=tuple(
            replace(
                judged,
                waived=count,
                state=WaiverState.ACTIVE if count else WaiverState.OUT_OF_SCOPE,
            )
            for judged, count in zip(run.waivers, waived, strict=True)
        ),
    )


def single(run: Run) -> bool:
    """Whether it is a run of one machine, as every run is that has a journal."""
    return len(run.environments) == 1


@pytest.mark.slow
@given(run=RUNS.filter(single))
def test_what_is_noted_is_read(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever texts, outcomes and numbers there are."""
    run = replace(run, cells=one_call_each(run.cells))
    read = results.load(write(tmp_path_factory.mktemp("journal"), run))
    assert replace(read, cells=results.in_order(read.cells)) == expected(run)


def one_call_each(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells but for failed controls, of which several instruments' worst would stand."""
    return tuple(cell for cell in cells if cell.key.claim is not Claim.CONTROLS)


def test_a_journal_is_told_from_a_record(tmp_path: Path) -> None:
    """By its beginning."""
    assert is_journal(write(tmp_path, samples.empty()).read_text())
    assert not is_journal(results.to_json(samples.empty()))


def test_every_truncation_is_a_run_that_ended_before_its_time(tmp_path: Path) -> None:
    """Wherever a kill cuts the file off, the tests before it count, and no other."""
    run = samples.run([*samples.controls(), *list(samples.documented())[:5]])
    path = write(tmp_path, run)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in [*range(first, len(whole), 97), len(whole)]:
        path.write_bytes(whole[:length])
        read = results.load(path)
        tests = max(0, whole[:length].count(b"\n") - 2)
        judged = [cell for cell in read.cells if cell.key.claim is not Claim.CONTROLS]
        assert len(judged) == tests
        assert set(read.cells) <= set(run.cells)
        assert not read.complete
        ruling = results.summarize(read).ruling
        assert ruling.verdict is results.Verdict.INCOMPLETE
    path.write_bytes(whole[: first - 1])
    with pytest.raises(BadInputError, match="breaks off in its first line"):
        results.load(path)


def test_of_a_lost_run_the_rest_is_broken(tmp_path: Path) -> None:
    """Whatever was judged stays; a journal says which cells were planned."""
    cells = [*samples.controls(), *list(samples.documented())[:5]]
    run = samples.run(cells)
    path = write(tmp_path, run)
    lines = path.read_text().splitlines(keepends=True)
    for kept in range(2, len(lines) + 1):
        path.write_text("".join(lines[:kept]))
        judged = set(results.load(path).cells)
        lost = results.load_lost(path)
        broken = {cell for cell in lost.cells if cell not in judged}
        assert {cell.key for cell in lost.cells} == {cell.key for cell in cells}
        assert {cell.outcome for cell in broken} <= {Outcome.BROKEN}
        assert lost.planned == len(lost.cells) == len(cells)
        assert not lost.complete
        assert bool(broken) is (kept < len(lines))
        again = results.from_json(json.loads(results.to_json(lost)))
        assert set(again.cells) == set(lost.cells)


def test_only_a_journal_is_of_a_lost_run(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write(samples.empty(), path)
    with pytest.raises(BadInputError, match="not the journal of a run that was killed"):
        results.load_lost(path)


@pytest.mark.parametrize(
    ("line", "old", "new", "words"),
    [
        (0, "journal/2", "journal/3", "use the version of the suite that wrote"),
        (0, '"policy"', '"polizy"', "line 1.policy: is missing"),
        (1, '"planned"', '"plan"', "line 2.planned: is missing"),
        (1, '"claim": "controls"', '"claim": "x"', "line 2.planned[0].claim: 'x' is none of"),
        (2, '"test"', '"tset"', "line 3.test: is missing"),
        (2, '"passed"', '"past"', "line 3: cell.outcome: 'past' is none of"),
        (2, "{", "", "line 3: the journal is damaged there"),
    ],
)
def test_damage_is_refused_in_one_sentence(
    line: int, old: str, new: str, words: str, tmp_path: Path
) -> None:
    """With the line."""
    path = write(tmp_path, samples.run([*samples.controls(), *list(samples.documented())[:2]]))
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new, 1)
    path.write_text("".join(lines))
    with pytest.raises(BadInputError) as caught:
        results.load(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_worst_of_several_instruments_stands() -> None:
    """An instrument that is off is not made good by one that is not."""
    key = CellKey(Claim.CONTROLS, "none", "x86_64", "getppid", 110, "LOG")
    good = Cell(key, Outcome.PASSED, None, "s", "e", "o")
    bad = replace(good, outcome=Outcome.FAILED)
    for order in ([good, bad, good], [bad, good], [good, bad]):
        judged = JudgedCells()
        for number, cell in enumerate(order):
            judged.take(f"test[{number}]", sent([], [cell]))
        assert judged.cells == [bad]


@given(st.lists(st.sampled_from(["netlink", "auditd:/a", "none"]), max_size=4))
def test_trails_are_told_together(sources: list[str]) -> None:
    """One answer where the workers agree, every one where they do not."""
    judged = JudgedCells()
    for number, source in enumerate(sources):
        judged.take(f"test[{number}]", sent([]) | {"audit_source": source, "audit_reason": "r"})
    if not sources:
        assert judged.audit == AuditSource("none", "no test reported")
    assert set(judged.audit.source.split(", ")) == (set(sources) or {"none"})


CONTROLLER = """
import sys
from dataclasses import replace
from pathlib import Path
from reports import results
from reports.results.journal import Journal
from reports.tests.support import samples
from cases.tests.test_journal import sent
folder = Path(sys.argv[1])
run = samples.run([*samples.controls(), *samples.documented()])
controls = list(samples.controls())
print("ready", flush=True)
while True:
    journal = Journal(folder, replace(run, cells=()))
    journal.plan([cell.key for cell in run.cells], run.selected_of)
    for number, cell in enumerate(samples.documented()):
        journal.note(f"test[{number}]", sent([cell], controls), run.finished)
    results.write(run, folder / "results.json")
    journal.discard()
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    """A record is the old or the new one, and where there is none, the journal can be read."""
    moments = random.Random(20260131)  # noqa: S311 - nothing secret
    seen = {"record": 0, "journal": 0}
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, str(folder)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        record, journal = folder / "results.json", folder / NAME
        if record.exists():
            assert results.load(record).complete
            seen["record"] += 1
        if journal.exists() and journal.stat().st_size:
            run = results.load(journal)
            assert not run.complete
            assert json.loads(results.to_json(run))["summary"]["verdict"] == "INCOMPLETE"
            seen["journal"] += 1
        assert record.exists() or journal.exists() or not list(folder.iterdir())
    assert seen["journal"] > 0


@pytest.mark.parametrize("again", [Outcome.PASSED, Outcome.BROKEN, Outcome.CANNOT_TELL])
@pytest.mark.parametrize("first", [Outcome.FAILED, Outcome.WAIVED])
def test_a_failure_is_not_undone_by_another_try(first: Outcome, again: Outcome) -> None:
    judged = JudgedCells()
    cell = next(one for one in samples.failing().cells if one.key.claim is Claim.DENIES)
    for outcome in (first, again):
        judged.take("test", sent([replace(cell, outcome=outcome)]))
    assert [cell.outcome for cell in judged.cells] == [first]


@pytest.mark.parametrize("first", [Outcome.PASSED, Outcome.BROKEN, Outcome.CANNOT_TELL])
def test_another_try_counts_else(first: Outcome) -> None:
    judged = JudgedCells()
    cell = next(one for one in samples.failing().cells if one.key.claim is Claim.DENIES)
    for outcome in (first, Outcome.FAILED):
        judged.take("test", sent([replace(cell, outcome=outcome)]))
    assert [cell.outcome for cell in judged.cells] == [Outcome.FAILED]
