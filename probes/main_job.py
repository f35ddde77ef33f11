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
"""By which words a user of this suite starts the main job."""

REPORTS: Final = "syscall-conformance-report"
"""Where reports go by default: a name that no project has for something else."""

_REPORTS_OF_CHECKOUT: Final = "reports/out"


def words(suite: PurePath = SUITE) -> tuple[str, ...]:
    """What tells pytest to be the suite's alone.

    Args:
        suite: the suite's folder, where pytest will run.
    """
    return f"--config-file={suite / CONFIGURATION}", f"--rootdir={suite}"


def for_nodes(given: Sequence[str]) -> list[str]:
    """Words for pytest as nodes of xdist's need them, whose suite stands in a folder of their own.

    Args:
        given: those of the pytest that starts the nodes.
    """
    ours = {*words(), str(CASES)}
    return [word for word in given if word not in ours]


def report_folder(here: Path) -> str:
    """Where reports go if nobody says so, relative to the working directory.

    Args:
        here: the working directory.
    """
    return _REPORTS_OF_CHECKOUT if IS_CHECKOUT and here == SUITE else REPORTS
