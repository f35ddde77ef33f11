"""The target ``pid:N``: the filters that a running process has, read from the kernel."""

from collections.abc import Iterator, Sequence

from probes.finding import Finding, Weight, advice
from probes.instrument import harvest
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.targets import sandbox_kernel, started_below
from probes.targets.stack import FilterStack
from probes.targets.threads import alike, named, stack_of, together, told_apart


def load(pid: int) -> FilterStack:
    """Reads the filters of every thread of a process; it goes on unchanged.

    Each stack of filters is there once: at first that of the first thread, then by the lowest id
    of a thread that has it. Where the first thread has ended and others live on, the one with the
    lowest id stands for it.

    Raises:
        BadInputError: there is no such process, or this user may not read it.
        InstrumentError: this kernel does not tell, or the process cannot be stopped in time.
    """
    found = harvest.filters_of(pid)
    description = f"process {found.pid} ({found.comm})"
    groups = alike(found.threads)
    stacks = [
        stack_of(description if len(groups) == 1 else _named(threads, description), confinement)
        for confinement, threads in groups.items()
    ]
    return together(description, stacks, _findings(description, found, stacks))


def _named(threads: list[ThreadFilters], process: str) -> str:
    names = [f"{thread.tid} ({thread.comm})" for thread in threads]
    return f"{named('thread', names)} of {process}"


def _findings(description: str, found: Harvest, stacks: Sequence[FilterStack]) -> Iterator[Finding]:
    if not found.settled:
        yield Finding(
            f"the threads of {description} kept changing while they were read,"
            f" {harvest.MOST_READINGS} times, so that some may not be judged: judge it while it"
            " starts no threads",
            Weight.LIMITS,
            "threads that come and go",
        )
    if kind := sandbox_kernel.of_process(found.pid):
        yield Finding(
            f"{description} is the supervisor of a sandbox ({kind}): its own filter is there to"
            " protect the host, and is not what confines the programs in the sandbox: judge these"
            " from inside of it, with --target=ambient",
            Weight.LIMITS,
            "the sandbox's programs",
            everything=True,
        )
    if found.threads[0].tid != found.pid:
        yield Finding(f"the first thread of {description} has ended; the others were judged")
    if not any(one.programs for one in stacks):
        yield Finding(
            f"{description} has no seccomp filter at all (its status says Seccomp: 0)"
            f"{_meant_perhaps(found.pid)}"
        )
    yield from advice(told_apart(stacks))


def _meant_perhaps(pid: int) -> str:
    """The end of a sentence about a process without a filter: what has one below it."""
    below = started_below.nearest(pid)
    if not below:
        return ""
    first, *others = below
    more = f" and {len(others)} more" if others else ""
    return (
        f", but below it process {first.pid} ({first.comm}){more} {'have' if others else 'has'}:"
        f" where it is what starts a sandbox, judge what runs in there, with pid:{first.pid}"
    )
