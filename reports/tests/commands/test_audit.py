"""The command ``audit`` on this machine as it is, in namespaces, and beside auditd."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit.source import SourceKind
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.tests.support import auditd_daemon
from probes.tests.support.oracles import require
from reports.commands.main import run as main
from reports.tests.support.examined import FLAGGED, PATIENCE, PROMISED, QUICK, Told, told
from reports.tests.support.job import CHECKOUT, NOBODY, environment, python_for_nobody, undisturbed

pytestmark = pytest.mark.root("reads the kernel's audit records")


def test_every_collector_is_told_of() -> None:
    with undisturbed():
        found = told()

    assert found.status == ExitStatus.CONFORMANT
    assert found.seen == PROMISED
    assert found.kept == {"kill": True, "errno": True, "log": True}
    assert not found.limits
    words = [one["source"].partition(":")[0] for one in found.document["collectors"]]
    assert sorted(words) == sorted(set(SourceKind) - {SourceKind.BEST, SourceKind.NONE})
    assert found.collector("netlink") == {
        "source": "netlink",
        "state": "works",
        "reason": "",
        "seen": PROMISED,
    }
    assert found.collector("auditbeat")["state"] == "not tried"


def test_auditd_runs(tmp_path: Path) -> None:
    """It is read beside netlink; the kernel's own log gets nothing."""
    auditd = require("auditd", "auditd")
    with (
        auditd_daemon.running(auditd, tmp_path / "auditd", "ENRICHED", megabytes=8) as daemon,
        undisturbed(),
    ):
        wanted = f"--audit-source=auditd:{daemon.log}"
        found = told(wanted, "--audit-source=kmsg", "--audit-source=netlink")

    assert found.status == ExitStatus.CONFORMANT
    assert found.collector("auditd")["seen"] == PROMISED
    assert found.collector("kmsg")["state"] == "does not work"
    named = f"auditd (process {daemon.pid}) takes the"
    assert named in found.collector("kmsg")["reason"]
    assert any(named in one for one in found.document["notes"])


def test_auditd_is_stopped(tmp_path: Path) -> None:
    auditd = require("auditd", "auditd")
    with (
        auditd_daemon.running(auditd, tmp_path / "auditd", "RAW", megabytes=8) as daemon,
        undisturbed(),
        daemon.stalled(),
    ):
        found = told("--profile=kill", "--audit-source=netlink")

    assert found.limits["stopped program"].endswith(f"kill -CONT {daemon.pid}")


def test_another_log_than_auditd_writes_is_told(tmp_path: Path) -> None:
    """By the name of auditd's configuration, which is put in its place in a mount namespace."""
    auditd = require("auditd", "auditd")
    settings = tmp_path / "auditd.conf"
    settings.write_text("log_file = /srv/other.log\n", encoding="ascii")
    empty = tmp_path / "audit.log"
    empty.touch()
    mount = f'mount --bind {settings} /etc/audit/auditd.conf && exec "$@"'
    with (
        auditd_daemon.running(auditd, tmp_path / "auditd", "RAW", megabytes=8),
        undisturbed(),
    ):
        found = told(
            "--profile=kill",
            f"--audit-source=auditd:{empty}",
            before=("unshare", "--mount", "sh", "-c", mount, "-"),
        )

    assert found.status == ExitStatus.CANNOT_TELL
    assert "--audit-source=auditd:/srv/other.log" in found.collector("auditd")["reason"]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (("unshare", "--net"), "not in the initial network namespace"),
        (("unshare", "--user", "--map-root-user"), "in the initial user namespace"),
        (("setpriv", "--bounding-set=-all"), "needs CAP_AUDIT_READ"),
    ],
    ids=["network", "user", "capabilities"],
)
def test_from_another_namespace_nothing_is_seen(before: tuple[str, ...], said: str) -> None:
    require(before[0], "util-linux mount")
    with undisturbed():
        found = told(*QUICK, before=before)

    assert found.status == ExitStatus.CANNOT_TELL
    assert said in found.collector("netlink")["reason"]
    assert set(found.seen.values()) == {"cannot tell"}


def test_from_another_pid_namespace_not_everything_can_be_asked() -> None:
    """Records arrive; the kernel's status and rules are refused there."""
    require("unshare", "util-linux mount")
    with undisturbed():
        found = told(*QUICK, before=("unshare", "--pid", "--fork", "--mount-proc"))

    assert (found.status, found.seen) == (ExitStatus.CONFORMANT, PROMISED)
    assert any(
        "may not ask the kernel for its audit status" in one for one in found.document["notes"]
    )


def test_a_user_without_privilege_is_told_what_he_may_not_see(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("nobody")
    for folder in (place, *place.parents[:2]):
        folder.chmod(0o755)
    for name in ("cases", "probes", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "out", "tests")
        shutil.copytree(CHECKOUT / name, place / name, ignore=ignored)
    statement = "import sys; from reports.commands import main; sys.exit(main.run(sys.argv[1:]))"
    ended = subprocess.run(
        [python_for_nobody(place), "-c", statement, "audit", "--format=json"],
        cwd=place,
        env=environment(),
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert not ended.stderr, ended.stderr
    found = Told(ended.returncode, json.loads(ended.stdout))
    assert found.status == ExitStatus.CANNOT_TELL
    assert not [one for one in found.document["collectors"] if one["state"] == "works"]
    assert not found.document["faults"]
    notes = " ".join(found.document["notes"])
    assert "run this as root in the initial user and pid namespaces" in notes
    assert "only nobody here sees them" in notes


# Under a filter that refuses what the canaries need.

UNDER = """\
import ctypes, os, struct, sys
raw = open(sys.argv[1], "rb").read()
kept = ctypes.create_string_buffer(raw)
filters = struct.pack("HxxxxxxP", len(raw) // 8, ctypes.addressof(kept))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filters, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs a program under a filter: PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP."""


@pytest.mark.parametrize(
    ("refused", "status", "unmade"),
    [
        ("seccomp", ExitStatus.CONFORMANT, {FLAGGED}),
        ("getppid", ExitStatus.CANNOT_TELL, {"LOG"}),
        ("prctl", ExitStatus.CANNOT_TELL, {*PROMISED, "the sentinel's LOG"}),
    ],
)
def test_what_could_not_be_made_shows_nothing(
    refused: str, status: ExitStatus, unmade: set[str], tmp_path: Path
) -> None:
    """That it left no record is no silence."""
    allow, denied = FilterReturn(Action.ALLOW).value, Profile.ERRNO.returns.value
    native = arch.of_this_process()[0]
    parts = bpf.ranges({native.numbers[refused]}, denied, allow)
    program = tmp_path / "program"
    program.write_bytes(bpf.to_bytes(bpf.dispatch({native.audit_arch: parts}, allow)))
    with undisturbed():
        found = told("--audit-source=netlink", before=(sys.executable, "-c", UNDER, str(program)))

    assert found.status == status
    assert found.document["faults"].keys() == unmade
    assert {found.seen[name] for name in unmade & PROMISED.keys()} == {"cannot tell"}


# What is said to people, and refused.


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_text_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with undisturbed():
        status, text, error = said(capsys, "audit", "--profile=kill,log", *QUICK)

    assert (status, error) == (0, "")
    first, *_ = text.splitlines()
    assert first.startswith(f"PASS: on Linux {os.uname().release}")
    rows = [line.split() for line in text.splitlines()]
    assert ["kill", "KILL_PROCESS", "recorded", "netlink"] in rows
    assert ["log", "LOG", "recorded", "netlink"] in rows
    assert "ERRNO" not in text
    assert "auditd:/nowhere/audit.log: does not work: The audit log" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--audit-source=nonsense",), "unknown source"),
        (("--audit-source=none",), "name a collector (netlink, auditd:FILE"),
        (("--audit-source=best",), "leave the option out to try all"),
        (("--profile=lenient",), "lenient"),
        (("--format=html",), "invalid choice: 'html'"),
        (("-o", "/nowhere/x"), "no directory that this user may write to"),
    ],
)
def test_what_has_no_meaning_is_refused(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = main(["audit", *words])
    except SystemExit as ended:  # argparse's own refusals
        status = ended.code
    assert status == ExitStatus.USAGE
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
