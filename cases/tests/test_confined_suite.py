"""The main job in a process that a filter confines: what is printed, and the exit status."""

import os
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.filters import bpf
from probes.tests.support import confined
from reports.tests.support import job
from reports.tests.support.job import Job

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the outer filters are for x86_64"
)

X86_64, I386 = arch.ARCHES["x86_64"], arch.ARCHES["i386"]
ALLOW = FilterReturn(Action.ALLOW).value
KILL = FilterReturn(Action.KILL_PROCESS).value


def answering(value: int, *calls: str) -> bytes:
    """An outer filter with one answer for some calls of x86_64."""
    numbers = {X86_64.numbers[call] for call in calls}
    parts = bpf.ranges(numbers, value, ALLOW)
    return bpf.to_bytes(bpf.dispatch({X86_64.audit_arch: parts}, ALLOW))


def run(outer: bytes, folder: Path, *options: str) -> Job:
    words = job.command(folder, *job.ALONE, *options)
    done = confined.under([outer], *words)
    return Job(done.returncode, (done.stdout + done.stderr).decode(errors="replace"), folder)


ACCT = ("--arch=x86_64", "-k", "acct and (terminates or denies)")
SENTENCE = (
    "this process is confined itself (Seccomp: 2), and its own confinement answers acct with "
    "KILL_PROCESS: run the suite outside of it, or judge that confinement by --target=ambient"
)


@pytest.mark.slow
@pytest.mark.parametrize("profile", [Profile.KILL, Profile.ERRNO])
def test_what_the_outer_filter_answers_is_neither_pass_nor_fail(
    profile: Profile, tmp_path: Path
) -> None:
    """One that allows everything does not terminate acct, and the right one does not fail."""
    file = tmp_path / "allow.bpf"
    file.write_bytes(bpf.to_bytes((bpf.statement(bpf.RET_K, ALLOW),)))
    targets = [f"--target=bpf:{file}", "--target=builtin"]
    for target, folder in zip(targets, (tmp_path / "allow", tmp_path / "right"), strict=True):
        ended = run(answering(KILL, "acct"), folder, target, f"--profile={profile.value}", *ACCT)
        assert ended.status == 6, ended.output
        assert ended.outcomes(claim="terminates" if profile is Profile.KILL else "denies") == {
            "cannot_tell": 1
        }
        (cell,) = [one for one in ended.cells if one["outcome"] == "cannot_tell"]
        assert cell["sentence"].endswith(SENTENCE)
        assert "confined itself" in ended.text("summary.md")


@pytest.mark.slow
def test_an_abi_that_it_kills_keeps_the_run_from_passing(tmp_path: Path) -> None:
    """Although the tests of all the others pass, and none of its own was selected."""
    outer = bpf.to_bytes(bpf.dispatch({I386.audit_arch: bpf.ranges(set(), KILL, KILL)}, ALLOW))
    options = ("--profile=errno", "-k", "denies and acct and x86_64")
    ended = run(outer, tmp_path, *options)
    assert ended.status == 6, ended.output
    assert "nothing can be told by calls of i386" in " ".join(ended.output.split())
    assert ended.outcomes(claim="is all judged") == {"cannot_tell": 1}
    asked = run(outer, tmp_path / "asked", *options, "--arch=x86_64")
    assert asked.status == 0, asked.output


@pytest.mark.slow
def test_where_no_process_can_be_had_the_run_says_so(tmp_path: Path) -> None:
    ended = run(
        answering(Profile.ERRNO.returns.value, "clone", "clone3", "vfork"),
        tmp_path,
        "--profile=errno",
    )
    assert ended.status == 6, ended.output
    assert "this process is confined itself (Seccomp: 2)" in ended.output
    assert "Traceback" not in ended.output
