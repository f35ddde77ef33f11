#!/usr/bin/env bash
# hatchling 1.27.0 (PyPI, the build backend): in [tool.hatch.build.targets.wheel.sources] a folder
# that lies inside another mapped folder is not moved to its own place: the mapping of the outer
# folder counts for it, too, wherever the two stand in the table.
#
# Expected beforehand: that the longest mapping that fits a file counts.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'hatchling==1.27.0' 2>/dev/null || {
    echo "hatchling 1.27.0 cannot be had any more"
    exit 77
}

mkdir -p "$folder/project/outer/inner" "$folder/wheels"
touch "$folder/project/outer/a.py" "$folder/project/outer/inner/b.py"
first='"outer/inner" = "package_of_inner"'
second='"outer" = "package_of_outer"'
for table in "$first"$'\n'"$second" "$second"$'\n'"$first"; do
    cat >"$folder/project/pyproject.toml" <<TOML
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "nested"
version = "1"

[tool.hatch.build.targets.wheel]
only-include = ["outer"]

[tool.hatch.build.targets.wheel.sources]
$table
TOML
    (
        cd "$folder/project"
        "$folder/venv/bin/python" - "$folder/wheels" <<'PYTHON'
import sys
import zipfile
from importlib.metadata import version

from hatchling.build import build_wheel

name = build_wheel(sys.argv[1])
with zipfile.ZipFile(f"{sys.argv[1]}/{name}") as wheel:
    placed = sorted(one for one in wheel.namelist() if one.endswith(".py"))
print(f"hatchling {version('hatchling')} places {', '.join(placed)}")
if placed != ["package_of_outer/a.py", "package_of_outer/inner/b.py"]:
    raise SystemExit("a folder inside a mapped folder is placed otherwise now")
PYTHON
    )
done
