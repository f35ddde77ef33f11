"""What a report costs: ratios against pytest-html with as many rows, measured in the same run.

``python -m reports.benchmarks.page_cost [--cells N] [--against FOLDER]``. The record is one of a
fleet: the whole job, judged on as many kernels as it takes. pytest-html gets a test for each cell,
which prints the same sentence and evidence. Both write their page in a process of their own, and
Chromium opens both. Machines differ and are noisy, so only the ratios are worth quoting.
``--against FOLDER`` measures the page of an earlier checkout of this suite as well, beside both.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Final

from probes import arch
from probes.action import Profile
from probes.cell import Cell, CellKey, Evidence, EvidenceKind, Outcome
from probes.documents import policy
from probes.files import SUITE
from probes.judging import claims, judges, plan
from reports import results
from reports.benchmarks.browser import Browser, BrowserError, find
from reports.html import compliance
from reports.results import AuditSource, Environment, Run, Suite, TargetInfo

POLICY: Final = SUITE / "cases" / "policies" / "container-restrictions.toml"
ARCHES: Final = ("x86_64", "x32", "i386")
PATIENCE: Final = 900.0
"""Seconds for which a browser is waited for."""

_MEBIBYTE: Final = 1 << 20

TESTS: Final = """
import json, pytest
with open({cells!r}) as file:
    CELLS = json.load(file)
@pytest.mark.parametrize("number", range(len(CELLS)), ids=lambda number: CELLS[number][0])
def test_cell(number):
    print("\\n".join(CELLS[number][1:]))
"""
"""A test for each cell, with its sentence and its evidence in the row."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one page took.

    Attributes:
        seconds: to make it of what was judged, in a process that has that in memory.
        peak: the most memory of that process, in bytes.
        size: of the file, in bytes.
        usable: seconds until a browser has drawn it and answers.
            None where it has not after ``PATIENCE``.
        nodes: how many parts the browser's tree of it has.
        shown: the most memory of all of the browser's processes, in bytes.
    """

    seconds: float
    peak: int
    size: int
    usable: float | None
    nodes: int
    shown: int


def cells(many: int) -> Iterator[Cell]:
    """So many cells as the job judges them, kernel by kernel; all passed."""
    arches = [arch.get(name) for name in ARCHES]
    documented = policy.load(POLICY, arch.all_names())
    cases = plan.plan(documented, tuple(Profile), arches, arches, arches)
    keys = [key for case in cases for key in case.cells if key.number is not None]
    serials = count(1)
    whole = (_cell(key, environment, next(serials)) for environment in count() for key in keys)
    return islice(whole, many)


def _cell(key: CellKey, environment: int, serial: int) -> Cell:
    expected = f"what {key.profile} must do"
    observed = "the filter answered in the kernel's place"
    evidence = [
        Evidence(EvidenceKind.OBSERVED, "witness", observed),
        Evidence(EvidenceKind.PROVED, "simulation", "the program returns the profile's action"),
    ]
    if claims.of(key.claim).judge is judges.judge_record:
        record = (
            f"audit(1769860800.123:{serial}): auid=4294967295 uid=0 gid=0 ses=4294967295"
            f' pid={serial} comm="p{serial}" exe="/usr/bin/python3.11" sig=31 arch=c000003e'
            f" syscall={key.number} compat=0 ip=0x7f0000000000 code=0x80000000"
        )
        evidence.append(Evidence(EvidenceKind.RECORDED, "netlink", record))
    return Cell(
        key=key,
        outcome=Outcome.PASSED,
        cause=None,
        sentence=f"{key.syscall} ({key.number}) on {key.arch}: {observed}, as expected",
        expected=expected,
        observed=observed,
        evidence=tuple(evidence),
        environment=environment,
    )


def record(judged: Sequence[Cell]) -> Run:
    """A record that holds these cells, and the kernels that they were judged on."""
    content = policy.load(POLICY, arch.all_names())
    started = datetime(2026, 1, 31, 12, tzinfo=UTC)
    where = Environment(
        kernel="6.12.0 #1 SMP PREEMPT_DYNAMIC",
        machine="x86_64",
        capabilities="000001ffffffffff",
        uid=0,
        no_new_privs=False,
        seccomp=0,
        seccomp_filters=0,
        actions_logged=("kill_process", "log"),
        audit=AuditSource("netlink", "a canary's record arrived"),
        arches=ARCHES,
    )
    kernels = judged[-1].environment + 1
    return Run(
        suite=Suite("syscall-conformance", "0"),
        policy=results.PolicyInfo(
            name=content.name,
            title=content.title,
            sha256=content.sha256,
            calls=tuple(
                results.CallInfo(one.name, one.family, one.description, one.why)
                for one in content.calls
            ),
            families=content.families,
        ),
        target=TargetInfo("builtin", "the builtin filter"),
        environments=tuple(replace(where, host=f"node-{number}") for number in range(kernels)),
        profiles=tuple(profile.value for profile in Profile),
        started=started,
        finished=started + timedelta(seconds=14),
        planned=len(judged),
        selected_of=len(judged),
        cells=tuple(judged),
    )


def render(many: int, page: Path) -> None:
    """Writes the page of a record, and says on standard output how long that took."""
    run = record(list(cells(many)))
    begin = time.perf_counter()
    page.write_text(compliance.render(run), encoding="utf-8")
    sys.stdout.write(f"{time.perf_counter() - begin}\n")


def _child(
    command: Sequence[str | Path], folder: Path, suite: Path = SUITE
) -> tuple[str, float, int]:
    """What a child said, how long it ran, and the most memory that it had, in bytes."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(suite)},
        text=True,
    ) as child:
        said = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args, said)
    return said, time.perf_counter() - begin, usage.ru_maxrss * 1024


def ours(many: int, folder: Path, browser: str, suite: Path = SUITE) -> Cost:
    """What the compliance page costs.

    Args:
        many: the number of cells.
        folder: where the page is written.
        browser: the program that opens it.
        suite: the checkout that writes it.
    """
    page = folder / "compliance.html"
    said, _, peak = _child(
        ("-m", "reports.benchmarks.page_cost", "--render", page, "--cells", str(many)),
        folder,
        suite,
    )
    return _opened(page, float(said), peak, browser)


def theirs(many: int, folder: Path, browser: str) -> Cost:
    """What pytest-html costs: a run with it, less the same run without it."""
    told = folder / "cells.json"
    told.write_text(json.dumps([_row(cell, number) for number, cell in enumerate(cells(many))]))
    tests = folder / "test_cells.py"
    tests.write_text(TESTS.format(cells=str(told)), encoding="utf-8")
    page = folder / "pytest.html"
    # Neither this project's plug-in and options, nor several processes.
    plain = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
        tests,
    )
    _, without, _ = _child(plain, folder)
    _, whole, peak = _child((*plain, f"--html={page}", "--self-contained-html"), folder)
    return _opened(page, whole - without, peak, browser)


def _row(cell: Cell, number: int) -> list[str]:
    key = cell.key
    name = f"{number}-{key.claim}-{key.profile}-{key.arch}-{key.syscall}"
    pieces = (f"{piece.kind} {piece.source}: {piece.text}" for piece in cell.evidence)
    return [name, cell.sentence, *pieces]


def _opened(page: Path, seconds: float, peak: int, program: str) -> Cost:
    with Browser(program) as browser:
        shown = browser.page()
        shown.look()
        begin = time.perf_counter()
        usable, nodes = None, 0
        with contextlib.suppress(BrowserError):
            shown.open(page, PATIENCE)
            shown.frames()
            usable = time.perf_counter() - begin
            nodes = shown.evaluate("document.getElementsByTagName('*').length")
        return Cost(seconds, peak, page.stat().st_size, usable, nodes, browser.memory())


def table(own: Cost, reference: Cost, many: int, name: str = "pytest-html") -> Iterator[str]:
    """The lines of the table.

    Args:
        own: what the compliance page costs.
        reference: what it is compared with.
        many: the number of cells.
        name: the name of what it is compared with.
    """
    yield f"{many:,} cells{'compliance.html':>36}{name:>16}{'ratio':>10}"
    # A page that was given up took longer than that, so that its ratio is a bound.
    waited = reference.usable or PATIENCE
    rows = (
        ("to write the page, us a cell", own.seconds * 1e6 / many, reference.seconds * 1e6 / many),
        ("size of the file, bytes a cell", own.size / many, reference.size / many),
        ("most memory to write it, MiB", own.peak / _MEBIBYTE, reference.peak / _MEBIBYTE),
        ("until it is usable in Chromium, s", own.usable or PATIENCE, waited),
        ("elements in the page", own.nodes, reference.nodes),
        ("most memory of Chromium, MiB", own.shown / _MEBIBYTE, reference.shown / _MEBIBYTE),
    )
    for row, mine, other in rows:
        ratio = mine / other if other else float("nan")
        yield f"{row:<36}{mine:>14,.1f}{other:>16,.1f}{ratio:>10.3f}"
    for whose, cost in (("compliance.html", own), (f"the page of {name}", reference)):
        if cost.usable is None:
            yield f"{whose} was not usable after {PATIENCE:,.0f} s; it was given up"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what a report costs, against pytest-html")
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an earlier checkout")
    parser.add_argument("--render", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.render is not None:
        render(arguments.cells, arguments.render)
        return 0
    program = find()
    if program is None:
        sys.stderr.write("benchmark: needs Chromium: sh .ci/oracles\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="conformance-benchmark-") as folder:
        own = ours(arguments.cells, Path(folder), program)
        earlier = None
        if arguments.against is not None:
            earlier = ours(arguments.cells, Path(folder), program, arguments.against.resolve())
        reference = theirs(arguments.cells, Path(folder), program)
    lines = list(table(own, reference, arguments.cells))
    if earlier is not None:
        lines += ["", *table(own, earlier, arguments.cells, "earlier")]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
