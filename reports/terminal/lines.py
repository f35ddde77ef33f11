"""Texts as lines of a terminal: made visible, and no longer than a line may be. Pure."""

import io
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from probes.text import visible

LEAST_WIDTH: Final = 40
"""No terminal is taken to be narrower."""

MOST_LINES: Final = 20
"""More lines than these are told only to those who ask for all."""

UNCUT: Final = 1_000_000
"""The columns, or the lines, of what is no terminal: as many as are needed."""

_MOST_NAMES_WIDTH: Final = 100
"""How long a line of some names is there: all of them would hide the rest."""

REPORTS: Final = "reports in "
"""How a line begins that says where reports are."""

INDENT: Final = "  "
"""What stands before a line that belongs to the one above it."""


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: those of East Asia take two a character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - most commands start without

    return cell_len(text)


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text, whole, in lines of the width, each after the indent."""
    return [indent + line for line in _wrap(text, max(width - len(indent), LEAST_WIDTH))]


def _wrap(text: str, width: int, **keywords: Any) -> list[str]:  # noqa: ANN401 - textwrap's own
    """Lines of the width as ``textwrap`` makes them, for characters of two columns as well."""
    shown = visible(text)
    if columns(shown) <= len(shown):
        return textwrap.wrap(shown, width, **keywords)
    held = "".join(one + _FILLER * (columns(one) - 1) for one in shown)
    # A word that is broken leaves the first half of a character at the end.
    lines = textwrap.wrap(held, width - 1, **keywords)
    return [line for one in lines if (line := one.replace(_FILLER, ""))]


_FILLER: Final = "\0"
"""The second column of a character; none of what is visible is one."""


def clipped(text: str, width: int, most: int, indent: str = "") -> list[str]:
    """The text in lines of the width; what goes beyond ``most`` lines is cut with an ellipsis."""
    lines = _wrap(text, width, subsequent_indent=INDENT, max_lines=most, placeholder=" …")
    return [indent + line for line in lines]


def cut(text: str, width: int) -> str:
    """The text in one line; what goes beyond the width is cut with an ellipsis."""
    shown = visible(text)
    if columns(shown) <= width:
        return shown
    if shown.isascii():
        return shown[: width - 1] + "…"
    from rich.cells import set_cell_size  # noqa: PLC0415 - as above

    return set_cell_size(shown, width - 1).rstrip() + "…"


def table(rows: Sequence[Sequence[str]], width: int, right: Collection[int] = ()) -> list[str]:
    """Rows under each other; what is too wide for its column goes on below.

    Args:
        rows: as many texts each.
        width: how long a line may be.
        right: the places of the columns of numbers, which end at the right.
    """
    shown = [[visible(text) for text in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(*shown, strict=True)]
    if sum(widths) + len(INDENT) * (len(widths) - 1) <= width:
        return [_row(row, widths, right) for row in shown]
    return _narrow(shown, width, right)


def _row(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    parts = []
    for place, (text, wide) in enumerate(zip(row, widths, strict=True)):
        blanks = " " * (wide - columns(text))
        parts.append(blanks + text if place in right else text + blanks)
    return INDENT.join(parts).rstrip()


def _narrow(rows: Sequence[Sequence[str]], width: int, right: Collection[int]) -> list[str]:
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, len(INDENT), 0, 0), pad_edge=False)
    for place in range(len(rows[0])):
        grid.add_column(justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    # Nothing of where this runs may count: the lines are the same for whoever asks.
    console = Console(file=io.StringIO(), width=width, color_system=None, _environ={})
    with console.capture() as made:
        console.print(grid)
    return [line.rstrip() for line in made.get().splitlines()]


def shortened(said: Sequence[str], most: int = MOST_LINES) -> list[str]:
    """The first of the lines, and how many more there are, if they are more than ``most``."""
    if len(said) <= most:
        return list(said)
    kept = max(most - 1, 0)
    return [*said[:kept], f"and {len(said) - kept:,} more lines: -v tells all"]


def report_lines(written: Iterable[Path]) -> list[str]:
    """Where reports are, a line a folder."""
    folders: dict[Path, list[str]] = {}
    for path in written:
        folders.setdefault(path.parent, []).append(path.name)
    return [visible(f"{REPORTS}{place}: {', '.join(names)}") for place, names in folders.items()]


def name_line(title: str, items: Sequence[str], width: int) -> str:
    """The title and as many of the names as fit: ``acct, bpf and 12 more``."""
    # No more names than this fit: each takes a letter and a comma at the least.
    room = _MOST_NAMES_WIDTH if width == UNCUT else width
    for count in range(min(len(items), room // 2), 0, -1):
        rest = f" and {len(items) - count:,} more" if count < len(items) else ""
        line = visible(f"{title}{', '.join(items[:count])}{rest}")
        if columns(line) <= room or count == 1:
            return cut(line, width)
    return cut(title, width)
