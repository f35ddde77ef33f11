r"""The kernel's SECCOMP audit record (type 1326), parsed from every form in which it arrives.

The kernel writes the text in ``audit_seccomp()`` (kernel/auditsc.c)::

    audit(1700000000.123:45): auid=0 uid=0 gid=0 ses=1 subj=... pid=7 comm="x" exe="/bin/x"
    sig=31 arch=c000003e syscall=163 compat=0 ip=0x7f12 code=0x80000000

A netlink message carries this text bare and the type in its header. auditd's RAW format puts
``type=SECCOMP msg=`` in front; its ENRICHED format appends the byte 0x1d and its own reading of
the numbers. ``comm`` and ``exe`` follow ``audit_log_untrustedstring()`` (kernel/audit.c): quoted,
or upper-case hexadecimal where a byte is a quote, below 0x21 or above 0x7e.
"""

import re
from dataclasses import dataclass

from probes.errors import InstrumentError

SECCOMP_MESSAGE_TYPE = 1326
"""AUDIT_SECCOMP of the kernel's ``include/uapi/linux/audit.h``."""

CONFIG_CHANGE_MESSAGE_TYPE = 1305
"""AUDIT_CONFIG_CHANGE, written while auditing is switched on."""

_MOST_SHOWN = 500
_ENRICHMENT = "\x1d"
_SECCOMP_TYPES = frozenset({"SECCOMP", "1326", "UNKNOWN[1326]"})
_CONFIG_CHANGE_TYPES = frozenset({"CONFIG_CHANGE", "1305", "UNKNOWN[1305]"})
_CHANGE = re.compile(r"\bop=(?P<operation>seccomp-logging|add_rule|remove_rule) (?P<rest>.*)res=1")
_CHANGES = {
    "seccomp-logging": "kernel.seccomp.actions_logged was written",
    "add_rule": "an audit rule was added to the list exclude",
    "remove_rule": "an audit rule was removed from the list exclude",
}
_EXCLUDE_LIST = " list=5 "
# A longer number is no number of the kernel's, and Python's int() refuses one of 4,301 digits.
_NUMBER = r"\d{1,20}"
_HEX = r"[0-9a-f]{1,16}"
_STAMP = rf"audit\((?P<timestamp>{_NUMBER}\.\d{{3}}):(?P<serial>{_NUMBER})\): "
_STAMP_ALONE = rf"audit\({_NUMBER}\.\d{{3}}:{_NUMBER}\): "
_PREFIX = re.compile(rf"(?:node=(?P<node>\S+) )?type=(?P<type>\S+) (?:msg=)?(?={_STAMP})")
_STAMPED = re.compile(_STAMP)
_UNTRUSTED = r'"[\x21\x23-\x7e]*"|(?:[0-9A-F]{2})+'
# subj is the security module's own text: AppArmor's has blanks. It cannot imitate what follows,
# for the greedy match leaves it all but the last pid. With a stamp in it the line is two, of which
# the first one was written by half.
_SECCOMP = re.compile(
    _STAMP + rf"auid={_NUMBER} uid=(?P<uid>{_NUMBER}) gid={_NUMBER} ses={_NUMBER} "
    rf"(?:subj=(?:(?!{_STAMP_ALONE}).)* )?"
    rf"pid=(?P<pid>{_NUMBER}) comm=(?P<comm>{_UNTRUSTED}) exe=(?P<exe>{_UNTRUSTED}|\(null\)) "
    rf"sig=(?P<signal>{_NUMBER}) arch=(?P<arch>{_HEX}) syscall=(?P<syscall>-?{_NUMBER}) "
    rf"compat=(?P<compat>{_NUMBER}) ip=0x(?P<ip>{_HEX}) code=0x(?P<code>{_HEX})"
)


class MalformedRecordError(InstrumentError):
    """A line that is, or may have been, a SECCOMP record and cannot be read."""

    def __init__(self, line: str) -> None:
        shown = repr(line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}...")
        super().__init__(f"This audit record is damaged or of an unknown form: {shown}")
        self.line = line


@dataclass(frozen=True, slots=True)
class SeccompRecord:
    """One SECCOMP record.

    Attributes:
        timestamp: seconds since the epoch with three decimals, as written.
        serial: the event's number, counted by the kernel since boot.
        pid: the process (thread group) in the initial pid namespace.
        uid: its real user id in the initial user namespace; None where the collector leaves it
            out.
        comm: the thread's name; bytes that are not UTF-8 as surrogate escapes.
        exe: the executable's path, with surrogate escapes as in ``comm``; ``(null)`` where there
            is none.
        signal: the signal sent: SIGSYS for the KILL actions, 0 for LOG.
        arch: the AUDIT_ARCH token.
        syscall: the number as ``seccomp_data.nr``, unsigned 32 bits; x32 keeps its bit.
        compat: 1 where the kernel was entered by a compatibility ABI.
        ip: the instruction pointer.
        code: the action, ``SECCOMP_RET_ACTION_FULL`` of the filter's return value.
        raw: the line as it arrived, without its line end.
    """

    timestamp: str
    serial: int
    pid: int
    uid: int | None
    comm: str
    exe: str
    signal: int
    arch: int
    syscall: int
    compat: int
    ip: int
    code: int
    raw: str


def parse(line: str) -> SeccompRecord | None:
    """Reads one line of an audit log, or the text of a type 1326 netlink message.

    A text without a type in front is taken for the latter, so a caller that reads netlink
    messages looks at the header's type first.

    Args:
        line: the line, with or without its line end; undecodable bytes as surrogate escapes.

    Returns:
        The record; None for a record of another type and for a blank line.

    Raises:
        MalformedRecordError: a SECCOMP record that cannot be read, or a line so damaged that
            its type cannot be: it may have been one.
    """
    raw = line.rstrip("\r\n")
    text = raw.partition(_ENRICHMENT)[0].rstrip(" ")
    if not text:
        return None
    prefix = _PREFIX.match(text)
    if prefix is not None and prefix["type"] not in _SECCOMP_TYPES:
        return None
    found = _SECCOMP.fullmatch(text, prefix.end() if prefix is not None else 0)
    if found is None:
        raise MalformedRecordError(raw)
    return SeccompRecord(
        timestamp=found["timestamp"],
        serial=int(found["serial"]),
        pid=int(found["pid"]),
        uid=int(found["uid"]),
        comm=untrusted(found["comm"]),
        exe=untrusted(found["exe"]),
        signal=int(found["signal"]),
        arch=int(found["arch"], 16),
        # The kernel prints its signed int: the number 0xffffffff arrives as -1.
        syscall=int(found["syscall"]) & 0xFFFFFFFF,
        compat=int(found["compat"]),
        ip=int(found["ip"], 16),
        code=int(found["code"], 16),
        raw=raw,
    )


def change_of_settings(text: str) -> str:
    """What a CONFIG_CHANGE record says was changed, if SECCOMP records depend on it; "" if not.

    Args:
        text: the record, in any form.
    """
    found = _CHANGE.search(text)
    if found is None:
        return ""
    of_rules = found["operation"].endswith("_rule")
    return "" if of_rules and _EXCLUDE_LIST not in text else _CHANGES[found["operation"]]


def is_change(line: str) -> bool:
    """Whether a line with its type in front is a CONFIG_CHANGE record."""
    prefix = _PREFIX.match(line)
    return prefix is not None and prefix["type"] in _CONFIG_CHANGE_TYPES


@dataclass(frozen=True, slots=True)
class Stamp:
    """How the kernel marks an event, whatever the types of its records.

    Attributes:
        serial: its number, counted since boot.
        time: when it was, in seconds since the epoch.
        node: the machine, where whoever wrote the log names it; else "".
    """

    serial: int
    time: float
    node: str = ""


def stamp_of(line: str) -> Stamp | None:
    """How the kernel marked the event of a line.

    Args:
        line: as for ``parse``.

    Returns:
        The stamp; None for a line without one and for auditd's records about itself
        (``type=DAEMON_...``), which it numbers on its own.
    """
    prefix = _PREFIX.match(line)
    found = prefix or _STAMPED.match(line)
    if found is None or (prefix is not None and prefix["type"].startswith("DAEMON_")):
        return None
    node = prefix["node"] if prefix is not None else None
    return Stamp(int(found["serial"]), float(found["timestamp"]), node or "")


def kernel_serial(line: str) -> int | None:
    """The number that the kernel gave the event of a line; None where ``stamp_of`` finds none."""
    stamp = stamp_of(line)
    return None if stamp is None else stamp.serial


def untrusted(field: str) -> str:
    """Undoes ``audit_log_untrustedstring()``.

    Args:
        field: as the kernel writes it, in quotes or as hexadecimal.

    Raises:
        ValueError: it is neither.
    """
    if field.startswith('"'):
        return field[1:-1]
    if field == "(null)":
        return field
    return bytes.fromhex(field).decode("utf-8", "surrogateescape")
