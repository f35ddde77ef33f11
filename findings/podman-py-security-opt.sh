#!/usr/bin/env bash
# podman 5.8.0 (PyPI, the Python client of Podman's REST API): a container that is made with
# security_opt=["seccomp=FILE"], as docker's client takes it, is asked for with the file among the
# SELinux options; the request has no seccomp profile. The argument that sets one is
# seccomp_profile_path.
#
# Expected beforehand: that security_opt is taken apart, as podman's own --security-opt is.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'podman==5.8.0' 2>/dev/null || {
    echo "podman 5.8.0 cannot be had any more"
    exit 77
}

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from podman.domain.containers_create import CreateMixin


def asked_for(**options):
    """The parts of the request that are about confinement."""
    body = CreateMixin._render_payload({"image": "example", "command": ["true"], **options})
    return {name: value for name, value in body.items() if value and name in WATCHED}


WATCHED = {"selinux_opts", "seccomp_profile_path", "seccomp_policy", "no_new_privileges"}
by_option = asked_for(security_opt=["seccomp=/srv/profile.json"])
by_path = asked_for(seccomp_profile_path="/srv/profile.json")
print(f"podman {version('podman')} asks for")
print(f"  with security_opt:          {by_option}")
print(f"  with seccomp_profile_path:  {by_path}")
if by_option != {"selinux_opts": ["seccomp=/srv/profile.json"]} or by_path != {
    "seccomp_profile_path": "/srv/profile.json"
}:
    raise SystemExit("security_opt is not sent as SELinux options any more")
PYTHON
