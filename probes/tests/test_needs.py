"""Marks say what a test needs, and no test is skipped for want of it without its mark."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.files import SUITE
from probes.tests.support import needs

FOLDERS = ("cases/tests", "probes/tests", "reports/tests")

MODULE = """\
import os
import pytest
from probes.tests.support import oracles

@pytest.fixture
def machine():
    return oracles.require("bwrap", "bubblewrap")

@pytest.mark.root("reads records")
def test_root():
    assert os.geteuid() == 0

@pytest.mark.root("reads records", machine="vax")
def test_vax():
    raise AssertionError

@pytest.mark.containers
def test_container():
    oracles.require("docker", "docker.io")

def test_by_fixture(machine):
    pass

@pytest.mark.parametrize("machine", ["vax"])
def test_a_parameter_of_that_name(machine):
    pass

def test_of_a_tool_that_has_no_mark():
    oracles.require("sh", "dash")

def test_undeclared():
    oracles.require("/usr/bin/podman", "podman")

def test_undeclared_emulator():
    oracles.require("qemu-system-s390x", "qemu-system-misc")
"""
CONFTEST = """\
from probes.tests.support import own_tests

def pytest_pycollect_makemodule(module_path, parent):
    own_tests.prepare(parent.config, module_path)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests of another project's, with this suite's marks, and tools that do nothing."""
    made = tmp_path_factory.mktemp("marked")
    (made / "test_marked.py").write_text(MODULE)
    (made / "conftest.py").write_text(CONFTEST)
    marks = "".join(f"\n    {name}" for name in needs.MARKS)
    (made / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\nmarkers ={marks}\n")
    tools = made / "tools"
    tools.mkdir()
    for name in ("bwrap", "docker"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    return made


def run(folder: Path, *options: str) -> str:
    """What pytest says of these tests."""
    path = f"{folder}/tools:{os.environ['PATH']}"
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA"]
    ended = subprocess.run(
        [*words, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SUITE), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.stdout + ended.stderr


def named(said: str, outcome: str) -> set[str]:
    """The tests with an outcome."""
    lines = [line.partition("::") for line in said.splitlines() if line.startswith(outcome + " ")]
    return {name.partition(" ")[0] for _, _, name in lines if name}


def test_a_test_reaches_for_what_its_marks_name(folder: Path) -> None:
    said = run(folder)

    skipped = said.count("SKIPPED [1]")
    assert named(said, "FAILED") == {"test_undeclared", "test_undeclared_emulator"}
    assert "a test that needs /usr/bin/podman carries the mark 'containers'" in said
    assert "a test that needs qemu-system-s390x carries the mark 'guests'" in said
    always = {"test_a_parameter_of_that_name[vax]", "test_of_a_tool_that_has_no_mark"}
    if os.geteuid() == 0:
        assert named(said, "PASSED") == {*always, "test_root", "test_container", "test_by_fixture"}
        assert (skipped, "is for vax: reads records" in said) == (1, True)
    else:
        assert named(said, "PASSED") == always
        assert (skipped, said.count("needs root: reads records")) == (4, 2)
        assert said.count("needs root: starts containers") == 2


def test_marks_select(folder: Path) -> None:
    said = run(folder, "-m", "containers")
    assert "2 passed" in said or "2 skipped" in said
    assert "\nprocessor time: " in said


def test_no_suite_without_the_mark_says_so(folder: Path) -> None:
    said = run(folder, "-m", "not (root or containers)", "-k", "not undeclared")
    assert named(said, "PASSED") == {
        "test_a_parameter_of_that_name[vax]",
        "test_of_a_tool_that_has_no_mark",
    }


# Root is asked for by the mark and by nothing else.


def skips_for_root(text: str) -> list[int]:
    """The lines in which a module has a test skipped because this user is not root."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If) and _asks_who(node.test):
            found += [node.lineno] * any(_called(inner) == "skip" for inner in _inside(node))
        if isinstance(node, ast.Call) and _called(node) == "skipif":
            unless = any(_asks_who(argument) and not _is_root(argument) for argument in node.args)
            found += [node.lineno] * unless
    return found


def _inside(node: ast.If) -> Iterator[ast.AST]:
    for statement in node.body:
        yield from ast.walk(statement)


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr
    return ""


def _asks_who(node: ast.AST) -> bool:
    words = {"geteuid", "getuid", "is_root"}
    return any(
        (isinstance(one, ast.Attribute) and one.attr in words)
        or (isinstance(one, ast.Name) and one.id in words)
        for one in ast.walk(node)
    )


def _is_root(node: ast.AST) -> bool:
    """Whether it asks for anybody but root, who may read what others may not."""
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("@pytest.mark.skipif(os.geteuid() != 0, reason='x')\ndef test(): pass", [1]),
        ("needs = pytest.mark.skipif(not job.is_root or vax, reason='x')", [1]),
        ("def test():\n    if os.geteuid():\n        pytest.skip('x')", [2]),
        ("def test():\n    if not is_root:\n        pytest.skip('x')", [2]),
        (
            "@pytest.mark.skipif(os.geteuid() == 0, reason='x')\nclass A: pass",
            [],
        ),
        ("def test():\n    if os.geteuid():\n        look()", []),
        ("@pytest.mark.root('x')\ndef test(): pass", []),
    ],
)
def test_a_skip_for_want_of_root_is_seen(text: str, lines: list[int]) -> None:
    assert skips_for_root(text) == lines


def test_root_is_asked_for_by_the_mark_alone() -> None:
    modules = [path for folder in FOLDERS for path in (SUITE / folder).rglob("*.py")]
    assert len(modules) > 100
    found = {
        str(path.relative_to(SUITE)): lines
        for path in modules
        if (lines := skips_for_root(path.read_text()))
    }
    assert found == {}


def test_every_mark_says_what_it_is_for(pytestconfig: pytest.Config) -> None:
    registered = [line.partition(":")[0] for line in pytestconfig.getini("markers")]
    assert {name.partition("(")[0] for name in registered} >= set(needs.MARKS)
