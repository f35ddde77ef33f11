"""A C program that makes one raw call under a filter, by any entry and from any address.

It shares nothing with the suite, so that what it sees can be held against what the suite says.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.tests.support.oracles import require

_SOURCE = r"""
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* PROGRAM ENTRY END NUMBER ARGUMENT*6: END is where the instruction shall end, 0 for anywhere */
int main(int argc, char **argv)
{
    static struct sock_filter program[4096];
    struct sock_fprog all = { 0, program };
    FILE *file = fopen(argv[1], "rb");
    int by_int80 = !strcmp(argv[2], "int80"), by_page = !strcmp(argv[2], "vsyscall");
    unsigned long end = strtoul(argv[3], 0, 0), value[7], first, size = 8192;
    unsigned char *code;
    long answer;
    int i;

    if (argc != 11 || !file)
        return 3;
    all.len = fread(program, sizeof *program, 4096, file);
    for (i = 0; i < 7; i++)
        value[i] = strtoul(argv[4 + i], 0, 0);
    first = end ? (end - 2) & -4096UL : 0;
    if (end && ((end - 2) & 4095) < 4093)
        size = 4096;
    code = (void *)end;
    if (!by_page) {
        code = mmap((void *)first, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | (end ? MAP_FIXED_NOREPLACE : 0), -1, 0);
        if (code == MAP_FAILED) {
            perror("mmap");
            return 4;
        }
        code = end ? (void *)(end - 2) : code;
        memcpy(code, by_int80 ? "\xcd\x80\xc3" : "\x0f\x05\xc3", 3);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0)) {
        perror("seccomp");
        return 5;
    }
    if (by_int80) {
        register unsigned long r15 asm("r15") = (unsigned long)code;
        asm volatile("push %%rbp; mov %[last], %%rbp; call *%%r15; pop %%rbp"
                 : "=a"(answer)
                 : "a"(value[0]), "b"(value[1]), "c"(value[2]), "d"(value[3]),
                   "S"(value[4]), "D"(value[5]), [last] "r"(value[6]), "r"(r15)
                 : "memory", "r8", "r9", "r10", "r11");
    } else {
        register unsigned long r10 asm("r10") = value[4];
        register unsigned long r8 asm("r8") = value[5];
        register unsigned long r9 asm("r9") = value[6];
        register unsigned long r15 asm("r15") = (unsigned long)code;
        asm volatile("call *%%r15"
                 : "=a"(answer)
                 : "a"(value[0]), "D"(value[1]), "S"(value[2]), "d"(value[3]), "r"(r10),
                   "r"(r8), "r"(r9), "r"(r15)
                 : "memory", "rcx", "r11");
    }
    printf("%ld\n", answer);
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Entering:
    """The compiled program."""

    path: Path

    def answer(  # noqa: PLR0913 - the parts of a call
        self,
        program: bytes,
        entry: str,
        number: int,
        arguments: Sequence[int] = (),
        *,
        end: int = 0,
        by: Sequence[str] = (),
    ) -> int | str:
        """What a call is answered under a filter: the raw result, or what kept it from one.

        Args:
            program: the raw filter.
            entry: ``syscall``, ``int80`` or ``vsyscall``.
            number: the number.
            arguments: up to six.
            end: where the instruction ends.
            by: a command in front, such as ``setpriv`` with its options.
        """
        file = self.path.with_suffix(".bpf")
        file.write_bytes(program)
        six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
        words = [str(file), entry, hex(end), *map(hex, (number, *six))]
        done = subprocess.run(
            [*by, str(self.path), *words], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode == 0:
            return int(done.stdout)
        return done.stderr.strip() or f"ended with {done.returncode}"


def build(directory: Path) -> Entering:
    """Compiles the program into ``directory``."""
    compiler = require("gcc", "gcc libc6-dev linux-libc-dev")
    source = directory / "entering.c"
    source.write_text(_SOURCE, encoding="ascii")
    program = directory / "entering"
    flags = ("-O1", "-mno-red-zone", "-fomit-frame-pointer", "-Wall", "-Werror")
    subprocess.run([compiler, *flags, "-o", program, source], check=True, timeout=60)
    directory.chmod(0o755)
    return Entering(program)
