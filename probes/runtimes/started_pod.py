"""A pod that is started for its filters: a sandbox, and one container in it."""

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from probes import files
from probes.cri import connection, membership, seccomp, selection
from probes.cri.messages import (
    ContainerRequest,
    ContainerState,
    HostMount,
    NotFoundError,
    PodRequest,
)
from probes.cri.seccomp import PodFields, ProfileType, SeccompField, Sent
from probes.errors import BadInputError, InstrumentError
from probes.runtimes import arguments
from probes.runtimes.command import JOB_SECONDS
from probes.runtimes.wanted import Beside, Holder, InForce, Job, Mount, Wanted
from probes.text import OWN_WORDS, shown

if TYPE_CHECKING:  # what it imports need not be installed
    from probes.cri.client import Client, PendingRequest

_NAMESPACE: Final = "syscall-conformance"
_LABEL: Final = "syscall-conformance"
_CONTAINER: Final = "judged"
_LOG: Final = "container.log"
_MOST_BYTES: Final = 16 << 20
_POLL_INTERVAL: Final = 0.05
_SLICE: Final = "system.slice"
"""Where a pod stands whose runtime leaves control groups to systemd."""

_ROOT_GROUP: Final = "/"
"""Where it stands otherwise: a group of its own would stay."""

_HOST: Final = "host"
_POD: Final = "pod"
_FOLDER: Final = "/dev"
"""Where the holder is: in memory, so that nothing is written to the image's files."""

_DIGEST: Final = re.compile(r"(?:.*@)?(sha256:[0-9a-f]{64})|([0-9a-f]{64})")
_MOST_LINES: Final = 3
_NONE: Final = "no seccomp profile"


class StartedPod:
    """A pod with one container: implements ``Container``."""

    def __init__(self, wanted: Wanted, holder: Holder) -> None:
        """Reads what is asked for; nothing is made yet.

        Raises:
            BadInputError: a word of the user's is in the way, or a profile cannot be read.
        """
        if selection.is_selection(wanted.subject):
            raise BadInputError(
                f"cri:{shown(wanted.subject)}: it runs already, and so it is judged from outside"
                " alone: leave --inside and --probe-python out"
            )
        self._wanted = wanted
        self._holder = holder
        self._given = arguments.read(
            wanted.program.runtime, wanted.arguments, seccomp=wanted.seccomp
        )
        self._fields = _fields(wanted, self._given)
        self._sent = _sent(self._fields, is_bare=self._given.has(arguments.BARE))
        self._uses_host_network = _uses_host_network(self._given)
        self._annotations = _annotations(self._given)
        for one in (self._sent.sandbox, self._sent.container):
            if one is not None and one.file:
                files.read(Path(one.file), _MOST_BYTES, "a seccomp profile")
        self._client: Client | None = None
        self._running: PendingRequest | None = None
        self._folder = ""
        self._sandbox = ""
        self._container = ""

    @property
    def _path(self) -> str:
        return f"{_FOLDER}/{self._holder.name}"

    @property
    def _asked(self) -> "Client":
        """The client, once the pod is begun."""
        if self._client is None:
            self._client = connection.connect(self._wanted.endpoint)
        return self._client

    def given(self) -> None:
        """A pod's profile lies on its node, where the runtime reads it by itself."""

    def start(self) -> None:
        """Starts the pod, with the holder mounted into its container."""
        folder = self._begin()
        place = folder / self._holder.name
        place.write_bytes(self._holder.image)
        place.chmod(0o755)
        self._start(Job((self._path,), {}, (Mount(place, self._path),)))

    def _begin(self) -> Path:
        self._folder = tempfile.mkdtemp(prefix="syscall-conformance-")
        return Path(self._folder)

    def _start(self, job: Job) -> None:
        client, image = self._asked, self._wanted.subject
        if not client.has_image(image):
            client.pull(image)
        pod = self._pod(client)
        self._sandbox = client.run_sandbox(pod)
        container = ContainerRequest(
            name=_CONTAINER,
            image=image,
            words=job.words,
            log=_LOG,
            seccomp=self._sent.container,
            environment=job.environment,
            mounts=tuple(HostMount(str(one.source), one.place, one.writable) for one in job.mounts),
            capabilities_added=self._given.values(arguments.CAP_ADD),
            capabilities_dropped=self._given.values(arguments.CAP_DROP),
        )
        with self._told_of_its_end():
            self._container = client.create(self._sandbox, pod, container)
            client.start(self._container)

    def _pod(self, client: "Client") -> PodRequest:
        parents = self._given.values(arguments.CGROUP_PARENT)
        usual = _SLICE if client.uses_systemd() else _ROOT_GROUP
        return PodRequest(
            name=self._holder.name,
            namespace=_NAMESPACE,
            labels={_LABEL: self._holder.name},
            folder=self._folder,
            seccomp=self._sent.sandbox,
            cgroup_parent=parents[-1] if parents else usual,
            handler=next(iter(self._given.values(arguments.RUNTIME_HANDLER)[-1:]), ""),
            annotations=self._annotations,
            privileged=self._given.has(arguments.PRIVILEGED),
            uses_host_network=self._uses_host_network,
        )

    @contextlib.contextmanager
    def _told_of_its_end(self) -> Iterator[None]:
        """Says why a pod that was there a moment ago is not any more.

        Raises:
            BadInputError: somebody has removed it.
        """
        try:
            yield
        except NotFoundError as error:
            raise BadInputError(
                "cri: somebody has ended the pod meanwhile, as the kubelet of a node does with pods"
                " that it does not know: judge one of the cluster's own, by cri:pod=NAMESPACE/NAME;"
                f" {OWN_WORDS}: {str(error).partition(f'{OWN_WORDS}: ')[2] or error}"
            ) from error

    def run(self, job: Job) -> str:
        """Starts the pod and runs a command in its container, to its end."""
        self._begin()
        self._start(job)
        until = time.monotonic() + JOB_SECONDS
        with self._told_of_its_end():
            while self._asked.state_of(self._container) is not ContainerState.EXITED:
                if time.monotonic() > until:
                    raise InstrumentError(
                        f"cri: no end after {JOB_SECONDS:.0f} s: run the suite again"
                    )
                time.sleep(_POLL_INTERVAL)
            status = self._asked.exit_status_of(self._container)
        said = _printed(Path(self._folder, _LOG))
        if status:
            last = " / ".join(said.splitlines()[-_MOST_LINES:]) or "nothing"
            raise BadInputError(
                f"cri: {shown(job.words[0])} ended with status {status}; {OWN_WORDS}: {shown(last)}"
            )
        return said

    def execute(self) -> bool:
        """Has the runtime start another process in the container."""
        self._running = self._asked.execute(self._container, self._path)
        return True

    def runs(self) -> bool:
        """Whether the runtime says that the container runs."""
        with contextlib.suppress(NotFoundError):  # what is gone does not run
            return self._asked.state_of(self._container) is ContainerState.RUNNING
        return False

    def version(self) -> str:
        """The version and the name of the runtime that answers."""
        return f"{self._asked.version} ({self._asked.name})"

    def digest(self) -> str:
        """The id of the image that the container is of."""
        match = _DIGEST.fullmatch(self._asked.image_of(self._container))
        return "" if match is None else match[1] or f"sha256:{match[2]}"

    def in_force(self) -> InForce:
        """The profile, by the configuration that the OCI runtime got."""
        lifted = "--privileged" if self._given.has(arguments.PRIVILEGED) else ""
        told = self._asked.details_of_container(self._container).specification
        if told and not (told.get("linux") or {}).get("seccomp"):
            return InForce(_NONE, lifted)
        return InForce(_name_of(self._sent.container, self._asked.name), lifted)

    def beside(self) -> Beside:
        """The pause container's processes where they count, and what else is to be said."""
        notes = [note] if (note := seccomp.differences(self._fields)) else []
        if not self._given.has(arguments.PAUSE):
            notes.append(
                f"the pod's pause container ({seccomp.in_words(self._sent.sandbox)}), which runs no"
                " program of the user's, is not judged: --runtime-arg=--pause has it count"
            )
            return Beside(notes=tuple(notes))
        found = membership.members((self._sandbox,), membership.places(), ())
        return Beside(
            tuple((pid, "the pause container") for pid in found[self._sandbox]), tuple(notes)
        )

    def remove(self) -> None:
        """Removes the pod, whether it runs, is only made, or never was."""
        try:
            if self._client is not None:
                if self._running is not None:
                    self._running.cancel()
                for sandbox in self._made(self._client):
                    self._client.remove_sandbox(sandbox)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._client is not None:
            self._client.close()
            self._client = None

    def _made(self, client: "Client") -> Sequence[str]:
        """The ids of the sandboxes that were made: one, or none."""
        if self._sandbox:
            return (self._sandbox,)
        name = self._holder.name
        return [one.id for one in client.sandboxes() if one.labels.get(_LABEL) == name]


def _fields(wanted: Wanted, given: arguments.Arguments) -> PodFields:
    """The seccomp fields that are said.

    Where nothing is said about them the container gets the runtime's default profile.

    Raises:
        BadInputError: one is none, or two are said of the container.
    """
    named = given.values(arguments.CONTAINER_SECCOMP)
    if named and wanted.seccomp is not None:
        raise BadInputError(
            f"--runtime-arg --{arguments.CONTAINER_SECCOMP}={shown(named[-1])}: --seccomp is the"
            " container's profile already: leave one of them out"
        )
    pods = given.values(arguments.POD_SECCOMP)
    pod = seccomp.read(arguments.POD_SECCOMP, pods[-1]) if pods else None
    own = None if wanted.seccomp is None else seccomp.localhost(wanted.seccomp)
    if named:
        own = seccomp.read(arguments.CONTAINER_SECCOMP, named[-1])
    is_default = given.has(arguments.SECCOMP_DEFAULT)
    if own is None and pod is None and not is_default and not given.has(arguments.BARE):
        own = seccomp.RUNTIME_DEFAULT
    return PodFields(pod, own, is_default)


def _sent(fields: PodFields, *, is_bare: bool) -> Sent:
    return seccomp.as_bare_client(fields) if is_bare else seccomp.as_kubelet(fields)


def _uses_host_network(given: arguments.Arguments) -> bool:
    """Whether the pod has the node's network, as it has where nothing is said.

    Raises:
        BadInputError: something else is said.
    """
    said = (given.values(arguments.NETWORK) or (_HOST,))[-1]
    if said not in {_HOST, _POD}:
        raise BadInputError(
            f"--runtime-arg --{arguments.NETWORK}={shown(said)}: a pod has the node's network"
            f" ({_HOST}) or one of its own ({_POD})"
        )
    return said == _HOST


def _annotations(given: arguments.Arguments) -> Mapping[str, str]:
    return dict(one.partition("=")[::2] for one in given.values(arguments.ANNOTATION))


def _name_of(field: SeccompField | None, runtime: str) -> str:
    """What a sentence calls a profile that is in force."""
    if field is None:
        return f"{runtime}'s profile for containers without a seccomp field"
    if field.type is ProfileType.LOCALHOST:
        return shown(Path(field.file).name)
    return f"{runtime}'s default profile" if field.type is ProfileType.RUNTIME_DEFAULT else _NONE


def _printed(log: Path) -> str:
    """What a container printed, by its log: CRI writes a time, a stream and a tag before it."""
    try:
        lines = log.read_text("utf-8", errors="replace").splitlines()
    except OSError:  # it printed nothing, and some runtimes then make no file
        return ""
    text = ""
    for line in lines:
        _, stream, tag, said = (*line.split(" ", 3), "", "", "", "")[:4]
        if stream in {"stdout", "stderr"}:
            text += said if tag == "P" else f"{said}\n"
    return text.strip()
