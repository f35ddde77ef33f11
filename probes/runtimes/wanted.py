"""What a user asks for with a target of a container runtime."""

import io
import os
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from probes.errors import BadInputError
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.known import BY_ENDPOINT, BY_NAME
from probes.text import shown


@dataclass(frozen=True, slots=True)
class Start:
    """How containers are started, as the user says it.

    Attributes:
        seccomp: the profile; None for the runtime's default.
        arguments: further words for the command that makes the container.
        command: how the runtime's program is called; empty for its usual name.
        endpoint: the socket of the runtime's daemon; "" for its usual one.
    """

    seccomp: Path | None = None
    arguments: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    endpoint: str = ""

    def wanted(self, runtime: str, subject: str) -> "Wanted":
        """A container of an image, a bundle or a root file system under a runtime.

        Raises:
            BadInputError: an option has no meaning for the runtime.
        """
        known = BY_NAME[runtime]
        if self.command and not known.command:
            raise BadInputError(
                f"--runtime-command {shown(shlex.join(self.command))}: {runtime} is no program but"
                " a socket: name it by --runtime-endpoint"
            )
        if self.endpoint and not known.has_endpoint:
            raise BadInputError(
                f"--runtime-endpoint {shown(self.endpoint)}: {runtime} is started as a program, and"
                f" only {' and '.join(BY_ENDPOINT)} are reached by a socket of that name: leave it"
                " out, or say it by --runtime-command"
            )
        program = RuntimeCommand(runtime, self.command or known.command)
        return Wanted(program, subject, self.seccomp, self.arguments, self.endpoint)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container that is to be started.

    Attributes:
        program: the runtime's command line program.
        subject: an image, a bundle's directory, or a root file system's, as the runtime takes it.
        seccomp: the profile; None for the runtime's default.
        arguments: words of the user's for the command that makes the container.
        endpoint: the socket of the runtime's daemon; "" for its usual one.
    """

    program: RuntimeCommand
    subject: str
    seccomp: Path | None = None
    arguments: tuple[str, ...] = ()
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class GivenProfile:
    """A profile that a runtime was given as a file, and who reads it.

    Attributes:
        path: the file.
        content: what the reader gets: the file, or the bundle's configuration that has it.
        original: the file's own bytes, by which a later change is known.
        engine: who decodes it: ``docker``, ``podman`` or ``bundle``.
        engine_version: the engine's release; "" where it has none, or does not say.
        runtime: who compiles it: ``runc`` or ``crun``.
        runtime_version: the runtime's release; "" where it does not say.
        library: the release of the runtime's libseccomp; "" where it does not say.
        no_new_privs: whether the container has no_new_privs; None where that is not told.
    """

    path: Path
    content: bytes
    original: bytes
    engine: str
    engine_version: str
    runtime: str
    runtime_version: str
    library: str = ""
    no_new_privs: bool | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """The profile that a runtime used, as far as it says which.

    Attributes:
        profile: what a sentence calls it.
        lifted: the option by which a container has none although one is named; "" where there is
            no such option.
        given: the file of the profile; None where it was not given as one.
    """

    profile: str
    lifted: str = ""
    given: GivenProfile | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """The rest of what a runtime has started with a container.

    Attributes:
        processes: those that are in no container that was asked for but count, by our pids, each
            with a phrase that says what it is.
        notes: sentences that a report should have.
    """

    processes: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """The program that runs in place of the container's own.

    Attributes:
        name: is like no other's, and names the container, too.
        image: the executable.
    """

    name: str
    image: bytes

    def archive(self) -> bytes:
        """The executable as tar(5) has it, for a runtime that unpacks it in a container."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            entry = tarfile.TarInfo(self.name)
            entry.size, entry.mode = len(self.image), 0o755
            archive.addfile(entry, io.BytesIO(self.image))
        return made.getvalue()

    def in_memory(self) -> IO[bytes]:
        """The executable as a file without a name, which is closed to writing (ETXTBSY)."""
        descriptor = os.memfd_create(self.name)
        try:
            os.fchmod(descriptor, 0o755)
            os.pwrite(descriptor, self.image, 0)
            return open(f"/proc/self/fd/{descriptor}", "rb")  # noqa: PTH123 - the caller closes it
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine's in a container.

    Attributes:
        source: it, by its absolute path.
        place: where it is in the container.
        writable: whether the container may write to it.
    """

    source: Path
    place: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run in a container, to its end.

    Attributes:
        words: the command.
        environment: its variables, besides those of the container.
        mounts: what it needs, in this order.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
