"""The netlink collector brings what the kernel really sent, and says when something is missing."""

import contextlib
import errno
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from probes.audit.collector import Batch, CollectorUnavailableError
from probes.audit.control import AuditControl
from probes.audit.netlink import NetlinkCollector, why_no_socket, why_unbound
from probes.audit.record import SeccompRecord
from probes.errors import ExitStatus
from probes.files import SUITE
from probes.tests.support.emitter import (
    ERRNO_EPERM,
    KILL_PROCESS,
    LOG,
    Emitter,
    lone_reader,
    needs_root,
    sharing_records,
)
from probes.tests.support.oracles import require

ROOT = SUITE
PATIENCE = 20
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; the module socket has no name for it

WITHOUT_AUDIT = ["setpriv", "--bounding-set=-audit_read,-audit_control", "--inh-caps=-all"]
"""Root, but for the capabilities."""


@pytest.fixture
def collector() -> Iterator[NetlinkCollector]:
    """A collector on this machine's kernel."""
    with sharing_records():
        opened = NetlinkCollector()
        yield opened
        opened.close()


def nonce(letter: str) -> str:
    """A name that no other process has."""
    return letter + uuid.uuid4().hex[:12]


def of(batch: Batch, comm: str) -> list[SeccompRecord]:
    """The batch's records of that name; other tests' records may be among the rest."""
    return [record for record in batch.records if record.comm == comm]


def run_python(wrapper: list[str], script: str, *arguments: str, fds: tuple[int, ...] = ()) -> str:
    """What a script prints in a fresh interpreter under a wrapper."""
    finished = subprocess.run(
        [*wrapper, sys.executable, "-c", textwrap.dedent(script), *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=fds,
    )
    return finished.stdout


@needs_root
def test_actions_leave_the_records_that_seccomp_promises(
    emitter: Emitter, collector: NetlinkCollector
) -> None:
    """KILL and LOG leave one record each, ERRNO none: the sentinel that came after shows it."""
    kill, log, denied, end = (nonce(letter) for letter in "klez")
    killed = emitter.emit(kill, KILL_PROCESS)
    logged = emitter.emit(log, LOG)
    refused = emitter.emit(denied, ERRNO_EPERM)
    emitter.emit(end)
    batch = collector.read_until(end, PATIENCE)

    assert (killed.returncode, logged.returncode, refused.returncode) == (-signal.SIGSYS, 0, 0)
    assert batch.complete, batch.reason
    assert batch.records[-1].comm == end
    (record,) = of(batch, kill)
    assert (record.signal, record.code) == (31, 0x80000000)
    assert (record.pid, record.uid, record.exe) == (killed.pid, os.getuid(), str(emitter.path))
    assert (record.arch, record.syscall) == (emitter.arch, emitter.getppid)
    (record,) = of(batch, log)
    assert (record.signal, record.code, record.compat) == (0, 0x7FFC0000, 0)
    assert (record.pid, record.arch, record.syscall) == (
        logged.pid,
        emitter.arch,
        emitter.getppid,
    )
    assert of(batch, denied) == []


@needs_root
@pytest.mark.parametrize("name", ['a "b"', "é", "ABCD", "tab\there", "x" * 15])
def test_odd_names_survive(emitter: Emitter, collector: NetlinkCollector, name: str) -> None:
    """The kernel's way of writing a name is undone, seen from the process that bears it."""
    end = nonce("z")
    process = emitter.emit(name)
    emitter.emit(end)
    batch = collector.read_until(end, PATIENCE)
    assert [record.pid for record in of(batch, name)] == [process.pid]


@needs_root
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of an x86_64 kernel")
@pytest.mark.parametrize(
    ("number", "entry", "arch"),
    [
        (110 | 0x40000000, "native", 0xC000003E),
        (0xFFFFFFFF, "native", 0xC000003E),
        (20, "i386", 0x40000003),
    ],
    ids=["x32", "all-ones", "i386"],
)
def test_numbers_are_those_that_seccomp_saw(
    emitter: Emitter, collector: NetlinkCollector, number: int, entry: str, arch: int
) -> None:
    """x32 keeps its bit, a negative number is unsigned, i386 has its own token."""
    comm, end = nonce("n"), nonce("z")
    subprocess.run(emitter.command(comm, number=number, entry=entry), check=True, timeout=10)
    emitter.emit(end)
    batch = collector.read_until(end, PATIENCE)
    assert [(record.arch, record.syscall) for record in of(batch, comm)] == [(arch, number)]


@needs_root
def test_a_drained_flood_is_complete(emitter: Emitter, collector: NetlinkCollector) -> None:
    """20,000 records from four processes at once."""
    workers, end = [nonce("w") for _ in range(4)], nonce("z")
    flood = " & ".join(shlex.join(emitter.command(name, count=5000)) for name in workers)
    script = f"{flood} & wait; exec {shlex.join(emitter.command(end))}"
    with subprocess.Popen(["sh", "-c", script]) as shell:
        batch = collector.read_until(end, 60)
    assert shell.returncode == 0
    assert batch.complete, batch.reason
    assert Counter(
        record.comm for record in batch.records if record.comm in workers
    ) == dict.fromkeys(workers, 5000)


@needs_root
def test_an_overflow_is_never_a_silent_gap(emitter: Emitter) -> None:
    """With a tiny buffer and nobody reading, the batch says so; later ones are sound again."""
    flood, end = nonce("f"), nonce("z")
    with lone_reader(), contextlib.closing(NetlinkCollector(receive_buffer=4096)) as collector:
        emitter.emit(flood, count=3000)
        emitter.emit(end)
        batch = collector.read_until(end, 0.5)
        assert len(of(batch, flood)) < 3000
        assert not batch.complete
        assert "ENOBUFS" in batch.reason
        for _ in range(10):
            end = nonce("z")
            emitter.emit(end)
            batch = collector.read_until(end, PATIENCE)
            if batch.complete:
                break
        assert batch.complete, batch.reason


@needs_root
def test_an_overflow_after_the_sentinel_is_told_in_time(emitter: Emitter) -> None:
    """The queue still holds a whole batch when the records of the next one are lost."""
    first, flood, second = nonce("a"), nonce("f"), nonce("z")
    with lone_reader(), contextlib.closing(NetlinkCollector(receive_buffer=65536)) as collector:
        emitter.emit(first)
        emitter.emit(flood, count=3000)
        batches = [collector.read_until(first, PATIENCE)]
        # The rest of the queue, so that the second sentinel finds room.
        batches.append(collector.read_until("nobody", 0))
        emitter.emit(second)
        batches.append(collector.read_until(second, PATIENCE))
    assert batches[0].records[-1].comm == first
    assert 0 < sum(len(of(batch, flood)) for batch in batches) < 3000
    assert of(batches[2], second)
    assert not batches[2].complete


@needs_root
def test_another_network_namespace_is_silent_and_says_so(emitter: Emitter) -> None:
    """The group can be joined there, and nothing arrives."""
    require("unshare", "util-linux")
    printed = run_python(
        ["unshare", "--net"],
        """
        import subprocess, sys
        from probes.audit.netlink import NetlinkCollector
        collector = NetlinkCollector()
        subprocess.run(sys.argv[1:], check=True)
        batch = collector.read_until("canary", 0.5)
        print(batch.complete, len(batch.records), batch.reason)
        """,
        *emitter.command("canary"),
    )
    assert printed.startswith("False 0 The sentinel record 'canary' did not arrive by netlink")
    assert "is not in the initial network namespace" in printed


@needs_root
def test_without_the_capability_the_sentence_says_what_to_do() -> None:
    """Joining the group asks for CAP_AUDIT_READ."""
    require("setpriv", "util-linux")
    printed = run_python(
        WITHOUT_AUDIT,
        """
        from probes.audit.collector import CollectorUnavailableError
        from probes.audit.control import AuditControl
        from probes.audit.netlink import NetlinkCollector
        try:
            NetlinkCollector()
        except CollectorUnavailableError as refusal:
            print(int(refusal.exit_status), refusal)
        print(AuditControl().status())
        """,
    )
    refusal, status = printed.splitlines()
    assert refusal.startswith(f"{ExitStatus.CANNOT_TELL} Reading audit records")
    assert "CAP_AUDIT_READ" in refusal
    assert "Operation not permitted" in refusal
    assert status == "None"


@needs_root
def test_a_socket_that_was_passed_in_serves_without_capabilities(emitter: Emitter) -> None:
    """As for a container whose runtime gets a socket that was opened on the host."""
    require("setpriv", "util-linux")
    size = 16 * 1024 * 1024
    with lone_reader(), audit_socket(group=1, size=size) as opened:
        printed = run_python(
            ["unshare", "--net", "setpriv", "--bounding-set=-all", "--inh-caps=-all"],
            """
            import subprocess, sys
            from probes.audit.netlink import NetlinkCollector
            collector = NetlinkCollector(fileno=int(sys.argv[1]))
            subprocess.run(sys.argv[2:], check=True)
            batch = collector.read_until("passed-in", 10)
            print(batch.complete, batch.records[-1].comm, batch.reason)
            """,
            str(opened.fileno()),
            *emitter.command("passed-in"),
            fds=(opened.fileno(),),
        )
        # Neither closed nor changed; the kernel reports twice the size (socket(7)).
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * size
    assert printed.split() == ["True", "passed-in"]


def audit_socket(group: int, size: int | None = None) -> socket.socket:
    """A NETLINK_AUDIT socket with a receive buffer of that size; group 0 for none."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
    if size is not None:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    opened.bind((0, group))
    return opened


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_other_descriptors_are_refused() -> None:
    """A file, another socket and an audit socket outside the group."""
    left, right = socket.socketpair()
    with left, right, Path("/dev/null").open("rb") as file, audit_socket(group=0) as idle:
        for fileno in (left.fileno(), file.fileno(), idle.fileno()):
            before = descriptors()
            with pytest.raises(CollectorUnavailableError, match=f"File descriptor {fileno} is "):
                NetlinkCollector(fileno=fileno)
            assert descriptors() == before
            os.fstat(fileno)  # still the caller's


@needs_root
def test_closing_gives_everything_back() -> None:
    """No descriptor is left; a second close does nothing."""
    before = descriptors()
    collector = NetlinkCollector()
    collector.close()
    collector.close()
    assert descriptors() == before


@needs_root
def test_the_status_is_what_auditctl_shows() -> None:
    """Field by field, but for the backlog, which lives."""
    tool = require("auditctl", "auditd")
    shown = subprocess.run([tool, "-s"], check=True, capture_output=True, text=True, timeout=10)
    fields = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    control = AuditControl()
    status = control.status()
    control.close()
    assert status is not None
    for name in ("enabled", "failure", "rate_limit", "backlog_limit"):
        assert getattr(status, name) == int(fields[name]), name
    assert status.lost >= int(fields["lost"])
    assert control.status() is None


class ScriptedSocket:
    """A socket that answers reads from a script; everything else goes to a real one."""

    def __init__(self, real: socket.socket, script: list[bytes | int]) -> None:
        self.real = real
        self.script = script

    def recvfrom_into(self, buffer: bytearray) -> tuple[int, tuple[int, int]]:
        """The next datagram, an errno to raise, or nothing there."""
        item = self.script.pop(0) if self.script else errno.EAGAIN
        if isinstance(item, int):
            raise OSError(item, os.strerror(item))
        buffer[: len(item)] = item
        sender = 4711 if item.endswith(b"forged") else 0
        return len(item), (sender, 1)

    def close(self) -> None:
        """Closes the real one."""
        self.real.close()


def message(kind: int, text: bytes, *, excess: int = 0) -> bytes:
    """A netlink message; with an excess its header promises more than there is."""
    return struct.pack("=IHHII", 16 + len(text) + excess, kind, 0, 0, 0) + text


def seccomp(serial: int, comm: str) -> bytes:
    """A SECCOMP message."""
    text = (
        f"audit(1700000000.123:{serial}): auid=0 uid=0 gid=0 ses=1 pid=7 "
        f'comm="{comm}" exe="/x" sig=0 arch=c000003e syscall=163 compat=0 ip=0x1 code=0x7ffc0000'
    )
    return message(1326, text.encode())


Scripted = Callable[..., NetlinkCollector]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """Makes a collector that reads from a script, on a machine where nothing can be asked."""
    with contextlib.ExitStack() as stack:

        def make(*script: bytes | int) -> NetlinkCollector:
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            right.close()
            monkeypatch.setattr("probes.audit.netlink._passed", lambda _: left)
            collector = NetlinkCollector(fileno=0)
            stack.callback(collector.close)
            collector._socket = cast("socket.socket", ScriptedSocket(left, list(script)))
            return collector

        monkeypatch.setattr("probes.audit.netlink._tell_losses", lambda _: None)
        monkeypatch.setattr(AuditControl, "status", lambda _: None)
        yield make


def test_other_types_count_as_events_only(scripted: Scripted) -> None:
    """With audit on, the kernel sends more than SECCOMP records."""
    syscall = message(1300, b"audit(1700000000.123:8): arch=c000003e syscall=163")
    batch = scripted(seccomp(7, "x"), syscall, seccomp(9, "s")).read_until("s", 0)
    assert [record.serial for record in batch.records] == [7, 9]
    assert batch.complete


def test_a_forged_message_is_not_read(scripted: Scripted) -> None:
    """Only the kernel's port is 0."""
    forged = seccomp(8, "s") + b"forged"
    batch = scripted(seccomp(7, "x"), forged).read_until("s", 0)
    assert [record.comm for record in batch.records] == ["x"]


@pytest.mark.parametrize(
    "damaged",
    [message(1326, b"audit(1.0"), message(1326, b"x", excess=1), b"short"],
    ids=["record", "length", "header"],
)
def test_a_damaged_message_makes_the_batch_incomplete(scripted: Scripted, damaged: bytes) -> None:
    """It may have been the record in question."""
    batch = scripted(seccomp(7, "x"), damaged, seccomp(8, "s")).read_until("s", 0)
    assert [record.serial for record in batch.records] == [7, 8]
    assert not batch.complete
    assert batch.reason.startswith("This audit record is damaged")


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_an_overflow_counts_until_the_queue_was_empty(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """ENOBUFS comes before the messages that were queued earlier, and the loss after them."""
    monkeypatch.setattr("probes.audit.netlink._READ_AT_ONCE", at_once)
    collector = scripted(
        seccomp(1, "s1"),
        errno.ENOBUFS,
        *(seccomp(place, f"s{place}") for place in range(2, 6)),
        errno.EAGAIN,
        seccomp(6, "s6"),
        seccomp(7, "s7"),
    )
    batches = [collector.read_until(f"s{place}", 1) for place in range(1, 8)]
    assert [batch.records[-1].comm for batch in batches] == [f"s{place}" for place in range(1, 8)]
    assert [batch.complete for batch in batches] == [True, *[False] * 5, True]


# Whose answer it is that there is no socket, by what the files of /proc show.


def root_of(folder: Path, *, seccomp: int | None = 0, audit: bool = True, cap: str = "0") -> Path:
    """A directory with those files."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/net").mkdir()
    mode = "" if seccomp is None else f"Seccomp:\t{seccomp}\n"
    status = f"CapEff:\t{cap}\n{mode}"
    (folder / "proc/self/status").write_text(status, encoding="ascii")
    (folder / "proc/self/uid_map").write_text("0 0 4294967295\n", encoding="ascii")
    rows = "sk Eth Pid Groups\n0 0 0 0\n" + ("0 9 0 0\n" if audit else "")
    (folder / "proc/net/netlink").write_text(rows, encoding="ascii")
    return folder


ALL_CAPABILITIES = "000001ffffffffff"
OWN_FILTER = "This process's own filter answers"


@pytest.mark.parametrize(
    ("number", "facts", "words"),
    [
        (errno.EPROTONOSUPPORT, {"audit": False}, "one built with CONFIG_AUDIT"),
        (errno.EPROTONOSUPPORT, {"audit": False, "seccomp": 2}, "one built with CONFIG_AUDIT"),
        (errno.EPROTONOSUPPORT, {"seccomp": 2}, OWN_FILTER),
        (errno.EAFNOSUPPORT, {"seccomp": 2}, OWN_FILTER),
        (errno.EPERM, {"seccomp": 2}, OWN_FILTER),
        (errno.ENOSYS, {"seccomp": 2, "audit": False}, OWN_FILTER),
        (errno.EACCES, {}, "A security module or the kernel answers"),
    ],
)
def test_who_refuses_the_socket(
    number: int, facts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    said = why_no_socket(OSError(number, os.strerror(number)), root_of(tmp_path, **facts))

    assert words in said
    assert ("CONFIG_AUDIT" in said) == ("CONFIG_AUDIT" in words)
    if words == OWN_FILTER:
        assert f"socket(AF_NETLINK) with {errno.errorcode[number]}" in said
        assert "Seccomp: 2" in said


@pytest.mark.parametrize(
    ("number", "facts", "words"),
    [
        (errno.EPERM, {}, "needs CAP_AUDIT_READ"),
        (errno.EPERM, {"seccomp": 2}, "needs CAP_AUDIT_READ"),
        (errno.EPERM, {"seccomp": 2, "cap": ALL_CAPABILITIES}, OWN_FILTER),
        (errno.ENOSYS, {"seccomp": 2}, OWN_FILTER),
        (errno.EACCES, {}, "A security module or the kernel answers"),
    ],
)
def test_who_refuses_to_join(
    number: int, facts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    said = why_unbound(OSError(number, os.strerror(number)), root_of(tmp_path, **facts))

    assert words in said
