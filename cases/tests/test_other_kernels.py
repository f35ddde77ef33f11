"""Kernels that are not Linux, and processes that are told of another one: gVisor and qemu-user.

Both are Debian's own builds, of the suite named below, fetched without touching this machine's
packages; one that is installed is taken instead.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from probes.errors import ExitStatus, SuiteError
from probes.guest import choice, packages
from probes.guest.packages import Archive
from probes.tests.support.oracles import unavailable
from reports.tests.support import job
from reports.tests.support.job import Job

pytestmark = pytest.mark.root("gVisor makes namespaces, of amd64's package", machine="x86_64")

SUITE = "trixie"
EMULATED_SUITE = "bookworm"
GVISOR = ("--network=none", "--ignore-cgroups", "do")


def unpacked(name: str, suite: str, architecture: str, *, closure: bool = False) -> Path:
    """The folder into which a package was unpacked, and what it depends on where that is asked."""
    root = choice.default_cache() / "unpacked" / f"{suite}-{architecture}-{name}"
    if root.exists():
        return root
    half = root.with_name(f"{root.name}.{os.getpid()}")
    try:
        archive = Archive(suite, architecture, choice.default_cache())
        archive.update()
        found = [one for one in archive.closure([name]) if closure or one.name == name]
        for file in archive.fetch(found):
            packages.unpack(file, half, lambda _: True)
    except SuiteError as error:
        unavailable(f"needs {name} of Debian {suite}: {error}")
    if not root.exists():
        half.rename(root)
    return root


def tool(command: str, package: str) -> str:
    """A program of this machine, or of the suite."""
    found = shutil.which(command)
    return found or str(unpacked(package, SUITE, "amd64") / "usr/bin" / command)


def ran(words: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> Job:
    patience = 4 * job.PATIENCE_SECONDS
    ended = job.run_words(words, folder, variables=environment, patience=patience)
    assert "Traceback" not in ended.output
    return ended


@cache
def gvisor() -> tuple[str, ...]:
    """The words before a command that runs it in a sandbox of gVisor's."""
    words = (tool("runsc", "runsc"), *GVISOR)
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"gVisor does not start here: {done.stderr.strip()[-200:]}")
    return words


def in_gvisor(folder: Path, *options: str) -> Job:
    """The main job there; its reports are written into the sandbox, and shown at its end."""
    inside = "/tmp/report"  # noqa: S108 - the sandbox's own
    words = job.command(Path(inside), "-q", "-p", "no:xdist", "--arch=x86_64", *options)
    script = f'"$@"; status=$?; echo; cat {inside}/results.json; exit $status'
    ended = ran([*gvisor(), "sh", "-c", script, "-", *words], folder)
    text, brace, record = ended.output.partition("\n{\n")
    if brace:
        (folder / "results.json").write_text("{\n" + record, encoding="utf-8")
    return Job(ended.status, text, folder)


def test_gvisor_is_judged_by_what_the_errno_profile_needs(tmp_path: Path) -> None:
    """It has no pidfd_open either."""
    ended = in_gvisor(tmp_path, "--profile=errno", "-k", "denies and (acct or kcmp) or rest_alone")

    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert ended.outcomes(claim="denies") == {"passed": 2}
    by_variant = {c["variant"]: c["outcome"] for c in ended.cells if c["claim"] == "controls"}
    assert by_variant["ERRNO"] == by_variant["ALLOW"] == "passed"
    assert by_variant["KILL_PROCESS"] == by_variant["LOG"] == "not_applicable"


def test_gvisor_offers_no_i386(tmp_path: Path) -> None:
    """Every call by that entry gets ENOSYS, and no filter is asked; x32's numbers are asked."""
    words = job.command(Path("/tmp/report"), "-q", "--profile=errno", "--arch=i386")  # noqa: S108
    ended = ran([*gvisor(), *words], tmp_path)

    assert ended.status == ExitStatus.USAGE, ended.output
    assert "cannot be entered as i386; it can as x86_64, x32" in " ".join(ended.output.split())


def test_gvisor_is_judged_from_inside_by_what_confines_there(tmp_path: Path) -> None:
    ended = in_gvisor(tmp_path, "--profile=errno", "--target=ambient", "-k", "denies and acct")

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    (cell,) = [cell for cell in ended.cells if cell["claim"] == "denies"]
    assert "no seccomp filter is installed" in cell["sentence"]


@pytest.mark.parametrize(
    ("profile", "claim", "action"),
    [("kill", "terminates", "KILL_PROCESS"), ("log", "runs", "LOG")],
)
def test_an_action_that_gvisor_does_not_honour_is_a_verdict_on_the_platform(
    profile: str, claim: str, action: str, tmp_path: Path
) -> None:
    """A failure and no broken instrument: what the filter asks for is not done there."""
    ended = in_gvisor(tmp_path, f"--profile={profile}", "-k", f"test_{claim} and acct")

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    (cell,) = [cell for cell in ended.cells if cell["claim"] == claim]
    assert (cell["outcome"], cell["cause"]) == ("failed", "not implemented")
    assert f"this kernel does not honour {action}" in cell["sentence"]
    assert "lets it through" not in ended.output


# Emulators of programs.


@cache
def emulated() -> tuple[tuple[str, ...], dict[str, str]]:
    """The words before a script of an emulated arm64 Python's, and its environment."""
    root = unpacked("python3", EMULATED_SUITE, "arm64", closure=True)
    python = next(iter(sorted((root / "usr/bin").glob("python3.[0-9]*[0-9]"))))
    emulator = tool("qemu-aarch64", "qemu-user")
    site = str(Path(pytest.__file__).parents[1])
    surroundings = {
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": site,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    # The interpreter starts itself again, which the kernel cannot do with a foreign program.
    wrapper = root.parent / f"{root.name}-python-{os.getpid()}"
    lines = f'#!/bin/sh\nexec {emulator} -0 "{wrapper}" -L "{root}" "{python}" "$@"\n'
    wrapper.write_text(lines, encoding="utf-8")
    wrapper.chmod(0o755)
    return (str(wrapper),), surroundings


@pytest.mark.parametrize(
    "options",
    [
        ("--target=ambient", "--profile=errno", "-k", "denies and acct"),
        ("--profile=kill", "-k", "test_terminates and acct"),
    ],
    ids=["ambient", "builtin"],
)
def test_an_emulated_process_says_so(options: Sequence[str], tmp_path: Path) -> None:
    words, surroundings = emulated()
    command = job.command(tmp_path, *options)[1:]

    ended = ran([*words, *command], tmp_path, surroundings)

    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    assert "aarch64" in ended.results["environments"][0]["machine"]
    said = "this process is emulated (uname(2) says aarch64, and the kernel x86_64"
    assert all(said in cell["sentence"] for cell in ended.cells if cell["outcome"] == "cannot_tell")
    assert any("what the emulator says" in cell["sentence"] for cell in ended.cells)
    assert "out of calibration" not in ended.output
