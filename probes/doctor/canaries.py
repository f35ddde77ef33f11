"""Makes a call under each known filter, and reads by every collector what it leaves."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from probes.action import Action
from probes.arch import Arch, canary
from probes.audit.collector import Batch, Collector, CollectorUnavailableError
from probes.audit.kmsg import KmsgCollector
from probes.audit.source import RecordSource, SourceKind
from probes.audit.trail import CANARY_DEADLINE_SECONDS, SILENT_SECONDS, Sentinel, emit, opened
from probes.doctor.examination import CanaryKind, ExaminedCollector, Seen, State
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request, Stage, Zygote
from probes.instrument.effect import Effect

_ROUNDS: Final = 3
"""The rounds of canaries; the first one may only show a collector where to begin."""


@dataclass(slots=True)
class _Reading:
    """A collector that is read, and what it has shown so far.

    Attributes:
        source: what it reads.
        collector: it; None once it is given up.
        reason: why not everything is known yet.
        seen: what it has shown of each canary.
        is_settled: whether it has shown everything.
        is_overdue: whether a sentinel has not arrived.
        is_silent: whether nothing has arrived, or can.
    """

    source: RecordSource
    collector: Collector | None = None
    reason: str = ""
    seen: dict[str, Seen] = field(default_factory=dict)
    is_settled: bool = False
    is_overdue: bool = False
    is_silent: bool = True

    @property
    def is_over(self) -> bool:
        """Whether another round would show nothing new."""
        return self.collector is None or self.is_settled

    @property
    def found(self) -> ExaminedCollector:
        """What became of it."""
        works = self.is_settled or Seen.RECORDED in self.seen.values()
        state = State.WORKS if works else State.FAILS
        return ExaminedCollector(str(self.source), state, self.reason, dict(self.seen))


@dataclass(frozen=True, slots=True)
class Measured:
    """What the canaries showed.

    Attributes:
        collectors: what became of each collector.
        faults: why canaries could not be made, by their names.
    """

    collectors: tuple[ExaminedCollector, ...]
    faults: dict[str, str]


def measure(
    zygote: Zygote, native: Arch, kinds: Sequence[CanaryKind], sources: Sequence[RecordSource]
) -> Measured:
    """Opens the collectors, makes the canaries and reads their records.

    Args:
        zygote: makes the calls.
        native: the kernel's own ABI.
        kinds: the canaries.
        sources: what is to be read.

    Raises:
        InstrumentError: the zygote is gone.
    """
    sentinel = Sentinel(native, canary(native)[1])
    faults: dict[str, str] = {}
    with ExitStack() as stack:
        readings = [_opened(one, zygote, sentinel, stack) for one in sources]
        for number in range(_ROUNDS + 1):
            if all(one.is_over for one in readings):
                break
            # The first sentinel shows collectors where to begin.
            names = _names(zygote, kinds) if number else {}
            faults |= _make(zygote, native, kinds, names)
            # What was not made leaves no record either, and shows nothing.
            made = {name: comm for name, comm in names.items() if name not in faults}
            ended = zygote.nonce()
            if fault := emit(zygote, sentinel, ended):
                faults["the sentinel's LOG"] = fault
            for one in readings:
                _read(one, ended, made if number else None)
            _give_up(readings)
    return Measured(tuple(one.found for one in readings), faults)


def _names(zygote: Zygote, kinds: Sequence[CanaryKind]) -> dict[str, str]:
    """A name for the child of each canary, by the canary's name."""
    return {one.name: zygote.nonce() for one in kinds}


def _opened(source: RecordSource, zygote: Zygote, sentinel: Sentinel, stack: ExitStack) -> _Reading:
    """A collector, opened if it can be."""
    reading = _Reading(source)
    try:
        if source.kind is SourceKind.KMSG:
            # The few records of an examination are fewer than the kernel prints at once.
            reading.collector = KmsgCollector(sleep=lambda _: None)
        else:
            reading.collector = opened(source, zygote, sentinel)
    except CollectorUnavailableError as error:
        reading.reason = str(error)
    else:
        stack.callback(reading.collector.close)
    return reading


def _make(
    zygote: Zygote, native: Arch, kinds: Sequence[CanaryKind], names: dict[str, str]
) -> dict[str, str]:
    """Makes the canaries of a round, and returns why some could not be made."""
    made = [one for one in kinds if one.name in names]
    number = canary(native)[1]
    requests = [
        Request(
            native.entry.name.lower(),
            (Call(number),),
            (witness.marker(native, number, one.returns.value),),
            names[one.name],
            runs=False,
            logged=(one.logged,),
            seccomp=native.numbers["seccomp"],
        )
        for one in made
    ]
    answers = zygote.run(requests)
    return {
        one.name: effect.answer(seen[0])
        for one, seen in zip(made, answers, strict=True)
        if not _did(one, seen[0])
    }


def _did(kind: CanaryKind, seen: Observation) -> bool:
    """Whether the kernel did at the call what the known filter returns."""
    if kind.returns.action is Action.LOG:
        # It cannot fail but by another filter of this process.
        return seen.stage is Stage.RETURNED and not seen.errno and not seen.fault
    return effect.read(seen).effect is _EFFECTS[kind.returns.action]


_EFFECTS: Final = {
    Action.KILL_PROCESS: Effect.KILLED_PROCESS,
    Action.ERRNO: Effect.REFUSED,
}


def _read(reading: _Reading, ended: str, names: dict[str, str] | None) -> None:
    """Reads up to a sentinel, and notes what it shows of the canaries before, if any were due."""
    if reading.collector is None or reading.is_settled:
        return
    deadline = SILENT_SECONDS if reading.is_overdue else CANARY_DEADLINE_SECONDS
    try:
        batch = reading.collector.read_until(ended, deadline)
    except CollectorUnavailableError as error:
        reading.collector, reading.reason = None, str(error)
        return
    reading.reason = batch.reason
    reading.seen |= dict(_shown(batch, names or {}))
    reading.is_settled = names is not None and batch.complete
    if names is not None and batch.overdue:
        reading.collector = None
    reading.is_overdue = batch.overdue
    reading.is_silent = batch.overdue and batch.silent


def _give_up(readings: Sequence[_Reading]) -> None:
    """Gives up collectors that bring nothing of what others bring."""
    if all(one.is_silent for one in readings):
        return
    for one in readings:
        if one.is_silent:
            one.collector = None


def _shown(batch: Batch, names: dict[str, str]) -> Iterator[tuple[str, Seen]]:
    """What a batch shows of each canary."""
    comms = {one.comm for one in batch.records}
    for name, comm in names.items():
        if comm in comms:
            yield name, Seen.RECORDED
        elif batch.complete:
            yield name, Seen.NONE
