"""The auditd collector reads what auditds of three releases of Debian write.

Each is the release's own program, on this machine's kernel: only in the initial namespaces can an
auditd register there.
"""

import contextlib
import re
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from probes import arch
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Collector
from probes.audit.netlink import NetlinkCollector
from probes.tests.support.audit_settings import changing
from probes.tests.support.auditd_releases import SUITES, auditd_of, ausearch_of, version_of
from probes.tests.support.emitter import (
    ERRNO_EPERM,
    KILL_PROCESS,
    Emitter,
    far_away,
    wait_for,
)
from probes.tests.support.sentinels import nonce, settle

pytestmark = [
    pytest.mark.root("reads the kernel's audit records"),
    pytest.mark.containers,
    pytest.mark.slow,
]

KILL_THREAD: Final = "0x0"
PATIENCE: Final = 20


def following(log: Path, root: Path = Path("/")) -> contextlib.closing[AuditdCollector]:
    return contextlib.closing(AuditdCollector(log, root=root))


def emit_of_every_kind(emitter: Emitter, folder: Path) -> set[str]:
    """Has records written of every action, ABI and odd name; gives the names."""
    names = {nonce(letter) for letter in "abc"} | {'a "b"'}
    for name in names:
        for action in (KILL_PROCESS, KILL_THREAD):
            emitter.emit(name, action)
        emitter.emit(name)
    emitter.emit(nonce("e"), ERRNO_EPERM)
    denied = nonce("d")
    emitter.emit(denied, ERRNO_EPERM, logged=True)
    names.add(denied)
    numbers = [("native", 1 << 30 | 163), ("native", 9999), ("native", 0xFFFFFFFF)]
    if emitter.arch == arch.get("x86_64").audit_arch:
        numbers += [("i386", 51), ("i386", 0xFFFFFFFF)]
    for entry, number in numbers:
        name = nonce("n")
        command = emitter.command(name, KILL_PROCESS, number=number, entry=entry)
        subprocess.run(command, check=False, timeout=60)
        names.add(name)
    far = nonce("f")
    far_away(emitter, folder).emit(far)
    return names | {far}


@pytest.mark.parametrize("log_format", ["RAW", "ENRICHED"])
@pytest.mark.parametrize("suite", SUITES)
def test_the_log_holds_the_records_of_the_kernel(
    suite: str, log_format: str, emitter: Emitter, tmp_path: Path
) -> None:
    """Over a rotation, and after each of the signals that auditd knows."""
    with (
        auditd_of(suite, tmp_path / "auditd", log_format) as auditd,
        following(auditd.log) as collector,
        contextlib.closing(NetlinkCollector()) as kernel,
    ):
        settle(collector, emitter)
        names = emit_of_every_kind(emitter, tmp_path)
        auditd.rotate()
        names |= emit_of_every_kind(emitter, tmp_path / "again")
        for signalled in (auditd.reread, auditd.resume):
            signalled()
            name = nonce("s")
            emitter.emit(name)
            names.add(name)
        end = nonce("z")
        emitter.emit(end)
        batch, told = (one.read_until(end, PATIENCE) for one in (collector, kernel))

        written = [Path(f"{auditd.log}.1"), auditd.log]
        assert (
            f" ver={version_of(ausearch_of(suite))} format={log_format.lower()} "
            in written[0].read_text()
        )

    assert batch.complete, batch.reason
    expected = {record.serial: record.raw for record in told.records}
    for record in batch.records:
        line, mark, words = record.raw.partition("\x1d")
        assert line == f"type=SECCOMP msg={expected[record.serial]}"
        assert bool(mark) == (log_format == "ENRICHED")
        if mark and " subj=" not in line:
            # The page about alerts warns of this.
            assert words.endswith(" SYSCALL=unknown-syscall(-1)")
    assert {*names, end} <= {record.comm for record in batch.records}
    assert any(len(record.raw) > 2 * 4000 for record in batch.records)


@pytest.mark.parametrize("suite", SUITES)
def test_a_log_that_is_replaced_is_not_missed_in_silence(
    suite: str, emitter: Emitter, tmp_path: Path
) -> None:
    """Whoever replaces it does not tell auditd, which goes on in the renamed file."""
    names = [nonce(letter) for letter in "abc"]
    with (
        auditd_of(suite, tmp_path / "auditd") as auditd,
        following(auditd.log) as collector,
    ):
        settle(collector, emitter)
        emitter.emit(names[0])
        auditd.log.rename(auditd.log.with_suffix(".old"))
        auditd.log.touch(mode=0o600)
        emitter.emit(names[1])
        auditd.rotate()
        emitter.emit(names[2])
        check_batch(collector, emitter, *names)


def check_batch(collector: Collector, emitter: Emitter, *names: str) -> None:
    """Whether each name's record is there, or the batch says that something may be missing."""
    end = nonce("z")
    emitter.emit(end)
    batch = collector.read_until(end, 1)
    missing = set(names) - {record.comm for record in batch.records}
    assert not (batch.complete and missing), missing


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("suite", SUITES)
def test_an_auditd_that_is_started_again_is_read_on(
    suite: str, emitter: Emitter, tmp_path: Path, *, killed: bool
) -> None:
    """A log need not have its note of an end."""
    folder = tmp_path / "auditd"
    with contextlib.ExitStack() as stack:
        with auditd_of(suite, folder) as auditd:
            collector = stack.enter_context(following(auditd.log))
            settle(collector, emitter)
            before = nonce("b")
            emitter.emit(before)
            # auditd writes what it has before it ends, and a killed one has to have read it.
            time.sleep(0.2)
            if killed:
                auditd.kill()
                emitter.emit(nonce("k"))
        unseen = nonce("u")
        emitter.emit(unseen)
        with auditd_of(suite, folder) as auditd:
            check_batch(collector, emitter, before, unseen)
            settle(collector, emitter)
            log = auditd.log.read_text(encoding="ascii")

    assert log.count("type=DAEMON_START ") == 2
    assert log.count("type=DAEMON_END ") == (0 if killed else 1)


@pytest.mark.parametrize("suite", SUITES)
def test_another_log_is_told(suite: str, emitter: Emitter, tmp_path: Path) -> None:
    """Auditd writes it from the moment when it reads its configuration again."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "proc").symlink_to("/proc")
    (root / "etc/audit").symlink_to(tmp_path / "auditd")
    with auditd_of(suite, tmp_path / "auditd") as auditd, following(auditd.log, root) as collector:
        settle(collector, emitter)
        auditd.configure("audit.log", "other.log")
        auditd.reread()
        other = auditd.log.with_name("other.log")
        wait_for(other.exists, "auditd did not begin another log")
        collector.read_until(nonce("o"), 0.2)  # what was written before
        name = nonce("z")
        emitter.emit(name)
        batch = collector.read_until(name, 0.5)
        found = other.read_text(encoding="ascii")

    assert f'comm="{name}"' in found
    assert (batch.complete, batch.silent) == (False, True)
    assert batch.reason.endswith(f"name that one: --audit-source=auditd:{other}.")


@pytest.mark.parametrize("suite", SUITES)
def test_records_of_other_types_are_told_apart(
    suite: str, emitter: Emitter, tmp_path: Path
) -> None:
    """With auditing switched on an event has several records, which auditd writes one by one."""
    names = [nonce(letter) for letter in "ab"]
    end = nonce("z")
    with (
        auditd_of(suite, tmp_path / "auditd", "ENRICHED", sharing=False) as auditd,
        changing() as settings,
        following(auditd.log) as collector,
    ):
        settle(collector, emitter)
        settings.enable(1)
        for name in names:
            emitter.emit(name, KILL_PROCESS)
        settings.enable(0)
        emitter.emit(end)
        batch = collector.read_until(end, PATIENCE)
        log = auditd.log.read_text(encoding="utf-8")

    assert batch.complete, batch.reason
    found = [record.comm for record in batch.records if record.comm in names]
    assert found == names
    kinds = set(re.findall(r"^type=(\w+)", log, re.MULTILINE))
    assert {"SECCOMP", "ANOM_ABEND", "CONFIG_CHANGE", "SYSCALL", "PROCTITLE"} <= kinds
