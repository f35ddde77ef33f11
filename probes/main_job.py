"""How pytest is told to run the main job, wherever the suite stands. Pure.

A checkout, an installed wheel, a guest's memory and a mount in a container have the same folders,
and the same configuration file among them; no other one counts where the suite starts pytest.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

from probes.files import CASES, SUITE

CONFIGURATION: Final = "reports/judging.toml"
"""The configuration file, in the suite's folder. It names the plug-in."""

IS_CHECKOUT: Final = (SUITE / "reports" / "launcher").is_dir()
"""Whether this suite stands in its repository, and was not installed from a wheel."""

COMMAND: Final = ("pytest",) if IS_CHECKOUT else ("syscall-conformance", "run")
"""The command by which a user of this suite starts the main job."""

REPORTS: Final = "syscall-conformance-report"
"""Where reports go by default: a name that no project has for something else."""

_IN_ITS_SUITE: Final = "-P -m syscall_conformance --node"
"""The options that make an interpreter run in the suite's folder, wherever that is."""

_REPORTS_OF_CHECKOUT: Final = "reports/out"


def words(suite: PurePath = SUITE) -> tuple[str, ...]:
    """The options that make pytest load the suite's configuration and nothing else.

    Args:
        suite: the suite's folder, where pytest will run.
    """
    return f"--config-file={suite / CONFIGURATION}", f"--rootdir={suite}"


def for_nodes(given: Sequence[str]) -> list[str]:
    """The options of pytest for xdist's nodes, each of which starts in the folder of its own suite.

    Args:
        given: the options of the pytest that starts the nodes.
    """
    theirs = dict(zip(words(), words(PurePath()), strict=True))
    return [theirs.get(word, word) for word in given if word != str(CASES)]


def node(spec: str) -> str:
    """The specification of a node for xdist (``--tx``), completed with the suite's folder there.

    Where the user names none it is that of the suite which the node's Python has installed.

    Args:
        spec: the node as the user wrote it, such as ``ssh=root@host//python=/opt/sc/bin/python``.
    """
    times, star, rest = spec.rpartition("*")
    parts = rest.split("//")
    if any(part.startswith("chdir=") for part in parts):
        return spec
    if "popen" in parts:
        return f"{spec}//chdir={SUITE}"
    if not any(part.startswith("ssh=") for part in parts):
        return spec
    python = next((part for part in parts if part.startswith("python=")), "python=python3")
    others = "//".join(part for part in parts if part != python)
    return f"{times}{star}{others}//{python} {_IN_ITS_SUITE}//chdir=."


def report_folder() -> str:
    """Where reports go if nobody says so, relative to the working directory."""
    try:
        in_checkout = IS_CHECKOUT and Path.cwd() == SUITE
    except OSError:  # the working directory is gone
        in_checkout = False
    return _REPORTS_OF_CHECKOUT if in_checkout else REPORTS
