"""Whether systemd's journald reads and keeps audit messages, by its units and journald.conf(5).

``Audit=`` decides neither: it has journald switch the kernel's auditing on or off when it starts,
on which SECCOMP records do not depend.
"""

import configparser
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOCKET: Final = "systemd-journald-audit.socket"
"""The unit by which journald gets audit messages."""

_PLACES: Final = ("etc", "run", "usr/local/lib", "usr/lib")
"""The folders that hold ``systemd/journald.conf``, the one that counts most first."""

_LEVELS: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_NOTICE: Final = _LEVELS.index("notice")
"""The level of audit messages."""

_AUDIT: Final = "9"
_READLOG: Final = 1
"""NETLINK_AUDIT and its multicast group, as ``/proc/net/netlink`` shows them."""


def why_not_read(root: Path = Path("/")) -> str:
    """Why journald reads no audit message, as far as units and files tell.

    Args:
        root: the directory that holds ``proc``, ``etc`` and ``run``.

    Returns:
        One clause that says what to do; "" where nothing gives a reason.
    """
    if not (root / "run/systemd/journal/socket").exists():
        return "no systemd-journald runs here (there is no /run/systemd/journal/socket)."
    if masked := next(filter(_is_masked, _units(root)), None):
        return (
            f"{SOCKET} is masked ({_shown(masked, root)}), so journald reads no audit messages: "
            f"systemctl unmask {SOCKET}, and start it before systemd-journald."
        )
    if _listens(root) is False:
        return (
            f"nobody has opened {SOCKET} for journald, so it reads no audit messages: "
            f"systemctl start {SOCKET}, and restart systemd-journald."
        )
    return why_not_kept(root)


def why_not_kept(root: Path = Path("/")) -> str:
    """Why journald keeps no audit message, by its configuration.

    Args:
        root: the directory that holds ``etc``, ``run`` and ``usr``.

    Returns:
        One clause that says what to do; "" where the configuration gives no reason.
    """
    storage, where = setting("storage", root)
    if storage.lower() == "none":
        return f"journald keeps nothing (Storage=none in {where}); set it to auto, and restart it."
    level, where = setting("maxlevelstore", root)
    if _level(level) < _NOTICE:
        return (
            f"journald keeps no audit messages (MaxLevelStore={level} in {where}); set it to "
            "notice, and restart it."
        )
    return ""


def setting(name: str, root: Path = Path("/")) -> tuple[str, str]:
    """A setting of journald.conf and its drop-ins, and the file that decides; "" if none does.

    Args:
        name: the setting, in lower case.
        root: the directory that holds ``etc``, ``run`` and ``usr``.
    """
    found = ("", "")
    for path in _files(root):
        parser = configparser.ConfigParser(
            strict=False, interpolation=None, delimiters=("=",), allow_no_value=True
        )
        try:
            parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
            value = parser.get("Journal", name, fallback=None)
        except (OSError, configparser.Error):
            continue
        if value is not None:
            found = (value.strip(), _shown(path, root))
    return found


def _files(root: Path) -> Iterator[Path]:
    """The files of journald's configuration, the one that counts most last."""
    heads = (root / place / "systemd/journald.conf" for place in _PLACES)
    yield from [path for path in heads if path.is_file()][:1]
    drop_ins: dict[str, Path] = {}
    for place in _PLACES:
        for path in (root / place / "systemd/journald.conf.d").glob("*.conf"):
            drop_ins.setdefault(path.name, path)
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _units(root: Path) -> Iterator[Path]:
    """The files that may say of the socket's unit that it is masked."""
    for place in ("etc", "run"):
        yield root / place / "systemd/system" / SOCKET


def _is_masked(unit: Path) -> bool:
    """Whether a unit's file is a link to /dev/null, or empty."""
    try:
        if unit.is_symlink():
            return str(unit.readlink()) == "/dev/null"
        return unit.stat().st_size == 0
    except OSError:
        return False


def _listens(root: Path) -> bool | None:
    """Whether journald, or systemd for it, has joined the group; None where nothing tells."""
    try:
        rows = (root / "proc/net/netlink").read_text(encoding="ascii").splitlines()[1:]
        owners = {
            int(row.split()[2])
            for row in rows
            if row.split()[1] == _AUDIT and int(row.split()[3], 16) & _READLOG
        }
    except (OSError, ValueError, IndexError):
        return None
    names = {_program(root, owner) for owner in owners}
    return bool(names & {"systemd-journal", "systemd"})


def _program(root: Path, pid: int) -> str:
    try:
        return (root / f"proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _level(text: str) -> int:
    """A level of syslog by name or number; the lowest where there is none."""
    word = text.lower()
    if word in _LEVELS:
        return _LEVELS.index(word)
    return int(word) if word.isascii() and word.isdigit() else len(_LEVELS)


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
