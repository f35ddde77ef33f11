"""Compares the filters of a runtime's exec with those of the container's first process. Pure.

Runtimes have got it wrong: the first process is confined when the container is made, and others
later, by other code. The same bytes are not asked for, since runtimes write down the rules of one
profile in varying order.
"""

from collections.abc import Sequence
from functools import lru_cache

from probes.arch import Arch
from probes.filters import partition
from probes.filters.bpf import Program
from probes.filters.comparison import StackComparison, compare

_MOST_NAMES = 5


@lru_cache(maxsize=4)
def _comparison(
    first: tuple[Program, ...],
    executed: tuple[Program, ...],
    logged: tuple[tuple[bool, ...], tuple[bool, ...]],
    big_endian: bool,  # noqa: FBT001 - a key of the cache
) -> StackComparison:
    """The comparison, kept because it takes a second and serves every ABI."""
    return compare(first, executed, logged=logged, big_endian=big_endian)


def difference(
    first: Sequence[Program],
    executed: Sequence[Program],
    arch: Arch,
    *,
    big_endian: bool,
    logged: tuple[tuple[bool, ...], tuple[bool, ...]] = ((), ()),
) -> str:
    """The calls of an ABI about which the two do different things, in words; "" if there are none.

    All numbers and arguments are compared.

    Args:
        first: the filters of the first process, the oldest first.
        executed: the filters of a process that exec started, the oldest first.
        arch: the ABI.
        big_endian: the byte order of the machine.
        logged: for each filter of both whether it has SECCOMP_FILTER_FLAG_LOG; () where none has.

    Raises:
        TooComplexError: they cannot be compared.
    """
    if (first, logged[0]) == (executed, logged[1]):
        return ""
    comparison = _comparison(tuple(first), tuple(executed), logged, big_endian)
    found = [
        (max(part.first, low), min(part.last, high))
        for part in comparison.analysis.numbers(arch.audit_arch)
        if part.returns & comparison.differing
        for low, high in partition.share(arch)
        if part.first <= high and low <= part.last
    ]
    names = [
        name
        for name, number in sorted(arch.numbers.items())
        if any(low <= number <= high for low, high in found)
    ]
    if names:
        more = f" and {len(names) - _MOST_NAMES} more calls" if len(names) > _MOST_NAMES else ""
        return f"about {', '.join(names[:_MOST_NAMES])}{more}"
    return f"about numbers that no table knows, from {found[0][0]:#x} on" if found else ""
