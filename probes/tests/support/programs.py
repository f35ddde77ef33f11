"""The small C programs of ``data``, compiled once a process: oracles that share no code with us."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from probes.files import SUITE
from probes.tests.support.oracles import require

_DATA = SUITE / "probes/tests/data"


@cache
def compiled(name: str) -> Path:
    """The program of a source file there.

    Args:
        name: the file's, without its suffix.
    """
    compiler = require("gcc", "gcc libc6-dev linux-libc-dev")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.chmod(0o755)
    program = folder / name
    words = [compiler, "-O1", "-Wall", "-Werror", "-o", str(program), str(_DATA / f"{name}.c")]
    subprocess.run(words, check=True)
    return program
