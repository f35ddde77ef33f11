/* What the benchmark of the observer runs: processes that make calls as fast as they can.
 *
 * Arguments: how many processes, and how many calls each makes. The call is keyctl with an operation
 * that does not exist, which the shipped policy documents; with a third argument it is getppid,
 * connect (to a port of this machine where nobody listens) or sendmsg (to a socket of its own).
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void connects(int times)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(9)};
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (times-- > 0)
        connect(any, (struct sockaddr *)&there, sizeof there);
}

static void sends(int times)
{
    int pair[2];
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    while (times-- > 0)
        if (sendmsg(pair[0], &message, 0) != 1 || recv(pair[1], &byte, 1, 0) != 1)
            _exit(1);
}

static void calls(int times, const char *which)
{
    if (which && strcmp(which, "connect") == 0)
        connects(times);
    else if (which && strcmp(which, "sendmsg") == 0)
        sends(times);
    else
        while (times-- > 0)
            which ? syscall(SYS_getppid) : syscall(SYS_keyctl, 9999, 0, 0, 0, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--)
        if (fork() == 0) {
            calls(atoi(argv[2]), argv[3]);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    return 0;
}
