"""The target ``pid:N``: the filters that a running process has, read from the kernel."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from probes import bpf, harvest
from probes.bpf import Program
from probes.errors import BadInputError
from probes.finding import Finding, advice
from probes.harvest import Harvest, ThreadFilters


@dataclass(frozen=True, slots=True)
class ProcessFilters:
    """What confines a running process.

    Attributes:
        description: what a sentence calls it, such as ``process 123 (nginx)``.
        programs: the filters of its first thread, the oldest first.
        findings: a sentence for each other thread that is confined differently.
        logged: those of the programs that were installed with SECCOMP_FILTER_FLAG_LOG.
    """

    description: str
    programs: tuple[Program, ...]
    findings: tuple[Finding, ...] = ()
    logged: frozenset[Program] = frozenset()


def load(pid: int) -> ProcessFilters:
    """Reads the filters of a process; it goes on unchanged.

    Where the first thread has ended and others live on, the one with the lowest id stands for it.

    Raises:
        BadInputError: there is no such process, its first thread has no filter, or this user may
            not read it.
        InstrumentError: this kernel does not tell, or the process cannot be stopped in time.
    """
    found = harvest.filters_of(pid)
    first = found.threads[0]
    description = f"process {found.pid} ({found.comm})"
    if not first.programs:
        confined = [thread for thread in found.threads if thread.programs]
        raise BadInputError(
            f"the first thread of {description} has no seccomp filter, although thread "
            f"{confined[0].tid} ({confined[0].comm}) has: give a process that is confined whole"
        )
    big_endian = sys.byteorder == "big"
    programs = tuple(bpf.from_bytes(raw, big_endian=big_endian) for raw in first.programs)
    logged = frozenset(bpf.from_bytes(raw, big_endian=big_endian) for raw in first.logged)
    return ProcessFilters(description, programs, advice(_findings(description, found)), logged)


def _findings(description: str, found: Harvest) -> Iterator[str]:
    first = found.threads[0]
    for thread in found.threads[1:]:
        if thread.programs != first.programs:
            yield (
                f"thread {thread.tid} ({thread.comm}) of {description} is confined differently "
                f"from thread {first.tid}: {_difference(first, thread)}"
            )


def _difference(first: ThreadFilters, other: ThreadFilters) -> str:
    ours, theirs = first.programs, other.programs
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    return f"{len(theirs)} filters against {len(ours)}, of which the {shared} oldest are the same"
