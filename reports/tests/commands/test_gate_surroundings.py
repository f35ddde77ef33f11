"""0 and 1 come from a complete record of this very run, whatever surrounds the one who asks."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from probes import isolation
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import ExitStatus, InstrumentError
from probes.tests.support.emitter import sharing_records
from probes.tests.support.machine import need
from reports import judging, results
from reports.channel import Heard
from reports.commands import gate
from reports.commands.main import run as main
from reports.results import Run
from reports.tests.support import samples
from reports.tests.support.job import CHECKOUT, PATIENCE_SECONDS, environment, run_command

starts_containers = pytest.mark.containers(machine="x86_64")

SCRIPT = str(Path(sys.executable).parent / "syscall-conformance")

DECOY = """\
import os
with open({trace!r}, "a") as trace:
    trace.write(__name__ + "\\n")
os._exit(0)
"""
"""A module that says that it was imported, and ends its process as if all were well."""

DECOYS = (
    *("shlex", "json", "pytest", "_pytest", "xdist", "execnet", "rich", "system_calls", "conftest"),
    *("sitecustomize", "usercustomize", "html", "encodings", "pathlib", "typing", "decoy"),
)
CONFIGURATIONS = {
    "pytest.ini": "[pytest]\naddopts = --collect-only -k nothing -p decoy\n",
    "tox.ini": "[pytest]\naddopts = --collect-only\n",
    "setup.cfg": "[tool:pytest]\naddopts = --collect-only\n",
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--collect-only"\n',
}


def decoyed(folder: Path) -> Path:
    """A folder with every file that Python or pytest might take up; the path of its trace."""
    trace = folder.parent / "trace"
    folder.mkdir()
    for name in DECOYS:
        (folder / f"{name}.py").write_text(DECOY.format(trace=str(trace)))
    for package in ("reports", "probes", "cases", "importlib"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(DECOY.format(trace=str(trace)))
    for name, text in CONFIGURATIONS.items():
        (folder / name).write_text(text)
    return trace


def gated(
    folder: Path, *options: str, cwd: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Gates an empty sandbox without a filter, which does not hold."""
    need("bwrap")
    root = folder / "empty"
    root.mkdir(exist_ok=True)
    words = [SCRIPT, "gate", str(root), "--runtime=bwrap", "--profile=errno", "--arch=x86_64"]
    with sharing_records():
        return subprocess.run(
            [*words, "-n0", f"--report-dir={folder / 'out'}", *options],
            cwd=cwd,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


def check_plain(folder: Path, ended: subprocess.CompletedProcess[str]) -> None:
    """It is the verdict of the whole job."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "FAIL (exit status 1): " in ended.stdout
    summary = json.loads((folder / "out/results.json").read_text())["summary"]
    assert summary["planned"] == summary["selected_of"] > 500


SURROUNDINGS = {
    "collects only": {"PYTEST_ADDOPTS": "--collect-only"},
    "asks for help": {"PYTEST_ADDOPTS": "--help"},
    "plans only": {"PYTEST_ADDOPTS": "--setup-plan"},
    "selects": {"PYTEST_ADDOPTS": "-k acct"},
    "ends early": {"PYTEST_ADDOPTS": "--maxfail=1 -x"},
    "another configuration": {"PYTEST_ADDOPTS": "-c /dev/null --rootdir=/ --noconftest"},
    "a plug-in that is not there": {"PYTEST_PLUGINS": "no_such_plugin"},
    "no plug-ins": {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    "optimized": {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
}


@starts_containers
@pytest.mark.parametrize("variables", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_variables_say_nothing(variables: Mapping[str, str], tmp_path: Path) -> None:
    check_plain(tmp_path, gated(tmp_path, cwd=tmp_path, variables=variables))


@starts_containers
@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_the_working_directory_says_nothing(workers: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    trace = decoyed(here)
    check_plain(tmp_path, gated(tmp_path, workers, cwd=here, variables={}))
    assert not trace.exists(), trace.read_text()


@starts_containers
def test_modules_on_the_path_say_nothing(tmp_path: Path) -> None:
    """All but those that Python or its script import before anything else can be done."""
    here = tmp_path / "here"
    trace = decoyed(here)
    # The last two are imported for an editable installation, where there is one.
    for name in ("sitecustomize.py", "usercustomize.py", "encodings.py", "pathlib.py", "typing.py"):
        (here / name).unlink()
    for package in ("reports", "probes", "importlib"):
        shutil.rmtree(here / package)
    for path in (str(here), ".", f":{tmp_path}"):
        variables = {"PYTHONPATH": path, "PYTEST_PLUGINS": "decoy", "PYTHONSTARTUP": "decoy.py"}
        check_plain(tmp_path, gated(tmp_path, cwd=here, variables=variables))
        assert not trace.exists(), trace.read_text()


@starts_containers
def test_a_project_around_an_environment_says_nothing(tmp_path: Path) -> None:
    """The suite is often installed below a project that has tests and plug-ins of its own."""
    project = tmp_path / "project"
    trace = decoyed(project)
    inside = project / "suite"
    inside.mkdir()
    for name in ("cases", "probes", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "out", "tests")
        shutil.copytree(CHECKOUT / name, inside / name, ignore=ignored)
    need("bwrap")
    (tmp_path / "empty").mkdir()
    program = f"import sys; sys.path.insert(0, {str(inside)!r})\n{isolation._MAIN}"
    words = [f"{tmp_path}/empty", "--runtime=bwrap", "--profile=errno", "--arch=x86_64", "-n0"]
    with sharing_records():
        ended = run_command(
            [sys.executable, "-P", "-c", program, "gate", *words, f"--report-dir={tmp_path}/out"],
            cwd=tmp_path,
        )
    check_plain(tmp_path, ended)
    assert "  again: syscall-conformance run 'cases/test_errno.py::test_denies[" in ended.stdout
    assert not trace.exists(), trace.read_text()


@starts_containers
def test_paths_are_relative_to_the_user_s_directory(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "cases/policies/container-restrictions.toml", tmp_path / "mine.toml")
    ended = gated(tmp_path, "--policy=mine.toml", "--report-dir=out", cwd=tmp_path, variables={})
    check_plain(tmp_path, ended)
    refused = gated(tmp_path, "--baseline=none.json", cwd=tmp_path, variables={})
    assert refused.returncode == 4
    assert f"--baseline: {tmp_path}/none.json: " in refused.stderr


@starts_containers
def test_from_inside_the_environment_says_nothing(tmp_path: Path) -> None:
    """A sandbox of bwrap's has its user's, as a container has its image's."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    variables = {"PYTEST_ADDOPTS": "-k acct", "PYTHONPATH": "/nowhere", "PYTHONOPTIMIZE": "2"}
    ended = gated(tmp_path, "--probe-python=/", cwd=tmp_path, variables=variables)
    check_plain(tmp_path, ended)
    inside = json.loads((tmp_path / "out/inside/results.json").read_text())["summary"]
    assert inside["planned"] == inside["selected_of"] > 300


@starts_containers
@pytest.mark.parametrize("workers", ["--collect-only", "0 -k acct", "-1", ""])
def test_processes_are_a_number(workers: str, tmp_path: Path) -> None:
    ended = gated(tmp_path, f"-n{workers}", cwd=tmp_path, variables={})
    assert ended.returncode == 4
    assert len(ended.stderr.splitlines()) == 1


# On this machine, without a guest.


@starts_containers
def test_a_guest_that_is_this_machine(tmp_path: Path) -> None:
    here = tmp_path / "here"
    trace = decoyed(here)

    def asked(words: str, addopts: str) -> subprocess.CompletedProcess[str]:
        with sharing_records():
            return run_command(
                [SCRIPT, "guest", "x86_64", f"--report-dir={tmp_path}/out", f"--pytest={words}"],
                cwd=here,
                variables={"PYTEST_ADDOPTS": addopts},
            )

    whole = asked("--profile=kill --arch=x86_64 -n0", "--collect-only")
    assert "x86_64: PASS: " in whole.stdout, whole.stdout + whole.stderr
    assert whole.returncode == 0
    for words in ("--collect-only", "--help", "--setup-plan"):
        nothing = asked(words, "")
        assert nothing.returncode == 3
        assert "x86_64: it left no record (this machine, no guest)" in nothing.stdout
    assert not trace.exists(), trace.read_text()


# What a process that judged is worth.


def cell(outcome: Outcome) -> Cell:
    key = CellKey(Claim.DENIES, "errno", "x86_64", "acct", 163)
    return Cell(key, outcome, None, f"it {outcome}", "e", "o")


def of(outcome: Outcome) -> Run:
    return samples.run((*samples.controls(), cell(outcome)))


PASSED, FAILED = of(Outcome.PASSED), of(Outcome.FAILED)
SETTLED = [
    (PASSED, 0, False, 0, ""),
    (FAILED, 1, False, 1, ""),
    (FAILED, 0, False, 7, "it ended with exit status 0, but its record says FAIL (1): "),
    (PASSED, 1, False, 7, "it ended with exit status 1, but its record says PASS (0): "),
    (PASSED, 3, False, 3, "its record says PASS, but it ended with exit status 3"),
    (PASSED, 2, False, 2, "its record says PASS, but it ended with exit status 2"),
    (PASSED, -9, False, 3, "its record says PASS, but signal 9 ended it"),
    (PASSED, 120, False, 3, "its record says PASS, but it ended with exit status 120"),
    (replace(PASSED, selected_of=99), 0, False, 7, "of the job's 99 cells were judged"),
    (replace(PASSED, selected_of=99), 0, True, 0, ""),
    (replace(FAILED, selected_of=99), 1, False, 7, "of the job's 99 cells were judged"),
    (replace(FAILED, complete=False), 1, False, 7, "its record is not complete"),
    (of(Outcome.CANNOT_TELL), 6, False, 6, ""),
    (of(Outcome.CANNOT_TELL), 0, False, 7, "its record says INCOMPLETE (6)"),
]


@pytest.mark.parametrize(("run", "status", "is_part", "expected", "trouble"), SETTLED)
def test_a_status_needs_a_record(
    run: Run, status: int, *, is_part: bool, expected: int, trouble: str
) -> None:
    settled = judging.settle(run, status, is_part=is_part)
    assert settled.status == expected
    assert trouble in settled.trouble
    assert bool(settled.trouble) == bool(trouble)


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 3), (1, 3), (2, 2), (4, 4), (5, 5), (-11, 3), (137, 3)]
)
def test_no_record_is_no_verdict(status: int, expected: int) -> None:
    assert judging.without_record(status) is ExitStatus(expected)


def test_an_earlier_record_is_none_of_this_run(tmp_path: Path) -> None:
    record = tmp_path / "results.json"
    results.write(PASSED, record)
    assert gate._record(record, Heard()) is None
    heard = Heard(record=hashlib.sha256(record.read_bytes()).hexdigest())
    found = gate._record(record, heard)
    assert found is not None
    assert len(found.cells) == len(PASSED.cells)
    results.write(FAILED, record)
    with pytest.raises(InstrumentError, match="something else has written there meanwhile"):
        gate._record(record, heard)


@starts_containers
@pytest.mark.parametrize(
    "ended", ["sys.exit(0)", "sys.exit(1)", "import os; os.kill(os.getpid(), 9)"]
)
def test_a_process_that_judges_nothing(
    ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a record of an earlier run, which passed, and is left as it is."""
    results.write(PASSED, tmp_path / "results.json")
    before = (tmp_path / "results.json").read_bytes()
    monkeypatch.setattr(
        judging, "command", lambda *_: [sys.executable, "-c", f"import sys; {ended}"]
    )
    words = ["gate", str(tmp_path), "--runtime=bwrap", "--profile=kill"]
    assert main([*words, f"--report-dir={tmp_path}"]) == 3
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_run_that_judges_collects_no_test_of_the_suite_itself() -> None:
    done = subprocess.run(
        judging.command("--collect-only", "-q", "-n0", str(CHECKOUT / "cases")),
        env=judging.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert "cases/test_kill.py" in found
    assert not [path for path in found if "/tests/" in path]
