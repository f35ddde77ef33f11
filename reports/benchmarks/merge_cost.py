"""What it costs to put a fleet together, as ratios against reading the same files with json.load.

``python -m reports.benchmarks.merge_cost [--files N] [--cells N]``. The reference reads every file
and keeps what it says, as a script would that needs it all; each of the two runs in a process of
its own. Where the reference would not fit into memory it stops, and its figures are those of the
files that it read.
"""

import argparse
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Outcome
from reports import results
from reports.results import AuditSource, Environment, PolicyInfo, Run, Suite, TargetInfo, fleet

_SPARE = 0.25
"""The part of the machine's free memory that the reference leaves alone."""

_UNLIKE = 25
"""Every so many a node has a failure of its own."""

_RECORDED = 12
"""Every so many a cell rests on an audit record, which is another one on every node."""


def _run(cells: int) -> Run:
    """A run of so many cells, with as much evidence as those of the main job have."""
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    return Run(
        suite=Suite("syscall-conformance", "0"),
        policy=PolicyInfo("benchmark", "A policy", "0" * 64, ()),
        target=TargetInfo("builtin", "the builtin filter"),
        environments=(
            Environment(
                kernel="6.12.0 #1 SMP PREEMPT_DYNAMIC",
                machine="x86_64",
                capabilities="0" * 16,
                uid=0,
                no_new_privs=False,
                seccomp=0,
                seccomp_filters=0,
                actions_logged=("kill_process", "log"),
                audit=AuditSource("netlink", "a canary's record arrived"),
                arches=("x86_64",),
            ),
        ),
        profiles=("kill",),
        started=moment,
        finished=moment,
        planned=cells,
        selected_of=cells,
        cells=tuple(_cell(number) for number in range(cells)),
    )


def _cell(number: int) -> Cell:
    control = number == 0
    claim = Claim.CONTROLS if control else Claim.LEAVES_THE_REST_ALONE
    observed = "the call reached the kernel (the witness answered)"
    said = "the program returns what the profile says for this number, whatever the arguments"
    return Cell(
        CellKey(claim, "none" if control else "kill", "x86_64", f"call{number}", number),
        Outcome.PASSED,
        None,
        f"call{number} ({number}) on x86_64: ALLOW, as it must be: {observed}",
        "ALLOW",
        observed,
        (
            Evidence(EvidenceKind.OBSERVED, "witness", observed),
            Evidence(EvidenceKind.PROVED, "simulation", said),
        ),
    )


def _recorded(cell: Cell, node: int) -> Cell:
    """The cell with an audit record of a node's."""
    said = f"audit({node}.000:{cell.key.number}): auid=4294967295 uid=0 gid=0 ses=4294967295"
    record = Evidence(EvidenceKind.RECORDED, "netlink", said)
    return replace(cell, evidence=(*cell.evidence, record))


def write_files(folder: Path, files: int, cells: int) -> list[Path]:
    """Writes so many records of so many cells, most of them alike."""
    run, recorded = _run(cells), range(1, cells, _RECORDED)
    paths = []
    for number in range(files):
        environment = replace(run.environment, host=f"node{number:05}")
        mine = [
            _recorded(cell, number) if cell.key.number in recorded else cell for cell in run.cells
        ]
        if number % _UNLIKE == 1:
            place = 1 + number % (cells - 1)
            mine[place] = replace(mine[place], outcome=Outcome.FAILED, cause=Cause.FILTER)
        paths.append(folder / f"{number:05}.json")
        made = replace(run, environments=(environment,), cells=tuple(mine))
        paths[-1].write_text(results.to_json(made), encoding="utf-8")
    return paths


def _merge(paths: list[Path]) -> tuple[int, str]:
    gathered = fleet.gather(paths)
    return len(paths), hashlib.sha256(fleet.to_json(gathered).encode()).hexdigest()


def _reference(paths: list[Path]) -> tuple[int, str]:
    """Reads as many files as fit into memory."""
    kept = []
    begin, limit = _peak(), _free() * (1 - _SPARE)
    for path in paths:
        with path.open(encoding="utf-8") as file:
            kept.append(json.load(file))
        if _peak() - begin > limit:
            break
    return len(kept), ""


def _free() -> int:
    """The memory in bytes that is to be had without swapping, as proc_meminfo(5) has it."""
    return _bytes("/proc/meminfo", "MemAvailable")


def _peak() -> int:
    """The most memory in bytes that this program has had, as proc_pid_status(5) has it.

    What getrusage(2) says includes what the process was before it became this program.
    """
    return _bytes("/proc/self/status", "VmHWM")


def _bytes(file: str, name: str) -> int:
    lines = Path(file).read_text(encoding="ascii").splitlines()
    (value,) = [line.partition(":")[2] for line in lines if line.startswith(f"{name}:")]
    return int(value.split()[0]) * 1024


_WORK: dict[str, Callable[[list[Path]], tuple[int, str]]] = {
    "merge": _merge,
    "json.load": _reference,
}


def work(name: str, folder: Path) -> dict[str, object]:
    """Does one of the two, and says what it took."""
    paths = sorted(folder.glob("*.json"))
    before, begin = _peak(), time.perf_counter()
    files, digest = _WORK[name](paths)
    seconds = time.perf_counter() - begin
    return {"files": files, "seconds": seconds, "bytes": _peak() - before, "digest": digest}


def _measured(name: str, folder: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "reports.benchmarks.merge_cost", "--work", name, str(folder)]
    measured: dict[str, float] = json.loads(subprocess.check_output(words))
    return measured


@contextlib.contextmanager
def _folder(files: int, cells: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="merge-benchmark-") as name:
        write_files(Path(name), files, cells)
        yield Path(name)


def table(files: int, cells: int) -> str:
    """Measures both on files written for it."""
    with _folder(files, cells) as folder:
        size = sum(path.stat().st_size for path in folder.iterdir())
        figures = {name: _measured(name, folder) for name in _WORK}
    lines = [f"{files:,} files of {cells:,} cells, {size / 2**20:,.0f} MiB"]
    for name, figure in figures.items():
        each = figure["seconds"] / figure["files"]
        lines.append(
            f"{name:<10} {figure['files']:>6,} files {figure['seconds']:>8.1f} s"
            f" {each * 1000:>8.1f} ms a file {figure['bytes'] / 2**20:>10,.0f} MiB at the peak"
        )
    mine, theirs = figures["merge"], figures["json.load"]
    time_ratio = (mine["seconds"] / mine["files"]) / (theirs["seconds"] / theirs["files"])
    memory_ratio = (mine["bytes"]) / (theirs["bytes"] / theirs["files"] * mine["files"])
    lines.append(
        f"merge takes {time_ratio:.2f} times as long, and {memory_ratio:.5f} of the memory that all"
        " files would take"
    )
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        told = json.dumps(work(options.work[0], Path(options.work[1])))
    else:
        told = table(options.files, options.cells)
    sys.stdout.write(f"{told}\n")


if __name__ == "__main__":
    main()
