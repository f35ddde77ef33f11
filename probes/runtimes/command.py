"""Runs a container runtime's commands: with a deadline, and its own words where it refuses."""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Final

from probes.errors import BadInputError, InstrumentError
from probes.runtimes import complaints
from probes.text import OWN_WORDS, shown

SECONDS: Final = 120.0
"""How long a command may take; a fraction of a second is usual."""

PULL_SECONDS: Final = 900.0
"""How long one may take that fetches an image first."""

JOB_SECONDS: Final = 900.0
"""How long the suite may take within a container; a minute is usual."""

_SETTLING_SECONDS: Final = 10.0
"""How long an interrupted command may take to end by itself."""

_MOST_WORDS: Final = 400

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RuntimeCommand:
    """A runtime's command line program.

    Attributes:
        runtime: its usual name, as in ``--target``.
        words: how it is called: its name, and options of its own where the user gave some.
    """

    runtime: str
    words: tuple[str, ...]

    def run(
        self,
        *arguments: str,
        seconds: float = SECONDS,
        given: bytes = b"",
        stdin: IO[bytes] | None = None,
        is_job: bool = False,
        environment: Mapping[str, str] = _NOTHING,
    ) -> str:
        """Runs a command to its end.

        Args:
            arguments: what follows the program's own words.
            seconds: its deadline.
            given: what it reads from its standard input.
            stdin: an open file for its standard input instead.
            is_job: whether it runs as long as a container's program, and hands signals on to it.
            environment: variables besides those of this process.

        Returns:
            What it wrote to standard output, without the blanks around it.

        Raises:
            BadInputError: it is not installed, or it refused; in its own words.
            InstrumentError: it did not end in time.
        """
        # Files and no pipes: what a container inherits stays open for as long as it runs.
        with (
            tempfile.TemporaryFile() as words,
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as complained,
        ):
            words.write(given)
            words.seek(0)
            streams = (stdin or words, said, complained)
            process = self.start(*arguments, streams=streams, environment=environment)
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                kill(process)
                raise InstrumentError(
                    f"{self.line(*arguments)}: no end after {seconds:.0f} s: see what the runtime"
                    " is waiting for, and run the suite again"
                ) from error
            except BaseException:  # it is raised again
                # On Ctrl-C, too, it is clear afterwards what was made and must be removed.
                if is_job:
                    _signal(process, signal.SIGTERM)
                _settle(process)
                raise
            said.seek(0)
            complained.seek(0)
            answer = said.read()
            if status:
                raise self.refusal(arguments, complained.read(), status, answer)
        return answer.decode(errors="replace").strip()

    def put(self, archive: bytes, container: str, folder: str = "/") -> None:
        """Has docker or podman unpack an archive, as tar(5) has it, in a container's folder.

        Raises:
            BadInputError: it refused.
            InstrumentError: it did not end in time.
        """
        # podman leaves a file behind with what it has read: in a folder that goes with it.
        with tempfile.TemporaryDirectory(prefix="syscall-conformance-") as scratch:
            words = ("cp", "-", f"{container}:{folder}")
            self.run(*words, given=archive, environment={"TMPDIR": scratch})

    def start(
        self,
        *arguments: str,
        streams: Sequence[IO[bytes]],
        fds: Sequence[int] = (),
        environment: Mapping[str, str] = _NOTHING,
    ) -> subprocess.Popen[bytes]:
        """Starts a command; Ctrl-C at the terminal does not reach it.

        Args:
            arguments: what follows the program's own words.
            streams: its standard input, output and error.
            fds: descriptors that it inherits, by the numbers that they have here.
            environment: variables besides those of this process.

        Raises:
            BadInputError: it is not installed.
        """
        try:
            return subprocess.Popen(
                [*self.words, *arguments],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=fds,
                start_new_session=True,
                env=os.environ | environment,
            )
        except OSError as error:
            raise BadInputError(
                f"{self.runtime} cannot be started here: {self.words[0]}: {error.strerror}: install"
                f" {self.runtime}, or put it on PATH"
            ) from error

    def refusal(
        self, arguments: Sequence[str], complained: bytes, status: int, answered: bytes = b""
    ) -> BadInputError:
        """What a command that failed said, and what that means as far as we know it.

        Args:
            arguments: what followed the program's own words.
            complained: what it wrote to standard error.
            status: its exit status.
            answered: what it wrote to standard output, which counts where it complained of nothing.
        """
        lines = complaints.errors(complained) or complaints.errors(answered)
        said = _own_words(lines) or f"exit status {status}"
        hint = complaints.cause(lines, (*self.words, *arguments))
        return BadInputError(
            f"{self.line(*arguments)}: {f'{hint}; ' if hint else ''}{OWN_WORDS}: {said}"
        )

    def line(self, *arguments: str) -> str:
        """The command as a sentence names it: its first words."""
        return shown(shlex.join([*self.words, *arguments[:1]]))


def _own_words(lines: Sequence[str]) -> str:
    text = shown(" / ".join(lines))
    return text if len(text) <= _MOST_WORDS else f"... {text[-_MOST_WORDS:]}"


def _settle(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_SETTLING_SECONDS)
        return
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a command and what it started in its process group."""
    _signal(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_SETTLING_SECONDS)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
