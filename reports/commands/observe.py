"""``syscall-conformance observe``: will this workload survive on the platform?"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from probes import arch
from probes.documents import policy, waivers
from probes.errors import BadInputError
from probes.observe import grants
from probes.observe.findings import findings
from probes.observe.image import observe_image
from probes.observe.observation import observe
from probes.observe.watch import watch
from probes.run.values import profiles_named
from probes.runtimes.known import OBSERVING
from probes.runtimes.wanted import Start
from probes.targets import words
from probes.text import shown, visible
from reports.commands import filters, forms, output
from reports.commands.answer import Answer, Subparsers, add_command, add_detail, text, width
from reports.commands.forms import Form
from reports.pages import observation_page
from reports.results import observed as workloads
from reports.terminal import observed

_OBSERVE = """\
Runs a command unhindered and counts every call that the platform would not allow: the calls that
the policy documents, numbers that no table knows, and calls with the power of documented ones,
from every process that the command starts, through every ABI.

With --image it is the program of an image (docker, podman) or of a bundle's directory (runc, crun),
in a container that the runtime makes as ever, with its own profile, and that is removed again. What
that profile answers itself is not seen; the report says which calls those are. --seccomp=unconfined
starts it without one.

Work that a daemon starts for the command (docker, containerd, systemd, cron, ssh and the like) runs
elsewhere and is not seen. That the command, or whatever it starts, has turned to one is seen: by
the sockets that they connect to, and by who listens there. A filter of the workload's own that
answers documented calls first is seen, too. Silence is no answer then: the exit status is 6.

The command has this terminal, directory and environment; what it writes is its own. The report
goes to standard error. A filter is inherited for good, so the observer stays until the last
process has ended.

exit status:
  0  no such call was seen, or only granted ones
  1  the platform would stop or record at least one
  2  interrupted, and none was seen until then
  3  the command itself failed
  4  an option, a file or the command is not what it must be; one sentence says which and why
  6  cannot tell: none was seen, but the workload failed, or not all that it did could be seen: work
     was or may have been started elsewhere (use --image, or run observe where it is started), or a
     filter answered documented calls before they could be seen
  7  this kernel cannot observe

The workload's own exit status is in the report."""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands,
        "observe",
        _observe,
        words="run a command and say which of its calls the platform does not allow",
        description=_OBSERVE,
    )
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument(
        "--profile",
        default="",
        metavar="NAMES",
        help="kill, errno, log, comma-separated; default: all",
    )
    one.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="end the workload after so long; default: never",
    )
    one.add_argument(
        "--waivers",
        metavar="FILE",
        help="calls that are granted; the workload is the target command:COMMAND",
    )
    forms.add_forms(one, file=output.STANDARD_ERROR)
    add_detail(one, "tell every call and every note, in more than twenty lines")
    one.add_argument(
        "--image", metavar="IMAGE", help="observe this image's program, or COMMAND in it"
    )
    one.add_argument(
        "--runtime", default="docker", choices=OBSERVING, help="of --image; default: docker"
    )
    for option in words.START_OPTIONS:
        many = option.name == words.RUNTIME_ARG
        one.add_argument(
            f"--{option.name}",
            default=[] if many else "",
            action="append" if many else "store",
            metavar=option.metavar,
            help=f"of --image: {option.help}",
        )
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")


def _observe(options: argparse.Namespace) -> Answer:
    command = _command(options.words, needed=options.image is None)
    if options.timeout is not None and not 0 < options.timeout < math.inf:
        raise BadInputError(f"--timeout {options.timeout:g}: give a number of seconds above 0")
    forms.check_files(options)
    documented = policy.load(filters.policy_path(options), arch.all_names())
    profiles = profiles_named(options.profile)
    waived = waivers.load(Path(options.waivers)) if options.waivers is not None else ()
    image = "" if options.image is None else f"{options.runtime}:{options.image}"
    word = image or f"command:{command[0]}"
    watched = watch(documented, arch.offered_by(os.uname().machine))
    if options.image is not None:
        wanted = _start(options).wanted(options.runtime, options.image)
        observation = observe_image(wanted, command, watched, options.timeout, _say)
    else:
        observation = observe(command, watched, options.timeout, _say)
    today = observation.started.date()
    found = findings(observation, profiles, grants.grants(waived, word, today))
    late = grants.not_valid(waived, word, today, found)
    report = observed.ObservationReport(
        command, documented, profiles, observation, found, late, image
    )
    renderers: forms.Renderers = {
        Form.TEXT: lambda: text(_lines(report, options)),
        Form.JSON: lambda: observed.to_json(report),
        Form.HTML: lambda: observation_page.render(
            workloads.from_json(json.loads(observed.to_json(report)))
        ),
    }
    return forms.answer(options, report.status, renderers)


def _lines(report: observed.ObservationReport, options: argparse.Namespace) -> list[str]:
    if options.quiet:
        return [visible(observed.headline(report))]
    return observed.lines(report, width(options.file), verbose=options.verbose)


def _start(options: argparse.Namespace) -> Start:
    """How the container is started."""
    seccomp = Path(options.seccomp) if options.seccomp else None
    return words.start(
        seccomp, options.runtime_arg, options.runtime_command, options.runtime_endpoint
    )


def _command(given: Sequence[str], *, needed: bool) -> tuple[str, ...]:
    """The command's words.

    Raises:
        BadInputError: there are none, or an empty one.
    """
    command = tuple(given[1:] if given[:1] == ["--"] else given)
    if (needed and not command) or not all(command[:1]):
        raise BadInputError("name the command after --, such as: observe -- sh -c 'unshare true'")
    return command


def _say(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"syscall-conformance observe: {shown(sentence)}\n")
        sys.stderr.flush()
