"""Auditbeat's events say what the kernel's records said, and their numbers show what is missing."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from probes.audit.auditbeat import AuditbeatCollector, read_line
from probes.audit.collector import Batch
from probes.audit.control import AuditControl
from probes.audit.record import SeccompRecord, parse
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.osquery_log import fields_of

PATIENCE = 5.0
KILLED = TEXTS[0]


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AuditControl, "status", lambda _: None)


def bare(record: SeccompRecord | None) -> SeccompRecord:
    """A record without what an event spells otherwise."""
    assert record is not None
    return replace(record, timestamp="", raw="")


@pytest.mark.parametrize("original", [False, True], ids=["fields", "original"])
@pytest.mark.parametrize("named", [True, False], ids=["2.x", "1.x"])
def test_every_record_of_real_kernels_comes_back(*, named: bool, original: bool) -> None:
    found = [read_line(event_of(text, named=named, original=original)) for text in TEXTS]

    assert [one.trouble for one in found] == [""] * len(TEXTS)
    assert [bare(one.record) for one in found] == [bare(parse(text)) for text in TEXTS]
    assert [one.serial for one in found] == [bare(parse(text)).serial for text in TEXTS]


def test_a_name_that_libaudit_spells_otherwise_is_known() -> None:
    text = KILLED.replace("arch=c000003e", "arch=40000003").replace("syscall=110", "syscall=283")
    line = event_of(text).replace('"kexec_load"', '"sys_kexec_load"')
    assert '"sys_kexec_load"' in line

    assert bare(read_line(line).record).syscall == 283


@pytest.mark.parametrize("named", [True, False], ids=["2.x", "1.x"])
def test_an_architecture_without_a_name_keeps_its_number(*, named: bool) -> None:
    """Of riscv64 2.x says ``unknown[c00000f3]`` in 2.x."""
    text = KILLED.replace("arch=c000003e", "arch=c00000f3")

    assert bare(read_line(event_of(text, named=named)).record).arch == 0xC00000F3


def test_the_text_counts_where_it_is_there() -> None:
    """Fields that say something else are not believed."""
    document = json.loads(event_of(KILLED, original=True))
    document["auditd"]["data"]["code"] = "0x7ffc0000"

    assert bare(read_line(json.dumps(document)).record).code == 0x80000000


def test_an_event_of_another_type_has_a_number_only() -> None:
    document = json.loads(event_of(KILLED))
    document["auditd"]["message_type"] = "syscall"

    found = read_line(json.dumps(document))

    assert (found.record, found.trouble) == (None, "")
    assert found.serial == bare(parse(KILLED)).serial


@pytest.mark.parametrize("line", ["", '{"file": {"path": "/etc"}, "event": {"module": "fim"}}'])
def test_other_modules_events_are_left_alone(line: str) -> None:
    found = read_line(line)

    assert (found.serial, found.record, found.trouble) == (None, None, "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("auditd", "sequence"), "x"),
        (("auditd", "data"), []),
        (("auditd", "data", "arch"), "vax"),
        (("auditd", "data", "syscall"), "no_such_call"),
        (("auditd", "data", "code"), "KILL"),
        (("auditd", "data", "sig"), "SIGNOTHING"),
        (("process", "pid"), None),
    ],
)
def test_an_event_that_cannot_be_read_is_told(path: tuple[str, ...], value: object) -> None:
    document = json.loads(event_of(KILLED))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value

    assert read_line(json.dumps(document)).trouble.startswith(
        "This event of Auditbeat's is damaged"
    )


@pytest.mark.parametrize("line", ["x", "[]", "3", event_of(KILLED)[:-9], "[" * 100_000])
def test_a_damaged_line_is_told(line: str) -> None:
    assert read_line(line).trouble.startswith("This event of Auditbeat's is damaged")


def line(serial: int, comm: str = "x") -> str:
    """A real record's event, by another process and with another number."""
    text = KILLED.replace(f"comm={fields_of(KILLED)['comm']}", f'comm="{comm}"')
    old = text.partition(":")[2].partition(")")[0]
    return event_of(text.replace(f":{old})", f":{serial})")) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file with an event in it."""
    path = tmp_path / "auditbeat.ndjson"
    path.write_text(line(1, "old"), encoding="utf-8")
    return path


@pytest.fixture
def collector(log: Path) -> Iterator[AuditbeatCollector]:
    with contextlib.closing(AuditbeatCollector(log, patience=0)) as opened:
        yield opened


def add(log: Path, *lines: str) -> None:
    with log.open("a", encoding="utf-8") as held:
        held.write("".join(lines))


def serials(batch: Batch) -> list[int]:
    return [record.serial for record in batch.records]


def test_it_begins_at_the_end(log: Path, collector: AuditbeatCollector) -> None:
    add(log, line(2), line(3, "s"))

    batch = collector.read_until("s", PATIENCE)

    assert (serials(batch), batch.complete, batch.reason) == ([2, 3], True, "")
    assert collector.name == f"auditbeat:{log}"


def test_a_missing_number_is_missed(log: Path, collector: AuditbeatCollector) -> None:
    """A processor that drops events, or Auditbeat's queue, leaves such a gap."""
    add(log, line(5, "s"))

    batch = collector.read_until("s", 0.05)

    assert batch.reason.startswith("3 audit event(s) before the sentinel never reached auditbeat:")


def test_events_in_another_order_are_complete(log: Path, collector: AuditbeatCollector) -> None:
    add(log, line(3, "s"), line(2, "late"))

    batch = collector.read_until("s", PATIENCE)

    assert batch.complete, batch.reason
    assert serials(batch) == [2, 3]


def test_silence(log: Path, tmp_path: Path) -> None:
    opened = AuditbeatCollector(log, root=tmp_path, patience=0)
    with contextlib.closing(opened) as collector:
        batch = collector.read_until("s", 0)

    assert "Auditbeat may have begun another file" in batch.reason


def test_it_waits_longer_than_for_other_sources(log: Path) -> None:
    with contextlib.closing(AuditbeatCollector(log, patience=0.3)) as collector:
        add(log, line(2))
        assert "within 0.3 s" in collector.read_until("s", 0.01).reason
