"""Observes the program of a container image, or of an OCI bundle, in a container.

The runtime makes the container as ever; only its first process is the launcher, which becomes the
image's own program under the observer's filter. The container's own profile is there before, and
what it answers itself is not seen: which calls that are is read from the kernel.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

from probes import files
from probes.errors import BadInputError, InstrumentError
from probes.filters import bpf
from probes.filters.prover import TooComplexError
from probes.instrument import harvest, kernel
from probes.observe import launcher, processes
from probes.observe.hiding import Hidden, hidden_by
from probes.observe.launch import candidates
from probes.observe.observation import WorkloadObservation, notes_for, refuse_old_kernel, with_notes
from probes.observe.supervisor import Supervisor, Workload, signals_held, supervise
from probes.observe.watch import Watch, program
from probes.runtimes import arguments
from probes.runtimes.arguments import Arguments
from probes.runtimes.bundles import CONFIGURATION, configuration_of, json_object, written
from probes.runtimes.command import PULL_SECONDS
from probes.runtimes.container import START_SECONDS, processes_of, removed
from probes.runtimes.creation import Creation
from probes.runtimes.images import UNCONFINED
from probes.runtimes.known import OF_IMAGES
from probes.runtimes.wanted import Holder, Wanted
from probes.text import shown

_POLL_SECONDS: Final = 0.01
_MOST_BYTES: Final = 16 << 20
_USUAL_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON: Final = 3
"""The first descriptor after the standard ones, by which runc and crun hand one on."""


class _Container(Protocol):
    """A runtime's way of running the launcher and with it the image's program.

    Attributes:
        image: the launcher, once the container is prepared.
    """

    image: bytes

    def prepare(self) -> None:
        """Makes ready what the start needs."""

    def start(self) -> int:
        """Starts the runtime's command, with this terminal; the process that lasts as long."""

    def remove(self) -> None:
        """Removes whatever is there, at any time, also repeatedly."""


@dataclass(frozen=True, slots=True)
class _Build:
    """Makes a launcher for the words of an image.

    Attributes:
        name: the container's.
        code: the filter.
    """

    name: str
    code: bytes

    def launcher(self, command: str, environment: Sequence[str], *, spare: int = -1) -> bytes:
        """The executable that becomes a command, looked for on the container's PATH."""
        given = dict(word.partition("=")[::2] for word in environment)
        path = (given.get("PATH") or _USUAL_PATH).split(":")
        return launcher.program(self.code, candidates(command, path), self.name, spare=spare)


class _ImageContainer:
    """Runs the launcher in a container of docker or podman."""

    def __init__(self, wanted: Wanted, words: Sequence[str], build: _Build) -> None:
        """Reads what is asked for; nothing is made yet.

        Raises:
            BadInputError: a word of the user's is in the way.
        """
        self.image = b""
        self._wanted = wanted
        self._words = words
        self._build = build
        self._given = arguments.read_observed(
            wanted.program.runtime, wanted.arguments, seccomp=wanted.seccomp
        )
        self._made = Creation(wanted.program, build.name)

    def prepare(self) -> None:
        """Makes the container and puts the launcher into it."""
        configuration = self._configuration()
        command = self._command(configuration)
        environment = [
            *_words(configuration.get("Env")),
            *self._given.values(arguments.ENVIRONMENT),
        ]
        self.image = self._build.launcher(command[0], environment)
        podman = self._wanted.program.runtime == "podman"
        name, profile = self._build.name, self._wanted.seccomp
        # docker writes to no container that is read-only, but to a volume of it.
        sealed = self._given.has(arguments.READ_ONLY) and not podman
        folder = f"/{name}" if sealed else "/"
        path = f"{folder.rstrip('/')}/{name}"
        if profile is not None and str(profile) != UNCONFINED:
            files.read(profile, _MOST_BYTES, "a seccomp profile")
        self._made.make(
            *("--interactive", "--no-healthcheck"),
            *(("--tty",) if _on_terminal() else ()),
            *("--entrypoint", json.dumps([path]) if podman else path),
            *(() if profile is None else ("--security-opt", f"seccomp={_profile(profile)}")),
            *(("--mount", f"type=volume,target={folder}") if sealed else ()),
            *(*self._given.words, self._wanted.subject, *command),
            volumes=self._given.volumes,
        )
        archive = Holder(name, self.image).archive()
        self._wanted.program.put(archive, self._made.id, folder)

    def _command(self, configuration: Mapping[str, Any]) -> list[str]:
        """The words of the program, as the runtime would put them together.

        Raises:
            BadInputError: there are none.
        """
        entry, usual = _words(configuration.get("Entrypoint")), _words(configuration.get("Cmd"))
        if given := self._given.values(arguments.ENTRYPOINT):
            entry, usual = self._entry(given[-1]), []
        command = [*entry, *(self._words or usual)]
        if not command:
            raise BadInputError(
                f"{shown(self._wanted.subject)}: the image names no program: name one after --"
            )
        return command

    def _entry(self, value: str) -> list[str]:
        """The words of ``--entrypoint``, of which podman also takes a list."""
        if self._wanted.program.runtime == "podman":
            with contextlib.suppress(ValueError):
                return _words(json.loads(value))
        return [value] if value else []

    def _configuration(self) -> Mapping[str, Any]:
        inspect = ("image", "inspect", "--format", "{{json .Config}}", self._wanted.subject)
        try:
            said = self._wanted.program.run(*inspect)
        except BadInputError:
            self._wanted.program.run("pull", self._wanted.subject, seconds=PULL_SECONDS)
            said = self._wanted.program.run(*inspect)
        found = json.loads(said)
        return found if isinstance(found, dict) else {}

    def start(self) -> int:
        """Starts it attached."""
        words = ("start", "--attach", "--interactive", self._made.id)
        return _spawn((*self._wanted.program.words, *words))

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        self._made.remove()


@dataclass(slots=True)
class _BundleContainer:
    """runc and crun. The launcher comes in by a descriptor: nothing is written to the bundle."""

    wanted: Wanted
    words: Sequence[str]
    build: _Build
    image: bytes = b""
    bundle: str = ""
    file: IO[bytes] | None = None
    given: Arguments = field(init=False)

    def __post_init__(self) -> None:
        """Reads what is asked for; nothing is made yet.

        Raises:
            BadInputError: a word of the user's is in the way.
        """
        self.given = arguments.read_observed(
            self.wanted.program.runtime, self.wanted.arguments, seccomp=self.wanted.seccomp
        )

    def prepare(self) -> None:
        """Writes a copy of the bundle's configuration."""
        configuration = self._adapted()
        self.bundle = written(configuration)
        self.file = Holder(self.build.name, self.image).in_memory()

    def _adapted(self) -> Mapping[str, Any]:
        configuration = configuration_of(self.wanted.subject)
        process, linux = configuration["process"], configuration["linux"]
        path = Path(self.wanted.subject, CONFIGURATION)
        command = [*(self.words or _words(process.get("args")))]
        if not command:
            raise BadInputError(f"{shown(path)}: process.args names no program")
        environment = _words(process.get("env"))
        self.image = self.build.launcher(command[0], environment, spare=_PASSED_ON)
        process["terminal"] = _on_terminal()
        process["args"] = [f"/proc/self/fd/{_PASSED_ON}", *command]
        profile = self.wanted.seccomp
        if profile is not None and str(profile) == UNCONFINED:
            linux.pop("seccomp", None)
        elif profile is not None:
            linux["seccomp"] = json_object(profile, "a seccomp profile")
        return configuration

    def start(self) -> int:
        """Runs it in the foreground."""
        words = ("run", "--bundle", self.bundle, "--preserve-fds", "1", *self.given.words)
        if self.file is None:
            raise InstrumentError("the bundle was not prepared")
        return _spawn((*self.wanted.program.words, *words, self.build.name), self.file.fileno())

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        try:
            if self.bundle:
                self._delete()
        finally:
            if self.file is not None:
                self.file.close()
            shutil.rmtree(self.bundle, ignore_errors=True)

    def _delete(self) -> None:
        """Deletes the container, which its runtime may be removing just now, since it has ended."""
        until = time.monotonic() + START_SECONDS
        while self._exists():
            try:
                self.wanted.program.run("delete", "--force", self.build.name)
            except BadInputError:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL_SECONDS)

    def _exists(self) -> bool:
        try:
            self.wanted.program.run("state", self.build.name)
        except BadInputError:
            return False
        return True


def _spawn(command: Sequence[str], handed: int | None = None) -> int:
    """Starts a runtime's command as a shell would."""
    actions = [] if handed is None else [(os.POSIX_SPAWN_DUP2, handed, _PASSED_ON)]
    try:
        return os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=actions,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
    except OSError as error:
        raise BadInputError(f"{shown(command[0])}: cannot be started ({error.strerror})") from error


def _words(found: object) -> list[str]:
    if isinstance(found, str):  # podman may say so
        return [found]
    return [str(word) for word in found] if isinstance(found, list) else []


def _profile(profile: Path) -> str:
    return UNCONFINED if str(profile) == UNCONFINED else str(profile.absolute())


def _on_terminal() -> bool:
    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams)


def observe_image(
    wanted: Wanted,
    words: Sequence[str],
    watched: Watch,
    timeout: float | None,
    say: Callable[[str], None],
) -> WorkloadObservation:
    """Runs the program of an image or a bundle to its end, in a container that is then removed.

    Args:
        wanted: the container.
        words: the command, as ``docker run IMAGE`` takes it; empty for the image's own.
        watched: what is watched.
        timeout: after how many seconds it is ended; None for never.
        say: tells the user a sentence while it runs.

    Raises:
        BadInputError: the runtime refuses, or this user may not look into the container.
        InstrumentError: this kernel cannot do it, or something takes too long.
    """
    refuse_old_kernel(os.uname().release)
    native = watched.arches[0]
    code = bpf.to_bytes(program(watched), big_endian=native.big_endian)
    build = _Build(f"syscall-conformance-{secrets.token_hex(6)}", code)
    container: _Container = (
        _ImageContainer(wanted, words, build)
        if wanted.program.runtime in OF_IMAGES
        else _BundleContainer(wanted, words, build)
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(removed(_Calmly(container)))
        container.prepare()
        started = datetime.now(UTC)
        stack.enter_context(signals_held())
        command = container.start()
        pid = _launched(command, Holder(build.name, container.image), wanted)
        said = launcher.ask(pid)
        listener = _take(pid, said, watched)
        stack.callback(os.close, listener)
        hidden = _hidden(pid, watched)
        notes = notes_for(watched, lambda: {pid, *processes.descendants(pid)})
        launcher.let_go(pid)
        workload = Workload(command, listener, _Signals(container, command))
        outcome = supervise(Supervisor(listener, watched, notes), workload, timeout, say)
    seen = WorkloadObservation(started, outcome, said.no_new_privs, notes.tally.rows, 0, hidden)
    return with_notes(seen, notes)


@dataclass(frozen=True, slots=True)
class _Calmly:
    """Removes a container; a signal has to wait, for it takes several steps."""

    container: _Container

    def remove(self) -> None:
        """Removes it."""
        with signals_held():
            self.container.remove()


def _launched(command: int, held: Holder, wanted: Wanted) -> int:
    """Waits until the launcher says something; its process, by our pid."""
    name = wanted.program.runtime
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        for pid in processes_of(held):
            try:
                if launcher.ask(pid).state:
                    return pid
            except PermissionError as error:
                raise _not_ours(name) from error
            except OSError:
                continue  # it has ended meanwhile
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, command, options) is not None:
            raise BadInputError(
                f"{name}: the container ended before its program began: the runtime says why, or "
                "its profile forbids seccomp, prctl or execve"
            )
        time.sleep(_POLL_SECONDS)
    raise BadInputError(
        f"{name}: the container's first process cannot be seen from here: run this as root on the "
        "machine, and in the pid namespace, in which the runtime starts containers"
    )


def _not_ours(name: str) -> BadInputError:
    return BadInputError(
        f"{name}: this user may not look into the container's process: run this as root"
    )


def _take(pid: int, said: launcher.Said, watched: Watch) -> int:
    """The listener of a launcher's filter."""
    if said.state != launcher.READY:
        launcher.let_go(pid)
        raise BadInputError(
            f"the observer's filter was refused in the container ({os.strerror(-said.listener)}): "
            "its own profile forbids seccomp(2), or has a listener: give another by --seccomp"
        )
    process = os.pidfd_open(pid)
    try:
        return kernel.take_descriptor(
            watched.arches[0].numbers["pidfd_getfd"], process, said.listener
        )
    except PermissionError as error:
        raise _not_ours("the observer") from error
    finally:
        os.close(process)


def _hidden(pid: int, watched: Watch) -> Hidden | None:
    """What the container's own filters answer before a documented call can be seen."""
    try:
        (thread,) = harvest.filters_of(pid).threads
    except (BadInputError, InstrumentError):
        return None
    big_endian = watched.arches[0].big_endian
    own = [bpf.from_bytes(raw, big_endian=big_endian) for raw in thread.programs[:-1]]
    try:
        return hidden_by(own, watched, newer=False)
    except TooComplexError:
        return None


@dataclass(slots=True)
class _Signals:
    """Ends a container: by the runtime's command, which passes signals on, or by removing it."""

    container: _Container
    command: int
    removed: bool = False

    def __call__(self, number: signal.Signals) -> None:
        """Sends a signal to all processes of the container."""
        if number != signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.command, number)
        elif not self.removed:
            self.removed = True
            self.container.remove()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.command, signal.SIGKILL)
