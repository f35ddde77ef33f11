"""Audit rules as the kernel lists them, and which of them keep a SECCOMP record from being written.

See ``struct audit_rule_data`` in ``include/uapi/linux/audit.h`` and auditctl(8). What decides about
a record of this type is the list ``exclude`` alone: ``audit_log_start()`` (kernel/audit.c) goes
through it and drops the record at the first rule that fits, whether it says ``always`` or
``never``. The lists ``task``, ``exit``, ``filesystem`` and ``io_uring`` choose records of calls.
"""

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from probes.audit.record import SECCOMP_MESSAGE_TYPE

_MOST_FIELDS = 64
_HEAD = struct.Struct("=III")
_WORDS = struct.Struct(f"={_MOST_FIELDS}I")
_LENGTH = struct.Struct("=I")
_LISTS: Final = (*("user", "task", "entry", "watch", "exit", "exclude", "filesystem", "io_uring"),)
_ACTIONS: Final = ("never", "possible", "always")
_EXCLUDE: Final = _LISTS.index("exclude")

_MSGTYPE = 12
_LOGINUID_SET = 24
_NAMES: Final = {
    0: "pid",
    1: "uid",
    5: "gid",
    9: "auid",
    _MSGTYPE: "msgtype",
    13: "subj_user",
    14: "subj_role",
    15: "subj_type",
    16: "subj_sen",
    17: "subj_clr",
    _LOGINUID_SET: "loginuid_set",
    25: "sessionid",
    112: "exe",
    210: "key",
}
"""The fields that a rule of the list exclude may have, and the key, which decides nothing."""
_TEXTS: Final = frozenset({13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 105, 107, 112, 210})
"""The fields whose value is the length of a text (``audit_data_to_entry()``)."""
_KEY = 210
_UNSET = 0xFFFFFFFF

_OPERATORS: Final[dict[int, tuple[str, Callable[[int, int], bool]]]] = {
    0x40000000: ("=", operator.eq),
    0x30000000: ("!=", operator.ne),
    0x10000000: ("<", operator.lt),
    0x20000000: (">", operator.gt),
    0x50000000: ("<=", operator.le),
    0x60000000: (">=", operator.ge),
    0x08000000: ("&", lambda one, other: bool(one & other)),
    0x48000000: ("&=", lambda one, other: one & other == other),
}


@dataclass(frozen=True, slots=True)
class RuleField:
    """One condition of a rule.

    Attributes:
        kind: what is compared, an AUDIT_* number.
        operator: how, an AUDIT_* bit mask.
        value: the number that it is compared with; the length of ``text`` where that is compared.
        text: the text that it is compared with.
    """

    kind: int
    operator: int
    value: int
    text: str = ""

    def __str__(self) -> str:
        """The condition as auditctl(8) takes it."""
        sign = _OPERATORS.get(self.operator, ("?",))[0]
        if self.kind in _TEXTS:
            value = self.text
        elif self.kind == _MSGTYPE and self.value == SECCOMP_MESSAGE_TYPE:
            value = "SECCOMP"
        else:
            value = "-1" if self.value == _UNSET else str(self.value)
        return f"-F {_NAMES.get(self.kind, self.kind)}{sign}{value}"

    @property
    def fits_seccomp(self) -> bool:
        """Whether a SECCOMP record of some process meets the condition."""
        if self.kind != _MSGTYPE:
            return True
        compare = _OPERATORS.get(self.operator)
        return compare is not None and compare[1](SECCOMP_MESSAGE_TYPE, self.value)


@dataclass(frozen=True, slots=True)
class AuditRule:
    """A rule of the kernel's audit.

    Attributes:
        filter_list: the number of its list, AUDIT_FILTER_*.
        action: what it does, AUDIT_NEVER to AUDIT_ALWAYS.
        fields: its conditions, all of which a record has to meet.
    """

    filter_list: int
    action: int
    fields: tuple[RuleField, ...]

    @property
    def excludes_seccomp(self) -> bool:
        """Whether it keeps SECCOMP records from being written, of all processes or of some."""
        return self.filter_list == _EXCLUDE and all(one.fits_seccomp for one in self.fields)

    @property
    def whose(self) -> tuple[RuleField, ...]:
        """The conditions on the process; none where it is for all of them."""
        return tuple(one for one in self.fields if one.kind not in {_MSGTYPE, _KEY})

    def __str__(self) -> str:
        """The rule behind ``-a`` or ``-d``, as auditctl(8) takes it."""
        which = f"{_word(_ACTIONS, self.action)},{_word(_LISTS, self.filter_list)}"
        return " ".join([which, *map(str, self.fields)])


def why_excluded(rules: Sequence[AuditRule]) -> str:
    """Why the kernel does not write SECCOMP records, by its audit rules.

    Returns:
        One clause with the command that removes the rule; "" where none keeps them away.
    """
    found = [one for one in rules if one.excludes_seccomp]
    if not found:
        return ""
    # The one that is for everybody explains more.
    rule = next((one for one in found if not one.whose), found[0])
    whose = " ".join(map(str, rule.whose))
    of_some = f" of some processes ({whose})" if whose else ""
    return (
        f"an audit rule keeps SECCOMP records{of_some} from being written; remove it: "
        f"auditctl -d {rule}"
    )


def read_rule(raw: bytes) -> AuditRule:
    """Reads a ``struct audit_rule_data``.

    Raises:
        OSError: it is too short to be one.
    """
    try:
        flags, action, count = _HEAD.unpack_from(raw)
        at = _HEAD.size + _WORDS.size  # behind the mask of calls
        kinds, values, operators = (
            _WORDS.unpack_from(raw, at + place * _WORDS.size) for place in range(3)
        )
        text = raw[at + 3 * _WORDS.size + _LENGTH.size :]
    except struct.error as problem:
        raise OSError(str(problem)) from problem
    fields = []
    for kind, value, sign in list(zip(kinds, values, operators, strict=True))[:count]:
        own, text = (text[:value], text[value:]) if kind in _TEXTS else (b"", text)
        fields.append(RuleField(kind, sign, value, own.decode("utf-8", "backslashreplace")))
    return AuditRule(flags, action, tuple(fields))


def _word(words: Sequence[str], number: int) -> str:
    return words[number] if number < len(words) else str(number)
