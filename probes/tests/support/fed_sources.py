"""Sources of records that the tests feed with the kernel's real ones, as their programs do.

Each stands between the kernel and a collector in a program's place, so that a test can have it
write in another way. laurel is the real one; the others are played by the documented steps.
"""

import contextlib
import itertools
import json
import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final
from unittest import mock

from probes.audit.auditbeat import AuditbeatCollector
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Collector
from probes.audit.journald import JournalCollector
from probes.audit.kmsg import KmsgCollector
from probes.audit.laurel import LaurelCollector
from probes.audit.osquery import OsqueryCollector
from probes.audit.source import SourceKind
from probes.tests.support import laurel_plugin
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.oracles import require
from probes.tests.support.osquery_log import ResultsLog, Row, row_of

PATIENCE: Final = 0.6
"""Seconds that the slow collectors wait for a sentinel here at least."""

_STAMP: Final = re.compile(r"audit\((\d+)\.(\d{3}):(\d+)\)")
_LATER: Final = 6
"""Seconds, by the time in the records, after which laurel writes what it holds back."""


def _as_auditd(text: str) -> str:
    """The line that auditd writes and gives to its plug-ins."""
    node, _, rest = text.rpartition(" audit(")
    return f"{node} type=SECCOMP msg=audit({rest}" if node else f"type=SECCOMP msg={text}"


@lru_cache
def _row(fields: str) -> Row:
    """The row of a record, whose stamp does not count."""
    return row_of(f"audit(0.000:0{fields}")


@lru_cache
def _event(fields: str) -> str:
    """The event of a record that has no stamp yet."""
    return event_of(f"audit(0.000:0){fields}")


class Source(ABC):
    """What a collector reads.

    Attributes:
        log: the file that it reads.
        twist: what becomes of the records of one interval before they are written.
        loses: whether a record gets lost on its way.
        halved: whether only half of a record is written.
        torn: whether a record is written in two pieces.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.twist: Callable[[list[str]], list[str]] = list
        self.loses: Callable[[str], bool] = lambda _: False
        self.halved: Callable[[str], bool] = lambda _: False
        self.torn: Callable[[str], bool] = lambda _: False

    @abstractmethod
    def opened(self) -> Collector:
        """A collector that begins to read."""

    @abstractmethod
    def form(self, text: str) -> str:
        """The line in which the program writes a record."""

    @abstractmethod
    def put(self, data: bytes) -> None:
        """Writes as the program does."""

    def reopen(self) -> None:
        """Goes on in a new file of the same name, where the program can be told to."""
        return

    def missed(self) -> None:
        """Notes that a record was lost, where the program counts what it writes."""
        return

    def close(self) -> None:
        """Ends the program."""
        return

    def write(self, texts: list[str]) -> None:
        """Writes records."""
        twisted = self.twist(texts)
        kept = [text for text in twisted if not self.loses(text)]
        for _ in range(len(twisted) - len(kept)):
            self.missed()
        for text in kept:
            data = (self.form(text) + "\n").encode("utf-8", "surrogateescape")
            half = len(data) // 2
            if self.halved(text):
                self._put(data[:half])
            elif self.torn(text):
                self._put(data[:half])
                time.sleep(0.02)
                self._put(data[half:])
            else:
                self._put(data)

    def _put(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # with a full disk, or no log, a program goes on
            self.put(data)


class _Held(Source):
    """A log that its program has open for as long as it runs."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self._descriptor = self._begun()

    def _begun(self) -> int:
        return os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)

    def put(self, data: bytes) -> None:
        """Hands it on."""
        os.write(self._descriptor, data)

    def reopen(self) -> None:
        """Begins a new file."""
        os.close(self._descriptor)
        self._descriptor = self._begun()

    def close(self) -> None:
        """Ends it."""
        os.close(self._descriptor)


class Auditd(_Held):
    """auditd's log, in RAW."""

    def opened(self) -> Collector:
        """Follows it."""
        return AuditdCollector(self.log)

    def form(self, text: str) -> str:
        """The line of a record."""
        return _as_auditd(text)


class Auditbeat(_Held):
    """Auditbeat's file."""

    def opened(self) -> Collector:
        """Follows it."""
        return AuditbeatCollector(self.log, patience=PATIENCE)

    def form(self, text: str) -> str:
        """The line of a record."""
        stamp = _STAMP.match(text)
        assert stamp
        event = json.loads(_event(text[stamp.end() :]))
        event["auditd"]["sequence"] = int(stamp[3])
        at = datetime.fromtimestamp(int(stamp[1]), tz=UTC)
        event["@timestamp"] = at.strftime(f"%Y-%m-%dT%H:%M:%S.{stamp[2]}Z")
        return json.dumps(event)


class Journal(_Held):
    """What ``journalctl --output=json`` prints."""

    def opened(self) -> Collector:
        """Follows it."""
        return JournalCollector((require("tail", "coreutils"), "-n", "+1", "-f", str(self.log)))

    def form(self, text: str) -> str:
        """The line of a record."""
        stamp = _STAMP.match(text)
        assert stamp
        return json.dumps(
            {
                "_AUDIT_TYPE": "1326",
                "_AUDIT_ID": stamp[3],
                "_SOURCE_REALTIME_TIMESTAMP": f"{stamp[1]}{stamp[2]}000",
                "MESSAGE": f"SECCOMP {text[stamp.end() + 2 :]}",
            }
        )


class Osquery(Source):
    """osquery's results log, which it opens for each line that it writes."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self._results = ResultsLog(log)
        log.touch()

    def opened(self) -> Collector:
        """Follows it."""
        return OsqueryCollector(self.log, patience=PATIENCE)

    def form(self, text: str) -> str:
        """The line of a record."""
        # A set for each: a set of results that is lost shows, and a row of a set does not.
        (line,) = self._results.lines([_row(text[text.index("): ") :])])
        return line

    def missed(self) -> None:
        """Counts on."""
        self._results.counter += 1

    def put(self, data: bytes) -> None:
        """Hands it on."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


class LaurelFed(Source):
    """The log of a real laurel, for which time passes with every record.

    Or else it would hold each back for five seconds.
    """

    def __init__(self, log: Path) -> None:
        folder = log.parent / "laurel"
        configuration = laurel_plugin.configure(folder, size=1 << 30)
        self._stack = contextlib.ExitStack()
        self._plugin = self._stack.enter_context(
            laurel_plugin.fed(lambda name, *words: (require(name, name), *words), configuration)
        )
        super().__init__(folder / "audit.log")
        self._own = itertools.count(1)
        self._is_pending = False
        self._plugin.begin()

    def opened(self) -> Collector:
        """Follows it."""
        return LaurelCollector(self.log, lambda: None)

    def form(self, text: str) -> str:
        """The line of a record."""
        return _as_auditd(text)

    def put(self, data: bytes) -> None:
        """Hands it on."""
        self._is_pending = True
        self._plugin.write(data.decode("utf-8", "surrogateescape"))

    def write(self, texts: list[str]) -> None:
        """Writes records, and has laurel write what it holds back."""
        self._is_pending = False
        super().write(texts)
        if self._is_pending:
            self._push()

    def _push(self) -> None:
        """Feeds it a record of auditd's own, which the kernel did not number."""
        number = next(self._own)
        stamp = f"{time.time() + _LATER * number:.3f}:{number}"
        line = f"type=DAEMON_CONFIG msg=audit({stamp}): op=x pid=1 res=success\n"
        with contextlib.suppress(BrokenPipeError):  # it ends where its disk is full
            self._plugin.write(line)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):  # it has ended before
            self._stack.close()


_SO_SNDBUFFORCE: Final = 32
"""<asm-generic/socket.h>; the socket module has no name for it."""


class Kmsg(Source):
    """Something of which each read gives one record, as of /dev/kmsg."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs.setblocking(False)  # noqa: FBT003 - socket's own signature
        # Nobody reads once the cells are judged: what does not fit then is lost, like the kernel's.
        self._ours.setblocking(False)  # noqa: FBT003 - likewise
        self._ours.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 24)

    def opened(self) -> Collector:
        """Follows it."""
        kept = os.dup(self._theirs.fileno())
        with mock.patch("probes.audit.kmsg.os.open", return_value=kept):
            return KmsgCollector(sleep=lambda _: None)

    def form(self, text: str) -> str:
        """The line of a record."""
        return f"5,1,100,-;audit: type=1326 {text}"

    def put(self, data: bytes) -> None:
        """Hands it on."""
        self._ours.send(data)

    def close(self) -> None:
        """Ends it."""
        self._ours.close()
        self._theirs.close()


SOURCES: Final[dict[SourceKind, Callable[[Path], Source]]] = {
    SourceKind.AUDITD: Auditd,
    SourceKind.LAUREL: LaurelFed,
    SourceKind.JOURNAL: Journal,
    SourceKind.OSQUERY: Osquery,
    SourceKind.AUDITBEAT: Auditbeat,
    SourceKind.KMSG: Kmsg,
}
"""The sources that can be fed."""
