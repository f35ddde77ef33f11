"""Texts as lines of a terminal: made visible, and no longer than a line may be. Pure."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from probes.text import visible

LEAST_WIDTH: Final = 40
"""No terminal is taken to be narrower."""

REPORTS: Final = "reports in "
"""How a line begins that says where reports are."""

INDENT: Final = "  "
"""What stands before a line that belongs to the one above it."""


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text, whole, in lines of the width, each after the indent."""
    lines = textwrap.wrap(visible(text), max(width - len(indent), LEAST_WIDTH))
    return [indent + line for line in lines]


def clipped(text: str, width: int, most: int, indent: str = "") -> list[str]:
    """The text in lines of the width; what goes beyond ``most`` lines is cut with an ellipsis."""
    lines = textwrap.wrap(
        visible(text), width, subsequent_indent=INDENT, max_lines=most, placeholder=" …"
    )
    return [indent + line for line in lines]


def cut(text: str, width: int) -> str:
    """The text in one line; what goes beyond the width is cut with an ellipsis."""
    shown = visible(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def report_lines(written: Iterable[Path]) -> list[str]:
    """Where reports are, a line a folder."""
    folders: dict[Path, list[str]] = {}
    for path in written:
        folders.setdefault(path.parent, []).append(path.name)
    return [visible(f"{REPORTS}{place}: {', '.join(names)}") for place, names in folders.items()]


def name_line(title: str, items: Sequence[str], width: int) -> str:
    """The title and as many of the names as fit: ``acct, bpf and 12 more``."""
    # No more names than this fit: each takes a letter and a comma at the least.
    for count in range(min(len(items), width // 2), 0, -1):
        rest = f" and {len(items) - count:,} more" if count < len(items) else ""
        line = visible(f"{title}{', '.join(items[:count])}{rest}")
        if len(line) <= width or count == 1:
            return cut(line, width)
    return cut(title, width)
