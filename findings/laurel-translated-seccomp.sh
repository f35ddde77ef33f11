#!/usr/bin/env bash
# laurel 0.8.2 (Debian sid): behind an auditd whose log_format is ENRICHED, SECCOMP records have ARCH
# and SYSCALL, the names of the ABI and of the call. With both translations of laurel's own switched
# on (universal, user-db), SYSCALL records have them as before, and SECCOMP records have neither any
# more, as in 0.5.1 and 0.7.1. One of the two alone changes nothing.
#
# Expected beforehand: that a translation switched on leaves no record with fewer names.
set -euo pipefail

packages="laurel=0.8.2-2 libacl1 libgcc-s1 libc6"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# An apt with folders of its own, for another release than this machine's.
mkdir -p lists/partial cache/archives/partial etc
# shellcheck disable=SC2016 # a variable of apt's
archive=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $archive sid main" >etc/sources.list
touch status
options="-qq -o Dir::State=$folder -o Dir::State::status=$folder/status -o Dir::Cache=$folder/cache
-o Dir::Etc=$folder/etc -o Dir::Etc::sourceparts=- -o APT::Sandbox::User="
# shellcheck disable=SC2086 # lists of words
if ! { apt-get $options update && apt-get $options download $packages; } >/dev/null 2>&1; then
    echo "laurel 0.8.2 of Debian sid cannot be had any more"
    exit 77
fi
for package in ./*.deb; do dpkg-deb -x "$package" root; done

laurel() {
    libraries=$(find root -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    "$(find root -name 'ld-linux*.so.*' -type f | head -n 1)" --library-path "$libraries" \
        "$(find root -name laurel -type f -perm -u+x | head -n 1)" "$@"
}

record() {
    echo "type=SECCOMP msg=audit($1.000:$2): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=1" \
        "comm=\"a\" exe=\"/usr/bin/a\" sig=31 arch=c000003e syscall=163 compat=0 ip=0x7f" \
        "code=0x80000000"$'\x1d'"AUID=\"unset\" UID=\"root\" GID=\"root\" ARCH=x86_64 SYSCALL=acct"
}

call() {
    echo "type=SYSCALL msg=audit($1.000:$2): arch=c000003e syscall=163 success=no exit=-1 a0=0 a1=0" \
        "a2=0 a3=0 items=0 ppid=1 pid=2 auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0" \
        "sgid=0 fsgid=0 tty=(none) ses=4294967295 comm=\"a\" exe=\"/usr/bin/a\"" \
        "key=\"k\""$'\x1d'"ARCH=x86_64 SYSCALL=acct AUID=\"unset\" UID=\"root\""
    echo "type=EOE msg=audit($1.000:$2): "
}

# The names of the call in records of a type.
names() {
    { grep "\"$1\"" log/audit.log || true; } | { grep -oE '"(ARCH|SYSCALL)":"[a-z0-9_]+"' || true; } |
        sort -u | tr '\n' ' '
}

now=$(date +%s)
for translated in "false false" "true false" "false true" "true true"; do
    read -r universal users <<<"$translated"
    rm -rf log
    mkdir log
    printf 'directory = "%s/log"\n[auditlog]\nfile = "audit.log"\n[translate]\nuniversal = %s\n' \
        "$folder" "$universal" >laurel.toml
    echo "user-db = $users" >>laurel.toml
    { record "$((now - 9))" 1 && call "$((now - 8))" 2 && record "$now" 3 && sleep 2; } |
        laurel -c laurel.toml >said 2>&1
    echo "$(grep -oE 'laurel running version [0-9.]+' said), universal = $universal, user-db = $users"
    echo "  SECCOMP: $(names SECCOMP)"
    echo "  SYSCALL: $(names SYSCALL)"
    seen="${seen:-}$(names SECCOMP)|$(names SYSCALL)|"
done
both='"ARCH":"x86_64" "SYSCALL":"acct" '
if [ "$seen" != "$both|$both|$both|$both|$both|$both||$both|" ]; then
    echo "SECCOMP records are translated otherwise now" >&2
    exit 1
fi
