"""One record of several: nothing is lost, nothing is added, and each cell keeps its kernel."""

from collections import Counter
from dataclasses import replace

import pytest

from probes.cell import Claim
from probes.errors import BadInputError
from reports import results
from reports.results import Run, Verdict, fields
from reports.tests import samples


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
                assert joined.waivers[twin.waiver] == run.waivers[cell.waiver]
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
    other = replace(one, policy=replace(one.policy, sha256="0" * 64))

    with pytest.raises(BadInputError, match=r"cannot be joined, for their policy differs"):
        results.join([one, other])
