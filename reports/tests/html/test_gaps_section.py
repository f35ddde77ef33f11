"""The gaps of a policy of one's own, from the main job to what its readers see."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from probes.errors import ExitStatus
from reports import results
from reports.formats import markdown
from reports.html import compliance
from reports.terminal import closing
from reports.tests.support import job, samples
from reports.tests.support.job import ALONE

POLICY = """format = 1
name = "files"
title = "Files"
source = "an own list"
families = ["all"]
"""
CALL = """
[[call]]
name = "{}"
family = "all"
description = "{}"
why = "the platform's files stay as they are"
"""
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": ["chmod", "chown", "chown32"], "action": "SCMP_ACT_ERRNO", "args": []}],
}
OPEN = ("fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "lchown")


@pytest.mark.slow
@pytest.mark.skipif(not job.on_x86_64, reason="the profile is for x86_64")
def test_an_own_policy_gets_gaps_of_its_own(tmp_path: Path) -> None:
    """By name where families are known, and said where none is: never the shipped list's words."""
    pytest.importorskip("pyseccomp", reason="needs pyseccomp: pip install pyseccomp")
    calls = (("chmod", "mode"), ("chown", "owner"), ("timer_create", "timer"))
    policy, profile = tmp_path / "files.toml", tmp_path / "chmod.json"
    policy.write_text(POLICY + "".join(CALL.format(*call) for call in calls), encoding="utf-8")
    profile.write_text(json.dumps(PROFILE), encoding="utf-8")

    ended = job.run(
        tmp_path / "reports",
        *(f"--policy={policy}", f"--target=oci:{profile}", "--profile=errno", "--arch=x86_64"),
        *("-k", "denies and (chmod or chown)", *ALONE),
    )

    assert ended.status == ExitStatus.CONFORMANT, ended.output
    told = {gap["syscall"] for gap in ended.results["gaps"] if gap["state"] == "open"}
    assert set(OPEN) <= told
    short = ended.text("summary.md")
    assert ", ".join(OPEN) in short
    assert "not known for timer_create" in short
    assert "gaps of the document: not known for timer_create" in ended.closing
    assert ended.results["gaps_unknown_for"] == ["timer_create"]
    page = ended.text("compliance.html")
    assert "not known for <code>timer_create</code>" in page
    assert all(f"<code>{name}</code>" in page for name in OPEN)


@pytest.mark.slow
def test_readers_are_told_of_what_is_not_known() -> None:
    """Also where no gap was found, which would be read as "there is none"."""
    run = replace(samples.passing(), unreviewed=("alarm", "timer_create"))
    assert not run.gaps
    said = "\n".join(closing.lines(run, [], width=80))
    assert "gaps of the document: none is known" in said
    assert "gaps of the document: not known for alarm, timer_create" in said
    assert "not known for alarm, timer_create" in markdown.render(run)
    assert "not known for <code>alarm</code>, <code>timer_create</code>" in compliance.render(run)


@pytest.mark.slow
def test_records_that_say_nothing_of_it_are_read(tmp_path: Path) -> None:
    """Those of earlier versions of the suite have not got the key."""
    run = replace(samples.passing(), unreviewed=("alarm",))
    record = json.loads(results.to_json(run))
    assert record.pop("gaps_unknown_for") == ["alarm"]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(record), encoding="utf-8")
    assert results.load(file).unreviewed == ()
