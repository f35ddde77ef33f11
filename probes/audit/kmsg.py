"""SECCOMP records from the kernel's log, where no auditd takes them (``/dev/kmsg``).

See the kernel's Documentation/ABI/testing/dev-kmsg: each read gives one record, and EPIPE where
records were overwritten before they were read. ``audit_printk_skb()`` (kernel/audit.c) writes
there only as many as ``kernel.printk_ratelimit_burst`` in ``kernel.printk_ratelimit`` seconds,
whoever causes them; the others are lost. So this collector is the slow one: it takes its time.
"""

import errno
import os
import re
import select
import time
from collections.abc import Callable
from pathlib import Path

from probes.audit import taker
from probes.audit.collector import (
    Batch,
    CollectorUnavailableError,
    Event,
    SequencedCollector,
    SerialLedger,
    read_event,
    why_unwritten,
)
from probes.audit.control import AuditControl

KMSG = Path("/dev/kmsg")
_LONGEST_RECORD = 8192
_READ_AT_ONCE = 4096
"""The most records between two looks at the clock: a driver may write without end."""
# What a process writes there has a facility, 8 or more: only the kernel's own text is below.
_MESSAGE = re.compile(r"[0-7],[^;]*;audit: (type=\d+ audit\(\d+\.\d{3}:\d+\): [^\n]*)")
_SHARE = 2
"""The divisor of the kernel's rate limit: half of the records are left to all other writers."""


class KmsgCollector(SequencedCollector):
    """Follows the kernel's log from its current end.

    A loss, such as by the rate limit, shows as a gap in the serial numbers, and one of the log's
    own records as EPIPE.
    """

    def __init__(
        self,
        path: Path = KMSG,
        *,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens the log.

        Args:
            path: the device.
            root: the directory that holds ``proc``, for the rate limit and the diagnosis of
                silence.
            clock: seconds that only grow.
            sleep: waits for some seconds.

        Raises:
            CollectorUnavailableError: the log cannot be read.
        """
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise CollectorUnavailableError(
                f"The kernel's log {path} cannot be read ({problem.strerror}): it takes root, or "
                "CAP_SYSLOG where kernel.dmesg_restrict is 1, and in a container the device."
            ) from problem
        try:
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as problem:
            if problem.errno != errno.ESPIPE:  # a pipe, whose end it is already
                raise
        self._root = root
        self._clock, self._sleep = clock, sleep
        self._burst = max(_setting(root / "proc/sys/kernel/printk_ratelimit_burst", 10), 1)
        interval = _setting(root / "proc/sys/kernel/printk_ratelimit", 5)
        self._pause = _SHARE * interval / self._burst
        # The sentinel's is one of them.
        self.most_cases = max(self._burst // _SHARE - 1, 1)
        self._control = AuditControl()
        super().__init__("kmsg", self._control.lost, SerialLedger())

    def close(self) -> None:
        """Closes the log."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._control.close()

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """Reads up to the sentinel's record, then waits until the rate limit allows more."""
        batch = super().read_until(sentinel, deadline)
        # A whole interval is enough, however much others have written.
        self._sleep(self._pause * min(max(len(batch.records), 1), self._burst))
        return batch

    def _read(self, timeout: float) -> tuple[Event, ...]:
        """Reads what is there."""
        events: list[Event] = []
        end = self._clock() + timeout
        for _ in range(_READ_AT_ONCE):
            try:
                record = os.read(self._descriptor, _LONGEST_RECORD)
            except BlockingIOError:
                left = end - self._clock()
                if events or left <= 0:
                    return tuple(events)
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.poll(max(left * 1000, 1))
                continue
            except OSError as problem:
                if problem.errno == errno.EPIPE:
                    text = "The kernel's log was overwritten before it was read."
                    events.append(Event(trouble=text))
                    continue
                self._sleep(timeout)
                text = f"The kernel's log can be read no longer ({problem.strerror})."
                return (*events, Event(trouble=text))
            if not record:  # the other end of a pipe
                return tuple(events)
            found = _MESSAGE.match(record.decode("utf-8", "surrogateescape"))
            if found:
                events.append(read_event(found[1]))
        return tuple(events)

    def _silence(self) -> str:
        """Why nothing arrives."""
        status = self._control.status()
        if status is not None and status.pid:
            return taker.why_not_printed(status.pid, self._root)
        return why_unwritten(self._root) or (
            "an auditd may take the records instead, or an audit rule may exclude the type SECCOMP."
        )


def _setting(path: Path, default: int) -> int:
    """The value of a kernel setting; the kernel's default where it cannot be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return default
