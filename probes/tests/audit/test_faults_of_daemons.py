"""What befalls the programs between the kernel and a collector makes no verdict wrong.

The programs are the real ones, and so are the records, which a filter with planted mistakes leaves.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from probes.audit import collector, trail
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Collector
from probes.audit.journald import COMMAND, JournalCollector
from probes.audit.kmsg import KmsgCollector
from probes.audit.netlink import NetlinkCollector
from probes.audit.source import SourceKind
from probes.errors import ExitStatus
from probes.instrument.calls import Zygote
from probes.tests.support import auditd_daemon, journald_daemon, planted, small_disk
from probes.tests.support.auditd_daemon import Auditd, the_status
from probes.tests.support.emitter import (
    KILL_PROCESS,
    LOG,
    Emitter,
    lone_auditd,
    lone_reader,
    needs_root,
    sharing_records,
    wait_for,
)
from probes.tests.support.fault_matrix import Matrix
from probes.tests.support.fed_sources import SOURCES
from probes.tests.support.journald_daemon import DAEMON, Journald
from probes.tests.support.oracles import require
from probes.tests.support.planted import MOMENTS, Moment
from probes.tests.support.record_replay import replayed
from reports.tests.support import job

pytestmark = [needs_root, pytest.mark.slow]

PRINT_LIMIT = Path("/proc/sys/kernel/printk_ratelimit")
DEADLINE = 1.5
EVERY = tuple(dict.fromkeys((SourceKind.NETLINK, SourceKind.JOURNAL, *SOURCES)))
FLOOD = 5000
"""Records of others a second."""


@pytest.fixture(autouse=True)
def deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter ones: none of them is what is tested."""
    monkeypatch.setattr(trail, "RECORD_DEADLINE_SECONDS", DEADLINE)
    monkeypatch.setattr(trail, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(collector, "_GRACE", 0.3)


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    made = Matrix()
    yield made
    made.show()


@contextlib.contextmanager
def journald(folder: Path, settings: str = "") -> Iterator[Journald]:
    """A journald, which lives for no more than two minutes."""
    require(DAEMON, "systemd")
    home = folder / "journald"
    home.mkdir()
    with journald_daemon.running(home, require("journalctl", "systemd"), settings) as daemon:
        yield daemon


def journal_of(daemon: Journald) -> Callable[[], Collector]:
    """Opens the journal of a daemon."""
    return lambda: JournalCollector((str(daemon.path / "journalctl"), *COMMAND[1:]))


@contextlib.contextmanager
def source_of(kind: SourceKind, folder: Path) -> Iterator[Callable[[], Collector]]:
    """What opens a collector of the kind, whose records come from the kernel meanwhile."""
    if kind is SourceKind.NETLINK:
        yield NetlinkCollector
    elif kind is SourceKind.KMSG:
        # It waits for the kernel's rate limit between two reads, which is not what is tested.
        yield lambda: KmsgCollector(sleep=lambda _: None)
    elif kind is SourceKind.JOURNAL:
        with journald(folder) as daemon:
            yield journal_of(daemon)
    else:
        with contextlib.closing(SOURCES[kind](folder / "log")) as fed, replayed(fed.write, 0.01):
            yield fed.opened


# Others' records.


@contextlib.contextmanager
def reading(kind: SourceKind, *, alone: bool) -> Iterator[None]:
    """Holds the locks under which a source can be read.

    The kernel's own log gets no record while any auditd runs, and few from all processes together.
    """
    with contextlib.ExitStack() as stack:
        if kind is SourceKind.KMSG:
            stack.enter_context(lone_auditd())
        is_alone = alone or kind is SourceKind.KMSG
        stack.enter_context(lone_reader() if is_alone else sharing_records())
        yield


@contextlib.contextmanager
def printing_all(kind: SourceKind) -> Iterator[None]:
    """Has the kernel's log limited no more, which any other test's records would use up."""
    before = PRINT_LIMIT.read_text(encoding="ascii")
    if kind is SourceKind.KMSG:
        PRINT_LIMIT.write_text("0", encoding="ascii")
    try:
        yield
    finally:
        PRINT_LIMIT.write_text(before, encoding="ascii")


@contextlib.contextmanager
def flooded(emitter: Emitter) -> Iterator[str]:
    """Has others' records written all the time, and gives the name of whose they are."""
    name = f"f{uuid.uuid4().hex[:12]}"
    burst = 250
    program = subprocess.list2cmdline(emitter.command(name, count=burst))
    script = f"while :; do {program}; sleep {burst / FLOOD - 0.012}; done"
    with subprocess.Popen(["timeout", "60", "sh", "-c", script]) as process:
        try:
            yield name
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", EVERY)
def test_a_flood_of_others_records(
    kind: SourceKind, emitter: Emitter, zygote: Zygote, matrix: Matrix, tmp_path: Path
) -> None:
    with (
        reading(kind, alone=True),
        source_of(kind, tmp_path) as opened,
        contextlib.closing(opened()) as calm,
    ):
        with printing_all(kind):
            planted.settled(zygote, calm)
        with flooded(emitter):
            before, begun = serial_now(emitter), time.monotonic()
            judged = planted.examined(zygote, calm)
            rate = (serial_now(emitter) - before) / (time.monotonic() - begun)
    matrix.note(f"flooded with {FLOOD}/s", kind, judged, remark=f"{rate:.0f}/s")
    assert planted.errors(judged.cells) == []
    assert judged.waited < 2 * DEADLINE + 1


def serial_now(emitter: Emitter) -> int:
    """The number of an event that is written now."""
    with contextlib.closing(NetlinkCollector()) as reader:
        name = f"n{uuid.uuid4().hex[:12]}"
        emitter.emit(name)
        return reader.read_until(name, 20).records[-1].serial


@pytest.mark.parametrize("kind", [one for one in EVERY if one is not SourceKind.KMSG])
def test_two_runs_at_once(kind: SourceKind, zygote: Zygote, matrix: Matrix, tmp_path: Path) -> None:
    """Only the kernel's log is for one: each would have to leave it time for the other's."""
    with (
        sharing_records(),
        source_of(kind, tmp_path) as opened,
        Zygote() as second,
        ThreadPoolExecutor() as pool,
    ):
        both = list(pool.map(lambda one: planted.judged(one, opened), (zygote, second)))
    for judged in both:
        matrix.note("two runs at once", kind, judged)
        assert planted.errors(judged.cells) == []


@pytest.mark.parametrize("kind", EVERY)
def test_names_and_records_of_other_processes(
    kind: SourceKind, emitter: Emitter, zygote: Zygote, matrix: Matrix, tmp_path: Path
) -> None:
    """Empty names, names in hexadecimal, and processes that take a probe's own name."""

    def others() -> None:
        emitter.emit("")
        emitter.emit('a "b\\"')
        mine = f"{zygote._run}-{int(zygote.nonce().rpartition('-')[2], 16) - 1:x}"
        for name in (planted.RIGHT, planted.OPENED, planted.OTHERWISE):
            for action in (KILL_PROCESS, LOG):
                number = planted.NATIVE.numbers[name]
                command = emitter.command(mine, action, number=number)
                subprocess.run(command, timeout=10, check=False)

    with (
        reading(kind, alone=False),
        printing_all(kind),
        source_of(kind, tmp_path) as opened,
        contextlib.closing(opened()) as reader,
    ):
        planted.settled(zygote, reader)
        judged = planted.examined(zygote, reader, fault=others, each=True)
    matrix.note("others by the same name", kind, judged)
    assert planted.errors(judged.cells) == []


# journald.


def rotates(daemon: Journald) -> None:
    os.kill(daemon.pid, signal.SIGUSR2)


def vacuums(daemon: Journald) -> None:
    rotates(daemon)
    tool = str(daemon.path / "journalctl")
    subprocess.run([tool, "--vacuum-size=1", "--vacuum-files=1"], timeout=20, check=True)


def restarts(daemon: Journald) -> None:
    """By a new one in the same place, as its service manager does without its sockets."""
    privileges = "--bounding-set=-audit_control,-sys_boot,-sys_time"
    script = (
        f"kill {daemon.pid}; while kill -0 {daemon.pid} 2>&-; do sleep 0.01; done; exec {DAEMON}"
    )
    place = ("nsenter", f"--target={daemon.pid}", "--mount", "--")
    words = ("setpriv", privileges, "timeout", "--kill-after=5", "30", "sh", "-c", script)
    SUCCESSORS.append(subprocess.Popen([*place, *words]))
    wait_for(lambda: not Path(f"/proc/{daemon.pid}").exists(), "journald did not end")


def stops(daemon: Journald) -> None:
    daemon.stop()


SUCCESSORS: list[subprocess.Popen[bytes]] = []


@pytest.fixture
def successors() -> Iterator[None]:
    """Ends journalds that were started in the course of a test."""
    yield
    while SUCCESSORS:
        process = SUCCESSORS.pop()
        process.terminate()
        process.wait(20)


@pytest.mark.usefixtures("successors")
@pytest.mark.parametrize(
    "befall", [rotates, vacuums, restarts, stops], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_becomes_of_journald(
    befall: Callable[[Journald], None],
    moment: Moment,
    zygote: Zygote,
    matrix: Matrix,
    tmp_path: Path,
) -> None:
    with sharing_records(), journald(tmp_path) as daemon:
        judged = planted.judged(
            zygote, journal_of(daemon), fault=lambda: befall(daemon), at=MOMENTS[moment]
        )
    matrix.note(f"it {befall.__name__}", SourceKind.JOURNAL, judged)
    assert planted.errors(judged.cells) == []
    assert judged.waited < 2 * DEADLINE + 1


def test_journalds_rate_limit_is_not_for_the_kernels_audit(
    emitter: Emitter, zygote: Zygote, matrix: Matrix, tmp_path: Path
) -> None:
    """It is for what a service says, and these messages are of none."""
    limit = "RateLimitIntervalSec=60s\nRateLimitBurst=3"
    with sharing_records(), journald(tmp_path, limit) as daemon:
        judged = planted.judged(
            zygote,
            journal_of(daemon),
            fault=partial(emitter.emit, "many", count=200),
            at=MOMENTS[Moment.NEEDED],
        )
    matrix.note("journald limits the rate", SourceKind.JOURNAL, judged)
    assert {name: cell.outcome for name, cell in judged.cells.items()} == planted.EXPECTED


# auditd, on a disk of its own.


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system."""
    with small_disk.mounted(tmp_path_factory.mktemp("auditd") / "disk", "2m") as place:
        yield place


@contextlib.contextmanager
def auditd_on(disk: Path) -> Iterator[Auditd]:
    """An auditd that writes to the disk."""
    executable = require("/usr/sbin/auditd", "auditd")
    with (
        lone_reader(),
        auditd_daemon.running(executable, disk / uuid.uuid4().hex, "RAW", megabytes=8) as daemon,
    ):
        yield daemon


def is_ended(daemon: Auditd) -> None:
    assert daemon.pid
    os.kill(the_status().pid, signal.SIGTERM)
    wait_for(lambda: the_status().pid == 0, "auditd did not end")


def is_started_again(daemon: Auditd) -> None:
    is_ended(daemon)
    words = ("timeout", "--kill-after=5", "30", "auditd", "-n", "-c", str(daemon.log.parent))
    SUCCESSORS.append(subprocess.Popen([*words, "-s", "nochange"]))
    wait_for(lambda: the_status().pid != 0, "auditd did not start again")


def is_told_to_rotate(daemon: Auditd) -> None:
    daemon.rotate()


def is_told_to_read_its_configuration(daemon: Auditd) -> None:
    os.kill(daemon.pid, signal.SIGHUP)


def finds_its_disk_full(daemon: Auditd) -> None:
    small_disk.fill(daemon.log)


def finds_it_full_for_a_while(daemon: Auditd) -> None:
    ballast = small_disk.fill(daemon.log)
    SUCCESSORS.append(subprocess.Popen(["sh", "-c", f"sleep 0.4; rm {ballast}"]))


def log_is_emptied(daemon: Auditd) -> None:
    os.truncate(daemon.log, 0)


def log_is_deleted(daemon: Auditd) -> None:
    daemon.log.unlink()


def log_is_made_a_pipe(daemon: Auditd) -> None:
    daemon.log.unlink()
    os.mkfifo(daemon.log)


AUDITD_FAULTS = (
    *(is_told_to_rotate, is_told_to_read_its_configuration, log_is_emptied, log_is_deleted),
    *(log_is_made_a_pipe, finds_it_full_for_a_while, finds_its_disk_full),
    *(is_started_again, is_ended),
)


@pytest.mark.usefixtures("successors")
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_becomes_of_auditd(moment: Moment, disk: Path, zygote: Zygote, matrix: Matrix) -> None:
    """One after the other with the same daemon; each rotation begins with a sound log."""
    wrong: list[str] = []
    with auditd_on(disk) as daemon:
        for befall in AUDITD_FAULTS:
            judged = planted.judged(
                zygote,
                partial(AuditdCollector, daemon.log),
                fault=partial(befall, daemon),
                at=MOMENTS[moment],
            )
            matrix.note(f"auditd {befall.__name__.replace('_', ' ')}", SourceKind.AUDITD, judged)
            wrong += [f"{befall.__name__}: {one}" for one in planted.errors(judged.cells)]
            if judged.waited > 2 * DEADLINE + 1:
                wrong.append(f"{befall.__name__} cost {judged.waited} s")
            recover(daemon)
    assert wrong == []


def recover(daemon: Auditd) -> None:
    """Gives auditd room and a sound log again."""
    (daemon.log.parent / "ballast").unlink(missing_ok=True)
    if the_status().pid == 0:
        return
    os.kill(the_status().pid, signal.SIGUSR1)
    wait_for(lambda: daemon.log.is_file() and daemon.log.stat().st_size > 0, "auditd begins no log")


# Whole jobs.


@pytest.mark.parametrize("kind", [SourceKind.NETLINK, SourceKind.AUDITD, SourceKind.OSQUERY])
def test_two_main_jobs_at_once(kind: SourceKind, tmp_path: Path) -> None:
    with source_file(kind, tmp_path) as word, ThreadPoolExecutor() as pool:
        both = list(
            pool.map(
                lambda name: job.run(
                    tmp_path / name,
                    *(*job.ALONE, "--arch=x86_64", "-k", "(acct or mount) and not proved"),
                    f"--audit-source={word}",
                ),
                ("one", "two"),
            )
        )
    for ended in both:
        assert ended.status == ExitStatus.CONFORMANT, ended.output
        assert set(ended.outcomes(claim="is recorded")) == {"passed"}
        assert set(ended.outcomes(claim="is silent")) == {"passed"}


@contextlib.contextmanager
def source_file(kind: SourceKind, folder: Path) -> Iterator[str]:
    """The word for a source that writes meanwhile; auditd is the real one."""
    if kind is SourceKind.NETLINK:
        yield str(kind)
    elif kind is SourceKind.AUDITD:
        executable = require("/usr/sbin/auditd", "auditd")
        with auditd_daemon.running(executable, folder / "a", "RAW", megabytes=8) as daemon:
            yield f"{kind}:{daemon.log}"
    else:
        with contextlib.closing(SOURCES[kind](folder / "log")) as fed, replayed(fed.write, 0.05):
            yield f"{kind}:{fed.log}"
