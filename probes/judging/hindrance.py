"""Why a probe could not make its call: the filter under test, or this process's confinement."""

from collections.abc import Sequence
from dataclasses import dataclass

from probes.arch import Arch, canary
from probes.cell import Cause, Cell, CellKey, Outcome
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request, Route
from probes.judging import under_test, verdict
from probes.judging.inquiry import entry
from probes.judging.obstacles import explaining, killed_on_its_way
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.judging.sighting import Sighting
from probes.targets import confinement


def answered(
    setup: Setup, key: CellKey, route: Route, alone: Sequence[Observation], sighting: Sighting
) -> str:
    """Why this process's own confinement may have caused what was seen; "" where it cannot have.

    Args:
        setup: the instrument.
        key: the cell.
        route: who made the calls under the filter under test.
        alone: the same calls without the filter under test.
        sighting: what was seen under the filter under test.
    """
    if setup.own is None or not alone:
        return ""
    first, *rest = alone
    watched = sighting.witnessed
    by_target = watched is not None and confinement.is_told_apart(first, watched, route)
    if by_target and watched is not None and not effect.reached(watched):
        return ""
    what = "" if by_target else confinement.overruling(first)
    if rest and not what:
        what = confinement.handing_on(rest)
    return setup.own.answers(key.syscall, what) if what else ""


@dataclass(frozen=True, slots=True)
class Made:
    """The probes of a cell, and what was seen of them.

    Attributes:
        route: who made the probed calls.
        sighting: what was seen.
        again: the same requests once more, to see whether the result is stable.
    """

    route: Route
    sighting: Sighting
    again: tuple[Request, ...] = ()

    @property
    def stopped(self) -> list[Observation]:
        """The probes that ended for another reason than what the filter did at the call."""
        made = (self.sighting.witnessed, self.sighting.free)
        return [one for one in made if one is not None and effect.is_stopped(one)]


def explained(setup: Setup, case: Case, made: Made, cell: Cell) -> Cell:
    """Corrects a broken cell to *cannot tell* where the filter under test stopped its probe.

    Args:
        setup: the instrument.
        case: the case.
        made: the probes that the verdict rests on.
        cell: the verdict.
    """
    stopped, programs = made.stopped, under_test.programs_of(setup, case)
    if cell.outcome is not Outcome.BROKEN or not stopped or not programs:
        return cell
    reason = explaining(programs, setup.native, made.route, under_test.analysis_of(setup, case))
    if not any(map(killed_on_its_way, stopped)):
        if not can_be_made(setup, case.arch, made.route):
            return prevented(setup, cell)
        # Whether a call comes to pass that a filter refuses may be a matter of moments.
        anew = setup.zygote.run(made.again) if not reason else []
        if not reason and not any(effect.is_stopped(one[0]) for one in anew):
            return cell
    why = f": {reason}" if reason else ""
    text = f"the filter under test ended the probe before its call ({cell.observed}){why}"
    return verdict.cannot_tell(cell.key, Cause.FILTER, text)


def can_be_made(setup: Setup, arch: Arch, route: Route) -> bool:
    """Whether a probe reaches its call where there is no filter under test; asked once."""
    known = setup.reached.get((arch.name, route))
    if known is None:
        _, number = canary(arch)
        (attempt,) = witness.MARKER.one(arch, Call(number), (), ())
        made = (entry(arch), attempt.calls, attempt.programs, setup.zygote.nonce())
        observation = setup.zygote.run([Request(*made, route)])[0][0]
        known = setup.reached[arch.name, route] = not effect.is_stopped(observation)
    return known


def prevented(setup: Setup, cell: Cell) -> Cell:
    """The cell for a probe that does not reach its call even without the filter under test."""
    if setup.own is None:
        return cell
    return verdict.cannot_tell(cell.key, Cause.PRIVILEGE, setup.own.prevents(cell.observed))
