"""``syscall-conformance guest``: the main job on kernels of other architectures and releases."""

import argparse
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes import files, main_job
from probes.errors import BadInputError, ExitStatus, InstrumentError
from probes.files import SUITE
from probes.guest import acceleration, choice, emulators, runner, serving
from probes.guest.choice import WantedGuest
from probes.guest.machines import MACHINES
from probes.guest.runner import Ended, Guest, GuestJob, Limits
from probes.text import shown, visible
from reports import judging, results
from reports.commands.answer import Answer, Subparsers, add_command, as_lines
from reports.formats.catalogue import FORMATS
from reports.formats.shared import RECORD
from reports.results import journal

_GUEST = f"""\
Boots Debian's kernel for a machine in QEMU, runs the suite inside as root, and brings the reports
home. Nothing but Debian packages is needed, and no root. On a machine of the very kind that is
asked for, the suite runs on the machine itself, without a guest.

GUEST is {", ".join(MACHINES)}; NAME@SUITE has the kernel of another Debian suite, such
as x86_64@bullseye; all is the whole fleet.

With --serve they only wait: the command line is printed by which pytest-xdist runs the suite on all
of them, as often as wanted, until Ctrl-C or the deadline. They listen on this machine's loopback;
whoever may connect there may do anything inside.

exit status: as of the main job; of several guests the worst counts, and 7 (broken) is the status
of a guest that did not come to its end. With --serve 0, or 7 if a guest ended by itself."""

_FILES_FOLDER: Final = "/files"
_LARGEST_FILE: Final = 16 << 20
_TOGETHER: Final = (FORMATS["html"], FORMATS["markdown"])
_WORST_FIRST: Final = (
    ExitStatus.NOT_CONFORMANT,
    ExitStatus.INTERRUPTED,
    ExitStatus.INTERNAL_ERROR,
    ExitStatus.USAGE,
    ExitStatus.BROKEN,
    ExitStatus.CANNOT_TELL,
    ExitStatus.NOTHING_ASSESSED,
    ExitStatus.CONFORMANT,
)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the command line asks for."""

    cache: Path
    reports: Path
    limits: Limits
    pytest: tuple[str, ...]
    files: dict[str, bytes]
    emulate: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a guest."""

    wanted: WantedGuest
    status: ExitStatus
    words: str


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "guest", _guest, words="run the suite on other kernels", description=_GUEST
    )
    one.add_argument("guests", nargs="+", metavar="GUEST")
    one.add_argument(
        "--report-dir",
        default=f"{main_job.report_folder()}/guests",
        metavar="DIR",
        help="a folder in it for each guest; default: %(default)s",
    )
    one.add_argument(
        "--cache-dir",
        metavar="DIR",
        help=f"what can be fetched or made again; default: {choice.default_cache()}",
    )
    one.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="how many guests; default: 1"
    )
    one.add_argument(
        "--deadline",
        type=float,
        default=runner.DEADLINE_SECONDS,
        metavar="SECONDS",
        help="of each guest; default: %(default).0f",
    )
    one.add_argument(
        "--memory", type=int, default=runner.MEMORY_MIB, metavar="MIB", help="default: %(default)s"
    )
    one.add_argument(
        "--accelerator",
        default=acceleration.AUTO,
        metavar="NAME",
        help="QEMU's, such as kvm, or tcg, which emulates; default: %(default)s, kvm if it works",
    )
    one.add_argument(
        "--emulate", action="store_true", help="boot a guest where the machine itself would do, too"
    )
    one.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help=f"a file that pytest's words name: it is {_FILES_FOLDER}/NAME in the guest",
    )
    one.add_argument(
        "--serve", action="store_true", help="have the guests wait for pytest --dist each"
    )
    one.add_argument(
        "--pytest", default="", metavar="WORDS", help="words for pytest, such as '-k acct'"
    )


def _guest(options: argparse.Namespace) -> Answer:
    wanted = choice.read(options.guests)
    order = _order(options)
    if options.at_once < 1:
        raise BadInputError(f"--at-once {options.at_once}: at least one guest runs at a time")
    for one in wanted:
        if order.emulate or not one.is_native:
            emulators.check(one.machine)
    if options.serve:
        return _serve(wanted, order)
    outcomes = _all(wanted, order, options.at_once)
    status = next(each for each in _WORST_FIRST if any(o.status is each for o in outcomes))
    lines = [f"{outcome.wanted}: {visible(outcome.words)}" for outcome in outcomes]
    lines += _joined(outcomes, order)
    return as_lines(status, lines)


def _serve(wanted: Sequence[WantedGuest], order: _Order) -> Answer:
    if order.pytest:
        raise BadInputError("--pytest: with --serve give these words to the pytest that you start")
    here = [one for one in wanted if one.is_native and not order.emulate]
    guests = [one for one in wanted if one not in here]
    if not guests:
        raise BadInputError(
            f"guest {here[0]}: this machine is of that kind and needs no guest: start pytest, or"
            " have one booted by --emulate"
        )
    serving.check(guests)
    ask = serving.Ask(order.cache, order.limits, order.files)
    status, lines = serving.serve_guests(guests, ask, _say, here)
    return as_lines(status, lines)


def _joined(outcomes: Sequence[_Outcome], order: _Order) -> list[str]:
    """Writes one record of all guests with its pages, and says what they come to together."""
    folders = [order.reports / _name(outcome.wanted) for outcome in outcomes]
    runs = [results.load(folder / RECORD) for folder in folders if (folder / RECORD).exists()]
    if not runs:
        return [f"no guest left a record; what there is, is in {order.reports}"]
    run = results.join(runs)
    results.write(run, order.reports / RECORD)
    for form in _TOGETHER:
        results.write_text(form.render(run), order.reports / form.file)
    ruling = results.summarize(run).ruling
    lost = len(outcomes) - len(runs)
    without = f" {lost} of {len(outcomes)} guests left no record." if lost else ""
    names = ", ".join([RECORD, *(form.file for form in _TOGETHER)])
    each = ", ".join(folder.name for folder in folders)
    return [
        f"together: {ruling.verdict.value}: {ruling.sentence}{without}",
        f"reports in {order.reports}: {names}, and of each guest: {each}",
    ]


def _order(options: argparse.Namespace) -> _Order:
    shipped: dict[str, bytes] = {}
    for name in options.file:
        path = Path(name)
        place = f"{_FILES_FOLDER}/{path.name}"
        if place in shipped:
            raise BadInputError(f"--file {shown(name)}: there is another {path.name} already")
        shipped[place] = files.read_whole(path, _LARGEST_FILE, "a file for the guest")
    return _Order(
        cache=Path(options.cache_dir) if options.cache_dir else choice.default_cache(),
        reports=Path(options.report_dir),
        limits=Limits(options.deadline, memory=options.memory, accelerator=options.accelerator),
        pytest=_pytest_words(options.pytest),
        files=shipped,
        emulate=options.emulate,
    )


def _pytest_words(words: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(words))
    except ValueError as error:
        raise BadInputError(f"--pytest {shown(words)}: {error}: mend the quotes") from error


def _name(wanted: WantedGuest) -> str:
    """The folder of a guest's reports."""
    return str(wanted).replace("@", "-")


def _all(wanted: Sequence[WantedGuest], order: _Order, at_once: int) -> list[_Outcome]:
    """The outcomes of all guests, in their order; some of them at a time."""
    stop, making = threading.Event(), threading.Lock()
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(_one, one, order, making, stop) for one in wanted]
        try:
            return [each.result() for each in running]
        except BaseException:  # guests are called off on Ctrl-C, too; it is raised again
            stop.set()
            for each in running:
                each.cancel()
            raise


def _one(
    wanted: WantedGuest, order: _Order, making: threading.Lock, stop: threading.Event
) -> _Outcome:
    home = order.reports / _name(wanted)
    results.check_folder(home)
    for old in (RECORD, runner.JOURNAL_FILE):
        (home / old).unlink(missing_ok=True)
    if wanted.is_native and not order.emulate:
        return _native(wanted, order, home)
    say = _speaker(wanted)
    try:
        with making:  # two guests may be made of the same parts
            say("getting its packages")
            guest = choice.prepare(wanted, order.cache, order.limits)
        say(f"booting Linux {guest.kernel.release}")
        ended = runner.run(guest, _job(order), home, say, stop)
    except InstrumentError as error:
        return _Outcome(wanted, ExitStatus.BROKEN, f"BROKEN: {error}")
    return _outcome(guest, order, ended, home, wanted)


def _speaker(wanted: WantedGuest) -> Callable[[str], None]:
    """What tells the user how a guest is getting on."""
    return lambda line: _say(str(wanted), line)


def _say(guest: str, line: str) -> None:
    sys.stderr.write(f"[{guest}] {visible(line)}\n")
    sys.stderr.flush()


def _job(order: _Order) -> GuestJob:
    return GuestJob(
        tree=SUITE,
        commands=((*runner.PYTEST, f"--report-dir={runner.OUT_FOLDER}", *order.pytest),),
        files=order.files,
        journal=f"{runner.OUT_FOLDER}/{journal.NAME}",
    )


def _native(wanted: WantedGuest, order: _Order, home: Path) -> _Outcome:
    """Runs the suite on this machine, which is of the kind that was asked for."""
    done = subprocess.run(
        judging.command(f"--report-dir={home.resolve()}", *order.pytest),
        cwd=SUITE,
        env=judging.environment(),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
        timeout=order.limits.deadline,
    )
    return _judged(wanted, order, home, done.returncode, "this machine, no guest")


def _judged(wanted: WantedGuest, order: _Order, home: Path, status: int, where: str) -> _Outcome:
    """What became of a guest whose pytest has come to an end; only its record can say 0 or 1."""
    if not (home / RECORD).exists():
        return _Outcome(wanted, judging.without_record(status), f"it left no record ({where})")
    run = results.load(home / RECORD)
    settled = judging.settle(run, status, is_part=bool(order.pytest))
    trouble = f"; {settled.trouble}" if settled.trouble else ""
    return _Outcome(wanted, settled.status, f"{_verdict(home)}{trouble} ({where})")


def _outcome(
    guest: Guest, order: _Order, ended: Ended, home: Path, wanted: WantedGuest
) -> _Outcome:
    partial = home / runner.JOURNAL_FILE
    if ended.fault and partial.exists():
        results.write(results.load_lost(partial), home / RECORD)
    times = ", ".join(f"{what} after {seconds:.0f} s" for what, seconds in ended.seconds.items())
    where = f"{_release(guest, home)}; {ended.accelerator}; {times}"
    if not ended.fault:
        return _judged(wanted, order, home, ended.statuses[-1], where)
    last = f"; its last line: {ended.last[-1]}" if ended.last else ""
    words = f"BROKEN: {ended.fault}{last}; {_verdict(home)} ({where})"
    return _Outcome(wanted, ExitStatus.BROKEN, words)


def _release(guest: Guest, home: Path) -> str:
    """The kernel's release, as its record says it; where there is none, as its image is called."""
    if not (home / RECORD).exists():
        return guest.kernel.release
    return results.load(home / RECORD).environment.kernel.partition(" ")[0]


def _verdict(home: Path) -> str:
    """What a record says of itself, in a sentence."""
    if not (home / RECORD).exists():
        return "it left no record"
    ruling = results.summarize(results.load(home / RECORD)).ruling
    return f"{ruling.verdict.value}: {ruling.sentence}"
