"""The processes of containers, by their control groups, in whose names runtimes put the id.

A pid that a runtime tells may be of another pid namespace than ours, and it is that of the first
process alone. The name of a control group means the same everywhere, in both versions of control
groups and with either driver: ``/kubepods/pod.../ID``, ``.../cri-containerd-ID.scope``,
``.../crio-ID.scope``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.instrument import control_groups
from probes.instrument.control_groups import ControlGroup

_MONITOR: Final = "conmon"
"""CRI-O's monitor of a container stands in a group that has the container's id, too."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a process is.

    Attributes:
        groups: the names in the paths of its control groups.
        namespace: its pid namespace; "" where that is hidden.
    """

    groups: frozenset[str]
    namespace: str


def places() -> Mapping[int, Whereabouts]:
    """Where every process is that can be seen, by our pids."""
    return {pid: _place(pid, groups) for pid, groups in control_groups.processes()}


def _place(pid: int, groups: Iterable[ControlGroup]) -> Whereabouts:
    names = frozenset(name for one in groups for name in one.parts)
    return Whereabouts(names, namespace_of(pid))


def namespace_of(pid: int) -> str:
    """The pid namespace of a process; "" where it has ended, or is hidden from this user."""
    with suppress(OSError):  # it has ended, or is hidden
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    return ""


def members(
    identifiers: Sequence[str], found: Mapping[int, Whereabouts], others: Iterable[str]
) -> dict[str, tuple[int, ...]]:
    """The processes of each container, by our pids in ascending order.

    Whatever is in a pid namespace that only these containers use belongs to them, too, in whatever
    control group it is; to the first of them where they share it.

    Args:
        identifiers: the containers' ids.
        found: where every process is.
        others: the pid namespaces that are not the containers' own, such as the node's.
    """
    own = {one: list(_in_groups(one, found)) for one in identifiers}
    known = {pid for pids in own.values() for pid in pids}
    for identifier in identifiers:
        spaces = {found[pid].namespace for pid in own[identifier]} - {"", *others}
        strayed = [
            pid for pid, place in found.items() if place.namespace in spaces and pid not in known
        ]
        own[identifier] += strayed
        known.update(strayed)
    return {one: tuple(sorted(pids)) for one, pids in own.items()}


def _in_groups(identifier: str, found: Mapping[int, Whereabouts]) -> Iterator[int]:
    pattern = re.compile(rf"(?:.*[-:_])?{re.escape(identifier)}(?:\.scope)?")
    for pid, place in found.items():
        names = [one for one in place.groups if pattern.fullmatch(one)]
        if any(_MONITOR not in one for one in names):
            yield pid
