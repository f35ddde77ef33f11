"""Whole runs against others' sandboxes: their verdicts are what a C program gets to see."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from probes.errors import ExitStatus
from probes.files import SUITE
from probes.tests.support import answers
from probes.tests.support.answers import Answers
from reports.tests.support import job
from reports.tests.support.job import ALONE, Job
from reports.tests.support.sandboxes import HERE, KAFEL_LABEL, Sandbox

pytestmark = [
    pytest.mark.root("starts sandboxes and reads records", machine="x86_64"),
    pytest.mark.containers,
]

SNAP: Final = SUITE / "probes/tests/data/acct-denied.bin2"
"""Allows read, write, exit_group and acct, and denies acct."""

JUDGED: Final = tuple(one for one in HERE if one.label in {"--seccomp", KAFEL_LABEL})
"""Those that differ between ABIs most: a whole run takes seconds."""

EPERM: Final = "1"


def expected(seen: Answers, free: Answers) -> dict[tuple[str, str], str]:
    """What *denies* must be for each call of which the program can tell."""
    return {
        (abi.name, name): "passed" if seen[word] == EPERM else "failed"
        for word, (abi, name) in answers.calls().items()
        if seen[word] != EPERM or free[word] != EPERM
    }


@pytest.mark.slow
@pytest.mark.parametrize("sandbox", JUDGED, ids=str)
def test_denies_is_what_a_program_in_the_sandbox_sees(sandbox: Sandbox, tmp_path: Path) -> None:
    program = answers.program(tmp_path)
    for folder in ("free", "in"):
        (tmp_path / folder).mkdir()
    free = answers.unconfined(program, tmp_path / "free")
    with answers.running(sandbox.command([str(program)]), tmp_path / "in") as inside:
        ended = job.run(
            tmp_path / "r",
            f"--target=pid:{inside.pid}",
            *("--profile=errno", *ALONE, "-k", "test_denies"),
        )

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert undecided(ended, expected(inside.answers, free)) == set()


# The supervisor of sandlock is asked about setsid, and what it answers is nobody's to know.
FROM_INSIDE: Final = (
    ("firejail", "--seccomp", frozenset[str]()),
    ("sandlock", "always", frozenset({"setsid"})),
)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "label", "asked"), FROM_INSIDE)
def test_denies_is_that_from_inside_as_well(
    page: str, label: str, asked: frozenset[str], tmp_path: Path
) -> None:
    (sandbox,) = (one for one in HERE if (one.page, one.label) == (page, label))
    program = answers.program(tmp_path)
    for folder in ("free", "in", "r"):
        (tmp_path / folder).mkdir()
    free = answers.unconfined(program, tmp_path / "free")
    with answers.running(sandbox.command([str(program)]), tmp_path / "in") as inside:
        seen = inside.answers
    words = job.command(
        *(tmp_path / "r", "--target=ambient", "--profile=errno", *ALONE, "-k", "test_denies")
    )
    ended = job.run_words(sandbox.command(words), tmp_path / "r")
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert undecided(ended, expected(seen, free)) == {("x86_64", name) for name in asked}


def undecided(ended: Job, wanted: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    """What a run cannot tell about *denies*; all else must be as wanted."""
    cells = [cell for cell in ended.cells if cell["claim"] == "denies"]
    found = {(cell["arch"], cell["syscall"]): cell["outcome"] for cell in cells}
    untold = {key for key in wanted if found[key] == "cannot_tell"}
    decided = wanted.keys() - untold
    assert {key: found[key] for key in decided} == {key: wanted[key] for key in decided}
    assert Counter(wanted.values())["failed"] > 10
    assert len(decided) > 140
    return untold


def test_a_snap_s_file_is_judged_with_both_filters_and_their_flag(tmp_path: Path) -> None:
    """EACCES is not EPERM, and snap-confine has refusals recorded."""
    ended = job.run(
        tmp_path,
        f"--target=bpf:{SNAP}",
        *("--profile=errno", "--arch=x86_64", *ALONE, "-k", "acct or kcmp"),
    )
    found = {(cell["claim"], cell["syscall"]): cell for cell in ended.cells}
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert found["denies", "kcmp"]["outcome"] == found["is proved", "kcmp"]["outcome"] == "passed"
    assert found["denies", "acct"]["outcome"] == "failed"
    assert "the filter answered ERRNO(EACCES)" in found["denies", "acct"]["sentence"]
    for name in ("acct", "kcmp"):
        assert found["is silent", name]["outcome"] == "failed"
        assert "left an audit record, code=0x50000" in found["is silent", name]["sentence"]


def test_an_unrestricted_snap_fails(tmp_path: Path) -> None:
    path = tmp_path / "snap.bin2"
    path.write_bytes(b"SC\x01\x01".ljust(128, b"\0"))
    options = ("--profile=errno", "--arch=x86_64", *ALONE, "-k", "acct")
    ended = job.run(tmp_path / "r", f"--target=bpf:{path}", *options)
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert ended.outcomes(claim="denies") == {"failed": 1}
    assert "the snap is unrestricted" in ended.text("summary.md")


def test_a_cut_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "snap.bin2"
    path.write_bytes(SNAP.read_bytes()[:-8])
    ended = job.run(tmp_path / "r", f"--target=bpf:{path}", "--profile=errno", *ALONE)
    assert ended.status == ExitStatus.USAGE, ended.output
    assert "snap-confine would refuse this file" in ended.output
    assert "Traceback" not in ended.output


READ_ONLY: Final = (
    *("unshare", "--mount", "sh", "-ec"),
    'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$@"',
    "-",
)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("-k", "test_denies and acct"), ExitStatus.CONFORMANT),
        (("cases/nowhere",), ExitStatus.USAGE),
        (("-k", "nothing"), ExitStatus.NOTHING_ASSESSED),
    ],
    ids=["a verdict", "no such test", "no test"],
)
def test_a_checkout_that_cannot_be_written_is_judged_from(
    words: tuple[str, ...], status: ExitStatus, tmp_path: Path
) -> None:
    """As it is mounted into a container; only pytest's own cache is lost, without a word."""
    made = job.command(tmp_path, "--profile=errno", "--arch=x86_64", *ALONE, *words)
    cached = [word for word in made if word != "no:cacheprovider"]
    cached.remove("-p")  # the one before it
    ended = job.run_words([*READ_ONLY, *cached], tmp_path)

    assert ended.status == status, ended.output
    for word in ("Traceback", "INTERNALERROR", "PytestCacheWarning"):
        assert word not in ended.output
