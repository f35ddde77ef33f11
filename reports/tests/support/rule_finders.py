"""Rules for others' readers of records, run by those readers over records of every call.

The records are real kernels', of KILL and of LOG; those of ERRNO, which only a filter with
SECCOMP_FILTER_FLAG_LOG leaves, are made of KILL's. Beside the documented calls there are the
controls' and numbers that no table knows, and a hundred harmless calls of each ABI, made of a real
record by another number. What is documented is told by the kernel's own headers.
"""

import json
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from probes import arch
from probes.arch import ARCHES
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.headers import defined
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.oracles import require, unavailable
from probes.tests.support.osquery_log import fields_of, row_of
from reports.filters.record_rules import RuleFormat, rule

POLICY: Final = policy.load(DEFAULT_POLICY, arch.all_names())
EVERYWHERE: Final = tuple(ARCHES.values())
TABLES: Final = {
    "c000003e": ("unistd_64.h", "unistd_x32.h"),
    "40000003": ("unistd_32.h",),
}
HARMLESS: Final = 100

Key = tuple[str, str]


def key_of(text: str) -> Key:
    """The architecture and the number of a record."""
    fields = fields_of(text)
    return fields["arch"], fields["syscall"]


@cache
def documented() -> frozenset[Key]:
    """Every documented call: x86's by the kernel's headers, others' by the suite's tables."""
    of_x86 = {
        (token, str(defined(header)[name]))
        for token, headers in TABLES.items()
        for header in headers
        for name in POLICY.names
        if name in defined(header)
    }
    others = {
        (f"{one.audit_arch:x}", str(number))
        for one in EVERYWHERE
        for name in POLICY.names
        if (number := one.number(name)) is not None and f"{one.audit_arch:x}" not in TABLES
    }
    return frozenset(of_x86 | others)


@cache
def texts() -> tuple[str, ...]:
    """The real records, the same calls' under ERRNO, and those of harmless calls."""
    made = [
        text.replace(" sig=31 ", " sig=0 ").replace("=0x80000000", "=0x50000")
        for text in TEXTS
        if text.endswith("=0x80000000")
    ]
    for token, headers in TABLES.items():
        for header in headers:
            numbers = [
                number
                for number in sorted(defined(header).values())
                if (token, str(number)) not in documented()
            ][:HARMLESS]
            assert len(numbers) == HARMLESS
            model = next(text for text in TEXTS if key_of(text)[0] == token)
            old = key_of(model)[1]
            made += [model.replace(f" syscall={old} ", f" syscall={number} ") for number in numbers]
    return (*TEXTS, *made)


def expected() -> list[str]:
    found = [text for text in texts() if key_of(text) in documented()]
    assert {key_of(text) for text in found} >= {one for one in documented() if one[0] in TABLES}, (
        "the data have every documented call of x86's three ABIs"
    )
    return found


def said(form: RuleFormat) -> str:
    return rule(POLICY, EVERYWHERE, form)


Finder = Callable[[str, Path], list[str]]
"""Runs a rule over the records by the reader that it is for, and gives those that it finds."""


def by_osquery(query: str, _: Path, *, named: bool = True) -> list[str]:
    """SQLite is what osquery runs its queries by."""
    rows = [row_of(text, named=named) for text in texts()]
    names = sorted(rows[0])
    with sqlite3.connect(":memory:") as database:
        database.execute(f"CREATE TABLE seccomp_events ({', '.join(names)}, text TEXT)")
        database.executemany(
            f"INSERT INTO seccomp_events VALUES ({', '.join('?' * (len(names) + 1))})",  # noqa: S608 - the columns' count
            [
                (*(row[name] for name in names), text)
                for row, text in zip(rows, texts(), strict=True)
            ],
        )
        return [found[-1] for found in database.execute(query)]


def by_osquery_of_libstdcxx(query: str, folder: Path) -> list[str]:
    return by_osquery(query, folder, named=False)


def by_pack(pack: str, folder: Path) -> list[str]:
    (query,) = json.loads(pack)["queries"].values()
    return by_osquery(query["query"], folder)


def by_ausearch(command: str, folder: Path, *, ending: str = "") -> list[str]:
    """The real ausearch, on a log as auditd writes it."""
    require("ausearch", "auditd")
    log = folder / "audit.log"
    log.write_text(
        "".join(f"type=SECCOMP msg={text}{ending}\n" for text in texts()), encoding="ascii"
    )
    here = command.replace("ausearch ", f"ausearch -if {shlex.quote(str(log))} ", 1)
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=True)
    # Not splitlines(), to which the byte before what auditd adds is a line's end.
    lines = done.stdout.removesuffix("\n").split("\n")
    return [line.removeprefix("type=SECCOMP msg=").partition("\x1d")[0].strip() for line in lines]


def by_ausearch_of_enriched(command: str, folder: Path) -> list[str]:
    return by_ausearch(command, folder, ending='\x1dAUID="unset" UID="root" ARCH=x86_64 SYSCALL=x')


def by_journalctl(command: str, folder: Path) -> list[str]:
    """The real journalctl, on a journal with the fields that journald makes of a record."""
    journal = folder / "system.journal"
    entries = []
    for place, text in enumerate(texts()):
        fields = {
            f"_AUDIT_FIELD_{name.upper()}": value
            for name, value in fields_of(text).items()
            if name in {"sig", "arch", "syscall", "compat", "ip", "code"}
        }
        head = {"__REALTIME_TIMESTAMP": str(10**15 + place), "_AUDIT_TYPE": "1326"}
        entry = head | fields | {"MESSAGE": text}
        entries.append("".join(f"{name}={value}\n" for name, value in entry.items()))
    program = require("/lib/systemd/systemd-journal-remote", "systemd-journal-remote")
    subprocess.run(
        [program, "-o", str(journal), "-"],
        input="\n".join(entries) + "\n",
        text=True,
        check=True,
        capture_output=True,
        timeout=60,
    )
    words = [*shlex.split(command), "--file", str(journal), "-o", "cat", "--no-pager"]
    assert words[0] == require("journalctl", "systemd").rpartition("/")[2]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def package(name: str) -> Any:  # noqa: ANN401 - a module that may not be there
    """A module that the extra ``oracles`` brings."""
    try:
        return __import__(name, fromlist=["_"])
    except ImportError:
        unavailable(f"needs {name}: pip install -e '.[oracles]'")


def by_sigma(text: str, _: Path) -> list[str]:
    """PySigma reads the rule, its backend makes it SQL, and SQLite runs it."""
    collection = package("sigma.collection").SigmaCollection.from_yaml(text)
    backend = package("sigma.backends.sqlite").sqliteBackend()
    (query,) = backend.convert(collection)
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE logs (type TEXT, arch TEXT, syscall INTEGER, text TEXT)")
        database.executemany(
            "INSERT INTO logs VALUES (?, ?, ?, ?)",
            [("SECCOMP", *key_of(one), one) for one in texts()]
            + [("SYSCALL", *key_of(one), "of another type") for one in texts()],
        )
        return [found[-1] for found in database.execute(query)]


def as_auditbeat(text: str, *, named: bool = True) -> Mapping[str, str]:
    """The fields of Auditbeat's event that a rule asks for."""
    event = json.loads(event_of(text, named=named))
    data = event["auditd"]["data"]
    return {
        "event.action": event["event"]["action"],
        "auditd.data.arch": data["arch"],
        "auditd.data.syscall": data["syscall"],
    }


def holds(tree: ModuleType, node: Any, event: Mapping[str, str], field: str = "") -> bool:  # noqa: ANN401 - luqum has no types
    """Whether an event meets a query that luqum has read; fields are compared as a whole."""
    if isinstance(node, tree.AndOperation):
        return all(holds(tree, one, event, field) for one in node.children)
    if isinstance(node, tree.OrOperation):
        return any(holds(tree, one, event, field) for one in node.children)
    if isinstance(node, tree.SearchField):
        return holds(tree, node.expr, event, node.name)
    if isinstance(node, tree.Group | tree.FieldGroup):
        return holds(tree, node.children[0], event, field)
    assert isinstance(node, tree.Word | tree.Phrase), node
    return bool(event.get(field) == str(node.value).strip('"'))


def by_auditbeat(query: str, _: Path, *, named: bool = True) -> list[str]:
    tree, parser = package("luqum.tree"), package("luqum.parser").parser
    read = parser.parse(query)
    return [text for text in texts() if holds(tree, read, as_auditbeat(text, named=named))]


def by_older_auditbeat(query: str, folder: Path) -> list[str]:
    return by_auditbeat(query, folder, named=False)


FINDERS: Final[Sequence[tuple[RuleFormat, Finder]]] = (
    (RuleFormat.AUSEARCH, by_ausearch),
    (RuleFormat.AUSEARCH, by_ausearch_of_enriched),
    (RuleFormat.JOURNAL, by_journalctl),
    (RuleFormat.OSQUERY, by_osquery),
    (RuleFormat.OSQUERY, by_osquery_of_libstdcxx),
    (RuleFormat.OSQUERY_PACK, by_pack),
    (RuleFormat.AUDITBEAT, by_auditbeat),
    (RuleFormat.AUDITBEAT, by_older_auditbeat),
    (RuleFormat.SIGMA, by_sigma),
)
