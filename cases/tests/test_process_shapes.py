"""Processes whose threads are confined otherwise: what is judged is what each of them sees."""

import re
from pathlib import Path

import pytest

from probes.errors import ExitStatus
from probes.tests.support import shapes
from probes.tests.support.oracles import require
from probes.tests.support.shapes import Answers
from reports.tests.support import job
from reports.tests.support.job import ALONE, Job

SHAPES = 16

pytestmark = [
    pytest.mark.root("reads a process and records"),
    pytest.mark.skipif(not job.on_x86_64, reason="these are the ABIs of an x86_64 kernel"),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = require("gcc", "gcc libc6-dev")
    return shapes.compiled(gcc, tmp_path_factory.mktemp("shapes"))


def by_stack(ended: Job) -> dict[int, tuple[frozenset[str], frozenset[str]]]:
    """The calls of which each claim passed, by stack; every cell must be decided."""
    found: dict[int, tuple[set[str], set[str]]] = {}
    for cell in ended.cells:
        if cell["claim"] in {"denies", "is silent"}:
            assert cell["outcome"] in {"passed", "failed"}, cell
            denied, silent = found.setdefault(cell.get("stack", 0), (set(), set()))
            if cell["outcome"] == "passed":
                (denied if cell["claim"] == "denies" else silent).add(cell["syscall"])
    return {stack: (frozenset(one), frozenset(two)) for stack, (one, two) in found.items()}


def named(ended: Job, threads: list[Answers]) -> dict[int, int]:
    """The stacks of the threads whose ids the record tells, by the id."""
    found = {}
    for text in ended.results["target"]["findings"]:
        if told := re.match(r"stack (\d+) is that of (.*), against \d+ filters? of (.*);", text):
            rank, theirs, first = int(told[1]) - 1, told[2], told[3]
            for thread in threads:
                if re.search(rf"\b{thread.tid} \(", theirs.partition(" of process ")[0]):
                    found[thread.tid] = rank
                if re.search(rf"\b{thread.tid} \(", first.partition(" of process ")[0]):
                    found[thread.tid] = 0
    return found


@pytest.mark.parametrize("seed", range(SHAPES))
def test_every_thread_is_judged_as_the_kernel_answers_it(
    seed: int, program: Path, tmp_path: Path
) -> None:
    some = " or ".join(f"x86_64-{name}" for name in shapes.CALLS)
    options = ("--profile=errno", "--arch=x86_64", *ALONE)
    with shapes.running(program, shapes.shape(seed, tmp_path)) as process:
        ended = job.run(
            tmp_path / "reports",
            *(f"--target=pid:{process.pid}", *options),
            *("-k", f"(test_denies or test_is_silent) and ({some})"),
        )
        threads = shapes.ask(process)

    stacks = by_stack(ended)
    assert {(one.denied, one.silent) for one in threads} == set(stacks.values())
    told = named(ended, threads)
    assert bool(told) == (len(stacks) > 1)
    for thread in threads:
        if thread.tid in told:
            assert stacks[told[thread.tid]] == (thread.denied, thread.silent)
    held = all(one.denied == one.silent == set(shapes.CALLS) for one in threads)
    wanted = ExitStatus.CONFORMANT if held else ExitStatus.NOT_CONFORMANT
    assert ended.status == wanted, ended.output
