"""``syscall-conformance compare``: what two records say differently."""

import argparse
from pathlib import Path

from probes.text import visible
from reports import results
from reports.commands import forms
from reports.commands.answer import Answer, Subparsers, add_command, add_detail, text, width
from reports.commands.forms import Form
from reports.pages import comparison_page
from reports.results import comparison
from reports.terminal import compared
from reports.terminal.lines import UNCUT

_COMPARE = """\
Compares two records of runs, each a results.json or the journal of a run that was killed: what got
worse, got better, appeared and vanished. Cells are the same that have the same claim, profile,
ABI, call and variant.

Worse is what a gate would let pass less readily: a failure, then what could not be told, then what
is waived. Better is only what holds now. A failure that appeared counts as worse, and so does a
part of the target that was not judged (is all judged).

Cells that changed alike for one reason are told together. More than 20 lines are told with -v only;
a page and JSON have all.

exit status:
  0  nothing is worse
  1  something is worse
  3  the command itself failed
  4  a file is not what it must be; one sentence says which and why
  6  nothing is worse, but NEW is not complete, or lacks cells that OLD has decided"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "compare", _compare, words="compare two results.json", description=_COMPARE
    )
    one.add_argument("old", metavar="OLD", type=Path)
    one.add_argument("new", metavar="NEW", type=Path)
    add_detail(one, "tell every reason in full, with all its calls")
    forms.add_forms(one)


def _compare(options: argparse.Namespace) -> Answer:
    files = (options.old, options.new)
    forms.check_files(options, files)
    old, new = map(results.read, files)
    found = comparison.compare(old.run(), old.sha256, new.run(), new.sha256)
    renderers: forms.Renderers = {
        Form.TEXT: lambda: text(
            [compared.counts(found)]
            if options.quiet
            else compared.lines(found, width(options.file, UNCUT), verbose=options.verbose)
        ),
        Form.JSON: lambda: comparison.to_json(found),
        Form.HTML: lambda: comparison_page.render(found),
    }
    notes = [results.superseded(path) for path in files]
    unlike = map(visible, found.unlike)
    return forms.answer(options, found.exit_status, renderers, (*filter(None, notes), *unlike))
