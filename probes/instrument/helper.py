"""A process beside this one that answers questions, and that can be ended when it does not.

For libraries that may never come back: a handler of a signal does not run while Python is in one.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from typing import Final

_MOST_BYTES: Final = 1 << 16
"""How much of an answer is read at once."""

_ENDING_SECONDS: Final = 5.0
"""How long a process may take to be gone once it was killed."""


class NoAnswerError(Exception):
    """The process did not answer in time, or ended instead.

    Attributes:
        status: how it ended, as ``subprocess`` has it; None where it did not.
    """

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class Helper:
    """A process that answers each line by a line; it ends with this process.

    It finds the modules that this process finds, and nothing of its user's environment counts.
    """

    def __init__(self, statement: str) -> None:
        """Starts it.

        Args:
            statement: what it runs: reads questions from standard input, and writes the answers.
        """
        places = [place for place in sys.path if place]
        code = f"import sys; sys.path[:] = {places!r}; {statement}"
        # -S: what site would add stands in the list already.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process to handle
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can still answer."""
        return self._process.poll() is None

    def ask(self, question: bytes, seconds: float) -> bytes:
        """Asks, and waits for the answer; without one the process is ended.

        Args:
            question: one line without its end.
            seconds: how long the answer may take.

        Raises:
            NoAnswerError: it took longer, or the process ended.
        """
        until = time.monotonic() + seconds
        try:
            self._put(question + b"\n")
            found = b""
            while not found.endswith(b"\n"):
                found += self._part(until)
        except BaseException:  # it is raised again: what comes later is no answer to anything
            self.close()
            raise
        return found

    def _put(self, line: bytes) -> None:
        if self._process.stdin is None:
            raise AssertionError("it is a pipe")
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise NoAnswerError(self._process.wait(_ENDING_SECONDS)) from error

    def _part(self, until: float) -> bytes:
        if self._process.stdout is None:
            raise AssertionError("it is a pipe")
        left = max(until - time.monotonic(), 0)
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise NoAnswerError(None)
        part = os.read(self._process.stdout.fileno(), _MOST_BYTES)
        if not part:
            raise NoAnswerError(self._process.wait(_ENDING_SECONDS))
        return part

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what is left to be written goes nowhere
                    stream.close()
        self._process.wait(_ENDING_SECONDS)
