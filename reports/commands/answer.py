"""What a command answers with, and how its lines are made."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from probes.errors import ExitStatus
from reports.commands import output

Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - it has no public name
"""What holds a program's commands."""

_FILE_WIDTH = 100
_NARROWEST = 40


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
    """

    status: ExitStatus
    said: str | bytes
    notes: tuple[str, ...] = ()
    file: str = output.STANDARD_OUTPUT
    further: tuple[OutputFile, ...] = ()


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


def carry_out(options: argparse.Namespace) -> Answer:
    """Runs the command that the command line names.

    Raises:
        SuiteError: what the user asked for cannot be done; its sentence says why.
        TooComplexError: there is no proof.
    """
    run: CommandFunction = options.run
    return run(options)


def width() -> int:
    """How long a line may be: the terminal's width, or a fixed one, so that files are the same."""
    if sys.stdout is None or not sys.stdout.isatty():
        return _FILE_WIDTH
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def text(lines: Sequence[str]) -> str:
    """Lines as the text of a file."""
    return "".join(f"{line}\n" for line in lines)
