"""Weighs the failed controls: is the instrument wrong, or the kernel? Pure.

A control is a filter of which all is known, so where the kernel does not do what it says, either
the instrument does not see it or the kernel does not do it. The second is a verdict on the
platform; but only of an action that ends in the kernel, only if what was seen instead was seen on
every route, and only if all other controls that matter came out right. Otherwise it is the first.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from probes.action import Action, Profile
from probes.cell import Cause, Cell, Outcome
from probes.instrument import effect, witness
from probes.instrument.calls import Observation, Stage
from probes.instrument.effect import Effect
from probes.judging import plan, sentences
from probes.judging.plan import Case

KERNELS_OWN: Final = frozenset({Action.KILL_PROCESS, Action.LOG})
"""The actions that some kernels take for another: they end the calling thread alone instead."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of calibrating the instrument by the controls.

    Attributes:
        cells: the controls, with their final verdicts.
        fault: why no verdict counts; "" where the instrument is right.
        doubt: why no verdict can be had, for the controls could not be judged; "" where they could.
        unhonoured: the actions that the kernel takes for another, each with the name of an ABI.
    """

    cells: tuple[Cell, ...]
    fault: str
    doubt: str
    unhonoured: frozenset[tuple[str, Action]]


def action_of(cell: Cell) -> Action:
    """The action of a control's known filter."""
    return Action[cell.key.variant]


def action_of_case(case: Case) -> Action:
    """The action of the known filter of a control that is not judged yet."""
    return Action[case.cells[0].variant]


def suspects(cells: Sequence[Cell], profiles: Iterable[Profile]) -> tuple[Cell, ...]:
    """The failed controls of actions that the kernel may not honour.

    Args:
        cells: the judged controls.
        profiles: the profiles that are asked about.
    """
    needed = _needed(profiles)
    off = {cell.key.arch for cell in cells if is_off(cell) and action_of(cell) not in KERNELS_OWN}
    return tuple(
        cell
        for cell in cells
        if cell.outcome is Outcome.FAILED
        and action_of(cell) in KERNELS_OWN & needed
        and cell.key.arch not in off
    )


def is_unhonoured(action: Action, seen: Sequence[Observation]) -> bool:
    """Whether every child of a known filter shows that the kernel takes its action for another.

    Args:
        action: the filter's, KILL_PROCESS or LOG.
        seen: the call as made by one thread of several, in different ways.
    """
    if action is Action.KILL_PROCESS:
        return all(effect.read(one).effect is Effect.KILLED_THREAD for one in seen)
    return all(one.stage is Stage.ARMED and witness.killed_at_call(one) for one in seen)


def weigh(
    cells: Sequence[Cell], profiles: Iterable[Profile], unhonoured: Collection[Cell]
) -> Calibration:
    """Draws the conclusion from the controls.

    Args:
        cells: the judged controls.
        profiles: the profiles that are asked about: only what they need counts.
        unhonoured: the failed controls that are the kernel's doing, as ``is_unhonoured`` says.
    """
    needed = _needed(profiles)
    weighed = tuple(_weighed(cell, needed, unhonoured) for cell in cells)
    off = [cell for cell in weighed if is_off(cell)]
    untold = [cell for cell in weighed if cell.outcome is Outcome.CANNOT_TELL]
    return Calibration(
        weighed,
        f"the instrument is out of calibration: {off[0].sentence}" if off else "",
        f"the instrument cannot be calibrated here: {untold[0].sentence}" if untold else "",
        frozenset((cell.key.arch, action_of(cell)) for cell in unhonoured),
    )


def _needed(profiles: Iterable[Profile]) -> frozenset[Action]:
    return frozenset().union(*(plan.NEEDED[profile] for profile in profiles))


def is_off(cell: Cell) -> bool:
    """Whether a control says that the instrument is wrong."""
    needless = (Outcome.NOT_APPLICABLE, Cause.NOT_IMPLEMENTED)
    right = cell.outcome in {Outcome.PASSED, Outcome.CANNOT_TELL}
    return not right and not is_of_kernel(cell) and (cell.outcome, cell.cause) != needless


def is_of_kernel(cell: Cell) -> bool:
    """Whether a control failed for what the kernel does, and not for what the instrument sees."""
    return cell.outcome is Outcome.FAILED and cell.cause is Cause.NOT_IMPLEMENTED


def _weighed(cell: Cell, needed: frozenset[Action], unhonoured: Collection[Cell]) -> Cell:
    if cell.outcome is Outcome.PASSED:
        return cell
    if cell in unhonoured:
        text = f"this kernel does not honour {action_of(cell).name}: {cell.observed}"
        reason = f"expected {cell.expected}, but {text}"
        sentence = f"{sentences.subject(cell.key)}: {reason}"
        cause = Cause.NOT_IMPLEMENTED
        return replace(cell, cause=cause, sentence=sentence, observed=text, reason=reason)
    if action_of(cell) not in needed:
        more = "; nothing that is asked about depends on it"
        return replace(
            cell,
            outcome=Outcome.NOT_APPLICABLE,
            cause=Cause.NOT_IMPLEMENTED,
            sentence=f"{cell.sentence}{more}",
            reason=f"{cell.why}{more}",
        )
    return cell
