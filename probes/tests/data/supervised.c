/* supervised MODE NUMBER... -- COMMAND...: runs a command under a filter that asks a supervisor about
 * the numbers, by x86_64's own calls. What the supervisor does:
 * refuse      answers EPERM;
 * pretend     answers 0;
 * run         has the call run;
 * hang        takes the question and never answers;
 * gone        ends at once, so that nobody is there;
 * trace       is no supervisor: the filter hands the call to a tracer, and there is none.
 * It ends as the command does. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void supervise(int listener, const char *mode)
{
	struct pollfd ready = {listener, POLLIN, 0};

	while (poll(&ready, 1, -1) > 0 && !(ready.revents & POLLHUP)) {
		struct seccomp_notif asked;
		struct seccomp_notif_resp answer = {0};

		memset(&asked, 0, sizeof asked);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked))
			continue;
		if (!strcmp(mode, "hang"))
			continue;
		answer.id = asked.id;
		if (!strcmp(mode, "refuse"))
			answer.error = -EPERM;
		if (!strcmp(mode, "run"))
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

static int send_descriptor(int channel, int descriptor)
{
	char byte = '.', room[CMSG_SPACE(sizeof descriptor)];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room,
				 .msg_controllen = sizeof room};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof descriptor);
	memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
	return sendmsg(channel, &message, 0) != 1;
}

static int receive_descriptor(int channel)
{
	int descriptor;
	char byte, room[CMSG_SPACE(sizeof descriptor)];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room,
				 .msg_controllen = sizeof room};

	if (recvmsg(channel, &message, 0) != 1)
		exit(9);
	memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
	return descriptor;
}

int main(int argc, char **argv)
{
	int trace = argc > 1 && !strcmp(argv[1], "trace"), pair[2], status, i;
	unsigned asks = trace ? SECCOMP_RET_TRACE : SECCOMP_RET_USER_NOTIF;
	struct sock_filter program[64] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	};
	struct sock_fprog all = {4, program};
	pid_t child, supervisor;

	for (i = 2; i < argc && strcmp(argv[i], "--"); i++) {
		program[all.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[i]), 0, 1);
		program[all.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, asks);
	}
	program[all.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return 9;
	child = fork();
	if (!child) {
		int flags = trace ? 0 : SECCOMP_FILTER_FLAG_NEW_LISTENER, listener;
		char byte;

		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &all);
		if (listener < 0 || (!trace && send_descriptor(pair[1], listener)))
			_exit(9);
		if (!trace) {
			close(listener);
			if (read(pair[1], &byte, 1) != 1)
				_exit(9);
		}
		execvp(argv[i + 1], argv + i + 1);
		_exit(9);
	}
	if (!trace) {
		int listener = receive_descriptor(pair[0]);

		supervisor = strcmp(argv[1], "gone") ? fork() : 0;
		if (!supervisor && strcmp(argv[1], "gone")) {
			close(pair[0]);
			close(pair[1]);
			supervise(listener, argv[1]);
			_exit(0);
		}
		close(listener);
		if (write(pair[0], ".", 1) != 1)
			return 9;
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
