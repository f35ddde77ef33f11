"""A counterexample is tried exactly as it was found, or it is judged by the analysis alone.

The oracle is a C program that makes the very call under the very filter.
"""

import errno
import os
from collections.abc import Sequence

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, Claim, Outcome
from probes.documents import policy
from probes.environment import UserSpace, user_space
from probes.files import DEFAULT_POLICY
from probes.filters import bpf, pointer, prover
from probes.filters.bpf import Program
from probes.filters.pointer import Span
from probes.instrument import abis as kernel_abis
from probes.instrument import witness
from probes.instrument.calls import Call, Request, Route, Zygote
from probes.judging import plan, proof
from probes.judging.examiner import Examiner
from probes.judging.plan import Scope
from probes.judging.proved import Counterexample, judge_proof
from probes.judging.sighting import Question
from probes.targets import stack
from probes.targets.stack import analyzed
from probes.tests.support import mutants
from probes.tests.support.entering import Entering, build
from probes.tests.support.stacks import target_of

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="these are the entries of x86_64"
)

POLICY = policy.load(DEFAULT_POLICY, arch.all_names())
KERNEL = arch.offered_by("x86_64")
X86_64, X32, I386 = (ARCHES[name] for name in ("x86_64", "x32", "i386"))
EPERM = Profile.ERRNO.returns.value
ALLOW = FilterReturn(Action.ALLOW).value
LOG = FilterReturn(Action.LOG).value
TRACE = FilterReturn(Action.TRACE).value
KILL = FilterReturn(Action.KILL_PROCESS).value
ODD = FilterReturn(Action.ERRNO, 77).value
"""An errno that nothing else returns, for the oracle."""


@pytest.fixture(scope="module")
def entering(tmp_path_factory: pytest.TempPathFactory) -> Entering:
    return build(tmp_path_factory.mktemp("entering"))


def rightly(profile: Profile) -> Program:
    return mutants.conforming(POLICY, KERNEL, profile).program()


def exception(
    on: Arch, number: int, tests: Sequence[tuple[int, int]], value: int, rest: Program
) -> Program:
    """Another value for one number if some words of the input have these values, else the rest."""
    head = [
        (bpf.LD_ABS, bpf.OFFSET_ARCH, on.audit_arch),
        (bpf.LD_ABS, bpf.OFFSET_NR, number),
        *((bpf.LD_ABS, offset, wanted) for offset, wanted in tests),
    ]
    made: list[bpf.Instruction] = []
    for index, (code, offset, wanted) in enumerate(head):
        left = 2 * (len(head) - index - 1) + 1
        made += [bpf.statement(code, offset), bpf.jump(bpf.JEQ, wanted, 0, left)]
    return (*made, bpf.statement(bpf.RET_K, value), *rest)


def at(address: int) -> list[tuple[int, int]]:
    """The tests of an instruction address."""
    return [(bpf.OFFSET_POINTER, address & bpf.U32), (bpf.OFFSET_POINTER + 4, address >> 32)]


def upper(position: int, value: int) -> list[tuple[int, int]]:
    """The test of an argument's upper half."""
    return [(bpf.OFFSET_ARGS + 8 * position + 4, value)]


def judged(  # noqa: PLR0913, PLR0917 - the parts of a question
    zygote: Zygote,
    stack: Sequence[Program],
    profile: Profile,
    call: str,
    on: Arch = X86_64,
    claim: Claim = Claim.IS_PROVED,
) -> Cell:
    """The verdict on one claim about one call or scope."""
    target = target_of("bpf", "the filter", {profile: tuple(stack)})
    offered = tuple(one for one, trouble in kernel_abis.entered(zygote, KERNEL) if not trouble)
    judge = Examiner(zygote, target, POLICY, offered, AuditTrail(None, "none were asked for"))
    cases = plan.plan(POLICY, [profile], [on], offered, [on])
    (case,) = [case for case in cases if case.claim is claim and case.cells[0].syscall == call]
    (cell,) = judge.examine([case])
    return cell


def offered_or_skip(zygote: Zygote, on: Arch) -> None:
    if trouble := dict(kernel_abis.entered(zygote, [on]))[on]:
        pytest.skip(f"this kernel cannot be entered as {on}: {trouble}")


# Whole registers.


@pytest.mark.slow
@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("on", [I386, X32, X86_64], ids=str)
def test_upper_halves_reach_the_filter_of_every_abi(
    on: Arch, position: int, zygote: Zygote, entering: Entering
) -> None:
    """A filter that lets a call through if the upper half of an argument is set, and no other."""
    offered_or_skip(zygote, on)
    number = on.numbers["mount"]
    rest = rightly(Profile.ERRNO)
    leaking = exception(on, number, upper(position, 7), ALLOW, rest)
    cell = judged(zygote, [leaking], Profile.ERRNO, "mount", on)
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER), cell.sentence
    assert "and so it is on this kernel" in cell.sentence
    assert f"args[{position}]=0x700000000" in cell.sentence

    arguments = [0] * 6
    arguments[position] = 7 << 32
    shown = bpf.to_bytes(exception(on, number, upper(position, 7), ODD, rest))
    entry = on.entry.name.lower()
    assert entering.answer(shown, entry, number, arguments) == -77
    assert entering.answer(shown, entry, number) == -errno.EPERM


def test_ordinary_probes_of_i386_have_registers_of_32_bits(zygote: Zygote) -> None:
    """A number that no table knows is called with all bits set, as far as the ABI has any."""
    offered_or_skip(zygote, I386)
    number = plan.unknown_numbers(I386, KERNEL)[0]
    leaking = exception(I386, number, upper(0, 0), ALLOW, rightly(Profile.ERRNO))
    target = target_of("bpf", "the filter", {Profile.ERRNO: (leaking,)})
    judge = Examiner(zygote, target, POLICY, KERNEL, AuditTrail(None, "none"))
    cases = plan.plan(POLICY, [Profile.ERRNO], [I386], KERNEL, [])
    (case,) = [
        one for one in cases if one.claim is Claim.DEFAULT_ACTION and one.cells[0].number == number
    ]
    (cell,) = judge.examine([case])
    assert cell.outcome is Outcome.FAILED, cell.sentence


# Instruction addresses.

FREE_PAGE = 0x1234_5678_9000
"""Where nothing is, in any process: between the heap's and the libraries' places."""


def by_address(profile: Profile, call: str, address: int, value: int) -> Program:
    return exception(X86_64, X86_64.numbers[call], at(address), value, rightly(profile))


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        0,
        1,
        1 << 47,
        0x0000_DEAD_DEAD_0000,
        0xFFFF_8000_0000_0000,
        0xFFFF_FFFF_8100_0000,
        (1 << 64) - 1,
    ],
    ids=hex,
)
def test_an_address_that_no_code_has_is_left_out(
    address: int, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "user_space", lambda: UserSpace(five_levels=False))
    for profile, value in ((Profile.LOG, TRACE), (Profile.ERRNO, ALLOW), (Profile.KILL, LOG)):
        program = by_address(profile, "mount", address, value)
        cell = judged(zygote, [program], profile, "mount")
        assert cell.outcome is Outcome.PASSED, cell.sentence


def test_what_is_seen_is_not_judged_by_such_an_address(zygote: Zygote) -> None:
    program = by_address(Profile.LOG, "mount", 0, TRACE)
    cell = judged(zygote, [program], Profile.LOG, "mount", claim=Claim.RUNS)
    assert cell.outcome is Outcome.PASSED, cell.sentence


@pytest.mark.slow
@pytest.mark.parametrize("offset", [2, 3, 0x800, 0xFFF, 0x1000, 0x1001], ids=hex)
@pytest.mark.parametrize("on", [X86_64, X32, I386], ids=str)
def test_code_is_put_where_a_filter_looks_for_it(
    on: Arch, offset: int, zygote: Zygote, entering: Entering
) -> None:
    offered_or_skip(zygote, on)
    address, number, rest = FREE_PAGE + offset, on.numbers["mount"], rightly(Profile.ERRNO)
    cell = judged(
        zygote, [exception(on, number, at(address), ALLOW, rest)], Profile.ERRNO, "mount", on
    )
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER), cell.sentence
    assert f"at instruction address {address:#x}, and so it is on this kernel" in cell.sentence

    shown, entry = (
        bpf.to_bytes(exception(on, number, at(address), ODD, rest)),
        on.entry.name.lower(),
    )
    assert entering.answer(shown, entry, number, end=address) == -77
    assert entering.answer(shown, entry, number, end=address + 1) == -errno.EPERM


@pytest.mark.parametrize("half", [0, 1])
def test_one_half_of_an_address_may_be_zero(half: int, zygote: Zygote) -> None:
    tests = [at(0)[half]]
    program = exception(X86_64, X86_64.numbers["mount"], tests, ALLOW, rightly(Profile.ERRNO))
    cell = judged(zygote, [program], Profile.ERRNO, "mount")
    assert cell.outcome is Outcome.FAILED
    assert "and so it is on this kernel" in cell.sentence


def test_code_at_the_very_end_of_user_space_is_judged_by_analysis(zygote: Zygote) -> None:
    """There is no room for the way back, but the call itself can be made."""
    program = by_address(Profile.ERRNO, "mount", (1 << 47) - 4096, ALLOW)
    cell = judged(zygote, [program], Profile.ERRNO, "mount")
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
    assert "on this kernel" not in cell.sentence
    assert "not tried" in cell.sentence


@pytest.mark.root("takes CAP_SYS_RAWIO")
@pytest.mark.parametrize("address", [2, 0x1000])
def test_the_lowest_pages_are_tried_where_that_is_possible(
    address: int, zygote: Zygote, entering: Entering
) -> None:
    program = by_address(Profile.ERRNO, "mount", address, ALLOW)
    cell = judged(zygote, [program], Profile.ERRNO, "mount")
    shown = bpf.to_bytes(by_address(Profile.ERRNO, "mount", address, ODD))
    possible = entering.answer(shown, "syscall", X86_64.numbers["mount"], end=address) == -77
    assert cell.outcome is (Outcome.FAILED if possible else Outcome.CANNOT_TELL), cell.sentence
    if not possible:
        assert "CAP_SYS_RAWIO" in cell.sentence


def test_where_they_cannot_be_had_that_is_said() -> None:
    case = plan.plan(POLICY, [Profile.ERRNO], [], [], [X86_64])[0]
    question = Question(case.cells[0], Profile.ERRNO.returns, "the filter")
    for rare, outcome in (("it is rare", Outcome.CANNOT_TELL), ("", Outcome.FAILED)):
        example = Counterexample(
            FilterReturn(Action.ALLOW), "x", certain=True, observation=None, rare=rare
        )
        assert judge_proof(question, example).outcome is outcome


VSYSCALLS = {"gettimeofday": 0, "time": 0x400, "getcpu": 0x800}


@pytest.mark.slow
@pytest.mark.parametrize("call", VSYSCALLS)
def test_a_jump_into_the_page_of_vsyscalls_is_a_call(
    call: str, zygote: Zygote, entering: Entering
) -> None:
    if not user_space().vsyscalls:
        pytest.skip("this kernel has no page of vsyscalls")
    address = 0xFFFF_FFFF_FF60_0000 + VSYSCALLS[call]
    program = by_address(Profile.ERRNO, call, address, EPERM)
    cell = judged(zygote, [program], Profile.ERRNO, Scope.OTHER_CALLS)
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER), cell.sentence
    assert "and so it is on this kernel" in cell.sentence
    shown = bpf.to_bytes(by_address(Profile.ERRNO, call, address, ODD))
    assert entering.answer(shown, "vsyscall", X86_64.numbers[call], end=address) == -77

    # No other call has this address, and this one no other of the page.
    other = by_address(Profile.ERRNO, "mount", address, ALLOW)
    assert judged(zygote, [other], Profile.ERRNO, "mount").outcome is Outcome.PASSED
    beside = by_address(Profile.ERRNO, call, address + 8, EPERM)
    assert judged(zygote, [beside], Profile.ERRNO, Scope.OTHER_CALLS).outcome is Outcome.PASSED


def test_a_number_beside_one_that_is_left_out_is_not() -> None:
    """Both have the same returns, so that one stands for both; only one of them can be had."""
    first, second = 0x2000_0000, 0x2000_0001
    rest = exception(X86_64, second, at(FREE_PAGE), TRACE, rightly(Profile.LOG))
    program = exception(X86_64, first, at(0), TRACE, rest)
    cases = plan.plan(POLICY, [Profile.LOG], [], [], [X86_64])
    (case,) = [one for one in cases if one.cells[0].syscall == Scope.UNKNOWN_NUMBERS]
    analysis = analyzed([program], big_endian=False)
    found = proof.deviation(case, POLICY, analysis, [Profile.LOG.returns])
    assert found is not None
    assert (found.number, found.data.instruction_pointer) == (second, FREE_PAGE)


def test_a_probe_cannot_tell_what_depends_on_its_address(zygote: Zygote) -> None:
    """Half of the addresses are handed to a tracer: the witness would hide on which it was."""
    number, rest = X86_64.numbers["mount"], rightly(Profile.LOG)
    head = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, X86_64.audit_arch, 0, 5),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number, 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_POINTER),
        bpf.jump(bpf.JSET, 1 << 12, 0, 1),
        bpf.statement(bpf.RET_K, TRACE),
    )
    cell = judged(zygote, [(*head, *rest)], Profile.LOG, "mount", claim=Claim.RUNS)
    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.FILTER), cell.sentence
    assert "by the address of the call's code" in cell.sentence
    # What the witness shows decides all the same.
    refusing = (*head[:-1], bpf.statement(bpf.RET_K, EPERM), *rightly(Profile.ERRNO))
    cell = judged(zygote, [refusing], Profile.ERRNO, "mount", claim=Claim.DENIES)
    assert cell.outcome is Outcome.PASSED


def test_the_addresses_of_every_machine() -> None:
    here = UserSpace(five_levels=True, vsyscalls=True)
    of_x86 = pointer.possible([X86_64.audit_arch, I386.audit_arch], here)
    assert of_x86.spans == (Span(2, (1 << 56) - 4096),)
    assert {(token, number) for token, number, _ in of_x86.calls} == {
        (X86_64.audit_arch, X86_64.numbers[name]) for name in VSYSCALLS
    }
    four = pointer.possible([X86_64.audit_arch], UserSpace(five_levels=False, vsyscalls=False))
    assert four == pointer.Pointers((Span(2, (1 << 47) - 4096),))
    assert pointer.possible([], here) == of_x86  # for this machine
    for one in ARCHES.values():
        spans = pointer.possible([one.audit_arch], here).spans
        assert spans
        assert all(0 < span.first <= 4 for span in spans)
        assert any(span.last > 1 << 30 for span in spans)


def test_the_analysis_keeps_to_a_span() -> None:
    """Against the definition, at the borders of many spans."""
    words = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_POINTER + 4),
        bpf.statement(bpf.RET_K, ALLOW),
    )
    for span in (Span(2, 10), Span(5, 1 << 40, 4), Span(1, (1 << 64) - 1), Span(4096, 8191, 2)):
        analysis = prover.analyze([words]).met_from(pointer.Pointers((span,)))
        for edge in (span.first, span.last):
            for address in range(max(edge - 5, 0), min(edge + 6, 1 << 64)):
                data = bpf.SeccompData(1, 2, (0,) * 6, address)
                inside = span.first <= address <= span.last and address % span.step == 0
                assert bool(analysis.value_at(data)) is inside, (span, address)


# The calls by which filters are installed, and others that the trial itself could need.


@pytest.mark.slow
@pytest.mark.parametrize("value", [KILL, EPERM, TRACE, LOG], ids=hex)
@pytest.mark.parametrize(
    "names",
    [
        ("prctl",),
        ("seccomp",),
        ("prctl", "seccomp"),
        ("execve",),
        ("futex",),
        ("write",),
        ("exit_group", "exit"),
        ("mmap", "munmap", "brk"),
        ("clone", "clone3"),
        ("rt_sigreturn",),
    ],
    ids="+".join,
)
def test_what_the_instrument_needs_itself_is_judged(
    names: tuple[str, ...], value: int, zygote: Zygote
) -> None:
    places = {(X86_64.audit_arch, X86_64.numbers[name]): value for name in names}
    program = mutants.conforming(POLICY, KERNEL, Profile.KILL).changed(places).program()
    cell = judged(zygote, [program], Profile.KILL, Scope.OTHER_CALLS)
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER), cell.sentence
    if value not in {TRACE, LOG}:  # which the witness cannot tell from one another
        assert "and so it is on this kernel" in cell.sentence


@pytest.mark.parametrize("on", [X32, I386], ids=str)
@pytest.mark.parametrize("names", [("prctl",), ("seccomp",), ("prctl", "seccomp")], ids="+".join)
def test_those_of_other_abis_are_others(on: Arch, names: tuple[str, ...], zygote: Zygote) -> None:
    offered_or_skip(zygote, on)
    places = {(on.audit_arch, on.numbers[name]): EPERM for name in names}
    program = mutants.conforming(POLICY, KERNEL, Profile.KILL).changed(places).program()
    cell = judged(zygote, [program], Profile.KILL, Scope.OTHER_CALLS, on)
    assert cell.outcome is Outcome.FAILED
    assert "and so it is on this kernel" in cell.sentence


def test_a_stack_whose_older_filter_kills_both_is_judged_by_analysis(zygote: Zygote) -> None:
    both = {(X86_64.audit_arch, X86_64.numbers[name]): KILL for name in ("prctl", "seccomp")}
    older = mutants.conforming(POLICY, KERNEL, Profile.KILL).changed(both).program()
    cell = judged(zygote, [older, rightly(Profile.KILL)], Profile.KILL, Scope.OTHER_CALLS)
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER), cell.sentence
    assert "on this kernel" not in cell.sentence


def test_a_marker_on_prctl_itself_leaves_the_way_by_seccomp(zygote: Zygote) -> None:
    """Where a policy documents prctl, it is probed like any other call."""
    prctl = X86_64.numbers["prctl"]
    refusing = bpf.to_bytes(
        bpf.dispatch({X86_64.audit_arch: bpf.ranges({prctl}, EPERM, ALLOW)}, ALLOW)
    )
    programs = (witness.marker(X86_64, prctl), refusing)
    seen = [
        zygote.run(
            [
                Request(
                    *("syscall", (Call(prctl),), programs, zygote.nonce(), Route.SIBLING),
                    seccomp=X86_64.numbers["seccomp"],
                    by_seccomp=way,
                )
            ]
        )[0][0]
        for way in (False, True)
    ]
    assert seen[0].fault
    assert (seen[1].fault, seen[1].errno) == ("", errno.EPERM)
