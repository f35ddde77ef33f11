"""``syscall-conformance report``: a record in the formats of others, also later and elsewhere."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from probes.errors import BadInputError, ExitStatus
from probes.text import did_you_mean, shown
from reports import results
from reports.commands import output
from reports.commands.answer import Answer, Subparsers, add_command, as_lines
from reports.formats.catalogue import FORMATS, ReportFormat
from reports.pages import catalogue
from reports.pages.catalogue import DocumentKind
from reports.results import Read, Run

_HTML = "html"
_LONGEST = max(len(one.name) for one in FORMATS.values())
_LIST = "\n".join(f"  {one.name:<{_LONGEST}}  {one.file}: {one.words}" for one in FORMATS.values())

_REPORT = f"""\
Renders a results.json in other formats. The same record always gives the same bytes.

formats:
{_LIST}

What merge, compare and observe have written as JSON is rendered as its page, html.

exit status:
  0  everything was rendered, whatever the verdict; with --verdict: the record's own exit status,
     but 2 for 0 where a later run into the same folder has not come to its end
  4  the record is damaged or foreign, a format is unknown, or a file cannot be written; one
     sentence says which and why"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "report", _report, words="render a results.json", description=_REPORT
    )
    one.add_argument(
        "record",
        metavar="RESULTS",
        help="a results.json, the journal of a run that was killed, or the JSON of merge, compare "
        "or observe",
    )
    one.add_argument(
        "--format", default="", metavar="NAMES", help="comma-separated; default: all of them"
    )
    one.add_argument(
        "-o",
        dest="folder",
        metavar="DIR",
        help="default: where the record is; - for one format on standard output",
    )
    one.add_argument(
        "--verdict", action="store_true", help="exit with the record's exit status, as a gate does"
    )


def _report(options: argparse.Namespace) -> Answer:
    record = Path(options.record)
    wanted = _formats(options.format)
    read = results.read(record)
    if (kind := catalogue.kind_of(read.document)) is not None:
        return _page(options, kind, read)
    run = read.run()
    notes = tuple(filter(None, [results.superseded(record)]))
    status = _verdict(run, is_superseded=bool(notes)) if options.verdict else ExitStatus.CONFORMANT
    if options.folder == output.STANDARD_OUTPUT:
        if len(wanted) != 1:
            raise BadInputError("-o -: standard output takes one format: name it with --format")
        return Answer(status, wanted[0].render(run), notes)
    folder = record.parent if options.folder is None else Path(options.folder)
    for one in wanted:
        results.write_text(one.render(run), folder / one.file)
    files = ", ".join(one.file for one in wanted)
    return as_lines(status, [f"reports in {shown(str(folder))}: {files}"], notes)


def _page(options: argparse.Namespace, kind: DocumentKind, read: Read) -> Answer:
    """The page of a document that is no record.

    Raises:
        BadInputError: the document is damaged, or another format was asked for.
    """
    if options.format not in {"", _HTML}:
        raise BadInputError(
            f"--format {shown(options.format)}: {shown(str(read.path))} is the {kind.name} of"
            f" {kind.command}, which has its page alone: {_HTML}"
        )
    try:
        made = kind.render(read.document)
    except BadInputError as error:
        raise BadInputError(f"{shown(str(read.path))}: {error}") from error
    status = made.status if options.verdict else ExitStatus.CONFORMANT
    if options.folder == output.STANDARD_OUTPUT:
        return Answer(status, made.page)
    folder = read.path.parent if options.folder is None else Path(options.folder)
    results.write_text(made.page, folder / kind.file)
    return as_lines(status, [f"reports in {shown(str(folder))}: {kind.file}"])


def _verdict(run: Run, *, is_superseded: bool) -> ExitStatus:
    """The record's exit status: a good one is no answer where a later run was killed."""
    status = results.summarize(run).ruling.exit_status
    if is_superseded and status is ExitStatus.CONFORMANT:
        return ExitStatus.INTERRUPTED
    return status


def _formats(words: str) -> Sequence[ReportFormat]:
    """The formats of a list of names, in the order of the list; all for no list.

    Raises:
        BadInputError: a name is none.
    """
    if not words:
        return tuple(FORMATS.values())
    found = []
    for word in dict.fromkeys(words.split(",")):
        if word not in FORMATS:
            hint = did_you_mean(word, FORMATS, f"known are {', '.join(FORMATS)}")
            raise BadInputError(f"--format {shown(words)}: {shown(word)!r} is no format: {hint}")
        found.append(FORMATS[word])
    return found
