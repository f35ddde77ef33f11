"""One record of several: nothing is lost, nothing is added, and each cell keeps its kernel."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Claim, Gap, GapState, Outcome
from probes.documents.waivers import WaiverState
from probes.errors import BadInputError, ExitStatus
from reports import results
from reports.commands import main as cli
from reports.results import Run, Verdict, fields
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS


def on(kernel: str, run: Run) -> Run:
    return replace(run, environments=(replace(run.environment, kernel=kernel),))


def test_each_cell_keeps_its_kernel() -> None:
    one, other = on("5.10", samples.passing()), on("7.2", samples.failing())
    joined = results.join([one, other])

    assert [place.kernel for place in joined.environments] == ["5.10", "7.2"]
    for index, run in enumerate((one, other)):
        mine = [replace(cell, environment=0) for cell in joined.cells if cell.environment == index]
        assert mine == list(run.cells)
    assert joined.planned == one.planned + other.planned
    assert results.summarize(joined).ruling.verdict is Verdict.FAIL


@pytest.mark.slow
def test_a_joined_record_can_be_written_and_read() -> None:
    joined = results.join([on("5.10", samples.passing()), on("7.2", samples.waived())])

    assert results.from_json(fields.parse(results.to_json(joined))) == replace(
        joined, cells=results.in_order(joined.cells), gaps=results.gaps_in_order(joined.gaps)
    )


def test_joining_is_associative() -> None:
    runs = [
        on(name, run)
        for name, run in (
            ("5.10", samples.passing()),
            ("6.1", samples.waived()),
            ("7.2", samples.expired()),
        )
    ]

    assert results.join([results.join(runs[:2]), runs[2]]) == results.join(runs)
    assert results.join(runs[:1]) == runs[0]


def test_waivers_keep_their_cells() -> None:
    runs = [on("5.10", samples.waived()), on("7.2", samples.expired())]
    joined = results.join(runs)
    offset = 0
    for run in runs:
        for cell in run.cells:
            if cell.waiver is not None:
                twin = next(
                    each
                    for each in joined.cells
                    if (each.key, each.environment) == (cell.key, cell.environment + offset)
                )
                assert twin.waiver is not None
                assert joined.waivers[twin.waiver].waiver == run.waivers[cell.waiver].waiver
        offset += len(run.environments)
    assert Counter(c.outcome for c in joined.cells) == sum(
        (Counter(c.outcome for c in run.cells) for run in runs), Counter()
    )


def test_a_control_vouches_for_its_own_kernel_only() -> None:
    """Without controls on the second kernel its verdicts do not count, whatever the first had."""
    bare = on("7.2", samples.passing())
    cells = tuple(cell for cell in bare.cells if cell.key.claim is not Claim.CONTROLS)
    bare = replace(bare, cells=cells, planned=len(cells))
    joined = results.join([on("5.10", samples.passing()), bare])

    assert results.summarize(joined).ruling.verdict is Verdict.BROKEN


def test_different_jobs_are_not_joined() -> None:
    one = samples.passing()
    for what, other in (
        ("suite", replace(one, suite=replace(one.suite, version="9"))),
        ("policy", replace(one, policy=replace(one.policy, sha256="0" * 64))),
        ("target", replace(one, target=replace(one.target, kind="oci"))),
    ):
        with pytest.raises(BadInputError, match=rf"cannot be joined, for their {what} differs"):
            results.join([one, other])


SCHEMA = json.loads(
    Path(results.__file__).with_name("results.schema.json").read_text(encoding="utf-8")
)


def alike(runs: list[Run]) -> list[Run]:
    """The runs, of one suite, policy and sort of target."""
    first = runs[0]
    return [
        replace(
            run,
            suite=first.suite,
            policy=first.policy,
            target=replace(run.target, kind=first.target.kind),
        )
        for run in runs
    ]


SOME_RUNS = st.lists(RUNS, min_size=3, max_size=3).map(alike)


@pytest.mark.slow
@given(SOME_RUNS)
def test_however_they_are_put_together(runs: list[Run]) -> None:
    """Two first and the third then, or all at once."""
    first, second, third = runs
    whole = results.join(runs)
    unbased = replace(first, baseline=None), replace(third, baseline=None)
    assert results.join([results.join([first, second]), third]) == whole
    assert results.join([first, results.join([second, third])]) == whole
    assert results.join([unbased[0], second, unbased[1]]) == whole


@pytest.mark.slow
@given(SOME_RUNS)
def test_every_cell_is_there_with_its_place(runs: list[Run]) -> None:
    """In its own environment and under its own waiver; the record is as published."""
    whole = results.join(runs)
    document = json.loads(results.to_json(whole))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert results.from_json(document).planned == sum(run.planned for run in runs)
    told = [
        (
            cell.key,
            cell.outcome,
            whole.environments[cell.environment],
            None if cell.waiver is None else whole.waivers[cell.waiver].waiver,
        )
        for cell in whole.cells
    ]
    assert told == [
        (
            cell.key,
            cell.outcome,
            run.environments[cell.environment],
            None if cell.waiver is None else run.waivers[cell.waiver].waiver,
        )
        for run in runs
        for cell in run.cells
    ]
    assert whole.complete == all(run.complete for run in runs)


@pytest.mark.slow
def test_waiver_that_one_kernel_needs_is_needed() -> None:
    """Although nothing failed on the other."""
    needed = samples.waived()
    idle = replace(
        samples.passing(),
        waivers=tuple(
            replace(one, state=WaiverState.UNUSED, waived=0, sentence="unused")
            for one in needed.waivers
        ),
    )
    for runs in ([needed, idle], [idle, needed]):
        whole = results.join(runs)
        assert [one.state for one in whole.waivers] == [
            one.state for one in needed.waivers[:-1]
        ] + [WaiverState.UNUSED]
        assert [one.waived for one in whole.waivers] == [one.waived for one in needed.waivers]
    twice = results.join([needed, needed]).waivers[0]
    assert twice.waived == 2 * needed.waivers[0].waived
    assert f"covers {twice.waived} failures" in twice.sentence


@pytest.mark.slow
@pytest.mark.parametrize("states", [("open", "closed"), ("closed", "open")])
def test_gap_that_is_open_anywhere_is_open(states: tuple[str, str]) -> None:
    """Whichever kernel comes first."""
    runs = [
        replace(
            samples.passing(),
            gaps=(Gap("f", "fsopen", "x86_64", 430, "kill", ("mount",), GapState(state), "s"),),
        )
        for state in states
    ]
    (gap,) = results.join(runs).gaps
    assert gap.state is GapState.OPEN


@pytest.mark.slow
def test_command_joins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Writes a record from which reports can be made."""
    files: list[str] = []
    for kind in ("passing", "unprivileged"):
        run = samples.all_kinds()[kind]
        run = replace(run, environments=(replace(run.environment, kernel=f"6.{len(files)}"),))
        files.append(str(tmp_path / f"{kind}.json"))
        results.write(run, Path(files[-1]))
    out = tmp_path / "results.json"
    status = cli.run(["merge", "--record", *files, "-o", str(out)])
    assert status == ExitStatus.CANNOT_TELL
    assert "x86_64 6.0\n" in capsys.readouterr().out
    whole = results.load(out)
    assert [one.kernel for one in whole.environments] == ["6.0", "6.1"]
    unknown = {cell.environment for cell in whole.cells if cell.outcome is Outcome.CANNOT_TELL}
    assert unknown == {1}
