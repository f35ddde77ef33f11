"""The laurel collector reads what real laurels write, of three releases of Debian."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.audit import laurel
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import CollectorUnavailableError, Event
from probes.audit.laurel import LaurelCollector, events
from probes.audit.netlink import NetlinkCollector
from probes.audit.record import SeccompRecord, parse
from probes.errors import ExitStatus
from probes.releases import machine
from probes.tests.support import releases
from probes.tests.support.auditd_daemon import running
from probes.tests.support.emitter import build, needs_root, sharing_records
from probes.tests.support.laurel_plugin import PLUGIN, Laurel, configure, fed
from probes.tests.support.oracles import require
from probes.tests.support.sentinels import nonce, settle
from reports.tests.support import job

KERNELS = (
    "audit(1700000000.007:7): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=1753 "
    'comm="x" exe="/x" sig=31 arch=40000003 syscall=51 compat=1 ip=0x7f12ab code=0x80000000'
)
_HEAD = '{"ID":"1700000000.007:7","SECCOMP":[{"auid":4294967295,"uid":0,"gid":0,"ses":4294967295,'
_BODY = (
    '"pid":1753,"comm":"x","exe":"/x","sig":31,"arch":"0x40000003","syscall":51,"compat":1,'
    '"ip":"0x7f12ab","code":"0x80000000"'
)
_STARTED = '"PID":{"START_TIME":"1795897482.628"}'
WRITTEN = {
    "0.5.1": f"{_HEAD}{_BODY}}}]}}",
    "0.5.1, enriched by auditd": f'{_HEAD}{_BODY},"AUID":"unset","UID":"root","GID":"root",'
    '"ARCH":"i386","SYSCALL":"acct"}]}',
    "0.7.1": f"{_HEAD}{_BODY},{_STARTED}}}]}}",
    "0.8.2, translated": f'{_HEAD}{_BODY},{_STARTED},"UID":"root","AUID":"unset","GID":"root"}}]}}',
    "0.8.2, users translated of what auditd enriched": f'{_HEAD}{_BODY},"UID":"root","ARCH":"i386",'
    f'"SYSCALL":"acct",{_STARTED},"UID":"root","AUID":"unset","GID":"root"}}]}}',
    "with a prefix": f"@cee: {_HEAD}{_BODY}}}]}}",
    "of a node": f"{_HEAD}{_BODY}}}]}}".replace(",", ',"NODE":"host1",', 1),
    "in an event of several records": f"{_HEAD}{_BODY}}}]}}".replace(
        ',"SECCOMP', ',"SYSCALL":{"arch":"0x40000003","syscall":59},"SECCOMP', 1
    ),
    "not in a list": f"{_HEAD}{_BODY}}}}}".replace("[", ""),
}


def record_of(text: str) -> SeccompRecord:
    found = parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize("line", WRITTEN.values(), ids=WRITTEN)
def test_a_record_is_read_as_the_kernel_wrote_it(line: str) -> None:
    assert events(line) == (Event(7, replace(record_of(KERNELS), raw=line)),)


def test_raw_values_may_be_left_out() -> None:
    """With drop-raw those that have a name are not there."""
    line = WRITTEN["0.8.2, translated"].replace('"auid":4294967295,"uid":0,"gid":0,', "")

    assert events(line) == (Event(7, replace(record_of(KERNELS), raw=line, uid=None)),)


def test_two_records_of_one_event_are_two() -> None:
    two = f"{_HEAD}{_BODY}}},{{{_BODY.replace('51', '52')}}}]}}"

    first, second = events(two)

    assert (first.serial, second.serial) == (7, 7)
    assert first.record
    assert second.record
    assert (first.record.syscall, second.record.syscall) == (51, 52)


def test_other_events_are_counted() -> None:
    assert events('{"ID":"1.000:9","USER_AUTH":{"pid":1}}') == (Event(9),)
    assert events('{"ID":"1.000:9","DAEMON_START":{"pid":1}}') == (Event(),)
    assert events(" \n") == ()


@given(st.binary(max_size=15))
def test_names_of_any_bytes_come_back(name: bytes) -> None:
    line = WRITTEN["0.5.1"].replace('"comm":"x"', f'"comm":{json.dumps(quote(name, safe=" "))}')

    (event,) = events(line)

    assert event.record
    assert event.record.comm.encode("utf-8", "surrogateescape") == name


def damaged() -> Iterator[str]:
    """Lines that are torn, and lines of which a part is something else."""
    whole = WRITTEN["0.5.1"]
    yield from (whole[:end] for end in range(1, len(whole)))
    yield from (whole[start:] for start in range(1, len(whole)))
    for old, new in (
        ('"pid":1753,', ""),
        ('"sig":31', '"sig":true'),
        ('"sig":31', '"sig":"31"'),
        ('"sig":31', '"sig":31.0'),
        ('"arch":"0x40000003"', '"arch":"i386"'),
        ('"comm":"x"', '"comm":null'),
        ('"comm":"x"', '"comm":["x"]'),
        ('"1700000000.007:7"', "7"),
        ('"1700000000.007:7"', '"7"'),
        ('"ID"', '"id"'),
        ("[{", "[[{"),
    ):
        assert old in whole
        yield whole.replace(old, new, 1)
    yield "[" * 100_000 + "{"
    yield '{"ID":' * 100_000


def test_a_damaged_line_may_have_been_a_record() -> None:
    for line in damaged():
        (event,) = events(line)

        assert event.record is None, line
        assert event.trouble.startswith("This audit record is damaged"), line


# The real program, fed as auditd does.


Opened = Callable[[Laurel], contextlib.AbstractContextManager[LaurelCollector]]


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Follows the log of a laurel; records are made old enough for it not to hold them back."""
    monkeypatch.setattr(laurel, "PENDING_SECONDS", 0.3)

    def opened(plugin: Laurel) -> contextlib.closing[LaurelCollector]:
        plugin.begin()
        return contextlib.closing(LaurelCollector(plugin.log, lambda: push(plugin)))

    return opened


def push(plugin: Laurel) -> None:
    """Makes an event that is younger than the others."""
    plugin.feed('"push"')


AGE = 7.0
PATIENCE = 10


def host(*words: str) -> Sequence[str]:
    """Laurel of this machine."""
    return (require("laurel", "laurel"), *words[1:])


def check_records(plugin: Laurel, collector: LaurelCollector) -> None:
    """Feeds records of every form, and sees whether they are read as the kernel wrote them."""
    forms = ('"a"', '"a%b+c"', "6120622F", "FF2225", '""', "2561095C")
    fed = [plugin.feed(comm, exe="(null)", age=AGE) for comm in forms]
    fed.append(plugin.feed('"end"', age=AGE))

    batch = collector.read_until("end", 5)

    assert batch.complete, batch.reason
    expected = [record_of(line) for line in fed]
    found = [replace(one, raw="", uid=0) for one in batch.records]
    assert sorted(found, key=lambda one: one.serial) == [replace(one, raw="") for one in expected]


def test_what_laurel_writes_is_read(tmp_path: Path, following: Opened) -> None:
    with fed(host, configure(tmp_path / "log")) as plugin, following(plugin) as collector:
        check_records(plugin, collector)


def test_a_record_comes_only_after_another_one(tmp_path: Path, following: Opened) -> None:
    """Or else there would be no need to push."""
    with fed(host, configure(tmp_path / "log")) as plugin, following(plugin) as collector:
        collector._push = lambda: None
        plugin.feed('"end"', age=AGE)

        held_back = collector.read_until("end", 0.5)

        assert held_back.overdue
        assert held_back.silent
        time.sleep(laurel.AGAIN_SECONDS)
        push(plugin)
        assert collector.read_until("end", 5).records


def test_an_event_that_laurel_never_got_is_missed(tmp_path: Path, following: Opened) -> None:
    with fed(host, configure(tmp_path / "log")) as plugin, following(plugin) as collector:
        plugin.feed('"a"', age=AGE)
        plugin.feed('"end"', age=AGE, skip=2)

        batch = collector.read_until("end", 5)

        assert not batch.complete
        assert batch.reason.startswith("2 audit event(s) before the sentinel never reached laurel:")


def test_an_event_that_laurel_cannot_read_is_missed(tmp_path: Path, following: Opened) -> None:
    """0.5 drops records with what AppArmor writes, which has blanks."""
    with fed(host, configure(tmp_path / "log")) as plugin, following(plugin) as collector:
        plugin.write(
            f"type=SECCOMP msg=audit(1.000:{next(plugin.serials)}): subj==unconfined (enforce) x\n"
        )
        plugin.feed('"end"', age=AGE)

        batch = collector.read_until("end", 5)

        assert batch.complete or batch.reason.startswith("1 audit event(s) before the sentinel")
        assert not [one for one in batch.records if one.comm != "end"]


def test_rotations_lose_nothing(tmp_path: Path, following: Opened) -> None:
    with (
        fed(host, configure(tmp_path / "log", size=2000)) as plugin,
        following(plugin) as collector,
    ):
        for place in range(60):
            plugin.feed(f'"r{place}"', age=AGE)
        plugin.feed('"end"', age=AGE)

        batch = collector.read_until("end", 5)

        assert batch.complete, batch.reason
        assert len(list(plugin.log.parent.iterdir())) > 4
        assert {one.comm for one in batch.records} == {*(f"r{place}" for place in range(60)), "end"}


@pytest.mark.root("starts programs of other releases")
@pytest.mark.containers
@pytest.mark.parametrize("suite", ["trixie", "sid"])
@pytest.mark.parametrize(
    ("translated", "dropped"), [(False, False), (True, False), (True, True)], ids=str
)
def test_what_laurels_of_other_releases_write_is_read(
    suite: str, tmp_path: Path, following: Opened, *, translated: bool, dropped: bool
) -> None:
    root = releases.root_of_collectors(suite)
    configuration = configure(tmp_path / "log", translated=translated, dropped=dropped)
    with (
        machine.started(root, shared=(tmp_path,)) as made,
        fed(made.words, configuration) as plugin,
        following(plugin) as collector,
    ):
        check_records(plugin, collector)


def test_a_log_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CollectorUnavailableError) as caught:
        LaurelCollector(tmp_path / "audit.log", lambda: None)

    sentence = str(caught.value)
    assert str(tmp_path / "audit.log") in sentence
    assert "[auditlog]" in sentence
    assert len(sentence.splitlines()) == 1


@needs_root
@pytest.mark.slow
def test_the_job_with_laurel_behind_auditd(tmp_path: Path) -> None:
    """Real records take the whole way, and the filter of the suite's own conforms."""
    executable = require("laurel", "laurel")
    configuration = configure(tmp_path / "log")
    require("auditd", "auditd")
    plugin = PLUGIN.format(executable=executable, configuration=configuration)
    log = tmp_path / "log/audit.log"
    with running(
        *(shutil.which("auditd") or "", tmp_path / "auditd", "RAW"),
        megabytes=8,
        plugins={"laurel.conf": plugin},
    ):
        log.touch()
        options = ("--profile=kill", "--arch=x86_64", "-k", "is_reported and acct")

        ended = job.run(tmp_path / "out", *job.ALONE, *options, f"--audit-source=laurel:{log}")

    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert ended.outcomes(claim="is reported") == {"passed": 1}
    (cell,) = [cell for cell in ended.cells if cell["claim"] == "is reported"]
    assert [one["source"] for one in cell["evidence"] if one["kind"] == "recorded"] == [
        f"laurel:{log}"
    ]


@pytest.mark.root("starts programs of other releases")
@pytest.mark.containers
@pytest.mark.parametrize("suite", ["trixie", "sid"])
def test_laurel_behind_the_auditd_of_its_release(suite: str, tmp_path: Path) -> None:
    root = releases.root_of_collectors(suite)
    folder = tmp_path / "auditd"
    plugin = PLUGIN.format(executable="/usr/sbin/laurel", configuration=configure(folder / "log"))
    log = folder / "log/audit.log"
    emitter, name = build(tmp_path), nonce("l")
    with (
        running(
            *("/usr/sbin/auditd", folder, "ENRICHED"),
            megabytes=8,
            plugins={"laurel.conf": plugin},
            release=root.path,
        ) as auditd,
        sharing_records(),
        contextlib.closing(NetlinkCollector()) as kernel,
    ):
        log.touch()
        with contextlib.closing(AuditdCollector(auditd.log)) as first:
            settle(first, emitter)

        def push() -> None:
            emitter.emit(nonce("p"))

        with contextlib.closing(LaurelCollector(log, push)) as collector:
            emitter.emit(name)
            batch, told = (one.read_until(name, PATIENCE) for one in (collector, kernel))

    (found,) = [replace(one, raw="") for one in batch.records if one.comm == name]
    assert found == replace(told.records[-1], raw="")
