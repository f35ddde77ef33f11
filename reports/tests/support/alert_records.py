"""What each collector makes of a record of the kernel, for the page about alerts.

osquery's and Auditbeat's are made by the rules of their sources. The others are held to the real
programs by ``test_alert_records.py``.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.osquery_log import ResultsLog, fields_of, row_of

_HEXADECIMAL: Final = frozenset({"ip", "code"})
_JOURNALS: Final = {
    "auid": "_AUDIT_LOGINUID",
    "uid": "_UID",
    "gid": "_GID",
    "ses": "_AUDIT_SESSION",
    "subj": "_SELINUX_CONTEXT",
    "pid": "_PID",
    "comm": "_COMM",
    "exe": "_EXE",
}
"""journald's own names; whatever it does not know it calls ``_AUDIT_FIELD_...``."""


def _record(code: str) -> str:
    """The last record of acct on x86_64 with that action."""
    (*_, found) = [
        text
        for text in TEXTS
        if " arch=c000003e syscall=163 " in text and text.endswith(f" code={code}")
    ]
    return found


KILL: Final = _record("0x80000000")
LOG: Final = _record("0x7ffc0000")
ERRNO: Final = _record("0x50000")


def stamp(text: str) -> tuple[str, str]:
    """The time and the number of a record."""
    time, _, number = text.partition("(")[2].partition(")")[0].partition(":")
    return time, number


def kernel(text: str) -> Mapping[str, Any]:
    """The kernel's own fields, which are auditd's, too."""
    return fields_of(text)


def laurel(text: str) -> Mapping[str, Any]:
    """Laurel's event, without any translation."""
    fields: dict[str, Any] = {}
    for name, value in fields_of(text).items():
        if name == "arch":
            fields[name] = f"0x{value}"
        elif name in _HEXADECIMAL or not value.isdecimal():
            fields[name] = value.strip('"')
        else:
            fields[name] = int(value)
    return {"ID": ":".join(stamp(text)), "SECCOMP": [fields]}


def osquery(text: str) -> Mapping[str, Any]:
    """An event of osquery's results log."""
    (line,) = ResultsLog(Path("unused"), query="seccomp").lines([row_of(text)])
    return _of_json(line)


def auditbeat(text: str) -> Mapping[str, Any]:
    """Auditbeat's event."""
    return _of_json(event_of(text))


def _of_json(text: str) -> Mapping[str, Any]:
    event: Mapping[str, Any] = json.loads(text)
    return event


def journal(text: str) -> Mapping[str, Any]:
    """An entry of journald's, without what does not come from the record."""
    time, number = stamp(text)
    fields = {
        _JOURNALS.get(name, f"_AUDIT_FIELD_{name.upper()}"): value.strip('"')
        for name, value in fields_of(text).items()
    }
    return {
        "MESSAGE": f"SECCOMP {text.partition('): ')[2]}",
        "SYSLOG_FACILITY": "4",
        "SYSLOG_IDENTIFIER": "audit",
        "_TRANSPORT": "audit",
        "_AUDIT_TYPE": "1326",
        "_AUDIT_TYPE_NAME": "SECCOMP",
        "_AUDIT_ID": number,
        "_SOURCE_REALTIME_TIMESTAMP": f"{time.replace('.', '')}000",
        **fields,
    }


COLLECTORS: Final[Mapping[str, Callable[[str], Mapping[str, Any]]]] = {
    "auditd": kernel,
    "laurel": laurel,
    "osquery": osquery,
    "Auditbeat": auditbeat,
    "journald": journal,
}


def paths(record: Any, before: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as JSON has it
    """The name of each value in a record, with those that it lies in, and the value."""
    if isinstance(record, Mapping):
        for name, value in record.items():
            yield from paths(value, f"{before}.{name}" if before else name)
    elif isinstance(record, list):
        for value in record:
            yield from paths(value, before)
    else:
        yield before, record if isinstance(record, str) else json.dumps(record)


def of_the_action(collector: str) -> Mapping[str, tuple[str, str, str]]:
    """The fields that tell the action, with their values of KILL, LOG and ERRNO."""
    make = COLLECTORS[collector]
    found = [dict(paths(make(text))) for text in (KILL, LOG, ERRNO)]
    other = dict(paths(make(KILL.replace("sig=31", "sig=0").replace("0x80000000", "0x50000"))))
    return {
        name: (found[0][name], found[1][name], found[2][name])
        for name, value in other.items()
        if value != found[0][name] and name != "MESSAGE"
    }
