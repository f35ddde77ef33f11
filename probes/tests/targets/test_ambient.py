"""A confinement judged from inside agrees, cell by cell, with the same filters judged from outside.

Outside, the suite installs the filters itself and the marker is the witness. Inside, a process of
its own has them already, and nothing of the suite's knows what they are.
"""

import errno
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.audit.trail import AuditTrail
from probes.cell import Claim, Outcome
from probes.documents import policy
from probes.documents.policy import Policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.instrument.calls import Standing, Zygote
from probes.judging.examiner import Examiner
from probes.run import settings, values
from probes.run.settings import Settings
from probes.tests.support import confined, mutants
from probes.tests.support.confined import Key
from probes.tests.support.mutants import EPERM, KILL_PROCESS, LOG, Table
from probes.tests.support.oracles import require
from probes.tests.support.stacks import target_of
from reports.tests.support import job
from reports.tests.support.job import Job, python_for_nobody

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the mutants are for the ABIs of x86_64"
)

NO_TRAIL = AuditTrail(None, "none is asked for")
KERNEL = arch.of_this_process()
NATIVE = KERNEL[0]
TRACE = FilterReturn(Action.TRACE).value
ALLOW = FilterReturn(Action.ALLOW).value
NOTIFY = FilterReturn(Action.USER_NOTIF).value
EVERYTHING_ALLOWED = ((bpf.statement(bpf.RET_K, ALLOW),),)


@cache
def resolved(profile: Profile) -> Settings:
    return settings.resolve(values.read(DEFAULT_POLICY, profile=profile.value))


def documented() -> Policy:
    return policy.load(DEFAULT_POLICY, arch.all_names())


def from_outside(profile: Profile, stack: Sequence[bpf.Program]) -> dict[Key, Outcome]:
    """What the main job says of the filters, where it installs them itself; without proofs."""
    target = target_of("stack", "the stack", {profile: tuple(stack) or EVERYTHING_ALLOWED})
    here = resolved(profile)
    seen = {Claim.CONTROLS, Claim.IS_PROVED}
    cases = [case for case in here.cases if case.claim not in seen]
    with Zygote() as zygote:
        cells = Examiner(zygote, target, here.policy, here.offered, NO_TRAIL).examine(cases)
    return {confined.key_of(cell): cell.outcome for cell in cells}


def raw(stack: Sequence[bpf.Program]) -> list[bytes]:
    return [bpf.to_bytes(program, big_endian=NATIVE.big_endian) for program in stack]


def conforming(profile: Profile) -> Table:
    return mutants.conforming(documented(), KERNEL, profile)


def number(name: str, of: Arch = NATIVE) -> int:
    found = of.number(name)
    assert found is not None
    return found


def changed(profile: Profile, changes: Mapping[str, int]) -> tuple[bpf.Program, ...]:
    """A conforming filter with other returns for some calls, each as ``ABI-call``."""
    places = {}
    for word, value in changes.items():
        abi, _, name = word.partition("-")
        places[ARCHES[abi].audit_arch, number(name, ARCHES[abi])] = value
    return (conforming(profile).changed(places).program(),)


def mutant(make: str, name: str, profile: Profile) -> tuple[bpf.Program, ...]:
    made = getattr(mutants, make)(documented(), KERNEL, profile)
    return (next(one.program for one in made if one.name == name),)


def lenient_without_a_sixth_argument(profile: Profile, name: str) -> tuple[bpf.Program, ...]:
    """Lets a call of the native ABI through if its sixth argument is 0, as most calls' is."""
    rest = conforming(profile).program()
    exception = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, NATIVE.audit_arch, 0, 5),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number(name), 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 5 * 8),
        bpf.jump(bpf.JEQ, 0, 0, 1),
        bpf.statement(bpf.RET_K, ALLOW),
    )
    return ((*exception, *rest),)


STACKS: dict[str, tuple[Profile, Sequence[bpf.Program]]] = {
    **{f"conforming {one}": (one, (conforming(one).program(),)) for one in Profile},
    "no filter": (Profile.ERRNO, ()),
    "some rules dropped": (
        Profile.KILL,
        changed(
            Profile.KILL,
            {
                "x86_64-acct": ALLOW,
                "x32-keyctl": ALLOW,
                "i386-reboot": ALLOW,
                "x86_64-vhangup": LOG,
            },
        ),
    ),
    "other actions": (
        Profile.KILL,
        changed(
            Profile.KILL,
            {
                "x86_64-acct": mutants.KILL_THREAD,
                "x86_64-keyctl": mutants.TRAP,
                "x86_64-reboot": EPERM,
                "i386-acct": mutants.TRAP,
                "x32-acct": TRACE,
            },
        ),
    ),
    "other errnos": (
        Profile.ERRNO,
        changed(
            Profile.ERRNO,
            {
                "x86_64-acct": mutants.EACCES,
                "x86_64-keyctl": KILL_PROCESS,
                "x86_64-reboot": FilterReturn(Action.ERRNO, errno.ENOSYS).value,
                "x86_64-bpf": FilterReturn(Action.ERRNO, 0).value,
                "i386-mount": FilterReturn(Action.ERRNO, 4095).value,
                "x86_64-getpriority": EPERM,
                "i386-uname": KILL_PROCESS,
            },
        ),
    ),
    "LOG that does not let through": (
        Profile.LOG,
        changed(
            Profile.LOG,
            {
                "x86_64-acct": EPERM,
                "x86_64-keyctl": TRACE,
                "x32-reboot": KILL_PROCESS,
                "x86_64-getpriority": mutants.TRAP,
            },
        ),
    ),
    "ALLOW by default": (Profile.KILL, mutant("structural", "default action ALLOW", Profile.KILL)),
    "architecture unchecked": (
        Profile.ERRNO,
        mutant("structural", "architecture unchecked", Profile.ERRNO),
    ),
    "x32 let through": (Profile.KILL, mutant("structural", "x32 let through", Profile.KILL)),
    "i386 missing": (Profile.ERRNO, mutant("structural", "i386 missing, allowed", Profile.ERRNO)),
    "killed if marked": (Profile.KILL, lenient_without_a_sixth_argument(Profile.KILL, "bpf")),
    "refused if marked": (Profile.ERRNO, lenient_without_a_sixth_argument(Profile.ERRNO, "bpf")),
    "i386 killed": (
        Profile.KILL,
        mutant("structural", "i386 missing, killed by thread", Profile.KILL),
    ),
    "two filters": (
        Profile.ERRNO,
        (
            *changed(Profile.ERRNO, {"x86_64-acct": ALLOW, "x86_64-keyctl": ALLOW}),
            *changed(Profile.ERRNO, {"x86_64-keyctl": ALLOW, "x86_64-reboot": KILL_PROCESS}),
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_inside_and_outside_agree_on_every_cell(name: str) -> None:
    profile, stack = STACKS[name]

    told = confined.judged(raw(stack), profile.value)

    outside = from_outside(profile, stack)
    inside = told.outcomes()
    assert inside.keys() == outside.keys()
    assert {
        key: (inside[key], outside[key], told.cells[key][1])
        for key in inside
        if inside[key] is not outside[key]
    } == {}
    assert {outcome for outcome, _ in told.controls.values()} == {Outcome.PASSED}
    assert len(told.controls) == len(KERNEL) * 6


# A confinement that is in the way of the witness, or of what a probe does besides.


def blocking(*rules: bpf.Program) -> tuple[bpf.Program, ...]:
    """The conforming filter of the profile errno, and a further one for each rule."""
    return (conforming(Profile.ERRNO).program(), *rules)


def rule(value: int, *names: str) -> bpf.Program:
    """A filter with one value for some calls of the native ABI; everything else is allowed."""
    numbers = {number(name) for name in names}
    return bpf.dispatch({NATIVE.audit_arch: bpf.ranges(numbers, value, ALLOW)}, ALLOW)


def no_executable_memory(value: int) -> bpf.Program:
    """mprotect(2) with PROT_EXEC; anything more would keep Python from starting."""
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, NATIVE.audit_arch, 0, 5),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number("mprotect"), 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS + 2 * 8),
        bpf.jump(bpf.JSET, 4, 0, 1),
        bpf.statement(bpf.RET_K, value),
        bpf.statement(bpf.RET_K, ALLOW),
    )


INHERITED = Claim.IS_INHERITED.value
NOTHING: frozenset[tuple[str, str]] = frozenset()
FORK = frozenset({(INHERITED, "fork")})
CLOSED: dict[str, tuple[tuple[str, ...], Standing, frozenset[tuple[str, str]]]] = {
    "seccomp": (("seccomp",), Standing.ORDER, frozenset({("is all judged", "")})),
    "prctl": (("prctl",), Standing.LISTENER, FORK),
    "memfd_create": (("memfd_create",), Standing.LISTENER, frozenset({(INHERITED, "execve")})),
    "pidfd_open": (("pidfd_open",), Standing.LISTENER, NOTHING),
    "capset": (("capset",), Standing.LISTENER, NOTHING),
    "setresuid": (("setresuid",), Standing.LISTENER, frozenset({(INHERITED, "setuid")})),
    "setsid and ptrace": (("setsid", "ptrace"), Standing.LISTENER, NOTHING),
    "the first canary": (("getppid",), Standing.LISTENER, NOTHING),
}
"""What is closed, how calls are witnessed then, and what cannot be told: claim and variant."""


@pytest.mark.slow
@pytest.mark.parametrize("value", [EPERM, KILL_PROCESS], ids=["refused", "killed"])
@pytest.mark.parametrize("name", CLOSED)
def test_what_is_closed_to_the_witness_is_never_judged_wrong(name: str, value: int) -> None:
    calls, standing, untold = CLOSED[name]
    stack = blocking(rule(value, *calls))

    told = confined.judged(raw(stack), "errno")

    if name == "prctl" and value == KILL_PROCESS:
        untold |= {(INHERITED, "removal")}  # whoever tries to leave filter mode is killed for it
    outside = from_outside(Profile.ERRNO, stack)
    unknown = {key for key, one in told.outcomes().items() if one is Outcome.CANNOT_TELL}
    silent = Claim.IS_SILENT.value  # there is no audit trail here
    assert {(key[0], key[3]) for key in unknown if key[0] != silent} == untold
    words = ("confinement", "whether a supervisor is asked")
    for key in unknown:
        assert key[0] == silent or any(word in told.cells[key][1] for word in words)
    assert told.standing == standing
    # Outside, a child whose fresh interpreter cannot drop its capabilities makes no call at all.
    undecided = {key for key, one in outside.items() if one is Outcome.CANNOT_TELL}
    assert {told.cells[key][0] for key in undecided - unknown} <= {Outcome.PASSED}
    judged = told.outcomes().keys() - unknown - undecided
    assert {key: told.cells[key] for key in judged if told.cells[key][0] is not outside[key]} == {}
    assert {outcome for outcome, _ in told.controls.values()} == {Outcome.PASSED}


@pytest.mark.slow
@pytest.mark.parametrize("value", [EPERM, KILL_PROCESS], ids=["refused", "killed"])
def test_without_executable_memory_only_int_0x80_cannot_be_told(value: int) -> None:
    told = confined.judged(raw(blocking(no_executable_memory(value))), "errno")

    silent = Claim.IS_SILENT.value
    for key, (outcome, sentence) in told.cells.items():
        untold = key[1] == "i386" and outcome is not Outcome.NOT_APPLICABLE
        if untold:
            assert outcome is Outcome.CANNOT_TELL
            assert "executable memory" in sentence
        elif key[0] != silent:
            assert outcome in {Outcome.PASSED, Outcome.NOT_APPLICABLE}, sentence
    assert {key[1] for key in told.controls} == {"x86_64", "x32"}


@pytest.mark.slow
@pytest.mark.parametrize("value", [EPERM, KILL_PROCESS], ids=["refused", "killed"])
@pytest.mark.parametrize("profile", list(Profile))
def test_where_no_filter_can_be_installed_nothing_can_be_told(profile: Profile, value: int) -> None:
    stack = (conforming(profile).program(), rule(value, "seccomp", "prctl"))

    told = confined.judged(raw(stack), profile.value)

    assert told.standing == Standing.NONE
    assert set(told.outcomes().values()) == {Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE}
    for outcome, sentence in told.cells.values():
        if outcome is Outcome.CANNOT_TELL:
            assert "prctl(2)" in sentence
            assert "seccomp(2)" in sentence
            assert "--target=pid:N" in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "words"),
    [
        # Python's own way to start one makes a pipe first.
        ("pipe2", "cannot be started (Operation not permitted)"),
        ("wait4", "cannot be waited for (Operation not permitted)"),
    ],
)
def test_where_no_process_can_be_had_nothing_can_be_told(call: str, words: str) -> None:
    told = confined.judged(raw(blocking(rule(EPERM, call))), "errno")

    assert told.standing == Standing.NONE
    assert set(told.outcomes().values()) == {Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE}
    assert words in next(
        sentence for outcome, sentence in told.cells.values() if outcome is Outcome.CANNOT_TELL
    )


def test_what_python_needs_is_not_taken_for_a_pass() -> None:
    """A judge that is killed for what it does says nothing, and its status is no 0."""
    stack = raw(blocking(rule(KILL_PROCESS, "pipe2")))
    command = (sys.executable, "-m", "probes.tests.support.confined", "judge", "errno", "none")

    done = confined.under(stack, *command)

    assert (done.returncode, done.stdout) == (-signal.SIGSYS, b"")


@pytest.mark.slow
def test_no_filter_is_told_as_such() -> None:
    told = confined.judged((), "errno")

    key = ("denies", "x86_64", f"acct {number('acct'):#x}", "")
    assert told.cells[key][0] is Outcome.FAILED
    assert "no seccomp filter is installed" in told.cells[key][1]
    assert any("no seccomp filter is installed" in finding for finding in told.findings)
    assert "no seccomp filter is installed" in told.description


@pytest.mark.slow
def test_filters_are_counted() -> None:
    stack = (conforming(Profile.ERRNO).program(), rule(ALLOW, "getpid"))

    told = confined.judged(raw(stack), "errno")

    assert "(2 filters)" in told.description


@pytest.mark.slow
def test_a_supervisor_is_asked_about_nothing_that_could_do_harm() -> None:
    """It lets everything run: so only calls of which that is known reach it, and none of the rest.

    What becomes of a call that it is asked about is its own doing, and no verdict on a filter.
    """
    table = conforming(Profile.ERRNO)
    asked = {(NATIVE.audit_arch, number(name)): NOTIFY for name in ("acct", "mount", "getpriority")}
    (program,) = raw([table.changed(asked).program()])
    command = (
        sys.executable,
        "-m",
        "probes.tests.support.confined",
        "supervise",
        program.hex(),
        "--",
    )
    inside = (sys.executable, "-m", "probes.tests.support.confined", "judge", "errno", "none")

    done = confined.under((), *command, *inside)

    told = confined.read(done.stdout)
    documented = [key for key in told.cells if key[1] == "x86_64" and key[0] not in REST]
    tries = [key for key in documented if key[2].split()[0] in {"acct", "mount"}]
    assert f"\n{len(tries)} calls were supervised" in "\n" + done.stderr.decode()
    assert told.standing == Standing.ORDER
    assert any("busy" in finding for finding in told.findings)
    assert Outcome.FAILED not in told.outcomes().values()
    open_ones = {key[2].split()[0] for key in tries if told.cells[key][0] is Outcome.CANNOT_TELL}
    assert open_ones == {"acct", "mount"}
    rest = {
        key[2].split()[0]
        for key, one in told.outcomes().items()
        if key[0] in REST and one is not Outcome.CANNOT_TELL
    }
    assert rest <= {"uprobe", "uretprobe"}  # no filter is asked about these


REST = {Claim.LEAVES_THE_REST_ALONE.value}


# Who the process is, and where.


WHO = {
    "root without capabilities": ("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
    "nobody": ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    "root of a user namespace": ("unshare", "--user", "--map-root-user"),
    "another network": ("unshare", "--net"),
    "first process": ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
    "bubblewrap": (
        "bwrap",
        "--bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--unshare-all",
    ),
}


@pytest.mark.root("becomes somebody else")
@pytest.mark.parametrize(
    "who",
    [pytest.param(who, marks=pytest.mark.containers if who == "bubblewrap" else ()) for who in WHO],
)
def test_whoever_judges_says_the_same(who: str) -> None:
    require(WHO[who][0], "bubblewrap util-linux")
    profile, stack = STACKS["some rules dropped"]

    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        python = python_for_nobody(Path(place)) if who == "nobody" else sys.executable
        told = confined.judged(raw(stack), profile.value, by=WHO[who], python=python)

    outside = from_outside(profile, stack)
    assert {
        key: (one, told.cells[key][1])
        for key, one in told.outcomes().items()
        if one is not outside[key]
    } == {}
    assert {outcome for outcome, _ in told.controls.values()} == {Outcome.PASSED}


# The main job as users run it.


def run(stack: Sequence[bpf.Program], folder: Path, *options: str, by: Sequence[str] = ()) -> Job:
    """The main job in a process that is confined by the filters."""
    words = job.command(folder, "-p", "no:xdist", "--target=ambient", *options)
    with job.undisturbed():
        done = confined.under(raw(stack), *words, by=by)
    return Job(done.returncode, (done.stdout + done.stderr).decode(errors="replace"), folder)


@pytest.mark.slow
def test_the_main_job_in_a_confined_process_passes(tmp_path: Path) -> None:
    stack = (conforming(Profile.KILL).program(),)

    ended = run(stack, tmp_path, "--profile=kill", "--audit-source=none", "-k", "not reported")

    assert ended.status == 0, ended.output
    assert ended.results["target"]["kind"] == "ambient"
    assert ended.outcomes(claim="terminates", arch="x86_64") == {"passed": 60}


@pytest.mark.slow
def test_the_main_job_where_nothing_can_be_told(tmp_path: Path) -> None:
    stack = (conforming(Profile.KILL).program(), rule(EPERM, "seccomp", "prctl"))

    ended = run(stack, tmp_path, "--profile=kill")

    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    assert "lets it install no filter of its own" in " ".join(ended.output.split())


@pytest.mark.slow
def test_the_main_job_where_no_filter_is_installed(tmp_path: Path) -> None:
    ended = run((), tmp_path, "--profile=errno", "--audit-source=none", "-k", "acct or controls")

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert "no seccomp filter" in " ".join(ended.output.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--target ambient: this is one filter"),
        (("--profile=kill", "--cap=docker"), "--cap"),
        (("--profile=kill", "--audit-fd=x"), "--audit-source fd:x"),
        (("--profile=kill", "--audit-fd=3", "--audit-source=netlink"), "--audit-fd 3"),
    ],
)
def test_options_that_mean_nothing_here(options: Sequence[str], words: str, tmp_path: Path) -> None:
    ended = run((), tmp_path, *options)

    assert ended.status == ExitStatus.USAGE
    assert words in ended.errors[0]
    assert len(ended.errors) == 1


@pytest.mark.slow
def test_a_descriptor_has_one_reader(tmp_path: Path) -> None:
    ended = job.run(tmp_path, "--target=ambient", "--profile=kill", "--audit-fd=3", "-n", "2")

    assert ended.status == ExitStatus.USAGE
    assert "leave -n out" in ended.errors[0]


@pytest.mark.root("opens the kernel's audit records")
def test_records_come_by_an_inherited_descriptor(tmp_path: Path) -> None:
    """From the host's stream to a process without capabilities in another network namespace."""
    require("setpriv", "util-linux")
    profile, stack = STACKS["some rules dropped"]
    command = "import sys; from syscall_conformance.__main__ import main; sys.exit(main())"
    by = [sys.executable, "-c", command, "with-audit", "--", "unshare", "--net", "--pid", "--fork"]
    by += ["--mount-proc", "--kill-child", *WHO["root without capabilities"]]
    options = (f"--profile={profile}", "--audit-fd=3", "-k", "is_reported")

    ended = run(stack, tmp_path, *options, by=by)

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    red = {(c["arch"], c["syscall"]) for c in ended.cells if c["outcome"] == "failed"}
    dropped = {("x86_64", "acct"), ("x32", "keyctl"), ("i386", "reboot"), ("x86_64", "vhangup")}
    assert red == dropped
    assert ended.outcomes(claim="is reported", arch="x86_64") == {"passed": 58, "failed": 2}
    assert len(ended.cells) == 180 + 18


# Nothing runs, whatever it would do; and nothing is left behind.


DESTRUCTIVE = """\
import ctypes, fcntl, os, pty, signal, socket, termios
from probes import arch
from probes.judging import verdict
from probes.instrument import witness, effect
from probes.instrument.calls import Call, Request, Route, Standing, Zygote
from probes.targets import ambient

native = arch.of_this_process()[0]
numbers = native.numbers
signal.signal(signal.SIGHUP, signal.SIG_IGN)
leader, follower = pty.openpty()
os.setsid()
fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
calls = {
    "sethostname": Call(numbers["sethostname"], (0x10000, 3)),
    "reboot": Call(numbers["reboot"], (0xFEE1DEAD, 672274793, 0x01234567)),
    "vhangup": Call(numbers["vhangup"]),
    "exit_group": Call(numbers["exit_group"], (7,)),
}
with Zygote(confined=True) as zygote:
    _, trouble = ambient.put_up(zygote, native)
    assert "capabilities" in trouble, "the probes must keep them"
    for standing, one in witness.WITNESSES.items():
        for name, call in calls.items():
            if (standing, name) == (Standing.ORDER, "exit_group"):
                continue  # this witness would keep the child itself from ending
            for route in (Route.DIRECT, Route.SIBLING, Route.FORK):
                made = [
                    zygote.run([Request("syscall", *tried, "x", route, runs=False)])
                    for each in one.one(native, call, (), ())
                    for tried in [(each.calls, each.programs)]
                ]
                told = effect.read(one.told([answers[0][0] for answers in made]))
                assert told.effect is effect.Effect.REACHED, (standing, name, route, told)
print(socket.gethostname())
os.write(follower, b"still here")
print(os.read(leader, 10).decode())
socket.sethostname("control")
print(socket.gethostname())
ctypes.CDLL(None).syscall(numbers["vhangup"])
try:
    os.write(follower, b"still here")
except OSError as error:
    print(error.strerror)
ctypes.CDLL(None).syscall(numbers["reboot"], 0xFEE1DEAD, 672274793, 0x01234567, 0)
print("not reached")
"""


@pytest.mark.root("keeps every capability")
def test_no_probe_runs_although_it_could() -> None:
    """By name, terminal and pid namespace of its own; at last the same calls are really made."""
    require("unshare", "util-linux")
    spaces = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
    words = ("bash", "-c", 'hostname before; exec "$@"', "-", sys.executable, "-c", DESTRUCTIVE)

    done = confined.under(raw((rule(EPERM, "capset"),)), *words, by=spaces)

    told = done.stdout.decode().splitlines()
    assert told == ["before", "still here", "control", "Input/output error"], done.stderr
    assert done.returncode != 0  # the first process of the pid namespace went with the reboot
