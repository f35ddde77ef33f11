"""``results.json``: the record of a run that every report is rendered from.

``model`` says what a record holds, ``ruling`` what it comes to, ``codec`` how it stands in a file;
``results.schema.json`` beside them publishes the shape. ``journal`` keeps what a run has judged
until its record is written, ``changes`` compares two records.
"""

import hashlib
from dataclasses import dataclass
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
    json_pieces,
    time_text,
    to_json,
)
from reports.results.fields import parse
from reports.results.joining import join
from reports.results.model import (
    DECIDED,
    GAPS_WORST_FIRST,
    MAX_NUMBER,
    UNDECIDED,
    AuditSource,
    Baseline,
    CallInfo,
    Change,
    ChangeKind,
    Environment,
    Image,
    PolicyInfo,
    Run,
    RuntimeInfo,
    Suite,
    TargetInfo,
    TargetProgram,
    count_outcomes,
    describe,
    gaps_in_order,
    gravest_state,
    in_order,
    missing,
    sort_key,
)
from reports.results.ruling import (
    Ruling,
    Summary,
    Verdict,
    summarize,
    verdict,
    why_none_counts,
)
from reports.results.writing import check_folder, write_text

__all__ = [
    "DECIDED",
    "GAPS_WORST_FIRST",
    "MAX_NUMBER",
    "OLD_SCHEMA",
    "SCHEMA",
    "UNDECIDED",
    "AuditSource",
    "Baseline",
    "CallInfo",
    "Change",
    "ChangeKind",
    "Environment",
    "Image",
    "PolicyInfo",
    "Read",
    "Ruling",
    "Run",
    "RuntimeInfo",
    "Suite",
    "Summary",
    "TargetInfo",
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
    "gravest_state",
    "identity",
    "in_order",
    "join",
    "load",
    "load_lost",
    "missing",
    "read",
    "read_as",
    "read_text",
    "record_digest",
    "sort_key",
    "summarize",
    "superseded",
    "time_text",
    "to_json",
    "verdict",
    "why_none_counts",
    "write",
    "write_text",
]


def record_digest(run: Run) -> str:
    """The SHA-256 of the record as this version writes it, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    for piece in json_pieces(run):
        digest.update(piece.encode("ascii"))
    return digest.hexdigest()


def write(run: Run, path: Path) -> None:
    """Writes ``results.json``, as ``write_text`` does.

    Raises:
        BadInputError: the file cannot be written.
    """
    write_text(to_json(run), path)


@dataclass(frozen=True, slots=True)
class Read:
    """The content of a file that may be a record or a journal.

    Attributes:
        path: the file.
        sha256: its digest.
        document: what it says; None for a journal.
        text: the text of a journal; "" for anything else.
    """

    path: Path
    sha256: str
    document: object
    text: str = ""

    def run(self) -> Run:
        """The run, if it is a ``results.json`` or a journal.

        Raises:
            BadInputError: it is damaged, or is not one of ours.
        """
        try:
            return journal.from_text(self.text) if self.text else from_json(self.document)
        except BadInputError as error:
            raise BadInputError(f"{self.path}: {error}") from error


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file that should be a record or a journal, and its SHA-256 in hexadecimal.

    Raises:
        BadInputError: it cannot be read, or is no text.
    """
    try:
        raw = path.read_bytes()
        return raw.decode(), hashlib.sha256(raw).hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: cannot read it ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not a results.json, for it is not UTF-8 text") from error


def read(path: Path) -> Read:
    """Reads a file that should be a ``results.json``, or the journal of a run that was killed.

    Raises:
        BadInputError: it cannot be read, or is not JSON.
    """
    return read_as(path, *read_text(path))


def read_as(path: Path, text: str, digest: str) -> Read:
    """What a file says that ``read_text`` has read.

    Args:
        path: the file.
        text: its text.
        digest: its SHA-256.

    Raises:
        BadInputError: it is not JSON.
    """
    try:
        if journal.is_journal(text):
            return Read(path, digest, None, text)
        return Read(path, digest, parse(text))
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def load(path: Path) -> Run:
    """Reads a ``results.json``, or the journal of a run that was killed, and checks all of it.

    Raises:
        BadInputError: the file cannot be read, is damaged, or is not one of ours.
    """
    return read(path).run()


def load_lost(path: Path) -> Run:
    """Reads the journal of a run that was killed; what was planned and not judged is *broken*.

    Raises:
        BadInputError: the file cannot be read, is damaged, or is no journal.
    """
    text = read(path).text
    if not text:
        raise BadInputError(f"{path}: not the journal of a run that was killed")
    try:
        return journal.lost_from_text(text)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def superseded(path: Path) -> str:
    """Why a record may not be what its reader takes it for, in a sentence; "" where it is.

    A run that is killed leaves the record of an earlier one, and its own journal beside it.
    """
    beside = path.with_name(journal.NAME)
    if not beside.exists():
        beside = next(iter(journal.of_nodes(path.parent)), beside)
    if path.name == journal.NAME or not beside.exists():
        return ""
    return f"{path} is of an earlier run: a later one has not come to its end ({beside})"
