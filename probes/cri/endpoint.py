"""The socket by which a container runtime speaks CRI: where it is, and whether anybody answers."""

import os
import re
import socket
import struct
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.text import shown

VARIABLE: Final = "CONTAINER_RUNTIME_ENDPOINT"
"""The variable by which crictl is told the socket."""

CRICTL: Final = Path("/etc/crictl.yaml")
"""The configuration of crictl, which most nodes have."""

USUAL: Final = (
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
)
"""Where runtimes put it: containerd, CRI-O, cri-dockerd; k3s and RKE2, k0s, MicroK8s."""

_OPTION: Final = "--runtime-endpoint"
_SCHEME: Final = "unix://"
_IN_CRICTL: Final = re.compile(r"""^runtime-endpoint:\s*["']?([^"'\s#]+)""", re.MULTILINE)
_SECONDS: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred of unix(7): the process, its user and its group."""


def path(said: str, what: str = _OPTION) -> str:
    """The path of a socket as people write it.

    Args:
        said: a path, or an address that begins with unix://.
        what: what says so, for a sentence.

    Raises:
        BadInputError: it is something else.
    """
    found = said.removeprefix(_SCHEME)
    if not found.startswith("/"):
        raise BadInputError(
            f"{what} {shown(said)}: a runtime on this machine has a socket with an absolute path:"
            f" write it as {_SCHEME}/run/containerd/containerd.sock"
        )
    return found


def find(said: str) -> str:
    """The path of the socket that is meant.

    As crictl has it: what is said counts, then the environment, then crictl's own configuration,
    and then the usual places.

    Args:
        said: the value of ``--runtime-endpoint``; "" where it is not given.

    Raises:
        BadInputError: it is no socket's path, or none is found, or several.
    """
    if said:
        return path(said)
    if named := os.environ.get(VARIABLE, ""):
        return path(named, VARIABLE)
    if named := _of_crictl():
        return path(named, f"{CRICTL}, runtime-endpoint")
    found = [one for one in USUAL if _may_be_socket(Path(one))]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInputError(
            f"several runtimes have a socket here ({', '.join(found)}): name one of them by"
            f" {_OPTION}"
        )
    raise BadInputError(
        f"no container runtime's socket is in a usual place ({', '.join(USUAL)}): start the"
        f" runtime, or name its socket by {_OPTION} or {VARIABLE}"
    )


def _may_be_socket(place: Path) -> bool:
    """Whether a runtime may have its socket there; a folder of root's shows it to nobody else."""
    try:
        return place.is_socket()
    except PermissionError:
        return True


def _of_crictl() -> str:
    try:
        text = CRICTL.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it is crictl's, and need not be there
        return ""
    match = _IN_CRICTL.search(text)
    return match[1] if match else ""


def daemon_of(place: str) -> int:
    """The process that listens at a socket, by our pid; 0 if it is in no pid namespace of ours.

    Raises:
        BadInputError: nobody does, or this user may not ask.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(_SECONDS)
        try:
            asked.connect(place)
            raw = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except FileNotFoundError as error:
            raise BadInputError(
                f"{shown(place)}: there is no such socket: start the runtime, or name its socket by"
                f" {_OPTION}"
            ) from error
        except PermissionError as error:
            raise BadInputError(
                f"{shown(place)}: this user may not ask the runtime: run the suite as root"
            ) from error
        except ConnectionRefusedError as error:
            raise BadInputError(
                f"{shown(place)}: nobody listens there, or it is no socket: start the runtime, or"
                f" name its socket by {_OPTION}"
            ) from error
        except OSError as error:
            raise BadInputError(
                f"{shown(place)}: it cannot be connected to ({error}): name the runtime's socket by"
                f" {_OPTION}"
            ) from error
    process: int = _CREDENTIALS.unpack(raw)[0]
    return process
