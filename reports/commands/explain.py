"""``syscall-conformance explain``: what filters do, and why."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probes import arch
from probes.arch import Arch
from probes.documents import policy
from probes.errors import BadInputError, ExitStatus
from probes.filters.bpf import U32, SeccompData
from probes.filters.partition import WIDE
from probes.runtimes import systemd
from probes.targets import name, words
from probes.targets.name import WORDS, TargetName
from probes.targets.open import open_target
from probes.targets.stack import FilterStack
from probes.text import did_you_mean, shown
from reports.commands import filters, forms
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.commands.forms import Form
from reports.filters import call_groups, documents, explanation, overview, places, way
from reports.filters.call_groups import Groups
from reports.filters.explanation import StackExplanation
from reports.filters.places import Place
from reports.pages import explanation_page

_ARGUMENTS = 6

_EXPLAIN = f"""\
Says what filters do, by architecture and action, for every number and all arguments.

TARGET is {WORDS}; files of bpf: are the oldest filter first. With --number: why a call gets what
it gets, instruction by instruction. Where threads or processes of a target are confined by other
filters, each stack of filters is told by itself."""


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "explain", _explain, words="say what filters do", description=_EXPLAIN
    )
    one.add_argument("target", metavar="TARGET")
    one.add_argument("--number", metavar="NAME|N", help="only this call, by name or number")
    one.add_argument(
        "--args",
        metavar="VALUES",
        help="with --number: up to six arguments, comma-separated, such as 0x10,0",
    )
    one.add_argument(
        "--groups",
        metavar="SYSTEMD",
        help="what becomes of systemd's groups of calls, such as @system-service: of systemd (the "
        "installed one), of a release as in systemd@252, or none; default: those of the installed "
        "one for unit:NAME, else none",
    )
    one.add_argument("--disassemble", action="store_true", help="show the instructions, too")
    forms.add_forms(one)
    filters.add_surroundings(one)


def _explain(options: argparse.Namespace) -> Answer:
    forms.check_files(options)
    if options.args is not None and options.number is None:
        raise BadInputError("--args goes with --number: name the call")
    number = None if options.number is None else _number(options.number)
    values = None if options.args is None else _values(options.args)
    wanted = words.arches(options.arch)
    target = name.read(options.target)
    listed = _groups(options.groups, target)
    opened = open_target(target, filters.surroundings(options, wanted))
    asked = _Asked(number, values, wanted, width(), listed)

    def document(render: Callable[..., str]) -> str:
        documented = policy.load(filters.policy_path(options), arch.all_names())
        stacks = [_explanation(part, asked) for part in opened.members]
        question = documents.Asked(
            options.target, number, values, listed, disassemble=options.disassemble
        )
        return render(question, opened.description, documented, stacks)

    renderers: forms.Renderers = {
        Form.TEXT: lambda: text(_lines(opened, asked, disassemble=options.disassemble)),
        Form.JSON: lambda: document(documents.explanation),
        Form.HTML: lambda: document(explanation_page.render),
    }
    return forms.answer(options, ExitStatus.CONFORMANT, renderers)


def _lines(opened: FilterStack, asked: "_Asked", *, disassemble: bool) -> list[str]:
    """What every stack of a target does, as lines."""
    lines: list[str] = []
    count = len(opened.members)
    for rank, part in enumerate(opened.members, 1):
        if count > 1:
            told = f"stack {rank} of {count} of {opened.description}"
            lines += [*([""] if lines else []), *way.wrapped(told, asked.width), ""]
        lines += _explain_part(part, asked)
        if disassemble:
            lines += way.disassembly_lines(part)
    return lines


def _explanation(opened: FilterStack, asked: "_Asked") -> StackExplanation:
    """What one stack of filters does, as data.

    Raises:
        BadInputError: the call that was asked about is nowhere.
        TooComplexError: there is no proof.
    """
    if asked.number is not None and asked.values is not None:
        where = [places.abi(one) for one in asked.wanted or arch.offered_by(opened.native.machine)]
        return explanation.of_arguments(opened, _places_of(asked.number, where), asked.values)
    analysis = overview.analyze(opened)
    found = places.places(analysis, opened.native, asked.wanted)
    if asked.number is not None:
        return explanation.of_call(opened, analysis, _places_of(asked.number, found))
    return explanation.of_everything(opened, analysis, found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be explained: one call, by name or number and arguments, or everything."""

    number: str | int | None
    values: tuple[int, ...] | None
    wanted: tuple[Arch, ...]
    width: int
    groups: Groups | None


def _groups(word: str | None, target: TargetName) -> Groups | None:
    """The groups to be told of, if any; the installed release's where none is named.

    Raises:
        BadInputError: the word has no meaning, or that release is not known.
    """
    if word is None and target.kind != name.UNIT:
        return None
    wanted = call_groups.asked(call_groups.KNOWN_WORD if word is None else word)
    if wanted is None:
        return None
    if wanted.release is None and (told := systemd.groups_of_calls()):
        return call_groups.parse(told.text, f"systemd {told.release}, which is installed here")
    return call_groups.known(wanted.release)


def _explain_part(opened: FilterStack, asked: _Asked) -> list[str]:
    """What one stack of filters does."""
    if asked.number is not None:
        lines = _explain_number(opened, asked.number, asked.values, asked.wanted, asked.width)
        return [*lines, *_in_groups(opened, asked)]
    analysis = overview.analyze(opened)
    where = places.places(analysis, opened.native, asked.wanted)
    lines = overview.overview(opened, analysis, where, asked.width)
    if asked.groups is not None:
        lines += call_groups.overview_lines(asked.groups, analysis, where, asked.width)
    return lines


def _in_groups(opened: FilterStack, asked: _Asked) -> list[str]:
    """In which of systemd's groups a call is; on other ABIs a number is another call's."""
    if asked.groups is None or asked.number is None:
        return []
    arches = asked.wanted or arch.offered_by(opened.native.machine)
    names = (
        [asked.number]
        if isinstance(asked.number, str)
        else [found for one in arches if (found := one.name_of(asked.number))]
    )
    lines = [call_groups.call_line(asked.groups, one) for one in dict.fromkeys(names)]
    return ["", *(part for line in lines for part in way.wrapped(line, asked.width))]


def _explain_number(
    opened: FilterStack,
    number: str | int,
    values: tuple[int, ...] | None,
    wanted: tuple[Arch, ...],
    width: int,
) -> list[str]:
    where: Sequence[Place]
    if values is not None:
        # One call needs no proof, so it can be explained where filters are too complex for one.
        lines = overview.headline(opened, width)
        where = [places.abi(one) for one in wanted or arch.offered_by(opened.native.machine)]
        for place, here in _places_of(number, where):
            data = SeccompData(here, place.token, values)
            lines += ["", *overview.call_lines(opened, place, data, width)]
        return lines
    analysis = overview.analyze(opened)
    lines = overview.headline(overview.with_unread(opened, analysis), width)
    lines += overview.inexactness(analysis, width)
    where = places.places(analysis, opened.native, wanted)
    for place, here in _places_of(number, where):
        lines += ["", *overview.number_lines(opened, analysis, place, here, width)]
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
    hint = did_you_mean(text, known, "check its spelling, or give its number")
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
