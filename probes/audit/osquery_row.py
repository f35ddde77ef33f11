"""SECCOMP records as rows of osquery's table ``seccomp_events``, in lines of its results log. Pure.

Sources: osquery's seccomp_events.table, seccomp_events.cpp, auditeventpublisher.cpp, query.cpp
and its pages *Logging* and *Auditing*. A row has no serial number, and its time is that at which
osquery took the event, in whole seconds. ``comm`` and ``exe`` stand there as the kernel wrote
them, in quotes or as hexadecimal. What its tables have no word for is written as ``N(unknown)``,
so that nothing is lost but the serial number.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from probes import arch
from probes.action import Action
from probes.audit.record import SeccompRecord, untrusted
from probes.errors import InstrumentError

QUERY: Final = "SELECT * FROM seccomp_events"
"""The query to schedule: every column is there."""

_X86_64: Final = arch.get("x86_64")
_TOKENS: Final = {word: token for token, word in arch.TOKENS.items()}
_CODES: Final = {action.name: action.value for action in Action}
_NUMBER: Final = re.compile(r"(\d+)(?:\(unknown\))?")
_MARKS: Final = frozenset({"syscall", "code"})
"""The columns by which a row is known to be of this table; no other table has both."""
_NEEDED: Final = ("pid", "comm", "sig", "arch", "syscall", "code")
_UNSIGNED: Final = 0xFFFFFFFF


class MalformedResultError(InstrumentError):
    """A line of the results log, or a row in it, that cannot be read."""


@dataclass(frozen=True, slots=True)
class ResultLine:
    """One line of a results log.

    Attributes:
        query: the scheduled query's name.
        epoch: what osquery counts the query's results for; a new one begins at another number.
        counter: the number of this set of results, which grows by one; None where none is given.
        snapshot: whether the line is a snapshot query's, which repeats what was there before.
        records: the records in rows that were added, in order; none of a snapshot.
    """

    query: str
    epoch: str
    counter: int | None
    snapshot: bool
    records: tuple[SeccompRecord, ...]


def read_line(line: str) -> ResultLine | None:
    """Reads one line of a results log.

    Args:
        line: the line; undecodable bytes as surrogate escapes.

    Returns:
        What it says; None where it has no row of ``seccomp_events``, and for a blank line.

    Raises:
        MalformedResultError: it is no result, or a row of ``seccomp_events`` cannot be read.
    """
    if not line.strip():
        return None
    try:
        return _result(json.loads(line))
    except (TypeError, ValueError, RecursionError) as problem:
        text = f"This line is no result of osquery: {line[:200]!r}"
        raise MalformedResultError(text) from problem


def _result(found: object) -> ResultLine | None:
    """What a line says; None where it has no row of ``seccomp_events``.

    Raises:
        TypeError, ValueError: it is no result.
        MalformedResultError: a row of ``seccomp_events`` cannot be read.
    """
    if not isinstance(found, dict):
        raise TypeError(found)
    rows = [row for row in _rows(found) if row.keys() >= _MARKS]
    if not rows:
        return None
    query, snapshot = str(found.get("name", "")), _is_snapshot(found)
    return ResultLine(
        query=query,
        epoch=str(found.get("epoch", "")),
        counter=_counter(found.get("counter")),
        snapshot=snapshot,
        records=() if snapshot else tuple(_record(row, query) for row in rows),
    )


def _is_snapshot(found: Mapping[str, object]) -> bool:
    return found.get("action") == "snapshot" or "snapshot" in found


def _rows(found: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """The rows that a line adds: one of an event, several of a batch or of a snapshot."""
    differences = found.get("diffResults")
    added = differences.get("added") if isinstance(differences, dict) else None
    columns = found.get("columns") if found.get("action") in {"added", "snapshot"} else None
    for rows in ([columns], added, found.get("snapshot")):
        if isinstance(rows, list):
            yield from (row for row in rows if isinstance(row, dict))


def _counter(value: object) -> int | None:
    """The number of a set of results, which older releases write as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _record(row: Mapping[str, object], query: str) -> SeccompRecord:
    """One row as the record that the kernel wrote."""
    lacking = [column for column in _NEEDED if column not in row]
    if lacking:
        raise MalformedResultError(
            f"osquery's query {query!r} gives no {', '.join(lacking)}: schedule {QUERY!r}."
        )
    raw = json.dumps(row)
    try:
        return SeccompRecord(
            timestamp=f"{_number(row.get('time', 0))}.000",
            serial=0,
            pid=_number(row["pid"]),
            uid=_number(row.get("uid", 0)),
            comm=untrusted(str(row["comm"])),
            exe=untrusted(str(row.get("exe", "(null)"))),
            signal=_number(row["sig"]),
            arch=_known(_TOKENS, row["arch"]),
            syscall=_known(_X86_64.numbers, row["syscall"]) & _UNSIGNED,
            compat=_number(row.get("compat", 0)),
            ip=int(str(row.get("ip", "0")), 0),
            code=_known(_CODES, row["code"]),
            raw=raw,
        )
    except ValueError as problem:
        raise MalformedResultError(
            f"A row of osquery's query {query!r} is not as seccomp_events has it ({problem}): {raw}"
        ) from problem


def _known(words: Mapping[str, int], value: object) -> int:
    """What a word of osquery's tables stands for, or the number that has none.

    A number of x86_64 has a word where osquery was built with libc++, as its own packages are;
    with libstdc++ it is written as a number.
    """
    found = words.get(str(value))
    return _number(value) if found is None else found


def _number(value: object) -> int:
    """A number, which stands in quotes unless osquery was started with ``--logger_numerics``.

    Raises:
        ValueError: it is none.
    """
    found = _NUMBER.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{value!r} is no number")
    return int(found[1])
