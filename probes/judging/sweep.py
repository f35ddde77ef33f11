"""Probes the calls that a policy does not restrict: one child makes them all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from probes.audit.collector import Batch
from probes.cell import Cause, Cell, CellKey
from probes.filters.conditions import ARGUMENTS, example
from probes.finding import undecided
from probes.instrument import witness
from probes.instrument.calls import Call, Observation, Request, Route
from probes.instrument.witness import Attempt
from probes.judging import deviations, hindrance, plan, under_test, verdict
from probes.judging.asking import asked_about_rest
from probes.judging.hindrance import Made
from probes.judging.inquiry import Inquiry, entry, number_of, profile_of
from probes.judging.obstacles import decisive
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.judging.sighting import Sighting
from probes.targets import confinement


@dataclass(frozen=True, slots=True)
class _Sweep:
    """The plan of one sweep.

    Attributes:
        case: the case.
        calls: the call of each cell.
        untold: the cells for which no call can be made, with the reason.
        exempt: the cells about which some kernels ask no filter; each has a child of its own.
        swept: the others, whose calls one child makes.
        attempts: the calls and filters of the children that have the filters under test: first
            those of ``swept``, then those of each exempt cell.
    """

    case: Case
    calls: Mapping[CellKey, Call]
    untold: Mapping[CellKey, str]
    exempt: tuple[CellKey, ...]
    swept: tuple[CellKey, ...]
    attempts: tuple[tuple[Attempt, ...], ...]


@dataclass(frozen=True, slots=True)
class _Answers:
    """The observations of a sweep, by cell.

    Attributes:
        witnessed: those under the filters under test and the witness.
        controls: those of exempt cells without the filters under test.
        asked: those under a filter that shows whether a supervisor or a tracer is asked.
        own: those under this process's own confinement alone.
    """

    witnessed: Mapping[CellKey, Observation]
    controls: Mapping[CellKey, Observation]
    asked: Mapping[CellKey, Observation]
    own: Mapping[CellKey, Observation]


def sweep(setup: Setup, inquiry: Inquiry) -> None:
    """Plans a sweep: one child makes all calls, none of which can run, others the exempt ones."""
    case = inquiry.case
    if reason := decisive(under_test.programs_of(setup, case), setup.native, Route.DIRECT):
        inquiry.judge = lambda _seen, _batch: [
            verdict.cannot_tell(key, Cause.FILTER, reason) for key in case.cells
        ]
        return
    planned = _planned(setup, case)
    inquiry.requests += [
        Request(entry(case.arch), one.calls, one.programs, setup.zygote.nonce(), runs=False)
        for one in _attempts(setup, planned)
    ]

    def judge(seen: Sequence[Sequence[Observation]], _: Batch | None) -> list[Cell]:
        answers = _answers(setup, planned, seen)
        return [_cell(setup, planned, answers, key) for key in case.cells]

    inquiry.judge = judge


def _planned(setup: Setup, case: Case) -> _Sweep:
    calls, untold = left_alone(setup, case)
    exempt = tuple(key for key in case.cells if plan.is_exempt(key))
    swept = tuple(key for key in calls if not plan.is_exempt(key))
    attempts = tuple(
        setup.witness.sweep(
            case.arch, [calls[key] for key in keys], under_test.filters(setup, case)
        )
        for keys in (swept, *((key,) for key in exempt))
    )
    return _Sweep(case, calls, untold, exempt, swept, attempts)


def _attempts(setup: Setup, planned: _Sweep) -> Iterator[Attempt]:
    """The attempts of all children, in the order in which ``_answers`` reads them."""
    arch = planned.case.arch
    yield from chain.from_iterable(planned.attempts)
    yield from (setup.witness.unasked(arch, Call(number_of(key))) for key in planned.exempt)
    if _can_ask(setup):
        yield witness.asking_many(arch, [planned.calls[key] for key in planned.swept])
    if setup.own is not None:
        calls = [planned.calls.get(key, Call(number_of(key))) for key in planned.case.cells]
        yield from witness.MARKER.sweep(arch, calls, ())


def _can_ask(setup: Setup) -> bool:
    """Whether to try if a supervisor or a tracer is asked about a call.

    Only where there is none: it could let the call run, and few calls are known to do no harm.
    """
    return setup.ambient is not None and setup.ambient.alone


def _answers(setup: Setup, planned: _Sweep, seen: Sequence[Sequence[Observation]]) -> _Answers:
    answers = iter(seen)
    witnessed: dict[CellKey, Observation] = {}
    groups = (planned.swept, *((key,) for key in planned.exempt))
    for keys, tried in zip(groups, planned.attempts, strict=True):
        made = zip(*(next(answers) for _ in tried), strict=True)
        witnessed |= zip(keys, map(setup.witness.told, made), strict=True)
    return _Answers(
        witnessed,
        controls={key: next(answers)[0] for key in planned.exempt},
        asked=dict(zip(planned.swept, next(answers), strict=True)) if _can_ask(setup) else {},
        own=dict(zip(planned.case.cells, next(answers), strict=True)) if setup.own else {},
    )


def _cell(setup: Setup, planned: _Sweep, answers: _Answers, key: CellKey) -> Cell:
    case, profile = planned.case, profile_of(planned.case)
    if key in planned.untold:
        return verdict.cannot_tell(key, Cause.INSTRUMENT, planned.untold[key])
    if reason := undecided(setup.target.findings, key.syscall):
        return verdict.cannot_tell(key, Cause.TARGET, reason)
    sighting = Sighting(
        witnessed=answers.witnessed[key],
        control=answers.controls.get(key),
        predicted=setup.target.predict(profile, case.arch, number_of(key)),
        simulated=under_test.simulate(setup, case, witness.marked(planned.calls[key])),
        asking=asked_about_rest(setup, answers.asked.get(key)),
    )
    if reason := hindrance.answered(setup, key, Route.DIRECT, _alone(answers, key), sighting):
        return verdict.cannot_tell(key, Cause.PRIVILEGE, reason)
    cell = verdict.judge(under_test.question_about(setup, key, profile), sighting)
    cell = hindrance.explained(setup, case, Made(Route.DIRECT, sighting), cell)
    return deviations.named_in(setup.target, case, cell, sighting)


def _alone(answers: _Answers, key: CellKey) -> list[Observation]:
    """The observation of a call under this process's own confinement, where it is conclusive."""
    own = answers.own.get(key)
    # About an exempt call this kernel may ask no filter, and so no marker either.
    if own is None or (plan.is_exempt(key) and not confinement.is_shut(own)):
        return []
    return [own]


def left_alone(setup: Setup, case: Case) -> tuple[dict[CellKey, Call], dict[CellKey, str]]:
    """The calls of a sweep, and the cells for which no call can be made, with the reason.

    A call that is restricted for some arguments is made with others, as near as can be.
    """
    parts = plan.partly_restricted(setup.policy, case.arch)
    calls: dict[CellKey, Call] = {}
    untold: dict[CellKey, str] = {}
    for key in case.cells:
        rest = parts.get(number_of(key))
        if rest is None:
            calls[key] = Call(number_of(key))
            continue
        near = example(rest.restrictions[0]) or ()
        arguments = example(rest, near, {ARGUMENTS - 1: witness.SWEEP_MAGIC})
        if arguments is None:
            untold[key] = (
                "the policy leaves it alone only with a sixth argument other than the one by "
                "which the witness knows the probed calls"
            )
        else:
            calls[key] = Call(number_of(key), arguments)
    return calls, untold
