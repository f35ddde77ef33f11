"""Documents in YAML, as Kubernetes has them, in the form in which JSON is read here.

What Kubernetes would read in one way and the next reader in another is refused: a key that is there
twice, and aliases that grow without measure.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from probes.errors import BadInputError
from probes.targets.oci.profile import Members

MAX_BYTES: Final = 2 << 20
"""The largest file: Kubernetes keeps no object of more than 1.5 MiB."""

_MOST_VALUES: Final = 200_000
"""The most values of a file, those behind an alias counted wherever it stands."""

_DEEPEST: Final = 50
"""How deep values may be nested; a SeccompProfile needs eight levels."""


def documents(raw: bytes, path: str) -> list[object]:
    """The documents of a file, mappings as ``Members``.

    Args:
        raw: the file.
        path: its name, as a sentence can hold it.

    Raises:
        BadInputError: it is no YAML, or not such as Kubernetes takes, or nothing here reads it.
    """
    if len(raw) > MAX_BYTES:
        raise BadInputError(
            f"{path}: the file has more than {MAX_BYTES >> 20} MiB, which Kubernetes would not "
            f"keep; name a SeccompProfile"
        )
    library = _library(path)
    try:
        return [_Reader(library, path).read(node, 0) for node in _composed(library, raw) if node]
    except library.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        reason = getattr(error, "problem", None) or type(error).__name__
        raise BadInputError(f"{path}: {where}this is not YAML ({reason}); mend it there") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(
            f"{path}: this is not YAML that Kubernetes takes ({type(error).__name__}); name a "
            f"SeccompProfile"
        ) from error


def _library(path: str) -> ModuleType:
    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        raise BadInputError(
            f"{path}: this is YAML, and what reads it is not installed: pip install pyyaml (or "
            f"have the profile as JSON, by kubectl get -o json)"
        ) from error


def _composed(library: ModuleType, raw: bytes) -> Iterator[Any]:
    # libyaml's parser is not part of every installation.
    loader = getattr(library, "CSafeLoader", library.SafeLoader)
    yield from library.compose_all(raw.decode(), Loader=loader)


@dataclass(slots=True)
class _Reader:
    """Turns nodes into values.

    Attributes:
        library: PyYAML.
        path: the file, for sentences.
        count: how many values were met.
    """

    library: ModuleType
    path: str
    count: int = 0

    def read(self, node: Any, depth: int) -> object:  # noqa: ANN401 - PyYAML has no types
        """The value of a node."""
        self.count += 1
        if depth > _DEEPEST or self.count > _MOST_VALUES:
            raise self._refusal(
                node, "aliases or nesting make more of the file than Kubernetes takes"
            )
        if isinstance(node, self.library.MappingNode):
            return self._members(node, depth)
        if isinstance(node, self.library.SequenceNode):
            return [self.read(one, depth + 1) for one in node.value]
        return _scalar(self.library, node)

    def _members(self, node: Any, depth: int) -> Members:  # noqa: ANN401 - as read
        found = Members()
        seen = set()
        for key, value in node.value:
            if not isinstance(key, self.library.ScalarNode) or key.tag.endswith(":merge"):
                raise self._refusal(key, "a key is no plain word")
            if key.value in seen:
                raise self._refusal(key, f"the key {key.value!r} is there twice; keep one")
            seen.add(key.value)
            found.append((key.value, self.read(value, depth + 1)))
        return found

    def _refusal(self, node: Any, reason: str) -> BadInputError:  # noqa: ANN401 - as read
        return BadInputError(f"{self.path}: line {node.start_mark.line + 1}: {reason}")


_MOST_DIGITS: Final = 25
"""More than any whole number of a profile has, in whatever base but 2."""


def _scalar(library: ModuleType, node: Any) -> object:  # noqa: ANN401 - as read
    """A word's value; what is neither a number nor a truth value stays text."""
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind not in {"int", "bool", "float"}:
        return str(node.value)
    if len(node.value) > _MOST_DIGITS:
        return 1 << 64
    value: object = library.SafeLoader("").construct_object(node)
    return -1 if type(value) is int and value < 0 else value
