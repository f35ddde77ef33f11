/*
 * Asks a sandbox what becomes of system calls, by means that the suite itself does not use.
 *
 * prober ABI:NUMBER...   prints a line "ABI NUMBER ANSWER" each
 * prober hold NAME       holds still, for others to look at
 *
 * The call is made in a child under one further filter, which answers SECCOMP_RET_TRACE to it. Of
 * what several filters say the kernel takes the most severe, and tracing is less so than killing,
 * trapping and refusing. So the tracer hears of a call if, and only if, every filter of the sandbox
 * lets it through, and then ends the child: no call is ever carried out, and no answer is the
 * kernel's own. Where the sandbox allows no ptrace(2), a listener does the same
 * (SECCOMP_RET_USER_NOTIF, the next more severe).
 *
 * runs      it reaches the tracer
 * SIGSYS    it ends the child, or brings it the signal
 * ENAME     it comes back with that error
 * returns   it comes back with something else
 * absent    the kernel has no such entry
 * untold    the sandbox does not let itself be asked; the reason follows
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define X32_BIT 0x40000000L
#define HIGHEST_ERRNO 4095

struct answer {
    volatile int asked;
    volatile int back;
    volatile int listener;
    volatile long value;
    const char *volatile trouble;
};

static long enter_64(long number)
{
    register long arg3 __asm__("r10") = 0, arg4 __asm__("r8") = 0, arg5 __asm__("r9") = 0;
    long back;

    __asm__ volatile("syscall"
                     : "=a"(back)
                     : "a"(number), "D"(0L), "S"(0L), "d"(0L), "r"(arg3), "r"(arg4), "r"(arg5)
                     : "rcx", "r11", "memory");
    return back;
}

static long enter_32(long number)
{
    int back;

    /* rbx and rbp are the compiler's own. */
    __asm__ volatile("push %%rbx\n\tpush %%rbp\n\txor %%ebx, %%ebx\n\txor %%ebp, %%ebp\n\t"
                     "int $0x80\n\tpop %%rbp\n\tpop %%rbx"
                     : "=a"(back)
                     : "a"((int)number), "c"(0), "d"(0), "S"(0), "D"(0)
                     : "r8", "r9", "r10", "r11", "memory");
    return back;
}

static int watch_for(const char *abi, long number, unsigned int action)
{
    unsigned int arch = strcmp(abi, "i386") ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_I386;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    if (action == SECCOMP_RET_USER_NOTIF)
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                            SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 0;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static void make(const char *abi, long number, struct answer *answer)
{
    answer->asked = 1;
    answer->value = strcmp(abi, "i386") ? enter_64(number) : enter_32(number);
    answer->back = 1;
    _exit(0);
}

static void traced(const char *abi, long number, struct answer *answer)
{
    alarm(10);
    answer->trouble = "ptrace";
    if (ptrace(PTRACE_TRACEME, 0, 0, 0))
        _exit(1);
    raise(SIGSTOP);
    answer->trouble = "seccomp";
    if (watch_for(abi, number, SECCOMP_RET_TRACE))
        _exit(1);
    make(abi, number, answer);
}

static void supervised(const char *abi, long number, struct answer *answer)
{
    alarm(10);
    answer->trouble = "seccomp with a listener";
    answer->listener = watch_for(abi, number, SECCOMP_RET_USER_NOTIF);
    if (answer->listener < 0)
        _exit(1);
    make(abi, number, answer);
}

static const char *named(const struct answer *answer)
{
    long value = answer->value;

    if (value < 0 && value >= -HIGHEST_ERRNO) {
        const char *name = strerrorname_np((int)-value);
        return name ? name : "E?";
    }
    return "returns";
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, __WALL);
}

/* What a child's end says. */
static const char *ended(int status, const struct answer *answer)
{
    if (!answer->asked)
        return "untold";
    if (WIFEXITED(status))
        return answer->back ? named(answer) : "untold";
    if (WTERMSIG(status) == SIGSYS)
        return "SIGSYS";
    return WTERMSIG(status) == SIGSEGV ? "absent" : "untold";
}

static const char *trace(pid_t pid, const struct answer *answer)
{
    int status;

    for (;;) {
        if (waitpid(pid, &status, __WALL) != pid)
            return "untold";
        if (!WIFSTOPPED(status))
            return ended(status, answer);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
            stop(pid);
            return "runs";
        }
        if (WSTOPSIG(status) == SIGSTOP) {
            if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)) {
                stop(pid);
                return "untold";
            }
            ptrace(PTRACE_CONT, pid, 0, 0);
        } else {
            ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status)); /* the signal is delivered */
        }
    }
}

static const char *listen_to(pid_t pid, const struct answer *answer)
{
    int status;

    for (;;) {
        struct pollfd one = {answer->asked ? answer->listener : -1, POLLIN, 0};

        if (poll(&one, 1, 5) == 1 && one.revents & POLLIN) {
            stop(pid);
            close(answer->listener);
            return "runs";
        }
        if (waitpid(pid, &status, __WALL | WNOHANG) == pid) {
            if (answer->asked)
                close(answer->listener);
            return ended(status, answer);
        }
    }
}

static const char *ask(const char *abi, long number, struct answer *answer)
{
    const char *said;
    pid_t pid;

    memset(answer, 0, sizeof(*answer));
    pid = fork();
    if (!pid)
        traced(abi, number, answer);
    said = pid < 0 ? "untold" : trace(pid, answer);
    if (answer->asked || pid < 0)
        return said;
    memset(answer, 0, sizeof(*answer));
    /* With one table of descriptors the child's listener is ours, too. */
    pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (!pid)
        supervised(abi, number, answer);
    return pid < 0 ? "untold" : listen_to(pid, answer);
}

static void print(const char *abi, long number, struct answer *answer)
{
    long entered = strcmp(abi, "x32") ? number : number | X32_BIT;
    const char *said = ask(abi, entered, answer);
    int is_untold = !strcmp(said, "untold");

    printf("%s %ld %s%s%s\n", abi, number, said, is_untold ? " " : "",
           is_untold && answer->trouble ? answer->trouble : "");
    fflush(stdout);
}

int main(int count, char **words)
{
    struct answer *answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char abi[16];
    long number;

    if (answer == MAP_FAILED)
        return 1;
    while (count == 3 && !strcmp(words[1], "hold"))
        pause();
    for (int place = 1; place < count; place++) {
        if (sscanf(words[place], "%15[^:]:%ld", abi, &number) != 2)
            return 2;
        print(abi, number, answer);
    }
    puts("done");
    return 0;
}
