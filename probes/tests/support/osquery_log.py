"""A results log as osquery writes it, made from the kernel's own texts by osquery's own steps.

Written from osquery's source (5.x: auditdnetlink.cpp, auditeventpublisher.cpp, seccomp_events.cpp,
query.cpp, filesystem_logger.cpp), not from the suite's reader. The numbers of x86_64 come from the
kernel's header, as osquery's table does. The daemon itself is in no package registry.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

_INTEGERS: Final = ("auid", "uid", "gid", "ses", "pid", "sig", "arch", "syscall", "compat", "code")
_HEXADECIMAL: Final = ("arch", "code")
_BIGINTS: Final = ("time", "uptime", "auid", "uid", "gid", "ses", "pid", "sig", "compat")
"""The columns that are numbers by seccomp_events.table; all others are text."""
_ARCHES: Final = {
    0xC000003E: "X86_64",
    0x40000003: "I386",
    0xC00000B7: "AARCH64",
    0x40000028: "ARM",
    0x80000016: "S390X",
    0xC0000015: "PPC64LE",
    0xC0000008: "MIPSEL64",
}
_CODES: Final = {
    0x80000000: "KILL_PROCESS",
    0x00000000: "KILL_THREAD",
    0x00030000: "TRAP",
    0x00050000: "ERRNO",
    0x7FF00000: "TRACE",
    0x7FFC0000: "LOG",
    0x7FFF0000: "ALLOW",
}
_LAST_NAMED: Final = 334
_BITS: Final = (1 << 64) - 1
_UNISTD: Final = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

Row = Mapping[str, str]


@cache
def x86_64_names() -> Mapping[int, str]:
    """The names of x86_64's calls that osquery knows, by number."""
    defines = re.findall(r"#define __NR_(\w+) (\d+)", _UNISTD.read_text(encoding="ascii"))
    return {int(number): name for name, number in defines if int(number) <= _LAST_NAMED}


def fields_of(text: str) -> dict[str, str]:
    """Takes a record's text apart, character by character, as ParseAuditReply() does."""
    found: dict[str, str] = {}
    key, value, assigned, enclosed = "", "", False, False
    for one in text.partition("): ")[2]:
        if (enclosed and one == '"') or (not enclosed and one == " "):
            value += one * (one == '"')
            if key:
                found.setdefault(key, value)
            key, value, assigned, enclosed = "", "", False, False
        elif assigned:
            enclosed = enclosed or one == '"'
            value += one
        elif one == "=":
            assigned = True
        else:
            key += one
    if key:
        found.setdefault(key, value)
    return found


def _integer(text: str, base: int) -> int:
    """What strtoul(3) makes of a text; 0 where it is no number, as in tryTo()."""
    try:
        return int(text, base) & _BITS
    except ValueError:
        return 0


def _word(words: Mapping[int, str], number: int) -> str:
    return words.get(number, f"{number}(unknown)")


def row_of(text: str, *, taken: int = 1_700_000_000, named: bool = True) -> Row:
    """The row of seccomp_events for a record.

    Args:
        text: the kernel's text.
        taken: when osquery took it.
        named: whether x86_64's calls have names, as where osquery was built with libc++.
    """
    fields = fields_of(text)
    numbers = {
        name: _integer(fields.get(name, ""), 16 if name in _HEXADECIMAL else 10)
        for name in _INTEGERS
    }
    row = {name: str(number) for name, number in numbers.items()}
    row |= {name: fields.get(name, "") for name in ("comm", "exe", "ip")}
    row["arch"] = _word(_ARCHES, numbers["arch"])
    row["code"] = _word(_CODES, numbers["code"])
    if named and row["arch"] == "X86_64":
        row["syscall"] = _word(x86_64_names(), numbers["syscall"])
    return row | {"time": str(taken), "uptime": "99"}


@dataclass
class ResultsLog:
    """A results log, written to by name for each line, as the filesystem logger does.

    Attributes:
        path: the log.
        batched: whether a set of results is one line (``--logger_event_type=false``).
        numerics: whether numbers stand without quotes (``--logger_numerics``).
        query: the scheduled query's name.
        counter: the number of the next set of results.
        epoch: what they are counted for (``--schedule_epoch``).
    """

    path: Path
    batched: bool = False
    numerics: bool = False
    query: str = "seccomp"
    counter: int = 1
    epoch: int = 0
    written: list[str] = field(default_factory=list, repr=False)

    def write(self, rows: Iterable[Row]) -> None:
        """Writes a set of results; none where there are no rows."""
        for line in self.lines(list(rows)):
            with self.path.open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def lines(self, rows: list[Row]) -> Iterator[str]:
        """The lines of a set of results."""
        if not rows:
            return
        shown = [self._columns(row) for row in rows]
        if self.batched:
            yield json.dumps({"diffResults": {"removed": [], "added": shown}, **self._head()})
        else:
            for columns in shown:
                yield json.dumps({**self._head(), "columns": columns, "action": "added"})
        self.counter += 1

    def snapshot(self, rows: list[Row]) -> None:
        """Writes what a snapshot query writes, to a log of its own."""
        shown = [self._columns(row) for row in rows]
        line = json.dumps({"snapshot": shown, "action": "snapshot", **self._head()})
        with self.path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def rotate(self) -> None:
        """Rotates as the logger does before it writes; older logs are compressed."""
        first, second = Path(f"{self.path}.1"), Path(f"{self.path}.2.zst")
        if first.exists():
            second.write_bytes(b"compressed")
            first.unlink()
        self.path.rename(first)

    def _head(self) -> dict[str, object]:
        return {
            "name": self.query,
            "hostIdentifier": "host",
            "calendarTime": "Sat Nov 28 20:00:00 2026 UTC",
            "unixTime": 1_700_000_001,
            "epoch": self.epoch,
            "counter": self.counter,
            "numerics": self.numerics,
        }

    def _columns(self, row: Row) -> dict[str, object]:
        return {
            name: int(value) if self.numerics and name in _BIGINTS else value
            for name, value in sorted(row.items())
        }
