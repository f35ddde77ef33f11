"""What the kernel answers to documented calls in a container, as a program in C finds out."""

from collections.abc import Iterable, Iterator
from typing import Final

from probes.arch import ARCHES
from probes.instrument.harmless import probe_for

CONFIRMS: Final = r"""
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * plain|witnessed, then ABI NUMBER and six arguments, repeatedly: what the kernel answers, to a
 * child of its own each. Witnessed, a call does not run: nobody traces the child, so a filter of
 * its own answers ENOSYS to whatever the container's filters do not refuse, with no regard to
 * capabilities.
 */
#define MAGIC 0xC0FFEE
#define ENDED 10000 /* and the signal that ended the child */

static int watch(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static void ask(int witnessed, char **words)
{
    unsigned long value[6];
    long number = (long)strtoul(words[1], NULL, 0), answer;
    for (int index = 0; index < 6; index++)
        value[index] = strtoul(words[2 + index], NULL, 0);
    if (witnessed) {
        value[5] = MAGIC;
        if (watch())
            _exit(1);
    }
    if (!strcmp(words[0], "i386")) {
        __asm__ volatile("push %%rbp\n mov %7, %%rbp\n int $0x80\n pop %%rbp"
                         : "=a"(answer)
                         : "a"((long)(int)number), "b"(value[0]), "c"(value[1]),
                           "d"(value[2]), "S"(value[3]), "D"(value[4]), "r"(value[5])
                         : "memory");
    } else {
        answer = syscall(number, value[0], value[1], value[2], value[3], value[4], value[5]);
        if (answer == -1)
            answer = -errno;
    }
    printf("%ld\n", answer);
    fflush(stdout);
    _exit(0);
}

int main(int count, char **words)
{
    if (count < 2)
        return 64;
    for (int index = 2; index + 8 <= count; index += 8) {
        int status;
        pid_t child = fork();
        if (child == 0)
            ask(!strcmp(words[1], "witnessed"), words + index);
        if (waitpid(child, &status, 0) != child)
            return 1;
        if (WIFSIGNALED(status))
            printf("%d\n", -ENDED - WTERMSIG(status));
        else if (status != 0)
            return 1;
        fflush(stdout);
    }
    return 0;
}
"""


Answers = dict[tuple[str, str], int]
"""The answers, by ABI and call."""


def words(how: str, asked: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The arguments of the program.

    Args:
        how: ``plain`` or ``witnessed``.
        asked: the ABIs and the calls.
    """
    yield how
    for arch, call in asked:
        number, row = ARCHES[arch].number(call), probe_for(call)
        assert number is not None
        assert row is not None
        yield from (arch, *map(hex, (number, *row.args, 0, 0, 0, 0, 0, 0)[:7]))


def answers(asked: Iterable[tuple[str, str]], said: str) -> Answers:
    """What the program has printed about the calls that it was asked for."""
    return dict(zip(asked, map(int, said.split()), strict=True))
