"""Sentinels for tests of collectors: names of records that no other process has."""

import uuid

from probes.audit.collector import Collector
from probes.audit.record import SeccompRecord
from probes.tests.support.emitter import Emitter


def nonce(letter: str) -> str:
    """A name that no other process has.

    Args:
        letter: what it begins with.
    """
    return letter + uuid.uuid4().hex[:12]


def settle(collector: Collector, emitter: Emitter) -> SeccompRecord:
    """Emits sentinels until a batch is complete, and returns the last.

    A fresh auditd swallows its first record, and what was lost taints the batch after it too.
    """
    reason = ""
    for _ in range(10):
        canary = nonce("c")
        emitter.emit(canary)
        batch = collector.read_until(canary, 2)
        if batch.complete:
            return batch.records[-1]
        reason = batch.reason
    raise AssertionError(reason)
