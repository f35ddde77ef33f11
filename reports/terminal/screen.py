"""Lines as a terminal shows them: in the colours of their signs, where it has colours.

What is no terminal gets the lines as they are. Whether there are colours, and which, rich tells by
the terminal, NO_COLOR, FORCE_COLOR and TERM.
"""

import os
import shutil
from typing import Final, TextIO

from reports.causes import looks
from reports.terminal.lines import LEAST_WIDTH

_RICHS: Final = {"purple": "magenta"}
"""The colours that rich calls otherwise than pytest does."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at what is written there."""
    return stream is not None and not stream.closed and stream.isatty()


def moves(stream: TextIO | None) -> bool:
    """Whether a line there can be taken back, as a bar of progress has to be."""
    return is_terminal(stream) and os.environ.get("TERM") not in {None, "", "dumb", "unknown"}


def width(stream: TextIO | None, otherwise: int) -> int:
    """The columns of a terminal.

    Args:
        stream: what leads there.
        otherwise: what counts where it is no terminal.
    """
    if stream is None or not is_terminal(stream):
        return otherwise
    # Of the terminal itself, not of the one that standard output may be.
    wide = os.environ.get("COLUMNS", "")
    if wide.isascii() and wide.isdigit() and int(wide) > 0:
        return max(LEAST_WIDTH, int(wide))
    return max(LEAST_WIDTH, _columns(stream))


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or shutil.get_terminal_size().columns
    except OSError:
        return shutil.get_terminal_size().columns


def painted(text: str, stream: TextIO | None) -> str:
    """The text with the escapes that colour its lines on this stream, if any.

    Args:
        text: lines, in which nothing acts on a terminal.
        stream: where they are going to be written.
    """
    if stream is None or os.environ.get("NO_COLOR"):
        return text
    if not is_terminal(stream) and not os.environ.get("FORCE_COLOR"):
        return text
    from rich.console import Console  # noqa: PLC0415 - a pipe needs none of it
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream)
    if console.color_system is None:
        return text
    with console.capture() as made:
        for line in text.splitlines():
            style = " ".join(_RICHS.get(one, one) for one in looks.colours(line))
            # As a Text, names are no markup; the terminal itself breaks what is longer than it.
            console.print(Text(line, style), soft_wrap=True)
    return made.get()
