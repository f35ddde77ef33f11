"""The rule for ausearch, by ausearches of three releases over what their auditds wrote.

Every documented call, and a hundred others of each ABI, is made in earnest under a filter that
kills before the call. Numbers are by the kernel's own headers.
"""

import contextlib
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from probes import arch
from probes.arch import ARCHES
from probes.audit.auditd import AuditdCollector
from probes.audit.record import parse
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.tests.support.auditd_releases import SUITES, auditd_of, ausearch_of, printed
from probes.tests.support.emitter import (
    KILL_PROCESS,
    Emitter,
    wait_for,
)
from probes.tests.support.headers import defined
from probes.tests.support.sentinels import nonce, settle
from reports.filters.record_rules import RuleFormat, rule

pytestmark = [
    pytest.mark.root("reads the kernel's audit records"),
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.skipif(
        arch.of_this_process()[0].name != "x86_64", reason="makes calls of x86's three ABIs"
    ),
]

POLICY: Final = policy.load(DEFAULT_POLICY, arch.all_names())
OTHERS: Final = 100
ABIS: Final = {
    "unistd_64.h": ("native", 0xC000003E),
    "unistd_x32.h": ("native", 0xC000003E),
    "unistd_32.h": ("i386", 0x40000003),
}


@dataclass(frozen=True, slots=True)
class Made:
    """Calls that were made.

    Attributes:
        name: the name of the processes.
        documented: the architecture and number of each that the policy documents.
        count: how many there were.
    """

    name: str
    documented: frozenset[tuple[int, int]]
    count: int


def chosen(numbers: Mapping[str, int]) -> dict[int, bool]:
    """The numbers of calls to be made, each with whether the policy documents it."""
    documented = {number for name, number in numbers.items() if name in POLICY.names}
    others = sorted(set(numbers.values()) - documented)[:OTHERS]
    return {number: number in documented for number in [*documented, *others]}


def make_calls(emitter: Emitter) -> Made:
    """Has every one of these calls killed."""
    name, documented, lines = nonce("r"), set[tuple[int, int]](), []
    for header, (entry, token) in ABIS.items():
        for number, is_documented in chosen(defined(header)).items():
            lines.append(
                shlex.join(emitter.command(name, KILL_PROCESS, number=number, entry=entry))
            )
            if is_documented:
                documented.add((token, number))
    # The shell's own words about killed processes are of no interest.
    script = "".join(f"{line} || :\n" for line in lines)
    subprocess.run(
        ["sh"], input=script, text=True, check=True, timeout=60, stderr=subprocess.DEVNULL
    )
    return Made(name, frozenset(documented), len(lines))


def of(name: str, log: str) -> list[tuple[int, int]]:
    """The architecture and number of each record of these processes."""
    found = [parse(line) for line in log.split("\n") if f'comm="{name}"' in line]
    return [(one.arch, one.syscall) for one in found if one]


@pytest.mark.parametrize("suite", SUITES)
def test_the_rule_finds_what_auditd_wrote_of_documented_calls(
    suite: str, emitter: Emitter, tmp_path: Path
) -> None:
    ausearch = ausearch_of(suite)
    with auditd_of(suite, tmp_path / "auditd", "ENRICHED") as auditd:
        with contextlib.closing(AuditdCollector(auditd.log)) as collector:
            settle(collector, emitter)
        made = make_calls(emitter)

        def written() -> str:
            return auditd.log.read_text(encoding="utf-8", errors="replace")

        wait_for(
            lambda: written().count(f'comm="{made.name}"') == made.count,
            "auditd did not write all",
        )
        log = written()

    found = run_rule(ausearch, rule(POLICY, tuple(ARCHES.values()), RuleFormat.AUSEARCH), log)

    assert len(made.documented) > 150
    assert sorted(of(made.name, found)) == sorted(made.documented)


def run_rule(ausearch: tuple[str, ...], command: str, log: str) -> str:
    """Runs the rule's command with this ausearch, which reads the log from a pipe."""
    assert command.startswith("ausearch ")
    return printed(["sh", "-c", command.replace("ausearch", shlex.join(ausearch), 1)], log)
