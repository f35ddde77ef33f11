"""JSON and YAML of which every value knows its lines.

Whoever reads a file to judge it has refused by now what is no JSON or YAML; here a file without
lines is no error.
"""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from probes.written import Lines

MISSING: Final = (
    "what finds the lines of JSON is not installed: pip install tree-sitter tree-sitter-json"
)
"""Why a file in JSON has no lines."""

MOST_BYTES: Final = 1 << 20
"""The largest file whose lines are looked for; Docker's default profile has 14 KB."""

_DEEPEST: Final = 12
"""How deep the values are nested that have lines of their own; a profile needs eight levels."""


@dataclass(frozen=True, slots=True)
class Located:
    """A value and its lines.

    Attributes:
        lines: all of it.
        text: what it says, where it is text; "" of every other value.
        members: by their keys, those of an object; of a key that is there twice the last.
        items: those of a list.
    """

    lines: Lines
    text: str = ""
    members: Mapping[str, "Located"] | None = None
    items: Sequence["Located"] = ()

    def get(self, key: str) -> "Located | None":
        """A member of an object, whatever the capitals of its key, as Go's readers have it."""
        found = None
        for name, value in (self.members or {}).items():
            if name.casefold() == key.casefold():
                found = value
        return found


class UnlocatedError(Exception):
    """Raised where no lines can be told, with the reason."""


def of_json(raw: bytes) -> Located:
    """The value of a file in JSON.

    Raises:
        UnlocatedError: its lines cannot be told.
    """
    try:
        library = importlib.import_module("tree_sitter")
        grammar = importlib.import_module("tree_sitter_json")
    except ImportError as error:
        raise UnlocatedError(MISSING) from error
    root = library.Parser(library.Language(grammar.language())).parse(_checked(raw)).root_node
    values = [one for one in root.named_children if one.type != "comment"]
    if root.has_error or len(values) != 1:
        raise UnlocatedError("its lines cannot be told, for it is not plain JSON")
    return _of_json(values[0], 0)


def _checked(raw: bytes) -> bytes:
    if len(raw) > MOST_BYTES:
        raise UnlocatedError(f"its lines were not looked for, for it has over {MOST_BYTES:,} bytes")
    return raw


def _of_json(node: Any, depth: int) -> Located:  # noqa: ANN401 - a node of a library without types
    lines = Lines(node.start_point.row + 1, node.end_point.row + 1)
    if node.type == "string":
        return Located(lines, _text(node))
    if depth == _DEEPEST:
        return Located(lines)
    if node.type == "array":
        return Located(lines, items=[_of_json(one, depth + 1) for one in node.named_children])
    if node.type != "object":
        return Located(lines)
    pairs = [one for one in node.named_children if one.type == "pair"]
    return Located(lines, members=dict(_pair(one, depth) for one in pairs))


def _pair(node: Any, depth: int) -> tuple[str, Located]:  # noqa: ANN401 - as above
    """A member, with the lines of its key."""
    value = _of_json(node.child_by_field_name("value"), depth + 1)
    lines = Lines(node.start_point.row + 1, value.lines.last)
    return _text(node.child_by_field_name("key")), Located(
        lines, value.text, value.members, value.items
    )


def _text(node: Any) -> str:  # noqa: ANN401 - as above
    return str(json.loads(node.text, strict=False))


def of_yaml(raw: bytes) -> tuple[Located, ...]:
    """The documents of a file in YAML.

    Raises:
        UnlocatedError: their lines cannot be told.
    """
    try:
        library = importlib.import_module("yaml")
    except ImportError as error:
        raise UnlocatedError(
            "what finds the lines of YAML is not installed: pip install pyyaml"
        ) from error
    loader = getattr(library, "CSafeLoader", library.SafeLoader)
    try:
        nodes = list(library.compose_all(_checked(raw).decode(), Loader=loader))
    except (library.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UnlocatedError("its lines cannot be told, for it is not plain YAML") from error
    return tuple(_of_yaml(library, one, 0) for one in nodes if one is not None)


def _of_yaml(library: ModuleType, node: Any, depth: int) -> Located:  # noqa: ANN401 - as above
    lines = _lines(node)
    if isinstance(node, library.ScalarNode):
        return Located(lines, str(node.value))
    if depth == _DEEPEST:
        return Located(lines)
    if isinstance(node, library.SequenceNode):
        items = [_of_yaml(library, one, depth + 1) for one in node.value]
        return Located(_without_end(node, lines, items), items=items)
    members = dict(_members(library, node, depth))
    return Located(_without_end(node, lines, members.values()), members=members)


def _members(library: ModuleType, node: Any, depth: int) -> Iterator[tuple[str, Located]]:  # noqa: ANN401 - as above
    for key, value in node.value:
        found = _of_yaml(library, value, depth + 1)
        lines = Lines(key.start_mark.line + 1, found.lines.last)
        yield str(key.value), Located(lines, found.text, found.members, found.items)


def _lines(node: Any) -> Lines:  # noqa: ANN401 - as above
    return Lines(node.start_mark.line + 1, node.end_mark.line + 1)


def _without_end(node: Any, lines: Lines, parts: Iterable[Located]) -> Lines:  # noqa: ANN401 - as above
    """The lines of a collection: one in blocks is said to end where the next thing begins."""
    if node.flow_style:
        return lines
    return Lines(lines.first, max((one.lines.last for one in parts), default=lines.first))
