"""The instrument on the running kernel: known filters come back as what they are.

Whatever goes wrong in a probing child comes back as a fault in words, and the zygote goes on.
"""

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest

from probes import arch, environment
from probes.action import Action, FilterReturn
from probes.arch import ARCHES, Arch, Entry
from probes.errors import ExitStatus, InstrumentError
from probes.files import SUITE
from probes.filters import bpf
from probes.instrument import abis as kernel_abis
from probes.instrument import effect, kernel, witness, zygote
from probes.instrument.calls import Call, Observation, Request, Route, Stage, Zygote
from probes.instrument.effect import Effect
from probes.instrument.harmless import CATALOGUE

NATIVE = arch.offered_by(os.uname().machine)[0]
SYSCALL = kernel.ENTRY_SYSCALL
ALLOW = FilterReturn(Action.ALLOW).value
KILL_PROCESS = FilterReturn(Action.KILL_PROCESS).value
KILL_THREAD = FilterReturn(Action.KILL_THREAD).value
TRAP = FilterReturn(Action.TRAP).value
EPERM = FilterReturn(Action.ERRNO, errno.EPERM).value
WITH_SECOND_THREAD = {Route.SIBLING, Route.THREADS, Route.THREAD}
"""The routes on which a process can outlive the thread that makes the call."""

CAP_SETUID = 7
PATIENCE = 20.0
"""Seconds until a test gives up on what should happen at once."""

every_route = pytest.mark.parametrize("route", list(Route))


def number(name: str, of: Arch = NATIVE) -> int:
    found = of.number(name)
    assert found is not None
    return found


CANARY = number("getppid")
GETPID = Call(number("getpid"))


def returning(values: Mapping[int, int], otherwise: int = ALLOW, of: Arch = NATIVE) -> bytes:
    """A filter that returns each value for its number, on one ABI; everything else is allowed."""
    program = bpf.dispatch({of.audit_arch: bpf.ranges_from(values, otherwise)}, otherwise)
    return bpf.to_bytes(program, big_endian=NATIVE.big_endian)


def constant(value: int, length: int = 1) -> bytes:
    """A filter that returns one value for everything."""
    return bpf.to_bytes((bpf.statement(bpf.RET_K, value),) * length, big_endian=NATIVE.big_endian)


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


def ask(  # noqa: PLR0913 - the parts of a request
    prober: Zygote,
    *programs: bytes,
    call: Call | None = None,
    route: Route = Route.DIRECT,
    deadline: float = PATIENCE,
    entry: str = SYSCALL,
    new_session: bool = False,
) -> Observation:
    calls = (call or Call(CANARY),)
    request = Request(entry, calls, programs, prober.nonce(), route, new_session, deadline)
    return prober.run([request])[0][0]


def witnessed(
    prober: Zygote, program: bytes, route: Route = Route.DIRECT, deadline: float = PATIENCE
) -> effect.Seen:
    """What becomes of the canary under a filter, as the judge reads it."""
    marker = witness.marker(NATIVE, CANARY)
    return effect.read(ask(prober, marker, program, route=route, deadline=deadline))


def works(prober: Zygote) -> bool:
    """Whether an ordinary probe still comes back right."""
    return witnessed(prober, constant(ALLOW)).effect is Effect.REACHED


ACTIONS = {
    "KILL_PROCESS": (KILL_PROCESS, Effect.KILLED_PROCESS, 0),
    "KILL_THREAD": (KILL_THREAD, Effect.KILLED_THREAD, 0),
    "TRAP": (TRAP, Effect.TRAPPED, 0),
    "ERRNO(EPERM)": (EPERM, Effect.REFUSED, errno.EPERM),
    "ERRNO(EACCES)": (FilterReturn(Action.ERRNO, errno.EACCES).value, Effect.REFUSED, errno.EACCES),
    "ERRNO(0)": (FilterReturn(Action.ERRNO).value, Effect.REFUSED, 0),
    "LOG": (FilterReturn(Action.LOG).value, Effect.REACHED, witness.MARKER_ERRNO),
    "ALLOW": (ALLOW, Effect.REACHED, witness.MARKER_ERRNO),
}


def effect_of(effect: Effect, route: Route) -> Effect:
    """What an effect looks like on a route: with one thread, both kills are the same."""
    alone = route not in WITH_SECOND_THREAD
    return Effect.KILLED_PROCESS if effect is Effect.KILLED_THREAD and alone else effect


@every_route
@pytest.mark.parametrize("action", ACTIONS)
def test_every_route_sees_every_action(prober: Zygote, action: str, route: Route) -> None:
    value, wanted, error = ACTIONS[action]
    marker = witness.marker(NATIVE, CANARY)

    observation = ask(prober, marker, returning({CANARY: value}), route=route)
    seen = effect.read(observation)

    assert seen.effect is effect_of(wanted, route)
    assert seen.errno == error
    assert observation.survived is (seen.effect is Effect.KILLED_THREAD)


EAGER = """
import sys
from probes.instrument import kernel
sys.setswitchinterval(1000.0)
begun = []
for _ in range(300):
    thread = kernel.start_thread(lambda: begun.append(True))
    early = len(begun)
    kernel.join_thread(thread)
    assert not early, "the thread ran before its starter waited for it"
    assert begun.pop()
"""


def test_no_thread_runs_before_its_starter_waits() -> None:
    """Else the starter would have to be woken, which takes a call that a filter may kill for."""
    command = [sys.executable, "-c", EAGER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@every_route
def test_a_call_that_is_let_through_runs(prober: Zygote, route: Route) -> None:
    """getpid(2) by its raw number answers the caller's own process id."""
    observation = ask(prober, constant(ALLOW), call=GETPID, route=route)

    assert observation.own_pid
    assert observation.result > 1
    assert observation.status is None
    assert not observation.fault


# What a probing child is like when it calls: the kernel itself is asked.

PR_GET_DUMPABLE, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS = 3, 21, 39


@every_route
@pytest.mark.parametrize(
    ("option", "answer"),
    [(PR_GET_DUMPABLE, 0), (PR_GET_SECCOMP, 2), (PR_GET_NO_NEW_PRIVS, 1)],
    ids=["undumpable", "in filter mode", "no new privileges"],
)
def test_the_caller_is_harmless_and_confined(
    prober: Zygote, option: int, answer: int, route: Route
) -> None:
    observation = ask(prober, constant(ALLOW), call=Call(number("prctl"), (option,)), route=route)

    assert (observation.result, observation.errno) == (answer, 0)


@every_route
def test_the_caller_has_no_capabilities(prober: Zygote, route: Route) -> None:
    """sethostname(2) looks for CAP_SYS_ADMIN first: with it, it would answer EINVAL."""
    row = CATALOGUE["sethostname"]

    call = Call(number(row.name), row.args)
    observation = ask(prober, constant(ALLOW), call=call, route=route)

    assert observation.errno == errno.EPERM


def test_another_user_is_reported(prober: Zygote) -> None:
    nobody = os.getresuid() == (zygote.NOBODY,) * 3
    may_change = nobody or int(environment.read().capabilities, 16) >> CAP_SETUID & 1
    geteuid = Call(number("geteuid"))

    observation = ask(prober, constant(ALLOW), call=geteuid, route=Route.SETUID)

    assert observation.dropped_user is bool(may_change)
    assert observation.result == (zygote.NOBODY if may_change else os.geteuid())


def test_a_session_of_its_own_only_where_asked(prober: Zygote) -> None:
    getsid = Call(number("getsid"), (0,))

    assert ask(prober, call=getsid, new_session=True).own_pid
    assert not ask(prober, call=getsid).own_pid


def test_leaving_filter_mode_is_tried_and_does_not_work(prober: Zygote) -> None:
    """A child without a filter may go into strict mode, and dies at its next call: it did try."""
    confined = ask(prober, constant(ALLOW), route=Route.REMOVAL)
    free = ask(prober, route=Route.REMOVAL)

    assert not confined.loosened
    assert confined.stage is Stage.RETURNED
    assert free.signal == signal.SIGKILL
    assert "leave filter mode" in free.fault


# Registers and ABIs.

ARGUMENTS = (
    0x0123456789ABCDEF,
    0xFEDCBA9876543210,
    0x8000000000000001,
    0x00000001FFFFFFFF,
    0x7FFFFFFF80000000,
    0xA5A5A5A55A5A5A5A,
)
SAME, DIFFERENT = 77, 78


def comparing(arguments: tuple[int, ...]) -> bytes:
    """A filter that answers the canary with SAME if all six arguments are these, all bits."""
    words = bpf.SeccompData(0, 0, arguments).words(big_endian=NATIVE.big_endian)
    offsets = range(bpf.OFFSET_ARGS, bpf.SECCOMP_DATA_SIZE, 4)
    tests = [
        instruction
        for offset in offsets
        for instruction in (
            bpf.statement(bpf.LD_ABS, offset),
            bpf.jump(bpf.JEQ, words[offset // 4], 1, 0),
            bpf.statement(bpf.RET_K, FilterReturn(Action.ERRNO, DIFFERENT).value),
        )
    ]
    program = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, CANARY, 1, 0),
        bpf.statement(bpf.RET_K, ALLOW),
        *tests,
        bpf.statement(bpf.RET_K, FilterReturn(Action.ERRNO, SAME).value),
    )
    bpf.check(program)
    return bpf.to_bytes(program, big_endian=NATIVE.big_endian)


@every_route
def test_all_bits_of_all_arguments_arrive(prober: Zygote, route: Route) -> None:
    observation = ask(prober, comparing(ARGUMENTS), call=Call(CANARY, ARGUMENTS), route=route)

    assert observation.errno == SAME


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("bit", [0, 31, 32, 63])
def test_no_bit_of_an_argument_is_lost(prober: Zygote, position: int, bit: int) -> None:
    changed = list(ARGUMENTS)
    changed[position] ^= 1 << bit

    observation = ask(prober, comparing(ARGUMENTS), call=Call(CANARY, tuple(changed)))

    assert observation.errno == DIFFERENT


def test_arguments_that_are_not_given_are_zero(prober: Zygote) -> None:
    for given in range(6):
        padded = (*ARGUMENTS[:given], *(0,) * (6 - given))

        observation = ask(prober, comparing(padded), call=Call(CANARY, ARGUMENTS[:given]))

        assert observation.errno == SAME


def by_i386(prober: Zygote, wanted: tuple[int, ...], given: tuple[int, ...]) -> int:
    """The errno of i386's getppid(2) under a filter that compares all arguments."""
    i386 = i386_or_skip(prober)
    canary = number("getppid", i386)
    program = comparing(wanted).replace(
        CANARY.to_bytes(4, "little"), canary.to_bytes(4, "little"), 1
    )
    return ask(prober, program, call=Call(canary, given), entry=kernel.ENTRY_INT80).errno


def test_int_0x80_brings_whole_registers(prober: Zygote) -> None:
    """The kernel shows them to the filter, and cuts them to 32 bits for the call alone."""
    assert by_i386(prober, ARGUMENTS, ARGUMENTS) == SAME


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("bit", [0, 31, 32, 63])
def test_int_0x80_loses_no_bit(prober: Zygote, position: int, bit: int) -> None:
    changed = list(ARGUMENTS)
    changed[position] ^= 1 << bit

    assert by_i386(prober, ARGUMENTS, tuple(changed)) == DIFFERENT


def i386_or_skip(prober: Zygote) -> Arch:
    i386 = ARCHES["i386"]
    if i386 not in arch.offered_by(os.uname().machine):
        pytest.skip("int 0x80 is an instruction of x86")
    trouble = dict(kernel_abis.entered(prober, [i386]))[i386]
    if trouble:
        pytest.skip(f"this kernel cannot be entered by int 0x80: {trouble}")
    return i386


ENTERABLE = [one for one in arch.offered_by(os.uname().machine) if one.entry is not Entry.NONE]


@pytest.mark.parametrize("abi", ENTERABLE, ids=str)
def test_a_call_enters_by_its_own_abi(prober: Zygote, abi: Arch) -> None:
    """The ABI's own number means getpid there, and seccomp sees its token and no other."""
    trouble = dict(kernel_abis.entered(prober, [abi]))[abi]
    if trouble:
        pytest.skip(f"this kernel cannot be entered as {abi}: {trouble}")
    entry = abi.entry.name.lower()
    getpid = number("getpid", abi)
    control = ask(prober, call=Call(getpid), entry=entry)
    switched_off = abi.name == "x32" and control.errno == errno.ENOSYS

    assert control.own_pid or switched_off
    for other in {each.audit_arch: each for each in ARCHES.values()}.values():
        program = returning({getpid: FilterReturn(Action.ERRNO, SAME).value}, of=other)
        answered = ask(prober, program, call=Call(getpid), entry=entry)
        if other.audit_arch == abi.audit_arch:
            assert answered.errno == SAME
        else:
            assert (answered.own_pid, answered.errno) == (control.own_pid, control.errno)


def test_an_entry_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no entry 'sysenter'"):
        kernel.prepare_call("sysenter", CANARY, ())


def test_sigsys_is_the_machines_own() -> None:
    """The lean module spells out what the standard library knows."""
    assert kernel.SIGSYS == signal.SIGSYS
    assert kernel.SIGKILL == signal.SIGKILL


# What goes wrong.


def test_a_filter_that_kills_or_refuses_everything_is_never_misread(prober: Zygote) -> None:
    """On each route the effect is the filter's own, or the probe could not be made, in words."""
    for (word, (value, did, _)), route in itertools.product(ACTIONS.items(), Route):
        if did is Effect.REACHED:
            continue
        # A thread that is refused its exit spins until the deadline, its answer noted.
        seen = witnessed(prober, constant(value), route, deadline=1.0)

        expected = {effect_of(did, route), Effect.FAULT}
        assert seen.effect in expected, f"{word} for everything on {route}: {seen}"
        assert seen.detail
        if route is Route.DIRECT:
            assert seen.effect is not Effect.FAULT
    assert works(prober)


BETWEEN = [
    ("exit_group", Route.DIRECT),
    ("exit_group", Route.FORK),
    ("exit_group", Route.THREADS),
    ("exit_group", Route.EXECVE),
    ("setresuid", Route.SETUID),
    ("prctl", Route.REMOVAL),
    ("capset", Route.SETUID),
    ("execve", Route.EXECVE),
    ("prctl", Route.FORK),
    ("wait4", Route.FORK),
]


@pytest.mark.parametrize(("name", "route"), BETWEEN, ids=str)
@pytest.mark.parametrize("word", ["KILL_PROCESS", "KILL_THREAD", "TRAP"])
def test_sigsys_elsewhere_is_not_taken_for_one_at_the_call(
    prober: Zygote, word: str, name: str, route: Route
) -> None:
    """The filter answers the probed call as it should, and raises SIGSYS at another one."""
    for wanted in (EPERM, ALLOW):
        program = returning({number(name): ACTIONS[word][0], CANARY: wanted})

        seen = witnessed(prober, program, route, deadline=1.0)

        right = Effect.REFUSED if wanted == EPERM else Effect.REACHED
        assert seen.effect in {right, Effect.FAULT, Effect.ENDED_OTHERWISE}, seen
        if name == "exit_group":
            assert seen.effect is right
    assert works(prober)


@every_route
def test_a_child_that_may_not_exit_ends_all_the_same(route: Route) -> None:
    """Each is given longer than this waits, so a hang is no deadline that nobody sees."""
    program = returning({number("exit_group"): EPERM, CANARY: EPERM})
    pids: list[int] = []
    seen: list[effect.Seen] = []

    def look() -> None:
        with Zygote() as own, suppress(InstrumentError):
            pids.append(own.pid)
            seen.append(witnessed(own, program, route, deadline=10 * PATIENCE))

    looking = threading.Thread(target=look)
    looking.start()
    looking.join(PATIENCE)
    hangs = looking.is_alive()
    if hangs:
        os.kill(pids[0], signal.SIGKILL)
        looking.join()
    assert not hangs
    assert seen[0].effect is Effect.REFUSED


def test_a_kill_before_the_call_is_told_in_words(prober: Zygote) -> None:
    killed = returning({number("prctl"): KILL_PROCESS})

    on_the_way_out = witnessed(prober, killed, Route.REMOVAL)
    installing = ask(prober, killed, constant(ALLOW))

    assert on_the_way_out.effect is Effect.FAULT
    assert "trying to leave filter mode" in on_the_way_out.detail
    assert "installing filter 2 of 2" in installing.fault


@pytest.mark.parametrize("error", [0, errno.EPERM])
def test_a_refused_way_out_is_no_way_out(prober: Zygote, error: int) -> None:
    """Whatever a filter has prctl answer, the process stays confined."""
    refusing = FilterReturn(Action.ERRNO, error).value
    program = returning({number("prctl"): refusing, CANARY: EPERM})

    observation = ask(prober, program, route=Route.REMOVAL)

    assert observation.errno == errno.EPERM
    assert not observation.loosened


REFUSED = {
    "no instruction": b"",
    "not a BPF opcode": bpf.to_bytes((bpf.statement(0xFFFF), bpf.statement(bpf.RET_K, ALLOW))),
    "no return": bpf.to_bytes((bpf.statement(bpf.LD_ABS, 0),)),
    "4097 instructions": constant(ALLOW, 4097),
    "65537 instructions, 1 in 16 bits": constant(ALLOW, 65537),
    "a byte too many": constant(ALLOW) + b"\0",
}


@pytest.mark.parametrize("program", REFUSED.values(), ids=REFUSED)
@every_route
def test_a_program_that_the_kernel_refuses(prober: Zygote, program: bytes, route: Route) -> None:
    observation = ask(prober, program, route=route)
    below = ask(prober, constant(ALLOW), program, route=route)

    assert observation.stage is Stage.NOT_REACHED
    assert not observation.own_pid
    assert os.strerror(errno.EINVAL) in observation.fault
    assert effect.read(below).effect is Effect.FAULT
    assert os.strerror(errno.EINVAL) in below.fault


def test_the_refused_program_is_named(prober: Zygote) -> None:
    good, bad = constant(ALLOW), constant(ALLOW, 4097)

    observation = ask(prober, good, bad)

    assert observation.fault == f"{os.strerror(errno.EINVAL)} while installing filter 2 of 2"


def test_the_longest_program_is_installed(prober: Zygote) -> None:
    assert witnessed(prober, constant(ALLOW, 4096)).effect is Effect.REACHED


def test_too_many_programs(prober: Zygote) -> None:
    """The kernel allows 32768 instructions over all filters of a process."""
    observation = ask(prober, *[constant(ALLOW, 4096)] * 9)

    assert observation.fault.startswith(f"{os.strerror(errno.ENOMEM)} while installing filter ")


HANG = Call(number("ppoll"), (0, 0, 0, 0))
"""ppoll(2) of nothing, without a timeout."""


@every_route
def test_a_call_that_hangs_is_ended_at_the_deadline(prober: Zygote, route: Route) -> None:
    deadline = 2.0 if route is Route.EXECVE else 0.5
    name = prober.nonce()

    programs = (constant(ALLOW),)
    request = Request(SYSCALL, (HANG,), programs, name, route, deadline=deadline)
    observation = prober.run([request])[0][0]
    left = named(name)
    seen = effect.read(observation)

    assert observation.timed_out
    assert observation.stage is Stage.ARMED
    assert seen.effect is Effect.FAULT
    assert "deadline" in seen.detail
    assert "in the middle of the call" in seen.detail
    assert left == []
    assert works(prober)


def test_a_sweep_goes_on_after_a_call_that_hangs(prober: Zygote) -> None:
    calls = (GETPID, HANG, GETPID)

    seen = prober.run([Request(SYSCALL, calls, (), prober.nonce(), deadline=0.5)])[0]

    assert [one.timed_out for one in seen] == [False, True, False]
    assert [one.stage for one in seen] == [Stage.RETURNED, Stage.ARMED, Stage.RETURNED]
    assert seen[0].own_pid
    assert seen[2].own_pid


# Sweeps.


def test_a_sweep_goes_on_after_each_kill(prober: Zygote) -> None:
    """Each number is seen as what the filter makes of it, whichever child came to ask."""
    exempt = {NATIVE.number("uprobe"), NATIVE.number("uretprobe")}
    known = [n for n in NATIVE.numbers.values() if n not in exempt]
    numbers = (sorted(known) + list(range(5000, 5400)))[:400]
    killed = {numbers[place] for place in (0, 1, 150, 151, 152, 398, 399)}
    refused = {numbers[place] for place in (2, 149, 397)}
    program = returning(dict.fromkeys(killed, KILL_PROCESS) | dict.fromkeys(refused, EPERM))
    magic = (0, 0, 0, 0, 0, witness.SWEEP_MAGIC)
    calls = tuple(Call(each, magic) for each in numbers)

    programs = (witness.sweeping_marker(NATIVE), program)
    seen = prober.run([Request(SYSCALL, calls, programs, prober.nonce())])[0]

    assert len(seen) == 400
    for each, observation in zip(numbers, seen, strict=True):
        did = effect.read(observation).effect
        if each in killed:
            assert did is Effect.KILLED_PROCESS
        elif each in refused:
            assert did is Effect.REFUSED
        else:
            assert did is Effect.REACHED


def test_a_sweep_of_nothing_but_kills(prober: Zygote) -> None:
    calls = (Call(CANARY),) * 50

    seen = prober.run([Request(SYSCALL, calls, (constant(KILL_PROCESS),), prober.nonce())])[0]

    assert [effect.read(one).effect for one in seen] == [Effect.KILLED_PROCESS] * 50


def test_a_sweep_of_as_many_calls_as_there_are_slots(prober: Zygote) -> None:
    calls = (GETPID,) * zygote.MAX_CALLS

    seen = prober.run([Request(SYSCALL, calls, (), prober.nonce())])[0]

    assert len(seen) == zygote.MAX_CALLS
    assert all(one.own_pid for one in seen)


def test_an_answer_is_not_left_over_from_the_probe_before(prober: Zygote) -> None:
    """The shared page serves one child after the other."""
    refused = returning({CANARY: EPERM})
    trapped = returning({CANARY: TRAP})
    requests = [
        Request(SYSCALL, (Call(CANARY),), (program,), prober.nonce(), route)
        for program, route in [
            (trapped, Route.DIRECT),
            (refused, Route.DIRECT),
            (returning({CANARY: KILL_THREAD}), Route.SIBLING),
            (returning({CANARY: KILL_PROCESS}), Route.SIBLING),
            (constant(ALLOW, 4097), Route.DIRECT),
            (refused, Route.REMOVAL),
        ]
    ]

    effects = [effect.read(answer[0]).effect for answer in prober.run(requests)]

    assert effects == [
        Effect.TRAPPED,
        Effect.REFUSED,
        Effect.KILLED_THREAD,
        Effect.KILLED_PROCESS,
        Effect.FAULT,
        Effect.REFUSED,
    ]


def test_nothing_asked_nothing_answered(prober: Zygote) -> None:
    assert prober.run([]) == []


# Names.


def test_nonces_are_unique_and_short() -> None:
    with Zygote() as one, Zygote() as other:
        names = [one.nonce() for _ in range(100_000)]
        others = {other.nonce() for _ in range(1000)}

    assert len(set(names)) == len(names)
    assert max(len(name.encode()) for name in names) <= 15
    assert not others & set(names)


def test_the_child_bears_its_name() -> None:
    """Which a record is matched by; a thread of the child bears it too."""
    for route in (Route.DIRECT, Route.SIBLING, Route.THREAD, Route.FORK, Route.EXECVE):
        with HangingProbe(route) as probe:
            assert probe.names() == {probe.name}


# Processes, descriptors, memory.


def children_of(pid: int) -> list[int]:
    """The processes whose parent it is, zombies among them (proc_pid_stat(5))."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found


def named(comm: str) -> list[int]:
    """The processes of that name, zombies among them, whoever has adopted them."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and task_file(entry, "comm").strip() == comm
    ]


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as plain words


def free_descriptors(prober: Zygote) -> list[int]:
    """What dup(2) gives a probing child; whatever the zygote leaked is not among it.

    The first one is the zygote's socket, which its children close.
    """
    calls = (Call(number("dup"), (0,)),) * 3
    (seen,) = prober.run([Request(SYSCALL, calls, (), prober.nonce())])
    return [one.result for one in seen]


@pytest.mark.slow
def test_ten_thousand_probes_leave_nothing_behind(prober: Zygote) -> None:
    marker = witness.marker(NATIVE, CANARY)
    programs = [(marker, returning({CANARY: value})) for value, _, _ in ACTIONS.values()]
    calls = (Call(CANARY),)

    def probes(count: int) -> None:
        for _ in range(count // 100):
            batch = [
                Request(SYSCALL, calls, programs[index % len(programs)], prober.nonce())
                for index in range(100)
            ]
            effects = {effect.read(answer[0]).effect for answer in prober.run(batch)}
            assert Effect.FAULT not in effects

    probes(500)
    before = (free_descriptors(prober), open_files())
    memory = resident_bytes(prober.pid)
    probes(10_000)

    assert children_of(prober.pid) == []
    assert (free_descriptors(prober), open_files()) == before
    assert resident_bytes(prober.pid) - memory < 1 << 20


def test_the_other_routes_leave_nothing_behind(prober: Zygote) -> None:
    def probes(count: int) -> None:
        programs = [constant(ALLOW), returning({CANARY: KILL_PROCESS}), constant(ALLOW, 4097)]
        requests = [
            Request(SYSCALL, (Call(CANARY),), (program,), prober.nonce(), route)
            for route in Route
            for program in programs
        ]
        for _ in range(count):
            prober.run(requests)

    probes(2)
    before = (free_descriptors(prober), open_files())
    memory = resident_bytes(prober.pid)
    probes(10)

    assert children_of(prober.pid) == []
    assert (free_descriptors(prober), open_files()) == before
    assert resident_bytes(prober.pid) - memory < 1 << 20


def test_the_zygote_has_one_thread(prober: Zygote) -> None:
    """A fork of a process with several could stop in a lock that nobody holds any more."""
    assert works(prober)
    assert [int(task.name) for task in Path(f"/proc/{prober.pid}/task").iterdir()] == [prober.pid]


def test_no_child_dumps_core() -> None:
    """Not even where whoever runs the suite lets processes dump."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    cores = set(Path("/").glob("core*"))
    try:
        with Zygote() as prober:
            killing = returning({CANARY: KILL_PROCESS})
            for route in Route:
                observation = ask(prober, killing, route=route)
                assert observation.signal == signal.SIGSYS
                assert not os.WCOREDUMP(observation.status or 0)
            limits = Path(f"/proc/{prober.pid}/limits").read_text(encoding="ascii")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]
    assert set(Path("/").glob("core*")) == cores


# The end of a zygote.


def lives(pid: int) -> bool:
    """Whether it runs; whoever adopts it may let its zombie wait."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def soon(happens: Callable[[], bool]) -> bool:
    """Whether something happens before patience ends."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.02)
    return happens()


def tasks_of(pid: int) -> list[Path]:
    return sorted(Path(f"/proc/{pid}/task").glob("*"))


def task_file(task: Path, name: str) -> str:
    """A thread's file of proc(5); "" once the thread is gone."""
    try:
        return (task / name).read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


_TASKS = {Route.THREAD: 2, Route.FORK: 2}
"""The confined threads of a probe, where there is more than one."""


class HangingProbe:
    """A zygote of its own whose child hangs in the probed call; ended with SIGKILL."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.seen: list[tuple[str, str, str]] = []
        self.zygote = Zygote()
        self.name = self.zygote.nonce()
        request = Request(SYSCALL, (HANG,), (constant(ALLOW),), self.name, route, deadline=60.0)
        self.error: InstrumentError | None = None

        def run() -> None:
            try:
                self.zygote.run([request])
            except InstrumentError as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.children: list[int] = []
        self.cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Waits until the child hangs."""
        self.cleanup.callback(self.zygote.close)
        self.cleanup.callback(self.end_children)
        self.cleanup.callback(self.end)
        self.thread.start()
        assert soon(self._is_there)
        return self

    def _is_there(self) -> bool:
        """Whether all its threads are confined or wait, twice in a row, and none is missing."""
        first = children_of(self.zygote.pid)
        inner = [below for pid in first for below in children_of(pid)]
        self.children = first + inner
        before, self.seen = self.seen, self._tasks()
        settled = len(self.seen) == _TASKS.get(self.route, 1) and self.seen == before
        return settled and all(state == "S" for _, _, state in self.seen)

    def _tasks(self) -> list[tuple[str, str, str]]:
        """The children's threads: path, name and state, of those that are in filter mode."""
        found: list[tuple[str, str, str]] = []
        for task in (task for pid in self.children for task in tasks_of(pid)):
            status = dict(
                line.split(":\t", 1)
                for line in task_file(task, "status").splitlines()
                if ":\t" in line
            )
            if status.get("Seccomp") == "2" and status["Name"] == self.name:
                found.append((str(task), status["Name"], status["State"][0]))
        return found

    def names(self) -> set[str]:
        """What the child's threads are called, and those of its own children."""
        return {task_file(task, "comm").strip() for pid in self.children for task in tasks_of(pid)}

    def end(self) -> None:
        """Kills the zygote, which this test started, and waits for the thread that asked it."""
        os.kill(self.zygote.pid, signal.SIGKILL)
        self.thread.join(PATIENCE / 4)

    def end_children(self) -> None:
        """Kills what should have ended with the zygote."""
        for child in self.children:
            with suppress(ProcessLookupError, FileNotFoundError):
                if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == self.name:
                    os.kill(child, signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        """Ends whatever is left."""
        self.cleanup.close()


@every_route
def test_a_zygote_that_dies_takes_its_children_along(route: Route) -> None:
    """And whoever waits for its answer is told at once, not when the child's time is up."""
    with HangingProbe(route) as probe:
        probe.end()

        assert not probe.thread.is_alive()
        assert probe.error is not None
        assert soon(lambda: not any(lives(child) for child in probe.children))


def test_a_dead_zygote_is_told_in_a_sentence() -> None:
    prober = Zygote()
    os.kill(prober.pid, signal.SIGKILL)

    with pytest.raises(InstrumentError) as caught:
        ask(prober)

    sentence = str(caught.value)
    assert f"(pid {prober.pid}) is gone" in sentence
    assert "\n" not in sentence
    assert caught.value.exit_status is ExitStatus.BROKEN
    prober.close()
    assert not Path(f"/proc/{prober.pid}").exists()


@pytest.mark.parametrize("length", [0, 3, 4, 5, 100])
def test_a_torn_answer_is_told_in_a_sentence(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zygote can die in the middle of what it has to say."""
    with Zygote() as prober:
        whole = prober._stream.read
        left = [length]

        def torn(size: int) -> bytes:
            part = (whole(size) or b"")[: left[0]]
            left[0] -= len(part)
            return part

        monkeypatch.setattr(prober._stream, "read", torn)
        with pytest.raises(InstrumentError, match="is gone"):
            ask(prober)


def test_closing_leaves_no_process() -> None:
    with Zygote() as prober:
        assert works(prober)
        assert lives(prober.pid)

    assert not Path(f"/proc/{prober.pid}").exists()


def test_a_zygote_ends_with_its_worker() -> None:
    """Nothing else tells it: a worker may be killed."""
    script = """
        import os
        from probes.instrument.calls import Zygote
        zygote = Zygote()
        os.write(1, str(zygote.pid).encode())
        os._exit(0)
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=SUITE,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    pid = int(finished.stdout)

    assert soon(lambda: not lives(pid))
