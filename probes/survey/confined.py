"""What confines the processes of a machine: each distinct stack of filters once.

Stacks are the same where all their programs are, byte for byte, in the same order and with the same
flags. The kernel has no shorter way to tell: that two processes have as many filters says nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.errors import SuiteError
from probes.instrument import harvest
from probes.instrument.harvest import Harvest
from probes.survey import seen_processes
from probes.survey.seen_processes import SeenProcess
from probes.survey.workloads import FoundWorkload
from probes.targets import sandbox_kernel
from probes.targets.threads import ThreadConfinement, alike, named

NAME_DIGITS: Final = 12
"""How much of its digest is the name of a stack."""

_SECONDS: Final = 2.0
"""How long one process may take; the many others have to be read as well."""


@dataclass(frozen=True, slots=True)
class Confined:
    """What confines a container or a service.

    Attributes:
        workload: the container or the service.
        stacks: the distinct stacks of filters that its threads have, in the order in which they
            were met, each with how many processes have it.
        bare: the processes of which a thread has no filter.
        untold: what could not be seen of a process, in sentences.
        read: how many of its processes were seen, in whatever way.
    """

    workload: FoundWorkload
    stacks: tuple[tuple[ThreadConfinement, int], ...] = ()
    bare: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    read: int = 0

    @property
    def is_open(self) -> bool:
        """Whether nothing that was seen of it has any filter."""
        return bool(self.bare) and not self.stacks

    @property
    def lacking(self) -> str:
        """The sentence about processes without a filter; "" where each has one."""
        title, count = self.workload.title, len(self.bare)
        if not count:
            return ""
        if self.is_open and count == self.read:
            whose = "its process" if count == 1 else f"all of its {count:,} processes"
            return f"{title} has no seccomp filter at all ({whose}: Seccomp: 0)"
        listed = named("process", self.bare)
        verb = "has" if count == 1 else "have"
        return f"{listed} of {title} {verb} no seccomp filter, or not in each thread"


def name_of(confinement: ThreadConfinement) -> str:
    """The name of a stack of filters: it is the same on every machine.

    That of one program without flags begins as the digest of its file does.
    """
    programs, logged = confinement
    if len(programs) == 1 and not any(logged):
        return hashlib.sha256(programs[0]).hexdigest()[:NAME_DIGITS]
    parts = (
        f"{hashlib.sha256(raw).hexdigest()}{'+log' if flag else ''}"
        for raw, flag in zip(programs, logged, strict=True)
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:NAME_DIGITS]


def confined(workload: FoundWorkload, own: int) -> Confined:
    """Reads the filters of every process of a container or a service; they go on unchanged.

    A process that ends meanwhile is left out, and so is the suite itself.

    Args:
        workload: the container or the service.
        own: the id of the suite's own process.
    """
    found: dict[ThreadConfinement, int] = {}
    bare, untold, read = list[str](), list[str](), 0
    for process in workload.processes:
        if process.pid == own:
            continue
        seen = _seen(process)
        if seen is None:
            continue
        read += 1
        untold += _limits(process, seen)
        if isinstance(seen, str):
            continue
        groups = alike(seen.threads)
        if any(not programs for programs, _ in groups):
            bare.append(_named(process))
        for confinement in groups:
            if confinement[0]:
                found[confinement] = found.get(confinement, 0) + 1
    return Confined(workload, tuple(found.items()), tuple(bare), tuple(untold), read)


def _named(process: SeenProcess) -> str:
    return f"{process.pid} ({process.name})"


def _seen(process: SeenProcess) -> Harvest | str | None:
    """The filters of a process; why they cannot be seen, or None where it has ended."""
    try:
        found = harvest.filters_of(process.pid, _SECONDS)
    except SuiteError as error:
        return str(error) if seen_processes.is_still(process) else None
    return found if seen_processes.is_still(process) else None


def _limits(process: SeenProcess, seen: Harvest | str) -> Iterator[str]:
    """What is not known of a process although it was read."""
    if isinstance(seen, str):
        yield seen
        return
    if not seen.settled:
        yield f"the threads of process {_named(process)} kept changing while they were read"
    if kind := sandbox_kernel.of_process(process.pid):
        yield (
            f"process {_named(process)} is the supervisor of a sandbox ({kind}): what confines the"
            " programs in it is judged from inside of it, with --target=ambient"
        )


def distinct(every: Iterable[Confined]) -> tuple[ThreadConfinement, ...]:
    """The distinct stacks of all, in the order of their names."""
    found: Sequence[ThreadConfinement] = list(
        dict.fromkeys(confinement for one in every for confinement, _ in one.stacks)
    )
    return tuple(sorted(found, key=name_of))
