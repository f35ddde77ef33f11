"""Lines that no program writes, but anybody may who may write to a log: none stops a reader."""

import json
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from probes.audit import auditbeat, journald, laurel, osquery_row
from probes.audit.collector import Event, read_event

FIELDS: Final = (
    'auid=1 uid=0 gid=0 ses=1 pid=7 comm="a" exe="/b" sig=31 arch=c000003e syscall=163 compat=0 '
    "ip=0x7f code=0x80000000"
)
LAUREL: Final = {
    "ID": "1795894169.032:452",
    "SECCOMP": [
        {
            "auid": 1,
            "uid": 0,
            "gid": 0,
            "ses": 1,
            "pid": 7,
            "comm": "a",
            "exe": "/b",
            "sig": 31,
            "arch": "0xc000003e",
            "syscall": 163,
            "compat": 0,
            "ip": "0x7f",
            "code": "0x80000000",
        }
    ],
}
ROW: Final = {
    "arch": "X86_64",
    "code": "KILL_PROCESS",
    "comm": '"a"',
    "compat": "0",
    "exe": '"/b"',
    "ip": "0x7f",
    "pid": "7",
    "sig": "31",
    "syscall": "acct",
    "time": "1700000000",
    "uid": "0",
}
OSQUERY: Final = {"name": "s", "epoch": 0, "counter": 1, "columns": ROW, "action": "added"}
BATCH: Final = {"name": "s", "epoch": 0, "counter": 1, "diffResults": {"added": [ROW]}}
AUDITBEAT: Final = {
    "@timestamp": "2026-11-28T20:00:00.000Z",
    "event": {"kind": "event"},
    "user": {"id": "0"},
    "process": {"pid": 7, "name": "a", "executable": "/b"},
    "auditd": {
        "message_type": "seccomp",
        "sequence": 452,
        "data": {
            "sig": "SIGSYS",
            "arch": "x86_64",
            "syscall": "acct",
            "compat": "0",
            "ip": "0x7f",
            "code": "0x80000000",
        },
    },
}
JOURNAL: Final = {
    "_AUDIT_ID": "452",
    "_AUDIT_TYPE": "1326",
    "_SOURCE_REALTIME_TIMESTAMP": "1795894169032000",
    "MESSAGE": f"SECCOMP {FIELDS}",
}
ABSURD: Final = (
    *("1e999", "-1e999", "NaN", "1.5", "-1", "true", "null", '""', "[]", "{}", "[[[]]]"),
    *("9" * 4_000, "9" * 5_000, f'"{"9" * 5_000}"', "[" * 100_000, f"{'[' * 900}{']' * 900}"),
    *('"\\ud800"', '"\\u0000"', '"0x"', '"0x-1"', '"1_000"', '"unknown[zz]"', '"SIGXXX"', '"%ff"'),
    *('"2026-99-99"', '"0001-01-01T00:00:00"', '"9999-12-31T23:59:59-23:59"'),
)


def of_journald(line: str) -> Event:
    return journald.event_of(line.encode())


def of_osquery(line: str) -> osquery_row.ResultLine | str | None:
    """What its collector makes of a line: it catches this error and no other."""
    try:
        return osquery_row.read_line(line)
    except osquery_row.MalformedResultError as problem:
        return str(problem)


def replaced(document: object, value: object) -> Iterator[object]:
    """The document with the value in each of its places, one at a time."""
    yield value
    if isinstance(document, dict):
        for name, one in document.items():
            yield from ({**document, name: inner} for inner in replaced(one, value))
    elif isinstance(document, list):
        for place, one in enumerate(document):
            rest = document[:place], document[place + 1 :]
            yield from ([*rest[0], inner, *rest[1]] for inner in replaced(one, value))


@pytest.mark.parametrize(
    ("document", "read"),
    [
        (LAUREL, laurel.events),
        (OSQUERY, of_osquery),
        (BATCH, of_osquery),
        (AUDITBEAT, auditbeat.read_line),
        (JOURNAL, of_journald),
    ],
    ids=["laurel", "osquery", "osquery-batch", "auditbeat", "journal"],
)
def test_a_line_with_any_value_in_any_place_is_read_or_refused(
    document: object, read: Callable[[str], object]
) -> None:
    lines = [json.dumps(one) for one in replaced(document, "@@")]
    assert len(lines) > 4
    for line in lines:
        for value in ABSURD:
            read(line.replace('"@@"', value))


@pytest.mark.parametrize("prefix", ["type=SECCOMP msg=", ""], ids=["auditd", "kernel"])
@pytest.mark.parametrize("place", ["032:452", "auid=1", "uid=0", "pid=7", "sig=31", "syscall=163"])
@pytest.mark.parametrize("digits", [21, 5_000])
def test_a_number_longer_than_any_of_the_kernels_is_damage(
    prefix: str, place: str, digits: int
) -> None:
    whole = f"{prefix}audit(1795894169.032:452): {FIELDS}"
    assert read_event(whole).trouble == ""
    damaged = whole.replace(place, f"{place}{'9' * digits}", 1)
    event = read_event(damaged)
    assert "damaged" in event.trouble
    assert event.record is None


def test_a_set_of_results_without_a_readable_number_is_damage() -> None:
    line = json.dumps({**OSQUERY, "counter": "9" * 5_000})
    assert "no result of osquery" in str(of_osquery(line))
