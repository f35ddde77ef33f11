"""A pod with one container that runs a program, as the kubelet has containerd start it by CRI."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from probes.cri import connection, seccomp
from probes.cri.messages import ContainerRequest, ContainerState, PodRequest
from probes.errors import InstrumentError

if TYPE_CHECKING:  # it takes gRPC
    from probes.cri.client import Client

PAUSE_IMAGE: Final = "docker.io/library/prober:pause"
IMAGE: Final = "docker.io/library/prober:1"
NAMESPACE: Final = "k8s.io"
"""Where CRI looks for images."""

# A process that may not lower its own oom_score_adj cannot give a pause container a lower one. The
# form of version 2 is read by every containerd since 1.3.
CONFIGURATION: Final = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
"""

_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_LOG_FIELDS: Final = 3
"""The fields before what was printed: time, stream, and whether the line is whole."""


@dataclass(frozen=True, slots=True)
class ProgramInPod:
    """A program that is to run in a pod of its own.

    Attributes:
        name: the pod's name, like no other's.
        folder: a folder that containerd has at the same path.
        profile: the file of a Localhost profile; None for RuntimeDefault.
        words: the program with its arguments.
    """

    name: str
    folder: Path
    profile: Path | None
    words: Sequence[str]


def said(socket: Path, program: ProgramInPod) -> str:
    """Runs a program to its end, and gives what it printed.

    Args:
        socket: containerd's socket.
        program: the program.

    Raises:
        SuiteError: containerd refuses, or the program takes too long.
    """
    client = connection.connect(str(socket))
    with _removed(client, program) as container:
        until = time.monotonic() + _SECONDS
        while client.state_of(container) is not ContainerState.EXITED:
            if time.monotonic() > until:
                raise InstrumentError(f"the program in the pod {program.name} does not end")
            time.sleep(_POLL_SECONDS)
        lines = (program.folder / program.name / "log").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.split(" ", _LOG_FIELDS)[-1] for line in lines) + "\n"


def left(socket: Path, program: ProgramInPod) -> None:
    """Starts a program, and leaves its pod to the end of its machine.

    Raises:
        SuiteError: containerd refuses.
    """
    _start(connection.connect(str(socket)), program)


@contextlib.contextmanager
def _removed(client: "Client", program: ProgramInPod) -> Iterator[str]:
    sandbox, container = _start(client, program)
    try:
        yield container
    finally:
        client.remove_sandbox(sandbox)


def _start(client: "Client", program: ProgramInPod) -> tuple[str, str]:
    field = (
        seccomp.RUNTIME_DEFAULT if program.profile is None else seccomp.localhost(program.profile)
    )
    folder = str(program.folder / program.name)
    pod = PodRequest(program.name, "bench", {}, folder, field)
    sandbox = client.run_sandbox(pod)
    request = ContainerRequest("one", IMAGE, tuple(program.words), "log", field)
    container = client.create(sandbox, pod, request)
    client.start(container)
    return sandbox, container
