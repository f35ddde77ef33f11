#!/usr/bin/env bash
# podman-compose 1.6.0 (PyPI): Compose files may write security_opt as "seccomp:FILE" or as
# "seccomp=FILE". podman-compose hands the first form on with its colon, and a file name as it
# stands, not seen from the folder of the Compose file.
#
# Expected beforehand: that "seccomp:FILE" becomes --security-opt seccomp=FILE, which is the form
# that podman's manual has.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'podman-compose==1.6.0' 2>/dev/null || {
    echo "podman-compose 1.6.0 cannot be had any more"
    exit 77
}

# Stands in for podman: notes how it is called, and has no containers.
mkdir "$folder/bin" "$folder/project"
cat >"$folder/bin/podman" <<SCRIPT
#!/bin/sh
echo "\$*" >>"$folder/calls"
case "\$*" in
*--version*) echo "podman version 5.8.0" ;;
*json*) echo "[]" ;;
esac
SCRIPT
chmod +x "$folder/bin/podman"
cat >"$folder/project/compose.yaml" <<'YAML'
services:
  colon:
    image: example
    security_opt: ["seccomp:profile.json"]
  equals:
    image: example
    security_opt: ["seccomp=profile.json"]
YAML

(cd / && PATH="$folder/bin:$PATH" timeout 60 "$folder/venv/bin/podman-compose" \
    -f "$folder/project/compose.yaml" up --no-start >"$folder/said" 2>&1) || {
    cat "$folder/said"
    echo "podman-compose does not get along with the stand-in for podman"
    exit 1
}
seen=$(grep -o -- '--security-opt [^ ]*' "$folder/calls")
echo "podman-compose 1.6.0, started in /, gives podman:"
echo "$seen"
expected='--security-opt seccomp:profile.json
--security-opt seccomp=profile.json'
if [ "$seen" != "$expected" ]; then
    echo "security_opt is handed on otherwise now"
    exit 1
fi
