"""Whether what confines a container is what its profile says: the file against its filters.

The profile is compiled here as the container's runtime does, and proved equal to the program that
was read from the container, or not. A runtime may have kept a filter of another profile, or its
libseccomp may be another one than ours: then the container is judged as it is, and the file is not.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes import arch as abi
from probes import files
from probes.action import Action, FilterReturn
from probes.arch import Arch
from probes.errors import BadInputError
from probes.filters import partition
from probes.filters.bpf import Program
from probes.filters.comparison import StackComparison, compare
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight
from probes.runtimes.wanted import GivenProfile
from probes.targets.oci import compile_request, compiler, needs
from probes.targets.oci import profile as oci_profile
from probes.targets.oci.capability import CAPABILITIES, DOCKER_CAPABILITIES
from probes.targets.oci.compiler import Compiled
from probes.targets.oci.profile import UnconfinedError
from probes.targets.oci.reader import Engine, Reader, Release, Runtime, version_of
from probes.targets.oci.resolve import Resolved, listed
from probes.targets.stack import LOG_FLAG, FilterStack
from probes.text import shown

ABOUT: Final = "profile in force"
"""What the finding is about."""

_MOST_BYTES: Final = 16 << 20
_MOST_NUMBERS: Final = 4096
"""How many numbers a range may have of which each is looked at."""


@dataclass(frozen=True, slots=True)
class Harvested:
    """What confines a container's first process.

    Attributes:
        programs: its filters, the oldest first.
        logged: for each whether it has SECCOMP_FILTER_FLAG_LOG; () where none has.
        bounding: the bounding set of its capabilities, a bit for each.
        kernel: version and major revision of the kernel.
        native: the native ABI.
    """

    programs: tuple[Program, ...]
    logged: tuple[bool, ...]
    bounding: int
    kernel: tuple[int, int]
    native: Arch


def compared(given: GivenProfile, found: Harvested) -> Iterator[Finding]:
    """Findings about a container whose filters are not what its profile compiles to here."""
    name = shown(given.path)
    reader = reader_of(given)
    if reader is None:
        yield Finding(
            f"whether what is in force is what {name} says was not compared: how "
            f"{shown(given.runtime) or 'its runtime'} reads profiles is not known here"
        )
        return
    try:
        difference = _compared(given, reader, found)
    except compile_request.EndlessError:
        raise
    except BadInputError as error:
        yield Finding(f"whether what is in force is what {name} says was not compared: {error}")
        return
    if difference is not None:
        yield Finding(
            f"what is in force is not what {name} says: {difference.words}; "
            f"{_cause(given, difference)}. The container is judged as it is, and the file is not",
            Weight.LIMITS,
            ABOUT,
        )


class RefusedError(BadInputError):
    """No container starts under a profile, so that none is made."""


def checked(given: GivenProfile) -> Iterator[str]:
    """Looks at a profile before a container is made.

    Yields:
        What may be the reason if the container does not start.

    Raises:
        RefusedError: by what was measured of this very release, none can start.
    """
    reader = reader_of(given)
    if reader is None:
        return
    native = abi.offered_by(abi.machine_here())[0]
    kernel = compiler.kernel_version(os.uname().release)
    found: list[needs.Lacking] = []
    # What a rule asks of the container's capabilities makes no difference to what is told.
    for held in (DOCKER_CAPABILITIES, frozenset(CAPABILITIES)):
        stack = _expected(given, reader, native, held, kernel)
        if stack is None:
            return
        ways = [given.no_new_privs] if given.no_new_privs is not None else [False, True]
        for way in ways:
            lacking = needs.lacking(stack, reader.runtime, no_new_privs=way)
            if lacking is None:
                return
            found.append(lacking)
        if not found[0].is_fatal:
            return
    told = f"{shown(given.path)}: {reader.runtime}: {needs.words(found[0])}"
    if all(one.surely and needs.is_exact(one, reader.runtime, native.machine) for one in found):
        raise RefusedError(f"{told}: no container starts with it, so none was made; allow them")
    yield told


def _expected(
    given: GivenProfile, reader: Reader, native: Arch, held: frozenset[str], kernel: tuple[int, int]
) -> FilterStack | None:
    """What the runtime makes of a profile; None where that is told when it has refused."""
    try:
        source = oci_profile.parsed(given.content, shown(given.path))
        profile = oci_profile.decode(source, reader.dialect)
        resolved = compiler.resolve(profile, native, held, kernel, reader)
        return FilterStack(source.path, compiler.compile(resolved).programs, native)
    except compile_request.EndlessError:
        raise
    except BadInputError:
        return None


def reader_of(given: GivenProfile) -> Reader | None:
    """Who reads a profile; None where that is not known here."""
    try:
        engine, runtime = Engine(given.engine), Runtime(given.runtime)
    except ValueError:
        return None
    versions = version_of(given.engine_version), version_of(given.runtime_version)
    if not versions[1] or (engine is not Engine.BUNDLE and not versions[0]):
        return None
    return Reader(Release(engine, versions[0]), Release(runtime, versions[1]))


def _compared(given: GivenProfile, reader: Reader, found: Harvested) -> "_Difference | None":
    """How the filters differ from the profile.

    Raises:
        BadInputError: what the reader makes of the profile cannot be told.
    """
    source = oci_profile.parsed(given.content, shown(given.path))
    held = {one for bit, one in enumerate(CAPABILITIES) if found.bounding >> bit & 1}
    try:
        resolved = compiler.resolve(
            oci_profile.decode(source, reader.dialect), found.native, held, found.kernel, reader
        )
    except UnconfinedError:
        if not found.programs:
            return None
        return _Difference("by the file nothing confines it, and there is a filter")
    return _difference(resolved, compiler.compile(resolved), found)


@dataclass(frozen=True, slots=True)
class _Difference:
    """How filters differ from what the profile compiles to.

    Attributes:
        words: that, for a sentence.
        only_errnos: whether they differ in nothing but the numbers of errnos.
    """

    words: str
    only_errnos: bool = False


def _difference(resolved: Resolved, compiled: Compiled, found: Harvested) -> _Difference | None:
    ours = compiled.programs
    big_endian = found.native.big_endian
    flags = (LOG_FLAG in compiled.flags,) * len(ours)
    if (ours, flags) == (found.programs, found.logged):
        return None
    try:
        comparison = compare(
            ours, found.programs, logged=(flags, found.logged), big_endian=big_endian
        )
    except TooComplexError:
        return _Difference("they are too complex to be proved equal")
    if not comparison.differing:
        return None
    unknown = _unknown_here(resolved)
    places = [one for one in _places(comparison) if not _is_explained(one, comparison, unknown)]
    if not places:
        return None
    pairs = [comparison.pairs[index] for one in places for index in one.indices]
    only = all(pair.left.action is pair.right.action is Action.ERRNO for pair in pairs)
    return _Difference(_words(places, comparison), only)


@dataclass(frozen=True, slots=True)
class _Place:
    """A range of numbers of an architecture where two filters differ.

    Attributes:
        token: the architecture's.
        first: the lowest number.
        last: the highest number.
        indices: the pairs of effects that differ there.
    """

    token: int
    first: int
    last: int
    indices: frozenset[int]


def _places(comparison: StackComparison) -> Iterator[_Place]:
    for alike in partition.token_classes(comparison.analysis):
        for span in partition.number_ranges(comparison.analysis, alike.example):
            differing = comparison.analysis.returns(alike.example, span.first)
            differing &= comparison.differing
            if differing:
                yield _Place(alike.example, span.first, span.last, differing)


@dataclass(frozen=True, slots=True)
class _Newer:
    """What a newer libseccomp would make of a profile for one architecture.

    Attributes:
        returns: what the profile's rules return for calls that this machine's does not know.
        named: every number for which the profile has a rule.
        default: what a filter returns for a number without one.
    """

    returns: Mapping[int, tuple[FilterReturn, ...]]
    named: frozenset[int]
    default: FilterReturn

    def explains(self, number: int, pairs: Iterable[tuple[FilterReturn, FilterReturn]]) -> bool:
        """Whether it makes the difference at a number.

        runc answers ENOSYS above the highest number that it knows of a profile, so that newer calls
        move the border: what lies between has the default action then, if no rule names it.

        Args:
            number: the call's.
            pairs: what the profile compiles to here, and what is in force.
        """
        if number in self.returns:
            return all(right in self.returns[number] for _, right in pairs)
        if number in self.named or number > max(self.returns):
            return False
        return all(_is_enosys(left) and right == self.default for left, right in pairs)


def _is_enosys(returns: FilterReturn) -> bool:
    return returns.action is Action.ERRNO and returns.data in _ENOSYS


_ENOSYS: Final = frozenset({38, 89})


def _unknown_here(resolved: Resolved) -> dict[int, _Newer]:
    """By the architecture's token, the calls of a profile that this machine's libseccomp lacks."""
    names = {resolved.native.scmp, *resolved.architectures}
    arches = [one for one in abi.ARCHES.values() if one.scmp in names]
    calls = tuple(dict.fromkeys(rule.name for rule in resolved.rules))
    known = compile_request.numbers(calls, [oci_profile.ARCHITECTURES[one.scmp] for one in arches])
    unknown: dict[int, dict[int, tuple[FilterReturn, ...]]] = {}
    named: dict[int, set[int]] = {}
    for one in arches:
        told = known[oci_profile.ARCHITECTURES[one.scmp]]
        for call in calls:
            number = one.number(call)
            if number is None:
                continue
            named.setdefault(one.audit_arch, set()).add(number)
            if told[call] < 0:
                returns = tuple(rule.returns for rule in resolved.rules if rule.name == call)
                unknown.setdefault(one.audit_arch, {})[number] = returns
    return {
        token: _Newer(returns, frozenset(named[token]), resolved.default)
        for token, returns in unknown.items()
    }


def _is_explained(
    place: _Place, comparison: StackComparison, unknown: Mapping[int, _Newer]
) -> bool:
    """Whether a newer libseccomp makes the difference: it has rules for more of the same calls."""
    newer = unknown.get(place.token)
    if newer is None or place.last - place.first > _MOST_NUMBERS:
        return False
    pairs = [comparison.pairs[index] for index in place.indices]
    if any(pair.left_recorded != pair.right_recorded for pair in pairs):
        return False
    effects = [(pair.left, pair.right) for pair in pairs]
    return all(newer.explains(one, effects) for one in range(place.first, place.last + 1))


def _words(places: Sequence[_Place], comparison: StackComparison) -> str:
    """The first few differences."""
    told: dict[str, list[str]] = {}
    for one in places:
        for index in sorted(one.indices):
            left, right = comparison.pairs[index].words
            key = f"which the file says get {left}, get {right}"
            told.setdefault(key, []).append(_name(one))
    first, *more = told.items()
    words = f"{listed(first[1])}, {first[0]}"
    return f"{words}, and {len(more)} more differences" if more else words


def _name(place: _Place) -> str:
    arch = next(
        (
            one
            for one in abi.ARCHES.values()
            if one.audit_arch == place.token
            and any(low <= place.first <= high for low, high in partition.share(one))
        ),
        None,
    )
    if arch is None:
        return f"calls of architecture {place.token:#x}"
    names = _names(arch, range(place.first, min(place.last, place.first + _MOST_NUMBERS) + 1))
    numbers = names or f"{place.first:#x}" + (f" to {place.last:#x}" * (place.last > place.first))
    return f"{numbers} on {arch}"


def _names(arch: Arch, numbers: Collection[int]) -> str:
    found = [name for name in arch.numbers if arch.number(name) in numbers]
    return listed(found) if found else ""


def _cause(given: GivenProfile, difference: _Difference) -> str:
    """What most likely made the difference."""
    try:
        now = files.read(given.path, _MOST_BYTES, "a seccomp profile")
    except BadInputError:
        now = b""
    if now != given.original:
        return "the file was changed meanwhile"
    runtime = f"{given.runtime} {given.runtime_version}"
    if given.runtime == Runtime.CRUN and difference.only_errnos:
        return (
            f"{runtime} most likely took a filter that it had kept for another profile: what it "
            f"keeps it finds again by everything but errnoRet; empty its folder of state, or start "
            f"the container by crun with another --root"
        )
    here = compile_request.version()
    if given.library and given.library != here:
        return f"{runtime} has libseccomp {given.library}, and here is {here}"
    return (
        f"{runtime} most likely has another libseccomp than {here}, which is here, or took a "
        f"filter that it had kept for another profile"
    )
