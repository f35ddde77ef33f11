"""From a cell back to the test that judges it, and to the command that runs it again. Pure."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from probes import main_job
from probes.cell import CellKey, Claim
from probes.judging.plan import function_of, test_word
from probes.targets.name import BUILTIN
from probes.text import visible
from reports.results import Run

_MODULES: Final[Mapping[Claim, str]] = {
    Claim.CONTROLS: "test_controls.py",
    Claim.TERMINATES: "test_kill.py",
    Claim.ENDS_EVERY_THREAD: "test_kill.py",
    Claim.IS_REPORTED: "test_kill.py",
    Claim.DENIES: "test_errno.py",
    Claim.IS_SILENT: "test_errno.py",
    Claim.RUNS: "test_log.py",
    Claim.IS_RECORDED: "test_log.py",
    Claim.LEAVES_THE_REST_ALONE: "test_allow.py",
    Claim.DEFAULT_ACTION: "test_default.py",
    Claim.IS_INHERITED: "test_inherit.py",
    Claim.IS_PROVED: "test_proved.py",
    Claim.IS_ALL_JUDGED: "test_all_judged.py",
}


def _documented(key: CellKey) -> Sequence[str]:
    return (key.arch, key.syscall)


_PARAMETERS: Final[Mapping[Claim, Callable[[CellKey], Sequence[str]]]] = {
    Claim.CONTROLS: lambda key: (key.arch, key.variant),
    Claim.ENDS_EVERY_THREAD: lambda key: (key.arch,),
    Claim.LEAVES_THE_REST_ALONE: lambda key: (key.profile, key.arch),
    Claim.DEFAULT_ACTION: lambda key: (key.profile, key.arch, f"{key.number or 0:#x}"),
    Claim.IS_INHERITED: lambda key: (key.profile, key.arch, key.variant),
    Claim.IS_PROVED: lambda key: (key.profile, key.arch, key.syscall),
    Claim.IS_ALL_JUDGED: lambda key: (key.profile, key.syscall),
}


def test_name(key: CellKey) -> str:
    """The test that judges a cell, without its module: ``test_terminates[x86_64-acct]``.

    A test that judges many cells at once stands for each of them.
    """
    parameters = [*_PARAMETERS.get(key.claim, _documented)(key), *filter(None, [key.part])]
    words = "-".join(map(test_word, parameters))
    return f"{function_of(key.claim)}[{words}]"


def test_of(key: CellKey) -> str:
    """The test that judges a cell, as pytest takes it within ``cases``."""
    return f"{_MODULES[key.claim]}::{test_name(key)}"


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
    words = [*main_job.COMMAND]
    if run.target.kind != BUILTIN:
        words.append(f"--target={run.target.kind}:...")
    if key.claim is not Claim.CONTROLS:
        words.append(f"--profile={key.profile}")
    return visible(shlex.join([*words, "-k", test_name(key)]))
