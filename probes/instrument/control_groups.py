"""Which processes belong to a control group, by what /proc says of each: no hierarchy is mounted.

A process has one group in each hierarchy (cgroups(7)): in version 2's, whose id is 0, and in each
of version 1's, of which one without a controller, ``name=systemd``, is systemd's. Threads of one
process may be in other groups than its first. Paths are seen from this process's cgroup namespace:
groups outside of it begin with ``/..``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNIFIED: Final = ""
"""The hierarchy of version 2, as /proc/PID/cgroup names it."""

SYSTEMD: Final = "name=systemd"
"""systemd's own hierarchy of version 1, on machines that have version 1."""

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group.

    Attributes:
        hierarchy: "" for version 2, else the controllers or the name of a hierarchy of version 1,
            such as ``cpu,cpuacct`` or ``name=systemd``.
        path: from the root of the cgroup namespace, such as ``/system.slice/cron.service``.
    """

    hierarchy: str
    path: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The names in the path, the outermost first."""
        return tuple(part for part in self.path.split("/") if part)

    def is_within(self, path: str) -> bool:
        """Whether it is the group at a path, or one below that."""
        outer = path.rstrip("/")
        return self.path == outer or self.path.startswith(f"{outer}/")


def groups_of(pid: int) -> tuple[ControlGroup, ...]:
    """The groups of a process or thread; none if it has ended or is hidden from this user."""
    return _read(_PROC / str(pid) / "cgroup")


def members(is_meant: Callable[[ControlGroup], bool]) -> list[int]:
    """The processes that have a thread in one of some groups, by our pids, in ascending order.

    Those that have ended but for their parent's taking note (zombies) are among them.

    Args:
        is_meant: says of a group whether it is one of them.
    """
    return sorted(pid for pid, groups in processes() if any(map(is_meant, groups)))


def processes() -> Iterator[tuple[int, tuple[ControlGroup, ...]]]:
    """Every process that this one sees, with the groups in which its threads are."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        groups = dict.fromkeys(_read(entry / "cgroup"))
        for thread in _threads(entry):
            groups.update(dict.fromkeys(_read(thread / "cgroup")))
        if groups:
            yield int(entry.name), tuple(groups)


def _threads(process: Path) -> list[Path]:
    """The folders of a process's threads but the first, if there are any."""
    try:
        return [one for one in (process / "task").iterdir() if one.name != process.name]
    except OSError:  # it has ended meanwhile
        return []


def _read(path: Path) -> tuple[ControlGroup, ...]:
    try:
        raw = path.read_bytes()
    except OSError:  # the process has ended, or /proc hides it
        return ()
    return parse(raw.decode(errors="surrogateescape"))


def parse(text: str) -> tuple[ControlGroup, ...]:
    """The groups of a process, from its file ``/proc/PID/cgroup``.

    Args:
        text: the content of the file, as it is: whoever names a group may use every character but
            a newline, so what Python takes for ends of lines besides are no ends.
    """
    return tuple(_group(line) for line in text.split("\n") if line.count(":") >= 2)  # noqa: PLR2004 - id:controllers:path


_REMOVED: Final = " (deleted)"
"""How the kernel marks a group that was removed while a zombie was in it, in version 2 only."""


def _group(line: str) -> ControlGroup:
    _, hierarchy, path = line.split(":", 2)
    return ControlGroup(hierarchy, path.removesuffix(_REMOVED) if hierarchy == UNIFIED else path)
