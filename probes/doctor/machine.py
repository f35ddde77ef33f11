"""What of a machine decides about its audit records, as far as this process may look at it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.audit import journald_settings, taker
from probes.audit.collector import (
    why_elsewhere,
    why_lost,
    why_not_built,
    why_switched_off,
    why_unlogged,
)
from probes.audit.control import AuditStatus
from probes.audit.rules import AuditRule, why_excluded
from probes.doctor.examination import CanaryKind, Seen
from probes.finding import Finding, Weight

_LOCKED = 2


@dataclass(frozen=True, slots=True)
class AskedKernel:
    """What the kernel's audit said of itself; None where this process may not ask.

    Attributes:
        before: its status before the canaries were made.
        after: its status when their records had been read.
        rules: its rules.
    """

    before: AuditStatus | None
    after: AuditStatus | None
    rules: tuple[AuditRule, ...] | None


def findings(
    kinds: Sequence[CanaryKind], asked: AskedKernel, root: Path = Path("/")
) -> tuple[Finding, ...]:
    """Everything that stands in the way of records, and what else is good to know.

    Args:
        kinds: the canaries of the profiles that are asked about.
        asked: what the kernel said.
        root: the directory that holds ``proc`` and ``etc``.
    """
    return (
        *_of_files(kinds, root),
        *_of_rules(asked.rules),
        *_of_status(asked, root),
        *_of_journald(root),
    )


def _of_files(kinds: Sequence[CanaryKind], root: Path) -> Iterator[Finding]:
    """What the files of the kernel say."""
    for about, text in (
        ("kernel", why_not_built(root)),
        ("command line", why_switched_off(root)),
        ("network namespace", why_elsewhere(root)),
    ):
        yield from _limit(about, text)
    for kind in kinds:
        action = kind.returns.action.name.lower()
        text = why_unlogged([action], root)
        if kind.promised is Seen.RECORDED:
            yield from _limit(action, text)
        elif text and kind.logged:
            yield Finding(
                f"{text}; without it nothing shows whether a filter with SECCOMP_FILTER_FLAG_LOG "
                "denies silently"
            )


def _of_rules(rules: Sequence[AuditRule] | None) -> Iterator[Finding]:
    """What the audit rules do."""
    if rules is None:
        return
    yield from _limit("audit rule", why_excluded(rules))
    others = sum(not one.excludes_seccomp for one in rules)
    if others:
        yield Finding(
            f"{others} other audit rule(s) decide nothing about these records: only those of the "
            "list exclude do"
        )


def _of_status(asked: AskedKernel, root: Path) -> Iterator[Finding]:
    """What the status says, before and after."""
    status = asked.after
    if status is None:
        yield Finding(
            "this process may not ask the kernel for its audit status and rules, so it is not known"
            " who takes the records, whether some are lost and whether a rule excludes them: run"
            " this as root in the initial user and pid namespaces (CAP_AUDIT_CONTROL)"
        )
        return
    if asked.before is not None and asked.before.lost != status.lost:
        yield from _limit("lost records", why_lost(status.lost - asked.before.lost))
    if status.rate_limit:
        yield from _limit(
            "rate limit",
            f"the kernel drops what exceeds {status.rate_limit} audit records a second; lift that "
            "for the time of a run: auditctl -r 0",
        )
    if status.pid:
        yield from _of_taker(status.pid, root)
    yield from _of_switch(status)


def _of_taker(pid: int, root: Path) -> Iterator[Finding]:
    """Who takes the kernel's records, and whether it does."""
    who = taker.named(pid, root)
    if taker.is_stopped(pid, root):
        yield from _limit(
            "stopped program", f"{who} takes the kernel's records and is stopped: kill -CONT {pid}"
        )
    else:
        yield Finding(
            f"{who} takes the kernel's records, so the kernel's own log gets none; only one "
            "program can take them, and netlink and journald read beside it"
        )


def _of_switch(status: AuditStatus) -> Iterator[Finding]:
    """What the kernel's audit switch means."""
    if not status.enabled:
        yield Finding(
            "auditing is switched off (auditctl -s shows enabled 0), which keeps no SECCOMP record "
            "from being written; but that kernel.seccomp.actions_logged or a rule is changed in "
            "the course of a run is recorded only while it is on (auditctl -e 1)"
        )
    if status.enabled == _LOCKED:
        yield Finding(
            "the audit rules are locked (auditctl -s shows enabled 2): change them in "
            "/etc/audit/rules.d, and boot anew"
        )


def _of_journald(root: Path) -> Iterator[Finding]:
    """What journald does to the kernel's audit switch, where somebody has told it."""
    value, where = journald_settings.setting("audit", root)
    if value:
        yield Finding(
            f"Audit={value} in {where} has journald set the kernel's audit switch when it starts; "
            "no SECCOMP record depends on that"
        )


def _limit(about: str, text: str) -> Iterator[Finding]:
    """A finding that stands in the way; none for an empty text."""
    if text:
        yield Finding(text, Weight.LIMITS, about)
