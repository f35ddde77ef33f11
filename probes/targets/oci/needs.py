"""The calls that a runtime makes once its filter is on, and so a profile must let through.

``runtime-calls.toml`` has what was measured (``probes.benchmarks.runtime_calls``). For a release
that is not there the nearest earlier one stands in, and whatever is said of it says so.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from probes.action import Action, FilterReturn
from probes.arch import Arch
from probes.targets.oci.reader import Release, Runtime, Version, spelled, version_of

_FILE: Final = Path(__file__).with_name("runtime-calls.toml")


class Predictable(Protocol):
    """Filters of which it can be told what they return, such as a ``FilterStack``."""

    @property
    def native(self) -> Arch:
        """The native ABI of their machine."""

    def predict(self, where: Arch, number: int) -> FilterReturn | None:
        """What they return for a number whatever the arguments; None if that is unsure."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a release of a runtime makes and needs once its filter is on.

    Attributes:
        runtime: the runtime.
        version: the release that was measured.
        no_new_privs: whether containers have no_new_privs, before which runtimes install the filter
            later.
        source: where it was measured.
        made: the calls that it makes.
        needed: by how they are refused (``kill``, ``eperm``, ``enosys``), those without which no
            container starts.
        full: likewise, those without which only containers as engines make them do not start.
        sometimes: those without which some starts fail.
    """

    runtime: Runtime
    version: Version
    no_new_privs: bool
    source: str
    made: tuple[str, ...]
    needed: Mapping[str, frozenset[str]]
    full: Mapping[str, frozenset[str]]
    sometimes: frozenset[str]


_WAYS: Final = ("kill", "eperm", "enosys")


@cache
def measured() -> tuple[Needs, ...]:
    """All that was measured."""
    return tuple(
        Needs(
            Runtime(row["name"]),
            version_of(row["version"]),
            row["no_new_privs"],
            row["source"],
            tuple(row["made"]),
            {way: frozenset(row[way]) for way in _WAYS},
            {way: frozenset(row[f"{way}_in_full"]) for way in _WAYS},
            frozenset(row["sometimes"]),
        )
        for row in tomllib.loads(_FILE.read_text(encoding="utf-8"))["runtime"]
    )


def nearest(release: Release, *, no_new_privs: bool) -> Needs | None:
    """What was measured of a release, or of the latest one before it; None for earlier ones."""
    earlier = [
        one
        for one in measured()
        if one.runtime is release.name
        and one.no_new_privs == no_new_privs
        and one.version <= release.version
    ]
    return max(earlier, key=lambda one: one.version, default=None)


@dataclass(frozen=True, slots=True)
class Lacking:
    """The calls that a runtime needs and a profile refuses.

    Attributes:
        needs: what was measured.
        surely: by the answer that they get, those without which no container starts.
        usually: likewise, those without which only containers as engines make them do not start.
        sometimes: likewise, those without which some starts fail.
    """

    needs: Needs
    surely: Mapping[str, tuple[str, ...]]
    usually: Mapping[str, tuple[str, ...]]
    sometimes: Mapping[str, tuple[str, ...]]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.surely or self.usually or self.sometimes)

    @property
    def is_fatal(self) -> bool:
        """Whether no container of an engine's starts."""
        return bool(self.surely or self.usually)


def lacking(stack: Predictable, release: Release, *, no_new_privs: bool) -> Lacking | None:
    """The calls that a runtime needs and filters refuse; None where nothing is known of it.

    A call that is refused for some arguments only is not counted.

    Args:
        stack: the filters.
        release: the runtime.
        no_new_privs: whether the containers have no_new_privs.
    """
    needs = nearest(release, no_new_privs=no_new_privs)
    if needs is None:
        return None
    told: tuple[dict[str, list[str]], ...] = ({}, {}, {})
    for call in needs.made:
        number = stack.native.number(call)
        returns = None if number is None else stack.predict(stack.native, number)
        if returns is None or not (ways := _ways(returns)):
            continue
        kinds = (
            all(call in needs.needed[way] for way in ways),
            all(call in needs.needed[way] | needs.full[way] for way in ways),
            call in needs.sometimes,
        )
        if any(kinds):
            told[kinds.index(True)].setdefault(str(returns), []).append(call)
    surely, usually, sometimes = (
        {answer: tuple(calls) for answer, calls in one.items()} for one in told
    )
    return Lacking(needs, surely, usually, sometimes)


_ERRNOS: Final = {1: ("eperm",), 38: ("enosys",)}


def _ways(returns: FilterReturn) -> Sequence[str]:
    """How a call is refused, of what was measured; both errnos stand for another one."""
    if returns.action is Action.ERRNO:
        return _ERRNOS.get(returns.data, ("eperm", "enosys")) if returns.data else ()
    kills = {Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP}
    return ("kill",) if returns.action in kills else ()


def sentences(stack: Predictable, release: Release) -> Iterator[str]:
    """What is to be told of a profile under a runtime.

    Args:
        stack: the filters that the runtime installs.
        release: the runtime.
    """
    sealed = lacking(stack, release, no_new_privs=True)
    usual = lacking(stack, release, no_new_privs=False)
    if usual is None or sealed is None or (not usual.is_fatal and not sealed.is_fatal):
        return
    if sealed.is_fatal:
        yield f"{release} starts no container with it: {words(usual)}"
    else:
        yield (
            f"{release} starts containers with it only where they have no_new_privs "
            f"(allowPrivilegeEscalation: false): {words(usual)}"
        )


def words(found: Lacking) -> str:
    """The calls that are refused, and where it is known from that they are needed."""
    answers: dict[str, list[str]] = {}
    for part in (found.surely, found.usually):
        for answer, calls in part.items():
            answers.setdefault(answer, []).extend(calls)
    told = " and ".join(
        f"{', '.join(sorted(calls))}, which the profile answers with {answer}"
        for answer, calls in answers.items()
    )
    rarely = sorted({call for calls in found.sometimes.values() for call in calls})
    more = f", at times {', '.join(rarely)}, too" if rarely else ""
    return f"once its filter is on it needs {told}{more} ({_source(found.needs)})"


def _source(needs: Needs) -> str:
    return f"measured with {needs.runtime} {spelled(needs.version)}: {needs.source}"


MACHINE: Final = "x86_64"
"""Where all was measured."""


def is_exact(found: Lacking, release: Release, machine: str) -> bool:
    """Whether just this release was measured, on such a machine."""
    return found.needs.version == release.version and machine == MACHINE
