"""Targets that are containers which are started: ``docker:IMAGE``, ``runc:BUNDLE`` and the like."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from probes import files
from probes.arch import Arch
from probes.documents import located
from probes.errors import BadInputError
from probes.finding import Finding, Weight, advice
from probes.runtimes import container
from probes.runtimes.wanted import InForce, Wanted
from probes.targets import given_profile, library
from probes.targets.oci import rule_lines
from probes.targets.oci.resolve import kernel_version
from probes.targets.process_stacks import names_by_stack
from probes.targets.stack import FilterStack, Library, Origin
from probes.targets.threads import (
    ThreadConfinement,
    named,
    programs_of,
    stack_of,
    together,
    told_apart,
)
from probes.text import shown
from probes.written import WrittenProfile


def load(wanted: Wanted) -> FilterStack:
    """Starts a container as its runtime does, and reads what confines it; nothing of it is left.

    Raises:
        BadInputError: the runtime refuses, or the filters may not be read by this user.
        InstrumentError: something takes too long, or this kernel does not tell.
    """
    told: list[str] = []
    try:
        held = container.hold(wanted, lambda given: told.extend(given_profile.checked(given)))
    except given_profile.RefusedError:
        raise
    except BadInputError as error:
        if told:
            raise BadInputError(f"{error}; {'; '.join(told)}") from error
        raise
    executed = None if held.executed is None else programs_of(held.executed)
    runtime, subject = wanted.program.runtime, shown(wanted.subject)
    origin = Origin(runtime, held.version, subject, held.digest, executed, held.executed_logged)
    description = _description(wanted, held)
    stacks = list(_stacks(wanted, description, held))
    findings = (*_findings(wanted, held, stacks), *_compared(held, stacks[0]))
    whole = together(description, stacks, findings)
    return replace(whole, origin=origin, written=tuple(_written(wanted, held)))


def _written(wanted: Wanted, held: container.Held) -> Iterator[WrittenProfile]:
    """The file from which the runtime has taken the filter, where users have given one."""
    given, path = held.in_force.given, wanted.seccomp
    if given is not None:
        yield rule_lines.of_profile(given.path, given.original)
    elif path is not None:
        with contextlib.suppress(BadInputError):  # the runtime could read it, and it is gone now
            raw = files.read(path, located.MOST_BYTES, "a seccomp profile")
            yield rule_lines.of_profile(path, raw)


def _library(wanted: Wanted, held: container.Held, native: Arch) -> Library | None:
    """The libseccomp that makes the container's filters; None where none does."""
    if wanted.program.runtime == _WITHOUT_LIBSECCOMP:
        return None
    given = held.in_force.given
    return library.here(native, "" if given is None else given.library)


_WITHOUT_LIBSECCOMP: Final = "bwrap"
"""The runtime that takes programs as they are."""


def _compared(held: container.Held, first: FilterStack) -> Iterator[Finding]:
    """What is in force against the profile that was given."""
    given = held.in_force.given
    if given is None or held.in_force.lifted:
        return
    yield from given_profile.compared(
        given,
        given_profile.Harvested(
            programs=first.programs,
            logged=first.logged,
            bounding=held.bounding,
            kernel=kernel_version(os.uname().release),
            native=first.native,
        ),
    )


def _stacks(wanted: Wanted, description: str, held: container.Held) -> Iterator[FilterStack]:
    """What confines the container's processes: each stack of filters once."""
    groups: dict[ThreadConfinement, list[str]] = {
        (held.first, held.logged): [f"{held.first_pid} (the first program)"]
    }
    for confinement, names in names_by_stack(held.others).items():
        groups.setdefault(confinement, []).extend(names)
    for process, words in held.beside:
        for confinement, names in names_by_stack((process,)).items():
            groups.setdefault(confinement, []).extend(f"{name}, {words}" for name in names)
    for confinement, names in groups.items():
        words = f"{named('process', names)} of the {description}"
        stack = stack_of(words, confinement)
        yield replace(stack, library=_library(wanted, held, stack.native))


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


def _findings(
    wanted: Wanted, held: container.Held, stacks: Sequence[FilterStack]
) -> Iterator[Finding]:
    runtime = wanted.program.runtime
    description = _description(wanted, held)
    if not held.first:
        yield Finding(f"{description}: its first process has no seccomp filter at all")
    if held.executed == ():
        yield Finding(f"a process that {runtime} exec starts there has no seccomp filter at all")
    if not held.settled:
        yield Finding(
            f"the processes of the {description} kept changing while they were read, so that some"
            " may not be judged: run the suite again",
            Weight.LIMITS,
            "processes that come and go",
        )
    yield from advice(held.notes)
    yield from advice(told_apart(stacks))
