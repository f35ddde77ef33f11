"""The kernel's log as a source of records: what its device gives, and how little it takes."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.audit.collector import CollectorUnavailableError
from probes.audit.kmsg import KMSG, KmsgCollector

RECORD = (
    "5,{place},5816340629,-;audit: type=1326 audit(1795550115.509:{serial}): auid=4294967295 uid=0"
    ' gid=0 ses=4294967295 pid=16832 comm="{comm}" exe="/usr/bin/python3.11" sig=31 arch=c000003e'
    " syscall=163 compat=0 ip=0x7fc9a051f829 code=0x80000000\n"
)
"""As a 6.18 kernel wrote it, with other numbers and names."""


class Device:
    """Something of which each read gives one record, as of /dev/kmsg."""

    def __init__(self, place: Path) -> None:
        (place / "proc/sys/kernel").mkdir(parents=True)
        (place / "proc/sys/kernel/printk_ratelimit").write_text("5\n")
        (place / "proc/sys/kernel/printk_ratelimit_burst").write_text("10\n")
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)  # noqa: FBT003 - socket's own signature
        self.slept: list[float] = []
        self.root = place

    def write(self, text: str) -> None:
        """Adds a record."""
        self.ours.send(text.encode())

    def collector(self, monkeypatch: pytest.MonkeyPatch) -> KmsgCollector:
        """A collector that reads it."""
        kept = os.dup(self.theirs.fileno())
        with monkeypatch.context() as patch:
            patch.setattr("probes.audit.kmsg.os.open", lambda *_: kept)
            return KmsgCollector(root=self.root, sleep=self.slept.append)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.ours.close()
    made.theirs.close()


def record(comm: str, serial: int) -> str:
    return RECORD.format(comm=comm, serial=serial, place=serial)


def test_records_among_other_messages(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = device.collector(monkeypatch)
    device.write(record("first", 1))
    assert not collector.read_until("first", 1).complete  # nothing shows what came before it
    device.write("6,7,100,-;some driver: type=1326 audit(1.000:2): no record\n SUBSYSTEM=pci\n")
    device.write("4,8,100,-;audit_printk_skb: 3 callbacks suppressed\n")
    device.write("5,9,100,-;audit: type=1300 audit(1795550115.600:2): arch=c000003e syscall=59\n")
    device.write(record("ours", 3))
    device.write(record("last", 4))

    batch = collector.read_until("last", 1)

    assert [one.comm for one in batch.records] == ["ours", "last"]
    assert batch.complete, batch.reason
    assert (batch.records[0].syscall, batch.records[0].code) == (163, 0x80000000)
    collector.close()
    collector.close()


def test_what_a_process_wrote_there_is_no_record(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = device.collector(monkeypatch)
    device.write(record("first", 1))
    collector.read_until("first", 1)
    # A 6.18 kernel made 13 of <5> in what root wrote to the device.
    device.write(record("forged", 2).replace("5,", "13,", 1))
    device.write(record("last", 2))

    batch = collector.read_until("last", 1)

    assert [one.comm for one in batch.records] == ["last"]
    assert batch.complete, batch.reason
    collector.close()


@pytest.mark.root("writes to the kernel's log")
def test_the_kernel_marks_what_a_process_writes() -> None:
    """It does so whatever the process says itself."""
    text = f"audit: a text of process {os.getpid()}"
    reader = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(reader, 0, os.SEEK_END)
        for level in ("<5>", ""):
            KMSG.write_text(f"{level}{text}\n", encoding="ascii")
        with contextlib.suppress(BlockingIOError):
            found: list[str] = []
            while len(found) < 2:
                line = os.read(reader, 8192).decode("utf-8", "replace")
                found += [line] if text in line else []
    finally:
        os.close(reader)
    assert [int(line.split(",")[0]) >> 3 for line in found] == [1, 1]


def test_what_the_rate_limit_left_out_is_noticed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = device.collector(monkeypatch)
    device.write(record("first", 1))
    collector.read_until("first", 1)
    device.write(record("last", 4))

    batch = collector.read_until("last", 0.1)

    assert not batch.complete
    assert "2 audit event(s)" in batch.reason
    collector.close()


def test_it_leaves_the_kernel_time_for_each_record(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten in five seconds, and half of them for others."""
    collector = device.collector(monkeypatch)
    for serial, comm in enumerate(("one", "two", "last"), 1):
        device.write(record(comm, serial))

    collector.read_until("last", 1)

    assert device.slept == [3.0]
    collector.close()


def test_a_driver_that_writes_without_end_does_not_hold_it_up(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = device.collector(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("probes.audit.kmsg.os.read", lambda *_: b"6,7,100,-;some driver: again\n")
        batch = collector.read_until("last", 0.1)

    assert batch.overdue
    collector.close()


def test_a_log_that_can_be_read_no_longer_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a device that is gone, which is made up here."""
    collector = device.collector(monkeypatch)

    def failing(*_: object) -> bytes:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    with monkeypatch.context() as patch:
        patch.setattr("probes.audit.kmsg.os.read", failing)
        batch = collector.read_until("last", 0.1)

    assert batch.reason == "The kernel's log can be read no longer (No such device)."
    collector.close()


def test_a_log_that_may_not_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CollectorUnavailableError, match=r"kmsg cannot be read .* CAP_SYSLOG"):
        KmsgCollector(tmp_path / "kmsg")


@pytest.mark.root("reads the kernel's log")
def test_the_device_itself_opens_at_its_end() -> None:
    if not Path("/dev/kmsg").exists():
        pytest.skip("there is no /dev/kmsg here")
    collector = KmsgCollector(sleep=lambda _: None)

    batch = collector.read_until("nobody is called so", 0.05)

    assert not batch.complete
    assert batch.reason
    collector.close()
