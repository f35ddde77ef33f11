"""From a guest's start to its verdicts, and where the time goes; the same steps here beside it.

``python -m probes.benchmarks.guest_cost [GUEST...]``. The steps include each other, so a line's own
part is what it takes beyond the line above it. Only the shares and the ratios are worth quoting.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from probes.errors import SuiteError
from probes.files import SUITE
from probes.guest import choice, runner
from probes.guest.runner import GuestJob, Limits

_TREE: Final = SUITE
_MAIN_JOB: Final = runner.PYTEST[1:]
STEPS: Final = (
    ("Python", ("-c", "pass")),
    ("and pytest", ("-m", "pytest", "--version")),
    ("and the suite's start", (*_MAIN_JOB, "-k", "acct", "--collect-only")),
    ("and one call, with the reports", (*_MAIN_JOB, "-k", "acct")),
    ("the whole main job", _MAIN_JOB),
)
"""What is run, by what it takes in addition; arguments of Python."""

_DEFAULT: Final = ("s390x",)


def measure(name: str, folder: Path) -> list[str]:
    """Boots a guest and has it take the steps; the lines of the table.

    Raises:
        SuiteError: there is no such guest, or it does not come to its end.
    """
    guest = choice.prepare(choice.read([name])[0], choice.default_cache(), Limits())
    commands = tuple(("python3", *step, *_reports(step, runner.OUT_FOLDER)) for _, step in STEPS)
    ended = runner.run(guest, GuestJob(_TREE, commands), folder / name, lambda _: None)
    if ended.fault or any(ended.statuses):
        raise SuiteError(f"the guest {name}: {ended.fault or ended.statuses}")
    ends = [
        ended.seconds["ready"],
        *(ended.seconds[f"command {n + 1} ended"] for n in range(len(STEPS))),
    ]
    there = [after - before for before, after in pairwise(ends)]
    here = [_seconds(step, folder) for _, step in STEPS]
    whole = ends[0] + there[-1]
    lines = [f"{name:<36} {'seconds':>8} {'own part of the whole':>22} {'against here':>13}"]
    lines += [f"{'the kernel, until Python can run':<36} {ends[0]:>8.1f} {ends[0] / whole:>22.0%}"]
    for (title, _), seconds, before, own in zip(STEPS, there, [0.0, *there], here, strict=False):
        share = f"{(seconds - before) / whole:>22.0%}"
        lines.append(f"{title:<36} {seconds:>8.1f} {share} {seconds / own:>13.1f}")
    return lines


def _reports(step: Sequence[str], folder: str) -> tuple[str, ...]:
    return (f"--report-dir={folder}/benchmark",) if step[: len(_MAIN_JOB)] == _MAIN_JOB else ()


def _seconds(step: Sequence[str], folder: Path) -> float:
    command = (sys.executable, *step, *_reports(step, str(folder)))
    began = time.monotonic()
    subprocess.run(command, cwd=_TREE, stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - began


def main(names: Sequence[str]) -> int:
    """Prints a table for each guest."""
    try:
        for name in names or _DEFAULT:
            with tempfile.TemporaryDirectory() as folder:
                lines = measure(name, Path(folder))
            sys.stdout.writelines(f"{line}\n" for line in lines)
    except SuiteError as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
