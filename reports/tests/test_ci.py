"""What runs the checks: the inner loop's selection, the oracles' scripts, the hosted workflow."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from probes.tests.support import needs
from probes.tests.support.oracles import require, tool
from reports.tests.support.job import CHECKOUT

SCRIPTS = [path for path in (CHECKOUT / ".ci").iterdir() if path.name not in {"setup", "measure"}]
WORKFLOW = CHECKOUT / ".github/workflows/ci.yml"
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PATIENCE_SECONDS = 120


def test_the_inner_loop_leaves_out_what_has_a_mark_and_no_more() -> None:
    (selected,) = re.findall(r"-m 'not \((.*)\)'", (CHECKOUT / ".ci/quick").read_text())
    assert tuple(selected.split(" or ")) == needs.MARKS


def test_the_marks_are_registered() -> None:
    registered = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    assert {re.split(r"[(:]", line)[0] for line in registered} == set(needs.MARKS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_as_shellcheck_reads_it(path: Path) -> None:
    checker = require("shellcheck", "shellcheck")
    if path.read_text().startswith("#!/usr/bin/env python"):
        return
    ended = subprocess.run(
        [checker, "--external-sources", str(path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_a_file_in_place_of_the_environment_is_told(tmp_path: Path) -> None:
    (tmp_path / ".venv").write_text(".tox/dev\n")
    ended = subprocess.run(
        ["sh", "-c", '. "$1"', "-", str(CHECKOUT / ".ci/setup")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "syscall-conformance: .venv is a file that another tool has made; "
        "remove it, or activate an environment\n"
    )


def test_tox_makes_no_file_in_place_of_the_environment() -> None:
    assert "\nvenv_redirect = false\n" in (CHECKOUT / "tox.ini").read_text()


# The script that brings the oracles.


def oracles(folder: Path, **tools: str) -> subprocess.CompletedProcess[str]:
    """Runs ``.ci/oracles`` in a copy of its folder, with commands that stand for the real ones."""
    checkout, tool_folder = folder / "checkout", folder / "tools"
    shutil.copytree(CHECKOUT / ".ci", checkout / ".ci")
    tool_folder.mkdir()
    for name, text in ({"npm": "", "python": "exit 1"} | tools).items():
        path = tool_folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\necho {path.name} \"$@\" >>'{folder}/called'\n{text}\n")
        path.chmod(0o755)
    (folder / "called").touch()
    return subprocess.run(
        ["sh", ".ci/oracles"],
        cwd=checkout,
        env={"PATH": f"{tool_folder}:{os.environ['PATH']}", "VIRTUAL_ENV": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


NOTHING_INSTALLED = "exit 1"


def test_whoever_may_not_install_is_told_what_is_missing(tmp_path: Path) -> None:
    ended = oracles(tmp_path, id="echo 1000", dpkg_query=NOTHING_INSTALLED, apt_get="exit 1")
    assert ended.returncode == 0
    assert "to have them all run: sudo apt-get install auditd gcc " in ended.stderr
    assert "apt-get" not in {
        line.split()[0] for line in (tmp_path / "called").read_text().splitlines()
    }


def test_what_is_going_to_be_installed_is_said_before(tmp_path: Path) -> None:
    """And where that fails, the tests go on with what is there."""
    ended = oracles(
        tmp_path, id="echo 0", dpkg_query=NOTHING_INSTALLED, apt_get="echo no >&2; exit 1"
    )
    said = ended.stderr.splitlines()
    assert ended.returncode == 0
    assert said[0].startswith("syscall-conformance: going to install with apt-get: auditd gcc ")
    assert said[1] == "no"
    assert said[2].endswith(
        "not all of that could be installed; the tests go on with what is there"
    )
    assert any("going to install with pip" in line for line in said)
    assert any("the Python packages could not be installed" in line for line in said)
    assert any("going to install with npm" in line for line in said)
    assert any("the validators of npm could not be installed" in line for line in said)


def test_where_everything_is_there_nothing_is_said_of_packages(tmp_path: Path) -> None:
    ended = oracles(tmp_path, id="echo 0", dpkg_query="echo install ok installed", apt_get="exit 1")
    assert "apt-get" not in ended.stderr


# The hosted workflow.


def test_the_workflow_runs_everything_on_every_python_that_is_promised() -> None:
    promised = {
        found[1]
        for line in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert len(promised) == 4
    commands = {}
    for name, job in jobs.items():
        assert set(job["strategy"]["matrix"]["python"]) == promised
        commands[name] = "\n".join(step.get("run", "") for step in job["steps"])
    assert "sh .ci/quick" in commands["quick"]
    assert "bash .ci/run" in commands["whole"]


def test_pre_commit_takes_its_configuration() -> None:
    """And needs nothing from elsewhere: its hooks are the commands that ``.ci/run`` has."""
    path = CHECKOUT / ".pre-commit-config.yaml"
    program = tool("pre-commit", "dev")
    subprocess.run([program, "validate-config", str(path)], check=True, timeout=PATIENCE_SECONDS)
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    whole = (CHECKOUT / ".ci/run").read_text()
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].removesuffix(" --force-exclude") in whole
