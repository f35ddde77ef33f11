"""How far a long command has come: a bar on a terminal, else a few plain lines.

It is told on standard error, and a bar is gone at the end.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from probes.text import visible
from reports.terminal import screen

_ALL: Final = 100
_STEP: Final = 25
_BAR_COLUMNS: Final = 12

At = Callable[[int], None]
"""Takes note that so many per cent are done."""

_Item = TypeVar("_Item")


@contextmanager
def telling(what: str, *, quiet: bool = False, only_bar: bool = False) -> Iterator[At]:
    """Tells how far something has come, while it is done.

    Args:
        what: what is done, such as ``judging docker:web``.
        quiet: whether nothing is told.
        only_bar: whether nothing is told but on a terminal.
    """
    if quiet or sys.stderr is None:
        yield _nothing
    elif screen.moves(sys.stderr):
        with _bar(visible(what)) as at:
            yield at
    elif only_bar:
        yield _nothing
    else:
        yield _Lines(visible(what)).at


def each(items: Sequence[_Item], at: At) -> Iterator[_Item]:
    """The items, each noted as done when the next one is asked for."""
    for place, item in enumerate(items):
        at(_ALL * place // len(items))
        yield item


def _nothing(_: int) -> None:
    """Tells nothing."""


@contextmanager
def _bar(what: str) -> Iterator[At]:
    from rich.console import Console  # noqa: PLC0415 - a pipe needs none of it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(_BAR_COLUMNS),
        TaskProgressColumn(),
    )
    shown = Progress(
        *columns,
        # By itself rich asks standard input how wide it is, which may be another terminal.
        console=Console(stderr=True, width=screen.width(sys.stderr, _ALL)),
        transient=True,
        # What is written meanwhile is none of its business, and a thread neither.
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        expand=True,
    )
    with shown:
        task = shown.add_task(what, total=_ALL)

        def at(percent: int) -> None:
            shown.update(task, completed=percent, refresh=True)

        at(0)
        yield at


class _Lines:
    """A line at the start, and one for each quarter."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = 0
        self._say(what)

    def at(self, percent: int) -> None:
        """Takes note that so many per cent are done."""
        if self._told + _STEP <= percent < _ALL:
            self._told = percent // _STEP * _STEP
            self._say(f"{self._what}: {self._told} %")

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
