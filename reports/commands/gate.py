"""``syscall-conformance gate``: one command that says whether a container platform holds."""

import argparse
import contextlib
import importlib.resources
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from probes.action import Profile
from probes.errors import ExitStatus, InstrumentError, SuiteError
from probes.targets import words
from probes.targets.runtimes.container import RUNTIMES
from reports import gate, results
from reports.commands.answer import Answer, Subparsers, add_command, text

_GATE = """\
Starts a container of IMAGE under a runtime, with the profile that is given, and judges whether it
is confined as the policy says. The container is removed again, and nothing of the image is run, so
it needs no Python, no shell, nothing.

IMAGE is what the runtime takes: an image (docker, podman), a bundle's directory (runc, crun), or a
root file system's (bwrap).

exit status:
  0  conformant: everything that was asked holds
  1  not conformant: at least one claim failed
  2  interrupted
  3  the suite itself failed, or the reports could not be written
  4  an option or a file is wrong, or the runtime refuses; one sentence says which and why
  5  nothing was assessed
  6  cannot tell: nothing failed, but something could not be assessed here
  7  broken: the instrument failed, or something took too long, so no verdict counts"""

_SECONDS: Final = 1800.0
"""How long a run may take, of which a minute is usual."""

_SETTLING_SECONDS: Final = 120.0
"""How long an interrupted run may take to remove its container."""

_PERCENT: Final = re.compile(rb"\[ *(\d+)%\]")
_REFUSED: Final = re.compile(r"^(?:ERROR|Exit): (.*)$", re.MULTILINE)
_LOG: Final = "pytest.log"
_REPORTS: Final = "reports/out"


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
    one.add_argument("--policy", metavar="FILE", help="default: the policy that ships with it")
    one.add_argument("--arch", metavar="NAMES", help="ABIs, comma-separated; default: all here")
    one.add_argument(
        "--audit-source", metavar="SOURCE", help="netlink, auditd:FILE or none; default: the best"
    )
    one.add_argument("--report-dir", default=_REPORTS, metavar="DIR", help="default: %(default)s")
    one.add_argument(
        "-n", dest="workers", default="auto", metavar="N", help="processes; default: auto"
    )


class _RefusedError(SuiteError):
    """What pytest refused, in the suite's own sentence, with its exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.exit_status = ExitStatus(status)


def _gate(options: argparse.Namespace) -> Answer:
    chosen = _options(options)
    folder = Path(options.report_dir).absolute()
    record = folder / "results.json"
    cases = Path(str(importlib.resources.files("cases")))
    command = [
        *(sys.executable, "-m", "pytest", str(cases), f"--rootdir={cases.parent}"),
        *("-q", "--tb=no", "--color=no", "-p", "no:cacheprovider", "-n", options.workers),
        *(*chosen, f"--report-dir={folder}"),
    ]
    progress = _Progress(f"{options.runtime}:{options.image}, profile {options.profile}")
    before = _age(record)
    status, output = _run(command, progress)
    if _age(record) in {0, before}:
        raise _RefusedError(_reason(output), status)
    with contextlib.suppress(OSError):  # the reports say the same, and could be written
        (folder / _LOG).write_bytes(output)
    run = results.load(record)
    here = Path.cwd()
    written = [_shown(path, here) for path in sorted(folder.iterdir()) if path.is_file()]
    said = gate.lines(run, written, _shown(cases, here), chosen)
    return Answer(ExitStatus(status), text(said))


def _options(options: argparse.Namespace) -> list[str]:
    """The options of the run, as pytest takes them."""
    made = [f"--target={options.runtime}:{options.image}", f"--profile={options.profile}"]
    for name in (words.SECCOMP, words.RUNTIME_COMMAND, "policy", "arch", "audit-source"):
        value = getattr(options, name.replace("-", "_"))
        made += [f"--{name}={value}"] if value else []
    return [*made, *(f"--{words.RUNTIME_ARG}={one}" for one in options.runtime_arg)]


def _shown(path: Path, here: Path) -> Path:
    return path.relative_to(here) if path.is_relative_to(here) else path


def _age(record: Path) -> int:
    """Tells one record from another; 0 where there is none."""
    try:
        return record.stat().st_mtime_ns
    except OSError:
        return 0


def _reason(output: bytes) -> str:
    """Why there is no record, by pytest's output."""
    said = output.decode(errors="replace")
    found = _REFUSED.findall(said)
    return found[-1] if found else f"the run came to nothing: {' / '.join(said.splitlines()[-3:])}"


class _Progress:
    """How far the run has come: one line that changes on a terminal, else a few plain lines."""

    _STEP = 25

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = 0
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._say(f"judging {what}")

    def _say(self, line: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
            sys.stderr.flush()

    def at(self, percent: int) -> None:
        """Tells that so much of the run is done."""
        if percent >= 100 or percent < self._told + (1 if self._terminal else self._STEP):  # noqa: PLR2004 - per cent
            return
        self._told = percent if self._terminal else percent // self._STEP * self._STEP
        self._say(f"judging {self._what}: {self._told} %")

    def over(self) -> None:
        """Takes the line from the terminal."""
        if self._terminal:
            self._say("")


def _run(command: Sequence[str], progress: _Progress) -> tuple[int, bytes]:
    """Runs pytest to its end; gives its exit status and output.

    Ctrl-C and SIGTERM are handed on, and waited for: the run removes its container.

    Raises:
        InstrumentError: it takes too long.
        KeyboardInterrupt: it was interrupted.
    """
    with (
        _terminating(),
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        ) as process,
    ):
        try:
            return _watch(process, progress)
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.communicate(timeout=_SETTLING_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            progress.over()


def _watch(process: subprocess.Popen[bytes], progress: _Progress) -> tuple[int, bytes]:
    until = time.monotonic() + _SECONDS
    output = b""
    while True:
        try:
            rest, _ = process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired as error:
            output = error.output or b""
            if found := _PERCENT.findall(output):
                progress.at(int(found[-1]))
            if time.monotonic() > until:
                raise InstrumentError(
                    f"the run did not end within {_SECONDS:.0f} s: look at what it waits for with"
                    " pytest itself, and run it again"
                ) from error
            continue
        return process.returncode, rest


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Has SIGTERM, by which build systems cancel a job, interrupt as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
