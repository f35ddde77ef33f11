"""A gate of the suite's own export ends well under every runtime, once it accepts what they do.

And a documented call that gets through fails it as ever, and stands first.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.deviation import ROWS, KnownDeviation
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.runtimes.known import RUNTIMES
from probes.tests.support.emitter import sharing_records
from probes.tests.support.machine import Machine, private_machine, static_root
from reports import results
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.formats import waiver_draft
from reports.tests.support.job import run_command
from reports.tests.support.waiver_drafts import filled_in

pytestmark = pytest.mark.containers(machine="x86_64")

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
OPENED: Final = "acct"
ALL: Final = ",".join(KnownDeviation)

RUNS: Final = (
    ("runc", Profile.ERRNO),
    ("docker", Profile.KILL),
    ("containerd", Profile.LOG),
    ("crun", Profile.KILL),
    ("podman", Profile.ERRNO),
)
"""Each runtime under one profile, and each profile under one; the bench of all is elsewhere."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("root"), "int main(void) { for (;;) ; }\n")


@dataclass(frozen=True, slots=True)
class Gated:
    """The end of a gate: its exit status, what it said, and its record."""

    status: int
    lines: list[str]
    record: dict[str, object]


def gated(
    machine: Machine, root: Path, runtime: str, profile: Profile, folder: Path, *options: str
) -> Gated:
    """Gates a container with the exported profile.

    Args:
        machine: where the runtime runs.
        root: the root file system of the container.
        runtime: the runtime.
        profile: which profile is exported and judged.
        folder: where the reports go.
        *options: options of the gate; before them may stand the call that the profile lets through.
    """
    opened, given = (OPENED, options[1:]) if options[:1] == (OPENED,) else ("", options)
    made = allowlist.export(ExportRequest(SHIPPED, profile, X86), ExportFormat.OCI)
    exported = json.loads(made)
    if opened:
        exported["syscalls"][0]["names"].append(opened)
    wanted = machine.wanted(runtime, root, exported)
    words = [
        *(str(Path(sys.executable).parent / "syscall-conformance"), "gate", wanted.subject),
        *(f"--runtime={runtime}", f"--profile={profile}", f"--seccomp={wanted.seccomp}"),
        *(f"--runtime-command={shlex.join(wanted.program.words)}", "-n", "0"),
        *([f"--runtime-endpoint={wanted.endpoint}"] if wanted.endpoint else []),
        *(f"--report-dir={folder}", *given),
    ]
    with sharing_records():
        ended = run_command(words)
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return Gated(ended.returncode, ended.stdout.splitlines(), record)


def test_every_runtime_that_deviates_is_gated() -> None:
    deviating = {runtime for row in ROWS.values() for runtime in row.met_under}
    assert deviating == {runtime for runtime, _ in RUNS} | {"cri"}
    assert set(RUNTIMES) - deviating == {"bwrap"}, "it takes our program as it is"
    assert {profile for _, profile in RUNS} == set(Profile)


@pytest.mark.parametrize(("runtime", "profile"), RUNS)
def test_the_export_conforms_once_what_runtimes_do_is_accepted(
    runtime: str, profile: Profile, machine: Machine, root: Path, tmp_path: Path
) -> None:
    found = gated(machine, root, runtime, profile, tmp_path, f"--accept={ALL}")
    assert found.status == 0, found.lines
    (line,) = [one for one in found.lines if one.startswith("accepted: ")]
    # runc puts no part of its own before a filter that lets calls run.
    met = {
        name
        for name, row in ROWS.items()
        if runtime in row.met_under
        and not (name is KnownDeviation.RUNC_ENOSYS_STUB and profile is Profile.LOG)
    }
    assert {name for name in ROWS if f"{name} (not needed)" not in line} == met
    assert found.record["accept"] == list(KnownDeviation)


@pytest.mark.parametrize(("runtime", "profile"), [RUNS[1], RUNS[3]])
def test_a_documented_call_that_gets_through_is_never_accepted(
    runtime: str, profile: Profile, machine: Machine, root: Path, tmp_path: Path
) -> None:
    options = (OPENED, f"--accept={ALL}", "--arch=x86_64")
    found = gated(machine, root, runtime, profile, tmp_path, *options)
    assert found.status == 1, found.lines
    cells = found.record["cells"]
    assert isinstance(cells, list)
    failed = [cell for cell in cells if cell["outcome"] == "failed"]
    assert {cell["syscall"] for cell in failed} - {"every other architecture"} == {OPENED}
    assert OPENED in found.lines[0]


def test_without_it_the_last_lines_say_so_and_a_draft_of_waivers_does_as_well(
    machine: Machine, root: Path, tmp_path: Path
) -> None:
    found = gated(machine, root, "crun", Profile.ERRNO, tmp_path, "--arch=x86_64")
    assert found.status == 1
    said = "20 cells failed by what runtimes do to every profile: --accept="
    (line,) = [one for one in found.lines if said in one]
    assert line.endswith("=libseccomp-unknown-calls,bad-arch-kill-thread")
    drafted = waiver_draft.draft(results.load(tmp_path / "results.json"), datetime.now(UTC).date())
    granted = tmp_path / "waivers.toml"
    granted.write_text(filled_in(drafted), encoding="utf-8")
    options = (f"--waivers={granted}", "--arch=x86_64")
    again = gated(machine, root, "crun", Profile.ERRNO, tmp_path, *options)
    assert again.status == 0, again.lines


def test_another_name_is_refused_in_one_sentence(tmp_path: Path) -> None:
    script = str(Path(sys.executable).parent / "syscall-conformance")
    words = [script, "gate", "root", "--runtime=bwrap", "--profile=kill", "--accept=runc-enosys,x"]
    ended = run_command([*words, f"--report-dir={tmp_path / 'new'}"])
    assert ended.returncode == 4
    *_, last = ended.stderr.splitlines()
    said = (
        "--accept: runc-enosys is no known deviation of a runtime: did you mean runc-enosys-stub?"
    )
    assert f"{said} known are runc-enosys-stub, " in last
    assert not (tmp_path / "new").exists()
