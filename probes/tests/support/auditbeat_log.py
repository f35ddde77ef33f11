"""Events as Auditbeat writes them, made from the kernel's own texts by its own steps.

Written from audit_linux.go of elastic/beats and auparse of elastic/go-libaudit, not from the
suite's reader. The names of calls are libaudit's, from whose tables go-libaudit's are made.
"""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Final

from probes.tests.support.oracles import require
from probes.tests.support.osquery_log import fields_of

_ARCHES: Final = {
    "c000003e": "x86_64",
    "40000003": "i386",
    "c00000b7": "aarch64",
    "80000016": "s390x",
    "c0000102": "loongarch64",
}
_WITH_TABLES: Final = frozenset({"x86_64", "i386", "aarch64"})
"""The ABIs of whose calls both go-libaudit and Debian's libaudit have a table here."""
_USELESS: Final = frozenset({"", "?", "?,", "(null)"})


@cache
def libaudit_names(machine: str) -> Mapping[str, str]:
    """The names of libaudit's own table by number."""
    program = require("ausyscall", "auditd")
    done = subprocess.run([program, machine, "--dump"], capture_output=True, text=True, check=True)
    return dict(line.split("\t") for line in done.stdout.splitlines()[1:])


def event_of(text: str, *, named: bool = True, original: bool = False) -> str:
    """The line that Auditbeat writes for a record.

    Args:
        text: the kernel's text.
        named: whether go-libaudit names what its tables do (2.x).
        original: whether it keeps the text (``include_raw_message``).
    """
    fields = {
        name: value.strip("'\" ")
        for name, value in fields_of(text).items()
        if value.strip("'\" ") not in _USELESS
    }
    data = {name: fields[name] for name in ("sig", "arch", "syscall", "compat", "ip", "code")}
    if named:
        data["arch"] = _ARCHES.get(fields["arch"], f"unknown[{fields['arch']}]")
        known = libaudit_names(data["arch"]) if data["arch"] in _WITH_TABLES else {}
        data["syscall"] = known.get(fields["syscall"], fields["syscall"])
        data["sig"] = {"31": "SIGSYS"}.get(fields["sig"], fields["sig"])
    event: dict[str, object] = {"kind": "event", "action": "violated-seccomp-policy"}
    if original:
        event["original"] = [f"type=SECCOMP msg={text}"]
    seconds, _, rest = text.partition("(")[2].partition(")")[0].partition(".")
    thousandths, _, sequence = rest.partition(":")
    at = datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return json.dumps(
        {
            "@timestamp": f"{at}.{thousandths}Z",
            "event": event,
            "user": {"id": fields["uid"], "group": {"id": fields["gid"]}},
            "process": {
                name: value
                for name, value in (
                    ("pid", int(fields["pid"])),
                    ("name", fields.get("comm")),
                    ("executable", fields.get("exe")),
                )
                if value is not None
            },
            "auditd": {"message_type": "seccomp", "sequence": int(sequence), "data": data},
        }
    )
