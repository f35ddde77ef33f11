"""SECCOMP records are read as the kernel wrote them, and a batch never hides a loss."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.audit import journald
from probes.audit.collector import (
    Batch,
    Event,
    SequencedCollector,
    SerialLedger,
    last_serial,
    read_event,
    why_silent,
    why_unwritten,
)
from probes.audit.record import MalformedRecordError, SeccompRecord, kernel_serial, parse

# From a log that Debian's auditd 3.0.9 wrote.
RAW = (
    "type=SECCOMP msg=audit(1795491513.809:25852): auid=4294967295 uid=0 gid=0 ses=4294967295 "
    'pid=30667 comm=61206222C3A9 exe="/tmp/emitter" sig=31 arch=c000003e syscall=163 compat=0 '
    "ip=0x7f7b976cc829 code=0x80000000"
)
ENRICHED = RAW + '\x1dAUID="unset" UID="root" GID="root" ARCH=x86_64 SYSCALL=acct'
BARE = RAW.removeprefix("type=SECCOMP msg=")
OTHER = "type=SYSCALL msg=audit(1795491513.809:25851): arch=c000003e syscall=163 success=yes exit=0"
DAEMON = "type=DAEMON_START msg=audit(1795491009.351:4402): op=start ver=3.0.9 format=enriched"


def untrusted(text: bytes) -> str:
    """What audit_log_untrustedstring() of kernel/audit.c writes."""
    if any(byte == 0x22 or byte < 0x21 or byte > 0x7E for byte in text):
        return text.hex().upper()
    return f'"{text.decode("ascii")}"'


def as_signed(number: int) -> int:
    """What %ld prints of the kernel's int."""
    return number - (1 << 32) if number & 0x80000000 else number


words = st.integers(min_value=0, max_value=0xFFFFFFFF)
names = st.one_of(
    st.binary(max_size=15).filter(lambda name: 0 not in name),
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'), max_size=15
    ).map(str.encode),
    # Names that look like hexadecimal or like fields.
    st.sampled_from([b"ABCD", b"(null)", b"pid=1", b"a b", b"code=0x0", b"\xff\xfe", b"\x1d"]),
)
paths = st.one_of(names, st.sampled_from([b"/usr/bin/x (deleted)", b"<too_long>"]))
contexts = st.sampled_from(
    ["", " subj=unconfined", " subj=docker-default (enforce)", " subj=? pid=1 comm=x", " subj="]
)


@st.composite
def records(draw: st.DrawFn) -> tuple[str, SeccompRecord]:
    """The text as audit_seccomp() writes it, and the record that it stands for."""
    comm, exe = draw(names), draw(st.one_of(st.none(), paths))
    stamp = f"{draw(words)}.{draw(st.integers(0, 999)):03}"
    record = SeccompRecord(
        timestamp=stamp,
        serial=draw(words),
        pid=draw(st.integers(1, 1 << 22)),
        uid=draw(words),
        comm=comm.decode("utf-8", "surrogateescape"),
        exe="(null)" if exe is None else exe.decode("utf-8", "surrogateescape"),
        signal=draw(st.sampled_from([0, 12, 31])),
        arch=draw(words),
        syscall=draw(words),
        compat=draw(st.integers(0, 1)),
        ip=draw(st.integers(0, (1 << 64) - 1)),
        code=draw(words),
        raw="",
    )
    text = (
        f"audit({stamp}:{record.serial}): auid={draw(words)} uid={record.uid} gid={draw(words)} "
        f"ses={draw(words)}{draw(contexts)} pid={record.pid} comm={untrusted(comm)} "
        f"exe={'(null)' if exe is None else untrusted(exe)} sig={record.signal} "
        f"arch={record.arch:x} syscall={as_signed(record.syscall)} compat={record.compat} "
        f"ip=0x{record.ip:x} code=0x{record.code:x}"
    )
    return text, record


@pytest.mark.slow
@settings(deadline=None, database=None)
@given(
    records(),
    st.sampled_from(["", "type=SECCOMP msg=", "type=UNKNOWN[1326] msg=", "type=1326 "]),
    st.sampled_from(["", "node=host.example "]),
    st.sampled_from(["", '\x1dARCH=x86_64 SYSCALL=acct AUID="unset"', "\x1d"]),
    st.sampled_from(["", "\n"]),
)
def test_round_trip(
    written: tuple[str, SeccompRecord], kind: str, node: str, enrichment: str, end: str
) -> None:
    """Whatever the kernel can write is read back, in each form in which it arrives."""
    text, record = written
    line = f"{node if kind else ''}{kind}{text}{enrichment}"
    assert parse(line + end) == dataclasses.replace(record, raw=line)
    assert kernel_serial(line + end) == record.serial


@pytest.mark.slow
@settings(deadline=None, database=None)
@given(records(), st.integers(min_value=0))
def test_a_truncated_record_is_never_taken_for_another(
    written: tuple[str, SeccompRecord], place: int
) -> None:
    """A record that lost its end is refused, or is the same but for the digits of its code."""
    line = f"type=SECCOMP msg={written[0]}"
    cut = line[: 1 + place % (len(line) - 1)]
    code_begins = line.rindex("code=0x") + len("code=0x")
    if len(cut) > code_begins:
        read = parse(cut)
        assert read is not None
        assert dataclasses.replace(read, code=0, raw="") == dataclasses.replace(
            written[1], code=0, raw=""
        )
    else:
        with pytest.raises(MalformedRecordError) as refusal:
            parse(cut)
        assert refusal.value.line == cut


@pytest.mark.slow
@settings(deadline=None, database=None)
@given(st.text())
def test_any_text_is_read_passed_over_or_refused(text: str) -> None:
    """Garbage brings out no exception other than the refusal."""
    event = read_event(text)
    if event.record is not None:
        assert event.record.serial == event.serial
    elif event.trouble:
        with pytest.raises(MalformedRecordError) as refusal:
            parse(text)
        assert event.trouble == str(refusal.value)
    else:
        assert parse(text) is None


def test_enrichment_changes_nothing() -> None:
    """ENRICHED is RAW with something after it."""
    raw, enriched = parse(RAW), parse(ENRICHED)
    assert raw is not None
    assert enriched == dataclasses.replace(raw, raw=ENRICHED)
    assert raw.comm == 'a b"é'
    assert (raw.syscall, raw.code, raw.signal) == (163, 0x80000000, 31)


@pytest.mark.parametrize("line", [OTHER, DAEMON, "", "\n", OTHER + "\x1dAUID=unset"])
def test_other_types_are_passed_over(line: str) -> None:
    """Whatever else auditd writes is no SECCOMP record."""
    assert parse(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "type=SECC",
        "type=SECCOMP msg=audit(1.5:1): ",
        "\0\0\0\0",
        "garbage",
        RAW.replace("comm=61206222C3A9", "comm=61206222C3A"),
        RAW.replace("comm=61206222C3A9", 'comm="a b"'),
        RAW.replace("sig=31 ", ""),
        RAW + RAW,
    ],
)
def test_damaged_lines_are_refused(line: str) -> None:
    """What may have been a SECCOMP record is not passed over."""
    with pytest.raises(MalformedRecordError):
        parse(line)


@pytest.mark.parametrize(
    ("line", "serial"),
    [(RAW, 25852), (ENRICHED, 25852), (BARE, 25852), (OTHER, 25851), (DAEMON, None), ("x", None)],
)
def test_serials_are_the_kernels(line: str, serial: int | None) -> None:
    """Auditd numbers the records about itself on its own."""
    assert kernel_serial(line) == serial


def event(serial: int, comm: str = "x") -> Event:
    """A SECCOMP event."""
    record = parse(BARE)
    assert record is not None
    return Event(serial, dataclasses.replace(record, serial=serial, comm=comm))


def other(serial: int) -> Event:
    """An event of another type."""
    return Event(serial, None)


class Scripted(SequencedCollector):
    """A collector whose source brings, look by look, what it is told to."""

    def __init__(
        self, *looks: tuple[Event, ...], lost: Iterable[int | None] = (), base: int | None = 0
    ) -> None:
        self.looks = list(looks)
        counts = list(lost)
        super().__init__("scripted", lambda: counts.pop(0) if counts else None, SerialLedger(base))

    def close(self) -> None:
        """Nothing to give back."""

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """The next look of the script."""
        assert timeout >= 0
        return self.looks.pop(0) if self.looks else ()

    def _silence(self) -> str:
        return "it is silent."


def serials(batch: Batch) -> list[int]:
    """The records' numbers."""
    return [record.serial for record in batch.records]


def test_a_batch_ends_with_its_sentinel() -> None:
    """What comes after it belongs to the next batch."""
    source = Scripted((event(1), other(2), event(3, "s"), event(4)), (event(5, "t"),))
    first, second = source.read_until("s", 1), source.read_until("t", 1)
    assert (serials(first), first.complete, first.reason) == ([1, 3], True, "")
    assert (serials(second), second.complete, second.reason) == ([4, 5], True, "")


def test_a_gap_in_the_serial_numbers_makes_a_batch_incomplete() -> None:
    """Events 2 and 4 to 6 were dropped without a trace; the next batch is not to blame."""
    source = Scripted((event(1), other(3), event(7, "s")), (event(8, "t"),))
    batch = source.read_until("s", 0)
    assert (serials(batch), batch.complete) == ([1, 7], False)
    assert batch.reason == "4 audit event(s) before the sentinel never reached scripted."
    assert source.read_until("t", 1).complete


def test_an_event_that_the_sentinel_overtook_belongs_to_the_batch() -> None:
    """It was numbered first and queued second, as two processors may have it."""
    source = Scripted((event(2, "s"), event(3)), (event(1),))
    batch = source.read_until("s", 1)
    assert (serials(batch), batch.complete) == ([1, 2], True)
    assert serials(source.read_until("nobody", 0)) == [3]


def test_trouble_taints_the_batch_in_which_it_lies() -> None:
    """Neither the one before it nor the one after it."""
    lost = Event(trouble="Something was lost.")
    source = Scripted((event(1, "s"), lost, event(2, "t"), event(3, "u")))
    batches = [source.read_until(sentinel, 1) for sentinel in "stu"]
    assert [batch.reason for batch in batches] == ["", "Something was lost.", ""]
    assert [batch.complete for batch in batches] == [True, False, True]


def test_the_kernels_counter_of_lost_records_taints_two_batches() -> None:
    """It does not say before which sentinel the loss lies; and it may wrap."""
    source = Scripted(
        *((event(place, name),) for place, name in enumerate("stuv", start=1)),
        lost=[0xFFFFFFFF, 0xFFFFFFFF, 1, 1, 1],
    )
    batches = [source.read_until(sentinel, 1) for sentinel in "stuv"]
    assert [batch.complete for batch in batches] == [True, False, False, True]
    assert batches[1].reason.startswith("The kernel lost 2 audit record(s)")


def test_a_counter_that_can_no_longer_be_read_proves_nothing() -> None:
    """A process that gave its capabilities away does not look as if nothing were lost."""
    source = Scripted((event(1, "s"),), (event(2, "t"),), (event(3, "u"),), lost=[0, None, None, 0])
    batches = [source.read_until(sentinel, 1) for sentinel in "stu"]
    assert [batch.complete for batch in batches] == [False, False, False]
    assert all("not now" in batch.reason for batch in batches[:2])


def test_without_a_base_the_first_sentinel_is_the_base() -> None:
    """What preceded the first event of a new log is not known."""
    source = Scripted((event(7, "s"),), (event(8, "t"),), base=None)
    first, second = source.read_until("s", 1), source.read_until("t", 1)
    assert (serials(first), first.complete) == ([7], False)
    assert "first sentinel" in first.reason
    assert second.complete


@pytest.mark.parametrize(
    ("looks", "reason"),
    [
        ((), "arrive by scripted within 0 s: it is silent."),
        (((event(1),),), "though 1 other SECCOMP record(s) did."),
        (((other(1),),), "(it is silent), though other audit events did: was it emitted?"),
    ],
)
def test_a_sentinel_that_does_not_arrive(looks: tuple[tuple[Event, ...], ...], reason: str) -> None:
    """The batch holds what arrived, and says that it proves nothing."""
    batch = Scripted(*looks).read_until("s", 0)
    assert not batch.complete
    assert batch.overdue
    assert batch.silent == (not looks)
    assert batch.reason.endswith(reason)


def test_silence_after_earlier_events_is_told_apart_from_other_events() -> None:
    """Of the first nothing more is to be expected."""
    source = Scripted((event(1, "s"),))
    spoken, silent = source.read_until("s", 0), source.read_until("t", 0)
    assert (spoken.overdue, spoken.silent) == (False, False)
    assert (silent.overdue, silent.silent) == (True, True)
    assert silent.reason.endswith("nor did any other event, though earlier ones did: it is silent.")


def test_silence_comes_before_what_others_lost() -> None:
    """In a namespace where nothing arrives the counter is not the matter."""
    batch = Scripted(lost=[0, 7]).read_until("s", 0)
    assert batch.reason.endswith(": it is silent.")


NOW = 1_700_000_000.0


def at(time: float, serial: int, comm: str = "x", node: str = "") -> Event:
    """A SECCOMP event of a time and of a machine."""
    return dataclasses.replace(event(serial, comm), time=time, node=node)


@pytest.mark.parametrize(
    "foreign",
    [at(NOW - 10**9, 2), at(NOW, 2, node="elsewhere")],
    ids=["of another boot", "of another machine"],
)
def test_a_foreign_event_does_not_stand_for_a_lost_one(foreign: Event) -> None:
    """Every boot and every machine numbers its events by itself."""
    source = Scripted((at(NOW, 1), foreign, at(NOW, 3, "s")))

    batch = source.read_until("s", 0)

    assert batch.reason == "1 audit event(s) before the sentinel never reached scripted."


def test_foreign_events_beside_those_that_arrived_do_no_harm() -> None:
    foreign = [at(NOW - 10**9, serial) for serial in (1, 2, 3, 900)]
    source = Scripted((*foreign, at(NOW, 1), at(NOW - 1, 2), at(NOW, 3, "s")))

    assert source.read_until("s", 0).complete


def test_the_base_of_a_log_is_of_its_latest_boot() -> None:
    """The one before may have come to higher numbers."""
    assert last_serial([at(NOW - 10**9, 5000), at(NOW, 7), at(NOW - 1, 6)]) == 7
    assert last_serial([event(5), other(6)]) == 6
    assert last_serial([Event()]) is None


@pytest.mark.slow
@settings(deadline=None, database=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 5), max_size=8))
def test_complete_means_that_every_event_arrived(random: Random, interest: list[int]) -> None:
    """Under any loss and any overtaking, a complete batch holds all of its records."""
    serial = 0
    stream: list[Event] = []
    emitted: list[set[int]] = []
    for place, count in enumerate(interest):
        before = [event(serial + 1 + offset) for offset in range(count)]
        serial += count + 1
        emitted.append({item.serial for item in before if item.serial is not None})
        arrived = [item for item in before if random.random() > 0.1]
        arrived.append(event(serial, f"s{place}"))
        random.shuffle(arrived)
        stream.extend(arrived)
    source = Scripted(*((item,) for item in stream))
    for place, expected in enumerate(emitted):
        batch = source.read_until(f"s{place}", 0.002)
        if batch.complete:
            assert expected <= set(serials(batch))
            assert batch.records[-1].comm == f"s{place}"


def fake_root(  # noqa: PLR0913 - each is a fact of its own
    root: Path,
    *,
    cmdline: str = "quiet",
    logged: str = "kill_process log",
    net: str = "net:[1]",
    second: str = "sh",
    symbols: str = "audit_log_start audit_seccomp",
) -> Path:
    """A directory with the files of /proc that a diagnosis looks at."""
    (root / "proc/sys/kernel/seccomp").mkdir(parents=True)
    (root / "proc/cmdline").write_text(cmdline + "\n", encoding="ascii")
    (root / "proc/sys/kernel/seccomp/actions_logged").write_text(logged + "\n", encoding="ascii")
    lines = (f"0000000000000000 T {name}\n" for name in symbols.split())
    (root / "proc/kallsyms").write_text("".join(lines), encoding="ascii")
    for process, target in (("self", net), ("1", "net:[1]"), ("2", "net:[3]")):
        (root / "proc" / process / "ns").mkdir(parents=True)
        (root / "proc" / process / "ns/net").symlink_to(target)
    (root / "proc/2/comm").write_text(second + "\n", encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"cmdline": "ro audit=0 quiet"}, "booted with audit=0"),
        ({"cmdline": "audit=off"}, "booted with audit=off"),
        ({"cmdline": "audit=0", "logged": "trap"}, "booted with audit=0"),
        ({"symbols": "audit_log_start"}, "was built without CONFIG_AUDITSYSCALL"),
        (
            {"symbols": "audit_log_start audit_seccomp_actions_logged", "cmdline": "audit=0"},
            "was built without CONFIG_AUDITSYSCALL",
        ),
        ({"symbols": "", "cmdline": "audit=0"}, "booted with audit=0"),
        ({"symbols": "vprintk", "logged": "log"}, "actions_logged lacks kill_process:"),
        ({"logged": "kill_process trap"}, "actions_logged lacks log:"),
        ({"logged": "log"}, "actions_logged lacks kill_process:"),
        ({"logged": ""}, "actions_logged lacks kill_process and log:"),
        ({"net": "net:[2]"}, "is not in the initial network namespace"),
        ({"second": "kthreadd"}, "is not in the initial network namespace"),
        ({"cmdline": "audit=1 -- audit=0"}, "may not be the initial one"),
        ({"net": "net:[3]"}, "is not in the initial network namespace"),
        ({}, "may not be the initial one"),
    ],
)
def test_diagnosis_of_silence(tmp_path: Path, facts: dict[str, str], words: str) -> None:
    """The files' certainties come before the possibilities."""
    assert words in why_silent(fake_root(tmp_path, **facts))


def test_diagnosis_in_the_initial_network_namespace(tmp_path: Path) -> None:
    """It is that of the kernel's own threads, so something else is the matter."""
    root = fake_root(tmp_path, net="net:[3]", second="kthreadd")
    assert why_silent(root) == "an audit rule may exclude the type SECCOMP (see auditctl -l)."


def test_this_kernel_has_what_writes_records() -> None:
    """The symbol is there under this very name wherever records arrive."""
    if not Path("/proc/kallsyms").exists():
        pytest.skip("this kernel does not show its symbols")
    assert "CONFIG_AUDITSYSCALL" not in why_unwritten(Path("/"))


def test_diagnosis_without_files(tmp_path: Path) -> None:
    """Where nothing can be read, nothing is claimed."""
    assert "may not be the initial one" in why_silent(tmp_path)
    assert not why_unwritten(tmp_path)


# What CONFIG_CHANGE records say was changed, as Linux 6.18 writes them.

WRITTEN = "kernel.seccomp.actions_logged was written"
ADDED = "an audit rule was added to the list exclude"
REMOVED = "an audit rule was removed from the list exclude"
CHANGES = [
    ("op=seccomp-logging actions=kill_process,log old-actions=kill_process res=1", WRITTEN),
    ("op=seccomp-logging actions=? old-actions=kill_process res=0", ""),
    ("auid=4294967295 ses=4294967295 op=add_rule key=(null) list=5 res=1", ADDED),
    ("auid=0 ses=1 subj=unconfined op=remove_rule key=(null) list=5 res=1", REMOVED),
    ("auid=4294967295 ses=4294967295 op=add_rule key=(null) list=4 res=1", ""),
    ("auid=4294967295 ses=4294967295 op=add_rule key=(null) list=5 res=0", ""),
    ("op=set audit_enabled=0 old=1 auid=4294967295 ses=4294967295 res=1", ""),
]


@pytest.mark.parametrize(("text", "said"), CHANGES)
def test_changes_of_what_the_kernel_records(text: str, said: str) -> None:
    stamp = "audit(1795906856.578:3998336):"
    for line in (
        f"type=CONFIG_CHANGE msg={stamp} {text}",
        f'type=CONFIG_CHANGE msg={stamp} {text}\x1dAUID="unset"',
        f"type=1305 {stamp} {text}",
    ):
        event = read_event(line)
        assert (event.serial, event.record, event.change) == (3998336, None, said)
    entry = {
        "_AUDIT_ID": "3998336",
        "_AUDIT_TYPE": "1305",
        "MESSAGE": f"CONFIG_CHANGE {text}",
        "_SOURCE_REALTIME_TIMESTAMP": "1795906856578000",
    }
    assert journald.event_of(json.dumps(entry).encode()).change == said


def test_another_type_of_record_changes_nothing() -> None:
    """A process may take any name, and a user's message may have any text."""
    text, _ = CHANGES[0]
    line = f"type=USER msg=audit(1795906856.578:7): pid=1 uid=0 msg='{text}'"

    assert read_event(line).change == ""


APPARMOR = BARE.replace(" pid=", " subj=unconfined (enforce) pid=")


@pytest.mark.parametrize("end", range(APPARMOR.index("subj="), len(APPARMOR) - 1, 7))
def test_half_a_record_does_not_take_what_another_one_says(end: int) -> None:
    """As after a full disk: the next line continues one that was written by half."""
    with pytest.raises(MalformedRecordError):
        parse(f"type=SECCOMP msg={APPARMOR[:end]}type=SECCOMP msg={APPARMOR}")
    assert parse(APPARMOR) is not None


def test_what_is_said_of_a_damaged_line_is_short() -> None:
    assert len(str(MalformedRecordError("\0" * 100_000))) < 3000
