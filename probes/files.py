"""Reads files that a user names: a file of the wrong kind is refused and never hangs the run."""

import os
import stat
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.text import shown

SUITE: Final = Path(__file__).parents[1]
"""The folder in which the suite's own folders stand: a checkout, or where it was installed."""

CASES: Final = SUITE / "cases"
"""The folder of the tests that a run consists of."""

DEFAULT_POLICY: Final = CASES / "policies" / "container-restrictions.toml"
"""The policy that ships with the suite."""


def read(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a regular file, or ``limit`` + 1 of them where it is larger.

    Args:
        path: the file.
        limit: the size in bytes above which the caller refuses the file.
        what: what it should be, such as ``a seccomp profile``.

    Raises:
        BadInputError: it cannot be read, or is a directory, a pipe or a device.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits for a writer, and a tape rewinds.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise _unreadable(path, what, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # a file object of a directory cannot even be made
        raise BadInputError(f"{shown(path)}: this is not a regular file; name {what}")
    with os.fdopen(descriptor, "rb") as file:
        try:
            return file.read(limit + 1)
        except OSError as error:
            raise _unreadable(path, what, error) from error


def read_whole(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a regular file that is not larger than a limit.

    Args:
        path: the file.
        limit: its largest size in bytes, at least a MiB.
        what: what it should be, such as ``a seccomp profile``.

    Raises:
        BadInputError: it cannot be read, is larger, or is a directory, a pipe or a device.
    """
    content = read(path, limit, what)
    if len(content) > limit:
        raise BadInputError(f"{shown(path)}: it has more than {limit >> 20} MiB: name {what}")
    return content


def _unreadable(path: Path, what: str, error: OSError | ValueError) -> BadInputError:
    reason = error.strerror if isinstance(error, OSError) else error
    return BadInputError(
        f"{shown(path)}: {what} cannot be read from there ({reason}); check the path and its "
        f"permissions"
    )


def in_repository(path: Path) -> str:
    """A file's place below the root of its repository, with slashes; "" where that is not known.

    Args:
        path: the file as it was named. Outside of any repository a relative name counts as it is,
            for pipelines name files from the root of what they have checked out. The suite's own
            files stand below its root, wherever it is installed.
    """
    try:
        whole = path.resolve(strict=True)
        if whole.is_relative_to(SUITE):
            return whole.relative_to(SUITE).as_posix()
        for folder in whole.parents:
            if (folder / ".git").exists():
                return whole.relative_to(folder).as_posix()
    except (OSError, ValueError, RuntimeError):  # it is gone, no name of a file, or a loop of links
        pass
    is_below = not path.is_absolute() and ".." not in path.parts
    return path.as_posix() if is_below and path.parts else ""


def kernel_lines(raw: bytes) -> list[str]:
    """The lines of a file of /proc. Pure.

    A process chooses its name, in which the kernel escapes newlines alone: any other character that
    Python takes for the end of a line could forge one.

    Args:
        raw: the file's content.
    """
    text = raw.decode(errors="replace").removesuffix("\n")
    return text.split("\n") if text else []
