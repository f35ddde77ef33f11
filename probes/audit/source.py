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

_WITH_ARGUMENT: Final = frozenset({SourceKind.AUDITD, SourceKind.LAUREL, SourceKind.DESCRIPTOR})
_MOST_DIGITS: Final = 9


def read(text: str) -> RecordSource:
    """Takes a value of ``--audit-source`` apart.

    Raises:
        BadInputError: it names no source; the sentence lists the possible ones.
    """
    word, colon, argument = text.partition(":")
    if word in set(SourceKind):
        source = RecordSource(SourceKind(word), argument)
        if bool(colon) == (source.kind in _WITH_ARGUMENT) and _fits(source):
            return source
    raise BadInputError(
        f"--audit-source {text}: unknown source; it is {SourceKind.NETLINK}, "
        f"{SourceKind.AUDITD}:FILE, {SourceKind.LAUREL}:FILE, {SourceKind.JOURNAL}, "
        f"{SourceKind.DESCRIPTOR}:N, {SourceKind.KMSG} or {SourceKind.NONE}, "
        "and without the option the best that works here"
    )


def _fits(source: RecordSource) -> bool:
    """Whether the argument is what one of the kind needs."""
    if source.kind is SourceKind.DESCRIPTOR:
        digits = source.argument
        return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return bool(source.argument) == (source.kind in _WITH_ARGUMENT)
