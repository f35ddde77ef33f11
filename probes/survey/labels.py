"""Names by which people know containers, from the files that engines keep beside them.

They are read through the root directory of the engine's own process, so that they are found from
within a container as well. What cannot be read is no fault: an id is a name, too.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from probes import files
from probes.errors import BadInputError
from probes.survey.monitors import Monitor
from probes.survey.seen_processes import PROC

_MOST_BYTES: Final = 1 << 20

_STATES: Final = (
    ("runc", "run/runc", "state.json", "init_process_pid"),
    ("crun", "run/crun", "status", "pid"),
)
"""Where runtimes keep what they know of containers: the file, and its field for the process."""


@dataclass(frozen=True, slots=True)
class Label:
    """The words by which people know a container.

    Attributes:
        name: its name; ``NAMESPACE/POD/CONTAINER`` in Kubernetes, "" where it is not known.
        image: its image, as it was named; "" where that is not known.
        pod: the uid of the Kubernetes pod; "" outside of pods.
    """

    name: str = ""
    image: str = ""
    pod: str = ""


def label(monitor: Monitor, identity: str) -> Label:
    """What the engine's files say of a container.

    Args:
        monitor: the process that watches over it.
        identity: its id, which may be another one of the monitor's pod.
    """
    configuration = _configuration(monitor, identity)
    notes = configuration.get("annotations")
    known = _of_kubernetes(notes if isinstance(notes, dict) else {})
    if known.name:
        return known
    docker = _of_docker(monitor, identity, configuration) if monitor.engine == "docker" else Label()
    own_name = monitor.name if monitor.id == identity else ""
    return Label(docker.name or own_name, docker.image)


def _configuration(monitor: Monitor, identity: str) -> Mapping[str, Any]:
    if monitor.bundle is None:
        return {}
    folder = monitor.bundle if monitor.id == identity else monitor.bundle / ".." / identity
    return _json(folder / "config.json")


def _of_kubernetes(notes: Mapping[str, Any]) -> Label:
    """The words of containerd's CRI plug-in and of CRI-O."""

    def first(*keys: str) -> str:
        return next((str(notes[key]) for key in keys if key in notes), "")

    space = first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
    pod = first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
    sort = first("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
    name = first("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
    if not pod:
        return Label()
    return Label(
        "/".join((space, pod, "pause" if sort == "sandbox" else name)),
        first("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"),
        first("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    )


def _of_docker(monitor: Monitor, identity: str, configuration: Mapping[str, Any]) -> Label:
    """The words of docker's own file, beside the files that it mounts into each container."""
    for source in _sources(configuration):
        folder = Path(source).parent
        if folder.name == identity:
            root = PROC / str(monitor.process.pid) / "root"
            kept = _json(root / str(folder).lstrip("/") / "config.v2.json")
            inner = kept.get("Config")
            image = inner.get("Image", "") if isinstance(inner, dict) else ""
            return Label(str(kept.get("Name", "")).removeprefix("/"), str(image))
    return Label()


def _sources(configuration: Mapping[str, Any]) -> Iterator[str]:
    mounts = configuration.get("mounts")
    for mount in mounts if isinstance(mounts, list) else []:
        if isinstance(mount, dict) and isinstance(mount.get("source"), str):
            yield mount["source"]


def known_to_runtimes(root: Path = PROC / "1/root") -> dict[int, tuple[str, str]]:
    """The containers that runtimes were told to start by hand, by their first processes.

    Args:
        root: the machine's root directory, as this process can open it.

    Returns:
        The runtime and the container's id, by the id of the first process.
    """
    found = {}
    for runtime, folder, name, field in _STATES:
        with suppress(OSError):  # a runtime that is not here keeps none
            for state in sorted((root / folder).iterdir()):
                pid = _json(state / name).get(field)
                if isinstance(pid, int):
                    found[pid] = (runtime, state.name)
    return found


def _json(path: Path) -> Mapping[str, Any]:
    """What a file of an engine's holds; nothing where it cannot be read."""
    with suppress(BadInputError, ValueError, RecursionError):  # then the id is the name
        value = json.loads(files.read_whole(path, _MOST_BYTES, "a container's configuration"))
        return value if isinstance(value, dict) else {}
    return {}
