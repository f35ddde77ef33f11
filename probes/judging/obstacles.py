"""The calls of a confined child besides the probed one, and which a filter prevents. Pure.

A filter under test may be anybody's. One that kills or answers the calls by which a probe changes
its user, starts a thread or a program, or installs the next filter of a stack leaves no verdict
about what comes afterwards: neither for it nor against it, and no fault of the instrument either.
"""

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import FilterReturn
from probes.arch import Arch
from probes.filters.bpf import Program, SeccompData
from probes.filters.comparison import run
from probes.filters.prover import Analysis
from probes.instrument.calls import Observation, Route, Stage

_SOMEWHERE: Final = 0x7F0000001000
"""Stands for a pointer to data or to code, whose value is not known beforehand."""
_NOBODY: Final = 65534
_MOST_NAMES: Final = 4


@dataclass(frozen=True, slots=True)
class Need:
    """A call that a probe makes under the filter under test.

    Attributes:
        call: its name; on an ABI without it nothing is needed.
        arguments: the arguments that a filter is likely to compare.
        purpose: what the probe uses the call for.
    """

    call: str
    arguments: tuple[int, ...]
    purpose: str


INSTALLING: Final = Need("prctl", (22, 2, _SOMEWHERE), "installs a filter on top of it")
"""The installing of a filter by prctl(2): PR_SET_SECCOMP with SECCOMP_MODE_FILTER."""

_FORK_FLAGS: Final = 0x01200011  # CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD
_THREAD_FLAGS: Final = 0x003D0F00  # CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | ... | CLONE_SETTLS

_DECISIVE: Final = {
    Route.THREAD: (
        Need("clone", (_THREAD_FLAGS,), "starts a thread"),
        Need("futex", (_SOMEWHERE, 0x80), "waits for its thread"),
    ),
    Route.FORK: (
        Need("clone", (_FORK_FLAGS,), "forks"),
        Need("wait4", (1,), "waits for its child"),
    ),
    Route.EXECVE: (Need("execve", (_SOMEWHERE,), "starts another program"),),
    Route.SETUID: (Need("setresuid", (_NOBODY,) * 3, "changes its user"),),
}
"""The calls without which a route tries nothing, whatever was seen."""

_OF_A_PROGRAM: Final = (
    *("access", "arch_prctl", "brk", "capset", "close", "execve", "fcntl", "fstat", "futex"),
    *("getcwd", "getdents64", "getrandom", "gettid", "ioctl", "lseek", "mmap", "mprotect"),
    *("munmap", "newfstatat", "openat", "prctl", "pread64", "prlimit64", "read", "readlink"),
    *("readlinkat", "rseq", "rt_sigaction", "set_robust_list", "set_tid_address", "statx"),
    *("sysinfo", "uname"),
)
_HELPFUL: Final = {
    Route.THREAD: (
        *("clone3", "madvise", "mmap", "mprotect", "munmap", "rseq", "rt_sigprocmask"),
        *("set_robust_list", "gettid", "sched_getaffinity"),
    ),
    Route.FORK: ("prctl", "rt_sigprocmask", "set_robust_list", "gettid", "getpid"),
    Route.EXECVE: _OF_A_PROGRAM,
    Route.SETUID: ("prctl", "capset", "openat", "read", "close"),
    Route.REMOVAL: ("prctl", "openat", "newfstatat", "ioctl", "lseek", "read", "close"),
}
"""Other calls that a probe may make. Most can be refused without harm, so they only explain."""

_AT_FDCWD: Final = 0xFFFFFF9C
_NO_FILE: Final = 0xFFFFFFFF
_FILE: Final = 3
_SIZE: Final = 0x1000
_USUAL: Final[Mapping[str, tuple[tuple[int, ...], ...]]] = {
    "access": ((_SOMEWHERE, 4),),
    "arch_prctl": ((0x1002, _SOMEWHERE),),
    "brk": ((), (_SOMEWHERE,)),
    "capset": ((_SOMEWHERE, _SOMEWHERE),),
    "clone": ((_FORK_FLAGS,), (_THREAD_FLAGS, _SOMEWHERE, _SOMEWHERE, _SOMEWHERE, _SOMEWHERE)),
    "clone3": ((_SOMEWHERE, 88),),
    "close": ((_FILE,),),
    "execve": ((_SOMEWHERE, _SOMEWHERE, _SOMEWHERE),),
    # F_GETFD, F_SETFD with FD_CLOEXEC, F_DUPFD_CLOEXEC
    "fcntl": ((_FILE, 1), (_FILE, 2, 1), (_FILE, 1030)),
    "fstat": ((_FILE, _SOMEWHERE),),
    # FUTEX_WAIT and FUTEX_WAKE, private; FUTEX_WAIT_BITSET with the real-time clock, both ways
    "futex": (
        (_SOMEWHERE, 0x80),
        (_SOMEWHERE, 0x81, 1),
        (_SOMEWHERE, 0x109, 1),
        (_SOMEWHERE, 0x189, 0),
    ),
    "getdents64": ((_FILE, _SOMEWHERE, 1 << 15),),
    "getrandom": ((_SOMEWHERE, 24, 1), (_SOMEWHERE, 8, 1)),
    "ioctl": ((_FILE, 0x5401, _SOMEWHERE),),  # TCGETS
    "lseek": ((_FILE, 0, 1),),
    "madvise": ((_SOMEWHERE, _SIZE, 4),),
    # What a loader, an allocator and libffi ask for, and the stack of a thread.
    "mmap": (
        (0, _SIZE, 1, 0x802, _FILE),
        (0, _SIZE, 1, 0x2, _FILE),
        (0, _SIZE, 3, 0x22, _NO_FILE),
        (0, _SIZE, 3, 0x1, _FILE),
        (_SOMEWHERE, _SIZE, 5, 0x812, _FILE, _SIZE),
        (_SOMEWHERE, _SIZE, 3, 0x812, _FILE, _SIZE),
        (_SOMEWHERE, _SIZE, 3, 0x32, _NO_FILE),
        (0, _SIZE, 7, 0x22, _NO_FILE),
        (0, 1 << 23, 0, 0x20022, _NO_FILE),
    ),
    "mprotect": ((_SOMEWHERE, _SIZE, 1), (_SOMEWHERE, _SIZE, 3), (_SOMEWHERE, _SIZE, 5)),
    "munmap": ((_SOMEWHERE, _SIZE),),
    "newfstatat": ((_AT_FDCWD, _SOMEWHERE, _SOMEWHERE), (_FILE, _SOMEWHERE, _SOMEWHERE, 0x1000)),
    # O_CLOEXEC; that with O_NONBLOCK and O_DIRECTORY; plainly
    "openat": (
        (_AT_FDCWD, _SOMEWHERE, 0x80000),
        (_AT_FDCWD, _SOMEWHERE, 0x90800),
        (_AT_FDCWD, _SOMEWHERE),
    ),
    # PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_DUMPABLE, and PR_SET_SECCOMP with all its modes
    "prctl": ((15, _SOMEWHERE), (1, 9), (4,), (22, 2, _SOMEWHERE), (22,), (22, 1)),
    "pread64": ((_FILE, _SOMEWHERE, 784, 64),),
    "prlimit64": ((0, 3, 0, _SOMEWHERE),),
    "read": ((_FILE, _SOMEWHERE, _SIZE),),
    "readlink": ((_SOMEWHERE, _SOMEWHERE, _SIZE),),
    "rseq": ((_SOMEWHERE, 32, 0, 0x53053053),),
    "rt_sigaction": ((31, _SOMEWHERE, _SOMEWHERE, 8), (13, 0, _SOMEWHERE, 8)),
    "rt_sigprocmask": ((2, _SOMEWHERE, 0, 8), (0, _SOMEWHERE, _SOMEWHERE, 8)),
    "seccomp": ((1, 0, _SOMEWHERE), (1, 2, _SOMEWHERE)),
    "set_robust_list": ((_SOMEWHERE, 24),),
    "set_tid_address": ((_SOMEWHERE,),),
    "sysinfo": ((_SOMEWHERE,),),
    "uname": ((_SOMEWHERE,),),
}
"""The arguments with which the C library and Python make these calls, as strace(1) shows them on
x86_64; those that no filter asks for may be others elsewhere. Calls without a line here have none
that a filter would ask for."""

_ANYWHERE: Final = ("brk", "mmap", "munmap", "futex", "rt_sigreturn", "prctl", "seccomp")


BY_SECCOMP: Final = Need("seccomp", (1, 0, _SOMEWHERE), "installs a filter on top of it")
"""The installing of a filter by seccomp(2): SECCOMP_SET_MODE_FILTER without flags."""


def decisive(
    programs: Sequence[Program],
    native: Arch,
    route: Route,
    *,
    later: bool = False,
    installing: Need = INSTALLING,
) -> str:
    """The filter's refusals that make a route impossible, in words; "" where none is known.

    Args:
        programs: the filters under test, the oldest first.
        native: the ABI of the process that probes.
        route: who makes the probed call.
        later: whether the process installs another filter afterwards.
        installing: the call by which filters are installed.
    """
    stacks = [programs[:count] for count in range(1, len(programs) + later)]
    found = [_refused(stack, native, installing) for stack in stacks]
    found += [_refused(programs, native, need) for need in _DECISIVE.get(route, ())]
    return _words(one for one in found if one)


def explaining(
    programs: Sequence[Program], native: Arch, route: Route, analysis: Analysis | None = None
) -> str:
    """The filter's refusals that may have stopped a child before its call, in words; "" for none.

    Args:
        programs: the filters under test, the oldest first.
        native: the ABI of the process that probes.
        route: who makes the probed call.
        analysis: the analysis of the filters, for refusals of arguments that are not listed here.
    """
    names = dict.fromkeys((*_HELPFUL.get(route, ()), *_ANYWHERE))
    needs = (
        Need(name, arguments, "makes on its way")
        for name in names
        for arguments in (*_USUAL.get(name, ()), ())
    )
    found = _words(filter(None, (_refused(programs, native, need) for need in needs)))
    if found or analysis is None:
        return found
    numbers = {name: number for name in names if (number := native.number(name)) is not None}
    some = [f"{name} ({n})" for name, n in numbers.items() if _refuses_some(analysis, native, n)]
    return f"it refuses some arguments of {_listed(some)}" if some else ""


def _refuses_some(analysis: Analysis, native: Arch, number: int) -> bool:
    possible = analysis.returns(native.audit_arch, number)
    return any(not FilterReturn.decode(value).action.reaches_kernel for value in possible)


def killed_on_its_way(observation: Observation) -> bool:
    """Whether a filter ended a child before the probed call: nothing else sends SIGSYS."""
    return observation.stage is Stage.NOT_REACHED and observation.signal == signal.SIGSYS


@dataclass(frozen=True, slots=True)
class _Refusal:
    need: Need
    number: int
    returns: FilterReturn


def _refused(programs: Sequence[Program], native: Arch, need: Need) -> _Refusal | None:
    number = native.number(need.call)
    if number is None or not programs:
        return None
    arguments = (*need.arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = SeccompData(number, native.audit_arch, arguments, _SOMEWHERE)
    returns = FilterReturn.decode(run(programs, data, big_endian=native.big_endian))
    return None if returns.action.reaches_kernel else _Refusal(need, number, returns)


def _words(refusals: Iterable[_Refusal]) -> str:
    return " and ".join(_grouped(list(refusals)))


def _grouped(refusals: Sequence[_Refusal]) -> Iterator[str]:
    """Joins refusals of the same kind into one clause."""
    alike: dict[tuple[FilterReturn, str], list[str]] = {}
    for one in refusals:
        calls = alike.setdefault((one.returns, one.need.purpose), [])
        calls.append(f"{one.need.call} ({one.number})")
    for (returns, purpose), calls in alike.items():
        names = list(dict.fromkeys(calls))
        which = "which a probe" if purpose.startswith("makes") else "by which a probe"
        yield f"the filter returns {returns} for {_listed(names)}, {which} {purpose}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"
