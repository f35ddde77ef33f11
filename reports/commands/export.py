"""``syscall-conformance export``: the suite's own filter, for others to load."""

import argparse

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.errors import ExitStatus
from probes.targets import words
from reports.commands import filters, output
from reports.commands.answer import Answer, Subparsers, add_command
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat

_EXPORT = """\
Writes the filter that the suite builds from a policy: an allowlist of every system call that some
table knows and the policy does not document.

formats:
  oci      a profile for docker, podman, containerd, cri-o (JSON)
  spo      a SeccompProfile for the Security Profiles Operator of Kubernetes (YAML)
  bpf      the program as the kernel reads it, as bubblewrap takes it
  c        the program as a C header
  systemd  a drop-in for a unit of systemd (SystemCallFilter=, SystemCallLog=)"""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "export", _export, words="write the suite's filter", description=_EXPORT
    )
    one.add_argument("--profile", required=True, choices=[profile.value for profile in Profile])
    one.add_argument("--format", required=True, choices=[form.value for form in ExportFormat])
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument(
        "--arch",
        default="",
        metavar="NAMES",
        help="ABIs of one machine, comma-separated; default: all of this machine",
    )
    one.add_argument(
        "-o", dest="file", default=output.STANDARD_OUTPUT, metavar="FILE", help="default: - (here)"
    )


def _export(options: argparse.Namespace) -> Answer:
    documented = policy.load(filters.policy_path(options), arch.all_names())
    arches = words.arches(options.arch) or arch.offered_by(arch.machine_here())
    request = allowlist.ExportRequest(documented, Profile(options.profile), arches)
    form = ExportFormat(options.format)
    said = allowlist.export(request, form)
    return Answer(ExitStatus.CONFORMANT, said, allowlist.notes(request, form), options.file)
