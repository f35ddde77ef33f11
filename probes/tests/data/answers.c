/* Makes calls with zeros, each in the second thread of a process of its own without capabilities, and prints what came
 * of each: "process" or "thread", whichever SIGSYS ended, "trap" where a handler ran, "nothing" where a second
 * was not enough, else the errno, 0 where there is none. Then it prints "end", and waits to be killed.
 * CALLS are the calls, as "x86_64:163", "x32:163" or "i386:51". */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRAPPED = 250, THREAD_ENDED = 251 };

static int by_int80;
static long number;
static volatile int answer = THREAD_ENDED;

static void trapped(int signal)
{
	(void)signal;
	_exit(TRAPPED);
}

static void *call(void *unused)
{
	long result;

	if (by_int80)
		__asm__ volatile("push %%rbp; xor %%ebp, %%ebp; int $0x80; pop %%rbp"
				 : "=a"(result)
				 : "a"(number), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
				 : "memory", "r8", "r9", "r10", "r11");
	else
		result = syscall(number, 0, 0, 0, 0, 0, 0) == -1 ? -errno : 0;
	if (by_int80)
		result = (int)result;
	answer = result < 0 && result > -4096 ? -result : 0;
	return unused;
}

static void child(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};
	pthread_t thread;

	signal(SIGSYS, trapped);
	alarm(1);
	syscall(SYS_capset, &header, none);
	if (pthread_create(&thread, NULL, call, NULL))
		_exit(252);
	pthread_join(thread, NULL);
	_exit(answer);
}

int main(void)
{
	static const char *const calls[] = {CALLS};

	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		int status;
		pid_t pid;

		by_int80 = !strncmp(calls[i], "i386:", 5);
		number = strtol(strchr(calls[i], ':') + 1, NULL, 0);
		if (!strncmp(calls[i], "x32:", 4))
			number |= 0x40000000;
		pid = fork();
		if (!pid)
			child();
		waitpid(pid, &status, 0);
		printf("%s ", calls[i]);
		if (WIFSIGNALED(status))
			puts(WTERMSIG(status) == SIGSYS ? "process" : "nothing");
		else if (WEXITSTATUS(status) == TRAPPED)
			puts("trap");
		else if (WEXITSTATUS(status) == THREAD_ENDED)
			puts("thread");
		else
			printf("%d\n", WEXITSTATUS(status));
	}
	puts("end");
	fflush(stdout);
	alarm(120);
	for (;;)
		pause();
}
