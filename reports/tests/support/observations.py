"""Observations with a call of every kind, for the tests of what is told of them."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.observe.findings import Grants, findings
from probes.observe.observation import WorkloadObservation
from probes.observe.supervisor import ObservationEnd, WorkloadEnd
from probes.observe.tally import TallyKey, TallyRow
from probes.observe.watch import Kind
from probes.tests.support.observing import POLICY
from reports.terminal.observed import ObservationReport

DOCUMENTED: Final = policy.load(POLICY, arch.all_names())
SETSID = TallyKey(Kind.DOCUMENTED, "x86_64", 112, "setsid", "setsid", "/usr/bin/setsid")
MOUNT = TallyKey(Kind.DOCUMENTED, "i386", 21, "mount", "worker", "/bin/tool")
FSOPEN = TallyKey(Kind.SIBLING, "x86_64", 430, "fsopen", "tool", "/bin/tool")
UNKNOWN = TallyKey(Kind.UNKNOWN, "x86_64", 9999, "0x270f", "tool", "/bin/tool")
FILTER = TallyKey(Kind.CONFINING, "x86_64", 317, "seccomp", "tool", "/bin/tool")


def row(first: int, *counts: int, gives: tuple[str, ...] = ()) -> TallyRow:
    processes = Counter({(100 + index, 0): count for index, count in enumerate(counts)})
    made = TallyRow(first, gives, sum(counts), processes=processes)
    made.arguments[1 << 32 | 7, 2, 3, 4, 5, 6] = sum(counts)
    made.sites["libc.so.6+0x10"] = sum(counts)
    return made


ROWS = {
    SETSID: row(3_000_000, 2, 1),
    MOUNT: row(1_000_000, 4),
    FSOPEN: row(5_000_000, 1, gives=("mount",)),
    UNKNOWN: row(2_000_000, 1),
    FILTER: row(0, 1),
}


def nobody(_call: str, _abi: str, _profile: Profile) -> str:
    return ""


def reported(
    rows: dict[TallyKey, TallyRow],
    *,
    status: int = 0,
    ending: ObservationEnd = ObservationEnd.ITSELF,
    granted: Grants = nobody,
    confined: bool = False,
) -> ObservationReport:
    outcome = WorkloadEnd(status, ending, 1_500_000_000)
    seen = WorkloadObservation(datetime(2026, 1, 31, tzinfo=UTC), outcome, confined, rows, 0)
    found = findings(seen, tuple(Profile), granted)
    return ObservationReport(("tool",), DOCUMENTED, tuple(Profile), seen, found)
