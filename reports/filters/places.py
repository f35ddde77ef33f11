"""What a filter is asked about, in the order of a report: ABIs, and their calls by name. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from probes import arch as abis
from probes.arch import X32_SYSCALL_BIT, Arch
from probes.filters import partition
from probes.filters.bpf import U32
from probes.filters.prover import Analysis
from probes.judging import proof

_LISTED_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """An architecture token that a filter compares with, and the ABI that it stands for.

    Attributes:
        title: what a reader calls it.
        token: its token, or the example of several tokens that are treated alike.
        arch: the ABI whose numbers have names; None where no table knows the token.
        remark: what else there is to say.
    """

    title: str
    token: int
    arch: Arch | None
    remark: str = ""

    @property
    def heading(self) -> str:
        """The title with the remark."""
        return f"{self.title} ({self.remark})" if self.remark else self.title

    def shares(self) -> tuple[tuple[int, int], ...]:
        """The numbers that belong here, as ranges."""
        return ((0, U32),) if self.arch is None else partition.share(self.arch)


def places(analysis: Analysis, native: Arch, wanted: Sequence[Arch]) -> tuple[Place, ...]:
    """Where a reader looks: the machine's ABIs, whatever else the filters name, and the rest.

    Args:
        analysis: what the filters do.
        native: the native ABI of their machine.
        wanted: the only ABIs to look at; empty for everything.

    Raises:
        TooComplexError: the filters tell too many tokens apart.
    """
    *named, others = partition.token_classes(analysis)
    if wanted:
        return tuple(abi(arch, is_other=arch.audit_arch in others) for arch in wanted)
    machine = abis.offered_by(native.machine)
    shown = [
        arch
        for arch in abis.ARCHES.values()
        if arch in machine or any(arch.audit_arch in alike for alike in named)
    ]
    shown.sort(key=lambda arch: arch not in machine)
    known = {arch.audit_arch for arch in shown}
    found = [abi(arch, is_other=arch.audit_arch in others) for arch in shown]
    for alike in named:
        if alike.size <= _LISTED_TOKENS:
            found += [
                Place(f"architecture {token:#x}", token, None)
                for token in alike.tokens()
                if token not in known
            ]
        else:
            spelled = ", ".join(f"{first:#x} to {last:#x}" for first, last in alike.ranges[:4])
            more = ", ..." if len(alike.ranges) > 4 else ""  # noqa: PLR2004 - those just spelled
            found.append(Place(f"architectures {spelled}{more}", alike.example, None))
    return (*found, Place("any other architecture", others.example, None))


def abi(arch: Arch, *, is_other: bool = False) -> Place:
    """The place of an ABI.

    Args:
        arch: the ABI.
        is_other: whether the filters treat its token like those that they do not name.
    """
    remark = f"architecture {arch.audit_arch:#x}"
    if arch.audit_arch == abis.ARCHES["x32"].audit_arch:
        which = "with" if arch.name == "x32" else "without"
        remark += f", numbers {which} the x32 bit {X32_SYSCALL_BIT:#x}"
    if is_other:
        remark += "; treated like any other architecture"
    return Place(arch.name, arch.audit_arch, arch, remark)


def number_text(place: Place, number: int) -> str:
    """A number as people read it: ``acct (0xa3)``, or ``0x1d8`` where it has no name."""
    name = place.arch.name_of(number) if place.arch is not None else None
    return f"{name} ({number:#x})" if name else f"{number:#x}"


def range_text(first: int, last: int) -> str:
    """A range of numbers as people read it."""
    return f"{first:#x}" if first == last else f"{first:#x} to {last:#x}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Some of the numbers of a place.

    Attributes:
        named: those that the place's table knows, in order.
        unknown: the others, as ranges in order.
    """

    named: tuple[int, ...]
    unknown: tuple[tuple[int, int], ...]

    @property
    def first(self) -> int:
        """The lowest of them."""
        return min((*self.named, *(first for first, _ in self.unknown)))

    def holds(self, number: int) -> bool:
        """Whether a number is one of them."""
        at = bisect_left(self.named, number)
        if at < len(self.named) and self.named[at] == number:
            return True
        return any(first <= number <= last for first, last in self.unknown)


def within(place: Place, first: int, last: int) -> Numbers:
    """The numbers of a place from first to last; none where the range is another ABI's."""
    named = [] if place.arch is None else sorted(place.arch.numbers.values())
    found: list[int] = []
    unknown: list[tuple[int, int]] = []
    for low, high in place.shares():
        start, end = max(first, low), min(last, high)
        if start <= end:
            found += [number for number in named if start <= number <= end]
            unknown += proof.gaps(start, end, named)
    return Numbers(tuple(found), tuple(unknown))


def together(parts: Iterable[Numbers]) -> Numbers:
    """All numbers of several parts, neighbouring ranges joined."""
    kept = list(parts)
    named = sorted(number for part in kept for number in part.named)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(pair for part in kept for pair in part.unknown):
        if joined and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return Numbers(tuple(named), tuple(joined))


def everything(place: Place) -> Numbers:
    """All numbers of a place."""
    return together(within(place, first, last) for first, last in place.shares())


def unknown_texts(place: Place, numbers: Numbers, most: int) -> Iterator[str]:
    """The numbers without a name, in words; ranges beyond ``most`` are only counted."""
    if not numbers.unknown:
        return
    whole = everything(place)
    if numbers.unknown == whole.unknown:
        yield "every number that no table knows" if whole.named else "every number"
        return
    for first, last in numbers.unknown[:most]:
        yield range_text(first, last)
    rest = numbers.unknown[most:]
    if rest:
        count = sum(last - first + 1 for first, last in rest)
        yield f"{count:,} more numbers that no table knows"
