#!/usr/bin/env bash
# import-linter 2.17 (PyPI): a contract of the type acyclic_siblings is kept where a package and its
# own sub-package need each other: package.a imports package.sub.x, which imports package.b. Only
# children of one package are compared with each other, and a package is no sibling of its child.
#
# Expected beforehand: that two folders that import from each other count as a circle.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'import-linter==2.17' 2>/dev/null || {
    echo "import-linter 2.17 cannot be had any more"
    exit 77
}

mkdir -p "$folder/project/package/sub"
cd "$folder/project"
touch package/__init__.py package/sub/__init__.py package/b.py
echo 'import package.sub.x' >package/a.py
echo 'import package.b' >package/sub/x.py
cat >.importlinter <<'INI'
[importlinter]
root_package = package

[importlinter:contract:circles]
name = No circles
type = acyclic_siblings
ancestors = package
INI

verdict() {
    "$folder/venv/bin/lint-imports" --no-cache 2>&1 | grep -oE 'KEPT|BROKEN' || true
}

between_parent_and_child=$(verdict)
mkdir package/left package/right
touch package/left/__init__.py package/right/__init__.py
echo 'import package.right.y' >package/left/x.py
touch package/left/z.py
echo 'import package.left.z' >package/right/y.py
between_siblings=$(verdict)

echo "import-linter 2.17 says"
echo "  of a package and its sub-package that import from each other: $between_parent_and_child"
echo "  of two sub-packages that do:                                  $between_siblings"
if [ "$between_parent_and_child $between_siblings" != "KEPT BROKEN" ]; then
    echo "circles of a package and its own sub-package are judged otherwise now" >&2
    exit 1
fi
