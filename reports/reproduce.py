"""From a cell back to the test that judges it, and to the command that runs it again. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes import main_job
from probes.cell import CellKey
from probes.files import CASES, SUITE
from probes.judging import claims
from probes.judging.plan import id_of
from probes.run.options import REPORT_DIR
from probes.targets.name import BUILTIN
from probes.text import visible
from probes.version import DISTRIBUTION
from reports.results import Run


def test_name(key: CellKey) -> str:
    """The test that judges a cell, without its module: ``test_terminates[x86_64-acct]``.

    A test that judges many cells at once stands for each of them.
    """
    return f"{claims.of(key.claim).function}[{id_of(key)}]"


def test_of(key: CellKey) -> str:
    """The test that judges a cell, as pytest takes it within ``cases``."""
    return f"{claims.of(key.claim).module}::{test_name(key)}"


@dataclass(frozen=True, slots=True)
class Again:
    """How whoever made a run can repeat a part of it, from where he stands.

    Attributes:
        program: the words that start the main job.
        options: what the run was given besides.
        folder: the run's reports, which a repetition leaves as they are.
    """

    program: tuple[str, ...]
    options: tuple[str, ...]
    folder: str

    def command(self, key: CellKey) -> str:
        """The command that judges a cell again, on one line."""
        words = (f"{CASES.name}/{test_of(key)}", *self.options, f"--{REPORT_DIR}={self._folder}")
        return visible(shlex.join([*self.program, *words]))

    @property
    def _folder(self) -> str:
        return f"{self.folder}/again"


def again(here: Path, options: Sequence[str], folder: str) -> Again:
    """How to repeat a part of a run.

    Args:
        here: the folder that the reader stands in.
        options: the options of the run, without its reports.
        folder: the run's reports, as the reader would write it.
    """
    in_checkout = main_job.IS_CHECKOUT and here == SUITE
    program = ("pytest",) if in_checkout else (DISTRIBUTION, "run")
    return Again(program, tuple(options), folder)


def command_elsewhere(run: Run, key: CellKey) -> str:
    """The command by which whoever reads a record judges a cell again, on one line.

    A record does not say how the target was written, so its reader has to put that in for ``...``.

    Args:
        run: what the record holds.
        key: the cell.
    """
    if run.target.survey is not None:
        # One process of those that have the stack is a target of its own, but not under "refuse".
        return visible(shlex.join([DISTRIBUTION, "node", f"--profile={key.profile}"]))
    words = [*main_job.COMMAND]
    if run.target.kind != BUILTIN:
        words.append(f"--target={run.target.kind}:...")
    if claims.of(key.claim).profiles:
        words.append(f"--profile={key.profile}")
    return visible(shlex.join([*words, "-k", test_name(key)]))
