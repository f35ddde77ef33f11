"""``syscall-conformance diff``: where two filters do different things."""

import argparse
from dataclasses import replace

from probes.targets import name, words
from probes.targets.name import WORDS
from probes.targets.open import open_target
from reports.commands import filters, forms
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.commands.forms import Form
from reports.filters import documents
from reports.filters.difference import difference
from reports.pages import difference_page

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
    forms.add_forms(one)
    filters.add_surroundings(one)


def _diff(options: argparse.Namespace) -> Answer:
    forms.check_files(options)
    wanted = words.arches(options.arch)
    where = replace(filters.surroundings(options, wanted), everything=True)
    left = open_target(name.read(options.left), where)
    right = open_target(name.read(options.right), where)
    found = difference(left, right, wanted, width())
    named = (options.left, options.right)
    renderers: forms.Renderers = {
        Form.TEXT: lambda: text(found.lines),
        Form.JSON: lambda: documents.difference(named, (left, right), found),
        Form.HTML: lambda: difference_page.render(named, (left, right), found),
    }
    return forms.answer(options, found.status, renderers)
