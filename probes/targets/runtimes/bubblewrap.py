"""bwrap: a sandbox over a root file system."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen  # noqa: TC003 - one of few names, and cheap
from typing import IO, Final

from probes.errors import BadInputError
from probes.targets import files
from probes.targets.files import shown
from probes.targets.runtimes.command import kill
from probes.targets.runtimes.wanted import Holder, Wanted

_MADE_BY_BWRAP: Final = ("proc", "dev", "tmp")
_MOST_BYTES: Final = 1 << 20
_INSTRUCTION_SIZE: Final = 8


class Sandbox:
    """A process under bubblewrap; see ``probes.targets.runtimes.container.Container``."""

    def __init__(self, wanted: Wanted, holder: Holder) -> None:
        """Notes what is asked for; nothing is started yet."""
        self._wanted = wanted
        self._holder = holder
        self._process: Popen[bytes] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - remove() closes it

    def start(self) -> None:
        """Starts bwrap over the root file system, to which nothing is written."""
        path = f"/{self._holder.name}"
        # What bwrap inherits stays open in it.
        with (
            self._holder.in_memory() as holder,
            tempfile.TemporaryFile() as program,
            tempfile.TemporaryFile() as nothing,
        ):
            words = [
                *("--unshare-all", "--die-with-parent", "--new-session"),
                *_laid_out(Path(self._wanted.subject)),
                *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108 - not ours
                *("--perms", "0755", "--file", str(holder.fileno()), path),
            ]
            if self._wanted.seccomp is not None:
                program.write(_raw_program(self._wanted.seccomp))
                program.seek(0)
                words += ["--seccomp", str(program.fileno())]
            self._process = self._wanted.program.start(
                *(*words, *self._wanted.arguments, "--", path),
                streams=(nothing, self._said, self._said),
                fds=(holder.fileno(), program.fileno()),
            )

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
