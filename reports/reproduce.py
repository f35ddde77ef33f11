"""From a cell back to the test that judges it, and to the command that runs it again. Pure."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from probes import main_job
from probes.cell import CellKey
from probes.judging import claims
from probes.judging.plan import id_of
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


def command(key: CellKey, cases: Path, options: Sequence[str]) -> str:
    """The command by which who made the run judges a cell again, on one line.

    Args:
        key: the cell.
        cases: the folder ``cases``, as the reader of the command would write it.
        options: what the run was given besides.
    """
    return shlex.join([*main_job.COMMAND, f"{cases}/{test_of(key)}", *options])


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
