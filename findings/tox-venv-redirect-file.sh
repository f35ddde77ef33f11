#!/usr/bin/env bash
# tox 4.67.15 (PyPI): where an environment is called dev, or installs the project editable, a run leaves
# a file .venv beside tox.ini that names it (PEP 832), so a later `python3 -m venv .venv` fails. A
# folder of that name is left alone, and `venv_redirect = false` in [tox] keeps the file away.
#
# Expected beforehand: that tox writes below .tox only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'tox==4.67.15' 2>/dev/null || {
    echo "tox 4.67.15 cannot be had any more"
    exit 77
}

after() {
    mkdir "$folder/$1"
    cd "$folder/$1"
    printf '[tox]\nno_package = true\n%s[testenv:dev]\ncommands = python -c ""\n' "$2" >tox.ini
    if [ "$1" = folder ]; then mkdir .venv; fi
    "$folder/venv/bin/tox" -q -e dev >/dev/null 2>&1
    if [ -f .venv ]; then echo "a file with $(cat .venv)"; elif [ -d .venv ]; then echo "a folder"; else echo "nothing"; fi
}

usual=$(after usual "")
beside=$(after folder "")
refused=$(after refused $'venv_redirect = false\n')
venv=0
python3 -m venv "$folder/usual/.venv" >/dev/null 2>&1 || venv=$?

echo "tox 4.67.15 leaves at .venv: $usual; where a folder is: $beside; with venv_redirect = false: $refused"
echo "python3 -m venv .venv then ends with status $venv"
if [ "$usual; $beside; $refused; $venv" != "a file with .tox/dev; a folder; nothing; 1" ]; then
    echo "tox treats .venv otherwise now" >&2
    exit 1
fi
