"""Filters of running processes come back as they were installed, and the processes go on."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from probes import arch
from probes.action import Action, FilterReturn
from probes.errors import BadInputError, ExitStatus, InstrumentError, SuiteError
from probes.files import SUITE
from probes.filters import bpf
from probes.instrument import harvest
from probes.instrument.calls import Call, Zygote
from probes.instrument.effect import Effect
from probes.targets import process
from probes.tests.support import replay
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require

ROOT = SUITE
NATIVE = arch.offered_by(os.uname().machine)[0]
BIG_ENDIAN = sys.byteorder == "big"
ALLOW = FilterReturn(Action.ALLOW).value
LIFETIME = 60
"""Seconds after which a test's process ends by itself."""

PROBED = range(700, 720)
"""Numbers that no table has, so that a filter on them disturbs nobody."""

HARVESTS = 200

needs_root = pytest.mark.root("reads others' filters")


def raw(program: bpf.Program) -> bytes:
    return bpf.to_bytes(program, big_endian=BIG_ENDIAN)


def returning(values: dict[int, FilterReturn]) -> bytes:
    """A filter that returns each value for its number; everything else is allowed."""
    parts = bpf.ranges_from({number: one.value for number, one in values.items()}, ALLOW)
    return raw(bpf.dispatch({NATIVE.audit_arch: parts}, ALLOW))


def distinct(index: int) -> bytes:
    """A filter that allows everything and that no other index has."""
    words = (bpf.statement(bpf.LD_IMM, index), bpf.statement(bpf.TAX))
    return raw((*words, bpf.statement(bpf.RET_K, ALLOW)))


# The processes whose filters are read.

PYTHON = f"""\
import signal, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from probes.instrument import kernel
signal.alarm({LIFETIME})
kernel.set_no_new_privs()
def install(programs):
    for program in programs:
        kernel.install(kernel.Filter(bytes.fromhex(program)))
"""

C = f"""\
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static volatile int over, received, read_errors, sleep_errors, wrong_sums;
static volatile unsigned long rounds;

static void count(int number) {{ received++; }}

/* Echoes each byte; read(2) itself is called, so that nothing hides EINTR. */
static void *reads(void *unused) {{
    char byte;
    ssize_t got;
    while ((got = read(0, &byte, 1)) != 0) {{
        if (got < 0) read_errors++;
        else if (write(1, &byte, 1) != 1) read_errors++;
    }}
    over = 1;
    return NULL;
}}

static void *sleeps(void *unused) {{
    struct timespec step = {{0, 20000000}};
    while (!over) if (nanosleep(&step, NULL)) sleep_errors++;
    return NULL;
}}

static void *computes(void *unused) {{
    while (!over) {{
        unsigned long sum = 0;
        for (unsigned long i = 1; i <= 10000; i++) {{ sum += i; __asm__ volatile("" : "+r"(sum)); }}
        if (sum != 50005000UL) wrong_sums++;
        rounds++;
    }}
    return NULL;
}}

int main(int count_of_words, char **words) {{
    struct sigaction action = {{.sa_handler = count, .sa_flags = SA_RESTART}};
    pthread_t one, two, three;
    alarm({LIFETIME});
    sigaction(SIGRTMIN, &action, NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("ready\\n");
    if (!strcmp(words[1], "vfork")) {{
        if (vfork() == 0) {{
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) pause();
        }}
        return 0;
    }}
    if (!strcmp(words[1], "threads")) {{
        pthread_create(&two, NULL, sleeps, NULL);
        pthread_create(&three, NULL, computes, NULL);
        pthread_create(&one, NULL, reads, NULL);
        pthread_join(one, NULL); pthread_join(two, NULL); pthread_join(three, NULL);
    }} else reads(NULL);
    printf("\\n%d %d %d %d %lu\\n", received, read_errors, sleep_errors, wrong_sums, rounds);
    return 0;
}}
"""


@contextmanager
def started(words: Sequence[str | Path]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said that it is ready; it ends with the context."""
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert output(child).readline() == b"ready\n"
        yield child
    finally:
        child.kill()
        child.wait()
        output(child).close()
        with suppress(BrokenPipeError):
            stdin(child).close()


def output(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdout is not None
    return child.stdout


def stdin(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdin is not None
    return child.stdin


def python(body: str, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", PYTHON + body, *words]


WAIT = 'print("ready", flush=True)\nsys.stdin.read()\n'


@contextmanager
def confined(*programs: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A process under these filters that waits for the end of its input."""
    with started(python(f"install(sys.argv[1:])\n{WAIT}", *(p.hex() for p in programs))) as child:
        yield child


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, which reads, sleeps and computes, each in a thread if asked to."""
    gcc = require("gcc", "gcc libc6-dev")
    directory = tmp_path_factory.mktemp("busy")
    source, program = directory / "busy.c", directory / "busy"
    source.write_text(C)
    subprocess.run([gcc, "-O1", "-pthread", "-o", program, source], check=True)
    return program


@contextmanager
def working(busy: Path, kind: str, *programs: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """The C program under these filters."""
    body = "import os\ninstall(sys.argv[3:])\nos.execv(sys.argv[1], sys.argv[1:3])\n"
    with started(python(body, str(busy), kind, *(p.hex() for p in programs))) as child:
        yield child


def state(pid: int) -> str:
    return status(pid)["State"][0]


def threads_of(pid: int) -> set[int]:
    return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def status(pid: int) -> dict[str, str]:
    found = harvest._status(pid)
    assert found is not None
    return found


def works(child: subprocess.Popen[bytes]) -> bool:
    """Whether the C program still echoes a byte, and nobody traces it."""
    stdin(child).write(b"x")
    stdin(child).flush()
    return output(child).read(1) == b"x" and status(child.pid)["TracerPid"] == "0"


def account(child: subprocess.Popen[bytes]) -> list[int]:
    """What the C program says at its end: signals, failed reads and sleeps, wrong sums, rounds."""
    stdin(child).close()
    words = output(child).read().split()
    assert child.wait(timeout=10) == 0
    return [int(word) for word in words]


def parsed(*programs: bytes) -> tuple[bpf.Program, ...]:
    return tuple(bpf.from_bytes(one, big_endian=BIG_ENDIAN) for one in programs)


# What is read is what was installed.


@needs_root
@pytest.mark.parametrize("count", [1, 3, 12])
def test_filters_come_back_oldest_first_and_byte_for_byte(count: int) -> None:
    programs = tuple(distinct(index) for index in range(count))

    with confined(*programs) as child:
        found = harvest.filters_of(child.pid)

    (thread,) = found.threads
    assert thread.tid == found.pid == child.pid
    assert thread.programs == programs


@needs_root
def test_the_kernel_gives_instructions_that_it_rewrites_as_they_were() -> None:
    """seccomp_check_filter() turns loads and lengths into codes of its own for running them."""
    program = raw(
        (
            bpf.statement(bpf.LD_LEN),
            bpf.statement(bpf.LDX_LEN),
            bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
            bpf.statement(0x34 | bpf.SOURCE_X),
            bpf.statement(bpf.RET_K, ALLOW),
        )
    )

    with confined(program) as child:
        assert harvest.filters_of(child.pid).threads[0].programs == (program,)


@needs_root
def test_the_longest_program_comes_back_whole() -> None:
    longest = (bpf.statement(bpf.TAX),) * (bpf.MAX_INSTRUCTIONS - 1)
    program = raw((*longest, bpf.statement(bpf.RET_K, ALLOW)))
    body = f"install([bytes.hex(sys.stdin.buffer.read({len(program)}))])\n{WAIT}"
    words = python(body)

    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        stdin(child).write(program)
        stdin(child).flush()
        assert output(child).readline() == b"ready\n"
        found = harvest.filters_of(child.pid)
        child.kill()

    assert found.threads[0].programs == (program,)


THREADS = """\
def body(programs):
    install(programs)
    ready.release()
    threading.Event().wait()
ready = threading.Semaphore(0)
install(sys.argv[1:2])
for programs in (sys.argv[2:3], [], sys.argv[2:]):
    threading.Thread(target=body, args=(programs,), daemon=True).start()
    ready.acquire()
"""


@needs_root
def test_every_thread_has_its_own_filters() -> None:
    a, b, c = (distinct(index) for index in range(3))

    with started(python(THREADS + WAIT, a.hex(), b.hex(), c.hex())) as child:
        found = harvest.filters_of(child.pid)
        loaded = process.load(child.pid)

    assert found.threads[0].tid == child.pid
    assert [thread.programs for thread in found.threads] == [(a,), (a, b), (a,), (a, b, c)]
    assert loaded.description == f"process {child.pid} ({found.comm})"
    tids = [thread.tid for thread in found.threads]
    assert [one.programs for one in loaded.members] == [parsed(a), parsed(a, b), parsed(a, b, c)]
    whose = f"({found.comm}) of {loaded.description}"
    assert [one.description for one in loaded.members] == [
        f"threads {tids[0]} ({found.comm}), {tids[2]} {whose}",
        f"thread {tids[1]} {whose}",
        f"thread {tids[3]} {whose}",
    ]
    second, third = map(str, loaded.findings)
    assert second.startswith(f"stack 2 is that of thread {tids[1]} ")
    assert "2 filters, against 1 filter of " in second
    assert "3 filters, against 1 filter of " in third


@needs_root
def test_a_first_thread_without_filters_is_a_stack_of_none() -> None:
    body = THREADS.replace("install(sys.argv[1:2])\n", "") + WAIT

    with started(python(body, "", distinct(1).hex())) as child:
        loaded = process.load(child.pid)

    assert [one.programs for one in loaded.members] == [(), parsed(distinct(1))]


@needs_root
def test_threads_live_on_where_the_first_one_has_ended() -> None:
    """What is read is then what confines the others."""
    body = """\
import ctypes
install(sys.argv[1:2])
def live_on():
    while open("/proc/self/task/%d/stat" % main).read().rpartition(")")[2].split()[0] != "Z":
        pass
    print("ready", flush=True)
    sys.stdin.read()
main = threading.get_native_id()
threading.Thread(target=live_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    with started(python(body, distinct(1).hex())) as child:
        loaded = process.load(child.pid)
        assert state(child.pid) == "Z"

    assert [one.programs for one in loaded.members] == [parsed(distinct(1))]
    assert [str(one) for one in loaded.findings] == [
        f"the first thread of {loaded.description} has ended; the others were judged"
    ]


# The kernel decides as the simulation of what was read says.


@needs_root
def test_the_replayed_stack_answers_as_simulated() -> None:
    stack = (
        returning(
            {
                700: FilterReturn(Action.ERRNO, errno.EIO),
                701: FilterReturn(Action.KILL_PROCESS),
                702: FilterReturn(Action.ERRNO, 1),
                703: FilterReturn(Action.LOG),
                704: FilterReturn(Action.ERRNO, 9999),
            }
        ),
        returning(
            {
                700: FilterReturn(Action.ERRNO, errno.EAGAIN),
                701: FilterReturn(Action.ERRNO, 1),
                702: FilterReturn(Action.TRAP),
                703: FilterReturn(Action.TRACE),
                705: FilterReturn(Action.KILL_THREAD),
            }
        ),
        returning({number: FilterReturn(Action.ERRNO, 2) for number in (700, 703, 706)}),
    )
    with confined(*stack) as child:
        programs = harvest.filters_of(child.pid).threads[0].programs

    with Zygote() as prober:
        calls = [Call(number) for number in (*PROBED, *replay.numbers_of(NATIVE))]
        compared = replay.replay(prober, NATIVE, programs, calls)
        reversed_ = replay.replay(prober, NATIVE, stack[::-1], [Call(700)])

    assert compared.mismatches == ()
    assert compared.asked == len(calls)
    assert compared.effects[Effect.KILLED_PROCESS] == 2
    assert compared.effects[Effect.TRAPPED] == 1
    assert compared.effects[Effect.REFUSED] == 4
    # The order matters, so that a wrong one would have been seen.
    assert reversed_.mismatches == ()
    fields = [bpf.from_bytes(one, big_endian=BIG_ENDIAN) for one in stack]
    seen = bpf.SeccompData(700, NATIVE.audit_arch)
    assert replay.combined(fields, seen) != replay.combined(fields[::-1], seen)


# The process goes on as if nothing had been.


@needs_root
def test_many_harvests_leave_no_trace(busy: Path) -> None:
    """Nothing fails in a thread that reads, one that sleeps and one that computes."""
    program = distinct(1)
    with working(busy, "threads", program) as child:
        wait_for(lambda: len(threads_of(child.pid)) == 4, "no threads")
        threads = threads_of(child.pid)
        ours = (threading.active_count(), open_files())
        for _ in range(HARVESTS):
            found = harvest.filters_of(child.pid)
            assert {thread.tid for thread in found.threads} == threads
            assert {thread.programs for thread in found.threads} == {(program,)}

        assert works(child)
        assert threads_of(child.pid) == threads
        assert {status(tid)["TracerPid"] for tid in threads} == {"0"}
        wait_for(lambda: threading.active_count() == ours[0], "a thread of ours is left")
        assert open_files() == ours[1]
        received, read_errors, sleep_errors, wrong_sums, rounds = account(child)

    assert (received, read_errors, sleep_errors, wrong_sums) == (0, 0, 0, 0)
    assert rounds > 0


@needs_root
def test_a_stopped_process_stays_stopped(busy: Path) -> None:
    with working(busy, "alone", distinct(1)) as child:
        child.send_signal(signal.SIGSTOP)
        wait_for(lambda: state(child.pid) == "T", "it did not stop")

        found = harvest.filters_of(child.pid)

        assert found.threads[0].programs == (distinct(1),)
        wait_for(lambda: state(child.pid) == "T", "it runs again")
        child.send_signal(signal.SIGCONT)
        assert works(child)


Ptrace = Callable[..., int]
STEPS = {
    "attach": harvest.PTRACE_SEIZE,
    "stop": harvest.PTRACE_INTERRUPT,
    "read": harvest.PTRACE_SECCOMP_GET_FILTER,
    "let go": harvest.PTRACE_DETACH,
}
every_step = pytest.mark.parametrize("request_", STEPS.values(), ids=STEPS)


def before(
    monkeypatch: pytest.MonkeyPatch, request_: int, happens: Callable[[], object]
) -> list[int]:
    """Has something happen right before the first ptrace request of a kind; counts requests."""
    real: Ptrace = harvest._ptrace
    made: list[int] = []

    def watched(request: int, tid: int, address: int = 0, data: int = 0) -> int:
        if request == request_ and request not in made:
            made.append(request)
            happens()
        made.append(request)
        return real(request, tid, address, data)

    monkeypatch.setattr(harvest, "_ptrace", watched)
    return made


@needs_root
@every_step
def test_signals_arrive_whatever_is_going_on(
    busy: Path, monkeypatch: pytest.MonkeyPatch, request_: int
) -> None:
    """A signal that the tracer intercepts is passed on, too."""
    with working(busy, "alone", distinct(1)) as child:

        def send() -> None:
            # Not by Popen, which first waits, and so would take the tracer's stop for an end.
            os.kill(child.pid, signal.SIGRTMIN)
            if request_ == harvest.PTRACE_INTERRUPT:
                wait_for(lambda: state(child.pid) == "t", "the signal was not intercepted")

        before(monkeypatch, request_, send)
        found = harvest.filters_of(child.pid)

        assert found.threads[0].programs == (distinct(1),)
        assert works(child)
        received, read_errors, *_ = account(child)

    assert (received, read_errors) == (1, 0)


@needs_root
@every_step
def test_a_process_that_is_killed_meanwhile(
    busy: Path, monkeypatch: pytest.MonkeyPatch, request_: int
) -> None:
    with working(busy, "alone", distinct(1)) as child:

        def kill() -> None:
            os.kill(child.pid, signal.SIGKILL)
            wait_for(lambda: state(child.pid) == "Z", "it did not end")

        before(monkeypatch, request_, kill)
        with pytest.raises(BadInputError, match=r"\(busy\) ended, or started another"):
            harvest.filters_of(child.pid)

        # Its end is still its parent's to see.
        assert child.wait(timeout=10) == -signal.SIGKILL


EXEC = """\
import os
def become_another():
    sys.stdin.buffer.raw.read(1)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
install(sys.argv[1:])
threading.Thread(target=become_another).start()
print("ready", flush=True)
threading.Event().wait()
"""


@needs_root
@pytest.mark.parametrize("moment", ["before the stop", "before the wait"])
def test_another_thread_starts_a_program_meanwhile(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The first thread is then gone, and its id is the other one's: it is read again."""
    with started(python(EXEC, distinct(1).hex())) as child:

        def become_another() -> None:
            stdin(child).write(b"x")
            stdin(child).flush()
            wait_for(lambda: len(threads_of(child.pid)) == 1, "it did not start the program")
            wait_for(lambda: status(child.pid)["TracerPid"] == "0", "it is still traced")

        if moment == "before the stop":
            before(monkeypatch, harvest.PTRACE_INTERRUPT, become_another)
        else:
            real = harvest._wait_until_stopped

            def late(name: str, tid: int, until: float) -> int:
                monkeypatch.setattr(harvest, "_wait_until_stopped", real)
                become_another()
                return real(name, tid, until)

            monkeypatch.setattr(harvest, "_wait_until_stopped", late)
        found = harvest.filters_of(child.pid)

    assert [thread.programs for thread in found.threads] == [(distinct(1),)]
    assert found.settled


@needs_root
@every_step
def test_an_interruption_leaves_nothing_traced(
    busy: Path, monkeypatch: pytest.MonkeyPatch, request_: int
) -> None:
    """Ctrl-C at any step: it ends the harvest and not the process."""
    with working(busy, "alone", distinct(1)) as child:
        made = before(monkeypatch, request_, lambda: signal.raise_signal(signal.SIGINT))

        with pytest.raises(KeyboardInterrupt):
            harvest.filters_of(child.pid)

        assert harvest.PTRACE_DETACH in made
        assert works(child)


@needs_root
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EMEDIUMTYPE, errno.EIO, errno.EFAULT])
def test_a_kernel_that_does_not_tell(
    busy: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with working(busy, "alone", distinct(1)) as child:

        def refuse() -> None:
            raise OSError(number, os.strerror(number))

        made = before(monkeypatch, harvest.PTRACE_SECCOMP_GET_FILTER, refuse)
        with pytest.raises(InstrumentError) as caught:
            harvest.filters_of(child.pid)

        assert harvest.PTRACE_DETACH in made
        assert works(child)
    word = {errno.EINVAL: "CHECKPOINT_RESTORE", errno.EIO: "Linux 4.4", errno.EMEDIUMTYPE: "BPF"}
    assert word.get(number, os.strerror(number)) in str(caught.value)


@needs_root
def test_a_filter_that_the_kernel_counts_and_does_not_give(
    busy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Ptrace = harvest._ptrace

    def hiding(request: int, tid: int, address: int = 0, data: int = 0) -> int:
        if request == harvest.PTRACE_SECCOMP_GET_FILTER and address == 1:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return real(request, tid, address, data)

    monkeypatch.setattr(harvest, "_ptrace", hiding)
    with (
        working(busy, "alone", distinct(1), distinct(2)) as child,
        pytest.raises(InstrumentError, match=r"counts 2 seccomp filters .* gave 1 of them"),
    ):
        harvest.filters_of(child.pid)


@needs_root
def test_a_process_that_cannot_be_stopped(busy: Path) -> None:
    """The parent of a vfork(2) sleeps until its child execs or ends."""
    with working(busy, "vfork", distinct(1)) as child:
        wait_for(lambda: state(child.pid) == "D", "it does not sleep")

        with pytest.raises(InstrumentError, match="could not be read in time"):
            harvest.filters_of(child.pid, seconds=0.3)

        wait_for(lambda: status(child.pid)["TracerPid"] == "0", "it is still traced")
        assert state(child.pid) == "D"


# Who cannot be read, and why.


def refused(pid: int) -> str:
    with pytest.raises(BadInputError) as caught:
        process.load(pid)
    assert caught.value.exit_status is ExitStatus.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pid", [0, -1, -(1 << 70)])
def test_what_is_no_process_id(pid: int) -> None:
    assert "is no process id" in refused(pid)


@pytest.mark.parametrize("pid", [(1 << 22) + 1, 1 << 31, 1 << 70])
def test_a_process_that_is_not_there(pid: int) -> None:
    """PID_MAX_LIMIT of linux/threads.h is 1 << 22."""
    assert f"there is no process {pid}" in refused(pid)


def test_this_process() -> None:
    assert "this very process" in refused(os.getpid())


def test_a_process_without_filters(busy: Path) -> None:
    with started([busy, "threads"]) as child:
        wait_for(lambda: len(threads_of(child.pid)) == 4, "no threads")
        found = harvest.filters_of(child.pid)
        assert [thread.programs for thread in found.threads] == [()] * 4
        assert works(child)


def test_a_thread_that_is_no_process(busy: Path) -> None:
    with started([busy, "threads"]) as child:
        wait_for(lambda: len(threads_of(child.pid)) == 4, "no threads")
        thread = max(threads_of(child.pid) - {child.pid})
        assert refused(thread) == f"{thread} is a thread of process {child.pid}: give {child.pid}"


def test_a_thread_of_the_kernel() -> None:
    kthreadd = next(
        (pid for pid in (2,) if harvest._status(pid) and harvest._is_kernel_thread(pid)), None
    )
    if kthreadd is None:
        pytest.skip("this pid namespace does not show the kernel's threads")
    assert refused(kthreadd).startswith("process 2 (kthreadd) is a thread of the kernel")


def test_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    wait_for(lambda: state(child.pid) == "Z", "it did not end")

    sentence = refused(child.pid)

    assert f"only waits for its parent {os.getpid()} " in sentence
    assert child.wait() == 0


def test_strict_mode() -> None:
    body = """\
import ctypes, os
libc = ctypes.CDLL(None)
os.write(1, b"ready\\n")
libc.prctl(22, 1, 0, 0, 0)
libc.read(0, ctypes.create_string_buffer(1), 1)
"""
    with started(python(body)) as child:
        wait_for(lambda: status(child.pid)["Seccomp"] == "1", "it is not in strict mode")
        assert "strict mode" in refused(child.pid)
        assert state(child.pid) == "S"


@needs_root
def test_a_process_that_somebody_else_traces(busy: Path) -> None:
    body = """\
from probes.instrument import harvest
harvest._ptrace(harvest.PTRACE_SEIZE, int(sys.argv[1]))
"""
    with (
        working(busy, "alone", distinct(1)) as child,
        started(python(body + WAIT, str(child.pid))) as tracer,
    ):
        sentence = refused(child.pid)

        assert f"is already traced by process {tracer.pid} (" in sentence
        assert status(child.pid)["TracerPid"] == str(tracer.pid)


REPORT = """\
from probes.instrument import harvest
from probes.errors import SuiteError
import os, subprocess
def nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
def report(pid):
    print("ready", flush=True)
    try:
        print(0, harvest.filters_of(pid).threads[0].programs[0].hex())
    except SuiteError as error:
        print(int(error.exit_status), error)
"""


def as_another(body: str, *words: str) -> str:
    """What a process of other rights says when it reads filters."""
    # Not isolated from its site-packages: the suite's own are needed only by harvest's imports.
    done = subprocess.run(
        [sys.executable, "-c", PYTHON + REPORT + body, *words],
        capture_output=True,
        check=True,
        text=True,
        timeout=LIFETIME,
    )
    return done.stdout.removeprefix("ready\n")


@needs_root
def test_another_users_process(busy: Path) -> None:
    with working(busy, "alone", distinct(1)) as child:
        said = as_another("nobody(); report(int(sys.argv[1]))", str(child.pid))

        assert re.match(r"4 this user may not trace process \d+ \(busy\): .*CAP_SYS_PTRACE", said)
        assert works(child)


@needs_root
def test_a_root_without_capabilities(busy: Path) -> None:
    with working(busy, "alone", distinct(1)) as child:
        said = as_another("kernel.drop_capabilities(); report(int(sys.argv[1]))", str(child.pid))

        assert said.startswith("4 this user may not trace process")
        assert works(child)


OWN = """\
nobody()
prepared = kernel.Filter(bytes.fromhex(sys.argv[1]))
child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: kernel.install(prepared))
report(child.pid)
status = open(f"/proc/{child.pid}/status").read()
print(child.poll(), "TracerPid:\\t0" in status)
child.kill()
child.wait()
"""


@needs_root
def test_a_process_of_ones_own_without_the_right_to_read_filters() -> None:
    """It can be traced, but the kernel gives filters to CAP_SYS_ADMIN only."""
    sentence, after = as_another(OWN, distinct(1).hex()).splitlines()

    assert re.match(r"4 to read the filters of process \d+ \(sleep\) takes CAP_SYS_ADMIN", sentence)
    assert after == "None True"


@needs_root
def test_a_reader_who_is_confined_himself(busy: Path) -> None:
    with working(busy, "alone", distinct(1)) as child:
        said = as_another("install(sys.argv[2:]); report(int(sys.argv[1]))", str(child.pid),
                          distinct(2).hex())  # fmt: skip

        assert said.startswith("4 the kernel shows the filters of process")
        assert "confined by seccomp" in said
        assert works(child)


@needs_root
def test_yama_can_forbid_it_to_everybody(
    busy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scope = tmp_path / "ptrace_scope"
    scope.write_text("3\n")
    monkeypatch.setattr(harvest, "_YAMA_SCOPE", scope)

    def refuse() -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with working(busy, "alone", distinct(1)) as child:
        before(monkeypatch, harvest.PTRACE_SEIZE, refuse)
        sentence = refused(child.pid)

    assert f"{scope} is 3" in sentence


def test_a_kernel_without_seccomp(busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = harvest._status

    def without(tid: int) -> dict[str, str] | None:
        found = real(tid)
        return None if found is None else {k: v for k, v in found.items() if "Seccomp" not in k}

    monkeypatch.setattr(harvest, "_status", without)
    with (
        started([busy, "alone"]) as child,
        pytest.raises(SuiteError, match="this kernel has no seccomp"),
    ):
        harvest.filters_of(child.pid)
