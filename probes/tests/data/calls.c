/* calls NUMBER...: makes each call with zeros, for one second at most, and prints what it answers: its
 * errno, 0 where there is none, or "nothing". It is the oracle of what a process gets to see. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		pid_t child = fork();
		int status;

		if (!child) {
			alarm(1);
			_exit(syscall(atoi(argv[i]), 0, 0, 0, 0, 0, 0) == -1 ? errno : 0);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			printf("nothing\n");
		else
			printf("%d\n", WEXITSTATUS(status));
	}
	return 0;
}
