"""Threads by the filters that confine them, with the flags of each filter by its place."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument.harvest import ThreadFilters

_MOST_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Stack:
    """The filters of some threads, all of which have the same.

    Attributes:
        description: what a sentence calls those threads.
        programs: their filters, the oldest first; none where they are not confined.
        logged: for each of the filters whether it has SECCOMP_FILTER_FLAG_LOG.
    """

    description: str
    programs: tuple[Program, ...]
    logged: tuple[bool, ...]

    @property
    def filters(self) -> str:
        """How many filters there are, in words."""
        count = len(self.programs)
        return f"{count or 'no'} filter{'s' if count > 1 else ''}"


def programs_of(raw: Sequence[bytes]) -> tuple[Program, ...]:
    """Filters of this machine's processes, as they were read from the kernel."""
    big_endian = sys.byteorder == "big"
    return tuple(bpf.from_bytes(one, big_endian=big_endian) for one in raw)


Alike = dict[tuple[tuple[bytes, ...], tuple[bool, ...]], list[ThreadFilters]]
"""Threads by their filters and the flags of these."""


def alike(threads: Iterable[ThreadFilters]) -> Alike:
    """Threads by what confines them, in the order in which they come."""
    found: Alike = {}
    for thread in threads:
        found.setdefault((thread.programs, thread.logged), []).append(thread)
    return found


def named(noun: str, names: Sequence[str]) -> str:
    """Some things by name: ``thread 12 (a)``, or ``threads 12 (a), 13 (b), 14 (c) and 5 more``."""
    left = len(names) - _MOST_NAMES
    more = f" and {left:,} more" if left > 0 else ""
    plural = "" if len(names) == 1 else "es" if noun.endswith("s") else "s"
    return f"{noun}{plural} {', '.join(names[:_MOST_NAMES])}{more}"


def told_apart(stacks: Sequence[Stack]) -> list[str]:
    """A sentence for each stack beside the first."""
    return [
        f"stack {number} is that of {one.description}: {one.filters}, against"
        f" {stacks[0].filters} of {stacks[0].description}; it is judged like the first"
        for number, one in enumerate(stacks[1:], 2)
    ]
