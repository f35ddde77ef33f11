#!/usr/bin/env bash
# auditd 4.2.1 (Debian sid; 3.0.9 and 4.0.2 do the same): ausearch's forms csv and text, and the words
# that auditd's ENRICHED log adds, name the call of a SECCOMP record only if the record has a field
# subj. Kernels without AppArmor or SELinux write none, and then every call is called
# "unknown-syscall(-1)", though arch and syscall stand in the record. `ausearch -i` names it.
#
# Expected beforehand: the name that arch and syscall stand for, with and without subj.
set -euo pipefail

packages="auditd=1:4.2.1-1 libauparse0t64=1:4.2.1-1 libaudit1=1:4.2.1-1 libcap-ng0 libc6"

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
    echo "auditd 4.2.1 of Debian sid cannot be had any more"
    exit 77
fi
for package in ./*.deb; do dpkg-deb -x "$package" root; done

ausearch() {
    libraries=$(find root -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    "$(find root -name 'ld-linux*.so.*' -type f | head -n 1)" --library-path "$libraries" \
        "$(find root -name ausearch -type f)" -if "$1" "${@:2}" 2>/dev/null
}

record() {
    echo "type=SECCOMP msg=audit(1795894169.032:452): auid=4294967295 uid=0 gid=0 ses=4294967295" \
        "${1}pid=1504 comm=\"a\" exe=\"/usr/bin/a\" sig=31 arch=c000003e syscall=163 compat=0" \
        "ip=0x7f833d6cd829 code=0x80000000"
}
record "subj=unconfined " >with
record "" >without

ausearch with --version | head -n 1
for kind in with without; do
    listed=$(ausearch "$kind" --format csv | tail -n 1 | cut -d, -f13)
    interpreted=$(ausearch "$kind" -i | grep -oE ' syscall=[^ ]+' | cut -d= -f2)
    echo "  $kind subj: csv says $listed, -i says $interpreted"
    seen="${seen:-} $listed $interpreted"
done
if [ "$seen" != " acct acct unknown-syscall(-1) acct" ]; then
    echo "a record without subj is read otherwise now" >&2
    exit 1
fi
