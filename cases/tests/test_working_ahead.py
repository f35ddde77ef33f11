"""The main job works ahead of pytest: its verdicts, its order, and what nobody hears of."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cases.tests.test_main_job import EMPTY_FILTER
from probes.errors import ExitStatus
from reports.tests.support import job
from reports.tests.support.job import ALONE, SMALL, module

pytestmark = pytest.mark.slow

NOTING = """
import os
from probes.judging.examiner import Examiner
together = Examiner.examine_together
def noted(self, cases):
    with open({path!r}, "a") as notes:
        notes.write(" ".join(case.function + case.id for case in cases) + "\\n")
    return together(self, cases)
Examiner.examine_together = noted
"""
"""Notes which cases are examined together."""

ONE_BY_ONE = """
from cases.run.upcoming import Upcoming
Upcoming.cases = lambda self: iter(())
"""


def batches(notes: Path) -> Sequence[Sequence[str]]:
    """The cases that were examined together."""
    return [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]


@pytest.mark.root("reads the kernel's audit records")
@pytest.mark.parametrize("workers", [ALONE, ("-n", "2")], ids=["alone", "workers"])
def test_the_verdicts_are_those_of_cases_judged_alone(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    """A worker of xdist knows its own share: no case is examined twice, few are left alone."""
    notes = tmp_path / "notes"
    noting = module(tmp_path, NOTING.format(path=str(notes)))
    ahead = job.run(tmp_path / "ahead", *SMALL, *workers, plugin=noting)
    single = job.run(tmp_path / "single", *SMALL, *workers, plugin=module(tmp_path, ONE_BY_ONE))

    assert ahead.status == single.status == ExitStatus.CONFORMANT, ahead.output
    assert job.normalized(ahead.cells) == job.normalized(single.cells)
    together = [case for batch in batches(notes) for case in batch]
    assert len(together) == len(set(together)) > 120
    assert len(together) / len(batches(notes)) > 5


def test_of_a_selection_nothing_else_is_asked(tmp_path: Path) -> None:
    """Neither what -k leaves out nor, after a failure with -x, what comes later."""
    notes = tmp_path / "notes"
    plugin = module(tmp_path, EMPTY_FILTER + NOTING.format(path=str(notes)))
    words = ("-x", "-k", "terminates and not acct", "--audit-source=none")
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, *words, plugin=plugin)

    assert ended.status == ExitStatus.NOT_CONFORMANT
    assert [len(batch) for batch in batches(notes)] == [59]
    assert not any("acct" in case for case in batches(notes)[0])
    judged = ended.outcomes(claim="terminates")
    assert judged == {"failed": 1, "broken": 58}
    assert not ended.results["complete"]


NO_QUEUE = """
from cases.run import upcoming
upcoming._waiting = lambda queue, waiting=upcoming._waiting: waiting(object())
"""
"""As before xdist 3.7."""


def test_a_worker_whose_queue_cannot_be_looked_at_knows_its_next_test(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    plugin = module(tmp_path, NO_QUEUE + NOTING.format(path=str(notes)))
    words = ("-n", "2", "-k", "terminates", "--audit-source=none")
    ended = job.run(tmp_path / "reports", *SMALL, *words, plugin=plugin)

    assert ended.outcomes(claim="terminates") == {"passed": 60}
    assert {len(batch) for batch in batches(notes)} == {2}
