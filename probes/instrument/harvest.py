"""Reads the seccomp filters of a running process by ptrace(2), and lets it go on unchanged.

The kernel keeps each filter as it was installed and gives it to a tracer by
PTRACE_SECCOMP_GET_FILTER (``seccomp_get_filter()`` in kernel/seccomp.c, since Linux 4.4 with
CONFIG_CHECKPOINT_RESTORE), index 0 being the oldest. The tracer needs the right to trace the
process and CAP_SYS_ADMIN in the initial user namespace, and must not be in seccomp mode itself.

A thread is stopped for well under a millisecond, by PTRACE_INTERRUPT and never by a signal. What
it was doing goes on afterwards; of the blocking calls only the few that signal(7) lists for stop
signals, such as epoll_wait(2), return early with EINTR. A thread with no filter is not touched.
"""

import ctypes
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from probes.errors import BadInputError, InstrumentError
from probes.files import kernel_lines

DEADLINE_SECONDS: Final = 10.0
"""The seconds that reading a process may take; a thread takes about a millisecond."""

MOST_READINGS: Final = 8
"""The most readings of a process; it is read until two of them agree."""

FIRST_PAUSE_SECONDS: Final = 0.01
"""The seconds before the second reading, which threads may use; doubles with each reading."""

# linux/ptrace.h
PTRACE_DETACH: Final = 17
PTRACE_SEIZE: Final = 0x4206
PTRACE_INTERRUPT: Final = 0x4207
PTRACE_SECCOMP_GET_FILTER: Final = 0x420C
PTRACE_SECCOMP_GET_METADATA: Final = 0x420D
# linux/seccomp.h
_FILTER_FLAG_LOG: Final = 2
# linux/wait.h; os has no names for them
_WNOTHREAD: Final = 0x20000000
_WALL: Final = 0x40000000
# linux/seccomp.h, as proc_pid_status(5) shows it
_MODE_DISABLED, _MODE_STRICT, _MODE_FILTER = "0", "1", "2"
# linux/sched.h
_PF_KTHREAD: Final = 0x00200000
_PF_IO_WORKER, _PF_USER_WORKER = 0x00000010, 0x00004000
_WORKERS_SINCE: Final = {_PF_IO_WORKER: (5, 12), _PF_USER_WORKER: (6, 4)}
"""The first kernels whose workers are threads of a process and have these flags."""
# linux/capability.h
_CAP_SYS_PTRACE: Final = 19
# Documentation/admin-guide/LSM/Yama.rst: from here on nobody may attach, whatever the capability
_YAMA_NO_ATTACH: Final = 3

_YAMA_SCOPE: Final = Path("/proc/sys/kernel/yama/ptrace_scope")
_INSTRUCTION_SIZE: Final = 8
_POLL_INTERVAL: Final = 0.0002
_ENDED_STATES: Final = frozenset("ZXx")

_T = TypeVar("_T")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class ThreadFilters:
    """The filters of one thread.

    Attributes:
        tid: the thread's id.
        comm: its name.
        programs: arrays of ``struct sock_filter`` in the machine's byte order, the oldest first.
        logged: for each of them whether it was installed with SECCOMP_FILTER_FLAG_LOG.
    """

    tid: int
    comm: str
    programs: tuple[bytes, ...]
    logged: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Harvest:
    """The filters of a process.

    Attributes:
        pid: the process.
        comm: its name.
        threads: every thread that was alive, the first one (whose id is ``pid``) at the start.
            None that the kernel has put there to work for io_uring or vhost, for such a thread
            runs no program and makes no system call.
        settled: whether two readings agreed, so that no thread was missed.
    """

    pid: int
    comm: str
    threads: tuple[ThreadFilters, ...]
    settled: bool = True


def filters_of(pid: int, seconds: float = DEADLINE_SECONDS) -> Harvest:
    """Reads the filters of every thread of a process, which may have none.

    Threads are stopped one after the other, and others may start or install filters meanwhile. So
    all of them are read again until two readings agree, at most ``MOST_READINGS`` times. A caller
    who is the parent, too, must not wait for the process meanwhile in another thread: wait(2)
    would show it the stop.

    Args:
        pid: the process, by its id in our own pid namespace.
        seconds: the time that reading may take.

    Raises:
        BadInputError: there is no such process, or this user may not read it.
        InstrumentError: this kernel does not tell, or the process cannot be stopped in time.
    """
    # A thread of its own is what makes the detaching certain: Ctrl-C interrupts only the main
    # thread, and the kernel frees whatever a tracing thread leaves behind when it ends.
    outcome: Future[Harvest] = Future()

    def read() -> None:
        try:
            outcome.set_result(_harvest(pid, time.monotonic() + seconds))
        except BaseException as error:  # noqa: BLE001 - raised again for the caller
            outcome.set_exception(error)

    try:
        Thread(target=read, name=f"harvest {pid}").start()
        return outcome.result()
    finally:
        wait([outcome], timeout=seconds)


def is_alive(pid: int) -> bool:
    """Whether a thread of a process lives, be it another than the first."""
    states = [status["State"][0] for tid in _thread_ids(pid) if (status := _status(tid))]
    return any(state not in _ENDED_STATES for state in states)


def _harvest(pid: int, until: float) -> Harvest:
    name = _refuse_what_has_no_filters(pid)
    pause = FIRST_PAUSE_SECONDS
    earlier, latest = None, _read_once(name, pid, until)
    for _ in range(MOST_READINGS - 1):
        earlier, latest = latest, _read_once(name, pid, until)
        if earlier.agrees_with(latest):
            break
        time.sleep(pause)
        pause *= 2
    threads = latest.threads
    if not threads:
        raise BadInputError(
            f"{name} ended, or started another program, while its filters were being read"
        )
    settled = earlier is not None and earlier.agrees_with(latest)
    return Harvest(pid, _comm(pid) or threads[0].comm, threads, settled)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result of reading every thread of a process once.

    Attributes:
        threads: those that could be read.
        whole: whether no thread started or ended meanwhile.
    """

    threads: tuple[ThreadFilters, ...]
    whole: bool

    def agrees_with(self, other: "_Reading") -> bool:
        """Whether both readings have the same threads with the same filters, and missed none."""
        return self.whole and other.whole and self.filters == other.filters

    @property
    def filters(self) -> list[tuple[int, tuple[bytes, ...], tuple[bool, ...]]]:
        """The parts that two readings must agree on: all but names, which a thread may change."""
        return [(one.tid, one.programs, one.logged) for one in self.threads]


def _read_once(name: str, pid: int, until: float) -> _Reading:
    listed = _thread_ids(pid)
    threads = []
    for tid in listed:
        _refuse_lateness(name, until)
        if not _is_worker(tid) and (thread := _read_thread(name, tid, until)) is not None:
            threads.append(thread)
    return _Reading(tuple(threads), listed == _thread_ids(pid))


def _refuse_what_has_no_filters(pid: int) -> str:
    """Checks that a process can have filters to read; returns its name for sentences."""
    if pid <= 0:
        raise BadInputError(f"{pid} is no process id: they start at 1")
    if pid == os.getpid():
        raise BadInputError(f"process {pid} is this very process, which cannot trace itself")
    status = _status(pid)
    if status is None:
        raise BadInputError(f"there is no process {pid}, or /proc hides it from this user")
    name = f"process {pid} ({_comm(pid)})"
    leader = int(status["Tgid"])
    if leader != pid:
        raise BadInputError(f"{pid} is a thread of process {leader}: give {leader}")
    if _is_kernel_thread(pid):
        raise BadInputError(f"{name} is a thread of the kernel, which has no seccomp filters")
    if status["State"][0] in _ENDED_STATES and _thread_ids(pid) in ([], [pid]):
        raise BadInputError(
            f"{name} has ended and only waits for its parent {status['PPid']} to take note (zombie)"
        )
    return name


def _read_thread(name: str, tid: int, until: float) -> ThreadFilters | None:
    """The filters of a thread, or None if it has ended."""
    status = _status(tid)
    comm = _comm(tid)
    if status is None or status["State"][0] in _ENDED_STATES:
        return None
    mode = status.get("Seccomp")
    if mode is None:
        raise InstrumentError("this kernel has no seccomp: /proc/PID/status does not say its mode")
    if mode == _MODE_STRICT:
        raise BadInputError(f"{name} is in seccomp's strict mode, which has no filter to read")
    if mode == _MODE_DISABLED:
        return ThreadFilters(tid, comm, (), ())
    try:
        with _stopped(name, tid, until):
            programs = tuple(_programs(name, tid))
            logged = tuple(_is_logged(tid, index) for index in range(len(programs)))
            counted = (_status(tid) or {}).get("Seccomp_filters")
    except ProcessLookupError:
        return None  # it has ended, or is about to
    if counted is not None and int(counted) != len(programs):
        raise InstrumentError(
            f"the kernel counts {counted} seccomp filters on thread {tid} of {name} and gave "
            f"{len(programs)} of them"
        )
    return ThreadFilters(tid, comm, programs, logged)


def _programs(name: str, tid: int) -> Iterator[bytes]:
    """The filters of a stopped thread, the oldest first."""
    index = 0
    while True:
        try:
            length = _ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index)
            room = ctypes.create_string_buffer(length * _INSTRUCTION_SIZE)
            _ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, ctypes.addressof(room))
        except ProcessLookupError:
            raise
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise _refusal_to_tell(name, index, error) from error
        yield room.raw
        index += 1


class _Metadata(ctypes.Structure):
    """struct seccomp_metadata of linux/ptrace.h."""

    _fields_ = (("filter_off", ctypes.c_uint64), ("flags", ctypes.c_uint64))


def _is_logged(tid: int, index: int) -> bool:
    """Whether a filter was installed with SECCOMP_FILTER_FLAG_LOG; kernels before 4.16 do not say.

    Filters have the same index here as there.
    """
    found = _Metadata(index, 0)
    try:
        size = ctypes.sizeof(found)
        _ptrace(PTRACE_SECCOMP_GET_METADATA, tid, size, ctypes.addressof(found))
    except OSError as error:
        if error.errno in {errno.EIO, errno.EINVAL}:
            return False
        raise
    return bool(found.flags & _FILTER_FLAG_LOG)


def _refusal_to_tell(name: str, index: int, error: OSError) -> BadInputError | InstrumentError:
    if error.errno == errno.EACCES:
        ours = _status(os.getpid()) or {}
        if ours.get("Seccomp") != _MODE_DISABLED:
            return BadInputError(
                f"the kernel shows the filters of {name} to nobody who is confined by seccomp, "
                "as this process is: run the suite outside the container"
            )
        return BadInputError(
            f"to read the filters of {name} takes CAP_SYS_ADMIN in the initial user namespace: "
            "run the suite as root on the host"
        )
    if error.errno in {errno.EINVAL, errno.EIO}:
        return InstrumentError(
            f"this kernel cannot tell the filters of {name}: it takes Linux 4.4 or newer, built "
            "with CONFIG_CHECKPOINT_RESTORE"
        )
    if error.errno == errno.EMEDIUMTYPE:
        return InstrumentError(
            f"filter {index} of {name} is no classic BPF program, and the kernel shows no other"
        )
    return InstrumentError(f"cannot read filter {index} of {name}: {error.strerror}")


@contextmanager
def _stopped(name: str, tid: int, until: float) -> Iterator[None]:
    """Stops a thread for as long as the context lasts, and lets it go whatever happens.

    Raises:
        ProcessLookupError: it has ended.
    """
    try:
        _ptrace(PTRACE_SEIZE, tid)
    except PermissionError as error:
        raise _refusal_to_attach(name, tid) from error
    intercepted = 0
    try:
        _ptrace(PTRACE_INTERRUPT, tid)
        intercepted = _wait_until_stopped(name, tid, until)
        yield
    finally:
        # One that has ended or does not stop cannot be let go; our thread's end does it.
        with suppress(ProcessLookupError):
            _ptrace(PTRACE_DETACH, tid, data=intercepted)


def _wait_until_stopped(name: str, tid: int, until: float) -> int:
    """Waits for a stop; returns a signal that was on its way to the thread, to be passed on."""
    # The end of a process is its parent's to reap, and the parent may be ourselves: WNOWAIT leaves
    # it there. WNOTHREAD asks about what this very thread traces, and not about our children.
    options = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT | _WNOTHREAD | _WALL
    try:
        while (seen := os.waitid(os.P_PID, tid, options)) is None:
            _refuse_lateness(name, until)
            time.sleep(_POLL_INTERVAL)
    except ChildProcessError as error:  # reaped, or another thread has taken its id by execve(2)
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
    # An event, such as PTRACE_EVENT_STOP, stands in the bits above the signal. Should the thread
    # have ended instead, the next request will say so.
    return 0 if seen.si_status >> 8 else seen.si_status


def _refuse_lateness(name: str, until: float) -> None:
    if time.monotonic() > until:
        raise InstrumentError(
            f"{name} could not be read in time: one of its threads is in an uninterruptible sleep "
            "(state D), or new ones keep starting; run the suite again"
        )


def _refusal_to_attach(name: str, tid: int) -> Exception:
    """Why the kernel answered EPERM, as far as it can be seen."""
    status = _status(tid)
    if status is None or status["State"][0] in _ENDED_STATES:
        return ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    tracer = int(status["TracerPid"])
    if tracer:
        return BadInputError(
            f"{name} is already traced by process {tracer} ({_comm(tracer)}), and the kernel "
            "allows one tracer only: end that one first"
        )
    ours = _status(os.getpid()) or {}
    if int(ours.get("CapEff", "0"), 16) >> _CAP_SYS_PTRACE & 1:
        scope = _read(lambda: _YAMA_SCOPE.read_text(encoding="ascii"))
        if scope is not None and int(scope) >= _YAMA_NO_ATTACH:
            return BadInputError(
                f"nobody may trace {name}: {_YAMA_SCOPE} is {int(scope)}, which lasts until the "
                "next boot"
            )
    return BadInputError(
        f"this user may not trace {name}: run the suite as root on the host (it takes "
        "CAP_SYS_PTRACE over the process, CAP_SYS_ADMIN, and no security module that objects)"
    )


def _ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """Calls ptrace(2).

    Raises:
        OSError: what the kernel answered.
    """
    result = int(_libc.ptrace(request, tid, address, data))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _thread_ids(pid: int) -> list[int]:
    """The threads of a process, the first one at the start; none if it has ended."""
    tasks = _read(lambda: list(Path(f"/proc/{pid}/task").iterdir())) or []
    return sorted((int(task.name) for task in tasks), key=lambda tid: (tid != pid, tid))


def bounding_set(pid: int) -> int:
    """The bounding set of a process's capabilities, a bit for each; 0 where it has ended."""
    return int((_status(pid) or {}).get("CapBnd", "0"), 16)


def _status(tid: int) -> dict[str, str] | None:
    """The text of proc_pid_status(5), or None where it cannot be read."""
    path = Path(f"/proc/{tid}/status")
    raw = _read(path.read_bytes)
    if raw is None:
        return None
    lines = (line.partition(":") for line in kernel_lines(raw))
    return {name: value.strip() for name, _, value in lines}


def _is_kernel_thread(pid: int) -> bool:
    return bool(_flags(pid) & _PF_KTHREAD)


def _is_worker(tid: int) -> bool:
    """Whether a thread of a process is one of the kernel's own, which never runs a program.

    Such a thread inherits the filters of whoever it works for, at that time, and no call ever asks
    them.
    """
    told = re.match(r"(\d+)\.(\d+)", os.uname().release)
    kernel = (int(told[1]), int(told[2])) if told else (0, 0)
    marks = sum(flag for flag, since in _WORKERS_SINCE.items() if kernel >= since)
    return bool(_flags(tid) & marks)


def _flags(tid: int) -> int:
    """The task's flags: field 9 of proc_pid_stat(5), the seventh after the name; 0 if it ended."""
    text = _read(lambda: Path(f"/proc/{tid}/stat").read_text(encoding="utf-8", errors="replace"))
    return 0 if text is None else int(text.rpartition(")")[2].split()[6])


def _comm(tid: int) -> str:
    """A thread's name as it may stand in a sentence; "" if it has ended."""
    raw = _read(lambda: Path(f"/proc/{tid}/comm").read_bytes()) or b""
    text = raw.removesuffix(b"\n").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _read(reading: Callable[[], _T]) -> _T | None:
    """The content of a file in /proc; None where its process has ended or is hidden from us."""
    try:
        return reading()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
