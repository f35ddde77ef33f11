"""The targets ``docker:``, ``podman:``, ``runc:``, ``crun:``, ``bwrap:``: filters of containers."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes import bpf
from probes.action import Action, FilterReturn
from probes.bpf import Program
from probes.finding import Finding, advice
from probes.targets import Origin
from probes.targets.files import shown
from probes.targets.runtimes import container
from probes.targets.runtimes.wanted import InForce, Wanted

_EVERYTHING_ALLOWED: Final = (bpf.statement(bpf.RET_K, FilterReturn(Action.ALLOW).value),)
"""Does what no filter does."""


@dataclass(frozen=True, slots=True)
class ContainerFilters:
    """What confines a container.

    Attributes:
        description: what a sentence calls it, such as ``docker container of alpine with p.json``.
        programs: the filters of its first process, the oldest first.
        findings: what the filters do not do although it may be expected.
        origin: the container, with the filters of a process that exec started.
        logged: those of all these that were installed with SECCOMP_FILTER_FLAG_LOG.
    """

    description: str
    programs: tuple[Program, ...]
    findings: tuple[Finding, ...]
    origin: Origin
    logged: frozenset[Program] = frozenset()


def load(wanted: Wanted) -> ContainerFilters:
    """Starts a container as its runtime does, and reads what confines it; nothing of it is left.

    A process without any filter is given one that allows everything, so that it is judged, too.

    Raises:
        BadInputError: the runtime refuses, or the filters may not be read by this user.
        InstrumentError: something takes too long, or this kernel does not tell.
    """
    held = container.hold(wanted)
    first = _programs(held.first)
    executed = None if held.executed is None else _programs(held.executed)
    runtime, subject = wanted.program.runtime, shown(wanted.subject)
    origin = Origin(runtime, held.version, subject, held.digest, executed)
    logged = frozenset(_programs(tuple(held.logged))) if held.logged else frozenset()
    findings = advice(_findings(wanted, held))
    return ContainerFilters(_description(wanted, held), first, findings, origin, logged)


def _programs(raw: Sequence[bytes]) -> tuple[Program, ...]:
    big_endian = sys.byteorder == "big"
    return tuple(bpf.from_bytes(one, big_endian=big_endian) for one in raw) or (
        _EVERYTHING_ALLOWED,
    )


def _description(wanted: Wanted, held: container.Held) -> str:
    return (
        f"{wanted.program.runtime} container of {shown(wanted.subject)} with"
        f" {_profile(held.in_force, is_confined=bool(held.first))}"
    )


def _profile(used: InForce, *, is_confined: bool) -> str:
    """What was in force: where the first process has no filter, no profile was, whatever is said.

    Args:
        used: what the runtime says.
        is_confined: whether the container's first process has a filter.
    """
    if is_confined or used.profile == "no profile":
        return used.profile
    if used.lifted:
        return f"no seccomp profile ({used.lifted})"
    if used.profile == "no seccomp profile":
        return used.profile
    return f"no seccomp profile in force, although {used.profile} is named"


def _findings(wanted: Wanted, held: container.Held) -> Iterator[str]:
    runtime = wanted.program.runtime
    if not held.first:
        yield f"{_description(wanted, held)}: its first process has no seccomp filter at all"
    if held.executed == ():
        yield f"a process that {runtime} exec starts there has no seccomp filter at all"
