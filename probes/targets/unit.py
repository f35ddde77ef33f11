"""The target ``unit:NAME``: what confines the processes of a unit of systemd, or a control group.

Where systemd manages the machine it is asked for the unit's control group; elsewhere, as in a
container that sees the host's processes, the group is found by its path, in which systemd puts a
unit's name below those of the slices around it (systemd.slice(5)).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.errors import BadInputError
from probes.finding import Finding, Weight, advice
from probes.instrument import control_groups
from probes.instrument.control_groups import SYSTEMD, UNIFIED, ControlGroup
from probes.instrument.harvest import Harvest
from probes.instrument.several import Harvests, filters_of_all
from probes.runtimes import systemd
from probes.runtimes.systemd import Unit
from probes.targets import sandbox_kernel
from probes.targets.process_stacks import stacks_of
from probes.targets.stack import FilterStack
from probes.targets.threads import named, together, told_apart
from probes.text import shown

_SUFFIX: Final = ".service"
_SUFFIXES: Final = (
    *(_SUFFIX, ".scope", ".slice", ".socket", ".mount", ".swap"),
    *(".target", ".timer", ".path", ".device", ".automount"),
)
_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
_TEMPLATE: Final = re.compile(r".*@\.[a-z]+")
_SLICE: Final = ".slice"
_FIRST: Final = 1
_MANAGER: Final = "init.scope"
_HIERARCHIES: Final = frozenset({SYSTEMD, UNIFIED})
"""Where systemd has its groups: in one of the two, or in both."""

_STEADY: Final = frozenset({"active", "reloading", "refreshing"})


def load(word: str) -> FilterStack:
    """Reads the filters of every thread of every process of a unit; all of them go on unchanged.

    Args:
        word: the unit as systemctl(1) takes it, or the path of a control group, which begins with
            a slash.

    Raises:
        BadInputError: there is no such unit, it has no process, or this user may not read one.
        InstrumentError: this kernel does not tell, or a process cannot be stopped in time.
    """
    if word.startswith("/"):
        return _load(_by_path(word))
    name = full_name(word)
    return _load(_by_manager(name) if systemd.manages() else _by_name(name))


def full_name(word: str) -> str:
    """A unit's whole name, as systemctl(1) makes it: a service where no kind is given.

    Raises:
        BadInputError: no unit can be called so.
    """
    if not _NAME.fullmatch(word):
        raise BadInputError(
            f"unit:{shown(word)}: a unit's name has letters, digits and any of : - _ . \\ @: name"
            " one unit, as systemctl list-units does, or a control group by its path"
        )
    name = word if word.endswith(_SUFFIXES) else f"{word}{_SUFFIX}"
    if _TEMPLATE.fullmatch(name):
        raise BadInputError(
            f"unit:{word}: {name} is a template, which has no process: name an instance of it,"
            f" such as {name.replace('@', '@NAME', 1)}"
        )
    return name


@dataclass(frozen=True, slots=True)
class _Meant:
    """The processes that a word stands for.

    Attributes:
        description: what a sentence calls them.
        is_meant: says of a control group whether its processes are among them.
        none: why there may be none.
        said: gives, asked after the reading, what is to be said of the unit itself: whether it
            has what it is to have, and whether it changed; the argument is whether every process
            is confined.
    """

    description: str
    is_meant: Callable[[ControlGroup], bool]
    none: str
    said: Callable[[bool], Iterator[Finding]]


def _by_path(word: str) -> _Meant:
    path = word.rstrip("/")
    if not path:
        raise BadInputError(
            f"unit:{word}: every process is in that group: name one below it, such as"
            " /system.slice/cron.service"
        )
    return _Meant(
        f"control group {shown(path)}",
        lambda group: group.is_within(path),
        "no process is in it, or none that this user sees: /proc/PID/cgroup has the path of each",
        lambda _confined: iter(()),
    )


def _by_manager(name: str) -> _Meant:
    """The processes of a unit by what systemd says of it."""
    unit = systemd.unit(name)
    _refuse_what_does_not_run(unit)
    places = _seen_from_here(unit.group)
    return _Meant(
        f"unit {unit.name}",
        lambda group: any(
            group.hierarchy == place.hierarchy and group.is_within(place.path) for place in places
        ),
        f"it is {_state(unit)} and has no process",
        lambda confined: _said(unit, confined=confined),
    )


def _refuse_what_does_not_run(unit: Unit) -> None:
    if unit.load == "not-found":
        raise BadInputError(
            f"unit:{unit.name}: systemd has no such unit: systemctl list-units --all lists those"
            " that it has; one of a user's own manager is named by the path of its control group"
        )
    if not unit.group:
        raise BadInputError(
            f"unit:{unit.name}: it is {_state(unit)} and has no process: start it first"
        )


def _state(unit: Unit) -> str:
    said = [unit.active, f"({unit.sub})"]
    if unit.load not in {"loaded", ""}:
        said.insert(0, f"{unit.load},")
    if unit.result not in {"success", ""}:
        said.append(f"with the result {unit.result}")
    return " ".join(said)


def _seen_from_here(group: str) -> tuple[ControlGroup, ...]:
    """The unit's groups as this process sees them, which may be in another cgroup namespace.

    Args:
        group: the path by which systemd calls it.
    """
    root = systemd.root_group()
    found = tuple(
        ControlGroup(one.hierarchy, f"{one.path.removesuffix(root)}{group}")
        for one in _first_process()
        if root and one.path.endswith(root)
    )
    return found or tuple(ControlGroup(one, group) for one in sorted(_HIERARCHIES))


def _first_process() -> tuple[ControlGroup, ...]:
    groups = control_groups.groups_of(_FIRST)
    return tuple(one for one in groups if one.hierarchy in _HIERARCHIES)


def _said(unit: Unit, *, confined: bool) -> Iterator[Finding]:
    options = () if confined else systemd.filters_asked_for(unit.name)
    if options:
        yield Finding(
            f"unit {unit.name} has {' and '.join(options)}, and yet some of its processes have no"
            " filter: systemd gives none to a command with + before it, and from 259 on none at all"
            " where the library libseccomp.so.2 is not installed, with a mere warning in its log"
        )
    yield from _changes(unit)


def _changes(before: Unit) -> Iterator[Finding]:
    """What is to be said of a unit after its processes were read."""
    after = systemd.unit(before.name)
    if after.invocation != before.invocation:
        yield Finding(
            f"unit {before.name} was started anew while it was read, so that what was judged may"
            " not be what runs now: run the suite again",
            Weight.LIMITS,
            "a unit that is started anew",
        )
    unsteady = next((one for one in (before, after) if one.active not in _STEADY), None)
    if unsteady is not None:
        yield Finding(
            f"unit {before.name} is {_state(unsteady)}, so that what was judged may not be what"
            " confines it when it runs: judge it once it is active",
            Weight.LIMITS,
            "a unit that starts or ends",
        )


def _by_name(name: str) -> _Meant:
    """The processes of a unit by the paths of control groups, where systemd cannot be asked."""
    group = _only_group(name)
    return _Meant(
        f"unit {name}",
        lambda one: one.hierarchy in _HIERARCHIES and one.is_within(group),
        "its processes have ended",
        lambda _confined: iter(()),
    )


def _only_group(name: str) -> str:
    """The path of the one control group that is a unit's.

    Raises:
        BadInputError: there is none, or more than one.
    """
    prefixes = {
        one.path.removesuffix(f"/{_MANAGER}")
        for one in _first_process()
        if one.path.endswith(f"/{_MANAGER}")
    }
    groups = (group for _, groups in control_groups.processes() for group in groups)
    found = sorted(
        {
            path
            for group in groups
            if group.hierarchy in _HIERARCHIES and (path := unit_path(group, name, prefixes))
        }
    )
    if not found:
        raise BadInputError(
            f"unit:{name}: no process is in a control group of this unit, and systemd, which would"
            " know it, cannot be asked here (it is not the first process, or systemctl is not"
            " there): start the unit, or run the suite in the host's pid namespace"
        )
    if len(found) > 1:
        raise BadInputError(
            f"unit:{name}: there is more than one control group of this unit:"
            f" {', '.join(map(shown, found))}: name one by its path"
        )
    return found[0]


def unit_path(group: ControlGroup, name: str, prefixes: Sequence[str] | set[str]) -> str:
    """The path of a unit's own group, if a group is that or below it; "" otherwise.

    A unit's group stands below those of its slices, and these below the manager's root. Of a name
    that would be one of the kernel's files systemd makes one with an underscore before it.

    Args:
        group: the group.
        name: the unit's whole name.
        prefixes: where the root of a manager is known to be; empty where that is not known.
    """
    parts = group.parts
    for place, part in enumerate(parts):
        if part.removeprefix("_") != name:
            continue
        start = place
        while start and parts[start - 1].endswith(_SLICE):
            start -= 1
        above = "".join(f"/{one}" for one in parts[:start])
        if not prefixes or above in prefixes:
            return "".join(f"/{one}" for one in parts[: place + 1])
    return ""


def _load(meant: _Meant) -> FilterStack:
    own = os.getpid()
    seen_own: list[bool] = []

    def listed() -> list[int]:
        pids = control_groups.members(meant.is_meant)
        seen_own.append(own in pids)
        return [pid for pid in pids if pid != own]

    found = filters_of_all(listed)
    if not found.processes:
        raise BadInputError(f"{meant.description}: {meant.none}")
    stacks = stacks_of(found.processes, meant.description)
    findings = [
        *_findings(meant.description, found, stacks, is_own=any(seen_own)),
        *meant.said(all(one.programs for one in stacks)),
    ]
    if len(stacks) == 1:
        # What a sentence calls the whole need not number its processes.
        return together(_whole(meant.description, found.processes), stacks, findings)
    return together(meant.description, stacks, findings)


def _whole(description: str, processes: Sequence[Harvest]) -> str:
    return f"{description} ({named('process', [f'{one.pid} ({one.comm})' for one in processes])})"


def _findings(
    description: str, found: Harvests, stacks: Sequence[FilterStack], *, is_own: bool
) -> Iterator[Finding]:
    if not found.settled:
        yield Finding(
            f"the processes of {description} kept changing while they were read, so that some may"
            " not be judged: judge it while it starts none",
            Weight.LIMITS,
            "processes that come and go",
        )
    if is_own:
        yield Finding(
            f"this very process belongs to {description}, and cannot read its own filters: run the"
            " suite elsewhere, such as in a session or a unit of its own",
            Weight.LIMITS,
            "this very process",
        )
    yield from _sandboxes(description, found.processes)
    if not any(one.programs for one in stacks):
        yield Finding(f"{description} has no seccomp filter at all (Seccomp: 0 in its status)")
    yield from advice(told_apart(stacks))


def _sandboxes(description: str, processes: Sequence[Harvest]) -> Iterator[Finding]:
    """What is to be said of processes in which whole sandboxes run."""
    found = {one.pid: kind for one in processes if (kind := sandbox_kernel.of_process(one.pid))}
    if not found:
        return
    names = [f"{one.pid} ({found[one.pid]})" for one in processes if one.pid in found]
    yield Finding(
        f"sandboxes are run in {named('process', names)} of {description}, whose own filters are"
        " there to protect the host, and are not what confines the programs in the sandboxes:"
        " judge these from inside, with --target=ambient",
        Weight.LIMITS,
        "the sandbox's programs",
        everything=len(found) == len(processes),
    )
