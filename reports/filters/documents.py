"""Explanations and comparisons of filters as JSON, for programs. Pure.

``explanation.schema.json`` and ``difference.schema.json`` in ``reports.results`` publish the shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.documents.policy import Policy
from probes.errors import ExitStatus
from probes.filters.bpf import SeccompData
from probes.filters.partition import Alternatives
from probes.targets.stack import FilterStack
from probes.version import DISTRIBUTION, VERSION
from reports.filters import call_groups, way
from reports.filters.call_groups import Groups
from reports.filters.difference import ComparedStacks, DifferenceReport, DifferenceRow
from reports.filters.explanation import ExplainedCall, StackExplanation, answers
from reports.filters.overview import PossibleReturn, Section
from reports.filters.places import Numbers, Place
from reports.results.codec import indented

EXPLANATION: Final = f"{DISTRIBUTION}/explanation/1"
"""What ``schema`` says in an explanation of this version."""

DIFFERENCE: Final = f"{DISTRIBUTION}/difference/1"
"""What ``schema`` says in a comparison of filters of this version."""

Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an explanation was asked for.

    Attributes:
        target: the word of the target.
        number: the call, as it was asked for; None for every call.
        values: its arguments; None for any.
        groups: systemd's groups of calls that are to be told of; None for none.
        disassemble: whether the instructions are to be told.
    """

    target: str
    number: str | int | None = None
    values: tuple[int, ...] | None = None
    groups: Groups | None = None
    disassemble: bool = False


def explanation(
    asked: Asked, description: str, policy: Policy, stacks: Sequence[StackExplanation]
) -> str:
    """An explanation as the text of a JSON file.

    Args:
        asked: what was asked for.
        description: what a sentence calls the target.
        policy: whose calls are told of by name.
        stacks: each stack of filters of the target.
    """
    names = [call.name for call in policy.calls]
    values = None if asked.values is None else [f"{one:#x}" for one in asked.values]
    document: Plain = {
        "schema": EXPLANATION,
        "suite": _suite(),
        "target": {"word": asked.target, "description": description},
        "policy": {"name": policy.name, "sha256": policy.sha256, "calls": len(names)},
        "asked": None if asked.number is None else {"number": asked.number, "arguments": values},
        "named_groups": None if asked.groups is None else asked.groups.source,
        "stacks": [_explained(one, names, asked) for one in stacks],
    }
    return indented(document) + "\n"


def _suite() -> Plain:
    return {"name": DISTRIBUTION, "version": VERSION}


def _explained(one: StackExplanation, names: Sequence[str], asked: Asked) -> Plain:
    lines = [
        way.annotated(program, big_endian=one.stack.big_endian) for program in one.stack.programs
    ]
    return {
        **_stack(one.stack),
        "disassembly": lines if asked.disassemble else None,
        "doubts": list(one.doubts),
        "places": [_section(section, names, asked.groups) for section in one.sections],
        "calls": [_call(one.stack, call, asked.groups) for call in one.calls],
    }


def _stack(stack: FilterStack) -> Plain:
    flags = [*stack.logged, *[False] * (len(stack.programs) - len(stack.logged))]
    return {
        "description": stack.description,
        "filters": [
            {"sha256": known.sha256, "instructions": known.instructions, "logged": flag}
            for known, flag in zip(stack.identities, flags, strict=True)
        ],
        "findings": [{"weight": one.weight.value, "text": one.text} for one in stack.findings],
    }


def _place(place: Place) -> Plain:
    return {
        "title": place.title,
        "arch": None if place.arch is None else place.arch.name,
        "token": place.token,
        "remark": place.remark,
    }


def _section(section: Section, names: Sequence[str], groups: Groups | None) -> Plain:
    place = section.place
    documented = answers(section, names)
    return {
        **_place(place),
        "groups": [
            {"returns": str(returns), **_numbers(place, numbers)}
            for returns, numbers in section.groups
        ],
        "by_arguments": [
            {**_numbers(place, numbers), "outcomes": [_possible(one) for one in found]}
            for numbers, found in section.dependent
        ],
        "documented": {
            name: None if returns is None else str(returns) for name, returns in documented.items()
        },
        "named_groups": None if groups is None else call_groups.by_group(groups, section),
    }


def _numbers(place: Place, numbers: Numbers) -> Plain:
    return {
        "calls": [{"name": _name(place, number), "number": number} for number in numbers.named],
        "unknown": [{"first": first, "last": last} for first, last in numbers.unknown],
    }


def _name(place: Place, number: int) -> str | None:
    return None if place.arch is None else place.arch.name_of(number)


def _possible(one: PossibleReturn) -> Plain:
    return {
        "returns": str(one.returns),
        "condition": _condition(one.condition),
        "example": _example(one.example),
    }


def _condition(condition: Alternatives | None) -> Plain | None:
    if condition is None:
        return None
    return {
        "text": str(condition),
        "always": condition.always,
        "complete": condition.complete,
    }


def _example(data: SeccompData) -> Plain:
    return {
        "number": data.nr,
        "token": data.arch,
        "arguments": [f"{value:#x}" for value in data.args],
        "instruction_pointer": f"{data.instruction_pointer:#x}",
    }


def _call(stack: FilterStack, call: ExplainedCall, groups: Groups | None) -> Plain:
    name = _name(call.place, call.number)
    return {
        **_place(call.place),
        "name": name,
        "number": call.number,
        "named_groups": None if groups is None else list(groups.having(name or "")),
        "outcomes": [
            {
                "returns": str(one.returns),
                "condition": _condition(one.condition),
                "example": _example(one.example),
                "ways": _ways(stack, one.example),
            }
            for one in call.outcomes
        ],
    }


def _ways(stack: FilterStack, data: SeccompData) -> list[list[Plain]]:
    """For each filter the instructions that a call runs through."""
    return [
        [{"index": row.index, "instruction": row.instruction, "did": row.said} for row in rows]
        for rows in way.paths(stack, data)
    ]


def difference(
    words: tuple[str, str], targets: tuple[FilterStack, FilterStack], report: DifferenceReport
) -> str:
    """A comparison of two targets as the text of a JSON file.

    Args:
        words: the words of the two.
        targets: the two.
        report: what their comparison came to.
    """
    document: Plain = {
        "schema": DIFFERENCE,
        "suite": _suite(),
        **{
            side: {"word": word, "description": target.description}
            for side, word, target in zip(("a", "b"), words, targets, strict=True)
        },
        "exit_status": int(report.status),
        "came_to": CAME_TO[report.status],
        "sentence": report.sentence,
        "stacks": [_compared(one) for one in report.parts],
    }
    return indented(document) + "\n"


CAME_TO: Final[Mapping[ExitStatus, str]] = {
    ExitStatus.CONFORMANT: "equal",
    ExitStatus.NOT_CONFORMANT: "different",
    ExitStatus.CANNOT_TELL: "cannot tell",
    ExitStatus.BROKEN: "no proof",
}
"""What a comparison came to, in a word."""


def _compared(one: ComparedStacks) -> Plain:
    return {
        "a": _stack(one.left),
        "b": _stack(one.right),
        "came_to": CAME_TO[one.found.status],
        "sentence": one.found.sentence,
        "doubts": list(one.found.doubts),
        "places": [
            {
                **_place(place),
                "differences": [_row(one, row) for row in one.found.rows if row.place == place],
            }
            for place in one.found.where
        ],
    }


def _row(one: ComparedStacks, row: DifferenceRow) -> Plain:
    pair = row.pair
    return {
        "a": {
            "returns": str(pair.left),
            "recorded": pair.left_recorded,
            "ways": _ways(one.left, row.example),
        },
        "b": {
            "returns": str(pair.right),
            "recorded": pair.right_recorded,
            "ways": _ways(one.right, row.example),
        },
        **_numbers(row.place, row.numbers),
        "condition": _condition(row.condition),
        "example": _example(row.example),
    }
