"""Measures the house: lengths of functions, rooms, imports between them, names with two meanings.

    .ci/measure [FOLDER]

prints the figures of a checkout, this one's by default. Tests and benchmarks are left out, in the
layouts of older commits too. Where a checkout declares no order of rooms, this one's is applied.
"""

import argparse
import ast
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from probes.tests.support import sources
from probes.tests.support.sources import Source

HERE: Final = Path(__file__).parents[3]
"""The checkout to which this file belongs."""


def lengths(found: Iterable[Source]) -> list[int]:
    """The length of every function in lines, from its ``def`` on and with its docstring."""
    return sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for one in found
        for node in ast.walk(one.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def types_of(source: Source) -> Iterator[str]:
    """The public types that a module defines: its classes and the other names in CamelCase."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [one.id for one in node.targets if isinstance(one, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if _is_type(name))


def _is_type(name: str) -> bool:
    return name[0].isupper() and name != name.upper()


def twice_defined(found: Iterable[Source]) -> dict[str, list[str]]:
    """The types of which more than one module defines one, each with its modules."""
    where: dict[str, list[str]] = {}
    for one in found:
        for name in dict.fromkeys(types_of(one)):
            where.setdefault(name, []).append(one.name)
    return _several(where)


def twice_named(found: Iterable[Source]) -> dict[str, list[str]]:
    """The names of files that stand in more than one room, each with its rooms."""
    where: dict[str, list[str]] = {}
    for one in found:
        if one.path.name != "__init__.py":
            where.setdefault(one.path.name, []).append(one.room)
    return _several(where)


def _several(where: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in sorted(where.items()) if len(places) > 1}


def report(repository: Path) -> list[str]:
    """The figures of a checkout, a line each."""
    product = sources.product(sources.read(repository))
    modules = [*product.values()]
    arrows = sources.arrows(product)
    between = sources.between_rooms(arrows, product)
    orders = sources.orders(repository) or sources.orders(HERE)
    upward = sorted({arrow for order in orders for arrow in order.breaches(arrows)})
    missing = sorted({name for order in orders for name in order.missing(product)})
    types, files = twice_defined(modules), twice_named(modules)
    return [
        *_of_functions(lengths(modules)),
        f"modules: {len(modules)}, {sum(len(one.text.splitlines()) for one in modules)} lines",
        *_of_rooms(Counter(one.room for one in modules if one.path.name != "__init__.py")),
        f"arrows between modules: {len(arrows)}",
        f"arrows between rooms: {len(between)}",
        *_listed("circles of modules", map(", ".join, sources.circles(arrows))),
        *_listed("circles of rooms", map(", ".join, sources.circles(between))),
        *_listed("imports that run upwards", map(" -> ".join, upward)),
        *_listed("modules that have no place in the order", missing),
        *_listed("types that more than one module defines", _places(types)),
        *_listed("file names in more than one room", _places(files)),
        f"names with two meanings: {len(types) + len(files)}",
    ]


def _of_functions(found: Sequence[int]) -> Iterator[str]:
    tenths = statistics.quantiles(found, n=10)
    yield (
        f"functions: {len(found)}, lines: median {statistics.median(found):g},"
        f" 90th percentile {tenths[-1]:g}, most {max(found)}"
    )


def _of_rooms(found: Mapping[str, int]) -> Iterator[str]:
    middle, most = statistics.median(found.values()), max(found.values())
    yield f"rooms: {len(found)}, modules a room: median {middle:g}, most {most}"
    yield from (f"    {room}: {count}" for room, count in sorted(found.items()))


def _listed(title: str, found: Iterable[str]) -> Iterator[str]:
    lines = [*found]
    yield f"{title}: {len(lines)}"
    yield from (f"    {line}" for line in lines)


def _places(found: Mapping[str, list[str]]) -> Iterator[str]:
    return (f"{name}: {', '.join(places)}" for name, places in found.items())


def main() -> None:
    """Prints the figures of a checkout."""
    parser = argparse.ArgumentParser(prog=".ci/measure", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="a checkout")
    print("\n".join(report(parser.parse_args().folder)))  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
