"""A small file system of a test's own, and how it is filled."""

import contextlib
import mmap
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """Mounts an empty file system in memory as long as the context lasts; root's.

    Args:
        place: a new folder.
        size: as for ``mount -o size=``.
    """
    place.mkdir()
    options = f"size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, timeout=20)
    try:
        yield place
    finally:
        # Whoever has a file of it open yet, has it on.
        subprocess.run(["umount", "--lazy", place], check=True, timeout=20)


def fill(log: Path) -> Path:
    """Takes all the room that is left on a log's disk, even in the page that the log has begun.

    Returns:
        A file to be removed, which gives the room back.
    """
    with log.open("ab", buffering=0) as file:
        file.write(b"\n" * (-file.tell() % mmap.PAGESIZE))
    ballast = log.parent / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:  # no room is left
        while file.write(bytes(mmap.PAGESIZE)):
            pass
    return ballast
