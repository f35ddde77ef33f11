"""Siblings: calls with the power of documented ones, which a policy may fail to document.

``siblings.toml`` says which there are; it is about the kernel and about no policy. Whether a target
lets one through is found in ``probes.judging.gaps``. Of a documented call that the table does not
know nothing can be said; ``unknown_for`` names it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from probes.documents.policy import Policy

_FILE = Path(__file__).with_name("siblings.toml")


@dataclass(frozen=True, slots=True)
class Sibling:
    """A call with the power of others.

    Attributes:
        name: as the kernel's tables spell it.
        operation: of a multiplexer, the operation that is meant; else "".
        gives: the calls whose power it has.
        whole: whether it does all that they do, rather than a part.
        how: the rest of a sentence that begins with its name.
        arguments: argument lists by which the power is used; empty where no argument matters.
        since: the first kernel release with it.
        always: whether it weakens every filter.
        everyday: whether most programs make it, so that it says little about one of them.
    """

    name: str
    operation: str
    gives: tuple[str, ...]
    whole: bool
    how: str
    arguments: tuple[tuple[int, ...], ...]
    since: str
    always: bool
    everyday: bool = False

    @property
    def label(self) -> str:
        """The name, with the operation of a multiplexer: ``ipc MSGRCV``."""
        return f"{self.name} {self.operation}".rstrip()

    def concerns(self, policy: Policy) -> tuple[str, ...] | None:
        """The documented calls whose power it has; None where it is no gap of this policy."""
        documented = set(policy.names)
        if any(not call.args for call in policy.entries(self.name)):
            return None
        given = tuple(name for name in self.gives if name in documented)
        return given if given or self.always else None


@dataclass(frozen=True, slots=True)
class UnseenWay:
    """A way to the power of calls that no filter of system calls can see.

    Attributes:
        name: the file or the request that leads there.
        gives: the calls whose power it has.
        how: the rest of a sentence that begins with its name.
    """

    name: str
    gives: tuple[str, ...]
    how: str


@cache
def siblings() -> tuple[Sibling, ...]:
    """Every known sibling; one call may be there several times, each time for other calls."""
    families = (one for row in _data()["family"] for one in _of_family(row))
    return (*families, *_single())


def _of_family(row: Mapping[str, Any]) -> Iterator[Sibling]:
    """The members of a family as siblings of each other."""
    calls, less = row["calls"], row.get("less", {})
    for name, since in {**calls, **less}.items():
        whole = name in calls
        others = tuple(one for one in (*calls, *less) if one != name)
        how = f"can {row['does']}" if whole else f"can {row['does']}, though not in every way"
        if others:
            yield Sibling(
                name=name,
                operation="",
                gives=others,
                whole=whole,
                how=how,
                arguments=(),
                since=since,
                always=False,
                everyday=row.get("everyday", False),
            )


def _single() -> tuple[Sibling, ...]:
    return tuple(
        Sibling(
            name=row["name"],
            operation=row.get("operation", ""),
            gives=tuple(row["gives"]),
            whole=row["share"] == "all",
            how=row["how"],
            arguments=tuple(map(tuple, row.get("arguments", ()))),
            since=row["since"],
            always=row.get("always", False),
            everyday=row.get("everyday", False),
        )
        for row in _data()["sibling"]
    )


@cache
def _reviewed() -> frozenset[str]:
    """The calls whose siblings the table lists, or of which it says that there are none."""
    powers = (*(one.gives for one in siblings()), *(one.gives for one in routes()))
    given = (name for power in powers for name in power)
    members = (name for row in _data()["family"] for name in (*row["calls"], *row.get("less", ())))
    return frozenset((*given, *members, *_data()["alone"]))


def unknown_for(policy: Policy) -> tuple[str, ...]:
    """The documented calls that the table of siblings does not know."""
    return tuple(name for name in dict.fromkeys(policy.names) if name not in _reviewed())


@cache
def routes() -> tuple[UnseenWay, ...]:
    """Every known way to a call's power that no filter can see."""
    return tuple(
        UnseenWay(row["name"], tuple(row["gives"]), row["how"]) for row in _data()["route"]
    )


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
