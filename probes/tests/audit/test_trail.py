"""Where audit records come from: the words for it, and which source works."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import arch
from probes.audit import source, trail
from probes.audit.collector import Batch
from probes.audit.record import parse
from probes.audit.source import BEST, NETLINK, NONE, RecordSource, SourceKind
from probes.audit.trail import AuditTrail, Sentinel, open_trail
from probes.errors import BadInputError, ExitStatus
from probes.instrument.calls import Zygote
from probes.tests.support.kernel_records import TEXTS

NATIVE = arch.of_this_process()[0]
SENTINEL = Sentinel(NATIVE, arch.canary(NATIVE)[1])


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize(
    ("word", "kind", "argument"),
    [
        ("best", SourceKind.BEST, ""),
        ("netlink", SourceKind.NETLINK, ""),
        ("kmsg", SourceKind.KMSG, ""),
        ("journal", SourceKind.JOURNAL, ""),
        ("none", SourceKind.NONE, ""),
        ("auditd:/var/log/audit/audit.log", SourceKind.AUDITD, "/var/log/audit/audit.log"),
        ("auditd:a:b", SourceKind.AUDITD, "a:b"),
        ("laurel:/var/log/laurel/audit.log", SourceKind.LAUREL, "/var/log/laurel/audit.log"),
        ("auditbeat:x.ndjson", SourceKind.AUDITBEAT, "x.ndjson"),
        ("osquery:/var/log/x.log", SourceKind.OSQUERY, "/var/log/x.log"),
        ("fd:007", SourceKind.DESCRIPTOR, "007"),
    ],
)
def test_known_sources_are_taken_apart(word: str, kind: SourceKind, argument: str) -> None:
    found = source.read(word)

    assert found == RecordSource(kind, argument)
    assert str(found) == word


@pytest.mark.parametrize(
    ("word", "alone"),
    [
        ("best", False),
        ("netlink", False),
        ("auditd:x", False),
        ("laurel:x", False),
        ("journal", False),
        ("osquery:x", False),
        ("kmsg", True),
        ("fd:3", True),
    ],
)
def test_which_sources_one_process_reads_alone(word: str, *, alone: bool) -> None:
    assert source.read(word).is_for_one_process is alone


@pytest.mark.parametrize(
    "word",
    [
        *("", "dmesg", "auditd", "auditd:", "Netlink", "netlink:", "netlink:x", "none:x", "best:"),
        *("osquery", "osquery:", "osqueryd:x"),
        *("laurel", "laurel:", "journal:", "journal:x", "journald"),
        *("fd", "fd:", "fd:x", "fd:-1", "fd:\u00b2", "fd:1234567890", "fd:1 "),
    ],
)
def test_an_unknown_source_is_refused_in_one_sentence(word: str) -> None:
    with pytest.raises(BadInputError) as caught:
        source.read(word)

    sentence = str(caught.value)
    assert sentence.startswith(f"--audit-source {word}: unknown source")
    assert "it is netlink, auditd:FILE, laurel:FILE, journal, osquery:FILE, auditbeat" in sentence
    assert "auditbeat:FILE, fd:N, kmsg or none, and without" in sentence
    assert len(sentence.splitlines()) == 1
    assert caught.value.exit_status is ExitStatus.USAGE


@given(
    word=st.text(max_size=20) | st.from_regex(r"(auditd|laurel|fd|kmsg|best):?\w*", fullmatch=True)
)
def test_any_word_is_kept_as_it_was_named_or_refused(word: str) -> None:
    try:
        found = source.read(word)
    except BadInputError:
        return
    assert str(found) == word


def test_no_records_where_none_are_asked_for(prober: Zygote) -> None:
    found = open_trail(NONE, prober, SENTINEL)

    assert found.collector is None
    assert found.source == "none"
    assert "--audit-source none" in found.reason


def test_a_source_that_does_not_work_is_no_source(prober: Zygote, tmp_path: Path) -> None:
    missing = tmp_path / "audit.log"

    found = open_trail(source.read(f"auditd:{missing}"), prober, SENTINEL)

    assert found.collector is None
    assert str(missing) in found.reason
    assert len(found.reason.splitlines()) == 1


class Source:
    """A collector that is made up; it remembers whether it was closed."""

    most_cases = 1

    def __init__(self, name: str, *, hears: bool) -> None:
        self.name = name
        self.hears = hears
        self.closed = False
        self.sentinels: list[str] = []

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Says at once whether the sentinel arrived."""
        assert deadline == trail.CANARY_DEADLINE_SECONDS
        self.sentinels.append(sentinel)
        return Batch((), self.hears, "" if self.hears else f"{self.name} is silent")

    def close(self) -> None:
        """Remembers it."""
        self.closed = True


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Source, Source]:
    """In place of netlink and of auditd's log."""
    netlink, auditd = Source("netlink", hears=False), Source("auditd", hears=False)
    log = tmp_path / "audit.log"
    log.touch()
    monkeypatch.setattr(trail, "NetlinkCollector", lambda: netlink)
    monkeypatch.setattr(trail, "AuditdCollector", lambda _path: auditd)
    monkeypatch.setattr(trail, "AUDITD_LOG", log)
    return netlink, auditd


def test_the_best_source_is_the_first_that_hears_its_canary(
    prober: Zygote, sources: tuple[Source, Source]
) -> None:
    netlink, auditd = sources
    netlink.hears = auditd.hears = True
    assert open_trail(BEST, prober, SENTINEL).source == "netlink"
    assert not auditd.sentinels

    netlink.hears = False
    assert open_trail(BEST, prober, SENTINEL).source == "auditd"
    assert netlink.closed
    assert not auditd.closed


def test_when_none_hears_each_says_why(prober: Zygote, sources: tuple[Source, Source]) -> None:
    found = open_trail(BEST, prober, SENTINEL)

    assert found.collector is None
    assert found.source == "none"
    for silent in sources:
        assert f"{silent.name} is silent" in found.reason
        assert silent.closed


def test_a_source_that_was_asked_for_by_name_is_not_replaced(
    prober: Zygote, sources: tuple[Source, Source]
) -> None:
    _, auditd = sources
    auditd.hears = True

    found = open_trail(NETLINK, prober, SENTINEL)

    assert found.collector is None
    assert found.reason == "netlink is silent"
    assert not auditd.sentinels


KILLED = parse(TEXTS[0])
SHIFT = 10_000
"""How far apart the numbers of a container's processes and the host's are here."""


@dataclass
class Numbered:
    """A collector that gives two records by each sentinel's name, of two processes.

    Attributes:
        zygote: made the sentinels.
        shift: what is added to the process ids that it knows.
    """

    zygote: Zygote
    shift: int
    name: str = "numbered"
    most_cases: int = 1

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """The records of the sentinel's process and of another one."""
        assert deadline
        (pid,) = self.zygote.callers(sentinel)
        assert KILLED
        own = replace(KILLED, comm=sentinel, pid=pid + self.shift)
        return Batch((own, replace(own, pid=own.pid + 1)), complete=True, reason="")

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(("shift", "left"), [(0, 1), (SHIFT, 2)], ids=["host", "container"])
def test_other_processes_by_a_probes_name_are_left_out(
    shift: int, left: int, prober: Zygote
) -> None:
    """Where the zygote sees other process ids than the records have, nothing can be told."""
    read = AuditTrail(Numbered(prober, shift), "")

    batch = read.read(prober, SENTINEL)

    assert batch
    assert len(batch.records) == left
    assert read.pids_agree == (left == 1)
