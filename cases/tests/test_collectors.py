"""The main job by other collectors of audit records: the verdicts are those by netlink."""

import json
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.tests.support.osquery_log import ResultsLog
from probes.tests.support.osquery_replay import replayed
from reports.tests.support import job

pytestmark = [pytest.mark.root("reads the kernel's audit records"), pytest.mark.slow]

OPTIONS = ("-p", "no:xdist", "--arch=x86_64,i386", "-k", "acct and not proved or controls")
RECORDED = {"is recorded", "is reported", "is silent"}


def outcomes(done: job.Job) -> dict[tuple[str, ...], str]:
    """The outcome of every cell."""
    names = ("claim", "profile", "arch", "syscall", "variant")
    return {tuple(str(cell.get(name)) for name in names): cell["outcome"] for cell in done.cells}


@pytest.mark.parametrize("batched", [False, True], ids=["events", "batches"])
def test_records_by_osquery_are_those_by_netlink(tmp_path: Path, *, batched: bool) -> None:
    by_netlink = job.run(tmp_path / "netlink", *OPTIONS, "--audit-source=netlink")
    log = ResultsLog(tmp_path / "osqueryd.results.log", batched=batched)
    with replayed(log):
        by_osquery = job.run(tmp_path / "osquery", *OPTIONS, f"--audit-source=osquery:{log.path}")

    assert by_osquery.status == by_netlink.status == ExitStatus.CONFORMANT, by_osquery.output
    assert outcomes(by_osquery) == outcomes(by_netlink)
    evidence = [
        piece["text"]
        for cell in by_osquery.cells
        if cell["claim"] in {"is recorded", "is reported"}
        for piece in cell["evidence"]
        if piece["source"] == f"osquery:{log.path}"
    ]
    assert evidence
    assert {json.loads(text)["code"] for text in evidence} == {"LOG", "KILL_PROCESS"}
    assert {one[0] for one in outcomes(by_osquery)} >= RECORDED


def test_a_record_of_another_action_fails_by_osquery_too(tmp_path: Path) -> None:
    native = arch.of_this_process()[0]
    allow = FilterReturn(Action.ALLOW).value
    parts = bpf.ranges({native.numbers["acct"]}, FilterReturn(Action.KILL_THREAD).value, allow)
    program = tmp_path / "filter.bpf"
    program.write_bytes(
        bpf.to_bytes(bpf.dispatch({native.audit_arch: parts}, allow), big_endian=native.big_endian)
    )
    log = ResultsLog(tmp_path / "osqueryd.results.log")
    words = ("-p", "no:xdist", f"--arch={native}", "--profile=kill", "-k", "acct and reported")
    with replayed(log):
        done = job.run(
            tmp_path / "reports",
            *words,
            f"--target=bpf:{program}",
            f"--audit-source=osquery:{log.path}",
        )

    (cell,) = [one for one in done.cells if one["claim"] == "is reported"]
    assert cell["outcome"] == "failed"
    assert "the audit record says sig=31 code=0x0" in cell["sentence"]
    assert done.status == ExitStatus.NOT_CONFORMANT
