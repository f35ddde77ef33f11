"""What confines this process itself, while it puts other filters to the test.

The filters that a process has inherited answer its probes too: among several answers the one with
the highest precedence counts, whichever filter gave it. What they answer must never be credited to
the filter under test. So each call is made a second time without that filter, under markers alone;
and where what the inherited ones answer could be what was seen, nothing is told. The target
``ambient`` judges them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from probes.action import Action, FilterReturn
from probes.arch import Arch, Entry
from probes.errors import ExitStatus, InstrumentError, SuiteError
from probes.finding import Finding, Weight
from probes.instrument import effect, kernel, witness
from probes.instrument.calls import Call, Observation, Request, Route, Zygote
from probes.instrument.effect import Effect
from probes.instrument.witness import Attempt
from probes.targets import Canary
from probes.targets.ambient import CANARIES

_HOW_TO_MEND: Final = "run the suite outside of it, or judge that confinement by --target=ambient"


class ConfinedError(SuiteError):
    """This process's own confinement leaves nothing that could be judged."""

    exit_status = ExitStatus.CANNOT_TELL


@dataclass(frozen=True, slots=True)
class Confinement:
    """The filters that this process inherited, while it judges something else.

    Attributes:
        words: what a sentence says of it.
        canaries: the calls that serve the controls, by the name of each ABI: such as it leaves
            alone, if there are any.
    """

    words: str
    canaries: Mapping[str, Canary]

    def answers(self, call: str, what: str) -> str:
        """The sentence about a call that the confinement answers itself."""
        return f"{self.words}, and its own confinement answers {call} with {what}: {_HOW_TO_MEND}"

    def prevents(self, detail: str) -> str:
        """The sentence about a probe that cannot be made."""
        return (
            f"{self.words}, and its own confinement keeps the probe from being made ({detail}): "
            f"{_HOW_TO_MEND}"
        )


def words() -> str:
    """What a sentence says of this process's own confinement; "" where there is none."""
    mode = kernel.own_status("Seccomp")
    if mode is None:
        return "this process may be confined itself (/proc/self/status does not say)"
    return f"this process is confined itself (Seccomp: {mode})" if mode != "0" else ""


def open_zygote(native: Arch, said: str) -> Zygote:
    """Starts a process that makes calls in spite of what confines this one.

    Args:
        native: the kernel's own ABI.
        said: ``words()``.

    Raises:
        ConfinedError: that is not possible.
    """
    orders = replace(witness.orders(native, ()), program=b"")
    try:
        with ExitStack() as unless_it_works:
            zygote = unless_it_works.enter_context(Zygote(confined=True))
            zygote.put_up_witness(orders)
            unless_it_works.pop_all()
    except InstrumentError as error:
        raise ConfinedError(f"{said}, perhaps that is why {error}; {_HOW_TO_MEND}") from error
    return zygote


def entered(zygote: Zygote, arches: Sequence[Arch]) -> Iterator[tuple[Arch, Observation]]:
    """Asks by which of the ABIs the kernel can be entered, by one harmless call or another.

    Yields:
        Each ABI that a process can enter, with what came of a call: of one that came back, if any.
    """
    for arch in arches:
        if arch.entry is Entry.NONE:
            continue
        numbers = [number for name in CANARIES if (number := arch.number(name)) is not None]
        seen = [_entered(zygote, arch, number) for number in numbers]
        yield arch, next((one for one in seen if came_back(one)), seen[0])


def _entered(zygote: Zygote, arch: Arch, number: int) -> Observation:
    # It may run even with capabilities, should this process not be able to drop them.
    request = Request(arch.entry.name.lower(), (Call(number),), (), zygote.nonce(), runs=False)
    return zygote.run([request])[0][0]


def came_back(observation: Observation) -> bool:
    """Whether a call returned, whatever it was answered."""
    return observation.status is None and not observation.fault


def explore(zygote: Zygote, arches: Sequence[Arch], said: str) -> Confinement:
    """Finds calls for the controls that the confinement leaves alone.

    Args:
        zygote: makes the calls.
        arches: the ABIs that can be entered.
        said: ``words()``.
    """
    canaries = {}
    for arch in arches:
        known = [(name, number) for name in CANARIES if (number := arch.number(name)) is not None]
        for name, number in known:
            if not _of_its_own(zygote, arch, number):
                canaries[arch.name] = Canary(name, number, FilterReturn(Action.ALLOW))
                break
    return Confinement(said, canaries)


def _of_its_own(zygote: Zygote, arch: Arch, number: int) -> str:
    """What the confinement answers to a harmless call; "" where it allows it."""
    requests = [
        Request(
            *(arch.entry.name.lower(), one.calls, one.programs, zygote.nonce(), Route.SIBLING),
            runs=False,
        )
        for one in (above(arch, Call(number)), *below(arch, Call(number)))
    ]
    first, *rest = (answers[0] for answers in zygote.run(requests))
    return overruling(first) or handing_on(rest)


def left_out(shut: Mapping[Arch, Observation], said: str) -> tuple[Finding, ...]:
    """Findings about the ABIs by which this confinement lets no call be made.

    Args:
        shut: what came of a call, by each ABI that cannot be entered.
        said: ``words()``.
    """
    return tuple(
        Finding(
            f"nothing can be told by calls of {arch.name}: {said}, and its own confinement answers"
            f" them ({effect.read(observation).detail}): {_HOW_TO_MEND}",
            Weight.LIMITS,
            f"calls of {arch.name}",
        )
        for arch, observation in shut.items()
    )


def is_shut(observation: Observation) -> bool:
    """Whether a filter ended a call: an entry that a kernel lacks ends by SIGSEGV."""
    return observation.trapped or witness.killed_at_call(observation)


def above(arch: Arch, call: Call) -> Attempt:
    """How a call is made that shows whether the confinement kills or traps: it cannot run."""
    (attempt,) = witness.MARKER.one(arch, call, (), ())
    return attempt


def below(arch: Arch, call: Call) -> tuple[Attempt, ...]:
    """How a harmless call is made that shows whether anything but the kernel answers it.

    Each is killed where the confinement's answer is of a lower rank; the first one cannot run.
    """
    return tuple(
        Attempt((call,), (witness.marker(arch, call.number, returns),))
        for returns in (witness.BELOW_ERRNO, witness.BELOW_TRACE, witness.BELOW_LOG)
    )


_RANKS: Final = {
    Effect.KILLED_PROCESS: ("KILL_PROCESS", 0),
    Effect.KILLED_THREAD: ("KILL_THREAD", 1),
    Effect.TRAPPED: ("TRAP", 2),
}


def overruling(alone: Observation) -> str:
    """What the confinement answers in spite of a marker; "" where the marker answered.

    Args:
        alone: what came of ``above``, in a thread beside a free one.
    """
    if effect.reached(alone):
        return ""
    seen = effect.read(alone)
    return _RANKS[seen.effect][0] if seen.effect in _RANKS else seen.detail


def is_told_apart(alone: Observation, together: Observation, route: Route) -> bool:
    """Whether what was seen of a call can only be by the filter under test.

    Args:
        alone: what came of ``above``, in a thread beside a free one.
        together: what came of the call under the filter under test as well.
        route: who made that call.
    """
    own, seen = effect.read(alone).effect, effect.read(together).effect
    if own is Effect.REACHED:
        return True
    if own not in _RANKS or seen not in _RANKS:
        return False
    # A lone thread that is killed takes its process along.
    vague = seen is Effect.KILLED_PROCESS and route not in {Route.SIBLING, Route.THREADS}
    rank = _RANKS[Effect.KILLED_THREAD if vague else seen][1]
    return rank < _RANKS[own][1]


_HANDED: Final = ("ERRNO({})", "USER_NOTIF or TRACE", "LOG")


def handing_on(seen: Sequence[Observation]) -> str:
    """What the confinement answers below a kill; "" where it allows the call.

    Args:
        seen: what came of ``below``.
    """
    for name, one in zip(_HANDED, seen, strict=True):
        if not witness.killed_at_call(one):
            return name.format(effect.answer(one)) if "{" in name else name
    return ""
