"""TOML files of tables that people write: read, and every fault refused in one sentence.

A sentence names the file, the line or the table, and the key. What the keys are is said by the
modules that know the file: ``policy`` and ``waivers``.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from probes.errors import BadInputError
from probes.text import did_you_mean, shown

MOST_BYTES: Final = 16 << 20
"""The largest file that is read."""


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What a key of a file may hold.

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


def parse(path: Path, data: bytes, what: str) -> tuple[str, dict[str, Any]]:
    """Decodes and parses a TOML file: its text, and the table that it holds.

    Args:
        path: the file, for the sentences.
        data: its bytes.
        what: what it should be, with its article, such as ``a policy``.

    Raises:
        BadInputError: it is not TOML.
    """
    place = shown(path)
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
            f"{place}: this is not {what} (its values are nested too deeply)"
        ) from error
    except ValueError as error:
        # Not only TOMLDecodeError: Python's limit on the digits of a number is a ValueError.
        raise BadInputError(f"{place}: this is not TOML ({error})") from error


_KIND_NAMES: dict[type, str] = {
    str: "text in quotation marks",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
    date: "a date",
}


def check_keys(
    table: Mapping[str, Any], keys: Mapping[str, KeyRule], whose: str, mend: str
) -> None:
    """Refuses unknown and missing keys and values of the wrong kind.

    Args:
        table: the table as it was parsed.
        keys: the keys that it may have, with their rules.
        whose: the start of each sentence: the file, and the line or the table.
        mend: the advice about a missing key.

    Raises:
        BadInputError: something is wrong.
    """
    # The unknown come first: a mistyped key is missing as well.
    for name in table:
        if name not in keys:
            raise BadInputError(
                f"{whose} has the unknown key '{shown(name)}'{suggestion(name, keys)}"
            )
    for name, key in keys.items():
        if name in table:
            _check_value(table[name], key, f"{whose}: '{name}'")
        elif key.required:
            raise BadInputError(f"{whose} lacks the key '{name}' ({_kind_name(key.kind)}); {mend}")


def _check_value(value: object, key: KeyRule, what: str) -> None:
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
                    raise BadInputError(f"{which} repeats '{shown(entry)}'; remove it")


def _check_text(text: str, key: KeyRule, what: str) -> None:
    if not text.strip():
        raise BadInputError(f"{what} is empty; fill it in")
    if key.form is not None and not key.form.fullmatch(text):
        raise BadInputError(f"{what} is '{shown(text)}'; write it like {key.example}")


def _check_kind(value: object, kind: type, what: str) -> None:
    # Not isinstance: to Python, true is an int.
    if type(value) is not kind:
        raise BadInputError(f"{what} must be {_kind_name(kind)}, but is {_kind_name(type(value))}")


def _kind_name(kind: type) -> str:
    return _KIND_NAMES.get(kind, "a date or time")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the known word that may be meant, or ""."""
    hint = did_you_mean(name, known, "check its spelling", alike=0.7, quote="'")
    return f"; {hint}"


def table_places(text: str, name: str, count: int) -> list[str]:
    """Names the place of each ``[[name]]`` table: its line, or its rank where that is unclear.

    tomllib keeps no lines. The headers are searched for in the text, so where their number is not
    that of the tables (headers inside texts, tables written inline), no line is claimed.
    """
    header = re.compile(rf"""[ \t]*\[\[[ \t]*({name}|"{name}"|'{name}')[ \t]*\]\]""")
    found = [
        f"line {number}"
        for number, line in enumerate(text.split("\n"), start=1)
        if header.match(line)
    ]
    if len(found) == count:
        return found
    return [f"{name} number {rank}" for rank in range(1, count + 1)]
