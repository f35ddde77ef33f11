"""Rules by which others' collectors find the records of documented calls. Pure.

A record has the call's architecture and number, and no arguments. Each collector spells both in
its own way, so each rule has every spelling of every documented call, and no other.

Sources: ausearch(8); journald-audit.c of systemd, which names the fields; seccomp_events.cpp of
osquery; auparse of elastic/go-libaudit (2.x names what 1.x leaves as numbers) for Auditbeat; the
Sigma specification 2.0.
"""

import json
import shlex
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes import arch
from probes.arch import Arch
from probes.documents.policy import Policy
from probes.libaudit_names import LIBAUDIT_NAMES

_OSQUERY_LAST_NAMED: Final = 334
_X86_64: Final = arch.get("x86_64")


class RuleFormat(StrEnum):
    """The readers of records for which there are rules."""

    AUSEARCH = "ausearch"
    JOURNAL = "journal"
    OSQUERY = "osquery"
    OSQUERY_PACK = "osquery-pack"
    AUDITBEAT = "auditbeat"
    SIGMA = "sigma"


@dataclass(frozen=True, slots=True)
class Documented:
    """The documented calls of all ABIs that have one architecture token.

    Attributes:
        token: ``AUDIT_ARCH_*``, as records have it.
        calls: the ABI and the name of each call, by number.
    """

    token: int
    calls: Mapping[int, tuple[Arch, str]]

    @property
    def hex(self) -> str:
        """The token as the kernel writes it."""
        return f"{self.token:x}"


def documented(policy: Policy, arches: Sequence[Arch]) -> tuple[Documented, ...]:
    """The documented calls by architecture token; x86_64 and x32 have one."""
    found: dict[int, dict[int, tuple[Arch, str]]] = {}
    for one in arches:
        for name in policy.names:
            number = one.number(name)
            if number is not None:
                found.setdefault(one.audit_arch, {})[number] = (one, name)
    return tuple(Documented(token, dict(sorted(calls.items()))) for token, calls in found.items())


def rule(policy: Policy, arches: Sequence[Arch], form: RuleFormat) -> str:
    """The rule for one reader; equal policies give equal text."""
    return _RENDERERS[form](documented(policy, arches), policy)


def notes(policy: Policy) -> tuple[str, ...]:
    """Where a rule falls short of the policy, a sentence each."""
    partial = sorted({call.name for call in policy.calls if call.args})
    if not partial:
        return ()
    names = ", ".join(partial)
    return (f"records have no arguments, so the rule finds {names} whatever the arguments are",)


def _ausearch(groups: Sequence[Documented], policy: Policy) -> str:
    del policy
    parts = "|".join(
        f"arch={group.hex} syscall=({'|'.join(map(str, group.calls))})" for group in groups
    )
    # Not by -sc, and not by ausearch's own words: it names a foreign ABI's number by the native
    # table.
    return f"ausearch -m SECCOMP --raw | grep -E {shlex.quote(f' ({parts}) compat=')}\n"


def _journal(groups: Sequence[Documented], policy: Policy) -> str:
    del policy
    matches = (
        " ".join(
            [
                "_AUDIT_TYPE=1326",
                f"_AUDIT_FIELD_ARCH={group.hex}",
                *(f"_AUDIT_FIELD_SYSCALL={number}" for number in group.calls),
            ]
        )
        for group in groups
    )
    return f"journalctl {' + '.join(matches)}\n"


def _quoted(texts: Iterator[str]) -> str:
    """Texts as a list of SQL."""
    return ", ".join(f"'{text}'" for text in texts)


def _osquery_calls(group: Documented) -> Iterator[str]:
    """How osquery spells each call: by name where its table of x86_64 has one, else by number.

    Where it was built with libstdc++, unlike its own packages, x86_64's have numbers as well.
    """
    for number, (_, name) in group.calls.items():
        yield str(number)
        if group.token == _X86_64.audit_arch:
            yield name if number <= _OSQUERY_LAST_NAMED else f"{number}(unknown)"


def _osquery_arches(group: Documented) -> Iterator[str]:
    """How osquery spells the architecture; a release without a word for it gives the number."""
    yield arch.TOKENS[group.token]
    yield f"{group.token}(unknown)"


def _osquery(groups: Sequence[Documented], policy: Policy) -> str:
    del policy
    parts = " OR\n  ".join(
        f"(arch IN ({_quoted(_osquery_arches(group))}) AND syscall IN "
        f"({_quoted(_osquery_calls(group))}))"
        for group in groups
    )
    return f"SELECT * FROM seccomp_events WHERE\n  {parts};\n"  # noqa: S608 - of our own tables


def _osquery_pack(groups: Sequence[Documented], policy: Policy) -> str:
    query = {
        "query": " ".join(_osquery(groups, policy).split()),
        "interval": 10,
        "removed": False,
        "description": "Calls that the policy documents, stopped or logged by seccomp",
    }
    pack = {"platform": "linux", "queries": {"documented_calls": query}}
    return json.dumps(pack, indent=2) + "\n"


def _auditbeat_calls(group: Documented) -> Iterator[str]:
    """How go-libaudit spells each call: by name where its table has one, else by number."""
    for number, (one, name) in group.calls.items():
        yield str(number)
        if one.name != "x32":
            yield from dict.fromkeys((name, LIBAUDIT_NAMES.get(one.name, {}).get(name, name)))


def _auditbeat(groups: Sequence[Documented], policy: Policy) -> str:
    del policy
    parts = " OR ".join(
        f"(auditd.data.arch:({' OR '.join(_auditbeat_arches(group))}) AND "
        f"auditd.data.syscall:({' OR '.join(_auditbeat_calls(group))}))"
        for group in groups
    )
    return f'event.action:"violated-seccomp-policy" AND ({parts})\n'


def _auditbeat_arches(group: Documented) -> Iterator[str]:
    """How go-libaudit spells the architecture: 2.x by name where it has one, 1.x by number."""
    yield arch.TOKENS[group.token].lower()
    yield group.hex
    yield f'"unknown[{group.hex}]"'


def _sigma(groups: Sequence[Documented], policy: Policy) -> str:
    names = {f"arch_{group.hex}": group for group in groups}
    selections = "".join(
        f"    {name}:\n        arch: '{group.hex}'\n        syscall:\n"
        + "".join(
            f"            - {number}  # {one.name} {called}\n"
            for number, (one, called) in group.calls.items()
        )
        for name, group in names.items()
    )
    tags = sorted({f"attack.{tag.lower()}" for call in policy.calls for tag in call.attack})
    head = textwrap.dedent(
        """\
        title: System Call Stopped Or Logged By Seccomp
        id: {id}
        status: test
        description: A process made a system call that the policy of its platform documents
        author: syscall-conformance
        logsource:
            product: linux
            service: auditd
        detection:
            record:
                type: SECCOMP
        """
    )
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"syscall-conformance rules\n{selections}")
    listed = "".join(f"    - {tag}\n" for tag in tags)
    return (
        head.format(id=identity)
        + selections
        + "    condition: record and 1 of arch_*\n"
        + "falsepositives:\n    - A conformance run, which makes these calls on purpose\n"
        + "level: high\n"
        + (f"tags:\n{listed}" if tags else "")
    )


_RENDERERS: Final[Mapping[RuleFormat, Callable[[Sequence[Documented], Policy], str]]] = {
    RuleFormat.AUSEARCH: _ausearch,
    RuleFormat.JOURNAL: _journal,
    RuleFormat.OSQUERY: _osquery,
    RuleFormat.OSQUERY_PACK: _osquery_pack,
    RuleFormat.AUDITBEAT: _auditbeat,
    RuleFormat.SIGMA: _sigma,
}
