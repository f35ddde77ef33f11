"""containerd: containers by ctr, the client that comes with it."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from probes import files
from probes.cri import endpoint
from probes.errors import BadInputError
from probes.runtimes import arguments
from probes.runtimes.bundles import CONFIGURATION, library_of, version_said
from probes.runtimes.command import JOB_SECONDS, RuntimeCommand
from probes.runtimes.known import BY_NAME
from probes.runtimes.wanted import Beside, GivenProfile, Holder, InForce, Job, Mount, Wanted
from probes.text import shown

_MOST_BYTES: Final = 16 << 20
_FOLDER: Final = "/dev"
"""Where the holder is: in memory, so that nothing is written to a root file system."""

_VARIABLE: Final = "CONTAINERD_ADDRESS"
_USUAL: Final = "/run/containerd/containerd.sock"
"""Where ctr looks for the daemon, unless it is told otherwise."""

_GONE: Final = "not found"
"""How every release of ctr ends what it says of a container or a task that is not there."""
_NONE: Final = "no seccomp profile"


class ContainerdContainer:
    """A container of an image or of a root file system: implements ``Container``.

    ctr hands the profile's file to nobody: it decodes it itself, as containerd's CRI does.
    """

    def __init__(self, wanted: Wanted, holder: Holder) -> None:
        """Reads what is asked for; nothing is made yet.

        Raises:
            BadInputError: a word of the user's is in the way, or the profile cannot be read.
        """
        self._wanted = wanted
        self._holder = holder
        self._given = arguments.read(
            wanted.program.runtime, wanted.arguments, seccomp=wanted.seccomp
        )
        words = (*wanted.program.words, *_address(wanted.endpoint))
        self._program = RuntimeCommand(wanted.program.runtime, words)
        self._subject = tuple(_subject(wanted.subject))
        if wanted.seccomp is not None:
            files.read(wanted.seccomp, _MOST_BYTES, "a seccomp profile")
        self._folder = ""
        self._asked = False

    @property
    def _is_image(self) -> bool:
        return len(self._subject) == 1

    @property
    def _path(self) -> str:
        return f"{_FOLDER}/{self._holder.name}"

    def given(self) -> GivenProfile | None:
        """The file that was named, which ctr decodes and runc compiles."""
        path = self._wanted.seccomp
        if path is None or self._given.has(arguments.PRIVILEGED):
            return None
        raw = files.read(path, _MOST_BYTES, "a seccomp profile")
        said = self._runc()
        return GivenProfile(
            path=path,
            content=raw,
            original=raw,
            engine="containerd",
            engine_version=self.version(),
            runtime="runc" if said else "",
            runtime_version=version_said(said),
            library=library_of(said),
        )

    def _runc(self) -> str:
        """What runc says of its version, where ctr's machine has it and no other one is named."""
        *before, program = self._wanted.program.words
        if Path(program).name != "ctr" or self._given.values("runtime"):
            return ""
        try:
            return RuntimeCommand("runc", (*before, "runc")).run("--version")
        except BadInputError:  # it is not here, so nothing can be said of it
            return ""

    def _check_daemon(self) -> None:
        """Refuses at once what ctr itself, run as it is, would wait for in vain.

        Raises:
            BadInputError: nobody listens at the daemon's socket.
        """
        if self._wanted.program.words == BY_NAME[self._wanted.program.runtime].command:
            said = self._wanted.endpoint or os.environ.get(_VARIABLE, "") or _USUAL
            endpoint.daemon_of(endpoint.path(said))

    def start(self) -> None:
        """Makes the container, with the holder mounted into it, and starts it."""
        self._folder = tempfile.mkdtemp(prefix="syscall-conformance-")
        place = Path(self._folder, self._holder.name)
        place.write_bytes(self._holder.image)
        place.chmod(0o755)
        mount = _mount(Mount(place, self._path))
        self._run("--detach", "--null-io", *mount, job=Job((self._path,), {}, ()))

    def _run(self, *options: str, job: Job, seconds: float | None = None) -> str:
        # Without one of its own it would be in a group of the namespace's, which would stay.
        group = () if self._given.values("cgroup") else ("--cgroup", f"/{self._holder.name}")
        words = ("run", *options, *group, *self._profile(), *self._given.words)
        self._check_daemon()
        self._asked = True
        command = (*words, *self._subject, self._holder.name, *job.words)
        if seconds is None:
            return self._program.run(*command)
        return self._program.run(*command, seconds=seconds, is_job=True)

    def _profile(self) -> Iterator[str]:
        if self._wanted.seccomp is not None:
            if not self._given.has(arguments.DEFAULT_SECCOMP):
                yield f"--{arguments.DEFAULT_SECCOMP}"
            yield from ("--seccomp-profile", str(self._wanted.seccomp.absolute()))

    def run(self, job: Job) -> str:
        """Makes the container and runs a command in it."""
        words: list[str] = []
        for name, value in job.environment.items():
            words += ["--env", f"{name}={value}"]
        for mount in job.mounts:
            words += _mount(mount)
        return self._run(*words, job=job, seconds=JOB_SECONDS)

    def execute(self) -> bool:
        """Has containerd start another process in the container."""
        options = ("--detach", "--exec-id", self._holder.name, "--fifo-dir", self._folder)
        self._program.run("tasks", "exec", *options, self._holder.name, self._path)
        return True

    def runs(self) -> bool:
        """Whether containerd says that the container runs."""
        rows = [line.split() for line in self._program.run("tasks", "ls").splitlines()]
        return [self._holder.name, "RUNNING"] in [[row[0], row[-1]] for row in rows if row]

    def version(self) -> str:
        """The version of the daemon."""
        told = self._program.run("version").partition("Server:")[2]
        lines = (line.partition(":") for line in told.splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() == "Version"), "?")

    def digest(self) -> str:
        """The digest of the image's manifest; "" for a root file system."""
        if not self._is_image:
            return ""
        said = self._program.run("images", "ls", f"name=={self._wanted.subject}")
        words = [word for word in said.split() if word.startswith("sha256:")]
        return words[0] if words else ""

    def in_force(self) -> InForce:
        """The profile that ctr was told to use."""
        lifted = "--privileged" if self._given.has(arguments.PRIVILEGED) else ""
        if self._wanted.seccomp is not None:
            return InForce(shown(self._wanted.seccomp.name), lifted, self.given())
        if self._given.has(arguments.DEFAULT_SECCOMP):
            return InForce("containerd's default profile", lifted)
        return InForce(_NONE, lifted)

    def beside(self) -> Beside:
        """Nothing: ctr starts no more than the container."""
        return Beside()

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        try:
            if self._asked:
                self._remove()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _remove(self) -> None:
        try:
            self._unless_gone("tasks", "delete", "--force", self._holder.name)
        finally:
            self._unless_gone("containers", "delete", self._holder.name)

    def _unless_gone(self, *words: str) -> None:
        try:
            self._program.run(*words)
        except BadInputError as error:
            if _GONE not in str(error):
                raise


def _address(said: str) -> Sequence[str]:
    """The words that name containerd's socket; none where ctr knows it by itself.

    Raises:
        BadInputError: it is no socket of this machine's.
    """
    return ("--address", endpoint.path(said)) if said else ()


def _subject(subject: str) -> Iterator[str]:
    """The words for what the container is of.

    A path is told from an image as docker's build command tells it: by how it begins.

    Raises:
        BadInputError: it is a bundle.
    """
    is_path = subject.startswith(("/", "./", "../")) or subject in {".", ".."}
    if not is_path:
        yield subject
        return
    if Path(subject, CONFIGURATION).is_file():
        raise BadInputError(
            f"{shown(subject)}: ctr would take the profile of a bundle's {CONFIGURATION} alone:"
            " name the bundle's root file system, or judge the bundle by runc or crun"
        )
    yield from ("--rootfs", str(Path(subject).resolve()))


def _mount(mount: Mount) -> Sequence[str]:
    """The words of ctr for a mount.

    Raises:
        BadInputError: ctr cannot be told its path.
    """
    if "," in str(mount.source):
        raise BadInputError(
            f"{shown(mount.source)}: ctr cannot mount a path with a comma: set TMPDIR, or install"
            " the suite, elsewhere"
        )
    mode = "rw" if mount.writable else "ro"
    return (
        "--mount",
        f"type=bind,src={mount.source},dst={mount.place},options=rbind:{mode}",
    )
