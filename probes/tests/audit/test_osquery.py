"""The osquery collector reads what osquery wrote, and knows when something may be missing."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.audit.collector import Batch, CollectorUnavailableError
from probes.audit.control import AuditControl, AuditStatus
from probes.audit.log_file import LogFile
from probes.audit.osquery import OsqueryCollector
from probes.audit.record import parse
from probes.errors import ExitStatus
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.osquery_log import ResultsLog, Row, fields_of, row_of

PATIENCE = 5.0


@pytest.fixture(autouse=True)
def status(monkeypatch: pytest.MonkeyPatch) -> list[AuditStatus]:
    """What the kernel answers about its audit: the last of these."""
    answers = [AuditStatus(1, 1, 7, 0, 64, 0, 0)]
    monkeypatch.setattr(AuditControl, "status", lambda _: answers[-1])
    return answers


@pytest.fixture(params=["events", "batches"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> ResultsLog:
    """A log with a record in it."""
    made = ResultsLog(tmp_path / "osqueryd.results.log", batched=request.param == "batches")
    made.write([named("old")])
    return made


@pytest.fixture
def collector(log: ResultsLog) -> Iterator[OsqueryCollector]:
    """A collector on that log."""
    with contextlib.closing(OsqueryCollector(log.path, patience=0)) as opened:
        yield opened


def named(comm: str) -> Row:
    """A real record's row, by another process."""
    text = TEXTS[0]
    return row_of(text.replace(f"comm={fields_of(text)['comm']}", f'comm="{comm}"'))


def names(batch: Batch) -> list[str]:
    """The processes' names."""
    return [record.comm for record in batch.records]


def test_it_begins_at_the_end(log: ResultsLog, collector: OsqueryCollector) -> None:
    log.write([named("a"), named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert (names(batch), batch.complete, batch.reason) == (["a", "s"], True, "")
    assert collector.name == f"osquery:{log.path}"


def test_all_records_of_real_kernels_arrive(log: ResultsLog, collector: OsqueryCollector) -> None:
    log.write(map(row_of, TEXTS))
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert batch.complete
    *found, _ = batch.records
    expected = [parse(text) for text in TEXTS]
    assert [(one.pid, one.comm, one.signal, one.arch, one.syscall, one.code) for one in found] == [
        (one.pid, one.comm, one.signal, one.arch, one.syscall, one.code)
        for one in expected
        if one is not None
    ]


def test_an_empty_log_is_followed_from_its_first_line(tmp_path: Path) -> None:
    log = ResultsLog(tmp_path / "new.log")
    log.path.touch()
    with contextlib.closing(OsqueryCollector(log.path, patience=0)) as collector:
        log.write([named("a"), named("s")])
        batch = collector.read_until("s", PATIENCE)

    assert (names(batch), batch.complete) == (["a", "s"], True)


def test_a_record_after_the_sentinel_in_its_set_is_not_missing(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """Rows of one run of the query may stand in any order."""
    log.write([named("s"), named("late")])

    batch = collector.read_until("s", PATIENCE)

    assert (names(batch), batch.complete) == (["s", "late"], True)


def test_a_set_that_is_still_written_is_read_whole(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """In the form of events its rows are written one after the other."""
    first, *_ = log.lines([named("s"), named("late")])
    log.counter -= 1
    with log.path.open("a", encoding="utf-8") as held:
        held.write(first + "\n")
    later = threading.Timer(0.05, lambda: log.write([named("late")]))
    later.start()

    batch = collector.read_until("s", PATIENCE)

    later.join()
    assert "late" in names(batch)


def test_two_queries_of_the_table_count_for_themselves(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """One of the user's own and one of a pack give every record twice."""
    other = ResultsLog(log.path, query="pack_incident_seccomp", counter=40)
    other.write([named("a"), named("s")])
    log.write([named("a"), named("s")])
    other.write([named("t")])
    log.write([named("t")])

    batch = collector.read_until("s", PATIENCE)

    assert batch.complete, batch.reason
    assert names(batch).count("a") == 2


def test_results_that_come_later_are_waited_for(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """A sentinel comes with the next run of the query, once an interval."""
    later = threading.Timer(0.4, lambda: log.write([named("a"), named("s")]))
    later.start()

    batch = collector.read_until("s", PATIENCE)

    later.join()
    assert (names(batch), batch.complete) == (["a", "s"], True)


def test_it_waits_longer_than_for_other_sources(log: ResultsLog) -> None:
    with contextlib.closing(OsqueryCollector(log.path, patience=0.5)) as collector:
        begun = time.monotonic()
        batch = collector.read_until("s", 0.01)

    assert time.monotonic() - begun >= 0.5
    assert not batch.complete


def test_other_queries_of_the_schedule_are_left_alone(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """Their results have numbers of their own, and may be damaged in their own ways."""
    other = ResultsLog(log.path, query="processes", counter=40)
    other.write([{"pid": "1", "name": "init"}])
    log.write([named("s")])
    other.counter = 90
    other.write([{"pid": "1", "name": "init"}])

    assert collector.read_until("s", PATIENCE).complete


@pytest.mark.parametrize("before", [0, 1])
def test_one_rotation_between_two_reads(
    log: ResultsLog, collector: OsqueryCollector, before: int
) -> None:
    log.write([named(f"n{one}") for one in range(before)])
    log.rotate()
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert names(batch) == [*(f"n{one}" for one in range(before)), "s"]
    assert batch.complete, batch.reason


def test_results_in_a_log_that_was_compressed_are_missed(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """Of two rotations between two reads the older log is no file of lines any more."""
    log.write([named("a")])
    log.rotate()
    log.write([named("b")])
    log.rotate()
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert not batch.complete
    assert "is not among its rotated ones" in batch.reason
    assert "--logger_rotate_size" in batch.reason
    log.write([named("t")])
    assert collector.read_until("t", PATIENCE).complete


def test_truncation_is_told(log: ResultsLog, collector: OsqueryCollector) -> None:
    log.path.write_bytes(b"")
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert "was truncated or overwritten" in batch.reason


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing", "nothing"])
def test_a_log_that_something_else_replaces_is_silent(
    log: ResultsLog, collector: OsqueryCollector, kind: str
) -> None:
    """It is waited for until the deadline, and not opened: a pipe would never answer."""
    log.path.unlink()
    if kind == "pipe":
        os.mkfifo(log.path)
    if kind == "folder":
        log.path.mkdir()
    if kind == "link to nothing":
        log.path.symlink_to("nowhere")

    batch = collector.read_until("s", 0.3)

    assert not batch.complete
    assert batch.overdue
    assert batch.reason


def test_a_log_without_permission_to_its_successor_is_told(
    log: ResultsLog, collector: OsqueryCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all, so the refusal is made up."""
    log.rotate()
    log.write([named("s")])

    def refused(_: Path) -> LogFile:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(LogFile, "open", refused)
    batch = collector.read_until("s", 1.5)

    assert not batch.complete
    assert "the new one cannot be read (Permission denied)" in batch.reason


def test_two_collectors_read_one_log(log: ResultsLog, collector: OsqueryCollector) -> None:
    """Two runs at once: each finds its own sentinel, and the other's records harm nobody."""
    with contextlib.closing(OsqueryCollector(log.path, patience=0)) as other:
        log.write([named("mine"), named("yours")])
        log.write([named("s"), named("t")])
        first, second = collector.read_until("s", PATIENCE), other.read_until("t", PATIENCE)

    assert first.complete
    assert second.complete
    assert set(names(first)) & set(names(second)) >= {"mine", "yours"}


def test_a_set_of_results_that_is_not_there_is_missed(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """As after a full disk: osquery counts the sets of each query."""
    log.counter += 2
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert not batch.complete
    assert batch.reason == (
        f"2 set(s) of results of osquery's query 'seccomp' never reached {log.path}."
    )
    log.write([named("t")])
    assert collector.read_until("t", PATIENCE).complete


def test_osquery_that_counts_anew_was_restarted(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    log.write([named("a")])
    log.counter = 1
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert not batch.complete
    assert "began to count the results of 'seccomp' anew" in batch.reason


def test_osquery_that_counts_for_something_else_was_restarted(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    """Another epoch, by which it drops what it knew, and so what it did not write yet."""
    log.write([named("a")])
    log.epoch = 1_700_000_000
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert not batch.complete
    assert "began to count the results of 'seccomp' anew" in batch.reason
    log.write([named("t")])
    assert collector.read_until("t", PATIENCE).complete


def test_once_a_sentinel_was_waited_for_in_vain_it_waits_less(log: ResultsLog) -> None:
    """Or else each of three would cost its whole patience."""
    with contextlib.closing(OsqueryCollector(log.path, patience=1)) as collector:
        reasons = [collector.read_until("s", 0.01).reason for _ in range(3)]

    assert ["within 1 s" in reason for reason in reasons] == [True, False, False]
    assert ["within 0.2 s" in reason for reason in reasons] == [False, True, True]


@pytest.mark.parametrize(("pid", "whom"), [(9, "9"), (0, "nobody")])
def test_another_taker_of_the_records_is_told(
    log: ResultsLog, collector: OsqueryCollector, status: list[AuditStatus], pid: int, whom: str
) -> None:
    """Even with a database that keeps counting, records of the time between are lost."""
    status.append(AuditStatus(1, 1, pid, 0, 64, 0, 0))
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert not batch.complete
    assert f"to process 7 and hands them to {whom} now" in batch.reason
    log.write([named("t")])
    assert collector.read_until("t", PATIENCE).complete


def test_the_kernels_losses_are_told(
    log: ResultsLog, collector: OsqueryCollector, status: list[AuditStatus]
) -> None:
    status.append(AuditStatus(1, 1, 7, 0, 64, 5, 0))
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert batch.reason.startswith("The kernel lost 5 audit record(s)")


def test_a_torn_line_is_read_whole(log: ResultsLog, collector: OsqueryCollector) -> None:
    (line,) = log.lines([named("s")])
    with log.path.open("a", encoding="utf-8") as held:
        held.write(line[:70])
        held.flush()
        assert names(collector.read_until("s", 0)) == []
        held.write(line[70:] + "\n")

    batch = collector.read_until("s", PATIENCE)

    assert (names(batch), batch.complete) == (["s"], True)


def test_a_damaged_line_is_told(log: ResultsLog, collector: OsqueryCollector) -> None:
    (line,) = log.lines([named("a")])
    with log.path.open("a", encoding="utf-8") as held:
        held.write(line[:70] + "\n")
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert batch.reason.startswith("This line is no result of osquery")


def test_a_log_of_snapshots_is_refused(tmp_path: Path) -> None:
    log = ResultsLog(tmp_path / "osqueryd.snapshots.log")
    log.snapshot([named("old")])

    with pytest.raises(CollectorUnavailableError) as caught:
        OsqueryCollector(log.path)

    said = str(caught.value)
    assert said.startswith(f"{log.path} has snapshots")
    assert "osqueryd.results.log" in said
    assert len(said.splitlines()) == 1
    assert caught.value.exit_status is ExitStatus.CANNOT_TELL


def test_a_snapshot_among_the_results_is_told(log: ResultsLog, collector: OsqueryCollector) -> None:
    """It repeats what was there before: no record in it is one of now."""
    log.snapshot([named("again")])
    log.write([named("s")])

    batch = collector.read_until("s", PATIENCE)

    assert names(batch) == ["s"]
    assert "has snapshots" in batch.reason


def test_a_query_without_the_name_is_told(log: ResultsLog, collector: OsqueryCollector) -> None:
    log.write([{name: value for name, value in named("s").items() if name != "comm"}])

    batch = collector.read_until("s", 0.3)

    assert not batch.complete
    assert "gives no comm: schedule 'SELECT * FROM seccomp_events'" in batch.reason


@pytest.mark.parametrize(
    ("pid", "words"),
    [(0, "no osqueryd takes records"), (7, "may lack 'SELECT * FROM seccomp_events'")],
)
def test_silence(
    log: ResultsLog, status: list[AuditStatus], tmp_path: Path, pid: int, words: str
) -> None:
    """The kernel knows who takes its records; what that writes it does not."""
    status.append(AuditStatus(1, 1, pid, 0, 64, 0, 0))
    opened = OsqueryCollector(log.path, root=tmp_path, patience=0)
    with contextlib.closing(opened) as collector:
        assert words in collector.read_until("s", 0).reason


def test_silence_after_some_records_is_another(
    log: ResultsLog, collector: OsqueryCollector
) -> None:
    log.write([named("s")])
    assert collector.read_until("s", PATIENCE).complete

    silent = collector.read_until("t", 0)
    log.write([named("other")])
    waiting = collector.read_until("t", 0)

    assert "though earlier ones did" in silent.reason
    assert (silent.overdue, silent.silent) == (True, True)
    assert "though 1 other SECCOMP record(s) did" in waiting.reason
    assert (waiting.overdue, waiting.silent) == (True, False)


@pytest.mark.slow
def test_a_flood_of_others_is_read_in_time(log: ResultsLog, collector: OsqueryCollector) -> None:
    """Some 5,000 records a second, for the two seconds in which results settle."""
    log.write([named(f"n{one}") for one in range(10_000)])
    log.write([named("s")])

    begun = time.monotonic()
    batch = collector.read_until("s", PATIENCE)

    assert batch.complete, batch.reason
    assert len(batch.records) == 10_001
    assert time.monotonic() - begun < PATIENCE
