"""``syscall-conformance audit``: which audit records are written here, and who sees them."""

import argparse
from collections.abc import Sequence
from typing import Final

from probes.audit import source
from probes.audit.source import RecordSource, SourceKind
from probes.doctor.examine import examine
from probes.errors import BadInputError
from probes.run.values import profiles_named
from reports.commands import forms
from reports.commands.answer import Answer, Subparsers, add_command, add_detail, text, width
from reports.commands.forms import Form
from reports.terminal import audit_lines

_AUDIT: Final = """\
Makes a call under a filter of each action, reads by every collector of audit records what it left,
and says what stands in the way, each with what mends it: the kernel, its settings and audit rules,
who takes the records, namespaces and privileges, and how auditd, laurel and journald are set up.
Nothing is changed, and the calls do nothing.

It shows most as root on the host; to anybody else it says what could not be looked at.

exit status:
  0  every record that the profiles promise is written, and at least one collector sees it
  2  interrupted
  3  the command itself failed
  4  an option is wrong; one sentence says which and why
  6  cannot tell: a promised record is not written, or nobody here sees it
  7  the process that makes the calls could not be started"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands,
        "audit",
        _audit,
        words="say which audit records are written here, and who sees them",
        description=_AUDIT,
    )
    one.add_argument(
        "--profile",
        default="",
        metavar="NAMES",
        help="kill, errno, log, comma-separated; default: all",
    )
    one.add_argument(
        "--audit-source",
        action="append",
        default=[],
        metavar="SOURCE",
        help="only this collector; may be repeated; default: all, where they usually write",
    )
    forms.add_forms(one, has_page=False)
    add_detail(one, "tell of every collector, in more than twenty lines")


def _audit(options: argparse.Namespace) -> Answer:
    """Examines this machine.

    Raises:
        BadInputError: an option has no meaning.
        InstrumentError: the process that makes the calls cannot be started.
    """
    forms.check_files(options)
    found = examine(profiles_named(options.profile), _sources(options.audit_source))
    renderers: forms.Renderers = {
        Form.TEXT: lambda: text(
            [audit_lines.headline(found)]
            if options.quiet
            else audit_lines.lines(found, width(options.file), verbose=options.verbose)
        ),
        Form.JSON: lambda: audit_lines.to_json(found),
    }
    return forms.answer(options, found.status, renderers)


def _sources(given: Sequence[str]) -> tuple[RecordSource, ...]:
    """The collectors that are asked about; none for all.

    Raises:
        BadInputError: a word names no collector.
    """
    sources = tuple(dict.fromkeys(map(source.read, given)))
    for one in sources:
        if one.kind in {SourceKind.BEST, SourceKind.NONE}:
            raise BadInputError(
                f"--audit-source {one}: name a collector ({source.forms(SourceKind.NONE)}), or "
                "leave the option out to try all"
            )
    return sources
