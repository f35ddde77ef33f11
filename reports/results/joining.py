"""One record of several: the same job on several kernels, each cell saying on which. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from probes import deviation
from probes.cell import Gap
from probes.documents.waivers import JudgedWaiver, Waiver, WaiverState
from probes.errors import BadInputError
from reports.results.model import GAPS_WORST_FIRST, Run, TargetInfo, gap_key, gaps_in_order
from reports.results.provenance import RunBy

_Item = TypeVar("_Item")

_APART: Final = "; "
"""What stands between descriptions that differ."""

_WAIVER_STATES: Final = (
    WaiverState.EXPIRED,
    WaiverState.ACTIVE,
    WaiverState.NOT_YET_VALID,
    WaiverState.UNUSED,
    WaiverState.UNKNOWN,
    WaiverState.OUT_OF_SCOPE,
)
"""Which state of a waiver stands where runs differ: needed by one, it is needed."""


def join(runs: Sequence[Run]) -> Run:
    """The records of one job on several kernels as one record, complete where each of them is.

    Joining what was joined gives the same as joining all at once. What is of one run only is left
    out: a baseline, and who ran it, an image, a runtime or a survey where they differ.

    Args:
        runs: at least one; the environments of the first stand first.

    Raises:
        BadInputError: the runs asked for different things.
    """
    first, *others = runs
    for other in others:
        _check_alike(first, other)
    if not others:
        return first
    waivers = _waivers(runs)
    places = {judged.waiver: place for place, judged in enumerate(waivers)}
    cells = []
    offset = 0
    for run in runs:
        for cell in run.cells:
            waiver = None if cell.waiver is None else places[run.waivers[cell.waiver].waiver]
            cells.append(replace(cell, environment=cell.environment + offset, waiver=waiver))
        offset += len(run.environments)
    return Run(
        suite=first.suite,
        policy=first.policy,
        target=_target([run.target for run in runs]),
        environments=tuple(one for run in runs for one in run.environments),
        profiles=_union(run.profiles for run in runs),
        started=min(run.started for run in runs),
        finished=max(run.finished for run in runs),
        planned=sum(run.planned for run in runs),
        selected_of=sum(run.selected_of for run in runs),
        cells=tuple(cells),
        run_by=_same([run.run_by for run in runs]) or RunBy(),
        complete=all(run.complete for run in runs),
        waivers=waivers,
        gaps=_gaps(runs),
        unreviewed=tuple(sorted(_union(run.unreviewed for run in runs))),
        accept=deviation.named(_union(run.accept for run in runs)),
    )


def _check_alike(one: Run, other: Run) -> None:
    for what, mine, others in (
        ("suite", one.suite.version, other.suite.version),
        ("policy", one.policy.sha256, other.policy.sha256),
        ("target", one.target.kind, other.target.kind),
    ):
        if mine != others:
            raise BadInputError(
                f"the records cannot be joined, for their {what} differs ({mine} and {others}): "
                f"join records of one job"
            )


def _same(items: Sequence[_Item]) -> _Item | None:
    return items[0] if all(item == items[0] for item in items) else None


def _union(lists: Iterable[Iterable[_Item]]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))


def _target(targets: Sequence[TargetInfo]) -> TargetInfo:
    return TargetInfo(
        kind=targets[0].kind,
        description=_APART.join(_union(target.description.split(_APART) for target in targets)),
        findings=_union(target.findings for target in targets),
        programs=_union(target.programs for target in targets),
        image=_same([target.image for target in targets]),
        runtime=_same([target.runtime for target in targets]),
        survey=_same([target.survey for target in targets]),
        written=_union(target.written for target in targets),
    )


def _waivers(runs: Iterable[Run]) -> tuple[JudgedWaiver, ...]:
    found: dict[Waiver, list[JudgedWaiver]] = {}
    for run in runs:
        for judged in run.waivers:
            found.setdefault(judged.waiver, []).append(judged)
    return tuple(map(_waiver, found.values()))


def _waiver(same: Sequence[JudgedWaiver]) -> JudgedWaiver:
    worst = min(same, key=lambda judged: _WAIVER_STATES.index(judged.state))
    waived = sum(judged.waived for judged in same)
    sentence = worst.sentence
    if worst.state is WaiverState.ACTIVE and waived > worst.waived:
        sentence = (
            f"the waiver of {worst.waiver} covers {waived} failures until {worst.waiver.expires}"
        )
    days_left = min(judged.days_left for judged in same)
    return replace(worst, waived=waived, days_left=days_left, sentence=sentence)


def _gaps(runs: Iterable[Run]) -> tuple[Gap, ...]:
    found: dict[tuple[str, str, str, int, str], Gap] = {}
    for run in runs:
        for gap in run.gaps:
            known = found.setdefault(gap_key(gap), gap)
            if GAPS_WORST_FIRST.index(gap.state) < GAPS_WORST_FIRST.index(known.state):
                found[gap_key(gap)] = gap
    return gaps_in_order(found.values())
