"""Groups, counts and reasons of a run."""

from dataclasses import replace

from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from reports import summary
from reports.tests.support import samples


def test_reason_is_what_cells_share() -> None:
    """Sentences lose the words that name the cell, and no others."""
    key = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
    cell = Cell(key, Outcome.FAILED, Cause.FILTER, "", "", "")
    for sentence, expected in (
        ("acct (163) on x86_64: no rule: none", "no rule: none"),
        ("no rule for acct: none", "no rule for acct: none"),
        ("account: closed", "account: closed"),
        ("acct", "acct"),
    ):
        assert summary.reason(replace(cell, sentence=sentence)) == expected


def test_coverage_tells_undecided_from_absent() -> None:
    """A call that could not be told is not judged, and not absent either."""
    cells = [
        Cell(CellKey(Claim.TERMINATES, "kill", "x86_64", name, 1), outcome, None, "", "", "")
        for name, outcome in (
            ("acct", Outcome.PASSED),
            ("bpf", Outcome.CANNOT_TELL),
            ("mount", Outcome.NOT_APPLICABLE),
            ("reboot", Outcome.FAILED),
            ("swapon", Outcome.BROKEN),
        )
    ]
    assert summary.coverage(samples.run(cells)) == (summary.Coverage("kill", "x86_64", 2, 2, 1),)
