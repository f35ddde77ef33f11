"""Machines of a release: its root, in namespaces and control groups of their own.

A machine's root is an overlay whose upper layer is in memory, so nothing that runs in it changes
the cache. What it could change of the real machine it may not: the kernel's settings are read-only
but for the network namespace's, and nobody in it can set the clock, reboot, or load a module.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import InstrumentError
from probes.releases import keeper
from probes.releases.roots import Root

START_SECONDS: Final = 60.0
"""How long a command of a machine's may take, where nobody says; a second is usual."""

V1: Final = "v1"
V2: Final = "v2"
HYBRID: Final = "hybrid"

_GROUPS: Final = Path("/sys/fs/cgroup")
_UNIFIED: Final = "unified"
_NO_GROUPS: Final = "no machine can be made here: "

_DROPPED: Final = "--bounding-set=-sys_time,-sys_boot,-sys_module,-sys_rawio,-wake_alarm"
"""For setpriv(1): what would act on the real machine, which no runtime's default includes."""

# As the first process of its pid namespace bash reaps those whose parents have ended.
_WAIT: Final = ("bash", "-c", "read -r _ || true")

ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A hierarchy of control groups.

    Attributes:
        name: the folder in /sys/fs/cgroup; "" where it is that itself.
        kind: ``cgroup`` or ``cgroup2``.
        options: what mount(8) needs to know.
        place: where it is mounted here.
    """

    name: str
    kind: str
    options: str
    place: Path


@dataclass(frozen=True, slots=True)
class ReleaseMachine:
    """A machine that runs.

    Attributes:
        name: its control groups have it, too.
        folder: a folder for files, which the machine has at the same path.
        pid: its first process, by this pid namespace's number.
        environment: the variables of its commands.
    """

    name: str
    folder: Path
    pid: int
    environment: Mapping[str, str]
    _groups: tuple[Path, ...]
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _dropped: tuple[str, ...] = ()

    def words(self, *command: str) -> tuple[str, ...]:
        """A command, so that it runs on the machine."""
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return (*self.entered(), *self._dropped, "env", "-i", *settings, *command)

    def entered(self) -> tuple[str, ...]:
        """The words that bring a command to the machine, with its variables and capabilities."""
        leaf = keeper.joined([group / keeper.LEAF for group in self._groups])
        enter = ("nsenter", "--target", str(self.pid), "--mount", "--pid", "--ipc", "--uts")
        return (*leaf, *enter, "--net", "--cgroup", "--")

    def run(self, *command: str, seconds: float = START_SECONDS) -> str:
        """Runs a command on the machine, and gives what it printed.

        Raises:
            InstrumentError: it failed, or took too long.
        """
        ended = self.tried(*command, seconds=seconds)
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip()
            raise InstrumentError(f"{' '.join(command[:3])} ended with {ended.returncode}: {said}")
        return ended.stdout.strip()

    def tried(
        self, *command: str, seconds: float = START_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the machine, whatever its exit status.

        Raises:
            InstrumentError: it took too long.
        """
        try:
            return subprocess.run(
                self.words(*command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InstrumentError(f"{command[0]} took more than {seconds:.0f} s") from error

    def daemon(self, *command: str) -> Path:
        """Starts a command that ends with the machine.

        Returns:
            The file that has what it prints.
        """
        log = self.folder / f"{Path(command[0]).name}-{len(self._daemons)}.log"
        with log.open("wb") as output:
            self._daemons.append(
                subprocess.Popen(
                    self.words(*command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
        return log

    def reap(self) -> None:
        """Waits for the daemons, which have ended with the machine."""
        for daemon in self._daemons:
            daemon.wait(START_SECONDS)


@contextlib.contextmanager
def started(  # noqa: PLR0913 - all but the first have defaults
    root: Root | None,
    *,
    shared: Sequence[Path] = (),
    cgroups: str | None = None,
    init: Sequence[str] = _WAIT,
    environment: Mapping[str, str] = ENVIRONMENT,
    prepare: str = "",
) -> Iterator[ReleaseMachine]:
    """A machine for as long as the context lasts.

    Args:
        root: its root; None for this machine's own, every file of which the machine can change.
        shared: files and folders of this machine's that it has at the same paths.
        cgroups: the control groups that it sees: V1, V2 or HYBRID; None for what runtimes do best
            with here, which is V1 where there is version 1.
        init: the command of its first process.
        environment: the variables of that one and of the commands.
        prepare: a program for sh(1) that is run there before anything else.

    Raises:
        InstrumentError: this machine does not allow it.
    """
    views = chosen(hierarchies(_mountinfo()), cgroups)
    holder = os.getpid()
    name = f"{keeper.PREFIX}-{holder}-{keeper.start_of(holder)}-{os.urandom(4).hex()}"
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    groups = tuple(one.place / name for one in views)
    dropped = ("setpriv", _DROPPED, "--") if root else ()
    plan = {
        "groups": [str(group) for group in groups],
        "hierarchies": [(one.name, one.kind, one.options) for one in views],
        "root": str(root.path) if root else "",
        "base": str(folder / "root"),
        "shared": [str(folder / "files"), *map(str, shared)],
        "prepare": prepare,
        "init": [*dropped, *init],
        "environment": dict(environment),
    }
    files = folder / "files"
    files.mkdir()
    folder.chmod(0o755)  # users of the machine's own read there
    (folder / "root").mkdir()
    try:
        with _kept(plan) as pid:
            made = ReleaseMachine(name, files, pid, environment, groups, _dropped=dropped)
            yield made
        made.reap()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _kept(plan: Mapping[str, object]) -> Iterator[int]:
    """Has a machine kept; its first process."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, "keep", json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        said = "" if process.stdout is None else process.stdout.readline()
        found = re.fullmatch(rf"{keeper.READY} (\d+)\s*", said)
        if not found:
            process.wait(START_SECONDS)
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip().splitlines()
            raise InstrumentError(f"{_NO_GROUPS}{reason[-1] if reason else 'unshare(1) fails'}")
        try:
            yield int(found[1])
        finally:
            if process.stdin is not None:
                process.stdin.close()  # by which the keeper knows
            process.wait(START_SECONDS)


def _mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")


def hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies that are mounted at or below /sys/fs/cgroup. Pure.

    Args:
        mountinfo: as proc_pid_mountinfo(5) describes it.
    """
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        place = Path(left.split()[4])
        kind, _, options = right.split(maxsplit=2)
        if kind in {"cgroup", "cgroup2"} and place.is_relative_to(_GROUPS):
            words = [word for word in options.split(",") if word not in {"rw", "ro", "xattr"}]
            own = ",".join(word for word in words if not word.startswith("release_agent="))
            name = "" if place == _GROUPS else place.name
            found[name] = Hierarchy(name, kind, own if kind == "cgroup" else "", place)
    return tuple(found.values())


def chosen(hierarchies: Sequence[Hierarchy], cgroups: str | None) -> tuple[Hierarchy, ...]:
    """The hierarchies that a machine gets, each with the name that it has there. Pure.

    Args:
        hierarchies: this machine's.
        cgroups: V1, V2 or HYBRID; None for V1 where there is version 1.

    Raises:
        InstrumentError: this machine has none of that version.
    """
    first = tuple(one for one in hierarchies if one.kind == "cgroup")
    second = tuple(one for one in hierarchies if one.kind == "cgroup2")
    wanted = cgroups or (V1 if first else V2)
    if (wanted != V2 and not first) or (wanted != V1 and not second):
        raise InstrumentError(f"{_NO_GROUPS}it has no control groups of {wanted} at {_GROUPS}")
    own = tuple(
        Hierarchy("" if wanted == V2 else _UNIFIED, one.kind, one.options, one.place)
        for one in second
    )
    return {V1: first, V2: own, HYBRID: (*first, *own)}[wanted]
