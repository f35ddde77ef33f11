"""The catalogue on the running kernel: the answers are its answers, and the host stays as it was.

Every row is called without any filter, once with all capabilities and once as an unprivileged user,
through every ABI by which this kernel can be entered. The zygote's children never have
capabilities, so the calls are made by a process of this module's own (``main``), whose children
keep what it has. It has a terminal of its own, which must be usable afterwards.

That accounting is as it was cannot be read back from a kernel; that the row of acct(2) can switch
it neither on nor off is shown by its arguments, in ``test_catalogue_rows``.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from probes import arch, environment
from probes.action import errno_name
from probes.arch import Arch
from probes.files import SUITE
from probes.instrument import abis as kernel_abis
from probes.instrument import kernel
from probes.instrument.calls import Call, Request, Zygote
from probes.instrument.harmless import CATALOGUE, Preparation, Probe
from probes.tests.support.oracles import require

ROOT = SUITE
KERNEL = arch.offered_by(os.uname().machine)
NOBODY = 65534
PATIENCE = 60
CLOCK_TOLERANCE_SECONDS = 0.5
"""What adjtimex(2) may move meanwhile; a set clock jumps by far more."""
ALIVE = "still usable"

ALL, NONE = "all capabilities", "no capability"
NEEDED = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_PACCT": 20,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_TIME": 25,
    "CAP_SYS_TTY_CONFIG": 26,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""linux/capability.h: those that some documented call asks for."""


# What runs in the process that makes the calls.


def call_in_child(entry: str, number: int, arguments: Sequence[int], *, new_session: bool) -> str:
    """Makes one call in a forked child and says what the kernel answered."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(writing, entry, number, arguments, new_session=new_session)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return text if status == 0 else f"wait status {status:#x}"


def _answer(
    writing: int, entry: str, number: int, arguments: Sequence[int], *, new_session: bool
) -> NoReturn:
    status = 1
    try:
        signal.alarm(PATIENCE // 2)
        if new_session:
            os.setsid()
        prepared = kernel.prepare_call(entry, number, arguments)
        ctypes.set_errno(0)
        result = prepared()
        error = ctypes.get_errno()
        shown = "PID" if result == os.getpid() else str(result)
        os.write(writing, (errno_name(error) if result == -1 else shown).encode())
        status = 0
    finally:
        os._exit(status)


def own_state() -> dict[str, str]:
    """What the calls might have changed of the process whose children made them."""
    spaces = {f"namespace {one.name}": str(one.readlink()) for one in namespaces()}
    places = {place: repr(os.stat(place)[:3]) for place in ("/", ".")}  # noqa: PTH116 - os.stat's tuple
    return {**spaces, **places, "session": str(os.getsid(0))}


def namespaces() -> list[Path]:
    return sorted(Path("/proc/self/ns").iterdir())


def drop_privileges() -> None:
    """Becomes nobody, who may look at itself in proc(5) only if it is dumpable."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel._prctl(kernel.PR_SET_DUMPABLE, 1)


def main() -> None:
    """Reads what to do from standard input, does it, and writes what was seen.

    The process leads a session whose terminal is the one it was given.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup(1) may have made of it
    task = json.load(sys.stdin)
    terminal = os.open(task["terminal"], os.O_RDWR)
    assert os.getsid(0) == os.getpid() == os.tcgetpgrp(terminal)
    if task["drop"]:
        drop_privileges()
    # Nobody may not be able to import anything more: the interpreter may be somebody's own.
    before = own_state()
    answers = {
        name: call_in_child(entry, number, arguments, new_session=new_session)
        for name, entry, number, arguments, new_session in task["calls"]
    }
    os.write(terminal, f"{ALIVE}\n".encode())
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    capabilities = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    seen = {"answers": answers, "before": before, "after": own_state(), "caps": capabilities}
    json.dump(seen, sys.stdout)


# What runs in the test.


@dataclass(frozen=True)
class Report:
    """What came back from the process.

    Attributes:
        status: how it ended.
        said: what it wrote to its terminal, read from the other side.
        seen: the answers by call, and its own state before and after.
        errors: what it complained about.
    """

    status: int
    said: str
    seen: dict[str, Any]
    errors: str


Row = tuple[str, str, int, Sequence[int], bool]


def run(calls: Sequence[Row], *, drop: bool) -> Report:
    """Has a process with a terminal of its own make the calls."""
    ours, theirs = os.openpty()
    task = {"calls": calls, "drop": drop, "terminal": os.ttyname(theirs)}
    try:
        finished = subprocess.run(
            [sys.executable, "-B", "-c", f"from {__name__} import main; main()"],
            cwd=ROOT,
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
        os.set_blocking(ours, False)
        try:
            said = os.read(ours, 4096).decode()
        except (BlockingIOError, OSError):
            said = ""
    finally:
        os.close(theirs)
        os.close(ours)
    seen = json.loads(finished.stdout) if finished.returncode == 0 else {}
    return Report(finished.returncode, said, seen, finished.stderr)


def rows_of(abi: Arch) -> list[Row]:
    return [
        (name, abi.entry.name.lower(), number, row.args, row.prepare is Preparation.NEW_SESSION)
        for name, row in CATALOGUE.items()
        if (number := abi.number(name)) is not None
    ]


def text_of(path: str) -> str:
    """A file's text; "" where this kernel has none such."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


_OF_A_CONTAINER = re.compile(r"(_ses\.)?([0-9a-f]{64}|syscall-conformance-[0-9a-f]+): .*")
"""The keyrings that runtimes make for containers, which other tests may be starting meanwhile."""


def owned_keys(listing: str, users: str) -> str:
    """The keys of the two users, where keys could have been made; see proc(5).

    Args:
        listing: /proc/keys. Of nobody's keys root is shown none there, so these are counted.
        users: /proc/key-users.
    """
    keys = [line.split(maxsplit=8) for line in listing.splitlines()]
    seen = [
        f"{uid} {kind} {name}"
        for *_, uid, _gid, kind, name in keys
        if uid in {"0", str(NOBODY)} and not _OF_A_CONTAINER.fullmatch(name)
    ]
    counted = [words for words in map(str.split, users.splitlines()) if words[0] == f"{NOBODY}:"]
    return "; ".join([*seen, *(f"{user} {count}" for user, _, count, *_ in counted)])


def audit_rules() -> str:
    """The kernel's rules, where there is a tool and it may ask."""
    if os.geteuid() != 0 or shutil.which("auditctl") is None:
        return ""
    listed = subprocess.run(["auditctl", "-l"], capture_output=True, text=True, check=False)
    return listed.stdout + listed.stderr


def time_zone() -> str:
    """What settimeofday(2) sets besides the time; libc does not tell, the kernel does."""
    zone, when = (ctypes.c_int32 * 2)(-1, -1), (ctypes.c_int64 * 2)()
    number = KERNEL[0].numbers["gettimeofday"]
    assert ctypes.CDLL(None).syscall(number, when, zone) == 0
    return repr(list(zone))


HOST: dict[str, Callable[[], str]] = {
    "hostname": lambda: text_of("/proc/sys/kernel/hostname"),
    "domain name": lambda: text_of("/proc/sys/kernel/domainname"),
    "mounts": lambda: text_of("/proc/self/mountinfo"),
    "swaps": lambda: text_of("/proc/swaps"),
    "keyrings": lambda: owned_keys(text_of("/proc/keys"), text_of("/proc/key-users")),
    "modules": lambda: "\n".join(line.split()[0] for line in text_of("/proc/modules").splitlines()),
    "message queues": lambda: text_of("/proc/sysvipc/msg"),
    "audit rules": audit_rules,
    "kexec image": lambda: text_of("/sys/kernel/kexec_loaded"),
    "kernel log level": lambda: text_of("/proc/sys/kernel/printk"),
    "kernel's time zone": time_zone,
    "boot": lambda: text_of("/proc/sys/kernel/random/boot_id"),
    "namespaces": lambda: repr([str(one.readlink()) for one in namespaces()]),
}


def clock_offset() -> float:
    """The wall clock against one that nobody can set."""
    return time.time() - time.monotonic()


@dataclass(frozen=True)
class Run:
    """A run over an ABI, and the host around it."""

    abi: Arch
    privileged: bool
    native: bool
    report: Report
    before: dict[str, str]
    after: dict[str, str]
    drift: float


@pytest.fixture(scope="module")
def entered() -> dict[Arch, str]:
    with Zygote() as zygote:
        return dict(kernel_abis.entered(zygote, KERNEL))


@pytest.fixture(scope="module")
def runs(entered: dict[Arch, str]) -> Iterator[Callable[[Arch, str], Run]]:
    """Runs an ABI's rows once for each user, however many tests look at it."""
    made: dict[tuple[str, str], Run] = {}

    def run_of(abi: Arch, who: str) -> Run:
        if entered[abi]:
            pytest.skip(f"this kernel cannot be entered as {abi}: {entered[abi]}")
        check_rights(who)
        if (abi.name, who) not in made:
            made[abi.name, who] = make_run(abi, privileged=who == ALL)
        return made[abi.name, who]

    yield run_of
    made.clear()


def check_rights(who: str) -> None:
    """Skips what this process cannot show."""
    ours = environment.read()
    if ours.seccomp:
        pytest.skip("a filter over this process answers in the kernel's place: run outside of it")
    held = int(ours.capabilities, 16)
    missing = [name for name, bit in NEEDED.items() if not held >> bit & 1]
    if who == ALL and missing:
        pytest.skip(f"needs root with {', '.join(missing)}")
    if who == NONE and held and ours.uid != 0:
        pytest.skip("this user is neither root nor without capabilities")


def make_run(abi: Arch, *, privileged: bool) -> Run:
    before, offset = {name: read() for name, read in HOST.items()}, clock_offset()
    getpid = ("control", abi.entry.name.lower(), abi.numbers["getpid"], (), False)
    drop = not privileged and os.geteuid() == 0
    report = run([getpid, *rows_of(abi)], drop=drop)
    after, drift = {name: read() for name, read in HOST.items()}, clock_offset() - offset
    assert report.status == 0, report.errors
    native = report.seen["answers"].pop("control") == "PID"
    return Run(abi, privileged, native, report, before, after, drift)


needs_root = pytest.mark.root("holds every capability")
every_run = pytest.mark.parametrize("who", [pytest.param(ALL, marks=needs_root), NONE])
every_abi = pytest.mark.parametrize(
    "abi", [abi for abi in KERNEL if abi.entry.name != "NONE"], ids=str
)
Runs = Callable[[Arch, str], Run]


@pytest.mark.slow
@every_run
@every_abi
def test_the_kernel_answers_as_catalogued(abi: Arch, who: str, runs: Runs) -> None:
    done = runs(abi, who)
    answers = done.report.seen["answers"]

    assert set(answers) == {name for name in CATALOGUE if abi.number(name) is not None}
    for name, answer in answers.items():
        assert answer in allowed(CATALOGUE[name], done), f"{name} on {abi} with {who}"


def allowed(row: Probe, done: Run) -> frozenset[str]:
    """The row's answers; ENOSYS where the control says that this ABI is switched off."""
    return row.answers(root=done.privileged) if done.native else frozenset({"ENOSYS"})


@pytest.mark.slow
def test_only_x32_can_be_switched_off(runs: Runs) -> None:
    for abi in (abi for abi in KERNEL if abi.name != "x32" and abi.entry.name != "NONE"):
        assert runs(abi, NONE).native


@every_run
def test_the_users_are_told_apart(who: str, runs: Runs) -> None:
    """So that a run with the wrong rights could not pass for the right one."""
    done = runs(KERNEL[0], who)
    held = int(done.report.seen["caps"], 16)
    answer = done.report.seen["answers"]["sethostname"]

    assert all(held >> bit & 1 for bit in NEEDED.values()) if done.privileged else held == 0
    assert answer == ("EINVAL" if done.privileged else "EPERM")


@pytest.mark.slow
@every_run
@every_abi
@pytest.mark.parametrize("what", HOST)
def test_the_host_is_as_it_was(what: str, abi: Arch, who: str, runs: Runs) -> None:
    done = runs(abi, who)

    assert done.after[what] == done.before[what]


@pytest.mark.slow
@every_run
@every_abi
def test_nobody_set_the_clock(abi: Arch, who: str, runs: Runs) -> None:
    assert abs(runs(abi, who).drift) < CLOCK_TOLERANCE_SECONDS


@every_run
@every_abi
def test_the_caller_is_as_it_was(abi: Arch, who: str, runs: Runs) -> None:
    """Its children called, and shared with it neither session nor namespaces to be changed."""
    seen = runs(abi, who).report.seen

    assert seen["after"] == seen["before"]


@every_run
@every_abi
def test_the_terminal_is_still_usable(abi: Arch, who: str, runs: Runs) -> None:
    assert runs(abi, who).report.said.splitlines() == [ALIVE]


@needs_root
def test_a_terminal_that_is_hung_up_would_be_noticed() -> None:
    """vhangup(2) without a session of its own, on a terminal that this test has made."""
    check_rights(ALL)
    row = CATALOGUE["vhangup"]
    number = KERNEL[0].numbers[row.name]

    report = run([(row.name, "syscall", number, row.args, False)], drop=False)

    assert ALIVE not in report.said
    assert report.status == -signal.SIGHUP


def test_the_host_is_really_looked_at() -> None:
    """Empty answers would always be equal. Some files are not there on every kernel."""
    said = {name: read() for name, read in HOST.items()}

    for name in ("hostname", "domain name", "mounts", "swaps", "boot", "namespaces"):
        assert said[name]
    assert said["hostname"].strip() == os.uname().nodename
    assert said["kernel's time zone"] != repr([-1, -1])


def test_a_key_is_seen_among_those_of_containers() -> None:
    listing = f"""\
340438de I--Q---     2 perm 1f3f0000     0 65534 keyring   _uid.0: empty
1a2b3c4d I--Q---     1 perm 3f010000     0     0 user      made by a probe: 5
0b6148aa I--Q---     1 perm 3f010000 65534 65534 user      another: 1
0c0ffee0 I--Q---     1 perm 3f010000  1000  1000 user      somebody's: 1
2f1e8401 I--Q---     3 perm 3f1b0000     0     0 keyring   _ses.{"d3" * 32}: empty
2f1e8402 I--Q---     3 perm 3f130000     0     0 keyring   syscall-conformance-0e633e7fb073: empty
"""
    users = "    0:     9 9/9 3/1000000 40/25000000\n65534:     2 2/2 2/200 20/20000\n"
    seen = ["0 keyring _uid.0: empty", "0 user made by a probe: 5", "65534 user another: 1"]
    seen.append("65534: 2/2")

    assert owned_keys(listing, users) == "; ".join(seen)


@pytest.mark.root("lists audit rules")
def test_audit_rules_can_be_listed() -> None:
    """By the tool whose list is compared above."""
    require("auditctl", "auditd")

    assert audit_rules()


def test_the_zygotes_children_answer_like_the_unprivileged(runs: Runs) -> None:
    """The control child of a verdict is such a one, and has no capability either."""
    abi = KERNEL[0]
    expected = runs(abi, NONE).report.seen["answers"]
    with Zygote() as zygote:
        seen = {name: from_zygote(zygote, abi, CATALOGUE[name]) for name in expected}

    assert seen == expected


def from_zygote(zygote: Zygote, abi: Arch, row: Probe) -> str:
    new_session = row.prepare is Preparation.NEW_SESSION
    call = Call(abi.numbers[row.name], row.args)
    entry = abi.entry.name.lower()
    request = Request(entry, (call,), (), zygote.nonce(), new_session=new_session)
    observation = zygote.run([request])[0][0]
    if observation.result == -1:
        return errno_name(observation.errno)
    return "PID" if observation.own_pid else str(observation.result)
