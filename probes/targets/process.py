"""The target ``pid:N``: the filters that a running process has, read from the kernel."""

from collections.abc import Iterator
from dataclasses import dataclass

from probes.finding import Finding, Weight, advice
from probes.instrument import harvest
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.targets import supervisor
from probes.targets.stack import Stack, alike, named, programs_of, told_apart


@dataclass(frozen=True, slots=True)
class ProcessFilters:
    """What confines a running process.

    Attributes:
        description: what a sentence calls it, such as ``process 123 (nginx)``.
        stacks: what its threads are confined by, each stack of filters once: at first that of the
            first thread, then by the lowest id of a thread that has it.
        findings: what else a reader must know of the process.
    """

    description: str
    stacks: tuple[Stack, ...]
    findings: tuple[Finding, ...] = ()


def load(pid: int) -> ProcessFilters:
    """Reads the filters of every thread of a process; it goes on unchanged.

    Where the first thread has ended and others live on, the one with the lowest id stands for it.

    Raises:
        BadInputError: there is no such process, or this user may not read it.
        InstrumentError: this kernel does not tell, or the process cannot be stopped in time.
    """
    found = harvest.filters_of(pid)
    description = f"process {found.pid} ({found.comm})"
    groups = alike(found.threads)
    stacks = tuple(
        Stack(
            description if len(groups) == 1 else _named(threads, description),
            programs_of(programs),
            logged,
        )
        for (programs, logged), threads in groups.items()
    )
    return ProcessFilters(description, stacks, tuple(_findings(description, found, stacks)))


def _named(threads: list[ThreadFilters], process: str) -> str:
    names = [f"{thread.tid} ({thread.comm})" for thread in threads]
    return f"{named('thread', names)} of {process}"


def _findings(description: str, found: Harvest, stacks: tuple[Stack, ...]) -> Iterator[Finding]:
    if not found.settled:
        yield Finding(
            f"the threads of {description} kept changing while they were read,"
            f" {harvest.MOST_READINGS} times, so that some may not be judged: judge it while it"
            " starts no threads",
            Weight.LIMITS,
            "threads that come and go",
        )
    if kind := supervisor.of_process(found.pid):
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
        yield Finding(f"{description} has no seccomp filter at all (its status says Seccomp: 0)")
    yield from advice(told_apart(stacks))
