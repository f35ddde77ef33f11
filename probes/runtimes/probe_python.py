"""A Python of another root file system, so that it runs in a container that has none.

Mounted somewhere else its program would look for its loader where the container has another one,
or none: so a copy of the program is made that names the loader's new place (PT_INTERP in elf(5)).
Its libraries are found by LD_LIBRARY_PATH, and its own modules beside it.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.text import shown

_CLASS_64_LITTLE_ENDIAN: Final = b"\x7fELF\x02\x01"
_HEADS: Final = struct.Struct("<32xQ14xHH")
"""Fields of the ELF header: offset, size and number of the program headers."""
_SEGMENT: Final = struct.Struct("<I4xQ16xQ")
"""Fields of an ELF program header: type, offset in the file, and size in the file."""
_INTERPRETER: Final = 3
_MOST_LINKS: Final = 40
_LIBRARIES: Final = ("lib", "lib64", "usr/lib", "usr/lib64")


@dataclass(frozen=True, slots=True)
class ProbePython:
    """A Python for containers.

    Attributes:
        root: its root file system.
        program: its program, a path within the root.
        patched: that program's bytes with the loader's new place.
        loader: the loader, on this machine.
        libraries: where its libraries are, paths within the root.
    """

    root: Path
    program: str
    patched: bytes
    loader: Path
    libraries: tuple[str, ...]


def prepare(root: Path, loader_place: str) -> ProbePython:
    """Prepares the Python of a root file system.

    Args:
        root: the root file system, such as mmdebstrap --include=python3-minimal makes.
        loader_place: where the loader will be in the container.

    Raises:
        BadInputError: there is none, or none that can be used.
    """
    program = _resolved(root, "usr/bin/python3")
    try:
        raw = (root / program).read_bytes()
    except OSError as error:
        raise BadInputError(
            f"--probe-python {shown(root)}: there is no usr/bin/python3 ({error.strerror}): name a"
            " root file system with Python 3.11 or newer"
        ) from error
    start, size = _interpreter(root, raw)
    named = raw[start : start + size].rstrip(b"\0")
    new = loader_place.encode().ljust(size, b"\0")
    loader = root / _resolved(root, named.decode().lstrip("/"))
    if not loader.is_file() or len(new) > size:
        raise BadInputError(
            f"--probe-python {shown(root)}: the loader of its Python, {shown(named.decode())}, is"
            " not there: name a whole root file system"
        )
    patched = raw[:start] + new + raw[start + size :]
    return ProbePython(root, program, patched, loader, _libraries(root))


def _interpreter(root: Path, raw: bytes) -> tuple[int, int]:
    """Where the program names its loader, and in how many bytes."""
    if raw.startswith(_CLASS_64_LITTLE_ENDIAN) and len(raw) > _HEADS.size:
        first, length, count = _HEADS.unpack_from(raw)
        for index in range(count):
            kind, offset, size = _SEGMENT.unpack_from(raw, first + index * length)
            if kind == _INTERPRETER:
                return offset, size
    raise BadInputError(
        f"--probe-python {shown(root)}: its usr/bin/python3 is no dynamic 64-bit program"
    )


def _resolved(root: Path, path: str) -> str:
    """A path within the root, its symbolic links followed as after chroot(2)."""
    done: list[str] = []
    left = path.split("/")
    for _ in range(_MOST_LINKS * len(left)):
        if not left:
            return "/".join(done)
        part = left.pop(0)
        if part == "..":
            done = done[:-1]
        elif part not in {"", "."}:
            here = root.joinpath(*done, part)
            if here.is_symlink():
                link = str(here.readlink())
                done = [] if link.startswith("/") else done
                left = [*link.split("/"), *left]
            else:
                done.append(part)
    raise BadInputError(f"--probe-python {shown(root)}: too many symbolic links at {shown(path)}")


def _libraries(root: Path) -> tuple[str, ...]:
    """The folders with libraries, each by its own name only once."""
    named = [_resolved(root, name) for name in _LIBRARIES]
    folders = [
        _resolved(root, f"{name}/{folder.name}")
        for name in named
        if (root / name).is_dir()
        for folder in sorted((root / name).glob("*-linux-*"))
    ]
    return tuple(name for name in dict.fromkeys([*folders, *named]) if (root / name).is_dir())
