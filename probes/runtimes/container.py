"""Starts a container under a runtime, reads the filters of its processes, and removes it.

The container is the runtime's own work, from the image, bundle or root file system that the user
names, with the profile that he names; only the program that it runs is exchanged for one that
holds still (``probes.runtimes.holder``). What confines it is then read by ptrace(2).
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from probes import files
from probes.errors import BadInputError, SuiteError
from probes.instrument import harvest, several
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.runtimes import holder
from probes.runtimes.bubblewrap import Sandbox
from probes.runtimes.bundles import BundleContainer
from probes.runtimes.containerd import ContainerdContainer
from probes.runtimes.images import ImageContainer
from probes.runtimes.known import OF_IMAGES
from probes.runtimes.started_pod import StartedPod
from probes.runtimes.wanted import Beside, GivenProfile, Holder, InForce, Job, Wanted
from probes.text import OWN_WORDS, shown

START_SECONDS: Final = 30.0
"""How long a started container may take to run its program; some milliseconds are usual."""

_MOST_BYTES: Final = 16 << 20
_POLL_INTERVAL: Final = 0.01
_STATE_INTERVAL: Final = 1.0


class Container(Protocol):
    """A runtime's way of making a container.

    Every method raises BadInputError where the runtime refuses, with its own words, and
    InstrumentError where it does not answer in time.
    """

    def given(self) -> GivenProfile | None:
        """The profile that the container will get, before anything is made; None for no file."""

    def start(self) -> None:
        """Makes and starts the container, with the holder as its first process."""

    def execute(self) -> bool:
        """Has another holder started in it, as the runtime's exec does; False if it has none."""

    def run(self, job: Job) -> str:
        """Makes the container and runs a command in it instead; gives what it printed."""

    def runs(self) -> bool:
        """Whether the container runs, as far as the runtime can say."""

    def version(self) -> str:
        """The runtime's version."""

    def digest(self) -> str:
        """The digest of the image; "" where there is no image."""

    def in_force(self) -> InForce:
        """The profile that the runtime used, by what it did and not by what it was asked for."""

    def beside(self) -> Beside:
        """What the runtime has started with the container, where that is more than the container.

        It is asked once the container runs.
        """

    def remove(self) -> None:
        """Removes the container and all that was made for it, at any time, also repeatedly."""


_MAKERS: Final[Mapping[str, Callable[[Wanted, Holder], Container]]] = MappingProxyType(
    {
        "runc": BundleContainer,
        "crun": BundleContainer,
        "docker": ImageContainer,
        "podman": ImageContainer,
        "bwrap": Sandbox,
        "containerd": ContainerdContainer,
        "cri": StartedPod,
    }
)


@dataclass(frozen=True, slots=True)
class Held:
    """The confinement of a container, read while it is held.

    Attributes:
        version: the runtime's version.
        digest: the digest of the image; "" where there is no image.
        first: the filters of its first process, the oldest first.
        executed: those of a process that the runtime's exec started; None where it has no exec.
        in_force: the profile that the runtime used.
        logged: for each filter of the first process whether it has SECCOMP_FILTER_FLAG_LOG.
        executed_logged: the same flags for the filters of the process that exec started.
        first_pid: the first process, by our pid.
        others: its other processes, such as an init that the runtime put before the first one.
        settled: whether none of these came or went while they were read.
        beside: processes that the runtime started beside the container, each with a phrase about
            it.
        notes: what else the runtime's side has to say.
        bounding: the first process's bounding set of capabilities, as proc_pid_status(5) shows it.
    """

    version: str
    digest: str
    first: tuple[bytes, ...]
    executed: tuple[bytes, ...] | None
    in_force: InForce
    logged: tuple[bool, ...] = ()
    executed_logged: tuple[bool, ...] = ()
    first_pid: int = 0
    others: tuple[Harvest, ...] = ()
    settled: bool = True
    beside: tuple[tuple[Harvest, str], ...] = ()
    notes: tuple[str, ...] = ()
    bounding: int = 0


def hold(wanted: Wanted, check: Callable[[GivenProfile], None] | None = None) -> Held:
    """Starts a container, reads what confines it, and removes it; on Ctrl-C, too.

    Args:
        wanted: the container.
        check: looks at the profile before the container is made, and may refuse it.

    Raises:
        BadInputError: the runtime refuses, or the filters may not be read by this user.
        InstrumentError: something takes too long, or this kernel does not tell.
    """
    with started(wanted, check) as running:
        pid = running.first_process()
        first = _filters(pid)
        others = several.filters_of_all(lambda: processes_beside(pid))
        by_exec = running.executed_process(pid)
        executed = None if by_exec is None else _filters(by_exec)
        container = running.container
        beside = container.beside()
        return Held(
            version=shown(container.version()),
            digest=shown(container.digest()),
            first=first.programs,
            executed=None if executed is None else executed.programs,
            in_force=container.in_force(),
            logged=first.logged,
            executed_logged=() if executed is None else executed.logged,
            first_pid=pid,
            others=others.processes,
            settled=others.settled,
            beside=tuple((harvest.filters_of(pid), words) for pid, words in beside.processes),
            notes=beside.notes,
            bounding=harvest.bounding_set(pid),
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A container that was started.

    Attributes:
        container: the runtime's side of it.
        held: what its processes run.
        wanted: what was asked for.
    """

    container: Container
    held: Holder
    wanted: Wanted

    def first_process(self) -> int:
        """The container's first process, by our pid, once it has its filters.

        Raises:
            BadInputError: it ended instead, or is nowhere to be seen.
        """
        pid = self._await(0, "first process")
        self._check_words(pid)
        return pid

    def _check_words(self, pid: int) -> None:
        """Refuses a container that was given words to run: then one of them is not what it seems.

        Raises:
            BadInputError: there are such words.
        """
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            return  # who looks at the process next says that it has ended
        if len(words) > 1:
            raise BadInputError(
                f"{self.wanted.program.runtime} took {shown(words[1].decode(errors='replace'))} for"
                " a word of the container's program: check --runtime-arg, where a value without its"
                " option is taken for the image"
            )

    def executed_process(self, first: int) -> int | None:
        """A process that the runtime starts in the container beside the first one."""
        if not self.container.execute():
            return None
        return self._await(first, "process that exec started")

    def _await(self, known: int, which: str) -> int:
        until = time.monotonic() + START_SECONDS
        ask = time.monotonic() + _STATE_INTERVAL
        while True:
            for pid in processes_of(self.held):
                if pid != known:
                    return pid
            now = time.monotonic()
            if now > ask or now > until:
                self._refuse(which, late=now > until)
                ask = now + _STATE_INTERVAL
            time.sleep(_POLL_INTERVAL)

    def _refuse(self, which: str, *, late: bool) -> None:
        name = f"{self.wanted.program.runtime}: the {which} of the container"
        if not self.container.runs():
            raise BadInputError(
                f"{name} ended before it ran its program: does the profile allow execve, and what"
                " the runtime itself calls before it?"
            )
        if late:
            raise BadInputError(
                f"{name} cannot be seen from here: run the suite as root on the machine, and in the"
                " pid namespace, in which the runtime starts containers (DOCKER_HOST), and not"
                " within a container; a sandbox with a kernel of its own (gVisor, Kata Containers)"
                " shows its processes to nobody outside: judge it from inside, with"
                " --target=ambient"
            )


def make(wanted: Wanted) -> Container:
    """A container that is not started yet; whoever makes it removes it.

    Raises:
        BadInputError: the profile cannot be read.
    """
    return _made(wanted, _holder())


def _made(wanted: Wanted, held: Holder) -> Container:
    # The other runtimes' containers read it themselves.
    if wanted.seccomp is not None and wanted.program.runtime in OF_IMAGES:
        files.read(wanted.seccomp, _MOST_BYTES, "a seccomp profile")
    return _MAKERS[wanted.program.runtime](wanted, held)


def _holder() -> Holder:
    name = f"syscall-conformance-{secrets.token_hex(6)}"
    return Holder(name, holder.program(os.uname().machine, name))


@contextlib.contextmanager
def started(
    wanted: Wanted, check: Callable[[GivenProfile], None] | None = None
) -> Iterator[Running]:
    """A container for as long as the context lasts.

    Args:
        wanted: the container.
        check: looks at the profile before the container is made, and may refuse it.

    Raises:
        BadInputError: the runtime refuses.
        InstrumentError: it takes too long.
    """
    held = _holder()
    container = _made(wanted, held)
    if check is not None and (given := container.given()) is not None:
        check(given)
    with removed(container):
        container.start()
        yield Running(container, held, wanted)


class Removable(Protocol):
    """Anything with a ``remove`` method, such as a ``Container``."""

    def remove(self) -> None:
        """Removes it and all that was made for it, at any time, also repeatedly."""


@contextlib.contextmanager
def removed(container: Removable) -> Iterator[None]:
    """Removes a container at the end of the context, whatever happened in it.

    Raises:
        BadInputError: it cannot be removed; where something else went wrong before, that is said
            first.
        InstrumentError: likewise, for it takes too long.
    """
    try:
        yield
    except SuiteError as error:
        try:
            container.remove()
        except SuiteError as another:
            # A daemon that cannot be reached says so twice.
            if str(another).partition(OWN_WORDS)[2] != str(error).partition(OWN_WORDS)[2]:
                raise type(error)(
                    f"{error}; nor can the container be removed: {another}"
                ) from error
        raise
    except BaseException:  # the container goes on Ctrl-C, too; it is raised again
        container.remove()
        raise
    container.remove()


def processes_of(held: Holder) -> Iterator[int]:
    """The processes that run a holder, by our pids: whatever they are called, it tells them."""
    for entry in Path("/proc").glob("[0-9]*"):
        executable = entry / "exe"
        # A process may have ended meanwhile, and a kernel's thread has none.
        with contextlib.suppress(OSError):
            if executable.stat().st_size == len(held.image) and (
                executable.read_bytes() == held.image
            ):
                yield int(entry.name)


def _filters(pid: int) -> ThreadFilters:
    """The filters of a held process, which has one thread."""
    (thread,) = harvest.filters_of(pid).threads
    return thread


def processes_beside(first: int) -> list[int]:
    """The other processes of a container, by our pids: those in the same namespace and group.

    Where a container has no pid namespace of its own its control group tells, and where it has
    neither there is nothing else in it.
    """
    there, here = _place(first), _place(os.getpid())
    if there is None or there == here:
        return []
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return sorted(pid for pid in pids if pid != first and _place(pid) == there)


def _place(pid: int) -> tuple[str, str] | None:
    """The pid namespace and the control groups of a process; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        return str((folder / "ns" / "pid").readlink()), (folder / "cgroup").read_text("utf-8")
    except OSError:
        return None
