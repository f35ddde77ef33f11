"""What the tests compare with, made by others: headers, libseccomp's tools, audit's tools.

A machine without an oracle skips the tests that need it and says what to install. Where that
must not happen, as in CI, set ``SYSCALL_CONFORMANCE_REQUIRE_ORACLES=1``: they fail instead.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from probes.tests.support import needs

REQUIRE_VARIABLE = "SYSCALL_CONFORMANCE_REQUIRE_ORACLES"


def require(tool_or_path: str, apt_package: str) -> str:
    """The path of a tool on PATH or of a file, or the end of the test where it is missing.

    A tool that belongs to a mark is for tests with that mark only (see ``needs``).

    Args:
        tool_or_path: a command's name, or an absolute path.
        apt_package: the Debian package, or the packages with blanks between, that bring it.
    """
    needs.declared(tool_or_path)
    if tool_or_path.startswith("/"):
        found = tool_or_path if Path(tool_or_path).exists() else None
    else:
        found = shutil.which(tool_or_path)
    if found is None:
        missing(tool_or_path, apt_package)
    return found


def tool(name: str, extra: str = "oracles") -> str:
    """A program from this interpreter's packages, or the end of the test where it is not installed.

    Args:
        name: the program's.
        extra: the extra of this project that brings it.
    """
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or unavailable(f"needs {name}: pip install -e '.[{extra}]'")


def missing(what: str, apt_package: str) -> NoReturn:
    """Ends the test, which needs something that these Debian packages bring."""
    unavailable(f"needs {what}: apt-get install {apt_package}")


def unavailable(sentence: str) -> NoReturn:
    """Ends the test for want of an oracle: it is skipped, or fails where none may be missing."""
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
