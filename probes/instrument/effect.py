"""Tells from an observation what became of a probed call. Pure; no I/O.

Never by errno or by SIGSYS alone: EPERM comes from a missing capability too, and SIGSYS from a
filter that kills something else. A refusal counts when the witness would have answered otherwise,
a kill when the call was armed and had not returned.
"""

import errno
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import ACTION_MASK, Action, FilterReturn, errno_name
from probes.instrument import witness
from probes.instrument.calls import Observation, Stage


class Effect(StrEnum):
    """The effects that a filter can have on a probed call."""

    KILLED_PROCESS = "SIGSYS ended the process at the call"
    KILLED_THREAD = "only the thread that made the call ended; its process lived on"
    TRAPPED = "SIGSYS went to a handler, which a program can survive"
    REFUSED = "the filter answered in the kernel's place"
    HANDED_ON = "a tracer or a supervisor decides"
    ASKED = "a tracer or a supervisor is asked about it"
    REACHED = "the call reached the kernel"
    ENDED_OTHERWISE = "the process ended otherwise"
    FAULT = "the probe failed"


@dataclass(frozen=True, slots=True)
class Seen:
    """The effect that an observation shows.

    Attributes:
        effect: what became of the call.
        detail: the effect in words, with its numbers.
        errno: the error of a refusal.
        by_program: whether the effect follows from an analysis of the filter program alone.
        action: which of the actions that look alike it is, by the program; None where that is not
            known.
    """

    effect: Effect
    detail: str
    errno: int = 0
    by_program: bool = False
    action: Action | None = None

    @property
    def returned(self) -> FilterReturn | None:
        """The filter's return value that has this effect; None where none has.

        LOG looks like ALLOW, and USER_NOTIF like TRACE: the latter stand for both.
        """
        if self.effect is Effect.REFUSED:
            return FilterReturn(Action.ERRNO, self.errno)
        action = _RETURNED.get(self.effect) if self.action is None else self.action
        return None if action is None else FilterReturn(action)


_RETURNED: Final = {
    Effect.KILLED_PROCESS: Action.KILL_PROCESS,
    Effect.KILLED_THREAD: Action.KILL_THREAD,
    Effect.TRAPPED: Action.TRAP,
    Effect.HANDED_ON: Action.TRACE,
    Effect.REACHED: Action.ALLOW,
}


@dataclass(frozen=True, slots=True)
class Asking:
    """Whether a supervisor or a tracer is asked about a call that a confinement lets through.

    Attributes:
        observation: the call under a filter that kills what is let through (``witness.asking``);
            None where it was not made.
        reason: why it was not.
        alone: whether there is no supervisor and no tracer, so that such a call gets ENOSYS.
    """

    observation: Observation | None
    reason: str = ""
    alone: bool = False


STOPPED: Final = frozenset({Effect.FAULT, Effect.ENDED_OTHERWISE})


def read(observation: Observation) -> Seen:  # noqa: PLR0911 - one return for each effect
    """The effect on a call that was made under a witness."""
    if observation.fault:
        return Seen(Effect.FAULT, observation.fault)
    if observation.timed_out:
        return Seen(Effect.FAULT, "the child was killed at its deadline, in the middle of the call")
    if observation.trapped:
        return Seen(Effect.TRAPPED, f"{Effect.TRAPPED} (TRAP)")
    if observation.stage is Stage.RETURNED:
        return _read_answer(observation)
    if observation.survived:
        return Seen(Effect.KILLED_THREAD, f"{Effect.KILLED_THREAD} (KILL_THREAD)")
    if observation.stage is Stage.ARMED and observation.signal == signal.SIGSYS:
        return Seen(Effect.KILLED_PROCESS, Effect.KILLED_PROCESS.value)
    return Seen(Effect.ENDED_OTHERWISE, _ending(observation))


def _read_answer(observation: Observation) -> Seen:
    if observation.errno in witness.ERRNOS:
        detail = f"{Effect.REACHED} (the witness answered)"
        return Seen(Effect.REACHED, detail, observation.errno)
    if observation.result in {-1, 0}:
        name = errno_name(observation.errno)
        return Seen(Effect.REFUSED, f"the filter answered ERRNO({name})", observation.errno)
    return Seen(Effect.FAULT, f"the call returned {observation.result} although it cannot have run")


def _ending(observation: Observation) -> str:
    if observation.signal is None:
        return f"the process ended with wait status {observation.status} in the middle of the call"
    known = {one.value: one.name for one in signal.Signals}
    name = known.get(observation.signal, f"signal {observation.signal}")
    return f"{name} ended the process in the middle of the call"


def is_stopped(observation: Observation) -> bool:
    """Whether the child ended for another reason than what the filter did at the call."""
    return read(observation).effect in STOPPED


def reached(observation: Observation) -> bool:
    """Whether a witness has seen that a call was let through."""
    return read(observation).effect is Effect.REACHED


def asked(seen: Seen, asking: Asking) -> Seen:
    """Refines the effect on a call that the witness answered: a supervisor may have been asked."""
    made = asking.observation
    if made is None:
        return Seen(Effect.ASKED, asking.reason)
    if made.stage is Stage.ARMED and witness.killed_at_call(made):
        return seen
    if is_never_answered(made):
        return Seen(Effect.ASKED, f"{Effect.ASKED}, and none answered in time")
    if is_stopped(made):
        text = f"whether a tracer or a supervisor is asked about it is open: {read(made).detail}"
        return Seen(Effect.ASKED, text)
    if asking.alone and made.errno == errno.ENOSYS:
        return Seen(Effect.HANDED_ON, f"{Effect.ASKED}, and as there is none it answered ENOSYS")
    return Seen(Effect.ASKED, f"{Effect.ASKED}, and it answered {answer(made)}")


def is_never_answered(made: Observation) -> bool:
    """Whether a call had not returned when its child's deadline passed."""
    return made.stage is Stage.ARMED and made.timed_out


def answer(observation: Observation) -> str:
    """What the kernel answered to a call that ran, in a form in which two runs can be compared."""
    if observation.stage is not Stage.RETURNED or observation.fault or observation.trapped:
        return read(observation).detail
    if observation.result == -1:
        return errno_name(observation.errno)
    return "the caller's pid" if observation.own_pid else str(observation.result)


def is_hidden(value: int) -> bool:
    """Whether a raw return value is no action and ranks below the marker's, which then counts."""
    action = value & ACTION_MASK
    return action not in set(Action) and Action.ERRNO < action < Action.KILL_PROCESS
