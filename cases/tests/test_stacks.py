"""A verdict on a process is one on all of its threads, and on every filter by its place."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.targets import builtin
from probes.tests.support import shapes
from probes.tests.support.oracles import require
from probes.tests.support.shapes import LOG
from reports.formats import catalogue
from reports.results import from_json
from reports.tests.support import job
from reports.tests.support.job import ALONE, CHECKOUT, POLICY, Job

pytestmark = [
    pytest.mark.root("reads a process and records"),
    pytest.mark.skipif(not job.on_x86_64, reason="these are the ABIs of an x86_64 kernel"),
]

OPTIONS = ("--profile=errno", "--arch=x86_64", *ALONE)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = require("gcc", "gcc libc6-dev")
    return shapes.compiled(gcc, tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filter that conforms, as a raw program."""
    documented = policy.load(POLICY, arch.all_names())
    made = builtin.build(documented, arch.offered_by("x86_64"), Profile.ERRNO)
    file = tmp_path_factory.mktemp("filter") / "errno.bpf"
    file.write_bytes(bpf.to_bytes(made))
    return file


def command(*words: str) -> tuple[int, str]:
    """A command of the suite's own: its exit status and what it printed."""
    tool = Path(sys.executable).parent / "syscall-conformance"
    ended = subprocess.run(
        [tool, *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False
    )
    return ended.returncode, f"{ended.stdout}{ended.stderr}"


def of_stack(ended: Job, stack: int) -> set[tuple[str, str, str]]:
    """Claim, call and outcome of a stack's cells."""
    return {
        (cell["claim"], cell["syscall"], cell["outcome"])
        for cell in ended.cells
        if cell.get("stack", 0) == stack and cell["claim"] != "controls"
    }


def test_a_thread_without_a_filter_is_judged_and_fails(
    program: Path, right: Path, tmp_path: Path
) -> None:
    """It is told apart wherever somebody looks, and the command for a failure runs."""
    with shapes.running(program, ["0", "t", "0", f"{right}:0"]) as process:
        target = f"pid:{process.pid}"
        ended = job.run(tmp_path / "r", f"--target={target}", *OPTIONS, "-k", "acct or proved")
        again = job.run(
            tmp_path / "again",
            f"--target={target}",
            *OPTIONS,
            "-k",
            "test_denies[x86_64-acct-stack_2]",
        )
        compared, difference = command(
            *("diff", "builtin", target, "--profile", "errno", "--arch", "x86_64")
        )
        status, explained = command("explain", target, "--arch", "x86_64", "--number", "mount")
        first, second = shapes.ask(process)

    assert first.denied == set(shapes.CALLS)
    assert second.denied == frozenset()
    assert ended.status == again.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert ("denies", "acct", "passed") in of_stack(ended, 0)
    assert ("denies", "acct", "failed") in of_stack(ended, 1)
    assert {outcome for _, _, outcome in of_stack(ended, 0)} == {"passed"}
    (only,) = [cell for cell in again.cells if cell["claim"] == "denies"]
    thread = f"thread {second.tid} (shape-1) of process {process.pid} (shape-0)"
    assert thread in only["sentence"]
    for report in ("summary.md", "compliance.html", "pytest.html", "junit.xml"):
        assert "stack 2" in ended.text(report).replace("stack_2", "stack 2"), report
        assert str(second.tid) in ended.text(report), report
    assert "test_denies[x86_64-acct-stack_2]" in ended.text("compliance.html")
    run = from_json(ended.results)
    for format_ in catalogue.FORMATS.values():
        assert "stack" in format_.render(run), format_.file
    names = [case.get("name") for case in cases_of(catalogue.FORMATS["junit"].render(run))]
    assert len(set(names)) == len(names)
    assert compared == ExitStatus.NOT_CONFORMANT
    assert f"stack 2 ({thread})" in " ".join(difference.split())
    assert status == ExitStatus.CONFORMANT
    assert f"{thread}: no filter" in " ".join(explained.split())


def cases_of(text: str) -> list[ET.Element]:
    """The test cases about denials; a name is unique within a class."""
    root = ET.fromstring(text)  # noqa: S314 - it was made here
    return [one for one in root.iter("testcase") if "denies" in one.get("classname", "")]


FLAGS = ((LOG, 0), (0, LOG), (LOG, LOG, 0), (0, LOG, 0), (LOG, 0, LOG))


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_of_equal_filters_the_newest_ones_flag_counts(
    flags: tuple[int, ...], program: Path, right: Path, tmp_path: Path
) -> None:
    words = [word for flag in flags for word in ("0", f"{right}:{flag}")]
    with shapes.running(program, words) as process:
        target = f"pid:{process.pid}"
        ended = job.run(tmp_path / "r", f"--target={target}", *OPTIONS, "-k", "mount")
        equal, said = command("diff", f"bpf:{right}", target, "--arch", "x86_64")
        _, explained = command("explain", target, "--arch", "x86_64", "--number", "mount")
        (seen,) = shapes.ask(process)

    silent = not flags[-1]
    assert seen.denied == set(shapes.CALLS)
    assert seen.silent == (set(shapes.CALLS) if silent else set())
    came = "passed" if silent else "failed"
    assert of_stack(ended, 0) >= {("denies", "mount", "passed"), ("is silent", "mount", came)}
    assert ended.status == (0 if silent else ExitStatus.NOT_CONFORMANT), ended.output
    assert equal == (0 if silent else ExitStatus.NOT_CONFORMANT), said
    assert ("ERRNO(EPERM), recorded" in said) == (not silent)
    for place, flag in enumerate(flags, 1):
        line = f"filter {place} of {len(flags)}, with SECCOMP_FILTER_FLAG_LOG:"
        assert (line in explained) == bool(flag)
    assert ("records it for that filter's flag" in explained) == (not silent)


def test_threads_that_differ_in_a_flag_alone(program: Path, right: Path, tmp_path: Path) -> None:
    words = ["0", "t", "0", f"{right}:0", "1", f"{right}:{LOG}"]
    with shapes.running(program, words) as process:
        ended = job.run(tmp_path, f"--target=pid:{process.pid}", *OPTIONS, "-k", "mount")
        first, second = shapes.ask(process)

    assert (len(first.silent), len(second.silent)) == (len(shapes.CALLS), 0)
    assert ("is silent", "mount", "passed") in of_stack(ended, 0)
    assert ("is silent", "mount", "failed") in of_stack(ended, 1)
    assert ("denies", "mount", "passed") in of_stack(ended, 1)


def test_a_process_without_a_filter_is_judged(program: Path, tmp_path: Path) -> None:
    with shapes.running(program, ["0", "t"]) as process:
        ended = job.run(tmp_path, f"--target=pid:{process.pid}", *OPTIONS, "-k", "acct or kcmp")
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    decided = {
        outcome for claim, _, outcome in of_stack(ended, 0) if claim in {"denies", "is proved"}
    }
    assert decided == {"failed"}
    assert "has no seccomp filter at all" in str(ended.results["target"]["findings"])


RELAY = """
import sys, threading, time
from probes.instrument import kernel
kernel.set_no_new_privs()
kernel.install(kernel.Filter(open(sys.argv[1], "rb").read()))
def relay():
    time.sleep(0.002)
    threading.Thread(target=relay).start()
for _ in range(3):
    relay()
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def restless(file: Path) -> Iterator[int]:
    """A process under the filter whose threads start others and end, all the time."""
    words = [sys.executable, "-c", RELAY, str(file)]
    with subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def test_a_selection_of_one_stack_is_no_verdict_on_the_others(
    program: Path, right: Path, tmp_path: Path
) -> None:
    """The tests of one stack can be looked at again, but not taken for the process."""
    one = "cases/test_errno.py::test_denies[x86_64-acct]"
    with shapes.running(program, ["0", "t", "0", f"{right}:0"]) as process:
        ended = job.run(tmp_path / "r", f"--target=pid:{process.pid}", *OPTIONS, one)
    with shapes.running(program, ["0", f"{right}:0"]) as process:
        alone = job.run(tmp_path / "alone", f"--target=pid:{process.pid}", *OPTIONS, one)
    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    (cell,) = [cell for cell in ended.cells if cell["claim"] == "is all judged"]
    assert cell["syscall"] == "stack 2"
    assert "not all that was selected for another part" in " ".join(ended.output.split())
    assert alone.status == ExitStatus.CONFORMANT, alone.output


def test_threads_that_come_and_go_leave_it_open(right: Path, tmp_path: Path) -> None:
    with restless(right) as pid:
        ended = job.run(tmp_path, f"--target=pid:{pid}", *OPTIONS, "-k", "acct")
        compared, said = command("diff", f"bpf:{right}", f"pid:{pid}", "--arch", "x86_64")
    assert ended.status == compared == ExitStatus.CANNOT_TELL, ended.output
    assert "kept changing while they were read" in ended.output.replace("\n", " ")
    assert "kept changing" in said


@pytest.mark.parametrize("name", ["runsc-sandbox", "qemu-system-x86_64", "firecracker"])
def test_a_sandboxs_own_process_is_no_verdict_on_the_sandbox(
    name: str, program: Path, right: Path, tmp_path: Path
) -> None:
    """A stand-in goes by the name of what runs the sandbox."""
    stand_in = tmp_path / name
    stand_in.write_bytes(program.read_bytes())
    stand_in.chmod(0o755)
    with shapes.running(stand_in, ["0", f"{right}:0"]) as process:
        ended = job.run(
            tmp_path / "r", f"--target=pid:{process.pid}", *OPTIONS, "-k", "acct or rest"
        )
    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    judged = [cell["outcome"] for cell in ended.cells if cell["claim"] != "controls"]
    assert set(judged) == {"cannot_tell"}, "the filter of the host says nothing of the sandbox"
    (cell,) = [cell for cell in ended.cells if cell["claim"] == "is all judged"]
    assert "--target=ambient" in cell["sentence"]
