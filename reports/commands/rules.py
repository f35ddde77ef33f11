"""``syscall-conformance rules``: rules that find records of documented calls."""

import argparse

from probes import arch
from probes.documents import policy
from probes.errors import ExitStatus
from probes.targets import words
from reports.commands import filters, output
from reports.commands.answer import Answer, Subparsers, add_command
from reports.filters import record_rules
from reports.filters.record_rules import RuleFormat

_RULES = """\
Writes a rule that finds the audit records of every documented call, on every ABI, and no others.

formats:
  ausearch      a command for auditd's log
  journal       a command for systemd's journal
  osquery       a query of the table seccomp_events
  osquery-pack  a pack for osquery's schedule
  auditbeat     a query for Elasticsearch, in Lucene's words
  sigma         a Sigma rule for auditd's records"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "rules", _rules, words="write rules that find the records", description=_RULES
    )
    one.add_argument("--format", required=True, choices=[form.value for form in RuleFormat])
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument(
        "--arch", default="", metavar="NAMES", help="ABIs, comma-separated; default: all"
    )
    one.add_argument(
        "-o", dest="file", default=output.STANDARD_OUTPUT, metavar="FILE", help="default: - (here)"
    )


def _rules(options: argparse.Namespace) -> Answer:
    documented = policy.load(filters.policy_path(options), arch.all_names())
    arches = words.ordered(words.arches_named(options.arch)) or tuple(arch.ARCHES.values())
    said = record_rules.rule(documented, arches, RuleFormat(options.format))
    return Answer(ExitStatus.CONFORMANT, said, record_rules.notes(documented), options.file)
