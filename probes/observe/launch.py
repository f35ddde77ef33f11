"""Starts a command under a filter whose listener this process holds.

Between the filter's installation and execve(2) the child calls nothing but execve(2), so that a
policy may watch any call. It therefore hands over nothing: it shares the table of descriptors, and
leaves word in a page of memory.
"""

import errno
import gc
import mmap
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from probes.errors import BadInputError, InstrumentError
from probes.instrument import kernel
from probes.text import shown

_POLL_SECONDS: Final = 0.0005
_START_SECONDS: Final = 30.0
_NOT_STARTED: Final = 127
_LISTENER, _CONFINED, _ERROR, _STEP = range(4)
_INSTALLING, _STARTING = 1, 2


@dataclass(frozen=True, slots=True)
class Launched:
    """A command that has been started.

    Attributes:
        pid: its process.
        listener: where its watched calls are reported; the caller closes it.
        no_new_privs: whether it runs with no_new_privs, because this user may not install a filter
            without: then set-user-ID programs and file capabilities give no privilege.
        word: the page in which the child leaves word.
    """

    pid: int
    listener: int
    no_new_privs: bool
    word: "memoryview[int]"

    def refusal(self) -> str:
        """Why the command could not be executed; "" if it was, or is not known yet."""
        return os.strerror(self.word[_ERROR]) if self.word[_STEP] == _STARTING else ""


def launch(
    command: Sequence[str], program: bytes, numbers: Mapping[str, int], mask: Iterable[int]
) -> Launched:
    """Starts a command with this process' directory, environment, descriptors and terminal.

    This process must have no other thread.

    Args:
        command: the words of the command; the first is looked for on PATH.
        program: the filter.
        numbers: the calls of the kernel's native ABI.
        mask: the signals that the command shall have blocked.

    Raises:
        InstrumentError: the filter cannot be installed.
    """
    word = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
    child = _Child(
        [os.fsencode(one) for one in candidates(command[0], os.get_exec_path())],
        [os.fsencode(one) for one in command],
        environment(),
        kernel.Filter(program),
        numbers["seccomp"],
        frozenset(mask),
        word,
    )
    gc.collect()
    gc.disable()
    try:
        pid = kernel.fork_sharing_descriptors(numbers["clone"])
        if pid == 0:
            child.become()
    finally:
        gc.enable()
    _await_listener(pid, word)
    return Launched(pid, word[_LISTENER] - 1, bool(word[_CONFINED]), word)


def candidates(command: str, path: Iterable[str]) -> list[str]:
    """The files that a command may mean, in the order in which they are tried."""
    return [command] if "/" in command else [f"{one or '.'}/{command}" for one in path]


def environment() -> dict[bytes, bytes]:
    """The environment that this process was given.

    Without the LC_CTYPE that Python sets for itself where it finds the C locale (PEP 538).
    """
    found = dict(os.environb)
    given = Path("/proc/self/environ").read_bytes()
    if b"\0LC_CTYPE=" not in b"\0" + given:
        found.pop(b"LC_CTYPE", None)
    return found


@dataclass(frozen=True, slots=True)
class _Child:
    """What the child does, all of it made ready before it is there."""

    paths: list[bytes]
    words: list[bytes]
    environment: dict[bytes, bytes]
    filter: kernel.Filter
    seccomp: int
    mask: frozenset[int]
    word: "memoryview[int]"

    def become(self) -> NoReturn:
        """Becomes the command; never returns."""
        try:
            # Python ignores these two signals, and an ignored signal stays so.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            self._confine()
            self._execute()
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            self._tell(error, _INSTALLING)
        finally:
            os._exit(_NOT_STARTED)

    def _confine(self) -> None:
        try:
            listener = self._install()
        except PermissionError:
            kernel.set_no_new_privs()
            self.word[_CONFINED] = 1
            listener = self._install()
        self.word[_LISTENER] = listener + 1

    def _install(self) -> int:
        try:
            flag = kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
            return kernel.install_listener(self.filter, self.seccomp, flag)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return kernel.install_listener(self.filter, self.seccomp)  # before Linux 5.19

    def _execute(self) -> None:
        worst: OSError | None = None
        for path in self.paths:
            try:
                os.execve(path, self.words, self.environment)  # noqa: S606 - as given
            except OSError as error:
                # As execvp(3): that a file is there but may not be executed says more.
                if worst is None or error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                    worst = error
        self._tell(worst, _STARTING)

    def _tell(self, error: BaseException | None, step: int) -> None:
        number = error.errno if isinstance(error, OSError) else None
        self.word[_ERROR] = number or errno.ENOENT
        self.word[_STEP] = step


def _await_listener(pid: int, word: "memoryview[int]") -> None:
    until = time.monotonic() + _START_SECONDS
    while not word[_LISTENER]:
        if word[_STEP]:
            os.waitpid(pid, 0)
            raise _refusal(word[_ERROR])
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise InstrumentError("the process that shall become the command does not get ready")
        time.sleep(_POLL_SECONDS)


def _refusal(number: int) -> Exception:
    if number == errno.EBUSY:
        return BadInputError(
            "this process is under a filter with a listener already, such as another observe, and "
            "the kernel allows one: run it outside"
        )
    return InstrumentError(
        f"the filter that reports calls cannot be installed ({os.strerror(number)}): it takes "
        f"Linux 5.5 or newer with CONFIG_SECCOMP_FILTER, and no filter that forbids seccomp(2)"
    )


def not_executable(command: str, reason: str) -> BadInputError:
    """The refusal of a command that could not be executed."""
    where = "" if "/" in command else " on PATH"
    return BadInputError(f"{shown(command)}: cannot be executed ({reason}{where})")
