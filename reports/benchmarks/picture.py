"""README's picture: the verdict and the matrix of a compliance page, as a reader sees them."""

import argparse
import sys
from pathlib import Path
from typing import Final

from reports.benchmarks.browser import Browser, find

_WIDTH: Final = 1200
_HEIGHT: Final = 1100

# What stands between the two says where the run was, which is nobody's business here.
_FOLD: Final = """\
for (const name of ["identity", "environment", "changes"])
    document.getElementById(name).remove();
document.querySelector(".contents").remove();
"""


def main() -> int:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description="README's picture of a compliance page")
    parser.add_argument("page", type=Path, help="the compliance.html of a run with --anonymous")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    program = find()
    if program is None:
        sys.stderr.write("picture: no Chromium is installed\n")
        return 1
    with Browser(program) as browser:
        page = browser.page()
        page.look(width=_WIDTH, height=_HEIGHT)
        page.open(arguments.page)
        page.evaluate(_FOLD)
        page.frames()
        page.screenshot(arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
