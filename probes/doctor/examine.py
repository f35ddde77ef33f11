"""Examines this machine: its canaries, its collectors and its settings."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from probes import arch
from probes.action import Profile
from probes.audit import auditd_settings, laurel_settings, source
from probes.audit.control import AuditControl
from probes.audit.source import RecordSource, SourceKind
from probes.doctor import canaries, machine
from probes.doctor.examination import CANARIES, Examination, ExaminedCollector, Seen, State
from probes.doctor.machine import AskedKernel
from probes.finding import Finding, weighty
from probes.instrument.calls import Zygote

_OSQUERY_LOG: Final = "/var/log/osquery/osqueryd.results.log"
"""Where osqueryd writes by its packages' ``--logger_path``."""

_UNTRIED: Final = {
    SourceKind.AUDITBEAT: "it has no usual place; name the file that it writes now",
    SourceKind.DESCRIPTOR: "no descriptor was handed over; start this by "
    "syscall-conformance with-audit, and name the descriptor",
}
"""Why some collectors are not tried unless they are named."""


def examine(
    profiles: Sequence[Profile], sources: Sequence[RecordSource], root: Path = Path("/")
) -> Examination:
    """Examines this machine.

    Args:
        profiles: those about whose records is asked.
        sources: what is to be read; none for everything that can be.
        root: the directory that holds ``proc`` and ``etc``.

    Raises:
        InstrumentError: the process that makes the canaries cannot be started.
    """
    kinds = tuple(one for one in CANARIES if one.profile in profiles)
    native = arch.of_this_process()[0]
    with closing(AuditControl()) as control, Zygote() as zygote:
        before = control.status()
        measured = canaries.measure(zygote, native, kinds, sources or usual(root))
        asked = AskedKernel(before, control.status(), control.rules())
    system = os.uname()
    found = Examination(
        f"Linux {system.release} ({system.machine})",
        tuple(profiles),
        (*measured.collectors, *(() if sources else untried())),
        machine.findings(kinds, asked, root),
        measured.faults,
    )
    return replace(found, findings=(*found.findings, *_unseen(found)))


def _unseen(found: Examination) -> Iterator[Finding]:
    """What can be said of records that nobody here sees."""
    unseen = [
        one.name
        for one in found.canaries
        if one.promised is Seen.RECORDED and found.seen(one) is Seen.UNKNOWN
    ]
    if unseen and not found.faults and not weighty(found.findings):
        yield Finding(
            f"nothing that could be looked at keeps records of {' and '.join(unseen)} from being "
            "written; only nobody here sees them"
        )


def usual(root: Path = Path("/")) -> tuple[RecordSource, ...]:
    """The sources that can be tried without being told more, where their programs usually write.

    Args:
        root: the directory that holds ``etc``.
    """
    settings = auditd_settings.read(root)
    auditd_log = settings.log if settings is not None else auditd_settings.LOG
    laurel_log = laurel_settings.log(root) or laurel_settings.LOG
    return (
        source.NETLINK,
        RecordSource(SourceKind.AUDITD, str(auditd_log)),
        RecordSource(SourceKind.LAUREL, str(laurel_log)),
        RecordSource(SourceKind.JOURNAL),
        RecordSource(SourceKind.OSQUERY, _OSQUERY_LOG),
        RecordSource(SourceKind.KMSG),
    )


def untried() -> tuple[ExaminedCollector, ...]:
    """The collectors that are not tried unless they are named, with the reason."""
    return tuple(
        ExaminedCollector(
            str(kind),
            State.NOT_TRIED,
            f"{why}: --audit-source={source.form(kind)}",
            {},
        )
        for kind, why in _UNTRIED.items()
    )
