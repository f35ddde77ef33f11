"""What the path of a control group says about who runs a process. Pure.

Every engine names the groups of its containers in its own way, and otherwise under the drivers
``cgroupfs`` and ``systemd``. The innermost name counts: a container may hold an engine of its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.instrument import control_groups
from probes.instrument.control_groups import SYSTEMD, UNIFIED
from probes.workload import OwnerKind


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a process, as far as the path of its control group tells.

    Attributes:
        kind: the kind of owner.
        engine: what made it, such as ``docker``; "" where the path does not tell.
        id: the container's id, or the name of the systemd unit; "" where there is neither.
        pod: the uid of the Kubernetes pod; "" outside of pods.
        outside: the ids of the containers around it, the outermost first.
        path: the path of the owner's own group, below which all of its processes are.
    """

    kind: OwnerKind
    engine: str = ""
    id: str = ""
    pod: str = ""
    outside: tuple[str, ...] = ()
    path: str = ""


_ID: Final = r"(?P<id>[0-9a-f]{64})"

_BY_ONE_NAME: Final = (
    # docker, podman and CRI-O have the same shapes under both drivers, but for the suffix.
    (re.compile(rf"docker-{_ID}\.scope"), "docker"),
    (re.compile(rf"cri-containerd-{_ID}\.scope"), "containerd"),
    (re.compile(rf"nerdctl-{_ID}\.scope"), "containerd"),
    (re.compile(rf"crio-{_ID}(\.scope)?"), "cri-o"),
    (re.compile(rf"libpod-(payload-)?{_ID}(\.scope)?"), "podman"),
    (re.compile(r"(?P<engine>runc|crun|youki|buildah)-(?P<id>.+)\.scope"), ""),
    # containerd with the driver cgroupfs below a kubelet with the driver systemd.
    (re.compile(rf".*:(?P<engine>[^:]+):{_ID}"), ""),
    (re.compile(r"lxc\.payload\.(?P<id>.+)"), "lxc"),
    (re.compile(_ID), ""),
)
"""The names of containers' groups that tell by themselves."""

_ENGINES: Final[Mapping[str, str]] = {
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
    "libpod_parent": "podman",
}
"""What makes containers, by the word in a path."""

_BELOW: Final[Mapping[str, str]] = {"lxc": "lxc", "lxc.payload": "lxc"}
"""What makes the containers whose group is called by their name, by the group above."""

_MACHINE: Final = re.compile(r"machine-(?P<name>.+)\.scope")
_NSPAWN: Final = re.compile(r"systemd-nspawn@(?P<name>.+)\.service")
_NOT_NSPAWN: Final = ("qemu-", "lxc-")
"""How libvirt begins the names of its machines."""

_POD: Final = re.compile(
    r"(?:.*-)?pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice(?::.*)?)?"
)
_UNIT: Final = re.compile(r"_?(?P<name>[^/]+\.service)")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")


def path_of(text: str) -> str:
    """The path by which a process is known, from its file ``/proc/PID/cgroup``.

    systemd's own hierarchy has every unit; where a hybrid machine has not put a process there, or
    an engine knows nothing of it, another hierarchy tells more.

    Args:
        text: the content of the file.
    """
    paths = {
        controller: group.path
        for group in control_groups.parse(text)
        for controller in group.hierarchy.split(",")
    }
    found = [paths[name] for name in _BY_PREFERENCE if name in paths]
    found += [path for name, path in paths.items() if name not in _BY_PREFERENCE]
    ranked = sorted(found, key=lambda path: _RANKS.index(place_of(path).kind))
    return ranked[0] if ranked else "/"


_BY_PREFERENCE: Final = (SYSTEMD, UNIFIED, "pids", "memory")
_RANKS: Final = (OwnerKind.CONTAINER, OwnerKind.SERVICE, OwnerKind.OTHER)


def place_of(path: str) -> Owner:
    """The owner of the processes of a control group.

    Args:
        path: the group's path; seen from another group it may begin with ``/..``.
    """
    parts = [part for part in path.split("/") if part not in {"", "..", "."}]
    found, outside, pod = Owner(OwnerKind.OTHER, path=path), list[str](), ""
    unit: Owner | None = None
    for index, part in enumerate(parts):
        here = "/".join(["", *parts[: index + 1]])
        if uid := _POD.fullmatch(part):
            pod = uid["uid"].replace("_", "-")
        if container := _container(parts, index):
            outside += [found.id] if found.kind is OwnerKind.CONTAINER else []
            found = Owner(OwnerKind.CONTAINER, *container, pod, tuple(outside), here)
        elif named := _UNIT.fullmatch(part):
            unit = Owner(OwnerKind.SERVICE, "systemd", named["name"], path=here)
    return found if found.kind is OwnerKind.CONTAINER or unit is None else unit


def _container(parts: Sequence[str], index: int) -> tuple[str, str] | None:
    """The engine and the id of the container whose group this is; None where it is none's."""
    part, above = parts[index], parts[index - 1] if index else ""
    for pattern, engine in _BY_ONE_NAME:
        if found := pattern.fullmatch(part):
            named = found.groupdict().get("engine") or engine or above
            return _ENGINES.get(named, engine or _known(named)), found["id"]
    if above in _BELOW:
        return _BELOW[above], part
    if (unit := _NSPAWN.fullmatch(above)) and part == "payload":
        return "nspawn", unescaped(unit["name"])
    machine = _MACHINE.fullmatch(part)
    if machine is None or unescaped(machine["name"]).startswith(_NOT_NSPAWN):
        return None
    return "nspawn", unescaped(machine["name"])


def _known(word: str) -> str:
    return word if word in {"runc", "crun", "youki", "buildah"} else ""


def unescaped(name: str) -> str:
    r"""A name as systemd was given it: ``a\x2db`` is ``a-b``."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
