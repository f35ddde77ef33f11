#!/usr/bin/env bash
# laurel 0.8.2 (Debian sid; 0.5.1 of bookworm does the same): a SECCOMP record that no other event
# follows is never written, however long one waits; only another event whose own time is more than 5
# seconds later brings it out. On a quiet machine the one record of an attack stays in its memory.
#
# Expected beforehand: that a record is written a few seconds after it arrived, by laurel's clock.
set -euo pipefail

packages="laurel=0.8.2-2 libacl1 libgcc-s1 libc6"
wait=12

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

mkdir log
printf 'directory = "%s/log"\n[auditlog]\nfile = "audit.log"\n' "$folder" >laurel.toml

# The time of an event, and its number.
record() {
    echo "type=SECCOMP msg=audit($1.000:$2): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=$2" \
        "comm=\"a\" exe=\"/usr/bin/a\" sig=31 arch=c000003e syscall=163 compat=0 ip=0x7f code=0x80000000"
}

written() {
    touch log/audit.log
    grep -c '"SECCOMP"' log/audit.log || true
}

now=$(date +%s)
{
    record "$now" 1
    sleep "$wait"
    written >alone
    record "$((now + 4))" 2
    sleep 2
    written >soon
    record "$((now + 6))" 3
    sleep 2
    written >later
} | laurel -c laurel.toml >said 2>&1
grep -oE 'laurel running version [0-9.]+' said
echo "  after $wait seconds alone: $(cat alone) written"
echo "  after an event that is 4 seconds later: $(cat soon) written"
echo "  after one that is 6 seconds later: $(cat later) written"
if [ "$(cat alone soon later | tr '\n' ' ')" != "0 0 1 " ]; then
    echo "a lone record is written otherwise now" >&2
    exit 1
fi
