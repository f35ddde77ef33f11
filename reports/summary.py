"""What a run came to, in groups, counts and reasons, for all that tell a reader about it. Pure.

Terminal, pages and formats use the same ones, so that they never disagree.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from probes import deviation
from probes.cell import Cell, CellKey, Claim, Gap, GapState, Outcome
from probes.judging import claims
from probes.judging.claims import About, is_about
from probes.judging.plan import UNKNOWN
from probes.text import counted
from reports.results import (
    DECIDED,
    GAPS_WORST_FIRST,
    Environment,
    Run,
    gaps_in_order,
    gravest_state,
    in_order,
)

OUTCOME_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.BROKEN: "broken",
    Outcome.CANNOT_TELL: "cannot tell",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.WAIVED: "waived",
    Outcome.ACCEPTED: "accepted",
}
"""The outcomes as people say them, in the order in which a count line lists them."""

GRAVEST_FIRST = (
    Outcome.FAILED,
    Outcome.BROKEN,
    Outcome.CANNOT_TELL,
    Outcome.WAIVED,
    Outcome.ACCEPTED,
    Outcome.PASSED,
    Outcome.NOT_APPLICABLE,
)
"""The outcomes in the order in which a reader has to know about them."""


_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that stand together in a report.

    Attributes:
        title: what they have in common, in a few words.
        cells: at least one, in order.
    """

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts of the documented calls that were judged under one profile on one ABI.

    Attributes:
        profile: the profile.
        arch: the ABI.
        judged: calls of which at least one claim was decided, for every stack of filters.
        undecided: calls that exist there, of which none was.
        not_applicable: calls that the ABI does not have.
    """

    profile: str
    arch: str
    judged: int
    undecided: int
    not_applicable: int


def documented(run: Run) -> tuple[Cell, ...]:
    """The cells by which every documented call is judged, in order."""
    calls = {call.name for call in run.policy.calls}
    return in_order(
        cell
        for cell in run.cells
        if claims.of(cell.key.claim).of_documented and cell.key.syscall in calls
    )


def not_all_judged(run: Run) -> tuple[Cell, ...]:
    """What the target names and nobody judged, or what is confined otherwise there, in order."""
    return in_order(cell for cell in run.cells if is_about(cell.key, About.FINDING))


def ordered_arches(run: Run, cells: Iterable[Cell]) -> tuple[str, ...]:
    """The ABIs of the cells, in the order of the environment; others after them, by name."""
    return _ordered(run.environment.arches, {cell.key.arch for cell in cells})


def ordered_places(run: Run, cells: Sequence[Cell]) -> tuple[str, ...]:
    """The ABIs of the cells, each with its stacks of filters, in the order of the environment."""
    stacks = gathered(cells, lambda cell: cell.key.arch)
    return tuple(
        name
        for arch in ordered_arches(run, cells)
        for name in dict.fromkeys(
            place_name(cell.key) for cell in sorted(stacks[arch], key=lambda cell: cell.key.stack)
        )
    )


def ordered_profiles(run: Run, cells: Iterable[Cell]) -> tuple[str, ...]:
    """The profiles of the cells, in the order of the run; others after them, by name."""
    return _ordered(run.profiles, {cell.key.profile for cell in cells})


def _ordered(known: Sequence[str], seen: set[str]) -> tuple[str, ...]:
    first = tuple(word for word in dict.fromkeys(known) if word in seen)
    return first + tuple(sorted(seen - set(first)))


def gathered(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """The items by key, keys and items in the order in which they come."""
    groups: defaultdict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def by_place(run: Run, cells: Iterable[Cell]) -> tuple[Group, ...]:
    """Cells by claim, profile, ABI and stack, in the order in which the run lists them."""
    every = in_order(cells)
    places = gathered(
        every, lambda cell: (cell.key.claim, cell.key.profile, cell.key.arch, cell.key.stack)
    )
    profiles, arches = ordered_profiles(run, every), ordered_arches(run, every)
    stacks = sorted({cell.key.stack for cell in every})
    return tuple(
        _group(claims.of(claim).title(profile), places[claim, profile, arch, stack])
        for claim in Claim
        for profile in profiles
        for arch in arches
        for stack in stacks
        if (claim, profile, arch, stack) in places
    )


def _group(title: str, cells: Sequence[Cell]) -> Group:
    return Group(f"{title} {place_name(cells[0].key)}", tuple(cells))


def place_name(key: CellKey) -> str:
    """Where a cell was judged: the ABI, and the stack where it is not the target's first one."""
    return f"{key.arch} ({key.part})" if key.part else key.arch


def by_reason(cells: Iterable[Cell]) -> tuple[Group, ...]:
    """Cells by their cause and reason, the largest group first."""
    groups = gathered(in_order(cells), lambda cell: (cell.cause, cell.why))
    return tuple(
        Group(why, tuple(members))
        for (_, why), members in sorted(groups.items(), key=lambda item: -len(item[1]))
    )


def gaps_by_state(run: Run) -> dict[GapState, list[tuple[Gap, ...]]]:
    """The gaps call by call, under the gravest state of each; calls in the order of families."""
    arches = {arch: place for place, arch in enumerate(run.environment.arches)}
    families = {family: place for place, family in enumerate(run.policy.families)}
    ordered = sorted(gaps_in_order(run.gaps), key=lambda gap: arches.get(gap.arch, len(arches)))
    ordered.sort(key=lambda gap: (families.get(gap.family, len(families)), gap.family, gap.syscall))
    calls = gathered(ordered, lambda gap: (gap.family, gap.syscall)).values()
    states = gathered(map(tuple, calls), gravest_state)
    return {state: states.get(state, []) for state in GAPS_WORST_FIRST}


def names(cells: Iterable[Cell]) -> tuple[str, ...]:
    """What the cells are about, each once: the call, with the variant where there is one."""
    return tuple(
        dict.fromkeys(
            " ".join(filter(None, (call_name(cell.key), cell.key.variant))) for cell in cells
        )
    )


def call_name(key: CellKey) -> str:
    """What a cell is about: a call, or a number that no table knows."""
    # "unknown" names every such number: only the number tells them apart.
    if key.syscall == UNKNOWN and key.number is not None:
        return f"number {key.number}"
    return key.syscall


def coverage(run: Run) -> tuple[Coverage, ...]:
    """How many documented calls were judged on the kernel, by profile and ABI.

    A proof does not make a call a judged one: it says nothing about what a kernel does.
    """
    cells = [cell for cell in documented(run) if not is_about(cell.key, About.PROOF)]
    places = gathered(cells, lambda cell: (cell.key.profile, cell.key.arch))
    return tuple(
        _cover(profile, arch, places[profile, arch])
        for profile in ordered_profiles(run, cells)
        for arch in ordered_arches(run, cells)
        if (profile, arch) in places
    )


def _cover(profile: str, arch: str, cells: Iterable[Cell]) -> Coverage:
    calls = gathered(cells, lambda cell: cell.key.syscall)
    stacks = [gathered(members, lambda cell: cell.key.stack).values() for members in calls.values()]
    outcomes = [[{cell.outcome for cell in same} for same in members] for members in stacks]
    judged = sum(all(seen & DECIDED for seen in members) for members in outcomes)
    absent = sum(all(seen == {Outcome.NOT_APPLICABLE} for seen in members) for members in outcomes)
    return Coverage(profile, arch, judged, len(outcomes) - judged - absent, absent)


def audit_text(run: Run) -> str:
    """Where audit records came from; of several kernels that differ, from where on which."""
    every = [where.audit for where in run.environments]
    if len(set(every)) == 1:
        return f"{every[0].source} ({every[0].reason})"
    return "; ".join(
        f"{audit.source} on {release_of(where)} ({audit.reason})"
        for where, audit in zip(run.environments, every, strict=True)
    )


def release_of(where: Environment) -> str:
    """A kernel's release, without the version behind it: ``6.1.0-49-s390x``."""
    return where.kernel.partition(" ")[0]


def gravest(cells: Iterable[Cell]) -> Outcome:
    """The outcome that a reader has to know about first; of no cells there is none."""
    return min((cell.outcome for cell in cells), key=GRAVEST_FIRST.index)


def counts_text(counts: Mapping[Outcome, int]) -> str:
    """How many cells came to what, without what none came to: ``3 passed, 1 failed``."""
    return ", ".join(
        f"{counts[outcome]:,} {word}" for outcome, word in OUTCOME_WORDS.items() if counts[outcome]
    )


def accepted_text(run: Run) -> str:
    """What was accepted of runtimes, each with the cells where it was met; "" for nothing."""
    met = {name: len(deviation.met_by(run.cells, name)) for name in run.accept}
    return ", ".join(
        f"{name} ({cells_text(count)})" if count else f"{name} (not needed)"
        for name, count in met.items()
    )


def cells_text(count: int) -> str:
    """A number of cells, in words: ``1 cell``, ``1,204 cells``."""
    return counted(count, "cell")
