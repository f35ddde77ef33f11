"""Whether a compiled program does what the rules say: libseccomp has faults of its own. Pure.

Rules for calls that libseccomp does not have on an architecture are left out in silence. Where
several rules compare the same 64-bit argument, libseccomp 2.5 can go on with the wrong half of it.
On ABIs of 32 bits it cuts values to 32 bits and so compares with others. Each call is tried with
arguments at the edges of its conditions; what is found is certain, what is not found is not.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes import arch as abi
from probes.action import FilterReturn
from probes.arch import Arch
from probes.filters import bpf
from probes.filters.bpf import Program, SeccompData
from probes.targets.oci.profile import ARGUMENTS, SeccompArg, SeccompOperator
from probes.targets.oci.resolve import Resolved, ResolvedRule, listed, repeats

_U64: Final = (1 << 64) - 1
_NARROW: Final = frozenset(
    {"x32", "i386", "arm", "s390", "riscv32", "mipsel", "mipsel64n32", "ppc"}
)
"""ABIs whose arguments have 32 bits."""


def findings(
    resolved: Resolved, program: Program, names: Collection[str], unknown: Collection[str]
) -> Iterator[str]:
    """Sentences about rules that a program does not keep.

    Args:
        resolved: the rules.
        program: what they were compiled to.
        names: ``SCMP_ARCH_*`` that the program is for.
        unknown: calls that libseccomp does not know, about which there is a finding already.
    """
    by_name: dict[str, list[ResolvedRule]] = {}
    for rule in resolved.rules:
        if rule.returns != resolved.default and rule.name not in unknown:
            by_name.setdefault(rule.name, []).append(rule)
    for each in abi.ARCHES.values():
        if each.scmp in names:
            yield from _on(each, resolved, program, by_name)


def _on(
    arch: Arch, resolved: Resolved, program: Program, by_name: dict[str, list[ResolvedRule]]
) -> Iterator[str]:
    left_out: list[str] = []
    for name, rules in by_name.items():
        number = arch.number(name)
        if number is None:
            continue
        broken = _first_broken(arch, number, resolved, program, rules)
        if broken is None:
            continue
        if not rules[0].conditions and broken.returns == resolved.default:
            left_out.append(name)
            continue
        yield (
            f"{resolved.path}: libseccomp makes a program that does not keep "
            f"{' and '.join(dict.fromkeys(rule.place for rule in rules))} for {name} on {arch}: "
            f"with {_spelled(broken.arguments)} it returns {broken.returns}, not {broken.wanted}"
        )
    if left_out:
        yield (
            f"{resolved.path}: libseccomp leaves out the rules for {listed(left_out)} on "
            f"{arch}, which has them: a newer libseccomp may know their numbers"
        )


@dataclass(frozen=True, slots=True)
class _Broken:
    arguments: tuple[int, ...]
    returns: FilterReturn
    wanted: str


def _first_broken(
    arch: Arch, number: int, resolved: Resolved, program: Program, rules: Sequence[ResolvedRule]
) -> _Broken | None:
    width = bpf.U32 if arch.name in _NARROW else _U64
    for arguments in dict.fromkeys(itertools.islice(_edges(rules, width), _MOST_INPUTS)):
        data = SeccompData(number, arch.audit_arch, arguments)
        value = bpf.simulate(program, data, big_endian=resolved.native.big_endian)
        possible = _possible(rules, arguments, resolved.default)
        if value not in {one.value for one in possible}:
            wanted = " or ".join(str(one) for one in possible)
            return _Broken(arguments, FilterReturn.decode(value), wanted)
    return None


def _possible(
    rules: Iterable[ResolvedRule], arguments: Sequence[int], default: FilterReturn
) -> tuple[FilterReturn, ...]:
    """What may be returned: which of several matching rules wins is libseccomp's affair."""
    matching = []
    for rule in rules:
        if not rule.conditions:
            return (rule.returns,)
        held = [_holds(each, arguments[each.index]) for each in rule.conditions]
        if any(held) if repeats(rule) else all(held):
            matching.append(rule.returns)
    return tuple(dict.fromkeys(matching)) or (default,)


def _holds(condition: SeccompArg, argument: int) -> bool:
    value = condition.value
    if condition.operator is SeccompOperator.MASKED_EQ:
        return argument & value == condition.value_two
    return {
        SeccompOperator.NE: argument != value,
        SeccompOperator.LT: argument < value,
        SeccompOperator.LE: argument <= value,
        SeccompOperator.EQ: argument == value,
        SeccompOperator.GE: argument >= value,
        SeccompOperator.GT: argument > value,
    }[condition.operator]


_MOST_INPUTS: Final = 400
"""For one call on one ABI; real profiles need fewer."""

_MOST_VALUES: Final = 24
"""For one argument."""


def _edges(rules: Sequence[ResolvedRule], width: int) -> Iterator[tuple[int, ...]]:
    """Arguments at the edges of the conditions, first with all others zero, then together."""
    values: dict[int, dict[int, None]] = {}
    for rule in rules:
        for each in rule.conditions:
            known = values.setdefault(each.index, {0: None, width: None})
            if len(known) < _MOST_VALUES:
                known.update(dict.fromkeys(_near(each, width)))
    yield (0,) * ARGUMENTS
    for rule in rules:
        base = _matched(rule, width)
        yield base
        for index, words in values.items():
            for word in words:
                yield (*base[:index], word, *base[index + 1 :])
    yield from itertools.product(*(tuple(values.get(i, (0,))) for i in range(ARGUMENTS)))


def _near(condition: SeccompArg, width: int) -> tuple[int, ...]:
    """Values at the edge of a condition, whole and cut to 32 bits."""
    value, second = condition.value, condition.value_two
    near = (
        (second, second ^ (value & -value), ~value)
        if condition.operator is SeccompOperator.MASKED_EQ
        else (value, value - 1, value + 1)
    )
    return tuple(word & mask for word in near for mask in (width, bpf.U32))


def _matched(rule: ResolvedRule, width: int) -> tuple[int, ...]:
    """Arguments that meet the conditions of a rule, as far as some edge of each does."""
    found = [0] * ARGUMENTS
    for each in rule.conditions:
        found[each.index] = next((w for w in _near(each, width) if _holds(each, w)), 0)
    return tuple(found)


def _spelled(arguments: Sequence[int]) -> str:
    told = [f"args[{index}] = {word:#x}" for index, word in enumerate(arguments) if word]
    return " and ".join(told) or "all arguments 0"
