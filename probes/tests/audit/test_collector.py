"""What collectors share: which batch a loss belongs to that only the kernel's counter shows."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from probes.audit.collector import Event, SequencedCollector, SerialLedger
from probes.audit.record import SeccompRecord, parse

RECORD = parse(
    'audit(1795894169.032:1): auid=1 uid=0 gid=0 ses=1 pid=7 comm="any" exe="/b" sig=31 '
    "arch=c000003e syscall=163 compat=0 ip=0x7f code=0x80000000"
)


def record(comm: str, serial: int) -> SeccompRecord:
    assert RECORD is not None
    return replace(RECORD, comm=comm, serial=serial)


class Fed(SequencedCollector):
    """A collector that is given its events, and the values of the kernel's counter in turn."""

    def __init__(self, counter: Sequence[int | None]) -> None:
        values = iter(counter)
        self.events: list[Event] = []
        super().__init__("fed", lambda: next(values), SerialLedger(base=0))

    def close(self) -> None:
        """Nothing is open."""

    def say(self, *records: SeccompRecord) -> None:
        """Has these arrive next."""
        self.events += [Event(one.serial, one) for one in records]

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Whatever was given."""
        assert timeout >= 0
        found, self.events = tuple(self.events), []
        return found

    def _silence(self) -> str:
        """No reason is known."""
        return "nothing was given."


@pytest.mark.parametrize(
    ("counter", "complete"),
    [
        ([5, 5, 5, 5], [True, True, True]),
        ([5, 6, 6, 6], [False, False, True]),
        ([5, 5, 6, 6], [True, False, False]),
        ([0xFFFFFFFF, 0, 0, 0], [False, False, True]),
        ([None, None, None, None], [True, True, True]),
        ([5, None, 5, 5], [False, False, True]),
        ([5, None, None, None], [False, False, False]),
    ],
    ids=["none", "first", "second", "wrapped", "untold", "for a time", "for good"],
)
def test_a_loss_by_the_kernels_counter_spoils_its_batch_and_the_next_one(
    counter: Sequence[int | None], complete: Sequence[bool]
) -> None:
    """The counter does not say on which side of the sentinel the loss lies."""
    collector = Fed(counter)
    found = []
    for serial in (1, 2, 3):
        collector.say(record(f"s{serial}", serial))
        found.append(collector.read_until(f"s{serial}", 1))

    assert [one.complete for one in found] == complete
    assert [bool(one.damage) for one in found] == [not one for one in complete]
    assert not any(one.overdue for one in found)


def test_an_event_that_arrives_after_the_sentinel_is_of_the_batch_of_its_number() -> None:
    collector = Fed([None] * 3)
    collector.say(record("sentinel", 3), record("late", 2), record("next", 4), record("first", 1))
    batch = collector.read_until("sentinel", 1)
    assert batch.complete
    assert [one.comm for one in batch.records] == ["late", "first", "sentinel"]
    collector.say(record("last", 5))
    assert [one.comm for one in collector.read_until("last", 1).records] == ["next", "last"]


@pytest.mark.parametrize(
    ("ago", "node", "missing"),
    [(0.0, "", 0), (1e9, "", 1), (0.0, "another", 1)],
    ids=["ours", "another boot's", "another machine's"],
)
def test_only_events_of_this_boot_and_machine_fill_a_gap(
    ago: float, node: str, missing: int
) -> None:
    now = time.time()
    ledger = SerialLedger(base=0)
    ledger.add(Event(1, time=now - ago, node=node))
    last = Event(2, time=now)
    ledger.add(last)
    assert ledger.missing(last) == missing
