"""One record of several: the same job on several kernels, each cell saying on which. Pure."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TypeVar

from probes.errors import BadInputError
from reports.results.model import Run, Target

_Item = TypeVar("_Item", bound=Hashable)


def join(runs: Sequence[Run]) -> Run:
    """The records of one job on several kernels as one record.

    Joining what was joined gives the same as joining all at once. A baseline is left out, for it
    was compared with one of the runs.

    Args:
        runs: at least one; the environments of the first stand first.

    Raises:
        BadInputError: the runs asked for different things.
    """
    first, *others = runs
    for other in others:
        _check_alike(first, other)
    waivers = _once(judged for run in runs for judged in run.waivers)
    offsets = accumulate((len(run.environments) for run in runs), initial=0)
    cells = (
        replace(
            cell,
            environment=cell.environment + offset,
            waiver=None if cell.waiver is None else waivers.index(run.waivers[cell.waiver]),
        )
        for run, offset in zip(runs, offsets, strict=False)
        for cell in run.cells
    )
    return replace(
        first,
        target=_together([run.target for run in runs]),
        environments=tuple(one for run in runs for one in run.environments),
        profiles=_once(profile for run in runs for profile in run.profiles),
        started=min(run.started for run in runs),
        finished=max(run.finished for run in runs),
        planned=sum(run.planned for run in runs),
        selected_of=sum(run.selected_of for run in runs),
        cells=tuple(cells),
        complete=all(run.complete for run in runs),
        waivers=waivers,
        gaps=_once(gap for run in runs for gap in run.gaps),
        baseline=None,
    )


def _check_alike(one: Run, other: Run) -> None:
    for what, mine, others in (
        ("policy", one.policy.sha256, other.policy.sha256),
        ("target", one.target.kind, other.target.kind),
    ):
        if mine != others:
            raise BadInputError(
                f"the records cannot be joined, for their {what} differs ({mine} and {others}): "
                f"join records of one job"
            )


def _together(targets: Sequence[Target]) -> Target:
    """The target: what stands for it differs from architecture to architecture."""
    return replace(
        targets[0],
        description=", ".join(_once(target.description for target in targets)),
        findings=_once(finding for target in targets for finding in target.findings),
        programs=_once(program for target in targets for program in target.programs),
    )


def _once(items: Iterable[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))
