"""``syscall-conformance with-audit``: hands the kernel's audit records to a command."""

import argparse
import os

from probes.audit import netlink
from probes.errors import BadInputError
from reports.commands.answer import Answer, Subparsers, add_command

DESCRIPTOR = 3
"""The first that a runtime's --preserve-fds passes on."""

_WITH_AUDIT = f"""\
Opens the kernel's audit records, as root on the host, and becomes COMMAND, which inherits them as
descriptor {DESCRIPTOR}. A container cannot open them; the suite reads them from there:

  syscall-conformance with-audit -- podman run --preserve-fds=1 IMAGE \\
      pytest --target=ambient --profile=kill --audit-fd={DESCRIPTOR}

exit status: that of COMMAND, or
  4  there is no such command
  6  the records cannot be read; one sentence says why"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    words = "hand audit records to a command"
    one = add_command(commands, "with-audit", _with_audit, words=words, description=_WITH_AUDIT)
    one.add_argument("words", metavar="COMMAND", nargs="+", help="the command and its arguments")


def _with_audit(options: argparse.Namespace) -> Answer:
    records = netlink.joined()
    if records.fileno() == DESCRIPTOR:
        records.set_inheritable(True)
    else:
        os.dup2(records.fileno(), DESCRIPTOR, inheritable=True)
    words: list[str] = options.words
    try:
        os.execvp(words[0], words)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise BadInputError(f"{words[0]}: cannot be started ({error.strerror})") from error
