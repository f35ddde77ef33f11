"""Several processes that belong together, by what confines them: a stack of filters for each."""

from collections.abc import Iterable, Sequence

from probes.instrument.harvest import Harvest
from probes.targets.stack import FilterStack
from probes.targets.threads import ThreadConfinement, alike, named, stack_of


def names_by_stack(processes: Iterable[Harvest]) -> dict[ThreadConfinement, list[str]]:
    """The processes by what confines them, each as a sentence names it.

    One of whose threads only some are confined so is named with these threads.
    """
    groups: dict[ThreadConfinement, list[str]] = {}
    for process in processes:
        for which, threads in alike(process.threads).items():
            whole = len(threads) == len(process.threads)
            part = "" if whole else f", {named('thread', [str(one.tid) for one in threads])}"
            groups.setdefault(which, []).append(f"{process.pid} ({process.comm}{part})")
    return groups


def stacks_of(processes: Sequence[Harvest], whole: str) -> list[FilterStack]:
    """Each stack of filters that confines some of the processes, once, in their order.

    Args:
        processes: what was read of each.
        whole: what a sentence calls them together.
    """
    return [
        stack_of(f"{named('process', names)} of {whole}", confinement)
        for confinement, names in names_by_stack(processes).items()
    ]
