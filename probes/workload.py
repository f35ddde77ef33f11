"""What a survey of a machine came to: its stacks of filters, containers and services. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class OwnerKind(StrEnum):
    """The kinds of things that processes belong to."""

    CONTAINER = "container"
    SERVICE = "service"
    OTHER = "other"


class WorkloadState(StrEnum):
    """What is known of a container or a service, the gravest first."""

    NONE = "none"
    FAILS = "fails"
    CANNOT_TELL = "cannot_tell"
    WAIVED = "waived"
    HOLDS = "holds"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class StackRow:
    """A distinct stack of filters.

    Attributes:
        name: the beginning of its digest: the same on every machine.
        logged: for each of its programs, the oldest first, whether it was installed with
            SECCOMP_FILTER_FLAG_LOG.
        processes: how many processes have it.
        state: what its verdicts come to.
    """

    name: str
    logged: tuple[bool, ...]
    processes: int
    state: WorkloadState


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """A container, a service, or processes that belong to neither.

    Attributes:
        kind: the kind.
        engine: what made it; "" where that is not known.
        id: the container's id or the unit's name.
        name: the name by which people know it.
        title: what sentences call it.
        image: the container's image; "" where it is not known.
        pod: the uid of the Kubernetes pod; "" outside of pods.
        inside: the id of the container around it; "" where there is none.
        processes: how many processes belong to it.
        stacks: which of the stacks of filters they have, by name.
        required: whether the verdict on the machine depends on it.
        state: whether it holds.
        sentence: the same in one sentence.
    """

    kind: OwnerKind
    engine: str
    id: str
    name: str
    title: str
    image: str
    pod: str
    inside: str
    processes: int
    stacks: tuple[str, ...]
    required: bool
    state: WorkloadState
    sentence: str


@dataclass(frozen=True, slots=True)
class Survey:
    """All that was found on a machine.

    Attributes:
        stacks: the distinct stacks of filters, by name.
        workloads: the containers and services, and other processes where these were asked about.
        others: how many processes belong to no container and no service.
        kernel_threads: how many threads are the kernel's own.
        zombies: how many processes had ended, and only waited for their parents.
    """

    stacks: tuple[StackRow, ...]
    workloads: tuple[WorkloadRow, ...]
    others: int
    kernel_threads: int
    zombies: int
