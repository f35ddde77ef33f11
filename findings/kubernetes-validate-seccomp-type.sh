#!/usr/bin/env bash
# kubernetes-validate 1.37.0 (PyPI), with its schemas of Kubernetes 1.35, in strict mode: a pod whose
# seccompProfile has the misspelt type "RuntimeDefalt" is valid, and so is one of the type
# "Localhost" that names no profile. In the schemas the type is any string; what an API server
# refuses beyond them, this check lets pass.
#
# Expected beforehand: that strict mode refuses a type that Kubernetes does not have.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'kubernetes-validate==1.37.0' 2>/dev/null || {
    echo "kubernetes-validate 1.37.0 cannot be had any more"
    exit 77
}

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import kubernetes_validate


def is_valid(profile):
    """Whether a pod with this seccompProfile passes in strict mode."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "example"},
        "spec": {
            "securityContext": {"seccompProfile": profile},
            "containers": [{"name": "one", "image": "example"}],
        },
    }
    try:
        kubernetes_validate.validate(pod, "1.35", strict=True)
    except kubernetes_validate.ValidationError:
        return False
    return True


seen = {
    "type RuntimeDefalt": is_valid({"type": "RuntimeDefalt"}),
    "type Localhost without localhostProfile": is_valid({"type": "Localhost"}),
    "a key that does not exist": is_valid({"type": "RuntimeDefault", "profile": "a.json"}),
}
print(f"kubernetes-validate {version('kubernetes-validate')}, Kubernetes 1.35, strict:")
for what, valid in seen.items():
    print(f"  {what}: {'valid' if valid else 'refused'}")
if list(seen.values()) != [True, True, False]:
    raise SystemExit("the type of a seccompProfile is judged otherwise now")
PYTHON
