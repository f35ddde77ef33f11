"""The archive that a kernel unpacks as its first root file system: cpio's "newc" format. Pure.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Owner and times
are zero, so that equal trees give equal bytes.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_MAGIC: Final = b"070701"
_ALIGN: Final = 4
_BLOCK: Final = 512
"""What the end of an archive is padded to; without it the kernel ignores an archive behind it."""

_TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member of an archive.

    Attributes:
        name: its path, without a leading slash.
        mode: type and permissions, as in stat(2).
        data: the content of a file, or the target of a symbolic link.
        device: major and minor number of a device.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> ArchiveMember:
    """A directory."""
    return ArchiveMember(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, permissions: int = 0o644) -> ArchiveMember:
    """A regular file."""
    return ArchiveMember(name, stat.S_IFREG | permissions, data)


def character_device(name: str, major: int, minor: int) -> ArchiveMember:
    """A character device that everybody may use."""
    return ArchiveMember(name, stat.S_IFCHR | 0o666, device=(major, minor))


def tree(root: Path, under: str = "") -> Iterator[ArchiveMember]:
    """Everything in a folder, in the order of names.

    Args:
        root: the folder.
        under: where its content goes in the archive.
    """
    for path in sorted(root.rglob("*")):
        name = str(PurePosixPath(under) / path.relative_to(root).as_posix())
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield ArchiveMember(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
        elif stat.S_ISDIR(mode):
            yield directory(name)
        elif stat.S_ISREG(mode):
            yield file(name, path.read_bytes(), stat.S_IMODE(mode))


def with_parents(entries: Iterator[ArchiveMember]) -> Iterator[ArchiveMember]:
    """The entries, every folder before what is in it and only once."""
    made: set[str] = set()
    for entry in entries:
        for parent in reversed(PurePosixPath(entry.name).parents):
            if str(parent) != "." and str(parent) not in made:
                made.add(str(parent))
                yield directory(str(parent))
        if not stat.S_ISDIR(entry.mode):
            yield entry
        elif entry.name not in made:
            made.add(entry.name)
            yield entry


def pack(entries: Iterator[ArchiveMember]) -> Iterator[bytes]:
    """The archive in pieces; archives stand behind one another without more ado.

    Args:
        entries: its members; parents are made where they are missing.
    """
    length = 0
    for number, entry in enumerate(with_parents(entries), 1):
        piece = _member(number, entry)
        length += len(piece)
        yield piece
    end = _member(0, ArchiveMember(_TRAILER, 0))
    yield end + bytes(-(length + len(end)) % _BLOCK)


def _member(number: int, entry: ArchiveMember) -> bytes:
    name = os.fsencode(entry.name) + b"\0"
    numbers = (
        *(number, entry.mode, 0, 0, 1, 0, len(entry.data)),  # inode ... links, time, size
        *(0, 0, *entry.device, len(name), 0),  # the device that it is on, its own, name, checksum
    )
    head = _MAGIC + b"".join(b"%08X" % value for value in numbers) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)
