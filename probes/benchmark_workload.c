/* What the benchmark of the observer runs: processes that make calls as fast as they can.
 *
 * Arguments: how many processes, and how many calls each makes. The call is keyctl with an operation
 * that does not exist, which the shipped policy documents; with a third argument it is getppid.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--)
        if (fork() == 0) {
            for (int calls = atoi(argv[2]); calls > 0; calls--)
                if (argc > 3)
                    syscall(SYS_getppid);
                else
                    syscall(SYS_keyctl, 9999, 0, 0, 0, 0);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    return 0;
}
