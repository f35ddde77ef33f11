"""Reads the pseudo filter code that seccomp_export_pfc(3) writes, and runs it.

libseccomp writes it from its rules, not from the program that it makes of them, so it is a second
account of what a filter does. The one thing that it leaves out: where a filter names x86_64 and not
x32, calls with x32's bit meet the action for foreign architectures (arch-x86_64.c, gen_bpf.c).
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from probes.filters.bpf import U32, SeccompData

_X86_64: Final = 0xC000003E
_X32_BIT: Final = 0x40000000

_CONDITION: Final = re.compile(
    r"if \(\$(?P<word>arch|syscall|a\d(?:\.hi32|\.lo32)?)"
    r"(?: & (?P<mask>0x[0-9a-f]+))? (?P<operator>==|>=|>) (?P<value>\d+)\)"
)
_ACTION: Final = re.compile(r"action (?P<name>[A-Z_]+|0x[0-9a-f]+)(?:\((?P<data>\d+)\))?;")
_OPERATORS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_ACTIONS: Final[Mapping[str, int]] = {
    "KILL_PROCESS": 0x80000000,
    "KILL": 0x00000000,
    "TRAP": 0x00030000,
    "ERRNO": 0x00050000,
    "0x7fc00000": 0x7FC00000,  # for USER_NOTIF libseccomp 2.5 has no word here
    "NOTIFY": 0x7FC00000,
    "TRACE": 0x7FF00000,
    "LOG": 0x7FFC0000,
    "ALLOW": 0x7FFF0000,
}


@dataclass(slots=True)
class _Statement:
    """An ``if`` with what follows it, or an action."""

    holds: Callable[[SeccompData], bool] | None
    returns: int = 0
    then: "list[_Statement]" = field(default_factory=list)
    otherwise: "list[_Statement]" = field(default_factory=list)


def interpreter(text: str) -> Callable[[SeccompData], int]:
    """What a filter's pseudo code returns for an input.

    Raises:
        ValueError: a line that is not understood.
    """
    lines = [
        ((len(line) - len(line.lstrip())) // 2, line.strip())
        for line in (written.partition("#")[0] for written in text.splitlines())
        if line.strip()
    ]
    statements, rest = _block(lines, 0)
    if rest:
        raise ValueError(f"left over: {rest[0]}")
    *sections, foreign = statements
    # x86_64's section and x32's test the same token; only the comments above them tell them apart.
    names = re.findall(r"# filter for arch (\w+) \(", text)
    by_name = dict(zip(names, sections, strict=True))

    def run(data: SeccompData) -> int:
        if data.arch == _X86_64 and data.nr >= _X32_BIT and data.nr != U32:
            chosen = [by_name["x32"]] if "x32" in by_name else []
        else:
            chosen = [section for name, section in by_name.items() if name != "x32"]
        found = _run([*chosen, foreign], data)
        if found is None:
            raise ValueError("the pseudo code ends without an action")
        return found

    return run


_Lines = list[tuple[int, str]]


def _block(lines: _Lines, depth: int) -> tuple[list[_Statement], _Lines]:
    found: list[_Statement] = []
    while lines and lines[0][0] == depth:
        line = lines[0][1]
        if action := _ACTION.fullmatch(line):
            value = _ACTIONS[action["name"]] | int(action["data"] or 0)
            found.append(_Statement(None, value))
            lines = lines[1:]
        elif line == "else":
            found[-1].otherwise, lines = _block(lines[1:], depth + 1)
        else:
            statement = _Statement(_condition(line))
            statement.then, lines = _block(lines[1:], depth + 1)
            found.append(statement)
    return found, lines


def _condition(line: str) -> Callable[[SeccompData], bool]:
    found = _CONDITION.fullmatch(line)
    if not found:
        raise ValueError(f"not understood: {line}")
    word, compare = found["word"], _OPERATORS[found["operator"]]
    mask, value = int(found["mask"] or hex(U32), 16), int(found["value"])

    def holds(data: SeccompData) -> bool:
        if word in {"arch", "syscall"}:
            return compare(data.arch if word == "arch" else data.nr, value)
        argument = data.args[int(word[1])]
        half = argument >> 32 if word.endswith("hi32") else argument & U32
        return compare(half & mask, value)

    return holds


def _run(statements: list[_Statement], data: SeccompData) -> int | None:
    for statement in statements:
        if statement.holds is None:
            return statement.returns
        branch = statement.then if statement.holds(data) else statement.otherwise
        found = _run(branch, data)
        if found is not None:
            return found
    return None
