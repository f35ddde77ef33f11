"""Filters that are not ours: what they do to the probe itself is neither for nor against them.

Each is the right filter but for a few calls, which the probing child needs, or for what it returns.
"""

import errno
import os
from collections.abc import Sequence

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, Claim, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument import abis as kernel_abis
from probes.instrument.calls import Observation, Request, Route, Stage, Zygote
from probes.judging import obstacles
from probes.judging.examiner import Examiner
from probes.judging.needed_calls import Way
from probes.judging.plan import Case, plan
from probes.tests.support import mutants
from probes.tests.support.stacks import target_of

POLICY = policy.load(DEFAULT_POLICY, arch.all_names())
KERNEL = arch.offered_by(os.uname().machine)
NATIVE = KERNEL[0]
CALL = "add_key"

EPERM = FilterReturn(Action.ERRNO, errno.EPERM).value
SUCCESS = FilterReturn(Action.ERRNO, 0).value
KILL = FilterReturn(Action.KILL_PROCESS).value
KILL_THREAD = FilterReturn(Action.KILL_THREAD).value
USER_NOTIF = FilterReturn(Action.USER_NOTIF).value
TRACE = FilterReturn(Action.TRACE, 7).value

UNKNOWN_AND_SEEN = 0x00010000
"""No action; ranks above ERRNO, so that a kernel kills for it under the witness too."""
UNKNOWN_AND_HIDDEN = 0x7FFD0000
"""No action; ranks between LOG and ALLOW."""


def program(profile: Profile, returns: dict[str, int]) -> Program:
    """The right filter, but for what some calls of the native ABI get."""
    table = mutants.conforming(POLICY, KERNEL, profile)
    numbers = {NATIVE.numbers[name]: value for name, value in returns.items()}
    return table.changed({(NATIVE.audit_arch, n): value for n, value in numbers.items()}).program()


def judged(
    zygote: Zygote,
    profile: Profile,
    stack: Sequence[Program],
    claims: Sequence[Claim],
    on: Arch = NATIVE,
) -> list[Cell]:
    """The verdicts of some claims about one call, without audit records."""
    target = target_of("bpf", "the filter", {profile: tuple(stack)}, NATIVE)
    offered = tuple(one for one, trouble in kernel_abis.entered(zygote, KERNEL) if not trouble)
    judge = Examiner(zygote, target, POLICY, offered, AuditTrail(None, "none were asked for"))
    cases = plan(POLICY, [profile], [on], offered, [on])
    return judge.examine([case for case in cases if case.claim in claims and about(case)])


def about(case: Case) -> bool:
    one_call = {Claim.TERMINATES, Claim.DENIES, Claim.RUNS, Claim.IS_PROVED, Claim.IS_RECORDED}
    return case.claim not in one_call or case.cells[0].syscall == CALL


PREVENTED = [
    (Way.LATER_FILTER, {"prctl": EPERM}, "prctl"),
    (Way.LATER_FILTER, {"prctl": SUCCESS}, "prctl"),
    (Way.LATER_FILTER, {"prctl": KILL}, "prctl"),
    (Way.REMOVAL, {"prctl": KILL}, "prctl"),
    (Way.THREAD, {"clone": EPERM, "clone3": EPERM}, "clone"),
    (Way.THREAD, {"futex": EPERM}, "futex"),
    (Way.THREAD, {"futex": KILL}, "futex"),
    (Way.THREAD, {"mmap": EPERM}, "mmap"),
    (Way.THREAD, {"mmap": KILL}, "mmap"),
    (Way.FORK, {"clone": EPERM}, "clone"),
    (Way.FORK, {"clone": SUCCESS}, "clone"),
    (Way.FORK, {"wait4": SUCCESS}, "wait4"),
    (Way.FORK, {"wait4": KILL}, "wait4"),
    (Way.FORK, {"prctl": EPERM}, "prctl"),
    (Way.EXECVE, {"execve": EPERM}, "execve"),
    (Way.EXECVE, {"execve": SUCCESS}, "execve"),
    (Way.EXECVE, {"execve": TRACE}, "execve"),
    (Way.EXECVE, {"openat": EPERM}, "openat"),
    (Way.EXECVE, {"openat": KILL_THREAD}, "openat"),
    (Way.EXECVE, {"mmap": KILL}, "mmap"),
    (Way.EXECVE, {"read": USER_NOTIF}, "read"),
    (Way.SETUID, {"setresuid": EPERM}, "setresuid"),
    (Way.SETUID, {"setresuid": SUCCESS}, "setresuid"),
    (Way.SETUID, {"setresuid": KILL}, "setresuid"),
    (Way.SETUID, {"capset": KILL}, "capset"),
]


@pytest.mark.slow
@pytest.mark.skipif(NATIVE.name != "x86_64", reason="other ABIs fork and wait by other calls")
@pytest.mark.parametrize(
    ("way", "returns", "named"),
    PREVENTED,
    ids=[
        f"{way}-{'-'.join(f'{name}={value:#x}' for name, value in returns.items())}"
        for way, returns, _ in PREVENTED
    ],
)
@pytest.mark.parametrize("profile", [Profile.KILL, Profile.ERRNO])
def test_a_way_that_cannot_be_gone_is_not_judged(
    profile: Profile, way: Way, returns: dict[str, int], named: str, zygote: Zygote
) -> None:
    """And the sentence names the call that the filter prevents."""
    stack = [program(profile, returns)]
    cells = judged(zygote, profile, stack, [Claim.IS_INHERITED, *direct(profile)])
    ways = {cell.key.variant: cell for cell in cells if cell.key.claim is Claim.IS_INHERITED}
    cell = ways[way.value]
    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.FILTER), cell.sentence
    assert f"{named} ({NATIVE.numbers[named]})" in cell.sentence
    plain = [one for one in cells if one.key.claim is not Claim.IS_INHERITED]
    assert {one.outcome for one in plain} == {Outcome.PASSED}
    bad = {Outcome.BROKEN, Outcome.FAILED}
    assert not [one.sentence for one in ways.values() if one.outcome in bad]


def direct(profile: Profile) -> list[Claim]:
    return [Claim.TERMINATES if profile is Profile.KILL else Claim.DENIES]


@pytest.mark.parametrize("value", [EPERM, KILL, KILL_THREAD, SUCCESS])
@pytest.mark.parametrize("profile", [Profile.KILL, Profile.ERRNO])
def test_a_process_that_cannot_end_is_judged_all_the_same(
    profile: Profile, value: int, zygote: Zygote
) -> None:
    """Its threads neither: they would spin for ever, and the probe would wait for them."""
    blocked = dict.fromkeys(("exit", "exit_group", "munmap", "madvise"), value)
    cells = judged(
        zygote,
        profile,
        [program(profile, blocked)],
        [*direct(profile), Claim.DEFAULT_ACTION, Claim.ENDS_EVERY_THREAD],
    )
    assert {cell.outcome for cell in cells} == {Outcome.PASSED}, [c.sentence for c in cells]

    allowed = {**blocked, CALL: FilterReturn(Action.ALLOW).value}
    (cell,) = judged(zygote, profile, [program(profile, allowed)], direct(profile))
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)


def test_a_filter_that_traps_is_seen_although_no_handler_returns(zygote: Zygote) -> None:
    returns = {CALL: FilterReturn(Action.TRAP).value, "rt_sigreturn": KILL}
    (cell,) = judged(zygote, Profile.KILL, [program(Profile.KILL, returns)], [Claim.TERMINATES])
    assert cell.outcome is Outcome.FAILED
    assert "TRAP" in cell.sentence


@pytest.mark.slow
@pytest.mark.parametrize("value", [EPERM, SUCCESS, KILL, TRACE, USER_NOTIF])
def test_a_stack_that_cannot_be_installed_is_judged_by_proof_alone(
    value: int, zygote: Zygote
) -> None:
    """An older filter that answers for prctl(2) would leave the newer ones out, in silence."""
    older = program(Profile.ERRNO, {"prctl": value, CALL: FilterReturn(Action.ALLOW).value})
    newer = program(Profile.ERRNO, {})
    claims = [*Claim]
    cells = judged(zygote, Profile.ERRNO, [older, newer], claims)
    observed = [c for c in cells if c.key.claim not in {Claim.IS_PROVED, Claim.CONTROLS}]
    assert {cell.outcome for cell in observed} == {Outcome.CANNOT_TELL}
    assert {cell.cause for cell in observed} == {Cause.FILTER}
    assert all(f"prctl ({NATIVE.numbers['prctl']})" in cell.sentence for cell in observed)
    (proved,) = [cell for cell in cells if cell.key.claim is Claim.IS_PROVED]
    assert proved.outcome is Outcome.PASSED

    both = judged(zygote, Profile.ERRNO, [newer, older], [Claim.DENIES])
    assert [cell.outcome for cell in both] == [Outcome.PASSED]


VALUES = {
    "USER_NOTIF without a listener": (USER_NOTIF, "leaves it to a supervisor"),
    "TRACE without a tracer": (TRACE, "leaves it to a tracer"),
    "success": (SUCCESS, "ERRNO(0)"),
    "an errno that is none": (FilterReturn(Action.ERRNO, 0xFFFF).value, "ERRNO(4095)"),
    "an action that outranks the witness": (UNKNOWN_AND_SEEN, "SIGSYS"),
    "an action that the witness hides": (UNKNOWN_AND_HIDDEN, "no kernel knows"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("value", "words"), VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("profile", list(Profile))
def test_values_that_no_profile_has(
    profile: Profile, value: int, words: str, zygote: Zygote
) -> None:
    """None passes for what the profile asks, but that a kernel kills for what it does not know."""
    stack = [program(profile, {CALL: value})]
    claim = {
        Profile.KILL: Claim.TERMINATES,
        Profile.ERRNO: Claim.DENIES,
        Profile.LOG: Claim.RUNS,
    }[profile]
    seen, proved = sorted(
        judged(zygote, profile, stack, [claim, Claim.IS_PROVED]),
        key=lambda cell: cell.key.claim is Claim.IS_PROVED,
    )
    kills = value in {UNKNOWN_AND_SEEN, UNKNOWN_AND_HIDDEN}
    if profile is Profile.KILL and kills:
        hidden = value == UNKNOWN_AND_HIDDEN
        assert seen.outcome is (Outcome.CANNOT_TELL if hidden else Outcome.PASSED)
        assert proved.outcome is Outcome.PASSED
    else:
        assert (seen.outcome, seen.cause) == (Outcome.FAILED, Cause.FILTER), seen.sentence
        assert (proved.outcome, proved.cause) == (Outcome.FAILED, Cause.FILTER), proved.sentence
    assert words in seen.sentence
    assert "lets it through" not in seen.sentence


@pytest.mark.parametrize("value", [USER_NOTIF, TRACE, EPERM, FilterReturn(Action.LOG).value])
def test_what_depends_on_arguments_is_judged_by_those_that_were_made(
    value: int, zygote: Zygote
) -> None:
    """A call that is not documented and is handed on, for the very arguments of the sweep."""
    number, low = NATIVE.numbers["getcwd"], 4 if NATIVE.big_endian else 0
    allow = FilterReturn(Action.ALLOW).value
    handed = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, NATIVE.audit_arch, 0, 5),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number, 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS + low),
        bpf.jump(bpf.JEQ, 0, 0, 1),
        bpf.statement(bpf.RET_K, value),
        bpf.statement(bpf.RET_K, allow),
    )
    cells = judged(zygote, Profile.ERRNO, [handed], [Claim.LEAVES_THE_REST_ALONE])
    red = [cell for cell in cells if cell.outcome is not Outcome.PASSED]
    assert [(cell.key.syscall, cell.outcome) for cell in red] == [("getcwd", Outcome.FAILED)]


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="these are the ABIs of an x86_64 kernel")
@pytest.mark.parametrize("name", ["x32", "i386"])
@pytest.mark.parametrize("profile", list(Profile))
def test_abis_that_a_filter_does_not_name(profile: Profile, name: str, zygote: Zygote) -> None:
    """Of such ABIs libseccomp kills every call by KILL_THREAD, the harmless ones too."""
    on = arch.get(name)
    if dict(kernel_abis.entered(zygote, [on]))[on]:
        pytest.skip(f"this kernel cannot be entered as {name}")
    action = profile.returns.value
    right = mutants.conforming(POLICY, KERNEL[:1], profile).returns[NATIVE.audit_arch]
    below = [one for one in bpf.ranges_from(right, action) if one.first < arch.X32_SYSCALL_BIT]
    parts = [
        bpf.Range(one.first, min(one.last, arch.X32_SYSCALL_BIT - 1), one.returns) for one in below
    ]
    parts.append(bpf.Range(arch.X32_SYSCALL_BIT, bpf.U32, KILL_THREAD))
    only = bpf.dispatch({NATIVE.audit_arch: parts}, KILL_THREAD)
    claims = [Claim.TERMINATES, Claim.DENIES, Claim.RUNS, Claim.DEFAULT_ACTION]
    cells = judged(
        zygote, profile, [only], [*claims, Claim.LEAVES_THE_REST_ALONE, Claim.IS_PROVED], on=on
    )
    assert cells
    assert {(cell.outcome, cell.cause) for cell in cells} == {(Outcome.FAILED, Cause.FILTER)}
    home = judged(zygote, profile, [only], claims)
    wrong = [cell for cell in home if cell.outcome in {Outcome.FAILED, Outcome.BROKEN}]
    # A number with the x32 bit is an unknown one of x86_64's.
    assert all((cell.key.number or 0) >= arch.X32_SYSCALL_BIT for cell in wrong)


def refusing(call: str, position: int, test: int, operand: int, value: int) -> Program:
    """A filter that answers a call of the native ABI if an argument passes a test."""
    low = 4 if NATIVE.big_endian else 0
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, NATIVE.audit_arch, 0, 5),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, NATIVE.numbers[call], 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 8 * position + low),
        bpf.jump(test, operand, 0, 1),
        bpf.statement(bpf.RET_K, value),
        bpf.statement(bpf.RET_K, FilterReturn(Action.ALLOW).value),
    )


BY_ARGUMENT = [
    (Way.EXECVE, "prctl", 0, bpf.JEQ, 15),  # PR_SET_NAME
    (Way.EXECVE, "prctl", 0, bpf.JEQ, 4),  # PR_SET_DUMPABLE
    (Way.FORK, "prctl", 0, bpf.JEQ, 1),  # PR_SET_PDEATHSIG
    (Way.SETUID, "prctl", 0, bpf.JEQ, 1),
    (Way.EXECVE, "mmap", 2, bpf.JSET, 4),  # PROT_EXEC
    (Way.THREAD, "mmap", 3, bpf.JEQ, 0x20022),  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK
    (Way.EXECVE, "mmap", 3, bpf.JEQ, 0x22),  # MAP_PRIVATE | MAP_ANONYMOUS
    (Way.EXECVE, "openat", 2, bpf.JSET, 0x80000),  # O_CLOEXEC
    (Way.EXECVE, "fcntl", 1, bpf.JEQ, 1030),  # F_DUPFD_CLOEXEC
    (Way.EXECVE, "futex", 1, bpf.JEQ, 0x81),  # FUTEX_WAKE_PRIVATE
    (Way.EXECVE, "newfstatat", 3, bpf.JSET, 0x1000),  # AT_EMPTY_PATH
    (Way.THREAD, "clone3", 1, bpf.JEQ, 88),
    (Way.THREAD, "clone", 0, bpf.JSET, 0x10000),  # CLONE_THREAD
]
"""The way that is closed, and what closes it: a call, an argument, a test and its operand."""


@pytest.mark.slow
@pytest.mark.skipif(NATIVE.name != "x86_64", reason="these are the calls of a C library of x86_64")
@pytest.mark.parametrize(
    ("way", "call", "position", "test", "operand"),
    BY_ARGUMENT,
    ids=[f"{way}-{call}-{operand:#x}" for way, call, _, _, operand in BY_ARGUMENT],
)
@pytest.mark.parametrize("value", [EPERM, KILL_THREAD], ids=["refused", "killed"])
def test_what_is_refused_by_argument_is_no_broken_instrument(  # noqa: PLR0913, PLR0917 - the parts of a rule
    value: int, way: Way, call: str, position: int, test: int, operand: int, zygote: Zygote
) -> None:
    above = refusing(call, position, test, operand, value)
    cells = judged(zygote, Profile.KILL, [program(Profile.KILL, {}), above], [Claim.IS_INHERITED])
    ways = {cell.key.variant: cell for cell in cells}
    cell = ways[way.value]
    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.FILTER), cell.sentence
    assert f"{call} ({NATIVE.numbers[call]})" in cell.sentence
    bad = {Outcome.BROKEN, Outcome.FAILED}
    assert not [one.sentence for one in ways.values() if one.outcome in bad]


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="the machine code is x86's")
def test_executable_memory_is_needed_by_int_0x80_alone(zygote: Zygote) -> None:
    i386 = arch.get("i386")
    if dict(kernel_abis.entered(zygote, [i386]))[i386]:
        pytest.skip("this kernel cannot be entered as i386")
    stack = [program(Profile.KILL, {}), refusing("mprotect", 2, bpf.JSET, 4, EPERM)]
    for one, outcome in ((NATIVE, Outcome.PASSED), (i386, Outcome.CANNOT_TELL)):
        cells = judged(zygote, Profile.KILL, stack, [Claim.IS_INHERITED], one)
        (cell,) = [cell for cell in cells if cell.key.variant == Way.EXECVE]
        assert cell.outcome is outcome, cell.sentence
        assert (f"mprotect ({NATIVE.numbers['mprotect']})" in cell.sentence) == (one is i386)


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="these are the calls of Python on x86_64")
def test_arguments_that_nobody_has_foreseen_are_an_obstacle_too(zygote: Zygote) -> None:
    """The same probe reaches its call without the filter, and that is told."""
    # Whatever is longer than what a loader reads first: Python's own files.
    above = refusing("read", 2, bpf.JGT, 0x5000, FilterReturn(Action.ERRNO, errno.EIO).value)
    assert obstacles.explaining([above], NATIVE, Route.EXECVE) == ""
    cells = judged(zygote, Profile.KILL, [program(Profile.KILL, {}), above], [Claim.IS_INHERITED])
    (cell,) = [cell for cell in cells if cell.key.variant == Way.EXECVE]
    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.FILTER), cell.sentence
    assert f"it refuses some arguments of read ({NATIVE.numbers['read']})" in cell.sentence


def test_a_probe_that_fails_by_itself_is_broken_as_before(
    zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it reaches no call without the filter under test either."""
    right = zygote.run

    def hampered(requests: Sequence[Request]) -> list[list[Observation]]:
        hung = Observation(Stage.NOT_REACHED, fault="no memory is to be had")
        return [
            [hung] if request.route is Route.FORK else seen
            for request, seen in zip(requests, right(requests), strict=True)
        ]

    monkeypatch.setattr(zygote, "run", hampered)
    cells = judged(zygote, Profile.KILL, [program(Profile.KILL, {})], [Claim.IS_INHERITED])
    outcomes = {cell.key.variant: cell.outcome for cell in cells}
    assert outcomes.pop(Way.FORK.value) is Outcome.BROKEN
    assert set(outcomes.values()) == {Outcome.PASSED}


def test_nothing_is_in_the_way_under_the_right_filter() -> None:
    for profile in Profile:
        stack = (program(profile, {}),)
        for route in Route:
            assert obstacles.decisive(stack, NATIVE, route, later=True) == ""
            assert obstacles.explaining(stack, NATIVE, route) == ""
