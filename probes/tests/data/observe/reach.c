/* reach WAY ADDRESS: reaches a daemon in one of the ways that the kernel has; 0 if it answered.
 *
 * WAY: connect, abstract, tcp (a port), tcp6, mapped (IPv4 in IPv6), fastopen (sendto with
 * MSG_FASTOPEN), udp, udp-connect (a port), sendto, sendmsg, sendmmsg (datagrams), or, on x86_64,
 * through the 32-bit ABI: connect32, socketcall, sendmsg32, socketcall-sendto; and inherited
 * (descriptor 0).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef __x86_64__
static long enter(long number, long a, long b, long c, long d, long e, long f)
{
    long answer;
    __asm__ volatile("push %%rbp; mov %7, %%rbp; int $0x80; pop %%rbp"
                     : "=a"(answer)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "r"(f)
                     : "memory", "r8", "r9", "r10", "r11");
    return answer;
}
#else
static long enter(long number, long a, long b, long c, long d, long e, long f) { return -ENOSYS; }
#endif

/* What the 32-bit ABI points to has to be where it can point to. */
struct low {
    struct sockaddr_un there;
    uint32_t words[6];
    uint32_t message[7];
    uint32_t part[2];
    char byte;
};

static int low(const char *way, int one, const struct sockaddr_un *there, socklen_t size)
{
    struct low *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
#define LOW(x) ((uint32_t)(uintptr_t)(x))
    at->there = *there;
    at->byte = '?';
    at->part[0] = LOW(&at->byte), at->part[1] = 1;
    at->message[0] = LOW(&at->there), at->message[1] = size;
    at->message[2] = LOW(at->part), at->message[3] = 1;
    if (strcmp(way, "connect32") == 0)
        return enter(362, one, LOW(&at->there), size, 0, 0, 0) != 0;
    if (strcmp(way, "sendmsg32") == 0)
        return enter(370, one, LOW(at->message), 0, 0, 0, 0) != 1;
    at->words[0] = one;
    if (strcmp(way, "socketcall") == 0) {
        at->words[1] = LOW(&at->there), at->words[2] = size;
        return enter(102, 3, LOW(at->words), 0, 0, 0, 0) != 0;
    }
    at->words[1] = LOW(&at->byte), at->words[2] = 1;
    at->words[4] = LOW(&at->there), at->words[5] = size;
    return enter(102, 11, LOW(at->words), 0, 0, 0, 0) != 1;
}

int main(int argc, char **argv)
{
    const char *way = argv[1], *address = argc > 2 ? argv[2] : "";
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(atoi(address)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(address))};
    char byte = '?';
    struct iovec part = {&byte, 1};
    struct mmsghdr message = {.msg_hdr = {&there, sizeof there, &part, 1}};
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(address) + 1;
    int datagram = strncmp(way, "send", 4) == 0 || strncmp(way, "udp", 3) == 0 || strcmp(way, "socketcall-sendto") == 0;
    int one = socket(AF_UNIX, datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
    int failed;

    strcpy(there.sun_path + (strcmp(way, "abstract") == 0), address);
    message.msg_hdr.msg_namelen = size;
    if (strcmp(way, "connect") == 0 || strcmp(way, "abstract") == 0)
        failed = connect(one, (struct sockaddr *)&there, size);
    else if (strcmp(way, "sendto") == 0)
        failed = sendto(one, &byte, 1, 0, (struct sockaddr *)&there, size) != 1;
    else if (strcmp(way, "sendmsg") == 0)
        failed = sendmsg(one, &message.msg_hdr, 0) != 1;
    else if (strcmp(way, "sendmmsg") == 0)
        failed = sendmmsg(one, &message, 1, 0) != 1;
    else if (strcmp(way, "inherited") == 0)
        one = 0, failed = 0;
    else if (strcmp(way, "tcp6") == 0 || strcmp(way, "mapped") == 0) {
        inet_pton(AF_INET6, strcmp(way, "tcp6") ? "::ffff:127.0.0.1" : "::1", &six.sin6_addr);
        one = socket(AF_INET6, SOCK_STREAM, 0);
        failed = connect(one, (struct sockaddr *)&six, sizeof six);
    } else if (strcmp(way, "tcp") == 0 || strcmp(way, "fastopen") == 0) {
        one = socket(AF_INET, SOCK_STREAM, 0);
        failed = strcmp(way, "tcp")
            ? sendto(one, &byte, 1, MSG_FASTOPEN, (struct sockaddr *)&four, sizeof four) != 1
            : connect(one, (struct sockaddr *)&four, sizeof four);
    } else if (strncmp(way, "udp", 3) == 0) {
        one = socket(AF_INET, SOCK_DGRAM, 0);
        failed = strcmp(way, "udp")
            ? connect(one, (struct sockaddr *)&four, sizeof four) || send(one, &byte, 1, 0) != 1
            : sendto(one, &byte, 1, 0, (struct sockaddr *)&four, sizeof four) != 1;
    } else
        failed = low(way, one, &there, size);
    if (failed) {
        perror(way);
        return 1;
    }
    return datagram ? 0 : read(one, &byte, 1) != 1 || byte != '!';
}
