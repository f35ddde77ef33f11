/* gaps DIRECTORY: for every call of some families, whether it does what the others of its family do.
 *
 * Each is made in a child of its own, under a filter of this program's that refuses (EPERM) the
 * others, and what it did is looked at by calls that belong to no family tried. A line each:
 * FAMILY CALL 1 if it did, 0 if it did not, and errno. Wants root, for owners, users and devices.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_fchroot
#define SYS_fchroot 472
#endif

#define ATTRIBUTE "user.gap"
#define MARK 1000000000L

struct value { uint64_t address; uint32_t size, flags; };

static int file, folder, child, ends[2];
static pid_t other;
static int other_pidfd;

static struct stat looked(const char *path)
{
	struct statx found;
	struct stat plain = { 0 };
	if (syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &found))
		return plain;
	plain.st_mode = found.stx_mode;
	plain.st_uid = found.stx_uid;
	plain.st_size = found.stx_size;
	plain.st_nlink = found.stx_nlink;
	plain.st_mtime = found.stx_mtime.tv_sec;
	return plain;
}

static int is_there(const char *path) { return looked(path).st_mode != 0; }
static int mode_changed(long said) { (void)said; return (looked("file").st_mode & 0777) == 0751; }
static int owner_changed(long said) { (void)said; return looked("file").st_uid == 12345; }
static int renamed(long said) { (void)said; return is_there("new") && !is_there("file"); }
static int linked(long said) { (void)said; return looked("file").st_nlink == 2; }
static int link_made(long said) { (void)said; return S_ISLNK(looked("new").st_mode); }
static int unlinked(long said) { (void)said; return !is_there("file"); }
static int removed(long said) { (void)said; return !is_there("empty"); }
static int node_made(long said) { (void)said; return S_ISFIFO(looked("new").st_mode); }
static int directory_made(long said) { (void)said; return S_ISDIR(looked("new").st_mode); }
static int opened(long said) { return said >= 0 && fcntl(said, F_GETFL) >= 0 && is_there("new"); }
static int touched(long said) { (void)said; return looked("file").st_mtime == MARK; }
static int cut(long said) { (void)said; return looked("file").st_size == 1; }
static int counted(long said) { return said > 0; }
static int duplicated(long said) { return said > 2 && said != file && lseek(said, 0, SEEK_CUR) >= 0; }
static int went(long said) { (void)said; return is_there("inside"); }
static int limited(long said)
{
	char text[4096];
	int about = open("/proc/self/limits", O_RDONLY);
	long length = read(about, text, sizeof text - 1);
	(void)said;
	text[length < 0 ? 0 : length] = 0;
	char *line = strstr(text, "Max open files");
	return line != NULL && strtol(line + 14, NULL, 10) == 77;
}
static int is_user(long said)
{
	(void)said;
	return syscall(SYS_geteuid) == 12345;
}
static int is_group(long said) { (void)said; return syscall(SYS_getegid) == 12345; }
static int ended(long said)
{
	int status = 0;
	(void)said;
	return waitpid(other, &status, WNOHANG | __WALL) == other || (usleep(200000), waitpid(other, &status, WNOHANG | __WALL) == other);
}
static int started(long said) { return said > 0 && waitpid(said, NULL, __WALL) == said; }
static int piped(long said)
{
	char byte = 0;
	(void)said;
	return write(ends[1], "x", 1) == 1 && read(ends[0], &byte, 1) == 1 && byte == 'x';
}
static int copied(long said) { (void)said; return looked("copy").st_size > 0; }
static int has_attribute(long said)
{
	char text[64] = "";
	(void)said;
	return lgetxattr("file", ATTRIBUTE, text, sizeof text) == 3 && !strncmp(text, "one", 3);
}
static int attribute_gone(long said) { (void)said; return !has_attribute(0); }
static int never(long said) { (void)said; return 0; }

#define CALL(name) static long try_##name(void)
static char buffer[256];
static struct timespec times[2] = { { MARK, 0 }, { MARK, 0 } };
static struct timeval old_times[2] = { { MARK, 0 }, { MARK, 0 } };
static struct rlimit limit = { 77, 77 };

CALL(chmod) { return syscall(SYS_chmod, "file", 0751); }
CALL(fchmod) { return syscall(SYS_fchmod, file, 0751); }
CALL(fchmodat) { return syscall(SYS_fchmodat, AT_FDCWD, "file", 0751); }
CALL(fchmodat2) { return syscall(SYS_fchmodat2, AT_FDCWD, "file", 0751, 0); }
CALL(chown) { return syscall(SYS_chown, "file", 12345, -1); }
CALL(fchown) { return syscall(SYS_fchown, file, 12345, -1); }
CALL(lchown) { return syscall(SYS_lchown, "file", 12345, -1); }
CALL(fchownat) { return syscall(SYS_fchownat, AT_FDCWD, "file", 12345, -1, 0); }
CALL(rename) { return syscall(SYS_rename, "file", "new"); }
CALL(renameat) { return syscall(SYS_renameat, AT_FDCWD, "file", AT_FDCWD, "new"); }
CALL(renameat2) { return syscall(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "new", 0); }
CALL(link) { return syscall(SYS_link, "file", "new"); }
CALL(linkat) { return syscall(SYS_linkat, AT_FDCWD, "file", AT_FDCWD, "new", 0); }
CALL(symlink) { return syscall(SYS_symlink, "file", "new"); }
CALL(symlinkat) { return syscall(SYS_symlinkat, "file", AT_FDCWD, "new"); }
CALL(unlink) { return syscall(SYS_unlink, "file"); }
CALL(unlinkat) { return syscall(SYS_unlinkat, AT_FDCWD, "file", 0); }
CALL(rmdir) { return syscall(SYS_rmdir, "empty"); }
CALL(unlinkat_directory) { return syscall(SYS_unlinkat, AT_FDCWD, "empty", AT_REMOVEDIR); }
CALL(mknod) { return syscall(SYS_mknod, "new", S_IFIFO | 0600, 0); }
CALL(mknodat) { return syscall(SYS_mknodat, AT_FDCWD, "new", S_IFIFO | 0600, 0); }
CALL(mkdir) { return syscall(SYS_mkdir, "new", 0700); }
CALL(mkdirat) { return syscall(SYS_mkdirat, AT_FDCWD, "new", 0700); }
CALL(open) { return syscall(SYS_open, "new", O_CREAT | O_RDWR, 0600); }
CALL(openat) { return syscall(SYS_openat, AT_FDCWD, "new", O_CREAT | O_RDWR, 0600); }
CALL(openat2)
{
	uint64_t how[3] = { O_CREAT | O_RDWR, 0600, 0 };
	return syscall(SYS_openat2, AT_FDCWD, "new", how, sizeof how);
}
CALL(creat) { return syscall(SYS_creat, "new", 0600); }
CALL(utimensat) { return syscall(SYS_utimensat, AT_FDCWD, "file", times, 0); }
CALL(utime) { struct utimbuf both = { MARK, MARK }; return syscall(SYS_utime, "file", &both); }
CALL(utimes) { return syscall(SYS_utimes, "file", old_times); }
CALL(futimesat) { return syscall(SYS_futimesat, AT_FDCWD, "file", old_times); }
CALL(truncate) { return syscall(SYS_truncate, "file", 1L); }
CALL(ftruncate) { return syscall(SYS_ftruncate, file, 1L); }
CALL(setxattr) { return syscall(SYS_setxattr, "file", ATTRIBUTE, "one", 3L, 0); }
CALL(lsetxattr) { return syscall(SYS_lsetxattr, "file", ATTRIBUTE, "one", 3L, 0); }
CALL(fsetxattr) { return syscall(SYS_fsetxattr, file, ATTRIBUTE, "one", 3L, 0); }
CALL(setxattrat)
{
	struct value one = { (uintptr_t)"one", 3, 0 };
	return syscall(SYS_setxattrat, AT_FDCWD, "file", 0, ATTRIBUTE, &one, sizeof one);
}
CALL(getxattr) { return syscall(SYS_getxattr, "old", ATTRIBUTE, buffer, sizeof buffer); }
CALL(lgetxattr) { return syscall(SYS_lgetxattr, "old", ATTRIBUTE, buffer, sizeof buffer); }
CALL(fgetxattr) { return syscall(SYS_fgetxattr, child, ATTRIBUTE, buffer, sizeof buffer); }
CALL(getxattrat)
{
	struct value into = { (uintptr_t)buffer, sizeof buffer, 0 };
	return syscall(SYS_getxattrat, AT_FDCWD, "old", 0, ATTRIBUTE, &into, sizeof into);
}
CALL(listxattr) { return syscall(SYS_listxattr, "old", buffer, sizeof buffer); }
CALL(llistxattr) { return syscall(SYS_llistxattr, "old", buffer, sizeof buffer); }
CALL(flistxattr) { return syscall(SYS_flistxattr, child, buffer, sizeof buffer); }
CALL(listxattrat) { return syscall(SYS_listxattrat, AT_FDCWD, "old", 0, buffer, sizeof buffer); }
CALL(removexattr) { return syscall(SYS_removexattr, "file", ATTRIBUTE); }
CALL(lremovexattr) { return syscall(SYS_lremovexattr, "file", ATTRIBUTE); }
CALL(fremovexattr) { return syscall(SYS_fremovexattr, file, ATTRIBUTE); }
CALL(removexattrat) { return syscall(SYS_removexattrat, AT_FDCWD, "file", 0, ATTRIBUTE); }
CALL(chdir) { return syscall(SYS_chdir, "empty"); }
CALL(fchdir) { return syscall(SYS_fchdir, folder); }
CALL(chroot) { return syscall(SYS_chroot, "empty") ?: chdir("/"); }
CALL(fchroot) { return syscall(SYS_fchroot, folder, 0) ?: chdir("/"); }
CALL(dup) { return syscall(SYS_dup, file); }
CALL(dup2) { return syscall(SYS_dup2, file, 99); }
CALL(dup3) { return syscall(SYS_dup3, file, 99, 0); }
CALL(fcntl) { return syscall(SYS_fcntl, file, F_DUPFD, 90); }
CALL(pipe) { return syscall(SYS_pipe, ends); }
CALL(pipe2) { return syscall(SYS_pipe2, ends, 0); }
CALL(sendfile) { return syscall(SYS_sendfile, child, file, NULL, 3L); }
CALL(copy_file_range) { return syscall(SYS_copy_file_range, file, NULL, child, NULL, 3L, 0); }
CALL(splice)
{
	long into = syscall(SYS_splice, file, NULL, ends[1], NULL, 3L, 0);
	return into > 0 ? syscall(SYS_splice, ends[0], NULL, child, NULL, 3L, 0) : into;
}
CALL(kill) { return syscall(SYS_kill, other, SIGUSR1); }
CALL(tkill) { return syscall(SYS_tkill, other, SIGUSR1); }
CALL(tgkill) { return syscall(SYS_tgkill, other, other, SIGUSR1); }
static siginfo_t queued = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };
CALL(rt_sigqueueinfo) { return syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, &queued); }
CALL(rt_tgsigqueueinfo) { return syscall(SYS_rt_tgsigqueueinfo, other, other, SIGUSR1, &queued); }
CALL(pidfd_send_signal) { return syscall(SYS_pidfd_send_signal, other_pidfd, SIGUSR1, NULL, 0); }
CALL(fork) { long pid = syscall(SYS_fork); if (pid == 0) _exit(0); return pid; }
CALL(clone) { long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); if (pid == 0) _exit(0); return pid; }
CALL(clone3)
{
	struct clone_args how = { .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &how, sizeof how);
	if (pid == 0)
		_exit(0);
	return pid;
}
CALL(vfork) { pid_t pid = vfork(); if (pid == 0) _exit(0); return pid; }
static char *words[] = { "gaps", "ran", NULL };
CALL(execve) { return syscall(SYS_execve, "/proc/self/exe", words, NULL); }
CALL(execveat) { return syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", words, NULL, 0); }
CALL(setuid) { return syscall(SYS_setuid, 12345); }
CALL(setreuid) { return syscall(SYS_setreuid, -1, 12345); }
CALL(setresuid) { return syscall(SYS_setresuid, -1, 12345, -1); }
CALL(setgid) { return syscall(SYS_setgid, 12345); }
CALL(setregid) { return syscall(SYS_setregid, -1, 12345); }
CALL(setresgid) { return syscall(SYS_setresgid, -1, 12345, -1); }
CALL(setrlimit) { return syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit); }
CALL(prlimit64) { return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL); }

struct one { const char *family, *name; int number; long (*make)(void); int (*did)(long); };
#define ONE(family, name, did) { family, #name, SYS_##name, try_##name, did }

static const struct one all[] = {
	ONE("mode", chmod, mode_changed), ONE("mode", fchmod, mode_changed),
	ONE("mode", fchmodat, mode_changed), ONE("mode", fchmodat2, mode_changed),
	ONE("owner", chown, owner_changed), ONE("owner", fchown, owner_changed),
	ONE("owner", lchown, owner_changed), ONE("owner", fchownat, owner_changed),
	ONE("rename", rename, renamed), ONE("rename", renameat, renamed),
	ONE("rename", renameat2, renamed),
	ONE("link", link, linked), ONE("link", linkat, linked),
	ONE("symlink", symlink, link_made), ONE("symlink", symlinkat, link_made),
	ONE("unlink", unlink, unlinked), ONE("unlink", unlinkat, unlinked),
	ONE("rmdir", rmdir, removed),
	{ "rmdir", "unlinkat", SYS_unlinkat, try_unlinkat_directory, removed },
	ONE("mknod", mknod, node_made), ONE("mknod", mknodat, node_made),
	ONE("mkdir", mkdir, directory_made), ONE("mkdir", mkdirat, directory_made),
	ONE("open", open, opened), ONE("open", openat, opened), ONE("open", openat2, opened),
	ONE("open", creat, opened),
	ONE("times", utimensat, touched), ONE("times", utime, touched),
	ONE("times", utimes, touched), ONE("times", futimesat, touched),
	ONE("length", truncate, cut), ONE("length", ftruncate, cut),
	ONE("setxattr", setxattr, has_attribute), ONE("setxattr", lsetxattr, has_attribute),
	ONE("setxattr", fsetxattr, has_attribute), ONE("setxattr", setxattrat, has_attribute),
	ONE("getxattr", getxattr, counted), ONE("getxattr", lgetxattr, counted),
	ONE("getxattr", fgetxattr, counted), ONE("getxattr", getxattrat, counted),
	ONE("listxattr", listxattr, counted), ONE("listxattr", llistxattr, counted),
	ONE("listxattr", flistxattr, counted), ONE("listxattr", listxattrat, counted),
	ONE("removexattr", removexattr, attribute_gone), ONE("removexattr", lremovexattr, attribute_gone),
	ONE("removexattr", fremovexattr, attribute_gone),
	ONE("removexattr", removexattrat, attribute_gone),
	ONE("chdir", chdir, went), ONE("chdir", fchdir, went),
	ONE("chroot", chroot, went), ONE("chroot", fchroot, went),
	ONE("dup", dup, duplicated), ONE("dup", dup2, duplicated), ONE("dup", dup3, duplicated),
	ONE("dup", fcntl, duplicated),
	ONE("pipe", pipe, piped), ONE("pipe", pipe2, piped),
	ONE("copy", sendfile, copied), ONE("copy", copy_file_range, copied),
	ONE("copy", splice, copied),
	ONE("signal", kill, ended), ONE("signal", tkill, ended), ONE("signal", tgkill, ended),
	ONE("signal", rt_sigqueueinfo, ended), ONE("signal", rt_tgsigqueueinfo, ended),
	ONE("signal", pidfd_send_signal, ended),
	ONE("process", fork, started), ONE("process", clone, started),
	ONE("process", clone3, started), ONE("process", vfork, started),
	ONE("program", execve, never), ONE("program", execveat, never),
	ONE("user", setuid, is_user), ONE("user", setreuid, is_user),
	ONE("user", setresuid, is_user),
	ONE("group", setgid, is_group), ONE("group", setregid, is_group),
	ONE("group", setresgid, is_group),
	ONE("limit", setrlimit, limited), ONE("limit", prlimit64, limited),
};
#define COUNT (sizeof all / sizeof *all)

/* Refuses the rest of the family; a call that several operations share is left to the one tried. */
static void confine(const struct one *tried)
{
	struct sock_filter code[2 * COUNT + 2];
	unsigned short length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (const struct one *one = all; one < all + COUNT; one++)
		if (!strcmp(one->family, tried->family) && one->number != tried->number) {
			code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, one->number, 0, 1);
			code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog all_of_it = { length, code };
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all_of_it)) {
		perror("seccomp");
		_exit(99);
	}
}

static void write_file(const char *path, const char *text)
{
	int made = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	if (made < 0 || write(made, text, strlen(text)) < 0)
		_exit(98);
	close(made);
}

static void prepare(const struct one *one)
{
	char name[] = "tried.XXXXXX";
	if (!mkdtemp(name) || chdir(name) || mkdir("empty", 0700))
		_exit(98);
	write_file("file", "three");
	write_file("old", "old");
	write_file("copy", "");
	setxattr("old", ATTRIBUTE, "one", 3, 0);
	int copies = !strcmp(one->family, "copy");
	if (!strcmp(one->family, "removexattr"))
		setxattr("file", ATTRIBUTE, "one", 3, 0);
	if (!strcmp(one->family, "chdir") || !strcmp(one->family, "chroot"))
		write_file("empty/inside", "");
	file = open("file", O_RDWR);
	child = open(copies ? "copy" : "old", O_RDWR);
	folder = open("empty", O_RDONLY | O_DIRECTORY);
	if (copies && pipe(ends))
		_exit(98);
	if (!strcmp(one->family, "signal")) {
		other = fork();
		if (other == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		other_pidfd = syscall(SYS_pidfd_open, other, 0);
	}
}

static void judge(const struct one *one)
{
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prepare(one);
		confine(one);
		errno = 0;
		long said = one->make();
		int error = errno;
		int did = one->did(said);
		printf("%s %s %d %d\n", one->family, one->name, did, error);
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	if (status)
		printf("%s %s broken %d\n", one->family, one->name, status);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "ran"))
		return 0; /* by execve or execveat, whichever was not refused */
	if (argc != 2 || chdir(argv[1])) {
		fprintf(stderr, "usage: gaps DIRECTORY\n");
		return 2;
	}
	for (const struct one *one = all; one < all + COUNT; one++) {
		if (!strcmp(one->family, "program")) {
			int status = -1;
			fflush(stdout);
			pid_t pid = fork();
			if (pid == 0) {
				confine(one);
				one->make();
				_exit(1);
			}
			waitpid(pid, &status, 0);
			printf("%s %s %d 0\n", one->family, one->name, status == 0);
		} else {
			judge(one);
		}
	}
	return 0;
}
