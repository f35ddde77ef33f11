"""How auditd runs laurel as its plug-in, and what laurel's configuration has it write."""

import tomllib
from pathlib import Path
from typing import Any, Final

PLUGIN: Final = Path("etc/audit/plugins.d/laurel.conf")
"""The file by which auditd starts laurel."""

CONFIGURATION: Final = Path("etc/laurel/config.toml")
"""Where laurel's configuration is, unless the plug-in's ``args`` name another file."""

LOG: Final = Path("/var/log/laurel/audit.log")
"""Where laurel writes by the configuration that comes with it."""


def log(root: Path = Path("/")) -> Path | None:
    """The file that laurel writes; None where its configuration cannot be read.

    Args:
        root: the directory that holds ``etc``.
    """
    try:
        text = (root / CONFIGURATION).read_text(encoding="utf-8")
        found: dict[str, Any] = tomllib.loads(text)
        return Path(str(found["directory"])) / str(found.get("auditlog", {}).get("file", LOG.name))
    except (OSError, KeyError, AttributeError, ValueError):
        return None


def why_not_in(path: Path, root: Path = Path("/")) -> str:
    """Why laurel writes no record into a file, by its configuration and auditd's.

    Args:
        path: the file.
        root: the directory that holds ``etc``.

    Returns:
        One clause that says what to do; "" where neither gives a reason.
    """
    try:
        plugin = (root / PLUGIN).read_text(encoding="utf-8", errors="replace")
    except OSError:
        plugin = None
    if plugin is not None and not _is_active(plugin):
        return (
            f"auditd does not start its plug-in laurel (active = no in /{PLUGIN}); set it to yes "
            "and restart auditd."
        )
    written = log(root)
    if written not in {None, path}:
        return (
            f"laurel writes another file by /{CONFIGURATION}; name that one: "
            f"--audit-source=laurel:{written}."
        )
    return ""


def _is_active(plugin: str) -> bool:
    """Whether auditd starts a plug-in by this file."""
    pairs = (line.partition("=") for line in plugin.splitlines())
    found = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
    return found.get("active") == "yes"
