"""Policies: which calls a document restricts, loaded from a TOML file and validated.

A policy says what must hold and nothing about how it is asked. The shipped one lives with the
cases, as does its comment on what each key means; this module knows only the shape of such a
file. Every fault in a file is refused in one sentence that names the file and the line or key.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from probes import deviation, files, widths
from probes.action import ERRNO_NAMES, Action, FilterReturn, Profile, errno_number
from probes.arch import ARCHES, Arch
from probes.deviation import KnownDeviation
from probes.documents.toml_file import (
    MOST_BYTES,
    KeyRule,
    check_keys,
    parse,
    suggestion,
    table_places,
)
from probes.errors import BadInputError
from probes.filters import conditions
from probes.filters.bdd import TooLargeError
from probes.filters.conditions import Condition, Operator, Outside, Restriction
from probes.text import shown

FORMAT = 1
"""The version of the file format that this module reads."""


@dataclass(frozen=True, slots=True)
class DocumentedCall:
    """One call that a document restricts, for all arguments or for some.

    Attributes:
        name: the call's name as the kernel's tables spell it.
        family: the group in which a report shows the call; one of the policy's families.
        description: what the call does.
        why: why a platform restricts it.
        cves: CVE ids of flaws that the call led to; not exhaustive.
        attack: ATT&CK technique ids that the call serves.
        obsolete: whether current kernels answer ENOSYS, because it went or never came.
        since: the first kernel release with the call; None where no mainline kernel has it.
        args: the conditions that the arguments meet for which it is restricted; all arguments do
            where there are none.
        errno: the names of the errnos that a refusal may answer, the best one first; none stands
            for the profile's own.
    """

    name: str
    family: str
    description: str
    why: str
    cves: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    obsolete: bool = False
    since: str | None = None
    args: tuple[Condition, ...] = ()
    errno: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The label in cells and reports: the name with its conditions, ``socket[0==38]``."""
        return conditions.label(self.name, self.args)

    def restriction(self, arch: Arch) -> Restriction:
        """The arguments for which the call is restricted on an ABI."""
        return conditions.restriction(self.args, self.name, arch)

    def number(self, arch: Arch) -> int | None:
        """Its number; None where the ABI has none, or where no arguments meet its conditions."""
        number = arch.number(self.name)
        if number is None or not self.args:
            return number
        return None if conditions.is_empty(self.restriction(arch)) else number

    def returns(self, profile: Profile, arch: Arch) -> tuple[FilterReturn, ...]:
        """What a filter with a profile may return for it, the best answer first."""
        if profile is not Profile.ERRNO or not self.errno:
            return (profile.returns,)
        return tuple(
            FilterReturn(Action.ERRNO, errno_number(name, arch.machine)) for name in self.errno
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A document's restrictions.

    Attributes:
        name: a short name for reports and ids.
        title: the document's title.
        source: what the document is, in a sentence.
        families: every family, in the order in which a report shows them.
        calls: the documented calls, in the document's order; at least one, no label twice.
        path: the file that the policy came from, as it was given.
        sha256: the SHA-256 of that file's bytes, in lower-case hexadecimal.
        lines: for each of the calls the line where its table begins; () where that is not known.
        accept: what runtimes do to every profile and the document puts up with.
    """

    name: str
    title: str
    source: str
    families: tuple[str, ...]
    calls: tuple[DocumentedCall, ...]
    path: str
    sha256: str
    lines: tuple[int, ...] = ()
    accept: tuple[KnownDeviation, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the documented calls, in the document's order, each once."""
        return tuple(dict.fromkeys(call.name for call in self.calls))

    def call(self, label: str) -> DocumentedCall:
        """The documented call of this label, which is the name where there are no conditions.

        Raises:
            KeyError: the policy does not document it.
        """
        for call in self.calls:
            if call.label == label:
                return call
        raise KeyError(label)

    def entries(self, name: str) -> tuple[DocumentedCall, ...]:
        """Every entry for the call of this name, in the document's order."""
        return tuple(call for call in self.calls if call.name == name)

    def rest(self, name: str, arch: Arch) -> Outside | None:
        """The arguments for which a call is not restricted on an ABI; None where there are none."""
        found = Outside(tuple(call.restriction(arch) for call in self.entries(name)))
        return None if conditions.is_empty(found) else found


def load(path: Path, known_names: Collection[str]) -> Policy:
    """Loads and validates a policy file.

    Args:
        path: the TOML file.
        known_names: the names of all calls of all architectures; any other is refused.

    Raises:
        BadInputError: the file cannot be read, or something in it is wrong.
    """
    data = files.read_whole(path, MOST_BYTES, "the TOML file of the policy")
    text, head = parse(path, data, "a policy")
    place = shown(path)
    # First of all: the other keys of another format may well be others.
    if type(head.get("format")) is int and head["format"] != FORMAT:
        raise BadInputError(
            f"{place}: 'format' is not {FORMAT}, the only one that this suite reads; "
            f"use the suite that the policy was written for, or rewrite the policy"
        )
    check_keys(head, _HEAD, f"{place}: the policy", "add it above the first [[call]]")
    accepted = _accepted(head.pop("accept", []), place)
    tables = head.pop("call", [])
    if not tables:
        raise BadInputError(f"{place}: the policy documents no call; add a [[call]] table")
    lines = table_places(text, "call", len(tables))
    calls: list[DocumentedCall] = []
    seen: dict[str, str] = {}
    for table, line in zip(tables, lines, strict=True):
        _check_call(table, place, line, known_names, head["families"])
        call = _call(table, f"{place}, {line}: the call '{table['name']}'")
        if call.label in seen:
            raise BadInputError(
                f"{place}: the call '{call.label}' is documented twice, in {seen[call.label]} and "
                f"in {line}; remove one of the two"
            )
        seen[call.label] = line
        calls.append(call)
    _check_together(calls, seen, place)
    del head["format"]
    return Policy(
        **_frozen(head),
        calls=tuple(calls),
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        lines=tuple(int(line.split()[1]) for line in lines if line.startswith("line ")),
        accept=accepted,
    )


def _accepted(names: Sequence[str], place: str) -> tuple[KnownDeviation, ...]:
    """What the policy puts up with.

    Raises:
        BadInputError: a name is not known.
    """
    try:
        return deviation.named(names)
    except BadInputError as error:
        raise BadInputError(f"{place}: 'accept': {error}") from error


_HEAD = {
    "format": KeyRule(int),
    "name": KeyRule(str),
    "title": KeyRule(str),
    "source": KeyRule(str),
    "families": KeyRule(list, item=str),
    "accept": KeyRule(list, item=str, required=False),
    "call": KeyRule(list, item=dict, required=False),
}
_CALL = {
    "name": KeyRule(str),
    "family": KeyRule(str),
    "description": KeyRule(str),
    "why": KeyRule(str),
    "cves": KeyRule(
        list,
        item=str,
        required=False,
        form=re.compile(r"CVE-[0-9]{4}-[0-9]{4,}"),
        example="CVE-2022-0185",
    ),
    "attack": KeyRule(
        list,
        item=str,
        required=False,
        form=re.compile(r"T[0-9]{4}(\.[0-9]{3})?"),
        example="T1611 or T1547.006",
    ),
    "obsolete": KeyRule(bool, required=False),
    "since": KeyRule(
        str,
        required=False,
        form=re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?"),
        example="2.6.10 or 5.2",
    ),
    "args": KeyRule(list, item=dict, required=False),
    "errno": KeyRule(
        list,
        item=str,
        required=False,
        form=re.compile(r"E[A-Z0-9]+"),
        example="EPERM or ENOSYS",
    ),
}
_ARGUMENT = {
    "index": KeyRule(int),
    "op": KeyRule(str),
    "value": KeyRule(int),
    "mask": KeyRule(int, required=False),
    "valueTwo": KeyRule(int, required=False),
}


def _check_call(
    table: Mapping[str, Any],
    place: str,
    line: str,
    known_names: Collection[str],
    families: Collection[str],
) -> None:
    """Refuses a [[call]] table that does not document a call."""
    name = table.get("name")
    named = f"the call '{shown(name)}'" if isinstance(name, str) and name else "the call"
    whose = f"{place}, {line}: {named}"
    check_keys(table, _CALL, whose, "add it to this [[call]] table")
    name = table["name"]
    if name not in known_names:
        if name.lower() in known_names:
            raise BadInputError(
                f"{whose} has capitals, but the kernel spells it lower-case: '{name.lower()}'"
            )
        raise BadInputError(
            f"{whose} is in no architecture's system call table"
            f"{suggestion(name.lower(), known_names)}"
        )
    if table["family"] not in families:
        raise BadInputError(
            f"{whose} has the family '{shown(table['family'])}', which 'families' does not "
            f"list{suggestion(table['family'], families)}"
        )


_MOST_CONDITIONS: Final = 16
"""The most entries that one call may have; no document needs as many."""


def _call(table: Mapping[str, Any], whose: str) -> DocumentedCall:
    """The call that a table documents, whose keys are right.

    Raises:
        BadInputError: its conditions or its errnos have no meaning.
    """
    for key in ("args", "errno"):
        if table.get(key) == []:
            raise BadInputError(f"{whose}: '{key}' is an empty list; fill it in or leave it out")
    for name in table.get("errno", ()):
        if name not in ERRNO_NAMES:
            raise BadInputError(
                f"{whose}: 'errno' names {shown(name)}, which is no errno"
                f"{suggestion(name, ERRNO_NAMES)}"
            )
    written = table.get("args", ())
    if len(written) > _MOST_CONDITIONS:
        raise BadInputError(
            f"{whose}: 'args' has {len(written)} conditions, and no more than {_MOST_CONDITIONS} "
            f"are taken; remove some"
        )
    args = tuple(
        _condition(one, table["name"], f"{whose}: 'args', entry {position},")
        for position, one in enumerate(written, start=1)
    )
    call = DocumentedCall(**{**_frozen(table), "args": args})
    _check_meaning(call, whose)
    return call


def _condition(table: Mapping[str, Any], call: str, whose: str) -> Condition:
    """Reads one entry of ``args``.

    Raises:
        BadInputError: it is no condition, or not one on this call.
    """
    check_keys(table, _ARGUMENT, whose, "add it to this entry")
    if table["op"] not in set(Operator):
        raise BadInputError(
            f"{whose} has the unknown op '{shown(table['op'])}'"
            f"{suggestion(table['op'].upper(), list(Operator))}"
        )
    if not 0 <= table["index"] < conditions.ARGUMENTS:
        raise BadInputError(
            f"{whose} has the index {table['index']}, but a call has the arguments 0 to "
            f"{conditions.ARGUMENTS - 1}"
        )
    for key in ("value", "mask", "valueTwo"):
        if not 0 <= table.get(key, 0) <= conditions.HIGHEST_VALUE:
            raise BadInputError(
                f"{whose} has '{key}' = {table[key]}, which is not from 0 to 2^64-1; write a "
                f"negative number as the kernel's register has it: 0xffffffff for an int of -1"
            )
    operator = Operator(table["op"])
    value, mask = _value_and_mask(table, operator, whose)
    _check_width(value if mask is None else value | mask, call, table["index"], whose)
    return Condition(table["index"], operator, value, mask)


def _value_and_mask(
    table: Mapping[str, Any], operator: Operator, whose: str
) -> tuple[int, int | None]:
    """The value that an argument is compared with, and the mask of SCMP_CMP_MASKED_EQ."""
    given = [key for key in ("mask", "valueTwo") if key in table]
    if operator is not Operator.MASKED_EQ:
        if given:
            raise BadInputError(
                f"{whose} has the key '{given[0]}', which only {Operator.MASKED_EQ} takes; remove "
                f"it, or change 'op'"
            )
        return table["value"], None
    if len(given) != 1:
        raise BadInputError(
            f"{whose} needs either 'mask' (the bits of the argument that must be as in 'value') or "
            f"'valueTwo' (as OCI has it: 'value' is then the mask); give one of the two"
        )
    value, mask = table["value"], table.get("mask")
    if mask is None:
        value, mask = table["valueTwo"], table["value"]
    if value & ~mask:
        raise BadInputError(
            f"{whose} asks for {value:#x} under the mask {mask:#x}, which has not all of these "
            f"bits, so that no argument meets it; correct one of the two"
        )
    return value, mask


def _check_width(value: int, call: str, index: int, whose: str) -> None:
    """Refuses a value with bits that the kernel reads on no ABI: whoever wrote it meant another."""
    widest = max(
        (
            widths.width(call, arch, index)
            for arch in ARCHES.values()
            if arch.number(call) is not None
        ),
        default=widths.REGISTER_BITS,
    )
    if value >> widest:
        raise BadInputError(
            f"{whose} has the value {value:#x}, but the kernel reads only the low {widest} bits of "
            f"argument {index}; write {value & ((1 << widest) - 1):#x} if those are meant"
        )


def _check_meaning(call: DocumentedCall, whose: str) -> None:
    """Refuses conditions that no arguments meet, or that all do.

    On some ABIs they may: there a register is narrower.
    """
    where = [arch for arch in ARCHES.values() if arch.number(call.name) is not None]
    if not call.args or not where:
        return
    found = [call.restriction(arch) for arch in where]
    if all(map(conditions.is_empty, found)):
        raise BadInputError(f"{whose}: no arguments meet 'args', for all of it must hold; mend it")
    if all(map(conditions.is_everything, found)):
        raise BadInputError(f"{whose}: all arguments meet 'args'; leave it out")


def _check_together(calls: Sequence[DocumentedCall], lines: Mapping[str, str], place: str) -> None:
    """Refuses tables about the same call that contradict each other.

    Raises:
        BadInputError: one has conditions and another none, or they ask for different errnos of the
            same arguments, or they are too many to compare.
    """
    by_name: dict[str, list[DocumentedCall]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
    for name, entries in by_name.items():
        where = [lines[call.label] for call in entries]
        if len(entries) > 1 and not all(call.args for call in entries):
            raise BadInputError(
                f"{place}: the call '{name}' is documented with conditions and without any, in "
                f"{' and in '.join(where)}; keep the one or the other"
            )
        try:
            for one, other in _contradicting(entries):
                raise BadInputError(
                    f"{place}: '{one.label}' in {lines[one.label]} and '{other.label}' in "
                    f"{lines[other.label]} have arguments in common, but not 'errno'; let them "
                    f"list the same errnos in the same order"
                )
            _check_intricacy(name, entries)
        except TooLargeError as error:
            raise BadInputError(
                f"{place}: the conditions on '{name}' are too many to tell them apart ({error}); "
                f"document the call with fewer"
            ) from error


def _contradicting(
    entries: Iterable[DocumentedCall],
) -> Iterator[tuple[DocumentedCall, DocumentedCall]]:
    """Pairs of entries about one call that meet on some ABI and list different errnos."""
    for one, other in combinations(entries, 2):
        if _errnos(one) != _errnos(other) and any(
            not conditions.is_empty(
                conditions.Common((one.restriction(arch), other.restriction(arch)))
            )
            for arch in ARCHES.values()
            if arch.number(one.name) is not None
        ):
            yield one, other


def _errnos(call: DocumentedCall) -> tuple[str, ...]:
    return call.errno or ("EPERM",)


def _check_intricacy(name: str, entries: Sequence[DocumentedCall]) -> None:
    """Checks that the unrestricted arguments of a call can be computed.

    Raises:
        TooLargeError: the conditions are too intricate for that.
    """
    for arch in ARCHES.values():
        if arch.number(name) is not None and entries[0].args:
            conditions.is_empty(Outside(tuple(call.restriction(arch) for call in entries)))


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
