"""The command ``syscall-conformance``: what is not a test run. It parses, calls and writes.

Every command answers with an exit status and what it has to say, which is written at the very
end: a reader who has had enough changes no status.
"""

import argparse
import difflib
import importlib.metadata
import importlib.resources
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from probes import arch, policy
from probes.action import Profile
from probes.arch import Arch
from probes.bpf import U32, SeccompData
from probes.errors import BadInputError, ExitStatus, SuiteError
from probes.partition import WIDE
from probes.prover import TooComplexError
from probes.targets import oci
from probes.targets.capability import capability_set
from probes.targets.files import shown
from probes.targets.oci import Engine
from probes.targets.open import WORDS, Opened, Surroundings, open_target
from reports import explain, export, output, places, way
from reports.difference import difference
from reports.export import Format
from reports.places import Place

PROGRAM = "syscall-conformance"
_FILE_WIDTH = 100
_NARROWEST = 40
_ARGUMENTS = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to.

    Attributes:
        status: the exit status.
        said: what goes to standard output or the file.
        notes: sentences for standard error.
        file: where ``said`` goes.
    """

    status: ExitStatus
    said: str | bytes
    notes: tuple[str, ...] = ()
    file: str = output.STANDARD_OUTPUT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the words after the program's name; None for this process' own.

    Returns:
        The exit status. ``SystemExit`` with it comes for ``--help`` and a faulty command line.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], Answer] = options.run
    try:
        answer = run(options)
        output.write(answer.said, answer.file)
    except SuiteError as error:
        return _refused(f"{options.command}: {error}", error.exit_status)
    except TooComplexError as error:
        return _refused(f"{options.command}: there is no proof: {error}", ExitStatus.BROKEN)
    except KeyboardInterrupt:
        return _refused("interrupted", ExitStatus.INTERRUPTED)
    except Exception:  # noqa: BLE001 - Python's own status for it, 1, means "different" here
        traceback.print_exc()
        return ExitStatus.INTERNAL_ERROR
    for note in answer.notes:
        _tell(f"note: {note}")
    return answer.status


def _refused(sentence: str, status: ExitStatus) -> ExitStatus:
    _tell(f"{PROGRAM} {sentence}")
    return status


def _tell(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{sentence}\n")


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence and exit as a faulty input does."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - argparse's own many keywords
        """Takes what argparse takes; options may not be cut short."""
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message: str) -> NoReturn:
        """Refuses the command line."""
        self.exit(ExitStatus.USAGE, f"{self.prog}: {shown(message)} (see {self.prog} --help)\n")


_DESCRIPTION = """\
What is not a test run of syscall-conformance: exports the suite's filter, explains a filter, and
compares two."""

_EXPORT = """\
Writes the filter that the suite builds from a policy: an allowlist of every system call that some
table knows and the policy does not document.

formats:
  oci   a profile for docker, podman, containerd, cri-o (JSON)
  spo   a SeccompProfile for the Security Profiles Operator of Kubernetes (YAML)
  bpf   the program as the kernel reads it, an array of struct sock_filter, as bubblewrap takes it
  c     the program as a C header"""

_EXPLAIN = f"""\
Says what filters do, by architecture and action, for every number and all arguments.

TARGET is {WORDS}; files of bpf: are the oldest filter first. With --number: why a call gets what
it gets, instruction by instruction."""

_DIFF = f"""\
Compares two targets for every architecture, every number and all arguments, and shows where they
differ: what A does, what B does, and for which calls.

A target is {WORDS}. Of the data of actions only what somebody sees counts: an errno, and what
TRAP and TRACE hand on.

exit status:
  0  equal, which is proved
  1  different
  3  the command itself failed
  4  an option, a file or a process is not what it must be; one sentence says which and why
  7  cannot be proved, or not exactly enough"""


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description=_DESCRIPTION)
    version = importlib.metadata.version(PROGRAM)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    one = commands.add_parser("export", help="write the suite's filter", description=_EXPORT)
    one.set_defaults(run=_export)
    one.add_argument("--profile", required=True, choices=[profile.value for profile in Profile])
    one.add_argument("--format", required=True, choices=[form.value for form in Format])
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

    one = commands.add_parser("explain", help="say what filters do", description=_EXPLAIN)
    one.set_defaults(run=_explain)
    one.add_argument("target", metavar="TARGET")
    one.add_argument("--number", metavar="NAME|N", help="only this call, by name or number")
    one.add_argument(
        "--args",
        metavar="VALUES",
        help="with --number: up to six arguments, comma-separated, such as 0x10,0",
    )
    one.add_argument("--disassemble", action="store_true", help="show the instructions, too")
    _add_surroundings(one)

    one = commands.add_parser("diff", help="compare two filters", description=_DIFF)
    one.set_defaults(run=_diff)
    one.add_argument("left", metavar="A")
    one.add_argument("right", metavar="B")
    _add_surroundings(one)
    return parser


def _add_surroundings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--arch",
        default="",
        metavar="NAMES",
        help="only these ABIs, of one machine, comma-separated; the filters are taken to be for "
        "that machine; default: this machine, and every architecture",
    )
    ours = parser.add_argument_group("for builtin and policy:FILE")
    ours.add_argument(
        "--profile",
        default=Profile.KILL.value,
        choices=[profile.value for profile in Profile],
        help="default: kill",
    )
    ours.add_argument(
        "--policy", metavar="FILE", help="of builtin; default: the policy that ships with it"
    )
    theirs = parser.add_argument_group("for oci:FILE")
    theirs.add_argument(
        "--cap",
        default="docker",
        metavar="NAMES",
        help="the container's capabilities, comma-separated, or all, none, docker's or podman's "
        "default set; default: docker",
    )
    theirs.add_argument("--kernel", metavar="RELEASE", help="such as 6.1; default: this one")
    theirs.add_argument(
        "--engine",
        default=Engine.DOCKER.value,
        choices=[engine.value for engine in Engine],
        help="who picks the rules; default: docker",
    )
    theirs.add_argument(
        "--runtime",
        default="runc",
        choices=["runc", "crun"],
        help="who compiles them; runc answers ENOSYS beyond the highest number that a profile "
        "names; default: runc",
    )


def _export(options: argparse.Namespace) -> Answer:
    documented = policy.load(_policy_path(options), arch.all_names())
    arches = _arches(options.arch) or arch.offered_by(os.uname().machine)
    request = export.Request(documented, Profile(options.profile), arches)
    form = Format(options.format)
    said = export.export(request, form)
    return Answer(ExitStatus.CONFORMANT, said, export.notes(request, form), options.file)


def _explain(options: argparse.Namespace) -> Answer:
    if options.args is not None and options.number is None:
        raise BadInputError("--args goes with --number: name the call")
    number = None if options.number is None else _number(options.number)
    values = None if options.args is None else _values(options.args)
    wanted = _arches(options.arch)
    opened = open_target(options.target, _surroundings(options, wanted))
    width = _width()
    if number is None:
        analysis = explain.analyze(opened)
        where = places.places(analysis, opened.native, wanted)
        lines = explain.overview(opened, analysis, where, width)
    else:
        lines = _explain_number(opened, number, values, wanted, width)
    if options.disassemble:
        lines += way.disassembly_lines(opened)
    return Answer(ExitStatus.CONFORMANT, _text(lines))


def _explain_number(
    opened: Opened,
    number: str | int,
    values: tuple[int, ...] | None,
    wanted: tuple[Arch, ...],
    width: int,
) -> list[str]:
    lines = explain.headline(opened, width)
    where: Sequence[Place]
    if values is not None:
        # One call needs no proof, so it is told of filters that are too complex for one, too.
        where = [places.abi(one) for one in wanted or arch.offered_by(opened.native.machine)]
        for place, here in _places_of(number, where):
            data = SeccompData(here, place.token, values)
            lines += ["", *explain.call_lines(opened, place, data, width)]
        return lines
    analysis = explain.analyze(opened)
    lines += explain.inexactness(analysis, width)
    where = places.places(analysis, opened.native, wanted)
    for place, here in _places_of(number, where):
        lines += ["", *explain.number_lines(opened, analysis, place, here, width)]
    return lines


def _places_of(number: str | int, where: Sequence[Place]) -> list[tuple[Place, int]]:
    """The places that have a call, with its number there.

    Raises:
        BadInputError: none has.
    """
    found = []
    for place in where:
        if isinstance(number, int):
            here = number if any(low <= number <= high for low, high in place.shares()) else None
        else:
            here = None if place.arch is None else place.arch.number(number)
        if here is not None:
            found.append((place, here))
    if not found:
        names = ", ".join(place.arch.name for place in where if place.arch is not None)
        what = f"{number:#x}" if isinstance(number, int) else number
        raise BadInputError(
            f"--number {what}: no such call on {names}: name other ABIs with --arch"
        )
    return found


def _diff(options: argparse.Namespace) -> Answer:
    wanted = _arches(options.arch)
    where = _surroundings(options, wanted)
    left = open_target(options.left, where)
    right = open_target(options.right, where)
    found = difference(left, right, wanted, _width())
    return Answer(found.status, _text(found.lines))


def _surroundings(options: argparse.Namespace, wanted: Sequence[Arch]) -> Surroundings:
    machine = wanted[0].machine if wanted else os.uname().machine
    return Surroundings(
        policy=_policy_path(options),
        profile=Profile(options.profile),
        native=arch.offered_by(machine)[0],
        capabilities=capability_set(options.cap),
        kernel=oci.kernel_version(options.kernel or os.uname().release),
        engine=Engine(options.engine),
        enosys_stub=options.runtime == "runc",
    )


def _policy_path(options: argparse.Namespace) -> Path:
    if options.policy is not None:
        return Path(options.policy)
    shipped = importlib.resources.files("cases") / "policies" / "container-restrictions.toml"
    return Path(str(shipped))


def _arches(text: str) -> tuple[Arch, ...]:
    """The ABIs of a list of names, in the project's order; none for no list.

    Raises:
        BadInputError: a name is none, or they are of several machines.
    """
    if not text:
        return ()
    try:
        wanted = [arch.get(word) for word in text.split(",")]
    except BadInputError as error:
        raise BadInputError(f"--arch {shown(text)}: {error}") from error
    for one in wanted:
        if one.machine != wanted[0].machine:
            raise BadInputError(
                f"--arch {text}: {wanted[0].name} and {one.name} are of different machines, and a "
                f"filter is for one: name the ABIs of one"
            )
    return tuple(one for one in arch.ARCHES.values() if one in wanted)


def _number(text: str) -> str | int:
    """A call's name or number.

    Raises:
        BadInputError: it is neither.
    """
    value = _integer(text)
    if value is not None:
        if 0 <= value <= U32:
            return value
        raise BadInputError(f"--number {shown(text)}: a number has 32 bits, 0 to {U32:#x}")
    known = arch.all_names()
    if text in known:
        return text
    near = difflib.get_close_matches(text.lower(), sorted(known), n=1)
    hint = f"did you mean {near[0]}?" if near else "check its spelling, or give its number"
    raise BadInputError(f"--number {shown(text)}: no architecture has a call of that name: {hint}")


def _values(text: str) -> tuple[int, ...]:
    """The arguments of a call, six 64-bit values; what is not given is 0.

    Raises:
        BadInputError: a value is none, or there are too many.
    """
    found = []
    for word in text.split(","):
        value = _integer(word)
        if value is None or not -(WIDE // 2) - 1 <= value <= WIDE:
            raise BadInputError(
                f"--args {shown(text)}: {shown(word)!r} is no argument of 64 bits: write whole "
                f"numbers such as 3, -1 or 0x10, separated by commas"
            )
        found.append(value & WIDE)
    if len(found) > _ARGUMENTS:
        raise BadInputError(f"--args {shown(text)}: a call has at most {_ARGUMENTS} arguments")
    return (*found, *(0,) * (_ARGUMENTS - len(found)))


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _width() -> int:
    """How long a line may be: the terminal's width, or a fixed one, so that files are the same."""
    if sys.stdout is None or not sys.stdout.isatty():
        return _FILE_WIDTH
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
