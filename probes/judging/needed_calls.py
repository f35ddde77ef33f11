"""The calls that each claim needs for a verdict on a cell. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import Action, Profile
from probes.cell import CellKey
from probes.instrument.calls import Route


class Way(StrEnum):
    """The ways in which a confined process might escape its filter, each a variant of a cell."""

    FORK = "fork"
    THREAD = "thread"
    EXECVE = "execve"
    SETUID = "setuid"
    LATER_FILTER = "later filter"
    REMOVAL = "removal"
    RUNTIME_EXEC = "runtime exec"


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls from which a verdict on one cell is drawn.

    Attributes:
        witnessed: whether a call is made under the witness, so that it cannot run.
        free: whether a call is made under the filter alone, so that it runs if it is let through.
        control: whether a call is made without any filter.
        route: who makes the first two calls.
        records: whether the audit trail is read.
        plainly: whether the witnessed call is also made without the witness's mark, where the
            witness has one: a filter could refuse marked calls only.
    """

    witnessed: bool = True
    free: bool = False
    control: bool = False
    route: Route = Route.DIRECT
    records: bool = False
    plainly: bool = False


CallsOf = Callable[[CellKey], Calls]
"""Gives the calls that a cell needs."""


def plain(_: CellKey) -> Calls:
    """One call under the witness by the process that is confined."""
    return Calls()


def always(calls: Calls) -> CallsOf:
    """The same calls for every cell.

    Args:
        calls: the calls for each cell.
    """
    return lambda _: calls


def of_control(key: CellKey) -> Calls:
    """The calls that show what a known filter does."""
    # LOG stands below the witness's ERRNO, which would leave no record.
    return Calls(free=key.variant == Action.LOG.name, route=Route.SIBLING, records=True)


def of_unknown_number(key: CellKey) -> Calls:
    """The calls that show what the profile does at a number that no table knows."""
    return _of_profile(key, _route(key), plainly=key.profile != Profile.LOG)


def of_way(key: CellKey) -> Calls:
    """The calls that show whether a process has escaped its filter by one of the ways."""
    return _of_profile(key, _ROUTES.get(Way(key.variant)) or _route(key))


def _of_profile(key: CellKey, route: Route, *, plainly: bool = False) -> Calls:
    logs = key.profile == Profile.LOG
    return Calls(free=logs, control=logs, route=route, records=logs, plainly=plainly)


def _route(key: CellKey) -> Route:
    return Route.SIBLING if key.profile == Profile.KILL else Route.DIRECT


_ROUTES: Final = {
    Way.FORK: Route.FORK,
    Way.THREAD: Route.THREAD,
    Way.EXECVE: Route.EXECVE,
    Way.SETUID: Route.SETUID,
    Way.LATER_FILTER: Route.DIRECT,
    Way.REMOVAL: Route.REMOVAL,
}
"""Who makes the call after each way; ``RUNTIME_EXEC`` is none that this process could go."""
