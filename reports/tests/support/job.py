"""Runs the main job as its users do: in a process of its own, in a checkout."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from probes.files import SUITE
from probes.tests.support.emitter import sharing_records

CHECKOUT = SUITE
POLICY = CHECKOUT / "cases/policies/container-restrictions.toml"
NOBODY = 65534
PATIENCE_SECONDS = 180

ALONE = ("-p", "no:xdist")
SMALL = ("--profile=kill", "--arch=x86_64")
"""A part of the job that is whole in itself: some 400 cells in two seconds."""

is_root = os.geteuid() == 0
on_x86_64 = os.uname().machine == "x86_64"

_VOLATILE = re.compile(r"audit\([0-9.]+:[0-9]+\)|\bpid=[0-9]+|comm=\S+|\bip=0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is over.

    Attributes:
        status: its exit status.
        output: what it printed, both streams.
        folder: where its reports are.
    """

    status: int
    output: str
    folder: Path

    @property
    def results(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        record: dict[str, Any] = json.loads(self.text("results.json"))
        return record

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The cells of ``results.json``."""
        cells: list[dict[str, Any]] = self.results["cells"]
        return cells

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of ``results.json``."""
        summary: dict[str, Any] = self.results["summary"]
        return summary

    def text(self, name: str) -> str:
        """A report."""
        return (self.folder / name).read_text(encoding="utf-8")

    def outcomes(self, **wanted: object) -> dict[str, int]:
        """How many cells with these values came to each outcome."""
        counts: dict[str, int] = {}
        for cell in self.cells:
            if all(cell[name] == value for name, value in wanted.items()):
                counts[cell["outcome"]] = counts.get(cell["outcome"], 0) + 1
        return counts

    @property
    def closing(self) -> list[str]:
        """The lines of the closing section, without pytest's own line after them."""
        lines = self.output.splitlines()
        heads = [n for n, line in enumerate(lines) if re.fullmatch(r"=+ syscall-con\S+ =+", line)]
        assert len(heads) == 1, self.output
        after = lines[heads[0] + 1 :]
        ends = [n for n, line in enumerate(after) if line.startswith(("===", "!!!"))]
        return after[: ends[0]] if ends else after

    @property
    def errors(self) -> list[str]:
        """The lines in which a sentence says what is wrong."""
        return [line for line in self.output.splitlines() if line.startswith("ERROR: ")]

    @property
    def test_cases(self) -> list[ET.Element]:
        """The test cases of ``junit.xml``."""
        return list(ET.fromstring(self.text("junit.xml")).iter("testcase"))  # noqa: S314 - pytest wrote it

    @property
    def page_data(self) -> dict[str, Any]:
        """What ``pytest.html`` has its rows made from."""
        blob = re.search(r'data-jsonblob="([^"]*)"', self.text("pytest.html"))
        assert blob
        data: dict[str, Any] = json.loads(unescape(blob[1]))
        return data


def environment() -> dict[str, str]:
    """This process's, without what the pytest around it has put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def command(
    folder: Path, *options: str, plugin: Path | None = None, python: str = sys.executable
) -> list[str]:
    """The command line of the main job.

    Args:
        folder: where the reports shall go.
        options: the user's.
        plugin: a module for pytest to load besides.
        python: the interpreter.
    """
    words = [python, "-m", "pytest", "-p", "no:cacheprovider", f"--report-dir={folder}"]
    if plugin is not None:
        words += ["-o", f"pythonpath={plugin.parent}", "-p", plugin.stem]
    return [*words, *options]


def run_command(
    words: Sequence[str | Path], *, cwd: Path = CHECKOUT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, and waits for its end.

    Args:
        words: the program and its arguments.
        cwd: its working directory.
        variables: the variables that it has besides the usual ones.
    """
    return subprocess.run(
        words,
        cwd=cwd,
        env=environment() | dict(variables or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def run(folder: Path, *options: str, plugin: Path | None = None, cwd: Path = CHECKOUT) -> Job:
    """Runs the main job to its end."""
    return run_words(command(folder, *options, plugin=plugin), folder, cwd=cwd)


def run_words(
    words: Sequence[str],
    folder: Path,
    *,
    cwd: Path = CHECKOUT,
    variables: Mapping[str, str] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Job:
    """Runs a command that starts the main job, as others do around it.

    Args:
        words: the command.
        folder: where the reports shall go.
        cwd: where it is started.
        variables: for its environment.
        patience: seconds that it may take.
    """
    with undisturbed():
        ended = subprocess.run(
            words,
            cwd=cwd,
            env=environment() | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience,
            check=False,
        )
    return Job(ended.returncode, ended.stdout, folder)


def run_as_nobody(place: Path, *options: str) -> Job:
    """Runs the main job from a copy of the checkout as a user without any privilege.

    Args:
        place: a folder that everybody may enter; the copy and the reports go there.
        options: the user's.
    """
    checkout = place / "checkout"
    checkout.mkdir()
    for name in ("cases", "probes", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=ignored)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, checkout / name)
    folder = place / "reports"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    python = python_for_nobody(place)
    ended = subprocess.run(
        command(folder, *options, python=python),
        cwd=checkout,
        env=environment() | {"HOME": str(place)},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Job(ended.returncode, ended.stdout, folder)


def python_for_nobody(place: Path) -> str:
    """An interpreter with this one's packages that everybody may run; the test ends without one."""
    if _serves_nobody(sys.executable):
        return sys.executable
    # This one stands in somebody's home. The system's can use its packages if it is as old.
    if _serves_nobody("/usr/bin/python3"):
        made = place / "python"
        words = ["/usr/bin/python3", "-m", "venv", "--without-pip", str(made)]
        subprocess.run(words, check=True, timeout=PATIENCE_SECONDS)
        library = next(made.glob("lib/python3.*/site-packages"))
        library.joinpath("packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
        if _serves_nobody(str(made / "bin/python")):
            return str(made / "bin/python")
    pytest.skip(
        f"needs an interpreter that everybody may run: {sys.executable} is not, and no"
        " /usr/bin/python3 of its version can use its packages"
    )


def _serves_nobody(python: str) -> bool:
    """Whether user nobody can run the interpreter, in this one's version."""
    program = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if python != "/usr/bin/python3":
        program = f"import pytest, pytest_html, xdist, system_calls; {program}"
    try:
        tried = subprocess.run(
            [python, "-c", program],
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (PermissionError, FileNotFoundError):
        return False
    return tried.returncode == 0


def interrupt(folder: Path, *options: str, after: int) -> tuple[Job, list[str]]:
    """Runs the main job, and interrupts it as Ctrl-C at a terminal does.

    Args:
        folder: where the reports shall go.
        options: the user's.
        after: how many tests shall have passed before.

    Returns:
        The run, and the command lines of its processes that were left behind.
    """
    mark = secrets.token_hex()
    process = subprocess.Popen(
        command(folder, "-v", *options),
        cwd=CHECKOUT,
        env=environment() | {"PYTHONUNBUFFERED": "1", "MAIN_JOB": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with undisturbed(), process:
        assert process.stdout is not None
        lines: list[str] = []
        while sum("PASSED" in line for line in lines) < after:
            line = process.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
        # Or else that no process is left would say nothing.
        assert any("serve(" in words for words in _marked(mark))
        os.killpg(process.pid, signal.SIGINT)
        lines.append(process.stdout.read())
        status = process.wait(timeout=PATIENCE_SECONDS)
    return Job(status, "".join(lines), folder), left_behind(mark)


def kill(folder: Path, *options: str, after: int) -> list[str]:
    """Runs the main job, and kills the process that collects the verdicts in the middle.

    Args:
        folder: where the reports shall go.
        options: the user's.
        after: how many lines its journal shall have by then.

    Returns:
        The command lines of its processes that were left behind.
    """
    mark = secrets.token_hex()
    process = subprocess.Popen(
        command(folder, *options),
        cwd=CHECKOUT,
        env=environment() | {"MAIN_JOB": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    journal = folder / "results.partial.jsonl"
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        with undisturbed():
            while not journal.exists() or journal.read_bytes().count(b"\n") < after:
                assert process.poll() is None, "the run ended before it could be killed"
                assert time.monotonic() < until
                time.sleep(0.01)
            process.kill()
            process.wait(timeout=PATIENCE_SECONDS)
            return left_behind(mark)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_SECONDS)


def left_behind(mark: str) -> list[str]:
    """The processes with this word in their environment, when they had time to end."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (found := list(_marked(mark))) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _marked(mark: str) -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            if mark.encode() in (entry / "environ").read_bytes():
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def undisturbed() -> contextlib.AbstractContextManager[None]:
    """Keeps tests away that flood or stall the records that a privileged run reads."""
    return sharing_records() if is_root else contextlib.nullcontext()


def normalized(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells without what differs between two runs: times, serials, pids, nonces, addresses."""

    def plain(syscall: str, piece: dict[str, str]) -> dict[str, str]:
        if syscall == "getppid" and piece["source"] == "call":
            return piece | {"text": "the pid of its parent" * piece["text"].isdecimal()}
        return piece | {"text": _VOLATILE.sub("-", piece["text"])}

    return [
        cell | {"evidence": [plain(cell["syscall"], piece) for piece in cell["evidence"]]}
        for cell in cells
    ]


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="main-job-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def module(folder: Path, text: str) -> Path:
    """Writes a plug-in for pytest, and gives its path."""
    path = folder / "disturbance.py"
    path.write_text(text, encoding="utf-8")
    return path
