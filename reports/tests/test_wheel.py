"""The suite as it is installed: one name, undisturbed in any company, the same as in a checkout."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from probes.guest import boot
from probes.run.order import suite_digest
from probes.tests.support.machine import need
from probes.tests.support.oracles import require, unavailable
from probes.version import VERSION
from reports.tests.support import wheel
from reports.tests.support.job import CHECKOUT, SMALL
from reports.tests.support.wheel import IMPORT_PACKAGE, Installed, ran

LARGEST_WHEEL = 1_200_000
GOOD = {0, 6}
"""What the main job comes to on a kernel that holds, with and without audit records."""

starts_containers = pytest.mark.containers(machine="x86_64")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return wheel.installed(built, tmp_path_factory.mktemp("installed") / "env")


# What is in it.


def tracked() -> set[str]:
    """The files of the repository."""
    git = require("git", "git")
    done = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("needs the repository: this checkout is a copy")
    return {name for name in done.stdout.splitlines() if (CHECKOUT / name).exists()}


def travels(name: str) -> bool:
    """Whether a file of the repository belongs into a wheel, below the suite's folder."""
    top, *folders = PurePosixPath(name).parts
    stays = {"tests", "benchmarks", "launcher"} & set(folders)
    return top in {"cases", "probes", "reports"} and not stays


METADATA = f"{IMPORT_PACKAGE}-{VERSION}.dist-info"


def misplaced(path: Path) -> set[str]:
    """What of a wheel's files should not be there, or is missing."""
    names = {
        name for name in zipfile.ZipFile(path).namelist() if not name.startswith(f"{METADATA}/")
    }
    launcher = {f"{IMPORT_PACKAGE}/__init__.py", f"{IMPORT_PACKAGE}/__main__.py"}
    suite = {f"{IMPORT_PACKAGE}/suite/{name}" for name in tracked() if travels(name)}
    return names ^ (launcher | suite)


def entry_points(path: Path) -> list[str]:
    """The words of the file by which others find a wheel's modules."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"{METADATA}/entry_points.txt").decode().split()


OUR_ENTRY_POINTS = f"[console_scripts] syscall-conformance = {IMPORT_PACKAGE}.__main__:main".split()


def test_a_wheel_has_one_import_package(built: Path) -> None:
    """And all of the suite that judges, but no test, no benchmark and no driver of browsers."""
    assert misplaced(built) == set()
    assert not [name for name in zipfile.ZipFile(built).namelist() if "browser" in name]
    assert built.stat().st_size < LARGEST_WHEEL


def test_a_wheel_adds_nothing_to_others_runs_of_pytest(built: Path) -> None:
    assert entry_points(built) == OUR_ENTRY_POINTS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the source distribution."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(wheel.built(folder / "sdist", "sdist")) as archive:
        archive.extractall(folder / "content", filter="data")
    (found,) = (folder / "content").iterdir()
    return found


@pytest.mark.parametrize(
    ("right", "wrong", "stranger"),
    [
        ('exclude = ["tests/", ', "exclude = [", "suite/probes/tests/test_arch.py"),
        ('"benchmarks/", ', "", "suite/reports/benchmarks/browser.py"),
        ('"reports" = "syscall_conformance/suite/reports"', "", "reports/judging.py"),
        ('path = "reports/launcher/hatch_build.py"', 'path = "nothing.py"', "__main__.py"),
    ],
)
def test_a_wheel_that_is_made_otherwise(
    right: str, wrong: str, stranger: str, source: Path, tmp_path: Path
) -> None:
    mutant = tmp_path / "source"
    shutil.copytree(source, mutant)
    (mutant / "nothing.py").write_text(
        "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n\n\n"
        "class NoHook(BuildHookInterface):\n    pass\n"
    )
    settings = mutant / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    assert right in text
    text += '\n[project.entry-points.pytest11]\n"cases.run" = "cases.run"\n'
    settings.write_text(text.replace(right, wrong), encoding="utf-8")
    made = wheel.built(tmp_path / "wheel", source=mutant)
    assert any(name.endswith(stranger) for name in misplaced(made))
    assert entry_points(made) != OUR_ENTRY_POINTS


COPIED = "reports/summary.py", "reports/summary_again.py"


@pytest.mark.parametrize(
    ("change", "linter"),
    [
        (None, ""),
        (("authors = ", "# authors = "), "Your package does not have author data"),
        (('readme = "README.md"', 'readme = "bad.rst"'), "long_description"),
        (COPIED, "W002"),
    ],
    ids=["nothing", "pyroma", "twine", "check-wheel-contents"],
)
def test_lint_reads_what_is_published(
    change: tuple[str, str] | None, linter: str, source: Path, tmp_path: Path
) -> None:
    """It finds nothing, and finds what a mutant has wrong."""
    mutant = tmp_path / "source"
    shutil.copytree(source, mutant)
    (mutant / "bad.rst").write_text("Title\n==\n\n.. nothing:: `\n")
    if change == COPIED:
        shutil.copy(mutant / COPIED[0], mutant / COPIED[1])
    elif change is not None:
        settings = mutant / "pyproject.toml"
        text = settings.read_text(encoding="utf-8")
        assert text.count(change[0]) == 1
        settings.write_text(text.replace(*change), encoding="utf-8")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = ran(["sh", ".ci/packages"], cwd=mutant, variables={"PATH": tools})
    if "No matching distribution" in done.stderr:
        unavailable("needs an index: pyroma builds in an environment of its own")
    assert (done.returncode == 0) == (not linter), done.stdout + done.stderr
    assert linter in done.stdout + done.stderr


def test_a_source_distribution_has_what_the_repository_has(tmp_path: Path) -> None:
    with tarfile.open(wheel.built(tmp_path, "sdist")) as archive:
        members = [PurePosixPath(one.name) for one in archive if one.isfile()]
    names = {str(PurePosixPath(*member.parts[1:])) for member in members}
    assert names == tracked() | {"PKG-INFO"}


def test_a_source_distribution_makes_the_same_wheel(
    built: Path, source: Path, tmp_path: Path
) -> None:
    again = wheel.built(tmp_path / "wheel", source=source)
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(again) as other:
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_nodes_take_a_wheel_and_a_checkout_for_the_same_suite(
    installed: Installed, tmp_path: Path
) -> None:
    assert suite_digest(installed.suite) == suite_digest(CHECKOUT)
    mutant = tmp_path / "mutant"
    shutil.copytree(installed.suite, mutant)
    with (mutant / "reports/judging.toml").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert suite_digest(mutant) != suite_digest(CHECKOUT)


# In company.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's, which has a package that is called as one of the suite's, and wants others."""
    folder = tmp_path / "project"
    for name in ("reports", "tests"):
        (folder / name).mkdir(parents=True)
    (folder / "reports/__init__.py").write_text("MINE = True\n")
    (folder / "tests/test_ok.py").write_text(
        "import reports\n\n\ndef test_ok():\n    assert reports.MINE\n"
    )
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --cov=reports --maxfail=1 -p no:cacheprovider\npythonpath = .\n"
    )
    return folder


@pytest.fixture(scope="module")
def in_company(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Beside packages of the same names, and a plug-in that has an option ``--profile``, too."""
    made = wheel.installed(built, tmp_path_factory.mktemp("company") / "env")
    for name in ("cases", "probes", "reports"):
        (made.packages / name).mkdir()
        (made.packages / name / "__init__.py").write_text("raise ImportError('somebody else')\n")
    (made.packages / "theirs.py").write_text(
        "def pytest_addoption(parser):\n"
        "    group = parser.getgroup('theirs')\n"
        "    for name in ('--profile', '--cov', '--target', '--arch'):\n"
        "        group.addoption(name, action='store_true' if name == '--profile' else 'store')\n"
    )
    metadata = made.packages / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\ntheirs = theirs\n")
    return made


PUBLISHED = ("reports", "cases", "pytest-profiling", "pytest-cov")
"""Packages of an index. It has ``probes``, too, whose script takes pip for a module of its own."""


@pytest.fixture(scope="module")
def in_public_company(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Beside the packages of an index that have these names."""
    made = wheel.installed(built, tmp_path_factory.mktemp("public") / "env")
    done = made.pip("install", *PUBLISHED)
    if done.returncode:
        unavailable(f"needs {', '.join(PUBLISHED)}, and pip: {done.stderr.strip()[-200:]}")
    return made


@pytest.fixture(params=["in_company", "in_public_company"])
def company(request: pytest.FixtureRequest) -> Installed:
    found: Installed = request.getfixturevalue(request.param)
    return found


def files_of(folder: Path) -> set[str]:
    """What is in a folder, but for what Python and coverage leave behind."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and not path.name.startswith(".coverage")
    }


def test_a_project_s_own_tests_do_not_meet_the_suite(company: Installed, project: Path) -> None:
    before = files_of(project)
    words = [str(company.python), "-m", "pytest", "--profile", "--help"]
    asked = ran(words, cwd=project)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "syscall-conformance" not in asked.stdout
    done = ran([str(company.python), "-m", "pytest"], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert files_of(project) == before


def test_the_main_job_in_company(company: Installed, project: Path) -> None:
    before = files_of(project)
    done = company.run("run", *SMALL, "-k", "acct", "-n0", cwd=project)
    assert done.returncode in GOOD, done.stdout + done.stderr
    record = json.loads((project / "syscall-conformance-report/results.json").read_text())
    assert record["summary"]["selected_of"] > 300
    assert record["suite"]["version"] == VERSION
    written = {name.partition("/")[0] for name in files_of(project) - before}
    assert written == {"syscall-conformance-report"}
    workers = company.run("run", *SMALL, "-k", "acct", "-n1", cwd=project)
    assert workers.returncode == done.returncode, workers.stdout


@pytest.mark.parametrize(
    ("file", "right"),
    [
        (f"{IMPORT_PACKAGE}/__main__.py", "sys.path.insert(0, _root())"),
        (f"{IMPORT_PACKAGE}/suite/probes/isolation.py", "sys.path.insert(0, root)"),
        (f"{IMPORT_PACKAGE}/suite/probes/isolation.py", '"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"'),
    ],
)
def test_the_company_would_disturb_a_suite_that_does_not_mind_it(
    file: str, right: str, in_company: Installed, project: Path
) -> None:
    """In a copy whose own folder does not come first, or that takes every plug-in."""
    path = in_company.packages / file
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1
    wrong = right.replace("insert(0, ", "append(") if "insert" in right else '"PYTHONNOTHING": "1"'
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    try:
        done = in_company.run("run", *SMALL, "-k", "acct", "-n0", cwd=project)
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode not in GOOD, done.stdout


def test_a_test_by_its_name(installed: Installed, tmp_path: Path) -> None:
    name = "cases/test_kill.py::test_terminates[x86_64-acct]"
    done = installed.run("run", name, "--profile=kill", "-n0", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_other_commands_in_company(company: Installed, project: Path) -> None:
    observed = company.run("observe", "--", sys.executable, "-c", "", cwd=project)
    assert observed.returncode == 0, observed.stderr
    explained = company.run("export", "--profile=kill", "--format=oci", cwd=project)
    assert json.loads(explained.stdout)["defaultAction"]


@starts_containers
def test_the_gate_in_company(company: Installed, project: Path, tmp_path: Path) -> None:
    """What it gives as the command that judges a cell again does so, from anywhere."""
    need("bwrap")
    (tmp_path / "empty").mkdir()
    words = ("gate", str(tmp_path / "empty"), "--runtime=bwrap", "--profile=errno")
    done = company.run(*words, "--arch=x86_64", "-n0", cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (project / "syscall-conformance-report/results.json").exists()
    told = (line.partition("  again: ") for line in done.stdout.splitlines())
    again = next(words for before, found, words in told if found and not before)
    program, *rest = shlex.split(again)
    assert program == "syscall-conformance"
    judged = company.run(*rest, "-n0", cwd=tmp_path)
    assert judged.returncode == 1, judged.stdout + judged.stderr
    assert re.search(r"\b1 failed\b", judged.stdout)


@pytest.mark.parametrize("start", ["-m", "script"])
def test_modules_around_the_user_do_not_count(
    start: str, installed: Installed, tmp_path: Path
) -> None:
    """Neither in the working directory, nor on PYTHONPATH."""
    decoys = tmp_path / "decoys"
    for name in (
        "cases",
        "probes",
        "reports",
        "pytest",
        "xdist",
        "rich",
        "system_calls",
        "shlex",
        "json",
    ):
        (decoys / name).mkdir(parents=True)
        (decoys / name / "__init__.py").write_text("raise SystemExit(0)\n")
    by = [installed.command]
    if start == "-m":
        by = [str(installed.python), "-m", IMPORT_PACKAGE]
    words = ["run", "cases/test_kill.py::test_terminates[x86_64-acct]", "--profile=kill", "-n0"]
    for variables in ({}, {"PYTHONPATH": str(decoys)}, {"PYTHONPATH": "."}):
        done = ran([*by, *words], cwd=decoys, variables=variables)
        assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_editable_installation_is_the_checkout() -> None:
    program = f"import {IMPORT_PACKAGE}; print({IMPORT_PACKAGE}.__file__)"
    done = ran([sys.executable, "-P", "-c", program], cwd=Path("/"))
    assert Path(done.stdout.strip()).is_relative_to(CHECKOUT / "reports/launcher")
    version = ran([sys.executable, "-m", IMPORT_PACKAGE, "--version"], cwd=Path("/"))
    assert version.stdout == f"syscall-conformance {VERSION}\n"


def test_a_guest_gets_the_same_suite_from_a_wheel_as_from_a_checkout(installed: Installed) -> None:
    """But for the launcher, by which a checkout is told from a wheel there, too."""
    userland = boot.Userland((), (), (sys.executable, "-I", "-S"))

    def judging(tree: Path) -> dict[str, bytes]:
        members = boot.tree_layer(tree, "suite", userland)
        return {one.name: one.data for one in members if one.name.endswith((".py", ".toml"))}

    theirs, ours = judging(installed.suite), judging(CHECKOUT)
    launcher = {name for name in ours if name.startswith("suite/reports/launcher/")}
    assert launcher
    assert theirs == {name: data for name, data in ours.items() if name not in launcher}
    assert theirs["suite/pyproject.toml"] == theirs["suite/reports/judging.toml"]
