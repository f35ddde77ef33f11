"""What the tests of fleets share: three machines, of which one has lost a rule."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from probes import arch as abis
from probes.action import Profile
from probes.documents import policy
from probes.documents.policy import Policy
from probes.files import DEFAULT_POLICY
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.tests.support import job

NODES: Final = ("n1", "n2", "n3")
WEAK: Final = "n2"
LOST: Final = "mount"
"""The call whose rule the weak machine has lost."""

SELECTION: Final = f"({LOST} or acct) and (denies or proved)"
JOB: Final = ("--profile=errno", "--arch=x86_64", "--audit-source=none", "-k", SELECTION, "-n0")
"""A part of the main job that takes a second, and no audit records."""


def policies() -> Mapping[str, Policy]:
    """What the filter of each machine restricts."""
    shipped = policy.load(DEFAULT_POLICY, abis.all_names())
    weaker = replace(shipped, calls=tuple(one for one in shipped.calls if one.label != LOST))
    return {node: weaker if node == WEAK else shipped for node in NODES}


def programs(folder: Path) -> Mapping[str, Path]:
    """The filter of each machine as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    native = tuple(abis.offered_by("x86_64"))
    files = {}
    for node, documented in policies().items():
        wanted = ExportRequest(documented, Profile.ERRNO, native)
        made = allowlist.export(wanted, ExportFormat.BPF)
        assert isinstance(made, bytes)
        files[node] = folder / f"{node}.bpf"
        files[node].write_bytes(made)
    return files


def environment() -> dict[str, str]:
    """The environment of a user who has the suite on the path."""
    commands = Path(sys.executable).parent
    return {**job.environment(), "PATH": f"{commands}:{os.environ['PATH']}"}


def check(fleet: Path, page: Path, weak: str = WEAK) -> None:
    """Asserts that the file and the page of three machines name the weak one and its call."""
    told: dict[str, Any] = json.loads(fleet.read_text(encoding="utf-8"))
    verdicts = {node["name"]: node["verdict"] for node in told["nodes"]}
    assert verdicts == {node: "FAIL" if node == weak else "PASS" for node in NODES}
    failed = {cell["syscall"] for cell in told["cells"] if cell["counts"]["failed"]}
    assert failed == {LOST}
    shown = page.read_text(encoding="utf-8")
    differing = shown[shown.index('id="differing"') : shown.index('id="claims"')]
    assert [node for node in NODES if f"<h3>{node}</h3>" in differing] == [weak]
    assert f"<code>{LOST} (x86_64)</code>" in differing
    assert "acct" not in differing
