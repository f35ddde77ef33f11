"""The refusals of this project: one sentence each, and the exit status that goes with it."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """What the process that ran the suite returns; README.md documents each for its users.

    2 to 5 keep the meaning that pytest gives them.
    """

    CONFORMANT = 0
    NOT_CONFORMANT = 1
    INTERRUPTED = 2
    INTERNAL_ERROR = 3
    USAGE = 4
    NOTHING_ASSESSED = 5
    CANNOT_TELL = 6
    BROKEN = 7


class SuiteError(Exception):
    """A refusal in one sentence: what, where, and how to mend it."""

    exit_status = ExitStatus.INTERNAL_ERROR


class BadInputError(SuiteError):
    """An option value or a file that the user can mend."""

    exit_status = ExitStatus.USAGE


class InstrumentError(SuiteError):
    """The measuring instrument itself failed, so it has no verdict to give."""

    exit_status = ExitStatus.BROKEN
