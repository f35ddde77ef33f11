"""The types between a probe and its verdict: question, sighting and judgement. Pure."""

from dataclasses import dataclass
from typing import Final

from probes.action import Action, FilterReturn
from probes.audit.record import SeccompRecord
from probes.cell import Cause, CellKey, Outcome
from probes.instrument.calls import Observation
from probes.instrument.effect import Asking, Effect


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit records about one probe, and whether one may be missing.

    Attributes:
        source: the collector's name; "" where there is none.
        records: the records with the probe's nonce, number and architecture.
        complete: whether a missing record was never written.
        reason: why absence proves nothing, or why there is no collector and what would help.
        doubt: why the kernel may write no record of what the filter did, although others arrive;
            "" where a known filter that did the same left one meanwhile.
        cause: whose doing it is that there is no collector.
    """

    source: str
    records: tuple[SeccompRecord, ...] = ()
    complete: bool = False
    reason: str = ""
    doubt: str = ""
    cause: Cause = Cause.PRIVILEGE


NO_TRAIL: Final = Trail("", reason="no audit records were asked for")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Everything that was seen for one cell.

    Attributes:
        witnessed: the call under the filter and the witness: it cannot run.
        free: the call under the filter alone: it runs if the filter lets it.
        control: the same call without any filter.
        trail: the audit records of the call.
        predicted: what the program returns for the number, by simulation, where that is certain.
        simulated: the raw value that the filters under test return for the very call; none where
            they are not known, and several where they decide by the address of its code.
        asking: whether a supervisor or a tracer is asked about a call that reached the witness;
            None where the filters are known, or nothing hints at a supervisor or a tracer.
    """

    witnessed: Observation | None = None
    free: Observation | None = None
    control: Observation | None = None
    trail: Trail = NO_TRAIL
    predicted: FilterReturn | None = None
    simulated: tuple[int, ...] = ()
    asking: Asking | None = None

    @property
    def returns(self) -> FilterReturn | None:
        """The return value of the filters for this very call, where it is known."""
        if self.predicted is None and len(self.simulated) == 1:
            return FilterReturn.decode(self.simulated[0])
        return self.predicted


@dataclass(frozen=True, slots=True)
class Question:
    """The question about one cell: the returns that the filter must give, and the setting.

    Attributes:
        key: the cell.
        returns: what the filter must return for the number.
        program: what a sentence calls the filter.
        confined: whether the process has the filter already, so that no call can be made without
            it, and the other calls of a probe are filtered too.
        others: other values that the filter may return just as well, with other errnos.
        unhonoured: the actions for which this kernel does something else, by the controls.
        said: all that the filter may return, in words; "" where the values say it themselves.
    """

    key: CellKey
    returns: FilterReturn
    program: str
    confined: bool = False
    others: tuple[FilterReturn, ...] = ()
    unhonoured: frozenset[Action] = frozenset()
    said: str = ""

    @property
    def wanted(self) -> tuple[FilterReturn, ...]:
        """All that the filter may return."""
        return (self.returns, *self.others)

    @property
    def words(self) -> str:
        """All that the filter may return, as people write it."""
        return self.said or " or ".join(map(str, self.wanted))


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict without its sentence and evidence, which make it a cell.

    Attributes:
        outcome: the outcome.
        cause: the kind of reason for the outcome.
        observed: what was seen, in words.
        effect: what became of the call, where that was judged.
        by_program: whether it rests on what the program returns, which the kernel did not show.
        returned: for a failure, what the filter returned for the call, where that is known.
    """

    outcome: Outcome
    cause: Cause | None
    observed: str
    effect: Effect | None = None
    by_program: bool = False
    returned: FilterReturn | None = None
