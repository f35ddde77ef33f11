"""bwrap: a sandbox over a root file system."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from probes import files
from probes.errors import BadInputError, InstrumentError
from probes.runtimes import arguments
from probes.runtimes.command import JOB_SECONDS, kill
from probes.runtimes.wanted import Beside, Holder, InForce, Job, Wanted
from probes.text import shown

_MADE_BY_BWRAP: Final = ("proc", "dev", "tmp")
_MOST_BYTES: Final = 1 << 20
_INSTRUCTION_SIZE: Final = 8


class Sandbox:
    """A process that bubblewrap confines: implements ``Container``."""

    def __init__(self, wanted: Wanted, holder: Holder) -> None:
        """Reads what is asked for; nothing is started yet.

        Raises:
            BadInputError: a word of the user's is in the way.
        """
        self._wanted = wanted
        self._given = arguments.read(
            wanted.program.runtime, wanted.arguments, seccomp=wanted.seccomp
        )
        self._holder = holder
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - remove() closes it

    def given(self) -> None:
        """A raw program is no profile."""

    def start(self) -> None:
        """Starts bwrap over the root file system, to which nothing is written."""
        path = f"/{self._holder.name}"
        with self._holder.in_memory() as holder:
            more = ("--perms", "0755", "--file", str(holder.fileno()), path)
            self._start(more, (path,), (holder.fileno(),))

    def _start(self, more: Sequence[str], command: Sequence[str], fds: Sequence[int]) -> None:
        # What bwrap inherits stays open in it.
        with tempfile.TemporaryFile() as program, tempfile.TemporaryFile() as nothing:
            words = [
                *("--unshare-all", "--die-with-parent", "--new-session"),
                *_laid_out(Path(self._wanted.subject)),
                *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108 - not ours
                *more,
            ]
            if self._wanted.seccomp is not None:
                program.write(_raw_program(self._wanted.seccomp))
                program.seek(0)
                words += ["--seccomp", str(program.fileno())]
            self._process = self._wanted.program.start(
                *(*words, *self._given.words, "--", *command),
                streams=(nothing, self._said, self._said),
                fds=(*fds, program.fileno()),
            )

    def run(self, job: Job) -> str:
        """Runs a command in a sandbox."""
        more: list[str] = []
        for name, value in job.environment.items():
            more += ["--setenv", name, value]
        for mount in job.mounts:
            more += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.place]
        self._start(more, job.words, ())
        if self._process is None:
            return ""
        try:
            status = self._process.wait(JOB_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise InstrumentError(
                f"bwrap: no end after {JOB_SECONDS:.0f} s: run the suite again"
            ) from error
        self._said.seek(0)
        words = self._said.read()
        if status:
            raise self._wanted.program.refusal((), words, status)
        return words.decode(errors="replace").strip()

    def execute(self) -> bool:
        """There is no way to start another process in a sandbox."""
        return False

    def runs(self) -> bool:
        """Whether bwrap runs.

        Raises:
            BadInputError: it has refused; in its own words.
        """
        if self._process is None:
            return False
        status = self._process.poll()
        if not status:
            return status is None
        self._said.seek(0)
        if words := self._said.read():
            raise self._wanted.program.refusal((), words, status)
        return False

    def version(self) -> str:
        """The version."""
        return self._wanted.program.run("--version").split()[-1]

    def digest(self) -> str:
        """A directory has none."""
        return ""

    def in_force(self) -> InForce:
        """The program that bwrap was handed, which loads it as it is."""
        seccomp = self._wanted.seccomp
        return InForce("no profile" if seccomp is None else shown(seccomp.name))

    def beside(self) -> Beside:
        """Nothing: bwrap is the sandbox."""
        return Beside()

    def remove(self) -> None:
        """Ends the sandbox: its process ends with bwrap."""
        try:
            if self._process is not None:
                kill(self._process)
        finally:
            self._said.close()


def _laid_out(root: Path) -> Iterator[str]:
    """The words of bwrap for the root file system, entry by entry, so that others can stand beside.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise BadInputError(
            f"{shown(root)}: no root file system can be read there ({error.strerror}): name a"
            " directory"
        ) from error
    for entry in entries:
        if entry.name in _MADE_BY_BWRAP:
            continue
        if entry.is_symlink():
            yield from ("--symlink", str(entry.readlink()), f"/{entry.name}")
        else:
            yield from ("--ro-bind", str(entry.absolute()), f"/{entry.name}")


def _raw_program(path: Path) -> bytes:
    """What bwrap takes: a program as the kernel reads it.

    Raises:
        BadInputError: it is something else, most likely a profile in JSON.
    """
    raw = files.read(path, _MOST_BYTES, "a raw BPF program")
    if not raw or len(raw) % _INSTRUCTION_SIZE or raw.lstrip()[:1] == b"{":
        raise BadInputError(
            f"{shown(path)}: bwrap takes a raw BPF program, and this is none: write one with"
            " syscall-conformance export --format bpf"
        )
    return raw
