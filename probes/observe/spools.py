"""Files that are left for a daemon to run later: a workload needs no socket for that."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probes.observe.daemons import Spool, spools

Left = Mapping[str, tuple[int, int]]
"""Files by their paths: inode and time of the last change."""


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A file that came while a workload ran.

    Attributes:
        path: the file.
        daemon: what will run it.
    """

    path: str
    daemon: str


def left(places: Iterable[str]) -> Left:
    """What some files and directories hold; many a machine has none of them."""
    found = {}
    for place in places:
        for path in _files(place):
            with contextlib.suppress(OSError):
                state = os.lstat(path)
                found[path] = (state.st_ino, state.st_mtime_ns)
    return found


def _files(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [one.path for one in entries if not one.is_dir(follow_symlinks=False)]
    except NotADirectoryError:
        return [place]
    except OSError:
        return []


def now() -> Mapping[Spool, Left]:
    """What is left for each daemon that is known to look for files."""
    return {one: left(one.places) for one in spools()}


def since(before: Mapping[Spool, Left]) -> tuple[SpooledFile, ...]:
    """What has come or changed since."""
    return tuple(
        SpooledFile(path, spool.name)
        for spool, files in now().items()
        for path, state in sorted(files.items())
        if before.get(spool, {}).get(path) != state
    )
