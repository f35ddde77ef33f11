"""The witness answers if, and only if, the filter under test let the call through."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import arch
from probes.action import Action, FilterReturn
from probes.arch import ARCHES, Arch, Entry, canary
from probes.errors import InstrumentError
from probes.filters import bpf
from probes.filters.bpf import SeccompData
from probes.instrument import abis as kernel_abis
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request, Route, Stage, Standing, Zygote
from probes.instrument.effect import Effect
from probes.tests.instrument.test_calls import (
    children_of,
    free_descriptors,
    open_files,
    resident_bytes,
)

KERNEL = arch.offered_by(os.uname().machine)
NATIVE = KERNEL[0]
ALLOW = FilterReturn(Action.ALLOW).value
MARK = FilterReturn(Action.ERRNO, witness.MARKER_ERRNO).value
MAGIC = (0, 0, 0, 0, 0, witness.SWEEP_MAGIC)
TOKENS = sorted({abi.audit_arch for abi in ARCHES.values()})

every_abi = pytest.mark.parametrize("abi", ARCHES.values(), ids=str)


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


def returned(raw: bytes, abi: Arch, data: SeccompData) -> int:
    """What a machine of the ABI's byte order gets from a raw program."""
    program = bpf.from_bytes(raw, big_endian=abi.big_endian)
    bpf.check(program)
    return bpf.simulate(program, data, big_endian=abi.big_endian)


def test_the_marker_is_no_errno_of_linux() -> None:
    """And one that the kernel does not clamp."""
    assert len(witness.ERRNOS) == 2
    assert all(max(errno.errorcode) < one <= 4095 for one in witness.ERRNOS)


def test_no_filter_can_know_the_markers_errno() -> None:
    """Each process has its own."""
    code = "from probes.instrument import witness; print(sorted(witness.ERRNOS))"
    command = [sys.executable, "-c", code]
    drawn = {subprocess.run(command, check=True, capture_output=True).stdout for _ in range(4)}
    assert len(drawn) > 1


@pytest.mark.slow
@every_abi
def test_a_marker_marks_one_number_of_one_architecture(abi: Arch) -> None:
    for number in (min(abi.numbers.values()), max(abi.numbers.values()), 0, 0xFFFFFFFF):
        raw = witness.marker(abi, number)
        near = {number, (number + 1) & bpf.U32, (number - 1) & bpf.U32, 0, bpf.U32}
        for token in TOKENS:
            for other in near | set(abi.numbers.values()):
                wanted = MARK if (token, other) == (abi.audit_arch, number) else ALLOW
                assert returned(raw, abi, SeccompData(other, token)) == wanted


@given(
    abi=st.sampled_from(list(ARCHES.values())),
    number=st.integers(0, bpf.U32),
    args=st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6),
)
def test_a_marker_does_not_look_at_arguments(abi: Arch, number: int, args: tuple[int, ...]) -> None:
    data = SeccompData(number, abi.audit_arch, args)

    assert returned(witness.marker(abi, number), abi, data) == MARK


@pytest.mark.slow
@every_abi
def test_a_sweeping_marker_marks_every_number_with_the_magic_argument(abi: Arch) -> None:
    raw = witness.sweeping_marker(abi)
    for number in (*abi.numbers.values(), 5000, 0x7FFFFFFF, bpf.U32):
        for token in TOKENS:
            wanted = MARK if token == abi.audit_arch else ALLOW
            assert returned(raw, abi, SeccompData(number, token, MAGIC)) == wanted
            assert returned(raw, abi, SeccompData(number, token)) == ALLOW


@every_abi
def test_a_sweeping_marker_looks_at_the_low_half_of_the_sixth_argument(abi: Arch) -> None:
    """The child itself calls meanwhile, with whatever is in the register."""
    raw = witness.sweeping_marker(abi)
    for place in range(6):
        for bit in range(64):
            args = list(MAGIC)
            args[place] ^= 1 << bit
            wanted = ALLOW if place == 5 and bit < 32 else MARK
            assert returned(raw, abi, SeccompData(1, abi.audit_arch, tuple(args))) == wanted


# On the running kernel.


def filtering(abi: Arch, number: int, value: int) -> bytes:
    program = bpf.dispatch({abi.audit_arch: bpf.ranges({number}, value, ALLOW)}, ALLOW)
    return bpf.to_bytes(program, big_endian=NATIVE.big_endian)


def ask(prober: Zygote, abi: Arch, calls: tuple[Call, ...], *raw: bytes) -> list[Observation]:
    entry = abi.entry.name.lower()
    return prober.run([Request(entry, calls, raw, prober.nonce())])[0]


def enterable(prober: Zygote, abi: Arch) -> Arch:
    trouble = dict(kernel_abis.entered(prober, [abi]))[abi]
    if trouble:
        pytest.skip(f"this kernel cannot be entered as {abi}: {trouble}")
    return abi


every_entry = pytest.mark.parametrize(
    "abi", [each for each in KERNEL if each.entry is not Entry.NONE], ids=str
)

BELOW = [FilterReturn(each) for each in (Action.USER_NOTIF, Action.TRACE, Action.LOG, Action.ALLOW)]
REFUSALS = [errno.EPERM, errno.EACCES, errno.ENOSYS, 0, 4095]


@every_entry
def test_the_marker_stands_below_a_refusal_and_above_the_rest(prober: Zygote, abi: Arch) -> None:
    number = enterable(prober, abi).numbers["getpid"]
    for raw in (witness.marker(abi, number), witness.sweeping_marker(abi)):
        call = (Call(number, MAGIC),)
        for returns in BELOW:
            (seen,) = ask(prober, abi, call, raw, filtering(abi, number, returns.value))
            assert (seen.result, seen.errno) == (-1, witness.MARKER_ERRNO)
        for error in REFUSALS:
            value = FilterReturn(Action.ERRNO, error).value
            (seen,) = ask(prober, abi, call, raw, filtering(abi, number, value))
            assert seen.errno == error
        for action in (Action.KILL_PROCESS, Action.KILL_THREAD):
            (seen,) = ask(prober, abi, call, raw, filtering(abi, number, action.value))
            assert seen.stage is Stage.ARMED
        (seen,) = ask(prober, abi, call, raw, filtering(abi, number, Action.TRAP.value))
        assert seen.trapped


def test_in_the_wrong_order_a_marker_would_hide_a_refusal(prober: Zygote) -> None:
    """Which is why it is installed first."""
    number = NATIVE.numbers["getpid"]
    refusing = filtering(NATIVE, number, FilterReturn(Action.ERRNO, errno.EPERM).value)
    marker = witness.marker(NATIVE, number)

    assert ask(prober, NATIVE, (Call(number),), marker, refusing)[0].errno == errno.EPERM
    assert ask(prober, NATIVE, (Call(number),), refusing, marker)[0].errno == witness.MARKER_ERRNO


@every_entry
def test_a_marked_call_does_not_run(prober: Zygote, abi: Arch) -> None:
    """exit_group, which would have ended the child, and the calls after it come back."""
    numbers = enterable(prober, abi).numbers
    leave = Call(numbers["exit_group"], (7, 0, 0, 0, 0, witness.SWEEP_MAGIC))
    calls = (leave, leave, Call(numbers["getpid"]))
    control = ask(prober, abi, calls[:1])[0]
    native = ask(prober, abi, calls[2:])[0]

    swept = ask(prober, abi, calls, witness.sweeping_marker(abi))
    marked = ask(prober, abi, calls, witness.marker(abi, leave.number))

    if native.own_pid:  # an x32 that is switched off has no exit_group either
        assert control.stage is Stage.ARMED
        assert control.status == 7 << 8
    for seen in (swept, marked):
        assert [one.errno for one in seen[:2]] == [witness.MARKER_ERRNO] * 2
        assert (seen[2].own_pid, seen[2].errno) == (native.own_pid, native.errno)
        assert all(one.status is None for one in seen)


# The witnesses of a confined process. What the zygote is confined by is installed by its child
# here: the order of filters decides between equal actions only, and no witness has any of these.


@pytest.fixture(scope="module")
def confined() -> Iterator[Zygote]:
    with Zygote(confined=True) as zygote:
        standing, trouble = zygote.put_up_witness(witness.orders(NATIVE, CANARIES))
        assert (standing, trouble) == (Standing.LISTENER, {})
        yield zygote


CANARIES = [NATIVE.numbers[name] for name in ("getppid", "getpid") if name in NATIVE.numbers]
ALIKE = pytest.mark.parametrize("standing", list(witness.WITNESSES), ids=str)
ACTIONS = [
    *(FilterReturn(Action.ERRNO, error) for error in REFUSALS),
    *(FilterReturn(action) for action in Action if action is not Action.ERRNO),
]


def told(  # noqa: PLR0913 - the parts of a request
    prober: Zygote,
    standing: Standing,
    abi: Arch,
    number: int,
    value: int,
    *,
    route: Route = Route.DIRECT,
) -> effect.Seen:
    """What a witness makes of a filter, as the judge reads it."""
    one = witness.WITNESSES[standing]
    attempts = one.one(abi, Call(number), (filtering(abi, number, value),), ())
    entry = abi.entry.name.lower()
    requests = [
        Request(entry, each.calls, each.programs, prober.nonce(), route) for each in attempts
    ]
    return effect.read(one.told([answers[0] for answers in prober.run(requests)]))


@ALIKE
@every_entry
@pytest.mark.parametrize("returns", ACTIONS, ids=str)
def test_every_witness_says_what_the_marker_says(
    prober: Zygote, confined: Zygote, standing: Standing, abi: Arch, returns: FilterReturn
) -> None:
    """With a second thread, too, so that KILL_THREAD is told from KILL_PROCESS."""
    if (standing, returns.action) == (Standing.LISTENER, Action.USER_NOTIF):
        pytest.skip("of two such filters the newest answers; test_ambient has the older one")
    number = enterable(prober, abi).numbers["getpid"]
    filters = (filtering(abi, number, returns.value),)
    entry = abi.entry.name.lower()
    (attempt,) = witness.MARKER.one(abi, Call(number), filters, ())
    for route in (Route.DIRECT, Route.SIBLING, Route.THREADS):
        nonce = prober.nonce()
        request = Request(entry, attempt.calls, attempt.programs, nonce, route)
        wanted = effect.read(prober.run([request])[0][0])

        seen = told(confined, standing, abi, number, returns.value, route=route)

        assert seen.effect is wanted.effect
        if seen.effect is Effect.REFUSED:
            assert seen.errno == wanted.errno == returns.data


@ALIKE
@every_entry
def test_a_sweep_by_every_witness(
    prober: Zygote, confined: Zygote, standing: Standing, abi: Arch
) -> None:
    """One kill, one refusal, and calls that would end or stop the child if they ran."""
    numbers = enterable(prober, abi).numbers
    returns = {
        numbers["getpid"]: FilterReturn(Action.KILL_PROCESS),
        numbers["getppid"]: FilterReturn(Action.ERRNO, errno.EACCES),
        numbers["getuid"]: FilterReturn(Action.TRAP),
    }
    values = {number: one.value for number, one in returns.items()}
    program = bpf.dispatch({abi.audit_arch: bpf.ranges_from(values, ALLOW)}, ALLOW)
    filters = (bpf.to_bytes(program, big_endian=NATIVE.big_endian),)
    names = ("exit_group", "getpid", "pause", "getppid", "exit", "getuid", "vhangup", "read")
    calls = [Call(numbers[name]) for name in names if name in numbers]
    one = witness.WITNESSES[standing]
    attempts = one.sweep(abi, calls, filters)
    requests = [
        Request(abi.entry.name.lower(), each.calls, each.programs, confined.nonce())
        for each in attempts
    ]

    made = zip(*confined.run(requests), strict=True)

    effects = {
        FilterReturn(Action.KILL_PROCESS): Effect.KILLED_PROCESS,
        FilterReturn(Action.ERRNO, errno.EACCES): Effect.REFUSED,
        FilterReturn(Action.TRAP): Effect.TRAPPED,
    }
    for call, seen in zip(calls, map(one.told, made), strict=True):
        wanted = effects[returns[call.number]] if call.number in returns else Effect.REACHED
        assert effect.read(seen).effect is wanted


@ALIKE
@pytest.mark.parametrize("route", list(Route))
def test_every_witness_on_every_route(confined: Zygote, standing: Standing, route: Route) -> None:
    _, number = canary(NATIVE)
    for value, wanted in {
        ALLOW: Effect.REACHED,
        Action.KILL_PROCESS.value: Effect.KILLED_PROCESS,
        FilterReturn(Action.ERRNO, errno.EPERM).value: Effect.REFUSED,
    }.items():
        assert told(confined, standing, NATIVE, number, value, route=route).effect is wanted


@every_entry
def test_only_log_and_allow_are_answered_by_the_kernel(prober: Zygote, abi: Arch) -> None:
    """And then the control of a confined process is killed; see ``Witness.control``."""
    number = enterable(prober, abi).numbers["getpid"]
    (control,) = {one.control(abi, Call(number)) for one in witness.WITNESSES.values()}
    for returns in (*BELOW, *(FilterReturn(Action.ERRNO, error) for error in REFUSALS)):
        filters = (filtering(abi, number, returns.value), *control.programs)
        (seen,) = ask(prober, abi, control.calls, *filters)
        killed = returns.action in {Action.LOG, Action.ALLOW}
        assert witness.killed_at_call(seen) is killed


def test_a_call_about_which_filters_are_asked_is_known_by_the_marker(prober: Zygote) -> None:
    _, number = canary(NATIVE)
    (attempt,) = {one.unasked(NATIVE, Call(number)) for one in witness.WITNESSES.values()}

    (seen,) = ask(prober, NATIVE, attempt.calls, *attempt.programs)

    assert seen.errno == witness.MARKER_ERRNO


def test_unknown_actions_are_none_that_the_kernel_has() -> None:
    """And they rank where they must: as signed numbers, the lowest first."""
    known = {action.value for action in Action}
    ranks = {action: action.precedence for action in Action}

    assert not witness.UNKNOWN_ACTIONS & known
    assert ranks[Action.ERRNO] < witness.BELOW_ERRNO < ranks[Action.USER_NOTIF]
    assert ranks[Action.TRACE] < witness.BELOW_TRACE < ranks[Action.LOG]
    for unknown in witness.UNKNOWN_ACTIONS:
        assert FilterReturn.decode(unknown).action is Action.KILL_PROCESS


@pytest.mark.slow
@ALIKE
def test_thousands_of_confined_probes_leave_nothing_behind(standing: Standing) -> None:
    number = NATIVE.numbers["getppid"]
    one = witness.WITNESSES[standing]
    filters = [(filtering(NATIVE, number, each.value),) for each in ACTIONS if each.data != 4095]

    def probes(zygote: Zygote, count: int) -> None:
        for _ in range(count // 100):
            attempts = [
                attempt
                for index in range(100)
                for attempt in one.one(NATIVE, Call(number), filters[index % len(filters)], ())
            ]
            batch = [
                Request("syscall", each.calls, each.programs, zygote.nonce())
                for each in attempts[:100]
            ]
            assert not [seen for (seen,) in zygote.run(batch) if seen.fault]

    with Zygote(confined=True) as zygote:
        zygote.put_up_witness(witness.orders(NATIVE, CANARIES))
        probes(zygote, 300)
        before = (free_descriptors(zygote), open_files())
        memory = resident_bytes(zygote.pid)
        probes(zygote, 3_000)

        assert children_of(zygote.pid) == []
        assert (free_descriptors(zygote), open_files()) == before
        assert resident_bytes(zygote.pid) - memory < 1 << 20


def test_a_confined_zygote_that_does_not_answer_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is stopped, and killed after a while; the worker does not wait for ever."""
    monkeypatch.setattr("probes.instrument.calls.DEADLINE_SECONDS", 0.1)
    with Zygote(confined=True) as zygote:
        zygote.put_up_witness(witness.orders(NATIVE, CANARIES))
        os.kill(zygote.pid, signal.SIGSTOP)
        request = Request("syscall", (Call(CANARIES[0]),), (), zygote.nonce(), deadline=0.1)
        with pytest.raises(InstrumentError, match="did not answer in time"):
            zygote.run([request])
