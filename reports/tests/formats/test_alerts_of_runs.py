"""Alerts of real runs: the file is found, and the lines are those that a search of it finds."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from reports.filters import allowlist
from reports.filters.allowlist import ExportRequest
from reports.formats.catalogue import FORMATS
from reports.results import load
from reports.tests.support import job

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
PART = ("--profile=errno", "--arch=x86_64", "-k", "bpf or x86_64-mount or leaves_the_rest")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not job.on_x86_64, reason="judges calls of x86_64 on this kernel"),
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a profile that allows three documented calls and forgets another one."""
    made = allowlist.oci_json(ExportRequest(SHIPPED, Profile.ERRNO, tuple(X86)))
    profile = json.loads(made)
    (rule,) = profile["syscalls"]
    rule["names"].remove("getpid")
    profile["syscalls"].append({"names": ["bpf", "acct", "mount"], "action": "SCMP_ACT_ALLOW"})
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/seccomp.json").write_text(json.dumps(profile, indent="\t"))
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, timeout=60)
    return tmp_path


def judged(repository: Path, cwd: Path, target: str, *options: str) -> list[Mapping[str, Any]]:
    """The results of the SARIF log of a part of the main job."""
    folder = repository / "reports"
    words = [f"--rootdir={job.CHECKOUT}", "-c", str(job.CHECKOUT / "pyproject.toml")]
    ended = job.run(
        folder, str(job.CHECKOUT / "cases"), *words, *job.ALONE, *PART, target, *options, cwd=cwd
    )
    assert (folder / "results.json").exists(), ended.output
    (run,) = json.loads(FORMATS["sarif"].render(load(folder / "results.json")))["runs"]
    results: list[Mapping[str, Any]] = run["results"]
    return results


def place(result: Mapping[str, Any]) -> tuple[str, int]:
    spot = result["locations"][0]["physicalLocation"]
    return spot["artifactLocation"]["uri"], spot["region"]["startLine"]


def lines_with(path: Path, text: str) -> list[int]:
    """As ``grep -n`` counts them."""
    ended = subprocess.run(
        ["grep", "-nF", text, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    return [int(line.partition(":")[0]) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("folder", [".", "deploy"])
def test_a_profile_is_the_place_from_whatever_folder_it_is_named(
    folder: str, repository: Path
) -> None:
    name = "seccomp.json" if folder == "deploy" else "deploy/seccomp.json"
    file = repository / "deploy/seccomp.json"

    results = judged(repository, repository / folder, f"--target=oci:{name}")

    (through,) = (one for one in results if one["ruleId"] == "gets-through")
    (blocked,) = (one for one in results if "getpid" in one["properties"]["calls"])
    assert place(through) == ("deploy/seccomp.json", lines_with(file, '"bpf"')[0])
    assert [
        spot["physicalLocation"]["region"]["startLine"] for spot in through["relatedLocations"]
    ] == [*lines_with(file, '"bpf"'), *lines_with(file, '"mount"')]
    assert set(through["properties"]["calls"]) == {"bpf", "mount"}
    # The list that is longest, which begins with the brace before its names.
    assert place(blocked) == ("deploy/seccomp.json", lines_with(file, '"names"')[0] - 1)
    assert blocked["ruleId"] == "blocked-too-much"


def test_a_policy_is_the_place_where_no_profile_is(repository: Path) -> None:
    """A program that allows everything, judged by a policy of the user's."""
    file = repository / "deploy/policy.toml"
    file.write_bytes(DEFAULT_POLICY.read_bytes())
    request = ExportRequest(SHIPPED, Profile.LOG, tuple(X86))
    program = allowlist.export(request, allowlist.ExportFormat.BPF)
    assert isinstance(program, bytes)
    (repository / "deploy/filter.bpf").write_bytes(program)

    results = judged(
        repository, repository, "--target=bpf:deploy/filter.bpf", "--policy=deploy/policy.toml"
    )

    assert {place(one) for one in results} == {("deploy/filter.bpf", 1)}
    record = json.loads((repository / "reports/results.json").read_text())
    assert record["policy"]["path"] == "deploy/policy.toml"
    lines = {call["name"]: call["line"] for call in record["policy"]["calls"]}
    assert lines["mount"] == lines_with(file, 'name = "mount"')[0] - 1
