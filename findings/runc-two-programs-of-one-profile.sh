#!/usr/bin/env bash
# runc 1.1.5 (Debian bookworm): one bundle, started again and again, gets filters of the same length
# and of different bytes. Only the part that answers ENOSYS to unknown calls changes its order, so
# they do the same; whoever compares digests of filters takes equal containers for different ones.
#
# Expected beforehand: one profile, one runtime, one program. Needs root, and Debian's archive.
set -euo pipefail

packages="runc=1.1.5+ds1-1+deb12u1 strace=6.1-0.1 busybox-static=1:1.35.0-4+deb12u1+b1"
starts=16

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if [ "$(id -u)" -ne 0 ]; then
    echo "starting containers takes root"
    exit 77
fi
# shellcheck disable=SC2086 # a list of words
apt-get -qq -o APT::Sandbox::User=root download $packages 2>/dev/null || {
    echo "runc 1.1.5 of Debian bookworm cannot be had any more"
    exit 77
}
for package in ./*.deb; do dpkg-deb -x "$package" tools; done

mkdir -p bundle/rootfs/bin
cp tools/bin/busybox bundle/rootfs/bin/true
cd bundle
../tools/usr/sbin/runc spec
python3 - <<'PY'
import json

spec = json.load(open("config.json", encoding="utf-8"))
spec["process"]["terminal"] = False
spec["process"]["args"] = ["/bin/true"]
spec["linux"]["seccomp"] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": NAMES, "action": "SCMP_ACT_ALLOW"} for NAMES in [[
        "arch_prctl", "brk", "capget", "capset", "chdir", "close", "dup", "dup3", "epoll_ctl",
        "epoll_pwait", "execve", "exit", "exit_group", "faccessat", "fchdir", "fchown", "fcntl",
        "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getegid", "geteuid", "getgid",
        "getpid", "getppid", "gettid", "getuid", "keyctl", "lseek", "mmap", "mprotect", "munmap",
        "nanosleep", "newfstatat", "openat", "prctl", "prlimit64", "read", "readlinkat",
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "set_robust_list", "set_tid_address",
        "setgid", "setgroups", "setuid", "sigaltstack", "statfs", "statx", "tgkill", "uname",
        "write",
    ]]],
}
json.dump(spec, open("config.json", "w", encoding="utf-8"))
PY

for start in $(seq "$starts"); do
    timeout 60 ../tools/usr/bin/strace -f -v -qq -e trace=prctl,seccomp -e signal=none \
        -o "$folder/trace" ../tools/usr/sbin/runc --root "$folder/state" run "f$$-$start" </dev/null
    program=$(grep -oE 'len=[0-9]+, filter=.*' "$folder/trace" | sed 's/ *<unfinished.*//')
    echo "$(echo "$program" | cut -d, -f1) $(echo "$program" | sha256sum | cut -c1-12)"
done >"$folder/programs"

lengths=$(cut -d' ' -f1 "$folder/programs" | sort -u | wc -l)
programs=$(sort -u "$folder/programs" | wc -l)
echo "runc 1.1.5 gave $starts containers of one bundle, as times, instructions, digest:"
sort "$folder/programs" | uniq -c
if [ "$lengths" -ne 1 ] || [ "$programs" -lt 2 ]; then
    echo "containers of one bundle get the same bytes now, or filters of several lengths" >&2
    exit 1
fi
