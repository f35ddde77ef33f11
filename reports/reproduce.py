"""From a cell back to the test that judges it: the command with which to look again. Pure."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from probes.cell import CellKey, Claim
from probes.judging.plan import function_of, test_word

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


def test_of(key: CellKey) -> str:
    """The test that judges a cell, as pytest takes it within ``cases``.

    A test that judges many cells at once stands for each of them.
    """
    parameters = [*_PARAMETERS.get(key.claim, _documented)(key), *filter(None, [key.part])]
    words = "-".join(map(test_word, parameters))
    return f"{_MODULES[key.claim]}::{function_of(key.claim)}[{words}]"


def command(key: CellKey, cases: Path, options: Sequence[str]) -> str:
    """The command that judges a cell again, on one line.

    Args:
        key: the cell.
        cases: the folder ``cases``, as the reader of the command would write it.
        options: what the run was given besides.
    """
    return shlex.join(["pytest", f"{cases}/{test_of(key)}", *options])
