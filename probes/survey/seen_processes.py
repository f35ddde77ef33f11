"""The processes that ``/proc`` shows, with what tells whose they are."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from probes.files import kernel_lines
from probes.survey import cgroups

PROC: Final = Path("/proc")

INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"
"""The machine's own pid namespace: PROC_PID_INIT_INO of the kernel's proc_ns.h."""

_KERNEL_THREAD: Final = 0x00200000
"""PF_KTHREAD of the kernel's sched.h."""

_ENDED: Final = frozenset("ZXx")
_ARGUMENT_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class SeenProcess:
    """A process with a program of its own.

    Attributes:
        pid: its id, as this process sees it.
        parent: its parent's id; 0 where that is outside of what is seen.
        name: its name, as it may stand in a sentence.
        started: when it started, in clock ticks after boot: with the id it tells processes apart.
        cgroup: the path of its control group.
        namespace: its pid namespace, as /proc/PID/ns has it; "" where this user may not see it.
        words: its command line; none where it has been overwritten.
    """

    pid: int
    parent: int
    name: str
    started: int
    cgroup: str
    namespace: str = ""
    words: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The name by which it was called, without a path; its own name where that is not known."""
        called = self.words[0] if self.words else self.name
        return called.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything that ``/proc`` shows at a time.

    Attributes:
        processes: those with a program of their own, by their ids.
        kernel_threads: how many are the kernel's own, which no filter is asked about.
        zombies: how many have ended and only wait for their parents.
    """

    processes: Mapping[int, SeenProcess]
    kernel_threads: int = 0
    zombies: int = 0
    _children: dict[int, list[int]] = field(default_factory=dict, repr=False, compare=False)

    def ancestors(self, process: SeenProcess) -> Iterator[SeenProcess]:
        """The parent of a process, that one's parent, and so on."""
        seen = {process.pid}
        while (above := self.processes.get(process.parent)) is not None and above.pid not in seen:
            seen.add(above.pid)
            yield above
            process = above


def listing(proc: Path = PROC) -> Listing:
    """Reads what ``/proc`` shows; what ends meanwhile is left out.

    Args:
        proc: where it is mounted.
    """
    found: dict[int, SeenProcess] = {}
    kernel_threads = zombies = 0
    for pid in sorted(int(one.name) for one in proc.iterdir() if one.name.isdigit()):
        stat = _stat(proc / str(pid))
        if stat is None:
            continue
        if stat.flags & _KERNEL_THREAD:
            kernel_threads += 1
        elif stat.state in _ENDED and not _lives_on(proc / str(pid), pid):
            zombies += 1
        else:
            found[pid] = _process(proc / str(pid), pid, stat)
    return Listing(found, kernel_threads, zombies)


def is_still(process: SeenProcess, proc: Path = PROC) -> bool:
    """Whether a process is still there, and its id is not another one's by now."""
    stat = _stat(proc / str(process.pid))
    return stat is not None and stat.started == process.started and stat.state not in _ENDED


def hides_others(proc: Path = PROC) -> bool:
    """Whether ``/proc`` is mounted so that this user does not see the processes of others."""
    with suppress(OSError):  # no /proc, which the listing tells
        for line in kernel_lines((proc / "self/mountinfo").read_bytes()):
            fields, _, rest = line.partition(" - ")
            if fields.split()[4] == str(proc):
                options = rest.split()[2].split(",")
                return any(one in options for one in _HIDING) and os.geteuid() != 0
    return False


_HIDING: Final = ("hidepid=1", "hidepid=2", "hidepid=4", "hidepid=noaccess", "hidepid=invisible")


def sees_the_machine(proc: Path = PROC) -> bool:
    """Whether this process is in the machine's own pid namespace, and so sees all processes."""
    return _link(proc / "self/ns/pid") == INITIAL_PID_NAMESPACE


@dataclass(frozen=True, slots=True)
class _Stat:
    """What proc_pid_stat(5) says."""

    state: str
    parent: int
    flags: int
    started: int


def _stat(folder: Path) -> _Stat | None:
    """What the kernel says of a process; None where it has ended or is hidden from this user."""
    with suppress(OSError):  # it has ended, or is hidden
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        rest = text.rpartition(")")[2].split()
        return _Stat(rest[0], int(rest[1]), int(rest[6]), int(rest[19]))
    return None


def _lives_on(folder: Path, pid: int) -> bool:
    """Whether other threads go on after the first one has ended."""
    with suppress(OSError):  # it has ended, or is hidden
        return any(int(one.name) != pid for one in (folder / "task").iterdir())
    return False


def _process(folder: Path, pid: int, stat: _Stat) -> SeenProcess:
    return SeenProcess(
        pid,
        stat.parent,
        _plain(_text(folder / "comm").removesuffix("\n")),
        stat.started,
        cgroups.path_of(_text(folder / "cgroup")),
        _link(folder / "ns/pid") or _shared_namespace(folder),
        _arguments(folder / "cmdline"),
    )


def _shared_namespace(folder: Path) -> str:
    """This process's own pid namespace where another is seen to share it; "" where it is not.

    Anybody may read how many pid namespaces deep a process is, below that of ``/proc`` itself.
    """
    own = folder.parent / "self"
    return _link(own / "ns/pid") if _depth(folder) == _depth(own) == 1 else ""


def _depth(folder: Path) -> int:
    lines = _text(folder / "status").split("\n")
    ids = (line.split()[1:] for line in lines if line.startswith("NSpid:"))
    return len(next(ids, ()))


def _arguments(path: Path) -> tuple[str, ...]:
    with suppress(OSError), path.open("rb") as file:  # it has ended, or is hidden
        raw = file.read(_ARGUMENT_BYTES)
        return tuple(_plain(one.decode(errors="replace")) for one in raw.split(b"\0")[:-1])
    return ()


def _text(path: Path) -> str:
    with suppress(OSError):  # it has ended, or is hidden
        # As it is: text would take a carriage return in a name for the end of a line.
        return path.read_bytes().decode(errors="replace")
    return ""


def _link(path: Path) -> str:
    with suppress(OSError):  # it has ended, or is hidden
        return str(path.readlink())
    return ""


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def argument(words: Iterable[str], *names: str) -> str:
    """The value of an option on a command line; "" where it is not there.

    Args:
        words: the command line.
        names: the option's spellings.
    """
    given = list(words)
    for index, word in enumerate(given):
        for name in names:
            if word == name and index + 1 < len(given):
                return given[index + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return ""
