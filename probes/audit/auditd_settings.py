"""What auditd.conf(5) has auditd do with the kernel's records."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path("etc/audit/auditd.conf")
"""Where auditd reads it from, unless it is told another folder (``-c``)."""

LOG: Final = Path("/var/log/audit/audit.log")
"""Where auditd writes unless its configuration says otherwise."""

_MEBIBYTE: Final = 1 << 20
_GOING_ON: Final = frozenset({"ignore", "syslog", "email", "exec", "rotate"})
"""The actions at the end of a disk after which auditd writes on; an ``exec`` has a command."""


@dataclass(frozen=True, slots=True)
class AuditdSettings:
    """What of auditd's configuration decides about its log.

    Attributes:
        log: the file that it writes.
        writes: whether it writes any.
        local: whether it takes the records of this kernel.
        least_space: the mebibytes at which it stops to write; 0 where it never does.
        action: what it does then.
    """

    log: Path = LOG
    writes: bool = True
    local: bool = True
    least_space: int = 0
    action: str = ""


def read(root: Path = Path("/")) -> AuditdSettings | None:
    """Reads the configuration; None where there is none or it may not be read.

    Args:
        root: the directory that holds ``etc``.
    """
    try:
        text = (root / CONFIGURATION).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    found = {name.strip().lower(): value.strip() for name, sign, value in pairs if sign}
    action = found.get("admin_space_left_action", "").lower()
    stops = action.partition(" ")[0] not in {"", *_GOING_ON}
    space = found.get("admin_space_left", "")
    return AuditdSettings(
        Path(found.get("log_file", str(LOG))),
        _is_on(found, "write_logs") and found.get("log_format", "").upper() != "NOLOG",
        _is_on(found, "local_events"),
        int(space) if stops and space.isascii() and space.isdigit() else 0,
        action,
    )


def why_not_in(path: Path, root: Path = Path("/")) -> str:
    """Why auditd writes no record into a file, by its configuration.

    Args:
        path: the file.
        root: the directory that holds ``etc``.

    Returns:
        One clause that says what to do; "" where the configuration gives no reason.
    """
    settings = read(root)
    if settings is None:
        return ""
    where = f"/{CONFIGURATION}"
    if not settings.local:
        return (
            f"auditd takes no records of this kernel (local_events = no in {where}); set it to yes "
            "and restart auditd."
        )
    if not settings.writes:
        return (
            f"auditd writes no log (write_logs = no in {where}); set it to yes and restart auditd."
        )
    if settings.log != path:
        return (
            f"auditd writes another log by {where}; name that one: "
            f"--audit-source=auditd:{settings.log}."
        )
    left = _left(path)
    if left is not None and left < settings.least_space:
        return (
            f"the log's disk has {left} MiB left, and auditd stops to write at "
            f"{settings.least_space} (admin_space_left_action = {settings.action} in {where}); "
            "make room, and have auditd go on (SIGUSR2)."
        )
    return ""


def _is_on(found: dict[str, str], name: str) -> bool:
    return found.get(name, "yes").lower() != "no"


def _left(path: Path) -> int | None:
    """The mebibytes that are left on a file's disk; None where that cannot be seen."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize // _MEBIBYTE
