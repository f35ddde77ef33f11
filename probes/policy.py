"""Policies: which calls a document restricts, loaded from a TOML file and validated.

A policy says what must hold and nothing about how it is asked. The shipped one lives with the
cases, as does its comment on what each key means; this module knows only the shape of such a
file. Every fault in a file is refused in one sentence that names the file and the line or key.
"""

import difflib
import hashlib
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.errors import BadInputError

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
    data = _read(path)
    text, head = _parse(path, data)
    place = _shown(path)
    # First of all: the other keys of another format may well be others.
    if type(head.get("format")) is int and head["format"] != FORMAT:
        raise BadInputError(
            f"{place}: 'format' is not {FORMAT}, the only one that this suite reads; "
            f"use the suite that the policy was written for, or rewrite the policy"
        )
    _check_keys(head, _HEAD, f"{place}: the policy", "add it above the first [[call]]")
    tables = head.pop("call", [])
    if not tables:
        raise BadInputError(f"{place}: the policy documents no call; add a [[call]] table")
    lines = _call_lines(text, len(tables))
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


def _read(path: Path) -> bytes:
    try:
        # A pipe or a device could block or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInputError(
                f"{_shown(path)}: this is not a regular file; name the policy's TOML file"
            )
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{_shown(path)}: the policy cannot be read ({error.strerror}); "
            f"check the path and its permissions"
        ) from error


def _parse(path: Path, data: bytes) -> tuple[str, dict[str, Any]]:
    place = _shown(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{place}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); "
            f"save the file as UTF-8"
        ) from error
    try:
        return text, tomllib.loads(text)
    except RecursionError as error:
        raise BadInputError(
            f"{place}: this is not a policy (its values are nested too deeply)"
        ) from error
    except ValueError as error:
        # Not only TOMLDecodeError: Python's limit on the digits of a number is a ValueError.
        raise BadInputError(f"{place}: this is not TOML ({error})") from error


@dataclass(frozen=True, slots=True)
class _Key:
    """What a key of a policy file may hold.

    Attributes:
        kind: the type of its value.
        item: the type of each entry, where the value is a list.
        required: whether it must be there.
        form: the pattern that its text, or each entry, must match.
        example: how such a text looks.
    """

    kind: type
    item: type | None = None
    required: bool = True
    form: re.Pattern[str] | None = None
    example: str = ""


_HEAD = {
    "format": _Key(int),
    "name": _Key(str),
    "title": _Key(str),
    "source": _Key(str),
    "families": _Key(list, item=str),
    "call": _Key(list, item=dict, required=False),
}
_CALL = {
    "name": _Key(str),
    "family": _Key(str),
    "description": _Key(str),
    "why": _Key(str),
    "cves": _Key(
        list,
        item=str,
        required=False,
        form=re.compile(r"CVE-[0-9]{4}-[0-9]{4,}"),
        example="CVE-2022-0185",
    ),
    "attack": _Key(
        list,
        item=str,
        required=False,
        form=re.compile(r"T[0-9]{4}(\.[0-9]{3})?"),
        example="T1611 or T1547.006",
    ),
    "obsolete": _Key(bool, required=False),
    "since": _Key(
        str,
        required=False,
        form=re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?"),
        example="2.6.10 or 5.2",
    ),
}

_KIND_NAMES: dict[type, str] = {
    str: "text in quotation marks",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
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
    named = f"the call '{_one_line(name)}'" if isinstance(name, str) and name else "the call"
    whose = f"{place}, {line}: {named}"
    _check_keys(table, _CALL, whose, "add it to this [[call]] table")
    name = table["name"]
    if name not in known_names:
        if name.lower() in known_names:
            raise BadInputError(
                f"{whose} has capitals, but the kernel spells it lower-case: '{name.lower()}'"
            )
        raise BadInputError(
            f"{whose} is in no architecture's system call table"
            f"{_suggestion(name.lower(), known_names)}"
        )
    if table["family"] not in families:
        raise BadInputError(
            f"{whose} has the family '{_one_line(table['family'])}', which 'families' does not "
            f"list{_suggestion(table['family'], families)}"
        )


def _check_keys(table: Mapping[str, Any], keys: Mapping[str, _Key], whose: str, mend: str) -> None:
    """Refuses unknown and missing keys and values of the wrong kind."""
    # The unknown come first: a mistyped key is missing as well.
    for name in table:
        if name not in keys:
            raise BadInputError(
                f"{whose} has the unknown key '{_one_line(name)}'{_suggestion(name, keys)}"
            )
    for name, key in keys.items():
        if name in table:
            _check_value(table[name], key, f"{whose}: '{name}'")
        elif key.required:
            raise BadInputError(f"{whose} lacks the key '{name}' ({_kind_name(key.kind)}); {mend}")


def _check_value(value: object, key: _Key, what: str) -> None:
    """Refuses a value that is not what its key holds."""
    _check_kind(value, key.kind, what)
    if isinstance(value, str):
        _check_text(value, key, what)
    if isinstance(value, list) and key.item is not None:
        for position, entry in enumerate(value):
            which = f"{what}, entry {position + 1},"
            _check_kind(entry, key.item, which)
            if isinstance(entry, str):
                _check_text(entry, key, which)
                if entry in value[:position]:
                    raise BadInputError(f"{which} repeats '{_one_line(entry)}'; remove it")


def _check_text(text: str, key: _Key, what: str) -> None:
    if not text.strip():
        raise BadInputError(f"{what} is empty; fill it in")
    if key.form is not None and not key.form.fullmatch(text):
        raise BadInputError(f"{what} is '{_one_line(text)}'; write it like {key.example}")


def _check_kind(value: object, kind: type, what: str) -> None:
    # Not isinstance: to Python, true is an int.
    if type(value) is not kind:
        raise BadInputError(f"{what} must be {_kind_name(kind)}, but is {_kind_name(type(value))}")


def _kind_name(kind: type) -> str:
    return _KIND_NAMES.get(kind, "a date or time")


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean '{_one_line(near[0])}'?" if near else "; check its spelling"


_CALL_HEADER = re.compile(r"""[ \t]*\[\[[ \t]*(call|"call"|'call')[ \t]*\]\]""")


def _call_lines(text: str, count: int) -> list[str]:
    """Names the place of each [[call]] table: its line, or its rank where the line is unclear.

    tomllib keeps no lines. The headers are told by their looks, so where their number is not
    that of the tables (headers inside texts, tables written inline), no line is claimed.
    """
    found = [
        f"line {number}"
        for number, line in enumerate(text.split("\n"), start=1)
        if _CALL_HEADER.match(line)
    ]
    if len(found) == count:
        return found
    return [f"call number {rank}" for rank in range(1, count + 1)]


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }


def _shown(path: Path) -> str:
    return _one_line(str(path))


def _one_line(text: str) -> str:
    """The text as a sentence can hold it: escaped where it would break the line or the terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
