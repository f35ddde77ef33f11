#!/usr/bin/env bash
# pytest 9.2.0 (PyPI): where warnings are errors and .pytest_cache cannot be written (here a file of
# that name stands in the way), a run of which every test passed ends with a traceback and status 1,
# as if a test had failed. The warning comes after the last test, when nobody catches it any more.
#
# Expected beforehand: a line in the summary of warnings, and status 0, for no test has warned.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pytest==9.2.0' 2>/dev/null || {
    echo "pytest 9.2.0 cannot be had any more"
    exit 77
}

mkdir "$folder/project"
cd "$folder/project"
printf 'def test_nothing():\n    pass\n' >test_nothing.py
touch .pytest_cache

ending() {
    local status=0
    "$folder/venv/bin/python" -m pytest -q "$@" >"$folder/said" 2>&1 || status=$?
    echo "status $status, $(grep -c '^pytest.PytestCacheWarning' "$folder/said" || true) traceback(s)"
}

usual=$(ending)
as_errors=$(ending -W error)
without_cache=$(ending -W error -p no:cacheprovider)

echo "pytest 9.2.0 ends a run of one test that passes, beside a file .pytest_cache, with"
echo "  $usual"
echo "  $as_errors, with -W error"
echo "  $without_cache, with -W error -p no:cacheprovider"
if [ "$usual; $as_errors; $without_cache" != \
    "status 0, 0 traceback(s); status 1, 1 traceback(s); status 0, 0 traceback(s)" ]; then
    echo "a cache that cannot be written ends a run otherwise now" >&2
    exit 1
fi
