"""The forms in which a command tells what it found, and the options that ask for them.

Every command that has more than one form takes the same options: ``--format`` and ``-o`` for one
form, ``--json`` and ``--html`` for a file beside it.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from probes.errors import BadInputError, ExitStatus
from probes.text import shown
from reports.commands import output
from reports.commands.answer import Answer, OutputFile


class Form(StrEnum):
    """The forms: lines for people, JSON for programs, a page for people who share it."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


Renderers = Mapping[Form, Callable[[], str]]
"""What makes each form; only the forms that are asked for are made."""

_FILES: Final = (Form.JSON, Form.HTML)
_WORDS: Final = {Form.JSON: "JSON", Form.HTML: "a page"}
_NO_FILES: Final = (output.STANDARD_OUTPUT, output.STANDARD_ERROR)


def add_forms(
    parser: argparse.ArgumentParser,
    *,
    file: str = output.STANDARD_OUTPUT,
    has_page: bool = True,
) -> None:
    """Adds the options.

    Args:
        parser: the command's.
        file: where the report goes if nothing is said.
        has_page: whether there is a page of it.
    """
    made = [one for one in Form if has_page or one is not Form.HTML]
    where = "standard error" if file == output.STANDARD_ERROR else "standard output"
    parser.add_argument(
        "--format",
        default=Form.TEXT.value,
        choices=[one.value for one in made],
        help="the form of the report; default: text",
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="file",
        default=file,
        metavar="FILE",
        help=f"where the report goes; default: {where}",
    )
    for form in _FILES if has_page else [Form.JSON]:
        parser.add_argument(
            f"--{form.value}", metavar="FILE", help=f"write the report as {_WORDS[form]}, too"
        )


def check_files(options: argparse.Namespace, read: Iterable[Path] = ()) -> None:
    """Refuses files that could not be written, before anything is done that takes long.

    Args:
        options: the command line.
        read: the files that the command reads, which must not be written over.

    Raises:
        BadInputError: two are one file, a file is one of those that are read, or its folder is
            none that this user may write to.
    """
    taken = {place: "it is read" for path in read if (place := _place(path)) is not None}
    for option, name in _named(options):
        place = _place(Path(name))
        if name in _NO_FILES or place is None:
            continue
        if place in taken:
            raise BadInputError(f"{option} {shown(name)}: {taken[place]}: name another file")
        if place.exists() and not place.is_file():
            continue  # a device or a fifo, which is written to and not replaced
        if not os.access(place.parent, os.W_OK):
            raise BadInputError(
                f"{option} {shown(name)}: {shown(Path(name).parent)} is no directory that this "
                "user may write to"
            )
        taken[place] = f"{option} has it already"


def _place(path: Path) -> Path | None:
    """Where a file really is; None where there can be none: writing it says why."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a null character
        return None


def _named(options: argparse.Namespace) -> list[tuple[str, str]]:
    given = [(f"--{form.value}", getattr(options, form.value, None)) for form in _FILES]
    return [("-o", options.file), *((word, name) for word, name in given if name is not None)]


def answer(
    options: argparse.Namespace,
    status: ExitStatus,
    renderers: Renderers,
    notes: Iterable[str] = (),
) -> Answer:
    """What a command answers with, in the forms that its options ask for.

    Args:
        options: the command line.
        status: the exit status.
        renderers: what makes each form.
        notes: sentences for standard error.
    """
    made: dict[Form, str] = {}

    def form_of(form: Form) -> str:
        if form not in made:
            made[form] = renderers[form]()
        return made[form]

    further = tuple(
        OutputFile(form_of(form), name)
        for form in _FILES
        if (name := getattr(options, form.value, None)) is not None
    )
    chosen = Form(options.format)
    said, is_lines = form_of(chosen), chosen is Form.TEXT
    return Answer(status, said, tuple(notes), options.file, further, is_lines)
