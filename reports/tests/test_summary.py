"""Groups, counts and reasons of a run."""

from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from reports import summary
from reports.tests.support import samples


def test_cells_of_one_reason_stand_together() -> None:
    """Whatever their sentences name; where no reason stands apart, the sentence is the reason."""
    cells = [
        Cell(
            CellKey(Claim.TERMINATES, "kill", "x86_64", name, 1),
            Outcome.FAILED,
            Cause.FILTER,
            f"{name}: {why}",
            "",
            "",
            reason=reason,
        )
        for name, why, reason in (
            ("acct", "no rule", "no rule"),
            ("bpf", "no rule", "no rule"),
            ("mount", "no rule", ""),
        )
    ]
    groups = summary.by_reason(cells)
    assert [(group.title, len(group.cells)) for group in groups] == [
        ("no rule", 2),
        ("mount: no rule", 1),
    ]


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
