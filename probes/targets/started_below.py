"""Processes that have filters, below one that has none.

So it is with most sandboxes: what starts one waits outside of it, unconfined, and what runs inside
was meant.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.text import visible

_FILTERED: Final = b"\nSeccomp:\t2\n"
_DEEPEST: Final = 8
"""The generations that are looked through; no sandbox was seen with more than three."""


@dataclass(frozen=True, slots=True)
class ConfinedProcess:
    """A process that has a filter.

    Attributes:
        pid: its id.
        comm: its name.
    """

    pid: int
    comm: str


def nearest(pid: int) -> list[ConfinedProcess]:
    """Of each line of descent the first process that has a filter.

    Args:
        pid: a process; it may have ended.
    """
    found: list[ConfinedProcess] = []
    generation = [pid]
    for _ in range(_DEEPEST):
        children = [child for one in generation for child in _children(one)]
        confined = [child for child in children if _is_filtered(child)]
        found += [ConfinedProcess(child, _comm(child)) for child in confined]
        generation = [child for child in children if child not in confined]
    return found


def _children(pid: int) -> Iterator[int]:
    """The children that each thread started; none where the kernel does not list them."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, _read(tasks).split())


def _is_filtered(pid: int) -> bool:
    return _FILTERED in _read(Path(f"/proc/{pid}/status"))


def _comm(pid: int) -> str:
    return visible(_read(Path(f"/proc/{pid}/comm")).decode(errors="replace").strip())


def _read(path: Path) -> bytes:
    with suppress(OSError):  # it has ended meanwhile
        return path.read_bytes()
    return b""
