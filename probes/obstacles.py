"""What a probing child still has to do once it is confined, and what of it a filter prevents. Pure.

A filter under test may be anybody's. One that kills or answers the calls by which a probe changes
its user, starts a thread or a program, or installs the next filter of a stack leaves no verdict
about what comes afterwards: neither for it nor against it, and no fault of the instrument either.
"""

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import FilterReturn
from probes.arch import Arch
from probes.bpf import Program, SeccompData
from probes.instrument import Observation, Route, Stage
from probes.prover_compare import run

_SOMEWHERE: Final = 0x7F0000001000
"""For a pointer; which one it will be nobody knows."""
_NOBODY: Final = 65534
_MOST_NAMES: Final = 4


@dataclass(frozen=True, slots=True)
class Need:
    """A call that a probe makes under the filter under test.

    Attributes:
        call: its name; on an ABI without it nothing is needed.
        arguments: those that a filter is likely to look at.
        purpose: what the probe does by it.
    """

    call: str
    arguments: tuple[int, ...]
    purpose: str


INSTALLING: Final = Need("prctl", (22, 2, _SOMEWHERE), "installs a filter on top of it")
"""PR_SET_SECCOMP, SECCOMP_MODE_FILTER."""

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
"""Without these nothing was tried, whatever else was seen."""

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
"""What else a probe may do on its way. Many a refusal does no harm, so they only explain one."""

_ANYWHERE: Final = ("brk", "mmap", "munmap", "futex", "rt_sigreturn", "prctl", "seccomp")


BY_SECCOMP: Final = Need("seccomp", (1, 0, _SOMEWHERE), "installs a filter on top of it")
"""SECCOMP_SET_MODE_FILTER without flags."""


def decisive(
    programs: Sequence[Program],
    native: Arch,
    route: Route,
    *,
    later: bool = False,
    installing: Need = INSTALLING,
) -> str:
    """Why nothing can be told by a route, in words; "" where nothing is known to be in its way.

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


def explaining(programs: Sequence[Program], native: Arch, route: Route) -> str:
    """What may have kept a child from its call, in words; "" where no filter is known to.

    Args:
        programs: the filters under test, the oldest first.
        native: the ABI of the process that probes.
        route: who makes the probed call.
    """
    names = dict.fromkeys((*_HELPFUL.get(route, ()), *_ANYWHERE))
    needs = (Need(name, (), "makes on its way") for name in names)
    return _words(filter(None, (_refused(programs, native, need) for need in needs)))


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
    data = SeccompData(number, native.audit_arch, arguments)
    returns = FilterReturn.decode(run(programs, data, big_endian=native.big_endian))
    return None if returns.action.reaches_kernel else _Refusal(need, number, returns)


def _words(refusals: Iterable[_Refusal]) -> str:
    return " and ".join(_grouped(list(refusals)))


def _grouped(refusals: Sequence[_Refusal]) -> Iterator[str]:
    """Refusals that are alike are told together."""
    alike: dict[tuple[FilterReturn, str], list[str]] = {}
    for one in refusals:
        calls = alike.setdefault((one.returns, one.need.purpose), [])
        calls.append(f"{one.need.call} ({one.number})")
    for (returns, purpose), calls in alike.items():
        names = list(dict.fromkeys(calls))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        which = "which a probe" if purpose.startswith("makes") else "by which a probe"
        listed = ", ".join(names[:_MOST_NAMES])
        yield f"the filter returns {returns} for {listed}{more}, {which} {purpose}"
