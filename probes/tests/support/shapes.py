"""Processes of made-up shapes: threads that start, install filters and end, in a random order.

The process is a C program that shares no code with the suite. Once it has its shape it makes the
probed calls itself, from each of its threads, so that the kernel says what each is confined by.
"""

import contextlib
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.documents import policy
from probes.files import SUITE
from probes.filters import bpf
from probes.targets import builtin
from probes.tests.support.emitter import sharing_records

CALLS = ("mount", "umount2", "swapon", "setns", "kcmp", "keyctl")
"""Documented calls that do nothing, and never answer EPERM, if all their arguments are -1."""

OTHER_ERRNO = 77
"""One that a wrong filter answers with."""

TSYNC, LOG = 1, 2
"""SECCOMP_FILTER_FLAG_* of linux/seccomp.h."""

MOST_THREADS = 5

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 16
#define CALLS 6

static const long calls[CALLS] = { SYS_mount, SYS_umount2, SYS_swapon,
                                   SYS_setns, SYS_kcmp, SYS_keyctl };
static char **words;                     /* each step: ACTOR t | e | FILE:FLAGS */
static volatile int steps, at, threads = 1, asked, turn;
static volatile int ended[MOST];
static int tids[MOST], answers[MOST][CALLS], bare[CALLS];

static void *life(void *index);

static void ask(int *into)
{
    for (int i = 0; i < CALLS; i++) {
        errno = 0;
        syscall(calls[i], -1L, -1L, -1L, -1L, -1L, -1L);
        into[i] = errno;
    }
}

static void install(char *what)
{
    static struct sock_filter code[4096];
    char file[4096];
    unsigned int flags;
    sscanf(what, "%4095[^:]:%u", file, &flags);
    int fd = open(file, O_RDONLY);
    ssize_t size = read(fd, code, sizeof code);
    struct sock_fprog program = { size / sizeof *code, code };
    close(fd);
    /* TSYNC says no, and does nothing, where another thread has filters that the caller lacks. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0) {
        perror(what);
        _exit(1);
    }
}

static void act(int me, char *what)
{
    pthread_t thread;
    if (*what == 't') {
        long next = threads;
        pthread_create(&thread, NULL, life, (void *)next);
        threads = next + 1;
    } else if (*what == 'e') {
        ended[me] = 1;
        at++;
        pthread_exit(NULL);
    } else
        install(what);
    at++;
}

static int first_alive(void)
{
    int one = 0;
    while (ended[one])
        one++;
    return one;
}

static void *life(void *index)
{
    int me = (long)index;
    char name[16];
    snprintf(name, sizeof name, "shape-%d", me);
    prctl(PR_SET_NAME, name);
    tids[me] = gettid();
    while (at < steps) {
        if (atoi(words[2 * at]) == me)
            act(me, words[2 * at + 1]);
        else
            usleep(1000);
    }
    if (first_alive() == me) {
        char line[8];
        for (int i = 0; i < threads; i++)
            while (!ended[i] && !tids[i])
                usleep(1000);
        usleep(20000); /* those that end are gone then */
        puts("ready");
        fgets(line, sizeof line, stdin);
        asked = 1;
    }
    while (!asked || turn != me) {
        if (ended[turn])
            turn++;
        usleep(1000);
    }
    ask(answers[me]);
    int last = me;
    for (int i = me + 1; i < threads; i++)
        if (!ended[i])
            last = i;
    if (last == me) {
        for (int i = 0; i < threads; i++) {
            if (ended[i])
                continue;
            printf("%d %d", i, tids[i]);
            for (int j = 0; j < CALLS; j++)
                printf(" %d", answers[i][j]);
            puts("");
        }
        puts("over");
    }
    turn++;
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    alarm(300);
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    words = argv + 1;
    steps = (argc - 1) / 2;
    ask(bare);
    for (int i = 0; i < CALLS; i++)
        if (bare[i] == EPERM || bare[i] == 0) {
            printf("call %d answers %d without a filter\n", i, bare[i]);
            return 1;
        }
    life((void *)0L);
}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one thread has seen.

    Attributes:
        tid: its id.
        denied: those of ``CALLS`` that a filter answered with EPERM.
        silent: those that a filter answered with any errno of its own, and left no record.
    """

    tid: int
    denied: frozenset[str]
    silent: frozenset[str]


def shape(seed: int, folder: Path) -> list[str]:
    """The words of a made-up shape; its programs are written to the folder."""
    rng = Random(seed)  # noqa: S311 - a failure must come again
    files = _programs(rng, folder)
    alive, started = [0], 1
    words: list[str] = []
    for _ in range(rng.randrange(2, 10)):
        actor = rng.choice(alive)
        kind = rng.random()
        if kind < 0.35 and started < MOST_THREADS:
            words += [str(actor), "t"]
            alive.append(started)
            started += 1
        elif kind > 0.93 and len(alive) > 1:
            words += [str(actor), "e"]
            alive.remove(actor)
        else:
            flags = rng.choice([0, 0, LOG, LOG, TSYNC, TSYNC | LOG])
            words += [str(actor), f"{rng.choice(files)}:{flags}"]
    return words


def _programs(rng: Random, folder: Path) -> list[Path]:
    """Filters: the one that conforms, one that does nothing, and some that know a few calls."""
    native = arch.get("x86_64")
    documented = policy.load(SUITE / "cases/policies/container-restrictions.toml", arch.all_names())
    allow = FilterReturn(Action.ALLOW).value
    made = [
        builtin.build(documented, arch.offered_by("x86_64"), Profile.ERRNO),
        (bpf.statement(bpf.RET_K, allow),),
    ]
    for _ in range(3):
        some = rng.sample(CALLS, rng.randrange(1, len(CALLS)))
        answer = FilterReturn(Action.ERRNO, rng.choice([1, 1, OTHER_ERRNO])).value
        numbers = {native.numbers[name] for name in some}
        made.append(bpf.dispatch({native.audit_arch: bpf.ranges(numbers, answer, allow)}, allow))
    files = [folder / f"{index}.bpf" for index in range(len(made))]
    for file, program in zip(files, made, strict=True):
        file.write_bytes(bpf.to_bytes(program))
    return files


def compiled(gcc: str, folder: Path) -> Path:
    """The C program."""
    source, program = folder / "shapes.c", folder / "shapes"
    source.write_text(SOURCE)
    subprocess.run([gcc, "-O1", "-pthread", "-o", program, source], check=True)
    return program


@contextlib.contextmanager
def running(program: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, once it has its shape."""
    with subprocess.Popen(
        [program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def ask(process: "subprocess.Popen[str]") -> list[Answers]:
    """Has every thread of the process make the calls, and hears which left records."""
    assert process.stdin is not None
    assert process.stdout is not None
    with sharing_records(), _listener() as listener:
        process.stdin.write("ask\n")
        process.stdin.flush()
        lines = list(iter(process.stdout.readline, "over\n"))
        recorded = set(_records(listener, process.pid))
    numbers = arch.get("x86_64").numbers
    found = []
    for line in lines:
        index, tid, *errnos = map(int, line.split())
        answers = dict(zip(CALLS, errnos, strict=True))
        refused = {name for name, answer in answers.items() if answer in {1, OTHER_ERRNO}}
        loud = {name for name in CALLS if (f"shape-{index}", numbers[name]) in recorded}
        denied = frozenset(name for name in refused if answers[name] == 1)
        found.append(Answers(tid, denied, frozenset(refused - loud)))
    return found


@contextlib.contextmanager
def _listener() -> Iterator[socket.socket]:
    """A socket that hears the kernel's audit records (NETLINK_AUDIT, AUDIT_NLGRP_READLOG)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as made:
        made.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE: others leave records, too
        made.bind((0, 1))
        made.settimeout(1)
        yield made


def _records(listener: socket.socket, pid: int) -> Iterator[tuple[str, int]]:
    """Who of a process left a SECCOMP record (1326) about which call."""
    while True:
        try:
            data = listener.recv(1 << 16)
        except TimeoutError:
            return
        text = data.decode(errors="replace")
        if struct.unpack_from("=IH", data)[1] == 1326 and re.search(rf"\bpid={pid}\b", text):
            comm, number = re.search(r'comm="([^"]*)"', text), re.search(r"syscall=(\d+)", text)
            assert comm
            assert number
            yield comm[1], int(number[1])
