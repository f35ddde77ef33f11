"""What a command answers with, and how its lines are made."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from probes.errors import ExitStatus
from reports.commands import output
from reports.terminal import screen

Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - it has no public name
"""What holds a program's commands."""

_FILE_WIDTH = 100


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a command writes besides.

    Attributes:
        said: its content.
        name: its path, or ``-`` for standard output.
    """

    said: str | bytes
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a command: its exit status, and what it writes where.

    Attributes:
        status: the exit status.
        said: what goes to standard output or the file.
        notes: sentences for standard error.
        file: where ``said`` goes.
        further: files that are written before it.
        is_lines: whether ``said`` is lines for people, which a terminal shows in colour.
    """

    status: ExitStatus
    said: str | bytes
    notes: tuple[str, ...] = ()
    file: str = output.STANDARD_OUTPUT
    further: tuple[OutputFile, ...] = ()
    is_lines: bool = False


CommandFunction = Callable[[argparse.Namespace], Answer]
"""What carries a command out."""


def add_command(
    commands: Subparsers, name: str, run: CommandFunction, *, words: str, description: str
) -> argparse.ArgumentParser:
    """Adds a command to the program.

    Args:
        commands: what holds the program's commands.
        name: the command's name.
        run: what carries it out.
        words: its line in the program's help.
        description: its own help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=description)
    parser.set_defaults(run=run)
    return parser


def add_detail(parser: argparse.ArgumentParser, more: str) -> None:
    """Adds the options that say how much is told: one line, twenty at the most, or all.

    Args:
        parser: the command's.
        more: what is told with ``-v``, a phrase.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-q", "--quiet", action="store_true", help="say the verdict alone, in a line"
    )
    group.add_argument("-v", "--verbose", action="store_true", help=more)


def carry_out(options: argparse.Namespace) -> Answer:
    """Runs the command that the command line names.

    Raises:
        SuiteError: what the user asked for cannot be done; its sentence says why.
        TooComplexError: there is no proof.
    """
    run: CommandFunction = options.run
    return run(options)


def width(file: str = output.STANDARD_OUTPUT, otherwise: int = _FILE_WIDTH) -> int:
    """How long a line may be: the terminal's width, or a fixed one, so that files are the same.

    Args:
        file: where the lines go.
        otherwise: what counts where that is no terminal.
    """
    return screen.width(output.stream(file), otherwise)


def as_lines(status: ExitStatus, lines: Sequence[str], notes: Iterable[str] = ()) -> Answer:
    """What a command answers with whose report is lines on standard output.

    Args:
        status: the exit status.
        lines: the report.
        notes: sentences for standard error.
    """
    return Answer(status, text(lines), tuple(notes), is_lines=True)


def text(lines: Sequence[str]) -> str:
    """Lines as the text of a file."""
    return "".join(f"{line}\n" for line in lines)
