"""What a run accepts of runtimes, and what it could accept, a line each. Pure."""

from probes.cell import Outcome
from probes.deviation import KnownDeviation
from reports.results import Run
from reports.summary import accepted_text, cells_text


def lines(run: Run) -> list[str]:
    """What was accepted, and by which option the rest of what runtimes do would be."""
    return [line for line in (_accepted(run), _open(run)) if line]


def _accepted(run: Run) -> str:
    return f"accepted: {accepted_text(run)}" if run.accept else ""


def _open(run: Run) -> str:
    """The failures that are what runtimes do to every profile; "" where there are none."""
    explained = [cell for cell in run.cells if cell.outcome is Outcome.FAILED and cell.deviations]
    if not explained:
        return ""
    known = {name for cell in explained for name in cell.deviations} | set(run.accept)
    names = ",".join(name for name in KnownDeviation if name in known)
    return (
        f"{cells_text(len(explained))} failed by what runtimes do to every profile: "
        f"--accept={names}"
    )
