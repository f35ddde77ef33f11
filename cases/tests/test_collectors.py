"""The main job by other collectors of audit records: the verdicts are those by netlink."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.osquery_log import ResultsLog, row_of
from probes.tests.support.record_replay import Write, replayed
from reports.tests.support import job

pytestmark = [pytest.mark.root("reads the kernel's audit records"), pytest.mark.slow]

OPTIONS = ("-p", "no:xdist", "--arch=x86_64,i386", "-k", "acct and not proved or controls")
RECORDED = {"is recorded", "is reported", "is silent"}


def outcomes(done: job.Job) -> dict[tuple[str, ...], str]:
    """The outcome of every cell."""
    names = ("claim", "profile", "arch", "syscall", "variant")
    return {tuple(str(cell.get(name)) for name in names): cell["outcome"] for cell in done.cells}


def osquery(path: Path, *, batched: bool = False) -> Write:
    log = ResultsLog(path, batched=batched)
    return lambda texts: log.write(map(row_of, texts))


def osquery_in_batches(path: Path) -> Write:
    return osquery(path, batched=True)


def auditbeat(path: Path) -> Write:
    def write(texts: list[str]) -> None:
        with path.open("a", encoding="utf-8") as log:
            log.writelines(f"{event_of(text)}\n" for text in texts)

    return write


@pytest.mark.parametrize(
    ("word", "writer"),
    [("osquery", osquery), ("osquery", osquery_in_batches), ("auditbeat", auditbeat)],
    ids=["osquery", "osquery in batches", "auditbeat"],
)
def test_by_another_collector_the_verdicts_are_those_by_netlink(
    word: str, writer: Callable[[Path], Write], tmp_path: Path
) -> None:
    path = tmp_path / "collected.log"
    path.touch()
    by_netlink = job.run(tmp_path / "netlink", *OPTIONS, "--audit-source=netlink")
    with replayed(writer(path)):
        by_other = job.run(tmp_path / "other", *OPTIONS, f"--audit-source={word}:{path}")

    assert by_other.status == by_netlink.status == ExitStatus.CONFORMANT, by_other.output
    assert outcomes(by_other) == outcomes(by_netlink)
    assert {one[0] for one in outcomes(by_other)} >= RECORDED
    evidence = [
        json.loads(piece["text"])
        for cell in by_other.cells
        if cell["claim"] in {"is recorded", "is reported"}
        for piece in cell["evidence"]
        if piece["source"] == f"{word}:{path}"
    ]
    assert len(evidence) == sum(
        cell["claim"] in {"is recorded", "is reported"} for cell in by_other.cells
    )


def test_a_record_of_another_action_fails_by_osquery_too(tmp_path: Path) -> None:
    native = arch.of_this_process()[0]
    allow = FilterReturn(Action.ALLOW).value
    parts = bpf.ranges({native.numbers["acct"]}, FilterReturn(Action.KILL_THREAD).value, allow)
    program = tmp_path / "filter.bpf"
    program.write_bytes(
        bpf.to_bytes(bpf.dispatch({native.audit_arch: parts}, allow), big_endian=native.big_endian)
    )
    path = tmp_path / "osqueryd.results.log"
    path.touch()
    words = ("-p", "no:xdist", f"--arch={native}", "--profile=kill", "-k", "acct and reported")
    with replayed(osquery(path)):
        done = job.run(
            tmp_path / "reports",
            *words,
            f"--target=bpf:{program}",
            f"--audit-source=osquery:{path}",
        )

    (cell,) = [one for one in done.cells if one["claim"] == "is reported"]
    assert cell["outcome"] == "failed"
    assert "the audit record says sig=31 code=0x0" in cell["sentence"]
    assert done.status == ExitStatus.NOT_CONFORMANT
