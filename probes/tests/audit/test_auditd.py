"""The auditd collector reads what auditd wrote, over rotations, as ausearch does."""

import contextlib
import errno
import os
import shlex
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Batch, CollectorUnavailableError
from probes.audit.control import AuditControl, AuditStatus
from probes.audit.netlink import NetlinkCollector
from probes.audit.record import kernel_serial
from probes.errors import ExitStatus
from probes.files import SUITE
from probes.tests.support.auditd_daemon import (
    Auditd,
    AuditdBusyError,
    refuse_if_busy,
    running,
    the_status,
)
from probes.tests.support.emitter import (
    ERRNO_EPERM,
    KILL_PROCESS,
    Emitter,
    needs_root,
)
from probes.tests.support.oracles import require
from probes.tests.support.sentinels import nonce, settle

ROOT = SUITE
PATIENCE = 20


def line(serial: int, comm: str = "x") -> bytes:
    """A SECCOMP record as auditd writes it."""
    return (
        f"type=SECCOMP msg=audit(1700000000.123:{serial}): auid=0 uid=0 gid=0 ses=1 pid=7 "
        f'comm="{comm}" exe="/x" sig=0 arch=c000003e syscall=163 compat=0 ip=0x1 code=0x7ffc0000\n'
    ).encode()


@dataclass
class FakeLog:
    """A log that is written and rotated as auditd does it, with numbered records."""

    path: Path
    serial: int = 0
    keep: int = 5
    unfinished: bytes = field(default=b"", repr=False)

    def write(self, comm: str = "x", count: int = 1) -> None:
        """Appends records."""
        with self.path.open("ab") as log:
            log.write(self.unfinished)
            self.unfinished = b""
            for _ in range(count):
                self.serial += 1
                log.write(line(self.serial, comm))

    def write_half(self) -> None:
        """Appends half a record; the rest comes with whatever is written next."""
        self.serial += 1
        whole = line(self.serial)
        with self.path.open("ab") as log:
            log.write(self.unfinished + whole[:40])
        self.unfinished = whole[40:]

    def rotate(self) -> None:
        """Renames the logs from the highest number down and begins a new one."""
        if self.unfinished:
            with self.path.open("ab") as log:
                log.write(self.unfinished)
            self.unfinished = b""
        for number in range(self.keep - 1, 1, -1):
            with contextlib.suppress(FileNotFoundError):  # there are fewer as yet
                self.numbered(number - 1).rename(self.numbered(number))
        self.path.rename(self.numbered(1))
        self.path.write_bytes(b"")

    def numbered(self, number: int) -> Path:
        """The path of a rotated log."""
        return Path(f"{self.path}.{number}")


@pytest.fixture(autouse=True)
def kernels_answer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that bring their own log do not ask this machine's kernel about its audit."""
    if needs_root.mark not in request.node.own_markers:
        monkeypatch.setattr(AuditControl, "status", lambda _: None)


@pytest.fixture
def log(tmp_path: Path) -> FakeLog:
    """A log with a record in it."""
    fake = FakeLog(tmp_path / "audit.log")
    fake.write("old")
    return fake


@pytest.fixture
def collector(log: FakeLog) -> Iterator[AuditdCollector]:
    """A collector on that log."""
    with contextlib.closing(AuditdCollector(log.path)) as opened:
        yield opened


def serials(batch: Batch) -> list[int]:
    """The records' numbers."""
    return [record.serial for record in batch.records]


def test_it_begins_at_the_end(log: FakeLog, collector: AuditdCollector) -> None:
    """What was there before is not read, and the last of it is the base of the first batch."""
    log.write("s")
    batch = collector.read_until("s", PATIENCE)
    assert (serials(batch), batch.complete, batch.reason) == ([2], True, "")
    assert collector.name == f"auditd:{log.path}"


def test_a_record_that_is_being_written_is_read_whole(tmp_path: Path) -> None:
    """Even one that was half there when the log was opened."""
    log = FakeLog(tmp_path / "audit.log")
    log.write()
    log.write_half()
    with contextlib.closing(AuditdCollector(log.path)) as collector:
        assert serials(collector.read_until("s", 0)) == []
        log.write_half()
        assert serials(collector.read_until("s", 0)) == [2]
        log.write("s")
        batch = collector.read_until("s", PATIENCE)
    assert serials(batch) == [3, 4]
    assert batch.complete


def test_a_record_that_was_not_written_is_missed(log: FakeLog, collector: AuditdCollector) -> None:
    """Even right at the beginning: the log's last record tells what comes next."""
    log.serial += 3
    log.write("s")
    batch = collector.read_until("s", 0.05)
    assert batch.reason.startswith("3 audit event(s) before the sentinel never reached auditd:")


def test_a_new_log_needs_a_second_sentinel(tmp_path: Path) -> None:
    """Its first record may not be the first that the kernel sent."""
    log = FakeLog(tmp_path / "audit.log", serial=7)
    log.path.write_bytes(b"type=DAEMON_START msg=audit(1700000000.000:4402): op=start\n")
    with contextlib.closing(AuditdCollector(log.path)) as collector:
        log.write("s")
        first = collector.read_until("s", PATIENCE)
        log.write("t")
        second = collector.read_until("t", PATIENCE)
    assert (serials(first), first.complete) == ([8], False)
    assert (serials(second), second.complete) == ([9], True)


@pytest.mark.parametrize("rotations", [1, 2, 3, 4])
def test_rotations_between_two_reads(
    log: FakeLog, collector: AuditdCollector, rotations: int
) -> None:
    """As long as the log that was open is kept, every one after it is read."""
    for _ in range(rotations):
        log.write(count=3)
        log.rotate()
    log.write("s")
    batch = collector.read_until("s", PATIENCE)
    assert serials(batch) == list(range(2, 3 * rotations + 3))
    assert batch.complete, batch.reason


def test_more_rotations_than_logs_are_kept(log: FakeLog, collector: AuditdCollector) -> None:
    """What lay in between cannot be read any more, and the batch says so; the next is sound."""
    for _ in range(log.keep + 1):
        log.write(count=3)
        log.rotate()
    log.write("s")
    first = collector.read_until("s", PATIENCE)
    log.write("t")
    second = collector.read_until("t", PATIENCE)
    assert not first.complete
    assert "is not among its rotated ones" in first.reason
    # The open file's own rest is never lost.
    assert serials(first)[:3] == [2, 3, 4]
    assert second.complete, second.reason


def test_a_rotation_under_way_is_waited_for(log: FakeLog, collector: AuditdCollector) -> None:
    """Between two renames the names lead nowhere; no record is lost by that."""
    log.write(count=2)
    log.path.rename(log.numbered(1))
    assert serials(collector.read_until("s", 0)) == [2, 3]
    log.numbered(1).rename(log.numbered(2))
    log.write(count=2)
    waiting = collector.read_until("s", 0)
    assert serials(waiting) == []
    assert "not among" not in waiting.reason
    log.path.rename(log.numbered(1))
    log.write("s")
    batch = collector.read_until("s", PATIENCE)
    assert serials(batch) == [4, 5, 6]
    assert batch.complete, batch.reason


def test_a_renamed_log_is_read_on_until_its_successor_is_written(
    log: FakeLog, collector: AuditdCollector
) -> None:
    """Logrotate renames first and tells auditd afterwards."""
    log.path.rename(log.numbered(1))
    log.path.write_bytes(b"")
    assert serials(collector.read_until("s", 0)) == []
    log.serial += 1
    with log.numbered(1).open("ab") as old:
        old.write(line(log.serial))
    log.write("s")
    batch = collector.read_until("s", PATIENCE)
    assert serials(batch) == [2, 3]
    assert batch.complete, batch.reason


@pytest.mark.parametrize("regrown", [0, 50])
def test_truncation_is_told(log: FakeLog, collector: AuditdCollector, regrown: int) -> None:
    """Whether or not the log has grown past the old place since."""
    log.write(count=9)
    collector.read_until("nobody", 0)
    log.write(count=2)
    log.path.write_bytes(b"")
    log.serial = 100
    log.write(count=regrown)
    log.write("s")
    batch = collector.read_until("s", 0.1)
    assert serials(batch) == list(range(101, 102 + regrown))
    assert not batch.complete
    assert "was truncated or overwritten" in batch.reason
    log.write("t")
    assert collector.read_until("t", PATIENCE).complete


def test_a_deleted_log_is_read_on(log: FakeLog, collector: AuditdCollector) -> None:
    """Auditd writes to the file that it has open, whatever its name is."""
    with log.path.open("ab") as held:
        log.path.unlink()
        held.write(line(2) + line(3, "s"))
    batch = collector.read_until("s", PATIENCE)
    assert serials(batch) == [2, 3]
    assert batch.complete
    gone = collector.read_until("nobody", 0)
    assert "though earlier ones did: the log was deleted" in gone.reason


def test_silence_of_a_deleted_log(log: FakeLog, collector: AuditdCollector) -> None:
    """The sentence names what is the matter."""
    log.path.unlink()
    assert collector.read_until("s", 0).reason.endswith(": the log was deleted; restart auditd.")


@pytest.mark.parametrize(
    ("pid", "words"), [(0, "no auditd takes records"), (7, "auditd may write another log")]
)
def test_silence(
    log: FakeLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pid: int, words: str
) -> None:
    """The kernel knows whether there is an auditd; which log it writes it does not."""
    status = AuditStatus(0, 1, pid, 0, 64, 0, 0)
    monkeypatch.setattr(AuditControl, "status", lambda _: status)
    with contextlib.closing(AuditdCollector(log.path, root=tmp_path)) as collector:
        assert words in collector.read_until("s", 0).reason


def test_damaged_lines_are_told(log: FakeLog, collector: AuditdCollector) -> None:
    """As after a full disk or a crash."""
    with log.path.open("ab") as held:
        held.write(line(2)[:50] + b"\n" + b"\0" * 30 + b"\n")
    log.serial = 2
    log.write("s")
    batch = collector.read_until("s", 0.05)
    assert serials(batch) == [3]
    assert batch.reason.startswith("This audit record is damaged")


def test_the_last_line_of_a_rotated_log_may_lack_its_end(
    log: FakeLog, collector: AuditdCollector
) -> None:
    """It will not be written any more, so it is damaged."""
    log.write_half()
    log.unfinished = b""
    log.rotate()
    log.write("s")
    batch = collector.read_until("s", 0.05)
    assert serials(batch) == [3]
    assert batch.reason.startswith(f"A line of {log.path} was written by half: b'type=SECCOMP")


def test_a_file_without_a_line_end_is_not_read_for_ever(
    log: FakeLog, collector: AuditdCollector
) -> None:
    """Nor kept: it is a hole of a terabyte."""
    log.path.unlink()
    log.path.touch()
    os.truncate(log.path, 1 << 40)

    batch = collector.read_until("s", 2)

    assert (batch.complete, batch.overdue) == (False, True)
    assert batch.reason
    with log.path.open("ab") as held:
        held.write(b"\n" + line(2) + line(3, "t"))
    assert serials(collector.read_until("t", PATIENCE)) == [2, 3]


def test_a_log_that_cannot_be_read_any_more_is_told(
    log: FakeLog, collector: AuditdCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that fails, which is made up here."""

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("probes.audit.log_file.os.pread", failing)
        batch = collector.read_until("s", 0.1)
    assert batch.reason == f"{log.path} can be read no longer (Input/output error)."
    assert batch.silent


@pytest.mark.slow
@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from(["write", "half", "rotate", "read"]), max_size=30))
def test_any_order_of_writing_rotating_and_reading(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Every record is read exactly once, in order, as long as no open log is thrown away."""
    log = FakeLog(tmp_path_factory.mktemp("log") / "audit.log", keep=100)
    log.write("old")
    read: list[int] = []
    with contextlib.closing(AuditdCollector(log.path)) as collector:
        for step in steps:
            if step == "write":
                log.write()
            elif step == "half":
                log.write_half()
            elif step == "rotate":
                log.rotate()
            else:
                read += serials(collector.read_until("s", 0))
        log.write("s")
        last = collector.read_until("s", PATIENCE)
    assert last.complete, last.reason
    assert [*read, *serials(last)] == list(range(2, log.serial + 1))


@pytest.mark.parametrize("name", ["missing/audit.log", "", "pipe"])
def test_a_log_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    """In one sentence that names it; and no descriptor is left."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with pytest.raises(CollectorUnavailableError) as refusal:
        AuditdCollector(path)
    assert str(refusal.value).startswith(f"The audit log {path} cannot be read (")
    assert refusal.value.exit_status == ExitStatus.CANNOT_TELL
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


@needs_root
def test_a_log_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """As for a user outside auditd's log_group."""
    require("setpriv", "util-linux")
    path = tmp_path / "audit.log"
    path.write_bytes(b"")
    path.chmod(0o600)
    os.chown(path, 65534, 65534)
    script = """
        import sys
        from pathlib import Path
        from probes.audit.auditd import AuditdCollector
        from probes.audit.collector import CollectorUnavailableError
        try:
            AuditdCollector(Path(sys.argv[1]))
        except CollectorUnavailableError as refusal:
            print(refusal)
        """
    finished = subprocess.run(
        [
            *("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
            *(sys.executable, "-c", textwrap.dedent(script), str(path)),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.stdout.startswith(f"The audit log {path} cannot be read (Permission denied):")


@contextlib.contextmanager
def daemon(directory: Path, log_format: str, megabytes: int = 1) -> Iterator[Auditd]:
    """A running auditd of our own, which rotates a log of that size."""
    executable = require("/usr/sbin/auditd", "auditd")
    require("timeout", "coreutils")
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(
                running(
                    *(executable, directory / "auditd", log_format), megabytes=megabytes, alone=True
                )
            )
        except AuditdBusyError as busy:
            pytest.skip(f"needs the kernel's audit stream for itself: {busy}")
        yield started


def searched(tool: str, path: Path, *options: str) -> list[str]:
    """What ausearch lists of a log."""
    command = [tool, "-if", str(path), "-m", "SECCOMP", *options]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return finished.stdout.removesuffix("\n").split("\n")  # 0x1d ends a line for splitlines


@needs_root
@pytest.mark.parametrize("log_format", ["RAW", "ENRICHED"])
def test_ausearch_lists_the_same_records(emitter: Emitter, tmp_path: Path, log_format: str) -> None:
    """Over a rotation, on the very same files."""
    ausearch = require("ausearch", "auditd")
    with daemon(tmp_path, log_format, megabytes=100) as auditd:
        with contextlib.closing(AuditdCollector(auditd.log)) as collector:
            before = settle(collector, emitter)
            kill, log, denied, odd, end = (
                *(nonce(letter) for letter in "kle"),
                'a "b"',
                nonce("z"),
            )
            killed = emitter.emit(kill, KILL_PROCESS)
            emitter.emit(odd)
            auditd.rotate()
            logged = emitter.emit(log)
            emitter.emit(denied, ERRNO_EPERM)
            emitter.emit(end)
            batch = collector.read_until(end, PATIENCE)
        files = [Path(f"{auditd.log}.1"), auditd.log]
        listed = [text for file in files for text in searched(ausearch, file, "--raw")]
        interpreted = [text for file in files for text in searched(ausearch, file, "-i")]

    assert batch.complete, batch.reason
    assert {record.raw for record in batch.records} <= set(listed)
    end_serial = batch.records[-1].serial
    # ausearch sorts by number; it lists what came before and after the batch as well.
    between = [text for text in listed if before.serial < (kernel_serial(text) or 0) <= end_serial]
    assert set(between) <= {record.raw for record in batch.records}
    assert len(set(listed)) == len(listed)
    found = {record.comm: record for record in batch.records}
    assert (found[kill].signal, found[kill].code) == (31, 0x80000000)
    assert (found[kill].pid, found[log].pid) == (killed.pid, logged.pid)
    assert (found[log].signal, found[log].code) == (0, 0x7FFC0000)
    assert (found[log].arch, found[log].syscall) == (emitter.arch, emitter.getppid)
    assert denied not in found
    for comm, action in ((kill, "kill"), (odd, "log"), (log, "log")):
        (text,) = [text for text in interpreted if f" pid={found[comm].pid} " in text]
        assert f" comm={comm} " in text
        assert " syscall=getppid " in text
        assert f" code={action}" in text  # kill or kill-process, by ausearch's version
    assert ("\x1d" in found[kill].raw) == (log_format == "ENRICHED")


@needs_root
def test_a_flood_over_auditds_own_rotations(emitter: Emitter, tmp_path: Path) -> None:
    """Several logs of 1 MB while the collector reads, from four processes at once."""
    workers, end = [nonce("w") for _ in range(4)], nonce("z")
    flood = " & ".join(shlex.join(emitter.command(name, count=3000)) for name in workers)
    script = f"{flood} & wait; exec {shlex.join(emitter.command(end))}"
    with (
        daemon(tmp_path, "RAW") as auditd,
        contextlib.closing(AuditdCollector(auditd.log)) as collector,
    ):
        settle(collector, emitter)
        with subprocess.Popen(["sh", "-c", script]) as shell:
            batch = collector.read_until(end, 60)
        assert Path(f"{auditd.log}.2").exists()
    assert shell.returncode == 0
    assert batch.complete, batch.reason
    counts = Counter(record.comm for record in batch.records)
    assert [counts[name] for name in workers] == [3000] * 4


@needs_root
def test_what_a_stalled_auditd_loses_is_noticed(emitter: Emitter, tmp_path: Path) -> None:
    """The kernel drops records without counting them: only the serial numbers tell."""
    with (
        daemon(tmp_path, "RAW") as auditd,
        contextlib.closing(AuditdCollector(auditd.log)) as collector,
        contextlib.closing(NetlinkCollector()) as witness,
    ):
        settle(collector, emitter)
        sent: set[int] = set()
        with auditd.stalled():
            # Until auditd's socket takes no more, and what waits for another try is given up.
            full = 0
            while full < 2:
                filled = waiting(auditd.pid)
                end = nonce("f")
                emitter.emit(nonce("g"), count=20)
                emitter.emit(end)
                batch = witness.read_until(end, PATIENCE)
                assert batch.records[-1].comm == end
                sent.update(record.serial for record in batch.records)
                full += waiting(auditd.pid) == filled
        end = nonce("z")
        emitter.emit(end)
        stalled = collector.read_until(end, PATIENCE)
        settle(collector, emitter)
    assert sent - {record.serial for record in stalled.records}
    assert not stalled.complete
    assert "never reached auditd:" in stalled.reason or "The kernel lost" in stalled.reason


def waiting(pid: int) -> int:
    """Bytes that wait in auditd's audit socket."""
    table = Path("/proc/net/netlink").read_text(encoding="ascii").splitlines()
    column = table[0].split().index("Rmem")
    rows = [row.split() for row in table[1:]]
    (found,) = [int(row[column]) for row in rows if row[1:3] == ["9", str(pid)]]
    return found


@needs_root
def test_a_second_auditd_is_not_started(tmp_path: Path) -> None:
    """The helper leaves one alone that takes the records already."""
    require("timeout", "coreutils")
    with daemon(tmp_path, "RAW") as auditd:
        assert the_status().pid == auditd.pid
        with pytest.raises(AuditdBusyError, match=f"as process {auditd.pid}$"):
            refuse_if_busy(the_status())
        assert the_status().pid == auditd.pid
    assert the_status().pid == 0
