"""Emits real SECCOMP records for the collectors' tests, by a small C program of its own.

It shares no code with the instrument: what it does is between gcc, the kernel's headers and the
kernel, so records can be compared with what was really done.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from probes.tests.support.oracles import require

KILL_PROCESS = "0x80000000"
LOG = "0x7ffc0000"
ERRNO_EPERM = "0x00050001"

_LONG_NAME = f"odd {'x' * 200}"

_SOURCE = r"""
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define NATIVE AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#elif defined(__arm__)
#define NATIVE AUDIT_ARCH_ARM
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define NATIVE AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define NATIVE AUDIT_ARCH_S390X
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE AUDIT_ARCH_RISCV64
#else
#error "name this architecture's AUDIT_ARCH token here"
#endif

static void enter(unsigned int number, int i386)
{
#if defined(__x86_64__)
    if (i386) {
        long answer;
        __asm__ volatile("int $0x80" : "=a"(answer) : "a"((long)(int)number),
                 "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L) : "memory");
        return;
    }
#endif
    (void)i386;
    syscall((long)(int)number, 0, 0, 0, 0, 0, 0);
}

/* facts | NAME ACTION NUMBER COUNT native|i386 [logged] */
int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "facts")) {
        printf("%u %u\n", NATIVE, (unsigned int)SYS_getppid);
        return 0;
    }
    if (argc != 6 && argc != 7)
        return 64;
    unsigned int flags = argc == 7 ? SECCOMP_FILTER_FLAG_LOG : 0;
    unsigned int action = (unsigned int)strtoul(argv[2], NULL, 0);
    unsigned int number = (unsigned int)strtoul(argv[3], NULL, 0);
    unsigned long count = strtoul(argv[4], NULL, 0);
    int i386 = !strcmp(argv[5], "i386");
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
    /* No core file, whatever core_pattern says. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NAME, argv[1], 0, 0, 0) ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 65;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program))
        return 66;
    for (unsigned long n = 0; n < count; n++)
        enter(number, i386);
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Emitter:
    """The compiled program and what the kernel's headers told it.

    Attributes:
        path: the program.
        arch: the AUDIT_ARCH token of its architecture.
        getppid: the number of the call that it makes unless told otherwise.
    """

    path: Path
    arch: int
    getppid: int

    def command(  # noqa: PLR0913 - all but the first have defaults
        self,
        name: str,
        action: str = LOG,
        *,
        number: int | None = None,
        count: int = 1,
        entry: str = "native",
        logged: bool = False,
    ) -> list[str]:
        """The command that makes a call ``count`` times under a filter for this one number.

        Args:
            name: the ``comm`` of the records, at most 15 bytes.
            action: the filter's return value, as C reads a number.
            number: the call; getppid if None.
            count: how many times, where the action lets the process live.
            entry: ``native``, or ``i386`` for int 0x80 from an x86_64 program.
            logged: whether the filter has SECCOMP_FILTER_FLAG_LOG.
        """
        chosen = self.getppid if number is None else number
        flags = ["logged"] if logged else []
        return [str(self.path), name, action, str(chosen), str(count), entry, *flags]

    def emit(
        self, name: str, action: str = LOG, *, count: int = 1, logged: bool = False
    ) -> subprocess.Popen[bytes]:
        """Runs the command to its end and returns the process, for its pid and exit status."""
        process = subprocess.Popen(self.command(name, action, count=count, logged=logged))
        process.wait(timeout=60)
        return process


def build(directory: Path) -> Emitter:
    """Compiles the program into ``directory``."""
    compiler = require("gcc", "gcc libc6-dev linux-libc-dev")
    source = directory / "emitter.c"
    source.write_text(_SOURCE, encoding="ascii")
    program = directory / "emitter"
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=60)
    facts = subprocess.run([program, "facts"], check=True, capture_output=True, timeout=10)
    arch, getppid = facts.stdout.split()
    return Emitter(program, int(arch), int(getppid))


def far_away(emitter: Emitter, folder: Path) -> Emitter:
    """The same program at the longest of paths, which the kernel writes as twice as many digits."""
    depth = (os.pathconf(folder, "PC_PATH_MAX") - len(str(folder)) - 20) // (len(_LONG_NAME) + 1)
    place = folder.joinpath(*[_LONG_NAME] * depth)
    place.mkdir(parents=True)
    copy = place / "e"
    shutil.copy(emitter.path, copy)
    return replace(emitter, path=copy)


@contextlib.contextmanager
def sharing_records() -> Iterator[None]:
    """For tests that read real records: waits for a lone reader to end."""
    with contextlib.ExitStack() as stack:
        with _lock("gate", fcntl.LOCK_EX):
            stack.enter_context(_lock("records", fcntl.LOCK_SH))
        yield


@contextlib.contextmanager
def lone_reader() -> Iterator[None]:
    """For a test that stalls records, or that a flood would disturb: nobody shares meanwhile.

    It holds the gate while it waits, so that those who share cannot keep it waiting for ever.
    """
    with _lock("gate", fcntl.LOCK_EX), _lock("records", fcntl.LOCK_EX):
        yield


def lone_auditd() -> contextlib.AbstractContextManager[None]:
    """For a test that starts an auditd: the kernel serves only one."""
    return _lock("auditd", fcntl.LOCK_EX)


def lone_sshd() -> contextlib.AbstractContextManager[None]:
    """For a test that starts an sshd as root, which needs a folder at a fixed place."""
    return _lock("sshd", fcntl.LOCK_EX)


@contextlib.contextmanager
def _lock(name: str, kind: int) -> Iterator[None]:
    """A lock between the tests' processes of one user: the records are root's alone."""
    path = Path(tempfile.gettempdir()) / f"syscall-conformance-{os.geteuid()}-{name}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        wait_for(lambda: _locked(descriptor, kind), f"{path} stays locked", 180)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(happened: Callable[[], bool], otherwise: str, patience: float = 10) -> None:
    """Waits until something has happened, at most ``patience`` seconds.

    Raises:
        AssertionError: it did not in time.
    """
    end = time.monotonic() + patience
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(otherwise)
        time.sleep(0.01)


needs_root = pytest.mark.root("reads the kernel's audit records")
