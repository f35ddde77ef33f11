"""``syscall-conformance node``: the containers and services of a whole machine."""

import argparse
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from probes import arch, main_job
from probes.cell import Cell, CellKey
from probes.documents import policy, waivers
from probes.documents.waivers import Granted, Surroundings
from probes.files import DEFAULT_POLICY
from probes.finding import Finding
from probes.run import values
from probes.run.options import NODE_NAME
from probes.survey import judged, question, seen_processes, taken
from probes.survey.question import SurveyQuestion
from probes.survey.taken import Taken
from probes.text import visible
from probes.version import DISTRIBUTION, VERSION
from reports import results
from reports.commands.answer import Answer, Subparsers, add_command, add_detail, as_lines, width
from reports.html import compliance
from reports.results import AuditSource, Run, Suite, TargetInfo, TargetProgram, heads, provenance
from reports.terminal import survey_lines
from reports.terminal.lines import UNCUT

_NODE: Final = """\
Finds every container and every service of this machine by its control group, reads the filters of
each of its processes, judges each distinct stack of filters once, and says which containers and
services are confined as the policy says, which are not, which have no filter, and of which that
cannot be told. Nothing is started, and the processes go on unchanged.

Without --profile a documented call may be refused in whatever way: the engines of a machine refuse
in different ones. The verdicts are proofs: what the filters return for every number, argument and
ABI of this machine. It takes root outside of containers; in one, the machine's pid namespace and
CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, without a seccomp profile.

exit status:
  0  conformant: all that is required holds
  1  not conformant: a container or service is open, has no filter, or a waiver is at fault
  2  interrupted
  3  the suite itself failed
  4  an option or a file is wrong; one sentence says which and why
  5  nothing was assessed: there is nothing of what is required
  6  cannot tell: nothing failed, but something could not be seen
  7  broken: the instrument failed, so no verdict counts"""

_RECORD: Final = "results.json"
_PAGE: Final = "compliance.html"


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "node", _node, words="judge the containers of this machine", description=_NODE
    )
    one.add_argument(
        "--profile",
        default=question.REFUSE,
        choices=question.PROFILES,
        help="how documented calls must be answered; default: refused, in whatever way",
    )
    one.add_argument(
        "--require",
        default="containers",
        metavar="WORDS",
        help=f"what must hold: {', '.join(question.REQUIRED)}, by commas; default: %(default)s",
    )
    for option, help_words in (
        ("--include", "only what the pattern matches, such as 'docker:web*'; may be repeated"),
        ("--exclude", "nothing that the pattern matches; may be repeated"),
    ):
        one.add_argument(option, action="append", default=[], metavar="PATTERN", help=help_words)
    one.add_argument(
        "--this-pid-namespace",
        action="store_true",
        help="the processes of this pid namespace are all that is meant, as on a node of kind",
    )
    one.add_argument(
        f"--{NODE_NAME}",
        default="",
        metavar="NAME",
        help="what reports call this machine, as its cluster does; default: its name",
    )
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument(
        "--waivers", metavar="FILE", help="failures that are accepted for a time (TOML)"
    )
    one.add_argument(
        "--report-dir", default=main_job.report_folder(), metavar="DIR", help="default: %(default)s"
    )
    add_detail(one, "say all of every container and service, in more than twenty lines")


def _node(options: argparse.Namespace) -> Answer:
    """Judges this machine.

    Raises:
        BadInputError: an option or a file is wrong, or reports cannot be written.
        InstrumentError: the process that tries counterexamples cannot be started.
    """
    name = values.node_name(options.node_name) or os.uname().nodename
    asked = SurveyQuestion(
        options.profile,
        question.required(options.require),
        question.check_patterns("--include", options.include),
        question.check_patterns("--exclude", options.exclude),
        options.this_pid_namespace,
    )
    documented = policy.load(Path(options.policy or DEFAULT_POLICY), arch.all_names())
    started = datetime.now(UTC)
    given = waivers.load(Path(options.waivers)) if options.waivers else ()
    here = Surroundings(kernel=os.uname().release)
    granted = Granted(given, f"{judged.KIND}:{name}", started.date(), here=here)
    folder = Path(options.report_dir)
    results.check_folder(folder)
    found = taken.take(documented, asked, seen_processes.listing())
    run = _run(found, granted, name, heads.policy_info(documented), started)
    written = []
    for file, content in ((_RECORD, results.to_json(run)), (_PAGE, compliance.render(run))):
        results.write_text(content, folder / file)
        written.append(folder / file)
    ruling = results.summarize(run).ruling
    if options.quiet:
        return as_lines(ruling.exit_status, [visible(ruling.line)])
    wide = width(otherwise=UNCUT)
    lines = survey_lines.lines(run, written, wide, verbose=options.verbose)
    return as_lines(ruling.exit_status, lines)


def _run(
    found: Taken, granted: Granted, name: str, policy_info: results.PolicyInfo, started: datetime
) -> Run:
    """The record of what was found."""
    cells = tuple(granted.waive(found.cells))
    asked = found.wanted
    survey = found.survey(granted.waive)
    programs = tuple(
        TargetProgram(asked.profile, one.sha256, one.instructions, place)
        for place, one in found.identities()
    )
    own = arch.offered_by(arch.machine_here())
    return Run(
        suite=Suite(DISTRIBUTION, VERSION),
        policy=policy_info,
        target=TargetInfo(
            judged.KIND,
            survey_lines.description(name, survey),
            tuple(map(str, _advice(found))),
            programs,
            survey=survey,
        ),
        environments=(
            heads.environment_info(
                name, tuple(one.name for one in own), AuditSource("none", judged.NO_RECORDS)
            ),
        ),
        profiles=(asked.profile,),
        started=started,
        finished=datetime.now(UTC),
        planned=len(cells),
        selected_of=len(cells),
        cells=cells,
        run_by=provenance.read(os.environ),
        waivers=granted.judge(_keys(cells), arch.all_names(), arch.ARCHES, cells),
    )


def _keys(cells: Iterable[Cell]) -> set[CellKey]:
    return {cell.key for cell in cells}


def _advice(found: Taken) -> Iterator[Finding]:
    """What a reader of the record could take it for, and it is not."""
    yield Finding(
        "what the filters return was proved; whether records are written, and what a runtime's exec"
        " does, is told by a run of one target (pid:N, docker:IMAGE)"
    )
    if found.wanted.include or found.wanted.exclude:
        patterns = [f"--include={one}" for one in found.wanted.include]
        patterns += [f"--exclude={one}" for one in found.wanted.exclude]
        yield Finding(f"a part of the machine was asked about: {' '.join(patterns)}")
