"""A source of records that falls silent in the course of a run: noticed once, at one deadline."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit import laurel, record, trail
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Batch, Collector
from probes.audit.laurel import LaurelCollector
from probes.audit.record import SeccompRecord
from probes.audit.trail import MOST_OVERDUE, AuditTrail, Sentinel
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.instrument.calls import Zygote
from probes.judging.examiner import Examiner
from probes.judging.plan import Case
from probes.tests.support.auditd_daemon import running
from probes.tests.support.emitter import needs_root
from probes.tests.support.oracles import require
from probes.tests.support.stacks import target_of
from reports.tests.support import job

NATIVE = arch.of_this_process()[0]
SENTINEL = Sentinel(NATIVE, arch.canary(NATIVE)[1])
NAMES = ("acct", "mount", "swapon", "umount2")

HEARD = Batch((), complete=True, reason="")
LOSSY = Batch((), complete=False, reason="1 event was lost.")
BUSY = Batch((), complete=False, reason="others came.", overdue=True)
SILENT = Batch((), complete=False, reason="nothing came.", overdue=True, silent=True)


@dataclass
class Told:
    """A collector that gives batches by a script, the last one for ever."""

    script: list[Batch]
    name: str = "told"
    most_cases: int = 1
    deadlines: list[float] = field(default_factory=list)

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """The next batch of the script."""
        assert sentinel
        self.deadlines.append(deadline)
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def close(self) -> None:
        """Nothing is open."""


def within_one_deadline(deadlines: Sequence[float]) -> bool:
    """Whether a sentinel and another one were waited for, each for a share of the deadline.

    A scripted collector takes no time, so the second one has almost all of it.
    """
    first, second = deadlines
    return first + second < trail.RECORD_DEADLINE_SECONDS + first * 1.001


def test_a_silent_source_is_waited_for_once(zygote: Zygote) -> None:
    collector = Told([HEARD, SILENT])
    read = AuditTrail(collector, "")

    found = [read.read(zygote, SENTINEL) for _ in range(6)]

    assert found == [HEARD, SILENT, *[None] * 4]
    _, *waits = collector.deadlines
    assert within_one_deadline(waits)
    assert read.lost.endswith("nothing came.")


def test_one_that_brings_only_other_events_is_tried_a_little_longer(zygote: Zygote) -> None:
    collector = Told([BUSY])
    read = AuditTrail(collector, "")

    found = [read.read(zygote, SENTINEL) for _ in range(6)]

    assert found == [*[BUSY] * MOST_OVERDUE, *[None] * (6 - MOST_OVERDUE)]
    assert sum(collector.deadlines) < trail.RECORD_DEADLINE_SECONDS * 1.5


@pytest.mark.parametrize(
    "script",
    [[LOSSY], [BUSY, BUSY, HEARD, BUSY, BUSY, LOSSY, HEARD]],
    ids=["lossy", "now and then"],
)
def test_one_that_loses_something_is_read_on(script: list[Batch], zygote: Zygote) -> None:
    """A flood of others' records may cost a sentinel, and passes."""
    read = AuditTrail(Told(script), "")

    assert all(read.read(zygote, SENTINEL) is not None for _ in range(7))
    assert not read.lost


# Of a sentinel whose record does not come, and of the second one.

ANY = record.parse(
    'audit(1795894169.032:452): auid=1 uid=0 gid=0 ses=1 pid=1 comm="any" exe="/b" sig=31 '
    "arch=c000003e syscall=163 compat=0 ip=0x7f code=0x80000000"
)


def named(comm: str) -> SeccompRecord:
    assert ANY is not None
    return replace(ANY, comm=comm)


@dataclass
class Twice:
    """A collector by which the first sentinel does not come, and another one does or does not.

    Attributes:
        first: what is said instead of the first one.
        second: what is said of the second one.
        late: whether the record of the first one comes along with the second one.
    """

    first: Batch
    second: Batch
    late: bool = False
    name: str = "twice"
    most_cases: int = 1
    asked: list[str] = field(default_factory=list)

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """The batch of this sentinel."""
        assert deadline
        self.asked.append(sentinel)
        if len(self.asked) == 1:
            return replace(self.first, records=(named("one"),))
        late = (named(self.asked[0]),) if self.late else ()
        return replace(self.second, records=(*late, named("two")))

    def close(self) -> None:
        """Nothing is open."""


def read_twice(zygote: Zygote, collector: Twice) -> tuple[Batch, AuditTrail]:
    """The batch of two sentinels, and the trail thereafter."""
    read = AuditTrail(collector, "")
    batch = read.read(zygote, SENTINEL)
    assert batch is not None
    assert len(collector.asked) == 2
    return batch, read


def test_a_sentinel_that_comes_late_is_as_good_as_in_time(zygote: Zygote) -> None:
    collector = Twice(BUSY, HEARD, late=True)
    batch, _ = read_twice(zygote, collector)
    assert batch.complete
    assert [one.comm for one in batch.records] == ["one", collector.asked[0], "two"]


def test_a_sentinel_without_a_record_shows_that_others_may_be_missing(zygote: Zygote) -> None:
    """What kept its record away for a moment may have kept away that of a probe."""
    collector = Twice(SILENT, HEARD)
    batch, read = read_twice(zygote, collector)
    assert not batch.complete
    assert batch.reason.startswith(f"{collector.asked[0]!r} left no record")
    assert (batch.overdue, read.overdue, read.lost) == (False, 0, "")


def test_what_was_lost_before_the_first_sentinel_is_told(zygote: Zygote) -> None:
    damaged = replace(BUSY, damage="A line is damaged.")
    batch, _ = read_twice(zygote, Twice(damaged, HEARD, late=True))
    assert not batch.complete
    assert (batch.reason, batch.damage) == ("A line is damaged.",) * 2


def test_changes_before_both_sentinels_are_told(zygote: Zygote) -> None:
    first, second = replace(BUSY, changes=("a rule",)), replace(HEARD, changes=("a word",))
    batch, _ = read_twice(zygote, Twice(first, second, late=True))
    assert batch.changes == ("a rule", "a word")


@pytest.mark.parametrize(("first", "second"), [(BUSY, SILENT), (SILENT, BUSY)])
def test_a_source_that_brought_something_is_not_silent(
    first: Batch, second: Batch, zygote: Zygote
) -> None:
    batch, read = read_twice(zygote, Twice(first, second))
    assert batch.overdue
    assert not batch.silent
    assert not read.lost


# What may become of a log.


def renamed(log: Path) -> None:
    """As by a rotation whose new file never comes."""
    log.rename(log.with_suffix(".1"))


def a_pipe(log: Path) -> None:
    """Opening it would wait for a writer."""
    log.unlink()
    os.mkfifo(log)


def a_folder(log: Path) -> None:
    log.unlink()
    log.mkdir()


def a_link_to_nothing(log: Path) -> None:
    log.unlink()
    log.symlink_to("nowhere")


def a_link_to_itself(log: Path) -> None:
    log.unlink()
    log.symlink_to(log.name)


def another_file(log: Path) -> None:
    """Which nobody renamed."""
    log.unlink()
    log.write_text("something else\n", encoding="ascii")


def emptied(log: Path) -> None:
    log.write_text("", encoding="ascii")


COLLECTORS: dict[str, Callable[[Path], Collector]] = {
    "auditd": AuditdCollector,
    "laurel": lambda log: LaurelCollector(log, lambda: None),
}


@pytest.mark.parametrize(
    "become",
    [renamed, a_pipe, a_folder, a_link_to_nothing, a_link_to_itself, another_file, emptied],
    ids=lambda become: become.__name__,
)
@pytest.mark.parametrize("kind", COLLECTORS)
def test_a_log_that_becomes_something_else_ends_one_wait(
    kind: str,
    become: Callable[[Path], None],
    zygote: Zygote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trail, "RECORD_DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(laurel, "PENDING_SECONDS", 0.1)
    log = tmp_path / "audit.log"
    log.touch()
    with contextlib.closing(COLLECTORS[kind](log)) as collector:
        become(log)
        read = AuditTrail(collector, "")
        before = time.monotonic()
        first = read.read(zygote, SENTINEL)
        later = [read.read(zygote, SENTINEL) for _ in range(3)]
        waited = time.monotonic() - before

    assert first is not None
    assert not first.complete
    assert first.overdue
    assert first.reason
    assert later == [None] * 3
    assert waited < 2


# What is said of cells.


def case_of(name: str) -> Case:
    number = NATIVE.numbers[name]
    key = CellKey(Claim.IS_REPORTED, "kill", NATIVE.name, name, number)
    return Case(Claim.IS_REPORTED, NATIVE, (key,), Profile.KILL)


def examined(
    zygote: Zygote, collector: Told, names: Sequence[str], *, controls: bool = False
) -> tuple[list[Cell], Examiner]:
    """The verdicts on a filter that kills these calls, one case after the other."""
    allow = FilterReturn(Action.ALLOW).value
    killed = {NATIVE.numbers[name] for name in names}
    parts = bpf.ranges(killed, FilterReturn(Action.KILL_PROCESS).value, allow)
    program = bpf.dispatch({NATIVE.audit_arch: parts}, allow)
    target = target_of("test", "the filter", dict.fromkeys(Profile, (program,)), NATIVE)
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    judge = Examiner(zygote, target, documented, (NATIVE,), AuditTrail(collector, ""))
    if controls:
        judge.calibrate([NATIVE])
    # Every second one by an examiner of another part, as of a stack of filters.
    both = (judge, judge.beside(target))
    cells = [both[place % 2].examine([case_of(name)])[0] for place, name in enumerate(names)]
    return cells, judge


def test_one_cell_tells_of_it_and_no_later_one_waits(zygote: Zygote) -> None:
    collector = Told([SILENT])

    cells, _ = examined(zygote, collector, NAMES)

    assert within_one_deadline(collector.deadlines)
    assert [(cell.outcome, cell.cause) for cell in cells] == [
        (Outcome.BROKEN, Cause.INSTRUMENT),
        *[(Outcome.CANNOT_TELL, Cause.INSTRUMENT)] * 3,
    ]
    assert all("nothing came." in cell.sentence for cell in cells)
    assert all("records stopped arriving" in cell.sentence for cell in cells[1:])


def test_controls_do_without_records_that_stopped_arriving(zygote: Zygote) -> None:
    """What needs no records can be judged yet."""
    collector = Told([SILENT])

    cells, judge = examined(zygote, collector, NAMES, controls=True)

    assert not judge.fault
    assert within_one_deadline(collector.deadlines)
    assert {cell.outcome for cell in cells} == {Outcome.CANNOT_TELL}


# With the real daemon.


PLUGIN = """\
import os
import signal
import time

from probes.audit import trail
from probes.audit.collector import SequencedCollector
from probes.audit.control import AuditControl

trail.RECORD_DEADLINE_SECONDS = {deadline}
SequencedCollector.most_cases = 1  # so that there is a sentinel midway
read, reads = trail.AuditTrail.read, []


def ended_midway(self, zygote, sentinel):
    if len(reads) == {at}:
        os.kill({pid}, signal.SIGTERM)
        while AuditControl().status().pid:
            time.sleep(0.01)
    before = time.monotonic()
    found = read(self, zygote, sentinel)
    reads.append(time.monotonic() - before)
    with open({times!r}, "w") as file:
        file.write("\\n".join(map(str, reads)))
    return found


trail.AuditTrail.read = ended_midway
"""
DEADLINE = 1.5


@needs_root
@pytest.mark.slow
def test_an_auditd_that_ends_midway_costs_one_deadline(tmp_path: Path) -> None:
    require("auditd", "auditd")
    executable = shutil.which("auditd") or ""
    plugin, times = tmp_path / "ended_midway.py", tmp_path / "times"
    with running(executable, tmp_path / "auditd", "RAW", megabytes=8) as auditd:
        text = PLUGIN.format(deadline=DEADLINE, at=2, pid=auditd.pid, times=str(times))
        plugin.write_text(text, encoding="utf-8")
        options = ("--profile=log", "--arch=x86_64", "-k", "is_recorded")
        source = f"--audit-source=auditd:{auditd.log}"

        ended = job.run(tmp_path / "out", *job.ALONE, *options, source, plugin=plugin)

    assert ended.status == ExitStatus.BROKEN, ended.output
    outcomes = ended.outcomes(claim="is recorded")
    # The record of the second may have been written before auditd ended, without its sentinel.
    assert outcomes["passed"] in {1, 2}
    assert (outcomes["broken"], outcomes.get("failed")) == (1, None)
    assert outcomes["cannot_tell"] > 50
    waited = sum(map(float, times.read_text(encoding="ascii").split()))
    assert waited < DEADLINE + trail.SILENT_SECONDS + 1
    told = {cell["sentence"] for cell in ended.cells if cell["outcome"] == "cannot_tell"}
    assert all("records stopped arriving in the course of this run" in one for one in told)
    assert all("auditctl -s shows pid 0" in one for one in told)
    assert "records stopped arriving" in str(
        [one["audit"] for one in ended.results["environments"]]
    )
