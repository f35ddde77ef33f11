"""Made-up OCI profiles, and what they mean by a reading of our own.

The reading shares nothing with ``probes.targets`` but the tables of numbers: it goes by the JSON.
"""

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from probes.arch import ARCHES

Json = dict[str, Any]

U32: Final = (1 << 32) - 1
U64: Final = (1 << 64) - 1

NAMES: Final = ("read", "socket", "personality", "clone", "acct", "mount", "keyctl", "openat")
"""Calls that every ABI here and libseccomp know; none multiplexed but socket, on i386."""

UNKNOWN_NAMES: Final = ("nonsense", "sys_read", "fchroot")
"""Calls that libseccomp 2.5 does not know."""

ARCHITECTURES: Final = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
TOKENS: Final = {"x86_64": 0xC000003E, "x32": 0xC000003E, "i386": 0x40000003}
SCMP: Final = {"x86_64": "SCMP_ARCH_X86_64", "x32": "SCMP_ARCH_X32", "i386": "SCMP_ARCH_X86"}

VALUES: Final = (0, 1, 2, 5, 0xFF, 1 << 31, U32 - 1, U32, 1 << 32, (1 << 32) + 1, 1 << 63, U64)
CAPABILITIES: Final = ("CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN")
HELD: Final = frozenset({"CAP_CHOWN", "CAP_KILL"})
KERNEL: Final = (6, 1)

_ACTIONS: Final[Mapping[str, int]] = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_DATA: Final = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "SCMP_CMP_NE": operator.ne,
    "SCMP_CMP_LT": operator.lt,
    "SCMP_CMP_LE": operator.le,
    "SCMP_CMP_EQ": operator.eq,
    "SCMP_CMP_GE": operator.ge,
    "SCMP_CMP_GT": operator.gt,
}


# Profiles.

_values = st.sampled_from(VALUES)
_conditions = st.builds(
    lambda index, op, value, second: {"index": index, "op": op, "value": value, "valueTwo": second},
    st.integers(0, 5),
    st.sampled_from((*_OPERATORS, "SCMP_CMP_MASKED_EQ")),
    _values,
    _values,
)
_circumstances = st.fixed_dictionaries(
    {},
    optional={
        "caps": st.lists(st.sampled_from(CAPABILITIES), max_size=2),
        "arches": st.lists(st.sampled_from(("amd64", "arm64")), max_size=2),
        "minKernel": st.sampled_from(("4.8", "6.1", "6.2", "7.0")),
    },
)
_rules = st.fixed_dictionaries(
    {
        "names": st.lists(st.sampled_from((*NAMES, *NAMES, *UNKNOWN_NAMES)), max_size=3),
        "action": st.sampled_from(tuple(_ACTIONS)),
    },
    optional={
        "errnoRet": st.sampled_from((0, 1, 13, 38, 4095)),
        "args": st.lists(_conditions, max_size=3),
        "includes": _circumstances,
        "excludes": _circumstances,
        "comment": st.text(max_size=5),
    },
)
valid: Final = st.fixed_dictionaries(
    {"defaultAction": st.sampled_from(tuple(_ACTIONS)), "syscalls": st.lists(_rules, max_size=8)},
    optional={
        "defaultErrnoRet": st.sampled_from((0, 1, 38, 4095)),
        "architectures": st.lists(st.sampled_from(ARCHITECTURES), unique=True),
    },
)
"""Profiles that Docker takes and that libseccomp compiles, unless two rules contradict."""

_scraps: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from((*_ACTIONS, *ARCHITECTURES, "SCMP_CMP_EQ", "4.8", "CAP_KILL")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every container in a value, with a key or an index of it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield value, index
            yield from _places(inner)


@st.composite
def broken(draw: st.DrawFn) -> Json:
    """Profiles of which a part is something else."""
    profile: Json = draw(valid)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(profile))))
        change = draw(st.sampled_from(("replaced", "removed", "renamed")))
        if change == "replaced" or isinstance(holder, list):
            holder[key] = draw(_scraps)
        elif change == "removed":
            del holder[key]
        else:
            holder[draw(st.sampled_from((key.upper(), key + "s", draw(st.text(max_size=5)))))] = (
                holder.pop(key)
            )
        if not list(_places(profile)):
            break
    return profile


# What they mean.


def _counts(rule: Json) -> bool:
    asks, bars = rule.get("includes", {}), rule.get("excludes", {})

    def reached(version: str) -> bool:
        return tuple(int(part) for part in version.split(".")) <= KERNEL

    if HELD & set(bars.get("caps", ())) or "amd64" in bars.get("arches", ()):
        return False
    if "minKernel" in bars and reached(bars["minKernel"]):
        return False
    if set(asks.get("caps", ())) - HELD:
        return False
    if asks.get("arches") and "amd64" not in asks["arches"]:
        return False
    return "minKernel" not in asks or reached(asks["minKernel"])


def _value(action: str, data: int | None) -> int:
    if action in _WITH_DATA:
        return _ACTIONS[action] | (1 if data is None else data)  # EPERM
    return _ACTIONS[action]


def _met(condition: Json, arguments: Sequence[int]) -> bool:
    argument, value = arguments[condition["index"]], condition["value"]
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return bool(argument & value == condition["valueTwo"])
    return _OPERATORS[condition["op"]](argument, value)


def _matches(rule: Json, arguments: Sequence[int]) -> bool:
    conditions = rule.get("args", [])
    indices = [condition["index"] for condition in conditions]
    held = [_met(condition, arguments) for condition in conditions]
    # Where an argument is there twice runtimes make each condition a rule of its own.
    return any(held) if len(set(indices)) < len(indices) else all(held)


def meaning(profile: Json, abi: str, number: int, arguments: Sequence[int]) -> Collection[int]:
    """What a filter on x86_64 may return for a call: one value, or one for each rule that matches.

    Without runc's part for numbers that the profile does not reach.
    """
    default = _value(profile["defaultAction"], profile.get("defaultErrnoRet"))
    architectures = {"SCMP_ARCH_X86_64", *profile.get("architectures", ())}
    if SCMP[abi] not in architectures:
        return {0}  # libseccomp kills the thread
    found = set()
    for rule in filter(_counts, profile["syscalls"]):
        numbers = {ARCHES[abi].numbers[name] for name in rule["names"] if name in NAMES}
        value = _value(rule["action"], rule.get("errnoRet"))
        if number not in numbers or value == default:
            continue
        if not rule.get("args"):
            return {value}
        if _matches(rule, arguments):
            found.add(value)
    return found or {default}


def highest(profile: Json, abi: str) -> int:
    """The highest number that runc sees the rules name; 0 for none.

    It asks libseccomp, which has no number for i386's socket, since that was once a socketcall.
    """
    names = [name for rule in filter(_counts, profile["syscalls"]) for name in rule["names"]]
    seen = [name for name in names if name in NAMES and (abi, name) != ("i386", "socket")]
    numbers = [ARCHES[abi].numbers[name] for name in seen]
    return max(numbers, default=0)


def calls(rng: Random, profile: Json, count: int) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Calls at the edges of a profile: ABI, number, six arguments."""
    near = {
        value + step & U64
        for rule in profile["syscalls"]
        for condition in rule.get("args", [])
        for value in (condition["value"], condition["valueTwo"])
        for step in (-1, 0, 1)
    }
    words = sorted(near | {0, U32, U64})
    for _ in range(count):
        abi = rng.choice(tuple(TOKENS))
        width = U64 if abi == "x86_64" else U32
        known = ARCHES[abi].numbers
        number = rng.choice([known[name] for name in NAMES] * 4 + [*known.values(), *ODD[abi]])
        arguments = tuple(rng.choice((0, rng.choice(words))) & width for _ in range(6))
        yield abi, number, arguments


ODD: Final = {
    "x86_64": (999, (1 << 30) - 1),
    "x32": ((1 << 30) + 999, 3 << 30, U32 - 1),
    "i386": (999, 1 << 30, U32),
}
"""Numbers of no call."""
