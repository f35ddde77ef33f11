"""Reading JSON with one sentence for every fault: what is wrong, and where in the file."""

import json
import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, TypeVar

from probes.errors import BadInputError

TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
"""A moment in UTC as ISO 8601 to the second."""

_TIME_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_DAY_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SHA256_PATTERN: Final = r"[0-9a-f]{64}"

_Word = TypeVar("_Word", bound=StrEnum)


def parse(text: str) -> object:
    """What a JSON text says.

    Raises:
        BadInputError: it is not JSON.
    """
    try:
        parsed: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"line {error.lineno}: damaged or not a results.json, for it is not JSON"
            f" ({error.msg}): take a complete copy"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not a results.json ({error})") from error
    return parsed


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def is_of(document: object, schema: str) -> bool:
    """Whether a JSON document names a schema as its own, in whatever version.

    Args:
        document: the document, or what was read in its place.
        schema: the name of the schema, with a version after its last slash.
    """
    said = document.get("schema") if isinstance(document, dict) else None
    return isinstance(said, str) and said.startswith(f"{schema.rpartition('/')[0]}/")


class Fields:
    """A JSON object with its place in the file, which a refusal names.

    Every method refuses with ``BadInputError`` what is not what it gives.
    """

    __slots__ = ("_above", "_name", "_object")

    def __init__(self, value: object, name: str = "", above: "Fields | None" = None) -> None:
        """Takes the object.

        Args:
            value: what should be an object.
            name: its place in the object above, ``evidence[0]``; "" for the whole file.
            above: the object that it stands in.
        """
        self._name = name
        self._above = above
        if not isinstance(value, dict):
            raise BadInputError(f"{self.place() or 'the file'}: must be an object")
        self._object: dict[str, object] = value

    def place(self, name: str = "") -> str:
        """Where a value stands in the file, ``cells[3].evidence[0].text``; this object itself."""
        above = "" if self._above is None else self._above.place()
        return ".".join(filter(None, (above, self._name, name)))

    def refusal(self, name: str, what: str) -> BadInputError:
        """The refusal of a value, for the caller to raise."""
        return BadInputError(f"{self.place(name)}: {what}")

    def has(self, name: str) -> bool:
        """Whether there is such a key."""
        return name in self._object

    def only(self, *names: str, optional: Collection[str] = ()) -> "Fields":
        """Refuses a missing key and one that does not belong here."""
        if self._object.keys() == set(names):
            return self
        for name in names:
            if name not in self._object:
                raise self.refusal(name, "is missing")
        known = {*names, *optional}
        stranger = next((name for name in self._object if name not in known), None)
        if stranger is not None:
            raise self.refusal(ascii(stranger), "is not a known key")
        return self

    def check_schema(self, *schemas: str) -> None:
        """Refuses a document of any other schema, such as a later version of these."""
        said = self.text("schema") if self.has("schema") else ""
        if said not in schemas:
            raise self.refusal(
                "schema",
                f"{said!a} is not one that this version reads ({', '.join(schemas)}): use the"
                " version of the suite that wrote the file",
            )

    def text(self, name: str) -> str:
        """A string."""
        value = self._object[name]
        if not isinstance(value, str):
            raise self.refusal(name, "must be a string")
        return value

    def text_or_none(self, name: str) -> str | None:
        """A string or null."""
        return None if self._object[name] is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        items = self.items(name)
        texts = tuple(item for item in items if isinstance(item, str))
        if len(texts) != len(items):
            raise self.refusal(name, "must hold strings only")
        return texts

    def pattern(self, name: str, pattern: str) -> str:
        """A string of this form."""
        value = self.text(name)
        if not re.fullmatch(pattern, value):
            raise self.refusal(name, f"must look like {pattern}")
        return value

    def digest(self, name: str) -> str:
        """A SHA-256 in lower-case hexadecimal."""
        return self.pattern(name, _SHA256_PATTERN)

    def time(self, name: str) -> datetime:
        """A moment in UTC, to the second."""
        value = self.pattern(name, _TIME_PATTERN)
        try:
            return datetime.strptime(value, TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError as error:
            raise self.refusal(name, "is no moment of the calendar") from error

    def day(self, name: str) -> date:
        """A day."""
        value = self.pattern(name, _DAY_PATTERN)
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise self.refusal(name, "is no day of the calendar") from error

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._object[name]
        if not isinstance(value, bool):
            raise self.refusal(name, "must be true or false")
        return value

    def integer(self, name: str) -> int:
        """A whole number."""
        value = self._object[name]
        # JSON's true is an int to Python.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refusal(name, "must be a whole number")
        return value

    def number(self, name: str, most: int | None = None) -> int:
        """A whole number from 0 to ``most``."""
        value = self.integer(name)
        if value < 0 or (most is not None and value > most):
            raise self.refusal(name, "is out of range")
        return value

    def measure(self, name: str) -> float:
        """A number that is not negative, whole or not."""
        value = self._object[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise self.refusal(name, "must be a number from 0 on")
        return float(value)

    def names(self) -> tuple[str, ...]:
        """Every key."""
        return tuple(self._object)

    def number_or_none(self, name: str, most: int | None = None) -> int | None:
        """A whole number from 0 to ``most``, or null."""
        return None if self._object[name] is None else self.number(name, most)

    def member(self, name: str, words: type[_Word]) -> _Word:
        """A word of an enumeration."""
        value = self.text(name)
        try:
            return words(value)
        except ValueError as error:
            known = ", ".join(words)
            raise self.refusal(name, f"{value!a} is none of {known}") from error

    def member_or_none(self, name: str, words: type[_Word]) -> _Word | None:
        """A word of an enumeration, or null."""
        return None if self._object[name] is None else self.member(name, words)

    def child(self, name: str) -> "Fields":
        """An object."""
        return Fields(self._object[name], name, self)

    def child_or_none(self, name: str) -> "Fields | None":
        """An object or null."""
        return None if self._object[name] is None else self.child(name)

    def children(self, name: str) -> tuple["Fields", ...]:
        """A list of objects."""
        return tuple(self.item(name, index) for index in range(len(self.items(name))))

    def item(self, name: str, index: int) -> "Fields":
        """An object of a list."""
        return Fields(self.items(name)[index], f"{name}[{index}]", self)

    def items(self, name: str) -> list[object]:
        """A list."""
        value = self._object[name]
        if not isinstance(value, list):
            raise self.refusal(name, "must be a list")
        return value
