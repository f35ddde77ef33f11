"""Which daemons start work for whoever connects to them: ``daemons.toml``, looked up."""

import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).with_name("daemons.toml")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that listens on sockets.

    Attributes:
        name: what to call it.
        starts: what it starts for its clients; "" for nothing.
        programs: patterns of the names that the listening program goes by.
        paths: patterns of the paths of its sockets.
        ports: its TCP ports.
        clients: patterns of the names of programs that talk to nothing else.
        image: whether ``--image`` sees what it starts.
    """

    name: str
    starts: str
    programs: tuple[str, ...]
    paths: tuple[str, ...]
    ports: frozenset[int]
    clients: tuple[str, ...]
    image: bool


@dataclass(frozen=True, slots=True)
class Spool:
    """The files and directories that a daemon looks at for what to run later."""

    name: str
    places: tuple[str, ...]


@cache
def daemons() -> tuple[Daemon, ...]:
    """All that are known."""
    return tuple(
        Daemon(
            name=row["name"],
            starts=row.get("starts", ""),
            programs=tuple(row.get("programs", ())),
            paths=tuple(row.get("paths", ())),
            ports=frozenset(row.get("ports", ())),
            clients=tuple(row.get("clients", ())),
            image=row.get("image", False),
        )
        for row in _data()["daemon"]
    )


@cache
def spools() -> tuple[Spool, ...]:
    """Those of all daemons that are known to."""
    return tuple(Spool(row["name"], tuple(row["places"])) for row in _data()["spool"])


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def by_program(names: Collection[str]) -> Daemon | None:
    """The daemon whose program goes by one of some names."""
    return next((one for one in daemons() if _any(names, one.programs)), None)


def by_path(paths: Collection[str]) -> Daemon | None:
    """The daemon that usually listens at one of some paths.

    Of two that fit, the one that starts work: a path is what anybody may choose.
    """
    fitting = [one for one in daemons() if _any(paths, one.paths)]
    return next((one for one in fitting if one.starts), fitting[0] if fitting else None)


def by_port(port: int) -> Daemon | None:
    """The daemon that usually listens on a TCP port."""
    return next((one for one in daemons() if port in one.ports), None)


def by_client(names: Collection[str]) -> Daemon | None:
    """The daemon that is the only one a program of one of some names talks to."""
    return next((one for one in daemons() if _any(names, one.clients)), None)


def _any(texts: Iterable[str], patterns: Iterable[str]) -> bool:
    known = tuple(patterns)
    return any(fnmatchcase(text, one) for text in texts for one in known)
