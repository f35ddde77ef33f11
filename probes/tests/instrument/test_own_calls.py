"""What the suite does for itself may be refused: by older kernels, by others, and by filters.

Whatever is refused, a run ends in a verdict or in a sentence, and no verdict is another one than
without the refusal. The calls are those of which a trace of a run shows that the suite makes them,
without those that no interpreter starts without and those that only pytest itself needs.
"""

import errno
import os
from pathlib import Path

import pytest

from probes.arch import ARCHES
from probes.errors import ExitStatus
from probes.tests.support.programs import compiled
from reports.tests.support import job
from reports.tests.support.job import Job

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the refused calls are x86_64's"
)

DISPENSABLE = ("pidfd_open", "memfd_create", "ftruncate", "prlimit64", "close_range", "clone3")
"""Without these everything is judged as ever, by ENOSYS; see also ``NEEDED``."""

NEEDED = (
    *("capset", "clone", "fsync", "getppid", "mkdir", "pipe2", "poll", "prctl", "rename"),
    *("setsid", "socketpair", "rt_sigprocmask"),
)
OF_RECORDS = ("bind", "getsockname", "recvfrom", "sendto", "setsockopt", "socket")
REFUSALS = (errno.ENOSYS, errno.EPERM)


def judged_without(
    call: str, error: int, folder: Path, profile: str = "errno", first: int = -1
) -> Job:
    number = str(ARCHES["x86_64"].numbers[call])
    options = (f"--profile={profile}", "--arch=x86_64", "-k", "acct")
    words = job.command(folder, "-p", "no:xdist", *options)
    refusing = (str(compiled("refusing")), number, str(error), str(first))
    ended = job.run_words([*refusing, *words], folder)
    assert "Traceback" not in ended.output
    assert "INTERNALERROR" not in ended.output
    assert ended.status in set(ExitStatus), ended.output
    return ended


def check_outcomes(ended: Job) -> None:
    """The builtin filter is right: so a cell passes, or it is not judged."""
    assert ended.status is not ExitStatus.NOT_CONFORMANT, ended.output
    if not (ended.folder / "results.json").exists():
        assert ended.status != ExitStatus.CONFORMANT, ended.output
        return
    assert not {cell["outcome"] for cell in ended.cells} & {"failed"}, ended.output


@pytest.mark.root("reads the kernel's audit records")
@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def test_the_deadline_is_kept_without_a_descriptor_of_the_process(
    error: int, tmp_path: Path
) -> None:
    ended = judged_without("pidfd_open", error, tmp_path)

    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert ended.outcomes(claim="denies") == {"passed": 1}


@pytest.mark.slow
@pytest.mark.parametrize("call", sorted(set(DISPENSABLE) - {"pidfd_open"}))
def test_what_older_kernels_lack_is_done_without(call: str, tmp_path: Path) -> None:
    ended = judged_without(call, errno.ENOSYS, tmp_path)

    check_outcomes(ended)
    assert ended.outcomes(claim="denies") == {"passed": 1}, ended.output


@pytest.mark.slow
@pytest.mark.parametrize("error", REFUSALS, ids=["ENOSYS", "EPERM"])
@pytest.mark.parametrize("call", NEEDED)
def test_what_is_needed_and_refused_ends_in_a_sentence(
    call: str, error: int, tmp_path: Path
) -> None:
    check_outcomes(judged_without(call, error, tmp_path))


@pytest.mark.root("reads the kernel's audit records")
@pytest.mark.parametrize("error", REFUSALS, ids=["ENOSYS", "EPERM"])
@pytest.mark.parametrize("call", OF_RECORDS)
def test_without_the_calls_that_records_take_the_rest_is_judged(
    call: str, error: int, tmp_path: Path
) -> None:
    first = 16 if call == "socket" else -1  # AF_NETLINK; Python needs others
    ended = judged_without(call, error, tmp_path, "log", first)

    check_outcomes(ended)
    assert ended.outcomes(claim="runs") == {"passed": 1}, ended.output
    if ended.status != ExitStatus.CONFORMANT:
        assert ended.status == ExitStatus.CANNOT_TELL
        reason = ended.results["environments"][0]["audit"]["reason"]
        assert errno.errorcode[error] in reason
        assert "This process's own filter answers" in reason


@pytest.mark.root("the kernel gives it the socket")
def test_a_filter_is_not_taken_for_a_kernel_without_audit(tmp_path: Path) -> None:
    """As systemd's RestrictAddressFamilies makes it."""
    ended = judged_without("socket", errno.EAFNOSUPPORT, tmp_path, "log", 16)

    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    reason = ended.results["environments"][0]["audit"]["reason"]
    assert "This process's own filter answers socket(AF_NETLINK) with EAFNOSUPPORT" in reason
    assert "Seccomp: 2" in reason
    assert "CONFIG_AUDIT" not in ended.output
