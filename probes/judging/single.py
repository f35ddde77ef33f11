"""Cases about one call: plans the children that make it, and judges what they saw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from probes.action import Action, FilterReturn
from probes.audit.collector import Batch
from probes.cell import Cause, Cell, Outcome
from probes.filters import bpf
from probes.filters.conditions import name_in
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request, Route
from probes.instrument.harmless import Preparation, probe_for
from probes.instrument.witness import Attempt
from probes.judging import (
    asking,
    call_arguments,
    deviations,
    hindrance,
    records,
    under_test,
    verdict,
)
from probes.judging.call_arguments import arguments_words, widest
from probes.judging.hindrance import Made
from probes.judging.inquiry import Inquiry, Role, Try, by_role, entry, number_of
from probes.judging.needed_calls import Calls, Way
from probes.judging.obstacles import decisive
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.judging.sighting import NO_TRAIL, Sighting
from probes.targets import confinement

_EVERYTHING_ALLOWED: Final = bpf.dispatch({}, FilterReturn(Action.ALLOW).value)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a cell's probes.

    Attributes:
        calls: the calls that the claim needs.
        call: the probed call.
        other: the same call with bits that the kernel does not read, if there are any.
        tries: the children, with what they do.
        requests: the same children as requests to the zygote, in the same order.
    """

    calls: Calls
    call: Call
    other: Call | None
    tries: tuple[Try, ...]
    requests: tuple[Request, ...]


def ask(setup: Setup, inquiry: Inquiry) -> None:
    """Plans up to three calls for a case of one cell, and how their answers are judged."""
    case = inquiry.case
    key, made = case.cells[0], case.row.calls(case.cells[0])
    harmless = call_arguments.harmless_arguments(setup, case)
    if harmless is None and made.free and not case.row.own_calls:
        reason = (
            f"the catalogue has no arguments for {key.syscall} that are known to be harmless; "
            "add a row to probes/instrument/harmless.py"
        )
        inquiry.judge = lambda _seen, _batch: [verdict.cannot_tell(key, Cause.INSTRUMENT, reason)]
        return
    later, programs = key.variant == Way.LATER_FILTER, under_test.programs_of(setup, case)
    if reason := decisive(programs, setup.native, made.route, later=later):
        inquiry.judge = lambda _seen, _batch: [verdict.cannot_tell(key, Cause.FILTER, reason)]
        return
    values = call_arguments.any_arguments(setup, case) if harmless is None else harmless
    call = Call(number_of(key), tuple(one & widest(case.arch) for one in values))
    planned = _planned(setup, inquiry, made, call)
    inquiry.requests += planned.requests
    inquiry.nonces += [
        request.comm
        for one, request in zip(planned.tries, planned.requests, strict=True)
        if one.role in _RECORDED
    ]
    inquiry.needs_records = made.records
    inquiry.judge = lambda seen, batch: [_judged(setup, inquiry, planned, seen, batch)]


_RECORDED: Final = frozenset({Role.WITNESSED, Role.FREE})
"""The calls whose records count."""


def _planned(setup: Setup, inquiry: Inquiry, made: Calls, call: Call) -> _Plan:
    twice = made.plainly and not made.records
    other = call_arguments.with_unread_bits(setup, inquiry.case, call) if twice else None
    tries = tuple(tries_for(setup, inquiry, made, call, other))
    requests = tuple(_request(setup, inquiry.case, one, call) for one in tries)
    return _Plan(made, call, other, tries, requests)


def _request(setup: Setup, case: Case, one: Try, call: Call) -> Request:
    row = probe_for(name_in(case.cells[0].syscall))
    new_session = row is not None and row.prepare is Preparation.NEW_SESSION
    # A canary does no harm with capabilities either.
    runs = asking.may_run(setup, one.role) and not case.is_control
    made = (entry(case.arch), one.attempt.calls, one.attempt.programs, setup.zygote.nonce())
    return Request(
        *made,
        one.route,
        new_session and runs,
        asking.deadline(setup, runs=runs),
        runs=runs,
        logged=under_test.logged(setup, case, one),
        seccomp=setup.native.numbers["seccomp"],
        by_seccomp=under_test.is_prctl(setup, case.arch, call.number),
    )


def _judged(
    setup: Setup,
    inquiry: Inquiry,
    planned: _Plan,
    seen: Sequence[Sequence[Observation]],
    batch: Batch | None,
) -> Cell:
    """The verdict on the observations of a case."""
    case, made = inquiry.case, planned.calls
    key = case.cells[0]
    found = by_role(planned.tries, [answer[0] for answer in seen])
    told = told_by(setup, found)
    let_through = told is not None and effect.reached(told)
    if let_through and not made.control and asking.can_ask(setup, case) and not inquiry.again:
        inquiry.is_open = True
    sighting = Sighting(
        witnessed=told,
        free=next(iter(found[Role.FREE]), None),
        control=next(iter(found[Role.CONTROL]), None),
        trail=records.trail_of(setup, inquiry, batch) if made.records else NO_TRAIL,
        predicted=under_test.predict(setup, case),
        simulated=under_test.simulate(setup, case, planned.call),
        asking=asking.asked_about(setup, case, made, next(iter(found[Role.ASKING]), None)),
    )
    alone = (*found[Role.OWN], *found[Role.OWN_BELOW])
    if reason := hindrance.answered(setup, key, made.route, alone, sighting):
        return verdict.cannot_tell(key, Cause.PRIVILEGE, reason)
    cell = verdict.judge(under_test.question_about(setup, key, case.profile), sighting)
    if planned.other is not None and cell.outcome is Outcome.PASSED:
        sighting = replace(
            sighting,
            witnessed=setup.witness.told(found[Role.UNREAD]),
            simulated=under_test.simulate(setup, case, planned.other),
        )
        cell = _with_other(setup, case, planned.other, sighting)
    again = Made(made.route, sighting, _again(setup, planned))
    cell = hindrance.explained(setup, case, again, cell)
    return deviations.named_in(setup.target, case, cell, sighting)


def _with_other(setup: Setup, case: Case, other: Call, sighting: Sighting) -> Cell:
    """The verdict on the same call with bits that the kernel does not read."""
    question = under_test.question_about(setup, case.cells[0], case.profile)
    cell = verdict.judge(question, sighting)
    if cell.outcome is Outcome.PASSED:
        return cell
    made = f" ({arguments_words(other)})"
    return replace(cell, sentence=f"{cell.sentence}{made}", reason=f"{cell.why}{made}")


def _again(setup: Setup, planned: _Plan) -> tuple[Request, ...]:
    """The requests of the probes, to make them again under new names."""
    return tuple(
        replace(request, comm=setup.zygote.nonce())
        for one, request in zip(planned.tries, planned.requests, strict=True)
        if one.role in _RECORDED
    )


def tries_for(
    setup: Setup, inquiry: Inquiry, made: Calls, call: Call, other: Call | None
) -> Iterator[Try]:
    """The children for one cell."""
    case = inquiry.case
    stack = under_test.filters(setup, case)
    later = (
        (bpf.to_bytes(_EVERYTHING_ALLOWED, big_endian=case.arch.big_endian),)
        if case.cells[0].variant == Way.LATER_FILTER
        else ()
    )
    if made.witnessed:
        for attempt in setup.witness.one(case.arch, call, stack, later):
            yield Try(Role.WITNESSED, attempt, made.route)
    if other is not None:
        for attempt in setup.witness.one(case.arch, other, stack, later):
            yield Try(Role.UNREAD, attempt, made.route)
    if made.plainly and setup.witness.marks:
        for attempt in witness.ORDER.one(case.arch, call, stack, later):
            yield Try(Role.PLAIN, attempt, made.route)
    if made.free:
        yield Try(Role.FREE, Attempt((call,), (*stack, *later)), made.route)
    if made.control:
        yield Try(Role.CONTROL, setup.witness.control(case.arch, call), Route.DIRECT)
    elif made.witnessed and inquiry.again and asking.can_ask(setup, case):
        yield Try(Role.ASKING, witness.asking(case.arch, call), Route.DIRECT)
    yield from tries_of_its_own(setup, case, made, call)


def tries_of_its_own(setup: Setup, case: Case, made: Calls, call: Call) -> Iterator[Try]:
    """The children that show what this process's own confinement does with the call, if any."""
    if setup.own is not None:
        yield from _alone(case, made, call)


def told_by(setup: Setup, found: Mapping[Role, Sequence[Observation]]) -> Observation | None:
    """The observation under the witness; the worse one, if the call was made marked and unmarked.

    For the unmarked call the witness answers every call of that number, the probe's own included.
    Where that stops the probe, the marked call counts alone.
    """
    watched, plain = found[Role.WITNESSED], found[Role.PLAIN]
    if not watched:
        return None
    told = setup.witness.told(watched)
    if not plain or effect.read(told).effect is effect.Effect.REACHED:
        return told
    other = witness.ORDER.told(plain)
    alike = effect.is_stopped(other) or effect.read(other) == effect.read(told)
    return told if alike else other


def _alone(case: Case, made: Calls, call: Call) -> Iterator[Try]:
    """The children that make a call under this process's own confinement alone."""
    yield Try(Role.OWN, confinement.above(case.arch, call), Route.SIBLING)
    if made.free or case.is_control:
        for attempt in confinement.below(case.arch, call):
            yield Try(Role.OWN_BELOW, attempt, Route.SIBLING)
