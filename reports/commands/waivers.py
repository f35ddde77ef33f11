"""``syscall-conformance waivers``: a draft of the waivers that a record would need."""

import argparse
from pathlib import Path

from probes.errors import ExitStatus
from reports import results
from reports.commands import output
from reports.commands.answer import Answer, Subparsers, add_command
from reports.formats import waiver_draft

_WAIVERS = """\
Writes a draft of the waivers that the failures of a record would need, in as few tables as their
calls and ABIs allow. Reason, owner, approver and last day are left to be filled in; until they are,
--waivers refuses the file.

exit status:
  0  it was written
  4  the record is damaged or foreign, or the file cannot be written; one sentence says which"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "waivers", _waivers, words="draft waivers for a record", description=_WAIVERS
    )
    one.add_argument("record", metavar="RESULTS", help="a results.json")
    one.add_argument(
        "-o", dest="file", default=output.STANDARD_OUTPUT, metavar="FILE", help="default: - (here)"
    )


def _waivers(options: argparse.Namespace) -> Answer:
    run = results.load(Path(options.record))
    said = waiver_draft.draft(run, run.started.date())
    return Answer(ExitStatus.CONFORMANT, said, (), options.file)
