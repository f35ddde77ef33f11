"""The journal's collector reads what a real journald keeps of the kernel's audit messages."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probes.audit.collector import CollectorUnavailableError, Event
from probes.audit.journald import COMMAND, JournalCollector, event_of
from probes.audit.netlink import NetlinkCollector
from probes.audit.record import SeccompRecord, parse
from probes.errors import ExitStatus
from probes.releases.roots import SUITES
from probes.tests.support import journald_daemon, releases
from probes.tests.support.auditd_daemon import the_status
from probes.tests.support.emitter import (
    Emitter,
    far_away,
    needs_root,
    sharing_records,
    wait_for,
)
from probes.tests.support.journald_daemon import DAEMON, Journald
from probes.tests.support.oracles import require
from probes.tests.support.sentinels import nonce
from reports.tests.support import job

PATIENCE = 20
TEXT = (
    "auid=4294967295 uid=0 gid=0 ses=4294967295 subj==unconfined (enforce) pid=30736 "
    'comm=6B20 exe="/x" sig=31 arch=40000003 syscall=51 compat=1 ip=0x7f15393dd829 code=0x80000000'
)
ENTRY: dict[str, Any] = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": "1795898126849256",
    "_SOURCE_REALTIME_TIMESTAMP": "1795898126046000",
    "_AUDIT_TYPE": "1326",
    "_AUDIT_ID": "2704870",
    "MESSAGE": f"SECCOMP {TEXT}",
}


def entry(**other: object) -> bytes:
    """An entry with other values; None leaves a field out."""
    changed = {**ENTRY, **other}
    return json.dumps({name: one for name, one in changed.items() if one is not ...}).encode()


def told() -> SeccompRecord:
    found = parse(f"audit(1795898126.046:2704870): {TEXT}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "line",
    [
        entry(),
        entry(MESSAGE=f"UNKNOWN[1326] {TEXT}"),
        entry(MESSAGE=list(f"SECCOMP {TEXT}".encode())),
    ],
    ids=["text", "unknown name", "bytes"],
)
def test_an_entry_is_read_as_the_kernel_wrote_it(line: bytes) -> None:
    assert event_of(line) == Event(2704870, told())


def test_other_messages_are_counted() -> None:
    assert event_of(entry(_AUDIT_TYPE="1100", MESSAGE="USER_AUTH pid=1")) == Event(2704870)


@pytest.mark.parametrize(
    "line",
    [
        entry()[:-5],
        b"",
        b"[]",
        b"7",
        entry(MESSAGE=None),
        entry(MESSAGE=...),
        entry(MESSAGE="SECCOMP"),
        entry(MESSAGE=f"SECCOMP {TEXT}"[:-3]),
        entry(MESSAGE=[1, 300]),
        entry(_AUDIT_ID=...),
        entry(_AUDIT_ID="x"),
        entry(_AUDIT_TYPE=["1326", "1326"]),
        entry(_SOURCE_REALTIME_TIMESTAMP=...),
        b"[" * 100_000,
    ],
    ids=lambda line: line[-30:].decode(),
)
def test_a_damaged_entry_may_have_been_a_record(line: bytes) -> None:
    # A record without its last digits is whole, as far as anybody can tell.
    event = event_of(line)

    assert event.trouble.startswith("This audit record is damaged") or event.record
    assert event.record is None or event.record.code != told().code


# journalctl, by itself.


def collected(*command: str) -> contextlib.closing[JournalCollector]:
    return contextlib.closing(JournalCollector(command))


def test_a_journalctl_that_ends_is_told_with_its_words() -> None:
    with collected("sh", "-c", "echo 'No journal files were found.' >&2; exit 3") as collector:
        batch = collector.read_until("x", 0.3)
        later = collector.read_until("y", 0.1)

    assert later.reason.startswith("The sentinel record 'y' did not arrive by journal within 0.1 s")
    assert "journalctl ended with 3" in later.reason
    assert batch.reason == "journalctl ended with 3: No journal files were found."
    assert batch.overdue
    assert batch.silent


def test_without_journalctl_there_is_no_journal() -> None:
    with pytest.raises(CollectorUnavailableError, match="it takes systemd's journalctl"):
        JournalCollector(("/nowhere/journalctl",))


def test_entries_that_are_printed_in_pieces_are_read_whole() -> None:
    text = entry().decode()
    script = f"printf %s '{text[:50]}'; sleep 0.2; printf '%s\\n' '{text[50:]}'; sleep 5"
    with collected("sh", "-c", script) as collector:
        batch = collector.read_until("k ", 5)

    assert (batch.complete, batch.records) == (True, (told(),))


def test_an_entry_that_is_not_there_is_missed() -> None:
    lines = (entry(_AUDIT_ID=str(number)).decode() for number in (5, 6, 9))
    first, second, third = lines
    script = (
        f"printf '%s\\n' '{first}'; sleep 0.3; printf '%s\\n%s\\n' '{second}' '{third}'; sleep 5"
    )
    with collected("sh", "-c", script) as collector:
        assert collector.read_until("k ", 5).complete
        assert collector.read_until("k ", 5).complete
        batch = collector.read_until("k ", 1)

    assert batch.reason == "2 audit event(s) before the sentinel never reached journal."


# The real journald.


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    """A journald of this test's, whose journal ``journalctl`` reads."""
    require(DAEMON, "systemd")
    with journald_daemon.running(tmp_path, require("journalctl", "systemd")) as daemon:
        monkeypatch.setenv("PATH", f"{daemon.path}:{os.environ['PATH']}")
        yield daemon


def output_of(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def settled(collector: JournalCollector, emitter: Emitter) -> None:
    """Reads until a first sentinel has arrived."""
    for _ in range(3):
        end = nonce("c")
        emitter.emit(end)
        if collector.read_until(end, 3).complete:
            return
    pytest.fail("no canary arrived")


@needs_root
def test_the_journal_holds_the_records_of_the_kernel(
    journald: Journald, emitter: Emitter, tmp_path: Path
) -> None:
    assert journald.pid
    check_records(JournalCollector(), emitter, tmp_path)


def check_records(journal: JournalCollector, emitter: Emitter, folder: Path) -> None:
    """Whether a journal holds the same records that the kernel sends to others.

    One is so long that journalctl prints it only where it is to print all.
    """
    names = [nonce("a"), 'k "', nonce("b")]
    far = far_away(emitter, folder)
    with (
        sharing_records(),
        contextlib.closing(journal) as collector,
        contextlib.closing(NetlinkCollector()) as kernel,
    ):
        settled(collector, emitter)
        for name in names:
            emitter.emit(name)
        names.append(nonce("f"))
        far.emit(names[-1])
        end = nonce("z")
        emitter.emit(end)
        batch, told = (one.read_until(end, PATIENCE) for one in (collector, kernel))

    assert batch.complete, batch.reason
    own = {record.serial: replace(record, raw="") for record in batch.records}
    expected = {one.serial: replace(one, raw="") for one in told.records if one.serial in own}
    assert own == expected
    assert {*names, end} <= {record.comm for record in own.values()}


@pytest.mark.root("starts programs of other releases")
@pytest.mark.containers
@pytest.mark.parametrize("suite", SUITES)
def test_the_journals_of_other_releases_hold_them(
    suite: str, tmp_path: Path, emitter: Emitter
) -> None:
    root = releases.root_of_runtimes(suite)
    switch = the_status().enabled
    with journald_daemon.running(tmp_path, "journalctl", release=root.path) as daemon:
        tool = str(daemon.path / "journalctl")
        assert f"({root.version('systemd')})" in output_of([tool, "--version"])
        check_records(JournalCollector((tool, *COMMAND[1:])), emitter, tmp_path)
    assert the_status().enabled == switch


@needs_root
def test_what_is_written_while_journalctl_starts_is_read(
    journald: Journald, emitter: Emitter
) -> None:
    assert journald.pid
    with collected("sh", "-c", 'sleep 0.5; exec "$@"', "-", *COMMAND) as collector:
        end = nonce("z")
        emitter.emit(end)
        batch = collector.read_until(end, PATIENCE)

    assert batch.records[-1].comm == end


@needs_root
def test_a_journald_that_is_gone_is_silent(journald: Journald, emitter: Emitter) -> None:
    with contextlib.closing(JournalCollector()) as collector:
        settled(collector, emitter)
        journald.stop()
        end = nonce("z")
        emitter.emit(end)
        batch = collector.read_until(end, 1)

    assert (batch.complete, batch.overdue) == (False, True)


@needs_root
def test_what_journald_does_not_keep_is_told(tmp_path: Path, emitter: Emitter) -> None:
    """Audit messages are of the level notice, whatever they say."""
    journalctl = require("journalctl", "systemd")
    with journald_daemon.running(tmp_path, journalctl, "MaxLevelStore=warning") as daemon:
        tool = str(daemon.path / "journalctl")
        with contextlib.closing(
            JournalCollector((tool, *COMMAND[1:]), root=daemon.root)
        ) as collector:
            end = nonce("z")
            emitter.emit(end)
            batch = collector.read_until(end, 1)

    assert not batch.complete
    assert "(MaxLevelStore=warning in /etc/systemd/journald.conf); set it to notice" in batch.reason


@needs_root
def test_entries_of_another_boot_are_not_read(tmp_path: Path, emitter: Emitter) -> None:
    """Their numbers would be a false base, from which nothing seemed to be missing."""
    journalctl = require("journalctl", "systemd")
    with journald_daemon.running(tmp_path, journalctl, another_boot=True) as daemon:
        # Whoever reads it knows which boot this is.
        true = 'umount /proc/sys/kernel/random/boot_id && exec "$@"'
        inside = ("nsenter", f"--target={daemon.pid}", "--mount", "--")
        by = (*inside, "unshare", "--mount", "sh", "-c", true, "-")
        name = nonce("a")
        emitter.emit(name)
        every = [*by, "journalctl", "--quiet", "_TRANSPORT=audit"]
        # Or else nothing would be there to be left out. --follow alone keeps to a boot, too.
        wait_for(lambda: name in output_of(every), "the journal lacks the entry")
        with collected(*by, *COMMAND) as collector:
            batch = collector.read_until(name, 0.5)

    assert (batch.records, batch.silent) == ((), True)
    assert "ended" not in batch.reason


@needs_root
@pytest.mark.slow
def test_the_job_with_the_journal(journald: Journald, tmp_path: Path) -> None:
    assert journald.pid
    options = ("--profile=kill", "--arch=x86_64", "--audit-source=journal", "-k")

    ended = job.run(tmp_path / "out", *job.ALONE, *options, "is_reported and (acct or mount)")

    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert ended.outcomes(claim="is reported") == {"passed": 3}
    reported = [cell for cell in ended.cells if cell["claim"] == "is reported"]
    sources = {one["source"] for cell in reported for one in cell["evidence"]}
    assert "journal" in sources
    assert "netlink" not in sources
