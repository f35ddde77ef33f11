"""Debian's auditds and ausearches of several releases, of which one is this machine's own."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from probes.releases.roots import Root
from probes.tests.support import releases
from probes.tests.support.auditd_daemon import Auditd, AuditdBusyError, running
from probes.tests.support.emitter import sharing_records
from probes.tests.support.oracles import require

HERE: Final = ""
"""This machine's release."""

SUITES: Final = (HERE, "trixie", "sid")

_AUDITD: Final = "/usr/sbin/auditd"


@contextlib.contextmanager
def auditd_of(
    suite: str, folder: Path, log_format: str = "RAW", *, sharing: bool = True
) -> Iterator[Auditd]:
    """A running auditd of the release; a second one in the same folder goes on with its log.

    Args:
        suite: the release, or ``HERE``; where it is not asked for the test ends.
        folder: for its configuration and its log.
        log_format: ``RAW`` or ``ENRICHED``.
        sharing: whether it shares the records with other tests' readers meanwhile, so that none
            has them alone; without it the test does that by itself.
    """
    root = _root_of(suite)
    release = None if root is None else root.path
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(
                running(*(_AUDITD, folder, log_format), megabytes=8, release=release)
            )
        except AuditdBusyError as busy:
            pytest.skip(f"needs the kernel's audit stream for itself: {busy}")
        if sharing:
            stack.enter_context(sharing_records())
        yield started


def _root_of(suite: str) -> Root | None:
    if suite != HERE:
        return releases.root_of_collectors(suite)
    require(_AUDITD, "auditd")
    return None


def ausearch_of(suite: str) -> tuple[str, ...]:
    """The words that start the release's ausearch, which then reads a log from a pipe."""
    root = _root_of(suite)
    return (require("ausearch", "auditd"),) if root is None else _inside(root)


def _inside(root: Root) -> tuple[str, ...]:
    return ("chroot", str(root.path), "ausearch")


def version_of(ausearch: Sequence[str]) -> str:
    """The version of auditd that an ausearch belongs to, as it says itself."""
    return printed([*ausearch, "--version"]).split()[-1]


def printed(command: Sequence[str], log: str = "") -> str:
    """What a command prints that reads a log."""
    return subprocess.run(
        command, input=log, capture_output=True, text=True, check=True, timeout=60
    ).stdout
