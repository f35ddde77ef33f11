"""A survey of a whole machine: who is there, what confines each, and what the verdicts come to."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.cell import Cell, Outcome
from probes.documents.policy import Policy
from probes.finding import Finding, Weight
from probes.survey import confined, judged, labels, seen_processes, workloads
from probes.survey.confined import Confined
from probes.survey.judged import JudgedStack
from probes.survey.question import SurveyQuestion
from probes.survey.seen_processes import Listing
from probes.survey.workloads import FoundWorkload
from probes.targets.stack import ProgramIdentity
from probes.targets.threads import stack_of
from probes.workload import OwnerKind, StackRow, Survey, WorkloadRow, WorkloadState

_MOST_NAMES: Final = 4

_PLACED: Final = "who is in a container"
_OUTSIDE: Final = "processes outside of this pid namespace"
_OTHERS: Final = "processes of other users"

LIMITS: Final = frozenset({_PLACED, _OUTSIDE, _OTHERS})
"""What of the whole machine could not be seen, as cells name it."""

_OF_OUTCOME: Final = (
    (Outcome.FAILED, WorkloadState.FAILS),
    (Outcome.BROKEN, WorkloadState.CANNOT_TELL),
    (Outcome.CANNOT_TELL, WorkloadState.CANNOT_TELL),
    (Outcome.WAIVED, WorkloadState.WAIVED),
)
"""The state of a stack by the gravest outcome of its cells."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was found on a machine, with the verdicts.

    Attributes:
        wanted: what was asked.
        listing: the processes that were seen.
        members: the containers and services that were looked at, with what confines them.
        left_out: those that were not.
        stacks: the distinct stacks of filters, by name.
        findings: the cells about what has no filter, and about what could not be seen.
    """

    wanted: SurveyQuestion
    listing: Listing
    members: tuple[Confined, ...]
    left_out: tuple[FoundWorkload, ...]
    stacks: tuple[JudgedStack, ...]
    findings: tuple[Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells on which the verdict on the machine depends."""
        required = {
            confined.name_of(one)
            for member in self.members
            if self.wanted.requires(member.workload)
            for one, _ in member.stacks
        }
        of_stacks = (cell for one in self.stacks if one.name in required for cell in one.cells)
        return (*of_stacks, *self.findings)

    def identities(self) -> Iterator[tuple[int, ProgramIdentity]]:
        """Each program of each stack, with the place of the stack among the others."""
        for place, one in enumerate(self.stacks):
            for identity in stack_of("", one.confinement).identities:
                yield place, identity

    def survey(self, excused: Callable[[Iterable[Cell]], Iterable[Cell]]) -> Survey:
        """What everything comes to.

        Args:
            excused: the cells as waivers leave them.
        """
        cells = {one.name: list(excused(one.cells)) for one in self.stacks}
        states = {name: state_of(made) for name, made in cells.items()}
        rows = [_row(member, self.wanted, cells, states) for member in self.members]
        rows += [_excluded(one) for one in self.left_out]
        counts = dict.fromkeys(states, 0)
        for member in self.members:
            for one, count in member.stacks:
                counts[confined.name_of(one)] += count
        order = list(WorkloadState)
        rows.sort(key=lambda row: (not row.required, order.index(row.state), row.title))
        shown = sum(row.processes for row in rows)
        return Survey(
            tuple(
                StackRow(one.name, one.confinement[1], counts[one.name], states[one.name])
                for one in self.stacks
            ),
            tuple(rows),
            len(self.listing.processes) - shown,
            self.listing.kernel_threads,
            self.listing.zombies,
        )


def take(policy: Policy, wanted: SurveyQuestion, seen: Listing) -> Taken:
    """Looks at every process of a machine, and judges each distinct stack of filters once.

    Args:
        policy: what must hold.
        wanted: how, and for whom.
        seen: the processes.

    Raises:
        InstrumentError: the process that tries counterexamples cannot be started.
    """
    own = os.getpid()
    everybody = workloads.workloads(seen, own, labels.known_to_runtimes())
    shown = [one for one in everybody if wanted.shows(one)]
    looked_at = [one for one in shown if wanted.is_meant(one) and not _is_ours(one)]
    read = (confined.confined(one, own) for one in looked_at)
    # One of which nothing is left has ended meanwhile.
    members = tuple(one for one in read if one.read or one.untold)
    stacks = judged.judged(confined.distinct(members), policy, wanted)
    return Taken(
        wanted,
        seen,
        members,
        tuple(one for one in shown if one not in looked_at),
        stacks,
        tuple(
            judged.of_findings([*_limits(wanted, everybody), *_findings(members, wanted)], wanted)
        ),
    )


def _is_ours(workload: FoundWorkload) -> bool:
    """Whether it is the container or the service that the suite runs in, and must be open."""
    return workload.is_own and workload.kind is not OwnerKind.OTHER


def _findings(members: Iterable[Confined], wanted: SurveyQuestion) -> Iterator[Finding]:
    """What has no filter, and what could not be seen."""
    for one in members:
        if not wanted.requires(one.workload):
            continue
        title = one.workload.title
        if one.lacking:
            yield Finding(one.lacking, Weight.CONTRADICTS, title)
        if one.untold:
            more = f", and {len(one.untold) - 1:,} more" if len(one.untold) > 1 else ""
            text = f"of {title} not everything could be seen: {one.untold[0]}{more}"
            yield Finding(text, Weight.LIMITS, f"what was not seen of {title}")


def _limits(wanted: SurveyQuestion, everybody: Iterable[FoundWorkload]) -> Iterator[Finding]:
    """What of the machine this process cannot see."""
    others = (
        process for one in everybody if one.kind is OwnerKind.OTHER for process in one.processes
    )
    # One that has ended meanwhile shows nothing more either.
    if unseen := [one for one in others if not one.namespace and seen_processes.is_still(one)]:
        yield Finding(
            f"of {len(unseen):,} processes that no control group places, such as {unseen[0].pid}"
            f" ({unseen[0].name}), it cannot be told whether a container has them, for this user"
            " may not see their namespaces: run the suite as root with CAP_SYS_PTRACE",
            Weight.LIMITS,
            _PLACED,
        )
    if not (wanted.namespace_alone or seen_processes.sees_the_machine()):
        yield Finding(
            "this process is in a pid namespace of its own and does not see the machine's others:"
            " run it in the machine's (hostPID: true, --pid=host), or say by --this-pid-namespace"
            " that this one is what is meant",
            Weight.LIMITS,
            _OUTSIDE,
        )
    if seen_processes.hides_others():
        yield Finding(
            "/proc is mounted with hidepid and does not show this user the processes of others: run"
            " the suite as root",
            Weight.LIMITS,
            _OTHERS,
        )


def state_of(cells: Iterable[Cell]) -> WorkloadState:
    """What the verdicts on a stack come to."""
    outcomes = {cell.outcome for cell in cells}
    return next(
        (state for outcome, state in _OF_OUTCOME if outcome in outcomes), WorkloadState.HOLDS
    )


def _row(
    member: Confined,
    wanted: SurveyQuestion,
    cells: Mapping[str, Sequence[Cell]],
    states: Mapping[str, WorkloadState],
) -> WorkloadRow:
    names = tuple(confined.name_of(one) for one, _ in member.stacks)
    found = [states[name] for name in names]
    if member.bare:
        found.append(
            WorkloadState.NONE if member.is_open and not member.untold else WorkloadState.FAILS
        )
    if member.untold:
        found.append(WorkloadState.CANNOT_TELL)
    state = min(found, key=list(WorkloadState).index)
    every = [cell for name in names for cell in cells[name]]
    said = _sentences(member, every, state, wanted)
    return _written(member.workload, names, state, said, required=wanted.requires(member.workload))


def _sentences(
    member: Confined, cells: Sequence[Cell], state: WorkloadState, wanted: SurveyQuestion
) -> Iterator[str]:
    """Why a container or a service is in its state."""
    if member.lacking:
        yield member.lacking
    if failed := [cell for cell in cells if cell.outcome is Outcome.FAILED]:
        verb = "does not refuse" if wanted.any_refusal else "does not answer as documented"
        yield f"{member.workload.title} {verb}: {listed(failed, cells)}"
    yield from member.untold[:1]
    if untold := [cell for cell in cells if cell.outcome in {Outcome.CANNOT_TELL, Outcome.BROKEN}]:
        yield f"{listed(untold, cells)}: {untold[0].why}"
    if state is WorkloadState.WAIVED:
        waived = [cell for cell in cells if cell.outcome is Outcome.WAIVED]
        yield f"what fails is waived: {listed(waived, cells)}"


def listed(cells: Sequence[Cell], every: Iterable[Cell]) -> str:
    """What cells are about, each once, with the ABIs where the same holds not for each of them.

    Args:
        cells: the cells to name.
        every: all cells about the same stacks.
    """
    where, whole = _arches(cells), _arches(every)
    names = [
        name if len(found) == len(whole[name]) else f"{name} ({', '.join(found)})"
        for name, found in where.items()
    ]
    left = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {left:,} more" if left > 0 else "")


def _arches(cells: Iterable[Cell]) -> dict[str, tuple[str, ...]]:
    """The ABIs of cells by what they are about; an ABI that lacks a call does not count."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.outcome is not Outcome.NOT_APPLICABLE:
            found.setdefault(cell.key.syscall, {})[cell.key.arch] = None
    return {name: tuple(arches) for name, arches in found.items()}


def _excluded(workload: FoundWorkload) -> WorkloadRow:
    said = (
        "the suite itself runs in it" if _is_ours(workload) else "left out by --include, --exclude"
    )
    return _written(workload, (), WorkloadState.EXCLUDED, [said], required=False)


def _written(
    one: FoundWorkload,
    names: tuple[str, ...],
    state: WorkloadState,
    said: Iterable[str],
    *,
    required: bool,
) -> WorkloadRow:
    return WorkloadRow(
        one.kind,
        one.engine,
        one.id,
        one.name,
        one.title,
        one.image,
        one.pod,
        one.inside,
        len(one.processes),
        names,
        required,
        state,
        "; ".join(said),
    )
