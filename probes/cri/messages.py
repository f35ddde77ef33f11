"""What is asked of a runtime by CRI, and what it says, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from probes.cri.seccomp import SeccompField
from probes.errors import BadInputError
from probes.text import shown


class NotFoundError(BadInputError):
    """The runtime does not know what is asked for."""


@dataclass(frozen=True, slots=True)
class HostMount:
    """A file or folder of the node in a container.

    Attributes:
        source: its path on the node.
        place: where it is in the container.
        writable: whether the container may write to it.
    """

    source: str
    place: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod that is to be started.

    Attributes:
        name: its name, like no other's.
        namespace: its namespace.
        labels: what it is found by.
        folder: the folder on the node for what its containers print.
        seccomp: the field of its sandbox; None leaves it out.
        cgroup_parent: the control group that it stands in; "" for the runtime's usual one.
        handler: the runtime class's handler; "" for the usual one.
        annotations: annotations of the pod and of its container.
        privileged: whether it is privileged.
        uses_host_network: whether it has the node's network, and so needs none of its own.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    folder: str
    seccomp: SeccompField | None
    cgroup_parent: str = ""
    handler: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False
    uses_host_network: bool = True


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A container that is to be made in a pod.

    Attributes:
        name: its name in the pod.
        image: the image.
        words: the command that runs in it.
        log: the file in the pod's folder for what it prints.
        seccomp: its field; None leaves it out.
        environment: variables.
        mounts: what is mounted from the node.
        capabilities_added: capabilities besides the usual ones.
        capabilities_dropped: capabilities that it does not get.
    """

    name: str
    image: str
    words: tuple[str, ...]
    log: str
    seccomp: SeccompField | None
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[HostMount, ...] = ()
    capabilities_added: tuple[str, ...] = ()
    capabilities_dropped: tuple[str, ...] = ()


class ContainerState(Enum):
    """What a container does, by the numbers of CRI."""

    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Details:
    """What a runtime tells of a container or of a sandbox only when it is asked for everything.

    Attributes:
        pid: its first process, by the runtime's pid; 0 where it has none or does not say.
        specification: the OCI configuration that the OCI runtime got; empty where it is not told.
        request: what the client had asked for; None where it is not told.
        options: those of the OCI runtime, such as its program.
    """

    pid: int = 0
    specification: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodSandbox:
    """A pod, as CRI has it.

    Attributes:
        id: the sandbox's id.
        name: the pod's name.
        namespace: its namespace.
        labels: its labels.
        is_ready: whether it runs.
        handler: the runtime class's handler; "" for the usual one.
    """

    id: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    is_ready: bool
    handler: str = ""

    @property
    def words(self) -> str:
        """The pod in a sentence."""
        return shown(f"{self.namespace}/{self.name}")


@dataclass(frozen=True, slots=True)
class PodContainer:
    """A container of a pod.

    Attributes:
        id: its id.
        name: its name in the pod.
        sandbox: the id of its pod's sandbox.
        state: what it does.
        image: the image, as the runtime names it.
        created: when it was made, in nanoseconds since 1970.
    """

    id: str
    name: str
    sandbox: str
    state: ContainerState
    image: str
    created: int = 0
