"""The program that the kernel hands its audit records to: auditd, or another in its place."""

from pathlib import Path
from typing import Final

_OWN_SOURCES: Final = {"auditd": "auditd:FILE", "osqueryd": "osquery:FILE"}
"""The word of ``--audit-source`` by which what a program writes is read."""


def program_of(pid: int, root: Path = Path("/")) -> str:
    """The name of a process's program; "" where it cannot be seen, as in another pid namespace.

    Args:
        pid: the process.
        root: the directory that holds ``proc``.
    """
    try:
        return (root / f"proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def named(pid: int, root: Path = Path("/")) -> str:
    """A process as a sentence names it, such as ``auditd (process 7)``.

    Args:
        pid: the process.
        root: the directory that holds ``proc``.
    """
    program = program_of(pid, root)
    return f"{program} (process {pid})" if program else f"process {pid}"


def why_taken(pid: int, by: str, root: Path = Path("/")) -> str:
    """Why a program gets no records from the kernel: another one takes them, if it does.

    Args:
        pid: the process that the kernel hands its records to; 0 for none.
        by: the program that should.
        root: the directory that holds ``proc``.

    Returns:
        One clause that says what to do; "" where no other program is seen.
    """
    program = program_of(pid, root) if pid else ""
    if program in {"", by}:
        return ""
    return (
        f"{named(pid, root)} takes the records from the kernel, and {by} gets none; "
        f"{_use(pid, root)}."
    )


def why_not_printed(pid: int, root: Path = Path("/")) -> str:
    """Why the kernel prints no records into its own log: somebody takes them.

    Args:
        pid: the process that the kernel hands its records to; not 0.
        root: the directory that holds ``proc``.
    """
    return f"{named(pid, root)} takes the records instead; {_use(pid, root)}."


def is_stopped(pid: int, root: Path = Path("/")) -> bool:
    """Whether a process is stopped, as by SIGSTOP or a debugger.

    Args:
        pid: the process.
        root: the directory that holds ``proc``.
    """
    try:
        text = (root / f"proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _use(pid: int, root: Path) -> str:
    """What to do where a process takes the records."""
    own = _OWN_SOURCES.get(program_of(pid, root))
    return f"name what it writes (--audit-source={own})" if own else "stop it, or read netlink"
