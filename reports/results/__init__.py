"""``results.json``: the record of a run that every report is rendered from.

``model`` says what a record holds, ``ruling`` what it comes to, ``codec`` how it stands in a file;
``results.schema.json`` beside them publishes the shape. ``journal`` keeps what a run has judged
until its record is written, ``changes`` compares two records.
"""

from pathlib import Path

from probes.errors import BadInputError
from reports.results import journal
from reports.results.changes import changes, count_kinds, identity
from reports.results.codec import (
    OLD_SCHEMA,
    SCHEMA,
    cell_from_json,
    cell_to_json,
    from_json,
    time_text,
    to_json,
)
from reports.results.fields import parse
from reports.results.files import check_folder, write_text
from reports.results.model import (
    MAX_NUMBER,
    AuditSource,
    Baseline,
    Change,
    ChangeKind,
    DocumentedCall,
    Environment,
    Image,
    Policy,
    Run,
    Runtime,
    Suite,
    Target,
    TargetProgram,
    count_outcomes,
    describe,
    gaps_in_order,
    in_order,
    missing,
    sort_key,
)
from reports.results.ruling import Ruling, Summary, Verdict, summarize, verdict

__all__ = [
    "MAX_NUMBER",
    "OLD_SCHEMA",
    "SCHEMA",
    "AuditSource",
    "Baseline",
    "Change",
    "ChangeKind",
    "DocumentedCall",
    "Environment",
    "Image",
    "Policy",
    "Ruling",
    "Run",
    "Runtime",
    "Suite",
    "Summary",
    "Target",
    "TargetProgram",
    "Verdict",
    "cell_from_json",
    "cell_to_json",
    "changes",
    "check_folder",
    "count_kinds",
    "count_outcomes",
    "describe",
    "from_json",
    "gaps_in_order",
    "identity",
    "in_order",
    "load",
    "missing",
    "sort_key",
    "summarize",
    "time_text",
    "to_json",
    "verdict",
    "write",
    "write_text",
]


def write(run: Run, path: Path) -> None:
    """Writes ``results.json``, as ``write_text`` does.

    Raises:
        BadInputError: the file cannot be written.
    """
    write_text(to_json(run), path)


def load(path: Path) -> Run:
    """Reads a ``results.json``, or the journal of a run that was killed, and checks all of it.

    Raises:
        BadInputError: the file cannot be read, is damaged, or is not one of ours.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return journal.from_text(text) if journal.is_journal(text) else from_json(parse(text))
    except OSError as error:
        raise BadInputError(f"{path}: cannot read it ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not a results.json, for it is not UTF-8 text") from error
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error
