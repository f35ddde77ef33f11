"""The project's own modules, read as text: what imports what, and in which order rooms stand.

A room is a folder with modules in it. Nothing here is imported to be looked at, and only the
standard library is needed, so that any commit of the repository can be read. An import that is
made by name at run time (``importlib``) is not seen.
"""

import ast
import itertools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

FOLDERS: Final = ("cases", "probes", "reports")
"""The repository's packages."""

INDEPENDENT: Final = "|"
"""What stands in a contract between names of one layer that must not import each other."""

EITHER_WAY: Final = ":"
"""What stands there between those that may."""


@dataclass(frozen=True)
class Source:
    """A module as it is written.

    Attributes:
        name: the dotted name by which it is imported.
        path: its file, from the repository's folder on.
        text: what is in the file.
    """

    name: str
    path: Path
    text: str

    @property
    def room(self) -> str:
        """The dotted name of its folder."""
        return ".".join(self.path.parent.parts)

    @property
    def is_product(self) -> bool:
        """Whether it belongs to what users run: no test and no benchmark does."""
        return not any(part == "tests" or "benchmark" in part for part in self.name.split("."))

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text, str(self.path))

    @cached_property
    def imported(self) -> tuple[str, ...]:
        """The dotted name of everything that it imports, wherever in the file it does."""
        return tuple(dict.fromkeys(_imported(self.tree, self.room)))


def _imported(tree: ast.Module, room: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = room.split(".")[: len(room.split(".")) - node.level + 1]
                origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{one.name}" for one in node.names)


def read(repository: Path) -> dict[str, Source]:
    """Every module of the repository, by its name.

    Args:
        repository: the folder that holds ``FOLDERS``; one of them may be missing.
    """
    files = sorted(file for top in FOLDERS for file in (repository / top).rglob("*.py"))
    found = (_source(file, file.relative_to(repository)) for file in files)
    return {one.name: one for one in found}


def _source(file: Path, path: Path) -> Source:
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(name, path, file.read_text(encoding="utf-8"))


def product(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The modules that are neither tests nor benchmarks."""
    return {name: one for name, one in sources.items() if one.is_product}


Arrow = tuple[str, str]
"""Who imports, and what is imported."""


def arrows(sources: Mapping[str, Source]) -> list[Arrow]:
    """Which of the modules imports which other one."""
    return sorted(
        {
            (one.name, target)
            for one in sources.values()
            for target in _modules(one.imported, sources)
            if target != one.name
        }
    )


def _modules(imported: Iterable[str], sources: Mapping[str, Source]) -> Iterator[str]:
    """The modules behind imported names, each of which may be that of something in a module."""
    for name in imported:
        if name in sources:
            yield name
        elif (parent := name.rpartition(".")[0]) in sources:
            yield parent


def between_rooms(found: Iterable[Arrow], sources: Mapping[str, Source]) -> list[Arrow]:
    """Which room imports from which other one."""
    pairs = {(sources[importer].room, sources[imported].room) for importer, imported in found}
    return sorted((importer, imported) for importer, imported in pairs if importer != imported)


def circles(found: Iterable[Arrow]) -> list[tuple[str, ...]]:
    """The groups of which each member reaches every other one by imports."""
    ahead: dict[str, set[str]] = {}
    for importer, imported in found:
        ahead.setdefault(importer, set()).add(imported)
    reached = {name: _reached(name, ahead) for name in ahead}
    groups = {
        tuple(sorted(other for other in names if name in reached.get(other, ())))
        for name, names in reached.items()
        if name in names
    }
    return sorted(groups)


def _reached(start: str, ahead: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        fresh = ahead.get(left.pop(), set()) - found
        found |= fresh
        left += fresh
    return found


@dataclass(frozen=True, slots=True)
class Layer:
    """What stands at one height of a package.

    Attributes:
        members: the names within the package.
        apart: whether they must not import each other.
    """

    members: tuple[str, ...]
    apart: bool


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which the members of a package stand: the upper ones import the lower ones.

    Attributes:
        package: the dotted name; "" for the repository.
        layers: the uppermost first.
    """

    package: str
    layers: tuple[Layer, ...]

    @property
    def heights(self) -> dict[str, int]:
        """How high each member stands, by its dotted name."""
        prefix = f"{self.package}." if self.package else ""
        return {
            f"{prefix}{member}": height
            for height, layer in enumerate(reversed(self.layers))
            for member in layer.members
        }

    def breaches(self, found: Iterable[Arrow]) -> list[Arrow]:
        """The imports that run upwards, or between members that stand apart."""
        heights = self.heights
        apart = [layer.apart for layer in reversed(self.layers)]
        pairs = ((arrow, _member(arrow[0], heights), _member(arrow[1], heights)) for arrow in found)
        return [
            arrow
            for arrow, importer, imported in pairs
            if importer and imported and importer != imported
            if heights[importer] < heights[imported]
            or (heights[importer] == heights[imported] and apart[heights[importer]])
        ]

    def missing(self, sources: Iterable[str]) -> list[str]:
        """The modules and folders of the package that have no place in the order."""
        depth = len(self.package.split(".")) + 1 if self.package else 1
        names = (name.split(".") for name in sources if _is_within(name, self.package))
        members = {".".join(parts[:depth]) for parts in names if len(parts) >= depth}
        return sorted(members - self.heights.keys())


def _is_within(name: str, package: str) -> bool:
    return not package or name.startswith(f"{package}.")


def _member(name: str, heights: Mapping[str, int]) -> str:
    """The member of an order to which a module belongs, or "" where it belongs to none."""
    parts = name.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((one for one in candidates if one in heights), "")


def orders(repository: Path) -> list[Order]:
    """The orders that a checkout's own contracts of import-linter declare; none in an older one."""
    file = repository / "pyproject.toml"
    if not file.exists():
        return []
    settings = tomllib.loads(file.read_text(encoding="utf-8"))
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
    layered = (one for one in contracts if one["type"] == "layers")
    return list(itertools.chain.from_iterable(map(_orders, layered)))


def _orders(contract: Mapping[str, Any]) -> Iterator[Order]:
    layers = tuple(_layer(line) for line in contract["layers"])
    for package in contract.get("containers", [""]):
        yield Order(package, layers)


def _layer(line: str) -> Layer:
    apart = EITHER_WAY not in line
    names = line.split(INDEPENDENT if apart else EITHER_WAY)
    return Layer(tuple(name.strip().strip("()") for name in names), apart)
