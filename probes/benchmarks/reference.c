/*
 * The reference for probes/benchmarks/call_cost.py: what a probe costs without an interpreter.
 *
 * usage: reference ROUNDS NUMBER [PROGRAM...]
 *
 * Each round forks a child, which installs the raw programs in order, makes the call NUMBER with
 * six zero arguments and ends. Prints the nanoseconds of a round.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROGRAMS 4

static struct sock_filter code[MAX_PROGRAMS][BPF_MAXINSNS];
static struct sock_fprog programs[MAX_PROGRAMS];

static void load(struct sock_fprog *program, struct sock_filter *into, const char *path)
{
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		exit(2);
	}
	program->filter = into;
	program->len = fread(into, sizeof(*into), BPF_MAXINSNS, file);
	fclose(file);
}

static void probe(long number, int count)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int i = 0; i < count; i++)
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &programs[i], 0, 0))
			_exit(2);
	syscall(number, 0, 0, 0, 0, 0, 0);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct timespec begin, end;
	int count = argc - 3;

	if (argc < 3 || count > MAX_PROGRAMS)
		return 2;
	for (int i = 0; i < count; i++)
		load(&programs[i], code[i], argv[i + 3]);
	long rounds = atol(argv[1]);
	long number = atol(argv[2]);

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long round = 0; round < rounds; round++) {
		pid_t pid = fork();

		if (pid == 0)
			probe(number, count);
		if (pid < 0 || waitpid(pid, NULL, 0) < 0)
			return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.0f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / rounds);
	return 0;
}
