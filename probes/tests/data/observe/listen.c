/* listen KIND ADDRESS WORK [MANNER]: a daemon that writes "ready", then "reached" for each client.
 *
 * KIND: stream, dgram (a path), abstract (a name), tcp, udp (a port, 0 for any: "ready PORT").
 * WORK for each client: none; fork (a child, waited for); twice (a grandchild that outlives its
 * parent); late (a child, a moment after the client has been answered); end (ends); become (executes
 * another program).
 * MANNER: silent has the kernel reap the children.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int bound(const char *kind, const char *address)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t size = sizeof port;
    int one = 1, made;

    if (strcmp(kind, "tcp") == 0 || strcmp(kind, "udp") == 0) {
        int datagrams = strcmp(kind, "udp") == 0;
        made = socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
        setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        port.sin_port = htons(atoi(address));
        if (bind(made, (struct sockaddr *)&port, size) || (!datagrams && listen(made, 9)))
            exit(1);
        getsockname(made, (struct sockaddr *)&port, &size);
        printf("ready %d\n", ntohs(port.sin_port));
        return made;
    }
    made = socket(AF_UNIX, strcmp(kind, "dgram") ? SOCK_STREAM : SOCK_DGRAM, 0);
    strcpy(here.sun_path + (strcmp(kind, "abstract") == 0), address);
    size = offsetof(struct sockaddr_un, sun_path) + strlen(address) + 1;
    if (bind(made, (struct sockaddr *)&here, size))
        exit(1);
    if (strcmp(kind, "dgram"))
        listen(made, 9);
    puts("ready");
    return made;
}

static void work(const char *what)
{
    if (strcmp(what, "late") == 0)
        usleep(50000);
    if (strcmp(what, "end") == 0)
        exit(0);
    if (strcmp(what, "become") == 0)
        execlp("sleep", "sleep", "30", NULL);
    if (strcmp(what, "none")) {
        pid_t child = fork();
        if (child == 0) {
            if (strcmp(what, "twice") == 0 && fork() == 0)
                usleep(500000);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

int main(int argc, char **argv)
{
    char byte;
    int here;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 4)
        signal(SIGCHLD, SIG_IGN);
    alarm(100);
    here = bound(argv[1], argv[2]);
    for (;;) {
        if (strcmp(argv[1], "dgram") == 0 || strcmp(argv[1], "udp") == 0) {
            if (recv(here, &byte, 1, 0) < 0)
                return 1;
            puts("reached");
            work(argv[3]);
        } else {
            int client = accept4(here, NULL, NULL, SOCK_CLOEXEC);
            puts("reached");
            if (strcmp(argv[3], "late"))
                work(argv[3]);
            if (write(client, "!", 1) != 1)
                return 1;
            close(client);
            if (strcmp(argv[3], "late") == 0)
                work(argv[3]);
        }
    }
}
