"""The zygote's client, which a test worker uses: requests, and the observations they give."""

import io
import itertools
import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, BinaryIO, Final, Self, cast

from probes.errors import InstrumentError
from probes.instrument import kernel, zygote

DEADLINE_SECONDS: Final = 10.0
"""The seconds that a probing child may take; a probe takes about a millisecond."""

COMM_BYTES: Final = 15
"""TASK_COMM_LEN without its closing zero: the longest name that a thread can have."""


_MOST_ERRANDS: Final = 20
"""An upper bound of the number of things that a confined zygote tries."""


def can_place(address: int) -> bool:
    """Whether this process can make a call by an instruction that ends there; 0 is anywhere."""
    return address == 0 or kernel.has_stubs()


class Stage(IntEnum):
    """How far a probed call came."""

    NOT_REACHED = kernel.NOT_REACHED
    ARMED = kernel.ARMED
    RETURNED = kernel.RETURNED


class Route(StrEnum):
    """The thread or process that makes the call, in relation to the one that has the filters."""

    DIRECT = "direct"
    SIBLING = "sibling"
    THREADS = "threads"
    THREAD = "thread"
    FORK = "fork"
    EXECVE = "execve"
    SETUID = "setuid"
    REMOVAL = "removal"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make: the raw number (x32 with its bit) and up to six register values."""

    number: int
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a zygote: a child with filters, and the calls that it makes.

    Attributes:
        entry: how the kernel is entered, a value of ``probes.arch.Entry``.
        calls: the calls, made one after the other; more than one only on the direct route.
        programs: raw filters to install, in this order (the last one is the newest).
        comm: the child's name, by which audit records are told apart; at most 15 bytes.
        route: who makes the call.
        new_session: whether the child leaves its session, and so any terminal, beforehand.
        deadline: seconds that a child may take.
        runs: whether the call may run, and could do harm with capabilities: a child that cannot
            drop its own makes no such call.
        logged: for each of the programs, by its place, whether it is installed with
            SECCOMP_FILTER_FLAG_LOG; () where none is.
        seccomp: the number of seccomp(2), which takes that flag.
        by_seccomp: whether all filters are installed by seccomp(2), because prctl(2) is the probed
            call.
        address: where the instruction that makes the calls ends, which is what filters see of it;
            0 for wherever it is.
    """

    entry: str
    calls: tuple[Call, ...]
    programs: tuple[bytes, ...]
    comm: str
    route: Route = Route.DIRECT
    new_session: bool = False
    deadline: float = DEADLINE_SECONDS
    runs: bool = True
    logged: tuple[bool, ...] = ()
    seccomp: int = 0
    by_seccomp: bool = False
    address: int = 0

    def to_plain(self) -> dict[str, Any]:
        """The shape that ``probes.instrument.zygote`` reads."""
        return {
            "entry": self.entry,
            "calls": [[call.number, *call.arguments] for call in self.calls],
            "programs": list(self.programs),
            "comm": self.comm,
            "route": self.route.value,
            "new_session": self.new_session,
            "deadline": self.deadline,
            "runs": self.runs,
            "logged": list(self.logged),
            "seccomp": self.seccomp,
            "by_seccomp": self.by_seccomp,
            "address": self.address,
        }


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one probed call, as the zygote saw it.

    Attributes:
        stage: ARMED is written right before the call, RETURNED right after it.
        result: what the call returned; -1 for an error.
        errno: the error, 0 for none.
        trapped: whether a SIGSYS handler ran during the call.
        status: the wait status of the process that called; None where it went on afterwards.
        survived: whether the process lived on although the thread that called had ended.
        timed_out: whether the child was killed at its deadline.
        own_pid: whether the result is the caller's own process id.
        loosened: whether the kernel let the confined process leave filter mode.
        dropped_user: whether the confined process became another user (setuid route).
        fault: what went wrong with the instrument, in words; "" where nothing did.
    """

    stage: Stage
    result: int = 0
    errno: int = 0
    trapped: bool = False
    status: int | None = None
    survived: bool = False
    timed_out: bool = False
    own_pid: bool = False
    loosened: bool = False
    dropped_user: bool = False
    fault: str = ""

    @classmethod
    def from_plain(cls, seen: dict[str, Any]) -> Self:
        """Reads what ``probes.instrument.zygote`` answers for one call."""
        return cls(
            stage=Stage(seen["stage"]),
            result=seen["result"],
            errno=seen["errno"],
            trapped=bool(seen["trapped"]),
            status=seen["status"],
            survived=bool(seen["survived"]),
            timed_out=seen["timed_out"],
            own_pid=seen["pid"] != 0 and seen["result"] == seen["pid"],
            loosened=bool(seen["loosened"]),
            dropped_user=bool(seen["dropped_user"]),
            fault=seen["fault"],
        )

    @property
    def signal(self) -> int | None:
        """The signal that ended the caller, if one did."""
        ended_by_signal = self.status is not None and os.WIFSIGNALED(self.status)
        return os.WTERMSIG(self.status or 0) if ended_by_signal else None


@dataclass(frozen=True, slots=True)
class Orders:
    """The parts from which a confined zygote builds its witness.

    Attributes:
        number: the number of seccomp(2).
        program: the raw filter that hands marked calls to a listener; b"" to witness none.
        everything: the raw filter that allows everything.
        error: the errno with which the listener answers.
        canaries: marked calls that do nothing, of the kernel's own ABI, to try it out.
        deadline: seconds that a scout may take.
    """

    number: int
    program: bytes
    everything: bytes
    error: int
    canaries: tuple[Call, ...]
    deadline: float = DEADLINE_SECONDS

    def to_plain(self) -> dict[str, Any]:
        """The shape that ``probes.instrument.zygote`` reads."""
        return {
            "number": self.number,
            "program": self.program,
            "everything": self.everything,
            "error": self.error,
            "canaries": [(call.number, call.arguments) for call in self.canaries],
            "deadline": self.deadline,
        }


class Standing(StrEnum):
    """The kinds of witness that a confined zygote can have."""

    LISTENER = zygote.WITNESS_LISTENER
    """The zygote answers marked calls at a listener."""
    ORDER = zygote.WITNESS_ORDER
    """No listener can be had: two filters of different precedence show what became of a call."""
    NONE = ""
    """No filter can be installed, so there is no witness."""


class Zygote:
    """A zygote process and the connection to it; a context manager.

    Not for use by several threads at once. Every worker of a test run has its own.
    """

    def __init__(self, *, confined: bool = False) -> None:
        """Starts the lean interpreter.

        Args:
            confined: this process is confined by filters that may be in the zygote's way; tell it
                how to witness calls (``put_up_witness``) before anything else.

        Raises:
            InstrumentError: no process can be started.
        """
        statement = "serve_confined" if confined else "serve"
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    zygote.interpreter(f"{statement}({theirs.fileno()})"),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    cwd="/",
                    # No terminal is in reach of the probes, and Ctrl-C is not meant for the
                    # zygote. But setsid(2) may be what this process is confined against.
                    start_new_session=not confined,
                )
        except OSError as error:
            raise InstrumentError(
                f"the process that forks the probes cannot be started ({error.strerror})"
            ) from error
        self._confined = confined
        self._socket = ours
        # By read(2) and write(2) alone: what else a socket takes may be refused to this process.
        reader, writer = (io.FileIO(os.dup(ours.fileno()), mode) for mode in ("rb", "wb"))
        self._stream = cast("BinaryIO", io.BufferedRWPair(reader, writer))
        self._nonces = itertools.count()
        self._run = os.urandom(4).hex()
        self._callers: dict[str, frozenset[int]] = {}

    def __enter__(self) -> Self:
        """Returns this object; the process runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.close()

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    def nonce(self) -> str:
        """Makes a name that no other process has, for ``Request.comm``."""
        return f"{self._run}-{next(self._nonces):x}"[:COMM_BYTES]

    def run(self, requests: Sequence[Request]) -> list[list[Observation]]:
        """Carries out the requests in order; one observation for each call of each request.

        Raises:
            InstrumentError: the zygote is gone.
        """
        if not requests:
            return []
        patience = sum(request.deadline * (len(request.calls) + 1) for request in requests)
        answers = self._exchange([request.to_plain() for request in requests], patience)
        for request, answer in zip(requests, answers, strict=True):
            self._callers[request.comm] = frozenset(seen["pid"] for seen in answer)
        return [[Observation.from_plain(seen) for seen in answer] for answer in answers]

    def callers(self, comm: str) -> frozenset[int]:
        """The processes that made the calls of the request with that name.

        Args:
            comm: the name.

        Returns:
            Their process ids, as the zygote sees them; none where one is not known.
        """
        found = self._callers.get(comm, frozenset())
        return frozenset() if 0 in found else found

    def put_up_witness(self, orders: Orders) -> tuple[Standing, Mapping[str, str]]:
        """Finds out what a confined zygote can do, and installs its witness; call it once, first.

        Returns:
            How calls can be witnessed, and what is prevented
            (``probes.instrument.zygote.ERRANDS``), and how.

        Raises:
            InstrumentError: the zygote is gone.
        """
        patience = orders.deadline * _MOST_ERRANDS
        answer = self._exchange(orders.to_plain(), patience)
        return Standing(answer["witness"]), answer["trouble"]

    def _exchange(self, message: object, patience: float) -> Any:  # noqa: ANN401 - plain data
        """Sends a message and waits for the answer; of a confined zygote not for ever."""
        try:
            zygote.send(self._stream, message)
            if self._confined:
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                if not poll.poll((patience + DEADLINE_SECONDS) * 1000):
                    self._process.kill()
                    raise self._gone("it did not answer in time")
            answers = zygote.receive(self._stream)
        except OSError as error:
            raise self._gone(str(error)) from error
        if answers is None:
            raise self._gone("it closed its socket")
        if isinstance(answers, dict) and zygote.GONE in answers:
            why = answers[zygote.GONE]
            raise InstrumentError(
                f"the process that forks the probes can fork or watch none here ({why}): this "
                "kernel, or a filter that confines this process, refuses it a call that it needs"
            )
        return answers

    def _gone(self, why: str) -> InstrumentError:
        return InstrumentError(
            f"the process that forks the probes (pid {self.pid}) is gone: {why}; "
            "see its error output above, and run the suite again"
        )

    def close(self) -> None:
        """Ends the process and waits for it.

        Raises:
            InstrumentError: this process's confinement does not let it wait.
        """
        for thing in (self._stream, self._socket):
            try:
                thing.close()
            except BrokenPipeError:
                continue  # the zygote went first, and nothing is waiting to be said
        try:
            self._process.wait()
        except OSError as error:
            self._process.returncode = 0  # nobody will know, and nobody shall ask again
            raise InstrumentError(
                f"the process that forks the probes cannot be waited for ({error.strerror})"
            ) from error
