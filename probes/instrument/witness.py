"""The witness: a filter of ours that answers if, and only if, the filter under test did not.

Among stacked filters the action with the highest precedence wins, and among equal actions the
newest filter's data does (seccomp(2), ``seccomp_run_filters()`` in kernel/seccomp.c). The actions
rank by their value, as a signed number; a value that is none of the known ones has its rank too,
and acts as KILL_PROCESS. A witness tells a call that was let through from one that was refused or
killed, whatever capabilities, security modules or arguments would have made of it; and the call
itself never runs. Of what ranks below it, a witness cannot tell ALLOW and LOG from USER_NOTIF and
TRACE, with which a supervisor or a tracer decides. In a confined process, where the filters are
not known, a call of its own tells them apart: under an unknown action that ranks between the two
(``asking``), what would be let through is killed, and whoever is asked answers. There are three
witnesses:

``MARKER``, where the filter under test is ours to install
    A marker that answers with an errno which nothing else returns is installed before it.

``SHADOW``, where the process is confined already
    A filter hands marked calls to a listener, at which the zygote answers with such an errno:
    USER_NOTIF ranks below the refusals and above TRACE, LOG and ALLOW.

``ORDER``, where the process is confined already and can have no listener
    Two calls. Under a marker on top of the filter under test only a kill and TRAP show through.
    Under an unknown action that ranks below ERRNO, a refusal does too, and what was let through
    is killed.
"""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.arch import Arch
from probes.filters import bpf
from probes.instrument.calls import Call, Observation, Orders, Stage, Standing

_UNDEFINED: Final = range(1000, MAX_ERRNO)
"""Errnos that Linux does not define: its highest is 133, and 4095 is the kernel's limit."""

MARKER_ERRNO, SHADOW_ERRNO = random.SystemRandom().sample(_UNDEFINED, 2)
"""The errnos of the marker and of the listener. Each process draws its own at random, for a filter
could imitate a fixed one."""

ERRNOS: Final = frozenset({MARKER_ERRNO, SHADOW_ERRNO})
"""The errnos by which a call is known to have been let through."""

SWEEP_MAGIC: Final = 0x5EEDED5E
"""The sixth argument by which a witness of many numbers knows the probed calls."""

ASKING_MAGIC: Final = 0x5EEDED5F
"""The sixth argument by which ``asking_many`` knows the probed calls."""

BELOW_ERRNO: Final = 0x7F000000
"""No action: it kills, unless another filter kills, traps or answers with an errno."""

BELOW_TRACE: Final = 0x7FF80000
"""No action: it kills, unless another filter does anything but LOG and ALLOW."""

BELOW_LOG: Final = 0x7FFD0000
"""No action: it kills, unless another filter does anything but ALLOW."""

UNKNOWN_ACTIONS: Final = frozenset({BELOW_ERRNO, BELOW_TRACE, BELOW_LOG})

_MARK: Final = FilterReturn(Action.ERRNO, MARKER_ERRNO).value
_ALLOW: Final = FilterReturn(Action.ALLOW).value
_SIXTH_ARGUMENT: Final = bpf.OFFSET_ARGS + 5 * 8


def marker(arch: Arch, number: int, returns: int = _MARK) -> bytes:
    """A marker for one number, whatever its arguments."""
    program = bpf.dispatch({arch.audit_arch: bpf.ranges({number}, returns, _ALLOW)}, _ALLOW)
    return bpf.to_bytes(program, big_endian=arch.big_endian)


def sweeping_marker(arch: Arch, returns: int = _MARK, magic: int = SWEEP_MAGIC) -> bytes:
    """A marker for every number of an ABI, if the call's sixth argument is the magic one."""
    program = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, arch.audit_arch, 0, 3),
        *_if_marked(returns, magic, big_endian=arch.big_endian),
    )
    bpf.check(program)
    return bpf.to_bytes(program, big_endian=arch.big_endian)


def shadow(*, big_endian: bool) -> bytes:
    """A filter that hands every call with SWEEP_MAGIC to a listener, by whatever ABI it comes."""
    returns = FilterReturn(Action.USER_NOTIF).value
    program = _if_marked(returns, SWEEP_MAGIC, big_endian=big_endian)
    bpf.check(program)
    return bpf.to_bytes(program, big_endian=big_endian)


def _if_marked(returns: int, magic: int, *, big_endian: bool) -> bpf.Program:
    low_half = _SIXTH_ARGUMENT + (4 if big_endian else 0)
    return (
        bpf.statement(bpf.LD_ABS, low_half),
        bpf.jump(bpf.JEQ, magic, 0, 1),
        bpf.statement(bpf.RET_K, returns),
        bpf.statement(bpf.RET_K, _ALLOW),
    )


def marked(call: Call, magic: int = SWEEP_MAGIC) -> Call:
    """The same call with a magic number for its sixth argument."""
    return replace(call, arguments=(*(*call.arguments, 0, 0, 0, 0, 0)[:5], magic))


def orders(native: Arch, canaries: Sequence[int]) -> Orders:
    """The parts from which a confined zygote builds the witness ``SHADOW``.

    Args:
        native: the kernel's own ABI.
        canaries: numbers of calls that do nothing.
    """
    everything = bpf.to_bytes((bpf.statement(bpf.RET_K, _ALLOW),), big_endian=native.big_endian)
    return Orders(
        number=native.numbers["seccomp"],
        program=shadow(big_endian=native.big_endian),
        everything=everything,
        error=SHADOW_ERRNO,
        canaries=tuple(marked(Call(number)) for number in canaries),
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """The filters and calls of one child, by which a witness tests calls.

    Attributes:
        calls: the calls that it makes.
        programs: its filters, the oldest first.
        before: how many of the programs are installed before the filters under test.
    """

    calls: tuple[Call, ...]
    programs: tuple[bytes, ...]
    before: int = 0


class Witness(Protocol):
    """One of the ways to tell what a filter under test does with a call.

    Attributes:
        marks: ``one`` changes the call's sixth argument, to which a filter could look.
    """

    marks: bool

    def one(
        self, arch: Arch, call: Call, filters: tuple[bytes, ...], later: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """The attempts that put one call to the test.

        Args:
            arch: the ABI by which the call enters.
            call: the call.
            filters: the filters under test that are still to install, the oldest first.
            later: filters that a confined process installs.
        """

    def sweep(
        self, arch: Arch, calls: Sequence[Call], filters: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """The attempts that each test all of the calls in one child; each call has SWEEP_MAGIC."""

    def told(self, observations: Sequence[Observation]) -> Observation:
        """Combines what the attempts saw of a call into what the marker would have seen."""

    def control(self, arch: Arch, call: Call) -> Attempt:
        """The attempt that shows what the kernel answers to a harmless call without a filter.

        In a confined process there is no such call. There, one that SIGSYS ends shows that
        nothing but the kernel answers it: the confinement's action is LOG or ALLOW.
        """

    def unasked(self, arch: Arch, call: Call) -> Attempt:
        """The attempt that shows whether the kernel asks filters about a call at all."""


class Marker:
    """The witness ``MARKER``: a marker that is installed before the filter under test."""

    marks = False

    def one(
        self, arch: Arch, call: Call, filters: tuple[bytes, ...], later: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """One attempt: the marker for the call's number comes first."""
        return (Attempt((call,), (marker(arch, call.number), *filters, *later), before=1),)

    def sweep(
        self, arch: Arch, calls: Sequence[Call], filters: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """One attempt: a marker for every marked call comes first."""
        return (Attempt(tuple(map(marked, calls)), (sweeping_marker(arch), *filters), before=1),)

    def told(self, observations: Sequence[Observation]) -> Observation:
        """The only observation: it is the marker's own."""
        (only,) = observations
        return only

    def control(self, arch: Arch, call: Call) -> Attempt:
        """The call, in a child without any filter."""
        del arch
        return Attempt((call,), ())

    def unasked(self, arch: Arch, call: Call) -> Attempt:
        """The marked call without any filter, to be compared with the same call under filters."""
        return self.control(arch, marked(call))


class _Confined:
    """What the witnesses of a confined process have in common."""

    def control(self, arch: Arch, call: Call) -> Attempt:
        """The call, in a child where SIGSYS ends what the confinement lets through."""
        return asking(arch, call)

    def unasked(self, arch: Arch, call: Call) -> Attempt:
        """The call under a marker; if no filter is asked, the marker does not answer it."""
        return Attempt((call,), (marker(arch, call.number),))


class Shadow(_Confined):
    """The witness ``SHADOW``: the zygote answers marked calls at a listener."""

    marks = True

    def one(
        self, arch: Arch, call: Call, filters: tuple[bytes, ...], later: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """One attempt: the marked call under the filters under test."""
        del arch  # the listener serves them all
        return (Attempt((marked(call),), (*filters, *later)),)

    def sweep(
        self, arch: Arch, calls: Sequence[Call], filters: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """One attempt: all marked calls under the filters under test."""
        del arch
        return (Attempt(tuple(map(marked, calls)), filters),)

    def told(self, observations: Sequence[Observation]) -> Observation:
        """The only observation, whose errno is the listener's if the call was let through."""
        (only,) = observations
        return only


class FilterOrder(_Confined):
    """The witness ``ORDER``: two attempts, under filters of different precedence."""

    marks = False

    def one(
        self, arch: Arch, call: Call, filters: tuple[bytes, ...], later: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """Two attempts: under a marker on top, and under an action that ranks below ERRNO."""
        return tuple(
            Attempt((call,), (*filters, *later, marker(arch, call.number, returns)))
            for returns in (_MARK, BELOW_ERRNO)
        )

    def sweep(
        self, arch: Arch, calls: Sequence[Call], filters: tuple[bytes, ...]
    ) -> tuple[Attempt, ...]:
        """Two attempts with all marked calls, under filters as in ``one``."""
        every = tuple(map(marked, calls))
        return tuple(
            Attempt(every, (*filters, sweeping_marker(arch, returns)))
            for returns in (_MARK, BELOW_ERRNO)
        )

    def told(self, observations: Sequence[Observation]) -> Observation:
        """The first attempt shows kills and TRAP, the second one refusals."""
        above, below = observations
        if above.stage is not Stage.RETURNED or above.errno != MARKER_ERRNO or above.trapped:
            return above
        if below.stage is Stage.ARMED and not below.trapped and killed_at_call(below):
            return replace(above, loosened=above.loosened or below.loosened)
        return below


def asking(arch: Arch, call: Call) -> Attempt:
    """How a call is made that runs only if a supervisor or a tracer is asked and has it run."""
    return Attempt((call,), (marker(arch, call.number, BELOW_TRACE),))


def asking_many(arch: Arch, calls: Sequence[Call]) -> Attempt:
    """How many calls are made that run only if a supervisor or a tracer has them run."""
    every = tuple(marked(call, ASKING_MAGIC) for call in calls)
    return Attempt(every, (sweeping_marker(arch, BELOW_TRACE, ASKING_MAGIC),))


def killed_at_call(observation: Observation) -> bool:
    """Whether SIGSYS ended the thread or the process that made the call."""
    return observation.survived or observation.signal == signal.SIGSYS


MARKER: Final = Marker()
ORDER: Final = FilterOrder()
WITNESSES: Final[dict[Standing, Witness]] = {Standing.LISTENER: Shadow(), Standing.ORDER: ORDER}
"""The witnesses of a confined process."""
