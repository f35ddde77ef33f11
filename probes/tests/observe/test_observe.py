"""The observer, asked about real programs; strace is the oracle, in the same run."""

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from probes import arch
from probes.documents import policy
from probes.observe import launch
from probes.observe.supervisor import GRACE_SECONDS
from probes.tests.support import observing
from probes.tests.support.emitter import wait_for
from probes.tests.support.observing import POLICY, Seen, run
from probes.tests.support.oracles import require

COMMAND = [sys.executable, "-m", "syscall_conformance"]
NATIVE = arch.offered_by(os.uname().machine)[0]
DOCUMENTED = policy.load(POLICY, arch.all_names()).names

_x86 = pytest.mark.skipif(NATIVE.name != "x86_64", reason="x86 has these ABIs")
_root = pytest.mark.root("attaches to processes of others, or gives up rights")

_STORM = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void call(const char *times)
{
    for (int j = atoi(times); j > 0; j--)
        syscall(SYS_keyctl, 9999, j % 4, 0, 0, 0);
}

/* processes, calls a process: keyctl with an operation that does not exist; 0: this process */
int main(int argc, char **argv)
{
    if (atoi(argv[1]) == 0)
        call(argv[2]);
    for (int i = atoi(argv[1]); i > 0; i--)
        if (fork() == 0) {
            call(argv[2]);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    return argc != 3;
}
"""

_INTERRUPTED = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile unsigned long alarms;
static void on_alarm(int number) { alarms++; (void)number; }

/* calls: as many keyctl while an alarm rings every 50 microseconds */
int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 50}, {0, 50}};
    int wrong = argc != 2;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = atoi(argv[1]); i > 0; i--)
        if (syscall(SYS_keyctl, 9999, i, 0, 0, 0) != -1 || errno != EOPNOTSUPP)
            wrong++;
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    printf("%lu alarms, %d wrong answers\n", alarms, wrong);
    return wrong != 0;
}
"""

_COMPAT = r"""
static long enter(long number, long argument)
{
    long answer;
    __asm__ volatile("int $0x80"
                     : "=a"(answer)
                     : "a"(number), "b"(argument), "c"(-1L), "d"(0L)
                     : "memory");
    return answer;
}
void _start(void)
{
    enter(66, 0);       /* setsid */
    enter(310, 0);      /* unshare */
    enter(20, 0);       /* getpid */
    enter(117, 12);     /* ipc MSGRCV */
    enter(117, 0x1000c);
    enter(117, 13);     /* ipc MSGGET */
    enter(1, 7);        /* exit */
}
"""

_FOREIGN = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{
    long answer;
    syscall(0x40000000 | SYS_setsid);
    syscall(0x40000000 | 528, 0, 1, 0, 0xffffffff);     /* kexec_load of x32 */
    syscall(SYS_setsid);
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(66L) : "memory", "r8", "r9", "r10", "r11");
    syscall(9999);
    syscall(0x40000000 | 9999);
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(9999L) : "memory", "r8", "r9", "r10", "r11");
    return 0;
}
"""

_CLONE3 = r"""
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    struct clone_args plain = {.exit_signal = SIGCHLD}, newer = plain;
    newer.flags = CLONE_NEWUSER;
    for (int i = 0; i < 5; i++) {
        long child = syscall(SYS_clone3, &plain, sizeof plain);
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid((pid_t)child, NULL, 0) != child)
            return 1;
    }
    if (syscall(SYS_clone3, &newer, sizeof newer) == 0)
        _exit(0);
    syscall(SYS_clone3, NULL, sizeof newer);
    return 0;
}
"""

_OWN_FILTER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
/* A filter that refuses setsid with ENOENT; before it is there, one with a listener is tried. */
int main(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) !=
            -1 || errno != EBUSY)
        return 1;
    syscall(SYS_vhangup + 1000000);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return 2;
    return setsid() == -1 && errno == ENOENT ? 0 : 3;
}
"""


_WHO = r"""
#include <stdio.h>
#include <unistd.h>
int main(void) { return printf("%d %d\n", getuid(), geteuid()) < 0; }
"""


def _compiled(folder: Path, source: str, *options: str) -> Path:
    compiler = require("gcc", "gcc libc6-dev")
    (folder / "program.c").write_text(source)
    program = folder / "program"
    subprocess.run([compiler, "-O1", *options, "-o", program, folder / "program.c"], check=True)
    return program


# What strace shows.


def _strace(
    folder: Path, command: Sequence[str | Path]
) -> tuple[Seen, Mapping[tuple[str, int], int]]:
    """Observes strace that traces a command: what both have seen of it."""
    tracer = require("strace", "strace")
    file = folder / "strace.txt"
    names = ",".join(f"?{name}" for name in DOCUMENTED)
    words: list[str | Path] = [
        tracer,
        "-f",
        "-qq",
        "-e",
        "signal=none",
        "-e",
        f"trace={names}",
        "-o",
        file,
    ]
    seen = run(folder, [*words, *command])
    counted: Counter[tuple[str, int]] = Counter()
    for line in file.read_text().splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            counted[found[2], int(found[1])] += 1
    own = [one for one in seen.calls if not one.executable.endswith("/strace")]
    return Seen(tuple(own), seen.status, seen.cut_short, seen.output), counted


def _agree(seen: Seen, traced: Mapping[tuple[str, int], int], *names: str) -> None:
    assert dict(seen.counts("documented")) == dict(traced)
    assert {name for name, _ in traced} >= set(names)


@_root
def test_a_shell_makes_the_calls_that_strace_shows(tmp_path: Path) -> None:
    script = (
        "setsid true; setsid sh -c 'setsid -f true'; unshare --mount --uts sh -c"
        " 'mount -t tmpfs none /mnt && umount /mnt; hostname inside; mount --bind / /mnt'"
    )
    seen, traced = _strace(tmp_path, ["sh", "-c", script])
    assert seen.status == 0
    _agree(seen, traced, "setsid", "unshare", "mount", "umount2", "sethostname")


@pytest.mark.slow
def test_multiprocessing_makes_the_calls_that_strace_shows(tmp_path: Path) -> None:
    script = (
        "import multiprocessing, os\n"
        "with multiprocessing.Pool(3, os.setsid) as pool:\n"
        "    print(sorted(pool.map(abs, range(-3, 0))))\n"
    )
    seen, traced = _strace(tmp_path, [sys.executable, "-c", script])
    assert seen.output == "[1, 2, 3]\n"
    _agree(seen, traced, "setsid")
    assert sorted(traced.values()) == [1, 1, 1]


@_root
def test_nginx_makes_the_calls_that_strace_shows(tmp_path: Path) -> None:
    nginx = require("/usr/sbin/nginx", "nginx-light")
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; worker_processes 2; daemon on;\n"
        f"events {{}} http {{ access_log off; server {{ listen unix:{tmp_path}/socket; }} }}\n"
    )
    start = f"{nginx} -p {tmp_path} -c {config}"
    script = f"{start} && while ! test -s {tmp_path}/pid; do sleep 0.1; done && {start} -s quit"
    seen, traced = _strace(tmp_path, ["sh", "-c", script])
    assert seen.status == 0
    _agree(seen, traced, "setsid")


# Nothing is lost.


@pytest.mark.slow
def test_every_call_of_fifty_processes_is_counted(tmp_path: Path) -> None:
    storm = _compiled(tmp_path, _STORM)
    seen = run(tmp_path, [storm, "50", "1000"])
    counts = [count for (name, _), count in seen.counts().items() if name == "keyctl"]
    assert counts == [1000] * 50
    assert seen.cut_short == 0


@pytest.mark.slow
def test_an_alarm_neither_adds_a_call_nor_changes_an_answer(tmp_path: Path) -> None:
    seen = run(tmp_path, [_compiled(tmp_path, _INTERRUPTED), "3000"])
    assert seen.status == 0, seen.output
    alarms, wrong = map(int, re.findall(r"\d+", seen.output))
    assert alarms > 0
    assert wrong == 0
    assert seen.total("keyctl") == 3000


def test_a_caller_that_dies_while_it_waits_hangs_nobody(tmp_path: Path) -> None:
    storm = _compiled(tmp_path, _STORM)
    # The shell stops the observer, its parent; a call is then waiting when its caller is killed.
    script = (
        f"kill -STOP $PPID; {storm} 0 1 & sleep 0.3; kill -KILL $!; sleep 0.1; kill -CONT $PPID;"
        f" wait; {storm} 0 5"
    )
    seen = run(tmp_path, ["sh", "-c", script])
    assert seen.status == 0
    assert seen.total("keyctl") == 5
    assert seen.cut_short == 0


# Every ABI.


@_x86
def test_a_32_bit_program_is_seen(tmp_path: Path) -> None:
    program = _compiled(tmp_path, _COMPAT, "-m32", "-nostdlib", "-static")
    seen = run(tmp_path, [program])
    assert os.waitstatus_to_exitcode(seen.status) == 7
    found = {(one.kind, one.name, one.abi, one.count) for one in seen.calls}
    assert found == {
        ("documented", "setsid", "i386", 1),
        ("documented", "unshare", "i386", 1),
        ("sibling", "ipc MSGRCV", "i386", 2),
    }


@_x86
def test_a_64_bit_program_that_enters_by_other_abis_is_seen(tmp_path: Path) -> None:
    seen = run(tmp_path, [_compiled(tmp_path, _FOREIGN)])
    found = {(one.kind, one.name, one.abi, one.count) for one in seen.calls}
    assert found == {
        ("documented", "setsid", "x86_64", 1),
        ("documented", "setsid", "x32", 1),
        ("documented", "kexec_load", "x32", 1),
        ("documented", "setsid", "i386", 1),
        ("unknown", "0x270f", "x86_64", 1),
        ("unknown", "0x4000270f", "x32", 1),
        ("unknown", "0x270f", "i386", 1),
    }


def test_a_clone3_counts_only_for_a_namespace(tmp_path: Path) -> None:
    seen = run(tmp_path, [_compiled(tmp_path, _CLONE3)])
    assert seen.status == 0, seen.output
    assert [(one.kind, one.name, one.count) for one in seen.calls] == [("sibling", "clone3", 2)]


# Filters of the workload's own.


def test_a_filter_of_the_workload_hides_what_it_refuses(tmp_path: Path) -> None:
    seen = run(tmp_path, [_compiled(tmp_path, _OWN_FILTER)])
    assert seen.status == 0
    assert seen.total("setsid") == 0
    assert {(one.kind, one.name, one.count) for one in seen.calls} == {
        ("confining", "seccomp", 1),
        ("confining", "prctl", 1),
        ("unknown", f"{NATIVE.numbers['vhangup'] + 1000000:#x}", 1),
    }


# The command has what it would have without an observer.


def test_the_command_has_the_environment_the_directory_and_the_descriptors(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "ignored = [line for line in open('/proc/self/status') if line.startswith('SigIgn')]\n"
        "print([dict(os.environb), os.getcwd(), sorted(os.listdir('/proc/self/fd')), blocked])\n"
        "print(ignored, os.getpgrp() == os.getpgid(os.getppid()))\n"
    )
    inherited = os.open("/dev/null", os.O_RDONLY)
    # A shell between, so that the process group is compared with that of a like parent.
    words = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-I", "-S", "-c", script]
    options: dict[str, Any] = {
        "pass_fds": [inherited],
        "cwd": tmp_path,
        "env": {"LC_ALL": "C", "WITH": "a\tblank", "PYTHONPATH": str(POLICY.parents[2])},
    }
    try:
        seen = run(tmp_path, words, **options)
        bare = subprocess.run(words, check=True, text=True, capture_output=True, **options)
    finally:
        os.close(inherited)
    assert "WITH" in bare.stdout
    assert seen.output == bare.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["env"], ["grep", "-E", "^Sig(Blk|Ign)|^Threads", "/proc/self/status"]]
)
def test_no_shell_tidies_up_what_the_command_gets(tmp_path: Path, words: list[str]) -> None:
    # In the C locale Python sets LC_CTYPE for itself, and it ignores SIGPIPE.
    settings = {"PATH": os.environ["PATH"], "LANG": "C", "PYTHONPATH": str(POLICY.parents[2])}
    seen = run(tmp_path, words, env=settings)
    bare = subprocess.run(words, check=True, text=True, capture_output=True, env=settings)
    assert seen.output == bare.stdout
    assert "LC_CTYPE" not in seen.output


@pytest.mark.slow
@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -SEGV $$", -signal.SIGSEGV)])
def test_the_status_of_the_command_is_kept(tmp_path: Path, script: str, status: int) -> None:
    seen = run(tmp_path, ["sh", "-c", f"ulimit -c 0; {script}"])
    assert os.waitstatus_to_exitcode(seen.status) == status


def test_who_outlives_the_command_is_seen_too(tmp_path: Path) -> None:
    script = "(sleep 0.5; setsid true) >/dev/null & exit 4"
    seen = run(tmp_path, ["sh", "-c", script])
    assert os.waitstatus_to_exitcode(seen.status) == 4
    assert seen.total("setsid") == 1


def _observer(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "observe", "--json", str(folder / "report.json"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_LATE_SIGNALS = """
import os, signal
from probes.observe.supervisor import signals_held

with signals_held() as before:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
assert not signal.sigpending()
print("alive")
"""


def test_a_signal_in_the_moment_of_the_end_does_not_cost_the_report() -> None:
    # In a process with one thread, as the command has: a signal takes any thread that is ready.
    ended = subprocess.run(
        [sys.executable, "-c", _LATE_SIGNALS], capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("alive\n", "", 0)


def test_a_signal_from_outside_reaches_the_command(tmp_path: Path) -> None:
    script = f"trap 'echo told; exit 6' TERM; echo > {tmp_path}/ready; while :; do sleep 0.05; done"
    observer = _observer(tmp_path, "--", "sh", "-c", script)
    wait_for((tmp_path / "ready").exists, "the command did not start")
    observer.send_signal(signal.SIGTERM)
    said, _ = observer.communicate(timeout=30)
    report = observing.load(tmp_path / "report.json")
    assert said == "told\n"
    assert report["workload"] == {"exit_status": 6, "signal": None}
    assert report["ending"] == "interrupted"
    assert observer.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "ending", "status"),
    [
        ("trap 'echo INT; exit 5' INT; echo ready; while :; do sleep 0.05; done", "interrupted", 2),
        ("trap 'echo INT; exit 0' INT; echo ready; while :; do sleep 0.05; done", "itself", 0),
        ("echo ready; read -r _; exec sleep 1000", "interrupted", 2),
    ],
)
def test_the_terminal_is_the_commands(
    tmp_path: Path, script: str, ending: str, status: int
) -> None:
    file = tmp_path / "report.json"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(  # noqa: S606 - on a terminal of its own
            sys.executable, [*COMMAND, "observe", "--json", str(file), "--", "sh", "-c", script]
        )
    watchdog = threading.Timer(60, os.kill, (pid, signal.SIGKILL))  # the terminal hangs up then
    watchdog.start()
    said = b""
    try:
        while b"ready" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # EIO: all have closed it
            while more := os.read(terminal, 1000):
                said += more
        _, ended = os.waitpid(pid, 0)
    finally:
        watchdog.cancel()
        os.close(terminal)
    assert (b"INT\r\n" in said) == ("trap" in script)
    assert os.waitstatus_to_exitcode(ended) == status, said
    assert file.exists(), said
    assert observing.load(file)["ending"] == ending


@_root
def test_a_set_user_id_program_has_its_privilege(tmp_path: Path) -> None:
    demote = require("setpriv", "util-linux")
    program = _compiled(tmp_path, _WHO, "-static")
    folder = Path(tempfile.mkdtemp(prefix="observed-"))
    try:
        folder.chmod(0o755)
        mine = Path(shutil.copy(program, folder / "who"))
        mine.chmod(0o4755)
        seen = run(tmp_path, [demote, "--reuid=65534", "--regid=65534", "--clear-groups", mine])
    finally:
        shutil.rmtree(folder)
    assert seen.output == "65534 0\n"


def test_the_deadline_ends_everything_that_was_started(tmp_path: Path) -> None:
    begin = time.monotonic()
    # They ignore SIGTERM, as this shell does.
    words = [*COMMAND, "observe", "--json", str(tmp_path / "report.json"), "--timeout", "0.5"]
    script = "sleep 1000 & sleep 1000; sleep 1000"
    ignoring = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh", *words, "--", "sh", "-c", script]
    # The end of what they write comes when the last of them has ended.
    done = subprocess.run(ignoring, capture_output=True, text=True, check=False, timeout=60)
    assert time.monotonic() - begin >= 0.5 + GRACE_SECONDS
    assert done.returncode == 0, done.stderr
    assert "the deadline of 0.5 s has passed" in done.stderr
    report = observing.load(tmp_path / "report.json")
    assert report["ending"] == "deadline"
    assert report["workload"] == {"exit_status": None, "signal": "SIGKILL"}


@_root
def test_without_root_the_report_says_that_no_privilege_is_gained() -> None:
    demote = require("setpriv", "util-linux")
    user = [demote, "--reuid=65534", "--regid=65534", "--clear-groups"]
    script = "grep NoNewPrivs /proc/self/status; exec setsid -w true"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        file = Path(folder, "report.json")
        words = [*user, *COMMAND, "observe", "--json", str(file), "--", "sh", "-c", script]
        done = subprocess.run(words, check=False, text=True, capture_output=True)
        if done.returncode == 126 or "ModuleNotFoundError" in done.stderr:
            pytest.skip(f"this user cannot read the suite: {done.stderr}")
        assert done.returncode == 1, done.stderr
        report = observing.load(file)
    assert done.stdout.split() == ["NoNewPrivs:", "1"]
    assert report["no_new_privs"] is True
    assert [one["call"] for one in report["calls"]] == ["setsid"]


@_root
def test_as_root_nothing_keeps_a_program_from_gaining_privilege(tmp_path: Path) -> None:
    seen = run(tmp_path, ["grep", "NoNewPrivs", "/proc/self/status"])
    assert seen.output.split() == ["NoNewPrivs:", "0"]


def test_a_command_is_looked_for_as_a_shell_does() -> None:
    assert launch.candidates("ls", ["/a", "", "/b"]) == ["/a/ls", "./ls", "/b/ls"]
    assert launch.candidates("./ls", ["/a"]) == ["./ls"]


def test_the_helper_counts_by_process() -> None:
    call = observing.Call("documented", "setsid", "x86_64", "/bin/sh", "sh", 7, 2)
    seen = Seen((call, call), 0, 0, "")
    assert seen.counts() == {("setsid", 7): 4}
