/* snap_confine FILE COMMAND...: runs a command under the filters of one of snapd's files (.bin2), as snap-confine
 * installs them: the one that denies first, both with SECCOMP_FILTER_FLAG_LOG. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct head {
	char magic[2];
	uint8_t version, unrestricted, padding[4];
	uint32_t allow, deny;
	uint8_t reserved[112];
};

static int install(struct sock_filter *program, uint32_t size)
{
	struct sock_fprog all = {size / sizeof *program, program};

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &all);
}

int main(int argc, char **argv)
{
	static struct sock_filter allow[4096], deny[4096];
	FILE *file = argc > 2 ? fopen(argv[1], "rb") : NULL;
	struct head head;

	if (!file || fread(&head, sizeof head, 1, file) != 1 || memcmp(head.magic, "SC", 2) || head.version != 1)
		return 9;
	if (head.unrestricted != 1) {
		if (fread(allow, 1, head.allow, file) != head.allow || fread(deny, 1, head.deny, file) != head.deny)
			return 9;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || install(deny, head.deny) || install(allow, head.allow)) {
			perror("snap_confine");
			return 9;
		}
	}
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 9;
}
