"""A confinement that asks a supervisor or a tracer, judged from inside.

A witness answers before anybody is asked, so what it answers says nothing of what they would. The
oracle is a C program that makes the same calls in the same confinement.
"""

import errno
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from probes.arch import ARCHES
from probes.errors import ExitStatus
from probes.targets import ambient
from probes.targets.ambient import Company
from probes.tests.support.programs import compiled
from reports.tests.support import job
from reports.tests.support.job import Job

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the supervised calls are x86_64's"
)

ASKED = ("acct", "kcmp", "getpriority", "nfsservctl")
"""Documented ones and one of the rest; with zeros none of them does anything to this process."""

NUMBERS = [str(ARCHES["x86_64"].numbers[name]) for name in ASKED]
WORDS = "a tracer or a supervisor is asked about it"


def supervised(mode: str, *command: str) -> list[str]:
    return [str(compiled("supervised")), mode, *NUMBERS, "--", *command]


@cache
def answers(mode: str) -> dict[str, str]:
    """What a process gets to see of each call, by the C program; not where they run."""
    assert mode != "run"
    words = supervised(mode, str(compiled("calls")), *NUMBERS)
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(zip(ASKED, said.split(), strict=True))


def judged(mode: str, folder: Path, profile: str, wanted: str) -> Job:
    options = ("--target=ambient", f"--profile={profile}", "--arch=x86_64", "-k", wanted)
    words = job.command(folder, "-p", "no:xdist", "--audit-source=none", *options)
    return job.run_words(supervised(mode, *words), folder)


def cells(ended: Job, claim: str) -> dict[str, tuple[str, str]]:
    return {
        cell["syscall"]: (cell["outcome"], cell["sentence"])
        for cell in ended.cells
        if cell["claim"] == claim
    }


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["errno", "kill"])
@pytest.mark.parametrize("mode", ["refuse", "pretend", "run", "hang"])
def test_what_a_supervisor_answers_is_not_let_through(
    mode: str, profile: str, tmp_path: Path
) -> None:
    claim = "denies" if profile == "errno" else "terminates"
    ended = judged(mode, tmp_path, profile, f"test_{claim} and (acct or kcmp or mount_setattr)")

    found = cells(ended, claim)
    for name in ("acct", "kcmp"):
        outcome, sentence = found[name]
        words = "it answered" if mode == "run" else in_words(answers(mode)[name])
        assert (outcome, WORDS in sentence, words in sentence) == ("cannot_tell", True, True), found
    assert "lets it through" not in ended.output
    assert ended.status == ExitStatus.CANNOT_TELL, ended.output


def in_words(told: str) -> str:
    """What the oracle saw, as the suite writes it."""
    if told == "nothing":
        return "none answered in time"
    return f"it answered {errno.errorcode[int(told)] if int(told) else '0'}"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["gone", "trace"])
def test_where_nobody_is_there_the_kernel_answers(mode: str, tmp_path: Path) -> None:
    """Then nothing can run, so every call is tried; no document asks for the answer."""
    ended = judged(mode, tmp_path, "errno", "test_denies and acct or rest_alone")

    assert answers(mode)["acct"] == str(errno.ENOSYS)
    outcome, sentence = cells(ended, "denies")["acct"]
    assert (outcome, f"{WORDS}, and as there is none" in sentence) == ("failed", True)
    rest = cells(ended, "leaves the rest alone")
    red = {name for name, (outcome, _) in rest.items() if outcome != "passed"}
    assert red == {"getpriority"}
    assert ended.status == ExitStatus.NOT_CONFORMANT


@pytest.mark.slow
def test_of_the_rest_nothing_is_tried_where_a_supervisor_could_have_it_run(
    tmp_path: Path,
) -> None:
    ended = judged("run", tmp_path, "errno", "rest_alone")

    rest = cells(ended, "leaves the rest alone")
    untold = {name for name, (outcome, _) in rest.items() if outcome == "cannot_tell"}
    assert rest.keys() - untold <= {"uprobe", "uretprobe"}  # no filter is asked about these
    assert "another filter of this process has a listener" in rest["getpriority"][1]


@pytest.mark.slow
def test_what_is_let_through_beside_a_supervisor_is_told_as_such(tmp_path: Path) -> None:
    ended = judged("refuse", tmp_path, "errno", "test_denies and add_key")

    outcome, sentence = cells(ended, "denies")["add_key"]
    assert (outcome, "lets it through" in sentence) == ("failed", True)
    assert ended.status == ExitStatus.NOT_CONFORMANT


BUSY, INVALID = os.strerror(errno.EBUSY), os.strerror(errno.EINVAL)


@pytest.mark.parametrize(
    ("trouble", "tracer", "kernel", "wanted"),
    [
        ({}, 0, "6.18.1", (False, False)),
        ({"listener": BUSY}, 0, "6.18.1", (True, False)),
        ({}, 12, "6.18.1", (True, False)),
        ({"listener": "Operation not permitted"}, 0, "6.18.1", (False, True)),
        ({"listener": INVALID}, 0, "6.18.1", (False, True)),
        ({"listener": INVALID}, 0, "4.19.0", (False, False)),
    ],
)
def test_who_may_be_asked(
    trouble: dict[str, str], tracer: int, kernel: str, wanted: tuple[bool, bool]
) -> None:
    found = ambient.company(trouble, tracer, kernel)

    assert (bool(found.supervised), bool(found.unsure)) == wanted
    assert isinstance(found, Company)
