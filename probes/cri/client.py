"""Asks a runtime by CRI, and gives what it says as plain records.

Only this module imports gRPC, which not everybody has installed: see ``connection``.
"""

import json
import os
from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

# grpc is told before it is imported: what it says itself would stand among our own lines.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from cri_api.v1 import api_pb2, api_pb2_grpc
from cri_api.v1alpha2 import api_pb2 as old_pb2
from cri_api.v1alpha2 import api_pb2_grpc as old_pb2_grpc

from probes.cri import endpoint
from probes.cri.messages import (
    ContainerRequest,
    ContainerState,
    Details,
    NotFoundError,
    PodContainer,
    PodRequest,
    PodSandbox,
)
from probes.cri.seccomp import SeccompField
from probes.errors import BadInputError, InstrumentError
from probes.text import OWN_WORDS, shown

SECONDS: Final = 120.0
"""How long a request may take; a fraction of a second is usual."""

PULL_SECONDS: Final = 900.0
"""How long an image may take that is fetched."""

_FIRST_SECONDS: Final = 20.0
"""How long the runtime may take to say its version."""

_MOST_WORDS: Final = 400

_OPTIONS: Final = (
    # What stands there by default is the socket's path, which some servers refuse.
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
)

_Answer = TypeVar("_Answer")


class PendingRequest(Protocol):
    """A request that is under way."""

    def cancel(self) -> object:
        """Gives it up: the runtime ends what it has started for it."""


class Client:
    """A runtime that speaks CRI.

    Attributes:
        place: the path of its socket.
        daemon: the process that listens there, by our pid; 0 where that is not ours to see.
        name: what the runtime calls itself, such as ``containerd``.
        version: its version.
    """

    def __init__(self, place: str) -> None:
        """Connects to a runtime.

        Args:
            place: the path of its socket.

        Raises:
            BadInputError: nobody listens there, or whoever does has no such interface.
            InstrumentError: it does not answer in time.
        """
        self.place = place
        self.daemon = endpoint.daemon_of(place)
        self._channel = grpc.insecure_channel(f"unix:{place}", options=_OPTIONS)
        self._runtime = api_pb2_grpc.RuntimeServiceStub(self._channel)
        self._images = api_pb2_grpc.ImageServiceStub(self._channel)
        try:
            told = self._version()
        except BaseException:  # it is raised again: nobody has the client who could close it
            self.close()
            raise
        self.name, self.version = shown(told.runtime_name), shown(told.runtime_version)

    def _version(self) -> api_pb2.VersionResponse:
        try:
            told: api_pb2.VersionResponse = self._runtime.Version(
                api_pb2.VersionRequest(), timeout=_FIRST_SECONDS
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._refusal("Version", error) from error
            raise BadInputError(self._why_not(error)) from error
        return told

    def _why_not(self, error: grpc.RpcError) -> str:
        """Why whoever listens does not know CRI's version 1."""
        old = old_pb2_grpc.RuntimeServiceStub(self._channel)
        try:
            told = old.Version(old_pb2.VersionRequest(), timeout=_FIRST_SECONDS)
        except grpc.RpcError:  # then it does not know CRI at all
            return (
                f"{shown(self.place)}: whoever listens there does not offer CRI; containerd does"
                " not where its configuration has cri among disabled_plugins, as Docker's packages"
                f" have it: enable it; {OWN_WORDS}: {_own_words(error)}"
            )
        return (
            f"{shown(self.place)}: {shown(told.runtime_name)} {shown(told.runtime_version)} speaks"
            " version v1alpha2 of CRI only, and v1 is needed: install containerd 1.6, CRI-O 1.23 or"
            " newer"
        )

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def _ask(
        self, name: str, request: object, answer: type[_Answer], seconds: float = SECONDS
    ) -> _Answer:
        """Sends a request and waits for its answer.

        Raises:
            NotFoundError: there is no such thing.
            BadInputError: it is refused; in the runtime's own words.
            InstrumentError: it takes too long.
        """
        stub = self._runtime if hasattr(self._runtime, name) else self._images
        try:
            found = getattr(stub, name)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise self._refusal(name, error) from error
        if not isinstance(found, answer):
            raise InstrumentError(f"{self.place}: {name}: an answer of another sort")
        return found

    def _refusal(self, name: str, error: grpc.RpcError) -> BadInputError | InstrumentError:
        said = f"CRI at {shown(self.place)}: {name}"
        words = f"{OWN_WORDS}: {_own_words(error)}"
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                return NotFoundError(f"{said}: there is none; {words}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return InstrumentError(
                    f"{said}: no answer in time: see what the runtime waits for, and run the suite"
                    " again"
                )
            case grpc.StatusCode.UNAVAILABLE:
                return BadInputError(
                    f"{said}: the runtime has ended, or speaks no gRPC: start it, or name its"
                    f" socket by --runtime-endpoint; {words}"
                )
            case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
                return BadInputError(
                    f"{said}: the runtime refuses this user: run the suite as root; {words}"
                )
        return BadInputError(f"{said}: {_hint(_details(error))}{words}")

    # What is there.

    def sandboxes(self) -> tuple[PodSandbox, ...]:
        """Every pod, whether it runs or not."""
        told = self._ask(
            "ListPodSandbox", api_pb2.ListPodSandboxRequest(), api_pb2.ListPodSandboxResponse
        )
        return tuple(
            PodSandbox(
                one.id,
                one.metadata.name,
                one.metadata.namespace,
                dict(one.labels),
                one.state == api_pb2.SANDBOX_READY,
                one.runtime_handler,
            )
            for one in told.items
        )

    def containers(self) -> tuple[PodContainer, ...]:
        """Every container of every pod, the oldest first."""
        told = self._ask(
            "ListContainers", api_pb2.ListContainersRequest(), api_pb2.ListContainersResponse
        )
        found = [
            PodContainer(
                one.id,
                one.metadata.name,
                one.pod_sandbox_id,
                ContainerState(one.state),
                one.image.user_specified_image or one.image.image,
                one.created_at,
            )
            for one in told.containers
        ]
        return tuple(sorted(found, key=lambda one: (one.created, one.id)))

    def details_of_sandbox(self, identifier: str) -> Details:
        """What the runtime tells of a sandbox.

        Raises:
            NotFoundError: there is none.
        """
        request = api_pb2.PodSandboxStatusRequest(pod_sandbox_id=identifier, verbose=True)
        told = self._ask("PodSandboxStatus", request, api_pb2.PodSandboxStatusResponse)
        return _details_of(told.info)

    def details_of_container(self, identifier: str) -> Details:
        """What the runtime tells of a container.

        Raises:
            NotFoundError: there is none.
        """
        return _details_of(self._status(identifier).info)

    def state_of(self, identifier: str) -> ContainerState:
        """What a container does.

        Raises:
            NotFoundError: there is none.
        """
        return ContainerState(self._status(identifier).status.state)

    def exit_status_of(self, identifier: str) -> int:
        """The exit status of a container that has ended.

        Raises:
            NotFoundError: there is none.
        """
        return int(self._status(identifier).status.exit_code)

    def image_of(self, identifier: str) -> str:
        """The id of the image that a container is of.

        Raises:
            NotFoundError: there is none.
        """
        return str(self._status(identifier).status.image_ref)

    def _status(self, identifier: str) -> api_pb2.ContainerStatusResponse:
        request = api_pb2.ContainerStatusRequest(container_id=identifier, verbose=True)
        return self._ask("ContainerStatus", request, api_pb2.ContainerStatusResponse)

    def uses_systemd(self) -> bool:
        """Whether the runtime has systemd make its control groups, and so takes slices only."""
        try:
            told = self._ask(
                "RuntimeConfig", api_pb2.RuntimeConfigRequest(), api_pb2.RuntimeConfigResponse
            )
        except BadInputError:  # before Kubernetes 1.28 nobody could ask
            return '"SystemdCgroup":true' in self._configuration()
        return told.linux.cgroup_driver == api_pb2.SYSTEMD

    def _configuration(self) -> str:
        told = self._ask("Status", api_pb2.StatusRequest(verbose=True), api_pb2.StatusResponse)
        return str(told.info.get("config", ""))

    # What is made, and removed.

    def run_sandbox(self, pod: PodRequest) -> str:
        """Starts a pod without containers; gives its sandbox's id.

        Raises:
            BadInputError: it is refused; the sentence says if the runtime keeps something of it.
            InstrumentError: it takes too long.
        """
        request = api_pb2.RunPodSandboxRequest(
            config=_sandbox_config(pod), runtime_handler=pod.handler
        )
        try:
            return self._ask(
                "RunPodSandbox", request, api_pb2.RunPodSandboxResponse, PULL_SECONDS
            ).pod_sandbox_id
        except BadInputError as error:
            if left := self._left_of(pod):
                raise BadInputError(f"{error}; {left}") from error
            raise
        except BaseException:  # it is raised again, once nothing of the pod is left
            self._left_of(pod)
            raise

    def _left_of(self, pod: PodRequest) -> str:
        """Removes what a runtime keeps of a pod that it did not finish; says what cannot be.

        containerd keeps it for the kubelet to remove, without an answer that has its id. Where a
        network plug-in is missing, that fails as well.
        """
        try:
            for one in self.sandboxes():
                if (one.namespace, one.name) == (pod.namespace, pod.name):
                    self.remove_sandbox(one.id)
        except (BadInputError, InstrumentError):
            return (
                f"nor can it be removed: crictl rmp --force removes the pod {pod.name} once the"
                " runtime is in order"
            )
        return ""

    def create(self, sandbox: str, pod: PodRequest, container: ContainerRequest) -> str:
        """Makes a container in a pod; gives its id."""
        request = api_pb2.CreateContainerRequest(
            pod_sandbox_id=sandbox,
            config=_container_config(pod, container),
            sandbox_config=_sandbox_config(pod),
        )
        return self._ask("CreateContainer", request, api_pb2.CreateContainerResponse).container_id

    def start(self, container: str) -> None:
        """Starts a container."""
        request = api_pb2.StartContainerRequest(container_id=container)
        self._ask("StartContainer", request, api_pb2.StartContainerResponse)

    def execute(self, container: str, *words: str) -> "PendingRequest":
        """Has a command run in a container; it ends with its own end, or when it is cancelled."""
        request = api_pb2.ExecSyncRequest(container_id=container, cmd=words, timeout=int(SECONDS))
        call: PendingRequest = self._runtime.ExecSync.future(request, timeout=SECONDS)
        return call

    def has_image(self, name: str) -> bool:
        """Whether the runtime has an image."""
        request = api_pb2.ImageStatusRequest(image=api_pb2.ImageSpec(image=name))
        return bool(self._ask("ImageStatus", request, api_pb2.ImageStatusResponse).image.id)

    def pull(self, name: str) -> None:
        """Has the runtime fetch an image.

        Raises:
            BadInputError: it cannot be had.
        """
        request = api_pb2.PullImageRequest(image=api_pb2.ImageSpec(image=name))
        try:
            self._ask("PullImage", request, api_pb2.PullImageResponse, PULL_SECONDS)
        except BadInputError as error:
            own = str(error).partition(f"{OWN_WORDS}: ")[2] or str(error)
            raise BadInputError(
                f"{shown(name)}: the runtime has no such image and cannot fetch it: check its name,"
                f" or bring it to the node first; {OWN_WORDS}: {own}"
            ) from error

    def remove_sandbox(self, sandbox: str) -> None:
        """Ends a pod and removes it with all its containers; it may be gone already."""
        try:
            self._ask(
                "StopPodSandbox",
                api_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox),
                api_pb2.StopPodSandboxResponse,
            )
            self._ask(
                "RemovePodSandbox",
                api_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox),
                api_pb2.RemovePodSandboxResponse,
            )
        except NotFoundError:  # somebody else has removed it
            return


def _sandbox_config(pod: PodRequest) -> api_pb2.PodSandboxConfig:
    """The pod, as CRI has it."""
    context = api_pb2.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(pod), privileged=pod.privileged, seccomp=_profile(pod.seccomp)
    )
    return api_pb2.PodSandboxConfig(
        metadata=api_pb2.PodSandboxMetadata(
            name=pod.name, uid=pod.name, namespace=pod.namespace, attempt=0
        ),
        hostname="" if pod.uses_host_network else pod.name,
        log_directory=pod.folder,
        labels=pod.labels,
        annotations=pod.annotations,
        linux=api_pb2.LinuxPodSandboxConfig(
            cgroup_parent=pod.cgroup_parent, security_context=context
        ),
    )


def _container_config(pod: PodRequest, container: ContainerRequest) -> api_pb2.ContainerConfig:
    """The container, as CRI has it."""
    context = api_pb2.LinuxContainerSecurityContext(
        namespace_options=_namespaces(pod),
        privileged=pod.privileged,
        seccomp=_profile(container.seccomp),
        capabilities=api_pb2.Capability(
            add_capabilities=container.capabilities_added,
            drop_capabilities=container.capabilities_dropped,
        ),
    )
    return api_pb2.ContainerConfig(
        metadata=api_pb2.ContainerMetadata(name=container.name, attempt=0),
        image=api_pb2.ImageSpec(image=container.image),
        command=container.words,
        envs=[
            api_pb2.KeyValue(key=name, value=value) for name, value in container.environment.items()
        ],
        mounts=[
            api_pb2.Mount(host_path=one.source, container_path=one.place, readonly=not one.writable)
            for one in container.mounts
        ],
        labels=pod.labels,
        annotations=pod.annotations,
        log_path=container.log,
        linux=api_pb2.LinuxContainerConfig(security_context=context),
    )


def _namespaces(pod: PodRequest) -> api_pb2.NamespaceOption:
    network = api_pb2.NODE if pod.uses_host_network else api_pb2.POD
    return api_pb2.NamespaceOption(network=network, pid=api_pb2.CONTAINER)


def _profile(field: SeccompField | None) -> api_pb2.SecurityProfile | None:
    """A seccomp field; None leaves it out."""
    if field is None:
        return None
    kind = api_pb2.SecurityProfile.ProfileType.ValueType(field.number)
    return api_pb2.SecurityProfile(profile_type=kind, localhost_ref=field.file)


def _details_of(info: Mapping[str, str]) -> Details:
    """What stands in the answer to a verbose request: JSON whose form CRI leaves open."""
    try:
        told = json.loads(info.get("info", "{}"))
        return Details(
            int(told.get("pid") or 0),
            told.get("runtimeSpec") or {},
            told.get("config"),
            told.get("runtimeOptions") or {},
        )
    except (ValueError, TypeError, AttributeError, RecursionError):  # CRI leaves the form open
        return Details()


def _details(error: grpc.RpcError) -> str:
    return str(error.details() or error.code())


def _own_words(error: grpc.RpcError) -> str:
    text = shown(" ".join(_details(error).split()))
    return text if len(text) <= _MOST_WORDS else f"... {text[-_MOST_WORDS:]}"


_HINTS: Final = (
    (
        ("cni", "network is not ready", "networkplugin"),
        "it cannot give the pod its network: leave --network out, for it changes no filter",
    ),
    (("no runtime for", "runtime handler"), "it does not know the --runtime-handler"),
    (
        ("failed to get sandbox image", "sandbox image"),
        "it cannot fetch the pause image that its configuration names: bring it to the node first",
    ),
    (
        ("seccomp",),
        "it refuses the seccomp profile",
    ),
    (
        ("final child's pid", "oom_score_adj"),
        "its OCI runtime ended, as where it may not lower oom_score_adj (restrict_oom_score_adj)",
    ),
    (("cgroup",), "it has trouble with control groups: name one by --runtime-arg=--cgroup-parent"),
)
"""Words of runtimes, in lower case, and what they mean; the first that fits counts."""


def _hint(said: str) -> str:
    text = said.lower()
    for signs, meaning in _HINTS:
        if any(sign in text for sign in signs):
            return f"{meaning}; "
    return ""
