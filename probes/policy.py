"""Policies: which calls a document restricts, loaded from a TOML file and validated.

A policy says what must hold and nothing about how it is asked. The shipped one lives with the
cases, as does its comment on what each key means; this module knows only the shape of such a
file. Every fault in a file is refused in one sentence that names the file and the line or key.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.errors import BadInputError
from probes.toml_file import Key, check_keys, one_line, parse, read, shown, suggestion, table_places

FORMAT = 1
"""The version of the file format that this module reads."""


@dataclass(frozen=True, slots=True)
class DocumentedCall:
    """One call that a document restricts.

    Attributes:
        name: the call's name as the kernel's tables spell it.
        family: the group in which a report shows the call; one of the policy's families.
        description: what the call does.
        why: why a platform restricts it.
        cves: CVE ids of flaws that the call led to; not exhaustive.
        attack: ATT&CK technique ids that the call serves.
        obsolete: whether current kernels answer ENOSYS, because it went or never came.
        since: the first kernel release with the call; None where no mainline kernel has it.
    """

    name: str
    family: str
    description: str
    why: str
    cves: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    obsolete: bool = False
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A document's restrictions.

    Attributes:
        name: a short name for reports and ids.
        title: the document's title.
        source: what the document is, in a sentence.
        families: every family, in the order in which a report shows them.
        calls: the documented calls, in the document's order; at least one, no name twice.
        path: the file that the policy came from, as it was given.
        sha256: the SHA-256 of that file's bytes, in lower-case hexadecimal.
    """

    name: str
    title: str
    source: str
    families: tuple[str, ...]
    calls: tuple[DocumentedCall, ...]
    path: str
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the documented calls, in the document's order."""
        return tuple(call.name for call in self.calls)

    def call(self, name: str) -> DocumentedCall:
        """The documented call of this name.

        Raises:
            KeyError: the policy does not document it.
        """
        for call in self.calls:
            if call.name == name:
                return call
        raise KeyError(name)


def load(path: Path, known_names: Collection[str]) -> Policy:
    """Loads and validates a policy file.

    Args:
        path: the TOML file.
        known_names: the names of all calls of all architectures; any other is refused.

    Raises:
        BadInputError: the file cannot be read, or something in it is wrong.
    """
    data = read(path, "policy")
    text, head = parse(path, data, "a policy")
    place = shown(path)
    # First of all: the other keys of another format may well be others.
    if type(head.get("format")) is int and head["format"] != FORMAT:
        raise BadInputError(
            f"{place}: 'format' is not {FORMAT}, the only one that this suite reads; "
            f"use the suite that the policy was written for, or rewrite the policy"
        )
    check_keys(head, _HEAD, f"{place}: the policy", "add it above the first [[call]]")
    tables = head.pop("call", [])
    if not tables:
        raise BadInputError(f"{place}: the policy documents no call; add a [[call]] table")
    lines = table_places(text, "call", len(tables))
    seen: dict[str, str] = {}
    for table, line in zip(tables, lines, strict=True):
        _check_call(table, place, line, known_names, head["families"])
        name = table["name"]
        if name in seen:
            raise BadInputError(
                f"{place}: the call '{name}' is documented twice, in {seen[name]} and in {line}; "
                f"remove one of the two"
            )
        seen[name] = line
    del head["format"]
    return Policy(
        **_frozen(head),
        calls=tuple(DocumentedCall(**_frozen(table)) for table in tables),
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
    )


_HEAD = {
    "format": Key(int),
    "name": Key(str),
    "title": Key(str),
    "source": Key(str),
    "families": Key(list, item=str),
    "call": Key(list, item=dict, required=False),
}
_CALL = {
    "name": Key(str),
    "family": Key(str),
    "description": Key(str),
    "why": Key(str),
    "cves": Key(
        list,
        item=str,
        required=False,
        form=re.compile(r"CVE-[0-9]{4}-[0-9]{4,}"),
        example="CVE-2022-0185",
    ),
    "attack": Key(
        list,
        item=str,
        required=False,
        form=re.compile(r"T[0-9]{4}(\.[0-9]{3})?"),
        example="T1611 or T1547.006",
    ),
    "obsolete": Key(bool, required=False),
    "since": Key(
        str,
        required=False,
        form=re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?"),
        example="2.6.10 or 5.2",
    ),
}


def _check_call(
    table: Mapping[str, Any],
    place: str,
    line: str,
    known_names: Collection[str],
    families: Collection[str],
) -> None:
    """Refuses a [[call]] table that does not document a call."""
    name = table.get("name")
    named = f"the call '{one_line(name)}'" if isinstance(name, str) and name else "the call"
    whose = f"{place}, {line}: {named}"
    check_keys(table, _CALL, whose, "add it to this [[call]] table")
    name = table["name"]
    if name not in known_names:
        if name.lower() in known_names:
            raise BadInputError(
                f"{whose} has capitals, but the kernel spells it lower-case: '{name.lower()}'"
            )
        raise BadInputError(
            f"{whose} is in no architecture's system call table"
            f"{suggestion(name.lower(), known_names)}"
        )
    if table["family"] not in families:
        raise BadInputError(
            f"{whose} has the family '{one_line(table['family'])}', which 'families' does not "
            f"list{suggestion(table['family'], families)}"
        )


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
