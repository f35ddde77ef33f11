"""The value of ``--audit-source``: where audit records are read from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.errors import BadInputError


class SourceKind(StrEnum):
    """The kinds of sources of audit records."""

    BEST = "best"
    NETLINK = "netlink"
    AUDITD = "auditd"
    LAUREL = "laurel"
    JOURNAL = "journal"
    OSQUERY = "osquery"
    AUDITBEAT = "auditbeat"
    DESCRIPTOR = "fd"
    KMSG = "kmsg"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RecordSource:
    """A value of ``--audit-source``.

    Attributes:
        kind: what records are read from.
        argument: the path of a log, or the number of the descriptor; "" for other kinds.
    """

    kind: SourceKind
    argument: str = ""

    def __str__(self) -> str:
        """The source as it is written on the command line."""
        return f"{self.kind}:{self.argument}" if self.argument else str(self.kind)

    @property
    def is_for_one_process(self) -> bool:
        """Whether only one process can read from it: several would take each other's records."""
        return self.kind in {SourceKind.KMSG, SourceKind.DESCRIPTOR}


BEST: Final = RecordSource(SourceKind.BEST)
"""The default: the best source that works here."""

NETLINK: Final = RecordSource(SourceKind.NETLINK)
NONE: Final = RecordSource(SourceKind.NONE)

_PLACEHOLDERS: Final = {
    SourceKind.AUDITD: "FILE",
    SourceKind.LAUREL: "FILE",
    SourceKind.OSQUERY: "FILE",
    SourceKind.AUDITBEAT: "FILE",
    SourceKind.DESCRIPTOR: "N",
}
"""What the argument of a kind is called; the others have none."""
_MOST_DIGITS: Final = 9


def read(text: str) -> RecordSource:
    """Takes a value of ``--audit-source`` apart.

    Raises:
        BadInputError: it names no source; the sentence lists the possible ones.
    """
    word, colon, argument = text.partition(":")
    if word in set(SourceKind):
        source = RecordSource(SourceKind(word), argument)
        if bool(colon) == (source.kind in _PLACEHOLDERS) and _fits(source):
            return source
    raise BadInputError(
        f"--audit-source {text}: unknown source; it is {forms()}, "
        "and without the option the best that works here"
    )


def forms(*without: SourceKind) -> str:
    """The values that can be written, for a sentence: "netlink, auditd:FILE, fd:N or none"."""
    *first, last = (form(kind) for kind in SourceKind if kind not in {SourceKind.BEST, *without})
    return f"{', '.join(first)} or {last}"


def form(kind: SourceKind) -> str:
    """How a source of a kind is written, such as "auditd:FILE"."""
    return ":".join(filter(None, (kind, _PLACEHOLDERS.get(kind))))


def _fits(source: RecordSource) -> bool:
    """Whether the argument is what one of the kind needs."""
    if source.kind is SourceKind.DESCRIPTOR:
        digits = source.argument
        return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return bool(source.argument) == (source.kind in _PLACEHOLDERS)
