"""The page about alerts shows real records as their readers really show them."""

import json
import re
from pathlib import Path

import pytest

from probes.files import SUITE
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.osquery_log import ResultsLog, fields_of, row_of

PAGE = SUITE / "docs/alerts.md"


def record(code: str) -> str:
    """The last record of acct on x86_64 with that action."""
    (*_, found) = [
        text
        for text in TEXTS
        if " arch=c000003e syscall=163 " in text and text.endswith(f" code={code}")
    ]
    return found


KILL, LOG, ERRNO = record("0x80000000"), record("0x7ffc0000"), record("0x50000")


def auditbeat() -> str:
    return json.dumps(json.loads(event_of(KILL)), indent=2)


def journal() -> str:
    fields = fields_of(KILL)
    names = ("sig", "arch", "syscall", "compat", "ip", "code")
    return "\n".join(
        [
            "_TRANSPORT=audit",
            "_AUDIT_TYPE=1326",
            "_AUDIT_ID=452",
            f"_PID={fields['pid']}",
            f"_COMM={fields['comm'].strip(chr(34))}",
            f"_EXE={fields['exe'].strip(chr(34))}",
            *(f"_AUDIT_FIELD_{name.upper()}={fields[name]}" for name in names),
        ]
    )


def osquery() -> str:
    (line,) = ResultsLog(Path("unused"), query="seccomp").lines([row_of(KILL)])
    return json.dumps(json.loads(line), indent=2)


BLOCKS = {
    "kill": KILL,
    "log": LOG,
    "errno": ERRNO,
    "auditd": f"type=SECCOMP msg={KILL}",
    "osquery": osquery(),
    "auditbeat": auditbeat(),
    "journal": journal(),
}


def blocks(text: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(r"^```\w+\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


def test_the_page_shows_each_record_as_it_is() -> None:
    assert blocks(PAGE.read_text(encoding="utf-8")) == list(BLOCKS.values())


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_field_that_is_wrong_is_red(name: str) -> None:
    wrong = PAGE.read_text(encoding="utf-8").replace(BLOCKS[name], BLOCKS[name] + "0")

    assert blocks(wrong) != list(BLOCKS.values())


def test_every_field_of_the_record_is_explained() -> None:
    """With and without a security module's label."""
    text = PAGE.read_text(encoding="utf-8")
    explained = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE)))
    )

    assert {name for one in (KILL, LOG, ERRNO) for name in fields_of(one)} <= explained
