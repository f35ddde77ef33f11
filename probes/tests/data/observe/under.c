/* under METHOD PROGRAM ... -- NUMBER ...: installs the programs, the oldest first, and has a child
 * make the calls; writes how that ended. 0, whatever became of the child.
 *
 * METHOD: prctl, seccomp, tsync, listener (which another listener forbids), or, on x86_64, seccomp32
 * through the 32-bit ABI; child-prctl installs them in the child only. For questions, which install
 * nothing: null, nowhere (an address where nothing is), strict, empty, invalid, available.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long enter32(long number, long a, long b, long c)
{
    long answer = -ENOSYS;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
#endif
    return answer;
}

struct low {
    uint32_t count, place;
    struct sock_filter code[BPF_MAXINSNS];
};

static int installed(const char *method, const char *file)
{
    struct low *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    int descriptor = open(file, O_RDONLY);
    ssize_t size = read(descriptor, at->code, sizeof at->code);
    struct sock_fprog all = {size / 8, at->code};

    close(descriptor);
    at->count = all.len, at->place = (uint32_t)(uintptr_t)at->code;
    if (strcmp(method, "seccomp32") == 0)
        return enter32(354, SECCOMP_SET_MODE_FILTER, 0, (long)at) == 0;
    if (strcmp(method, "seccomp") == 0)
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all) == 0;
    if (strcmp(method, "tsync") == 0)
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all) == 0;
    if (strcmp(method, "listener") == 0)
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                       &all) >= 0 || errno == EBUSY;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0;
}

static int asks(const char *what)
{
    struct sock_filter wrong[] = {{0xffff, 0, 0, 0}}, right[] = {{BPF_RET, 0, 0, 0}};
    struct sock_fprog all = {1, wrong}, empty = {0, right};
    unsigned action = SECCOMP_RET_LOG;
    long answer = 0;

    if (strcmp(what, "null") == 0) {
        for (int flag = 1; flag <= 32; flag *= 2)
            answer |= syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, NULL) != -1;
        answer |= prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != -1;
    } else if (strcmp(what, "nowhere") == 0)
        answer = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 8, 0x10) != -1 || errno != EFAULT;
    else if (strcmp(what, "strict") == 0)
        answer = prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != -1;
    else if (strcmp(what, "empty") == 0)
        answer = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &empty) != -1;
    else if (strcmp(what, "invalid") == 0)
        answer = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) != -1;
    else if (strcmp(what, "available") == 0)
        answer = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0;
    else
        return -1;
    return answer != 0;
}

int main(int argc, char **argv)
{
    const char *method = argv[1];
    int child_only = strncmp(method, "child-", 6) == 0, dashes = 2, status, known = asks(method);
    pid_t child;

    if (known >= 0)
        return known;
    while (strcmp(argv[dashes], "--"))
        dashes++;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (int i = 2; i < dashes && !child_only; i++)
        if (!installed(method, argv[i]))
            return 2;
    child = fork();
    if (child == 0) {
        for (int i = 2; i < dashes && child_only; i++)
            if (!installed(method + 6, argv[i]))
                _exit(99);
        for (int i = dashes + 1; i < argc; i++)
            syscall(atol(argv[i]), -1L, -1L, -1L, -1L, -1L, -1L);
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("signal %d\n", WTERMSIG(status));
    else
        printf("exit %d\n", WEXITSTATUS(status));
    return 0;
}
