"""``syscall-conformance gate``: one command that says whether a container platform holds."""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from probes import deviation, main_job
from probes.action import Profile
from probes.audit.source import SourceKind, forms
from probes.errors import BadInputError, ExitStatus, InstrumentError, SuiteError
from probes.files import CASES
from probes.run.options import ACCEPT, NODE_NAME
from probes.runtimes import inside
from probes.runtimes.known import RUNTIMES
from probes.targets import words
from probes.text import shown
from reports import channel, judging, reproduce, results
from reports.channel import Heard
from reports.commands.answer import Answer, Subparsers, add_command, add_detail, as_lines
from reports.results import Run
from reports.terminal import gate_lines, progress
from reports.terminal.agreement import both_decided, compare, together
from reports.terminal.agreement import lines as agreement_lines

_GATE = """\
Starts a container of IMAGE under a runtime, with the profile that is given, and judges whether it
is confined as the policy says. The container is removed again, and nothing of the image is run, so
it needs no Python, no shell, nothing. With --inside or --probe-python the suite runs within such a
container, too, and must come to the same.

IMAGE is what the runtime takes: an image (docker, podman, containerd, cri), a bundle's directory
(runc, crun), or a root file system's (bwrap, containerd). With cri it may also be a pod that runs
already (pod=NAMESPACE/NAME, container=ID, label=KEY=VALUE).

exit status:
  0  conformant: everything that was asked holds
  1  not conformant: at least one claim failed
  2  interrupted
  3  the suite itself failed, or the reports could not be written
  4  an option or a file is wrong, or the runtime refuses; one sentence says which and why
  5  nothing was assessed
  6  cannot tell: nothing failed, but something could not be assessed here
  7  broken: the instrument failed, something took too long, or what was judged from outside and
     from inside differs, so no verdict counts"""

_SECONDS: Final = 1800.0
"""How long a run may take, of which a minute is usual."""

_SETTLING_SECONDS: Final = 120.0
"""How long an interrupted run may take to remove its container."""

_WORKERS: Final = re.compile(r"auto|logical|\d{1,4}")
_HANDED_ON: Final = ("policy", "arch", "audit-source", ACCEPT, "waivers", "baseline", NODE_NAME)
"""Options that pytest gets as they are, where they are given."""
_MOST_DIFFERENCES: Final = 3
_LOG: Final = "pytest.log"


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "gate", _gate, words="judge a container of an image", description=_GATE
    )
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--runtime", default="docker", choices=RUNTIMES, help="default: docker")
    one.add_argument("--profile", required=True, choices=[profile.value for profile in Profile])
    for option in words.START_OPTIONS:
        one.add_argument(
            f"--{option.name}",
            default=[] if option.name == words.RUNTIME_ARG else "",
            action="append" if option.name == words.RUNTIME_ARG else "store",
            metavar=option.metavar,
            help=option.help,
        )
    one.add_argument(
        "--inside",
        action="store_true",
        help="judge the container from inside, too, by its own Python 3.11 or newer",
    )
    one.add_argument(
        "--probe-python",
        default="",
        metavar="ROOT",
        help="likewise, by the Python of another root file system, which is mounted read-only",
    )
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument("--arch", metavar="NAMES", help="ABIs, comma-separated; default: all here")
    one.add_argument(
        f"--{ACCEPT}",
        metavar="NAMES",
        help=f"what runtimes do to every profile and is accepted: {', '.join(deviation.ROWS)}",
    )
    one.add_argument(
        "--waivers", metavar="FILE", help="failures that are accepted for a time (TOML)"
    )
    one.add_argument("--baseline", metavar="FILE", help="an earlier results.json to compare with")
    one.add_argument(
        "--audit-source",
        metavar="SOURCE",
        help=f"{forms(SourceKind.DESCRIPTOR, SourceKind.KMSG)}; default: the best that works here",
    )
    one.add_argument(
        f"--{NODE_NAME}", metavar="NAME", help="what reports call this machine; default: its name"
    )
    one.add_argument(
        "--report-dir", default=main_job.report_folder(), metavar="DIR", help="default: %(default)s"
    )
    one.add_argument(
        "-n", dest="workers", default="auto", metavar="N", help="processes; default: auto"
    )
    add_detail(one, "say everything, in more than twenty lines")


class _RefusedError(SuiteError):
    """What pytest refused, in the suite's own sentence, with its exit status."""

    def __init__(self, sentence: str, status: ExitStatus) -> None:
        super().__init__(sentence)
        self.exit_status = status


def _gate(options: argparse.Namespace) -> Answer:
    if not _WORKERS.fullmatch(options.workers):
        raise BadInputError(
            f"-n {shown(options.workers)}: how many processes judge is a whole number, auto or"
            " logical"
        )
    chosen = _options(options)
    here = _here()
    folder = here / options.report_dir
    record = folder / "results.json"
    cases = CASES
    command = judging.command(
        *(str(cases), "-q", "--tb=no", "--color=no", f"-n{options.workers}"),
        *(*chosen, f"--report-dir={folder}"),
    )
    what = f"{options.runtime}:{options.image}, profile {options.profile}"
    with _scratch() as name:
        told = Path(name, "told")
        with progress.telling(f"judging {what}", quiet=options.quiet) as at:
            ended, output = _run(command, told, at)
        heard = channel.heard(told)
        run = _record(record, heard)
    if run is None:
        raise _RefusedError(_reason(heard, output), judging.without_record(ended))
    with contextlib.suppress(OSError):  # the reports say the same, and could be written
        (folder / _LOG).write_bytes(output)
    settled = judging.settle(run, ended)
    said, status = _judge_inside(options, run, folder, settled.status)
    if settled.trouble:
        said = [f"{settled.trouble}: see {_LOG}", *heard.troubles, *said]
    written = [_shown(path, here) for path in sorted(folder.iterdir()) if path.is_file()]
    again = reproduce.again(here, _repeated(chosen), options.report_dir)
    lines = gate_lines.lines(run, written, again, said, status, verbose=options.verbose)
    return as_lines(status, lines[:1] if options.quiet else lines)


def _repeated(chosen: Sequence[str]) -> list[str]:
    """The options by which a part of the run is repeated, which compares and accepts nothing."""
    return [word for word in chosen if not word.startswith(("--waivers=", "--baseline="))]


def _here() -> Path:
    """The working directory.

    Raises:
        BadInputError: it is gone.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise BadInputError(
            f"the working directory is gone ({error.strerror}): change to another one"
        ) from error


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder of this run's own.

    Raises:
        BadInputError: it cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="syscall-conformance-")
    except OSError as error:
        raise BadInputError(
            f"no temporary folder can be made ({error.strerror}): name one by TMPDIR, or make room"
        ) from error


def _record(path: Path, heard: Heard) -> Run | None:
    """The record of the run that was heard; None where it has written none.

    Whatever else stands at the path is of another run.

    Raises:
        InstrumentError: it is no longer what the run has written.
    """
    if not heard.record:
        return None
    found = results.read(path)
    if found.sha256 != heard.record:
        raise InstrumentError(
            f"{path}: something else has written there meanwhile, such as another run: give every"
            " run a --report-dir of its own"
        )
    return found.run()


def _judge_inside(
    options: argparse.Namespace, outside: Run, folder: Path, status: ExitStatus
) -> tuple[list[str], ExitStatus]:
    """Judges the container from inside, too, where that was asked for.

    Returns:
        What is to be said of it, and the exit status: that of the judgement from outside unless
        the two disagree, or the one from inside came to nothing.
    """
    python = Path(options.probe_python) if options.probe_python else None
    if not options.inside and python is None:
        return [], status
    made = words.start(
        _profile(options), options.runtime_arg, options.runtime_command, options.runtime_endpoint
    )
    chosen = [f"--profile={options.profile}", *([f"--arch={options.arch}"] if options.arch else [])]
    documented = Path(options.policy) if options.policy else None
    with tempfile.TemporaryDirectory(prefix="syscall-conformance-") as name:
        work = Path(name)
        work.chmod(0o755)  # the container's user may be another one
        try:
            found = inside.judge(
                made.wanted(options.runtime, options.image),
                work,
                python,
                chosen,
                documented,
            )
            if found.record is None:
                raise InstrumentError(f"the suite gave no results there: {_last(found.said)}")
            theirs = results.load(found.record)
            if not theirs.complete or theirs.planned != theirs.selected_of:
                raise InstrumentError("the suite came to no end there, or judged a part alone")
        except SuiteError as error:
            failed = status == ExitStatus.NOT_CONFORMANT
            return [f"from inside: not judged: {error}"], status if failed else error.exit_status
    place = folder / "inside"
    place.mkdir(exist_ok=True)
    results.write(theirs, place / "results.json")
    agreement = compare(outside, theirs)
    told = agreement_lines(agreement, most=_MOST_DIFFERENCES)
    ruling = results.summarize(theirs).ruling
    if both_decided(agreement, ruling.exit_status):
        return told, ExitStatus.BROKEN if agreement.differing else status
    told.append(f"from inside: not judged: {ruling.sentence}")
    return told, together(status, ruling.exit_status)


def _profile(options: argparse.Namespace) -> Path | None:
    return Path(options.seccomp) if options.seccomp else None


def _last(said: str) -> str:
    return " / ".join(said.splitlines()[-3:])


def _options(options: argparse.Namespace) -> list[str]:
    """The options of the run, as pytest takes them."""
    made = [f"--target={options.runtime}:{options.image}", f"--profile={options.profile}"]
    for name in (words.SECCOMP, words.RUNTIME_COMMAND, words.RUNTIME_ENDPOINT, *_HANDED_ON):
        value = getattr(options, name.replace("-", "_"))
        made += [f"--{name}={value}"] if value else []
    return [*made, *(f"--{words.RUNTIME_ARG}={one}" for one in options.runtime_arg)]


def _shown(path: Path, here: Path) -> Path:
    return path.relative_to(here) if path.is_relative_to(here) else path


def _reason(heard: Heard, output: bytes) -> str:
    """Why there is no record: what the run has told of it last, or else pytest."""
    told = [*([heard.refused] if heard.refused else []), *heard.troubles]
    said = _last(output.decode(errors="replace"))
    return told[-1] if told else f"the run came to nothing: {said}"


def _run(command: Sequence[str], told: Path, at: progress.At) -> tuple[int, bytes]:
    """Runs pytest to its end; gives its exit status and output.

    An interruption is handed on, and waited for: the run removes its container.

    Args:
        command: what starts pytest.
        told: the file in which the run tells what becomes of it.
        at: what is told how far it has come.

    Raises:
        InstrumentError: it takes too long.
        KeyboardInterrupt: it was interrupted.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=judging.environment(told),
        start_new_session=True,
    ) as process:
        try:
            return _watch(process, told, at)
        except BaseException:  # the run is told of Ctrl-C, too; it is raised again
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.communicate(timeout=_SETTLING_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _watch(process: subprocess.Popen[bytes], told: Path, at: progress.At) -> tuple[int, bytes]:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            output, _ = process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired as error:
            at(channel.heard(told).percent)
            if time.monotonic() > until:
                raise InstrumentError(
                    f"the run did not end within {_SECONDS:.0f} s: look at what it waits for with"
                    " pytest itself, and run it again"
                ) from error
            continue
        return process.returncode, output
