"""``syscall-conformance diff``: where two filters do different things."""

import argparse
from dataclasses import replace

from probes.targets import name, words
from probes.targets.name import WORDS
from probes.targets.open import open_target
from reports.commands import filters
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.filters.difference import difference

_DIFF = f"""\
Compares two targets for every architecture, every number and all arguments, and shows where they
differ: what A does, what B does, and for which calls.

A target is {WORDS}. Of the data of actions only what somebody sees counts: an errno, and what
TRAP and TRACE hand on; and whether the kernel records the call for SECCOMP_FILTER_FLAG_LOG alone.
Where threads or processes of a target are confined by other filters, every stack of A is compared
with every stack of B, and all must be equal.

exit status:
  0  equal, which is proved
  1  different
  3  the command itself failed
  4  an option, a file or a process is not what it must be; one sentence says which and why
  6  what was compared is equal, but a finding says that it is not all
  7  cannot be proved, or not exactly enough"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(commands, "diff", _diff, words="compare two filters", description=_DIFF)
    one.add_argument("left", metavar="A")
    one.add_argument("right", metavar="B")
    filters.add_surroundings(one)


def _diff(options: argparse.Namespace) -> Answer:
    wanted = words.arches(options.arch)
    where = replace(filters.surroundings(options, wanted), everything=True)
    left = open_target(name.read(options.left), where)
    right = open_target(name.read(options.right), where)
    found = difference(left, right, wanted, width())
    return Answer(found.status, text(found.lines))
