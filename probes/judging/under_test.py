"""The filters that a case puts to the test, and what is asked about them."""

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.cell import CellKey
from probes.documents.policy import DocumentedCall
from probes.filters import bpf
from probes.filters.bpf import Program, SeccompData
from probes.filters.comparison import run
from probes.filters.prover import Analysis, TooComplexError
from probes.instrument import witness
from probes.instrument.calls import Call
from probes.judging import verdict
from probes.judging.inquiry import UNDER_TEST, Try, is_by_exec, number_of, profile_of
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.judging.sighting import Question
from probes.targets.stack import analyzed


def documented_call(setup: Setup, key: CellKey) -> DocumentedCall | None:
    """The documented call that a cell is about; None where it is about something else."""
    return next((call for call in setup.policy.calls if call.label == key.syscall), None)


def executed_programs(setup: Setup) -> tuple[Program, ...]:
    """The filters of a process that the runtime's exec started."""
    origin = setup.target.origin
    if origin is None or origin.executed is None:
        raise LookupError("a case about the runtime's exec was planned for a target without it")
    return origin.executed


def question_about(setup: Setup, key: CellKey, profile: Profile | None) -> Question:
    """The question about a cell."""
    program = setup.target.description if profile is not None else "a known filter"
    returns = verdict.expected_of(profile, key.claim, key.variant)
    if profile is None and setup.ambient is not None:
        # Both filters are there, and of two equal actions the newest filter's data counts.
        of_both = (returns, setup.ambient.canaries[key.arch].returns)
        returns = min(of_both, key=lambda one: one.action.precedence)
    others: tuple[FilterReturn, ...] = ()
    documented = documented_call(setup, key)
    if documented is not None and profile is not None:
        returns, *more = documented.returns(profile, ARCHES[key.arch])
        others = tuple(more)
    return Question(
        key,
        returns,
        program,
        confined=setup.ambient is not None,
        others=others,
        unhonoured=not_honoured(setup, key.arch),
    )


def not_honoured(setup: Setup, arch: str) -> frozenset[Action]:
    """The actions that the kernel takes for another on an ABI."""
    return frozenset(action for where, action in setup.unhonoured if where == arch)


def filters(setup: Setup, case: Case) -> tuple[bytes, ...]:
    """The filters under test, the oldest first; a control has a known one instead."""
    if case.profile is None:
        key = case.cells[0]
        returns = verdict.expected_of(None, case.claim, key.variant)
        return (witness.marker(case.arch, number_of(key), returns.value),)
    which = (case.profile, is_by_exec(case))
    if which not in setup.raw:
        setup.raw[which] = tuple(
            bpf.to_bytes(one, big_endian=case.arch.big_endian) for one in programs_of(setup, case)
        )
    return setup.raw[which]


def programs_of(setup: Setup, case: Case) -> tuple[Program, ...]:
    """The filters under test, the oldest first; none where they are not known or a control's.

    A filter of the runtime's exec is judged in place of the container's.
    """
    if case.profile is None:
        return ()
    return executed_programs(setup) if is_by_exec(case) else setup.target.programs(case.profile)


def logged(setup: Setup, case: Case, one: Try) -> tuple[bool, ...]:
    """For each filter of a child whether it has SECCOMP_FILTER_FLAG_LOG."""
    if one.role not in UNDER_TEST or case.profile is None:
        return ()
    flags = flags_of(setup, by_exec=is_by_exec(case))
    before = one.attempt.before
    after = len(one.attempt.programs) - before - len(flags)
    return (*(False,) * before, *flags, *(False,) * after)


def flags_of(setup: Setup, *, by_exec: bool) -> tuple[bool, ...]:
    """For each filter under test whether it has SECCOMP_FILTER_FLAG_LOG; () where none has."""
    target = setup.target
    if not by_exec:
        return target.logged
    return () if target.origin is None else target.origin.executed_logged


def simulate(setup: Setup, case: Case, call: Call) -> tuple[int, ...]:
    """Every raw value that the filters under test return for a call; none if not known.

    Several where they look at the address of the call's code, which is another one in each
    process.
    """
    programs = programs_of(setup, case)
    if not programs:
        return ()
    arguments = (*call.arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = SeccompData(call.number, case.arch.audit_arch, arguments)
    big_endian = case.arch.big_endian
    if not any(map(bpf.reads_pointer, programs)):
        return (run(programs, data, big_endian=big_endian),)
    try:
        analysis = (
            analyzed(programs, big_endian=big_endian)
            if is_by_exec(case)
            else setup.target.analysis(profile_of(case))
        )
    except TooComplexError:
        return tuple(FilterReturn(action).value for action in Action)  # whatever it may be
    return tuple(sorted(analysis.values_from_anywhere(data)))


def predict(setup: Setup, case: Case) -> FilterReturn | None:
    """The filter's return value for a case's one number, where the program makes it certain."""
    if case.profile is None or is_by_exec(case):
        return None
    return setup.target.predict(case.profile, case.arch, number_of(case.cells[0]))


def analysis_of(setup: Setup, case: Case) -> Analysis | None:
    """The analysis of the filters under test, where there is one."""
    try:
        return None if is_by_exec(case) else setup.target.analysis(profile_of(case))
    except TooComplexError:
        return None


def is_prctl(setup: Setup, arch: Arch, number: int) -> bool:
    """Whether a call is the one that installs filters, which its marker would answer.

    Not where the filters under test are there already: one marker is all that is installed.
    """
    same = arch.audit_arch == setup.native.audit_arch and setup.ambient is None
    return same and number == setup.native.number("prctl")
