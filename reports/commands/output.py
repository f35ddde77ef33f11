"""Where the output of a command goes: a file, written whole or not at all, or standard output."""

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TextIO

from probes.errors import BadInputError
from probes.text import shown
from reports.results.writing import write_whole
from reports.terminal import screen

STANDARD_OUTPUT = "-"
"""The file name that means standard output."""

STANDARD_ERROR = "/dev/stderr"
"""The file name that means standard error, which may be a file that others write to as well."""


def stream(name: str) -> TextIO | None:
    """What a name leads to that stands for a stream of this process's; None for a file."""
    return {STANDARD_OUTPUT: sys.stdout, STANDARD_ERROR: sys.stderr}.get(name)


def write(data: str | bytes, name: str, *, is_lines: bool = False) -> None:
    """Writes what a command has to say.

    A reader of a file finds the old content or the whole new one, never a part. What is there and
    is no regular file, such as /dev/null or a fifo, is written to and not replaced. When a reader
    of standard output has had enough, that is no fault.

    Args:
        data: text, or bytes that are no text.
        name: a file, or ``-`` for standard output.
        is_lines: whether it is lines for people, which a terminal shows in colour.

    Raises:
        BadInputError: it cannot be written, or bytes would go to a terminal.
    """
    if is_lines and isinstance(data, str):
        data = screen.painted(data, stream(name))
    raw = data.encode() if isinstance(data, str) else data
    if name == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise BadInputError("standard output is closed: name a file with -o FILE")
        if isinstance(data, bytes) and sys.stdout.isatty():
            raise BadInputError("a raw program is not for a terminal: name a file with -o FILE")
        _to_standard_output(raw)
        return
    if name == STANDARD_ERROR:
        _to_standard_error(raw)
        return
    path = Path(name)
    try:
        if _is_special(path):
            path.write_bytes(raw)
        else:
            write_whole(raw, path.resolve())  # a symbolic link stays one
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(
            f"{shown(name)}: cannot be written ({reason}): name another file"
        ) from error


def _to_standard_output(raw: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _drop_what_is_left()
    except OSError as error:
        _drop_what_is_left()
        raise BadInputError(
            f"standard output cannot be written ({error.strerror}): name a file with -o FILE"
        ) from error


def _drop_what_is_left() -> None:
    # It would fail once more when the interpreter ends, with an exit status of its own (120).
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_standard_error(raw: bytes) -> None:
    # Where nobody reads what is said, the exit status still says it.
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.flush()
            sys.stderr.buffer.write(raw)
            sys.stderr.buffer.flush()


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
