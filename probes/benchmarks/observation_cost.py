"""What it costs a workload to be observed, against no supervision and against strace.

``python -m probes.benchmarks.observation_cost``. Every figure is the median of several turns in
which all take part, and only the ratios are worth quoting.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKLOAD: Final = Path(__file__).with_name("workload.c")
TURNS: Final = 3
PROCESSES: Final = 50
_OBSERVE: Final = "import sys; from syscall_conformance.__main__ import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Load:
    """What is run.

    Attributes:
        name: for the table.
        calls: how many calls each process makes.
        words: further arguments of the workload.
    """

    name: str
    calls: int
    words: tuple[str, ...] = ()


LOADS: Final = (
    Load("calls: the start alone", 0, ("getppid",)),
    Load("watched calls", 1_000),
    Load("other calls", 4_000, ("getppid",)),
    Load("connects", 1_000, ("connect",)),
    Load("messages sent and received", 1_000, ("sendmsg",)),
)


def measure(folder: Path) -> list[str]:
    """Measures every load; the lines of the table.

    Raises:
        OSError: a program is missing.
        subprocess.CalledProcessError: the workload cannot be built, or fails.
        ValueError: the observer did not count every call.
    """
    program = folder / "workload"
    subprocess.run(["cc", "-O2", "-o", program, WORKLOAD], check=True)  # noqa: S607 - as make does
    lines = [f"{f'{PROCESSES} processes, median of {TURNS} turns':<44} {'ms':>9} {'ratio':>8}"]
    for load in LOADS:
        work = [str(program), str(PROCESSES), str(load.calls), *load.words]
        runs = _supervisions(work, folder)
        turns = [{name: _seconds(command) for name, command in runs.items()} for _ in range(TURNS)]
        medians = {name: statistics.median(turn[name] for turn in turns) for name in runs}
        base = medians["unsupervised"]
        total = PROCESSES * load.calls
        for name, seconds in medians.items():
            title = f"{total} {load.name}, {name}"
            lines.append(f"{title:<44} {seconds * 1000:>9.1f} {seconds / base:>8.2f}")
        if not load.words:
            lines.append(_rate(folder, total))
    return lines


def _supervisions(work: Sequence[str], folder: Path) -> Mapping[str, Sequence[str]]:
    observe = (sys.executable, "-c", _OBSERVE, "observe", "--json", str(folder / "json"))
    runs: dict[str, Sequence[str]] = {
        "unsupervised": work,
        "observed": (*observe, "-o", os.devnull, "--", *work),
    }
    if strace := shutil.which("strace"):
        runs["strace -f -c"] = (strace, "-f", "-c", "-o", os.devnull, *work)
    return runs


def _seconds(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - begin
    if status not in {0, 1}:  # 1: the observer has seen what the platform does not allow
        raise subprocess.CalledProcessError(status, list(command))
    return seconds


def _rate(folder: Path, total: int) -> str:
    """How many calls a second went through in the last observed run."""
    seen = json.loads((folder / "json").read_text(encoding="utf-8"))
    counted = sum(one["count"] for one in seen["calls"] if one["call"] == "keyctl")
    if counted != total:
        raise ValueError(f"{counted} of {total} calls were counted")
    rate = total / seen["seconds"]
    return f"{'all counted; calls a second':<44} {rate:>9.0f}"


def main() -> int:
    """Prints the table."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            lines = measure(Path(folder))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
