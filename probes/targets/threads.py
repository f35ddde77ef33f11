"""Threads of this machine by the filters that confine them: a stack of filters for each group."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from probes import arch
from probes.arch import Arch
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.finding import Finding
from probes.instrument.harvest import ThreadFilters
from probes.targets.stack import FilterStack

_MOST_NAMES: Final = 3


def native() -> Arch:
    """The native ABI of this machine, whose processes have the filters."""
    return arch.offered_by(arch.machine_here())[0]


def programs_of(raw: Sequence[bytes]) -> tuple[Program, ...]:
    """Filters of this machine's processes, as they were read from the kernel."""
    big_endian = native().big_endian
    return tuple(bpf.from_bytes(one, big_endian=big_endian) for one in raw)


ThreadConfinement = tuple[tuple[bytes, ...], tuple[bool, ...]]
"""The filters of a thread, the oldest first, and for each whether it has the flag that logs."""


def alike(threads: Iterable[ThreadFilters]) -> dict[ThreadConfinement, list[ThreadFilters]]:
    """Threads by what confines them, in the order in which they come."""
    found: dict[ThreadConfinement, list[ThreadFilters]] = {}
    for thread in threads:
        found.setdefault((thread.programs, thread.logged), []).append(thread)
    return found


def stack_of(description: str, confinement: ThreadConfinement) -> FilterStack:
    """The stack of filters of some threads, all of which have the same.

    Args:
        description: what a sentence calls those threads.
        confinement: their filters and the flags of these.
    """
    raw, logged = confinement
    return FilterStack(description, programs_of(raw), native(), logged=logged)


def together(
    description: str, stacks: Sequence[FilterStack], findings: Iterable[Finding] = ()
) -> FilterStack:
    """The stacks of a target's parts as one target.

    Args:
        description: what a sentence calls the whole.
        stacks: that of the first part, and the others.
        findings: what is to be said of the whole.
    """
    first, *others = stacks
    return replace(
        first,
        description=description,
        findings=tuple(findings),
        first=first.description if others else "",
        further=tuple(others),
    )


def named(noun: str, names: Sequence[str]) -> str:
    """Some things by name: ``thread 12 (a)``, or ``threads 12 (a), 13 (b), 14 (c) and 5 more``."""
    left = len(names) - _MOST_NAMES
    more = f" and {left:,} more" if left > 0 else ""
    plural = "" if len(names) == 1 else "es" if noun.endswith("s") else "s"
    return f"{noun}{plural} {', '.join(names[:_MOST_NAMES])}{more}"


def told_apart(stacks: Sequence[FilterStack]) -> list[str]:
    """A sentence for each stack beside the first."""
    return [
        f"stack {number} is that of {one.description}: {_count(one)}, against"
        f" {_count(stacks[0])} of {stacks[0].description}; it is judged like the first"
        for number, one in enumerate(stacks[1:], 2)
    ]


def _count(stack: FilterStack) -> str:
    """How many filters there are, in words."""
    count = len(stack.programs)
    return f"{count or 'no'} filter{'s' if count > 1 else ''}"
