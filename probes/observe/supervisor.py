"""The supervisor: lets every reported call run, and looks at it before."""

import contextlib
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from probes.errors import InstrumentError
from probes.instrument import kernel
from probes.observe import listener, processes
from probes.observe.caller import Callers, memory_word, site
from probes.observe.contacts import Contacts
from probes.observe.own_filters import OwnFilters
from probes.observe.tally import Tally
from probes.observe.watch import Addressing, Kind, Watch

GRACE_SECONDS: Final = 5.0
"""How long a process has to end by SIGTERM before SIGKILL ends it."""

# struct signalfd_siginfo: signo, errno, code, pid, and what nobody here needs
_SIGINFO: Final = struct.Struct("=IiiI112x")
# asm-generic/siginfo.h: the kernel itself sent it, as the terminal's driver does for Ctrl-C
_SI_KERNEL: Final = 0x80
_BATCH: Final = 64

_PASSED_ON: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_ENDING: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
WATCHED_SIGNALS: Final = frozenset({*_PASSED_ON, signal.SIGCHLD})


class ObservationEnd(Enum):
    """Why an observation ended."""

    ITSELF = "itself"
    """The workload ended."""
    DEADLINE = "deadline"
    """Its time was over."""
    INTERRUPTED = "interrupted"
    """The user, or who runs the user's job, ended it by a signal."""


@dataclass(frozen=True, slots=True)
class WorkloadEnd:
    """How an observation went.

    Attributes:
        status: the command's own status, as waitpid(2) gives it.
        ending: why it ended.
        nanoseconds: how long it took.
    """

    status: int
    ending: ObservationEnd
    nanoseconds: int


@contextlib.contextmanager
def signals_held() -> Iterator[frozenset[int]]:
    """Blocks the signals that the supervisor reads; gives those that were blocked before.

    What comes in the moment of the end was meant for the workload, and is dropped: it must not end
    this process, which has the report still to write.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED_SIGNALS)
    try:
        yield frozenset(before)
    finally:
        while signal.sigtimedwait(WATCHED_SIGNALS - before, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True)
class Notes:
    """The records that are kept of a workload's calls.

    Attributes:
        tally: those that are counted.
        contacts: whom they reach.
        own_filters: what they install.
    """

    tally: Tally
    contacts: Contacts
    own_filters: OwnFilters


class Supervisor:
    """Answers what is reported and waits for the workload to end."""

    def __init__(self, descriptor: int, watched: Watch, notes: Notes) -> None:
        """Takes over a listener.

        Args:
            descriptor: the listener.
            watched: what is watched.
            notes: what is noted of the calls.
        """
        self._listener = descriptor
        self._watch = watched
        self._notes = notes
        self._tally = notes.tally
        self._callers = Callers()
        self._begin = time.monotonic_ns()

    def answer(self) -> None:
        """Answers calls as long as some wait, though not for ever."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        for _ in range(_BATCH):
            ready = poll.poll(0)
            if not ready or not ready[0][1] & select.POLLIN:
                return
            self._answer_one()

    def _answer_one(self) -> None:
        seen = listener.receive(self._listener)
        if seen is None:
            return
        addressing = self._watch.addresses(seen.token, seen.number, seen.args)
        if addressing is not None:
            self._notes.contacts.look(addressing, seen, self._callers.of)
        if not self._counts(seen, addressing):
            listener.let_run(self._listener, seen)
            return
        caller = self._callers.of(seen.tid)
        elapsed = time.monotonic_ns() - self._begin
        row = self._tally.take(seen, caller, elapsed, site)
        if not listener.let_run(self._listener, seen):
            self._tally.interrupted(row, seen, caller)

    def _counts(self, seen: listener.Notification, addressing: Addressing | None) -> bool:
        """Whether a call is one that the report tells.

        It is not where memory that it points to is not as it must be; it is if nobody can tell.
        """
        watched = self._watch.recognize(seen.token, seen.number, seen.args)
        if watched is None:
            return addressing is None  # then no table knows its number
        if watched.kind is Kind.CONFINING:
            return self._notes.own_filters.installs(watched, seen, self._callers.of)
        if watched.memory is None:
            return True
        word = memory_word(seen.tid, seen.args[watched.memory.argument])
        return word is None or watched.memory.accepts(word)

    def close(self) -> None:
        """Lets go of what it holds, but for the listener."""
        self._callers.close()

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the start."""
        return time.monotonic_ns() - self._begin


@dataclass(frozen=True, slots=True)
class Workload:
    """The workload that is observed.

    Attributes:
        command: the process that ends when the workload's own program does, with its status; a
            child of this one.
        listener: where the calls are reported.
        signal_all: sends a signal to every process of the workload.
    """

    command: int
    listener: int
    signal_all: Callable[[signal.Signals], None]


class _Family:
    """The command, and the processes that it started: all below this one."""

    def __init__(self, workload: Workload, say: Callable[[str], None]) -> None:
        self.command = workload.command
        self._signal_all = workload.signal_all
        self.status: int | None = None
        self.alive = True
        self.told = False
        self._typed = False
        self._say = say
        self._kill_at: float | None = None

    def reap(self) -> None:
        """Takes note of every end."""
        ended_before = self.status is not None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.alive = False
                return
            if pid == 0:
                break
            if pid == self.command:
                self.status = status
        if self.status is not None and not ended_before:
            count = len(processes.descendants(os.getpid()))
            if count:
                self._say(
                    f"the command has ended; waiting for {count} of the processes that it started "
                    f"(Ctrl-C ends them)"
                )

    def interrupt(self, number: int, *, typed: bool) -> None:
        """Passes a signal on to the command, unless the terminal has sent it there itself."""
        if number in _ENDING:
            self.note(typed=typed)
        if not typed:
            os.kill(self.command, number)

    def note(self, *, typed: bool) -> None:
        """Notes that the user wants it to end."""
        self.told = self.told or not typed
        self._typed = self._typed or typed

    @property
    def came_to(self) -> ObservationEnd:
        """Why it ended: by itself, too, if it took Ctrl-C for something else, as a shell does."""
        failed = self._typed and self.status != 0
        return ObservationEnd.INTERRUPTED if self.told or failed else ObservationEnd.ITSELF

    def end(self) -> None:
        """Asks all of them to end, now or, where that was done already, for good."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE_SECONDS
            self._signal_all(signal.SIGTERM)
        else:
            self._kill_at = 0.0
            self.end_late_ones()

    def end_late_ones(self) -> None:
        """Ends for good who had time to end."""
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._signal_all(signal.SIGKILL)

    @property
    def ending(self) -> bool:
        """Whether they have been asked to end."""
        return self._kill_at is not None


def supervise(
    supervisor: Supervisor,
    workload: Workload,
    timeout: float | None,
    say: Callable[[str], None],
) -> WorkloadEnd:
    """Answers until the command and every process that it started have ended.

    The signals of ``WATCHED_SIGNALS`` must be blocked, and this process must be the subreaper of
    those below it.

    Args:
        supervisor: answers the calls.
        workload: what they come from.
        timeout: after how many seconds all are ended; None for never.
        say: tells the user a sentence.

    Raises:
        InstrumentError: the command was waited for by somebody else.
    """
    family = _Family(workload, say)
    ending = None
    deadline = None if timeout is None else time.monotonic() + timeout
    signals = kernel.open_signalfd(sorted(WATCHED_SIGNALS))
    try:
        with select.epoll() as events:
            events.register(signals, select.EPOLLIN)
            events.register(workload.listener, select.EPOLLIN)
            family.reap()
            while family.alive:
                for which, what in events.poll(_patience(deadline, family)):
                    if which == signals:
                        _handle_signals(signals, family)
                    elif what & select.EPOLLIN:
                        supervisor.answer()
                    else:  # EPOLLHUP: nobody is under the filter any more
                        events.unregister(workload.listener)
                if deadline is not None and time.monotonic() >= deadline:
                    deadline = None
                    ending = ObservationEnd.DEADLINE
                    say(f"the deadline of {timeout:g} s has passed: ending the command")
                    family.end()
                family.end_late_ones()
        _note_late_signals(signals, family)
    finally:
        os.close(signals)
        supervisor.close()
    if family.status is None:
        raise InstrumentError("the command's own exit status was lost")
    return WorkloadEnd(family.status, ending or family.came_to, supervisor.elapsed)


_LATE_SECONDS: Final = 0.2
_LONGEST_SECONDS: Final = 3600.0  # epoll_wait(2) takes no more than some weeks


def _note_late_signals(descriptor: int, family: _Family) -> None:
    """Notes what was still on its way when the last process ended, perhaps because of it."""
    with contextlib.suppress(BlockingIOError):
        while raw := os.read(descriptor, _SIGINFO.size):
            number, _, code, _ = _SIGINFO.unpack(raw)
            if number in _ENDING:
                family.note(typed=code == _SI_KERNEL)


def _patience(deadline: float | None, family: _Family) -> float | None:
    if family.ending:
        return _LATE_SECONDS
    if deadline is None:
        return None
    return min(_LONGEST_SECONDS, max(0.0, deadline - time.monotonic()))


def _handle_signals(descriptor: int, family: _Family) -> None:
    """Reaps, and passes signals on.

    What the terminal sends goes to the whole foreground process group, the command included.
    """
    with contextlib.suppress(BlockingIOError):
        while raw := os.read(descriptor, _SIGINFO.size):
            number, _, code, _ = _SIGINFO.unpack(raw)
            if number == signal.SIGCHLD:
                family.reap()
            elif family.status is None:
                family.interrupt(number, typed=code == _SI_KERNEL)
            elif number in _ENDING:
                family.told = True
                family.end()
