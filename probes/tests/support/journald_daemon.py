"""Starts Debian's systemd-journald by hand, with a journal of its own, on the real audit messages.

It runs in a mount namespace of its own, so that neither its sockets nor its files are this
machine's. It may not change the kernel's audit settings, for it lacks CAP_AUDIT_CONTROL.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.tests.support.emitter import wait_for
from probes.tests.support.release_root import layered

DAEMON = "/lib/systemd/systemd-journald"
LIFETIME = 120
"""Seconds after which timeout(1) ends the daemon, whatever became of the test."""

_START = """\
set -eu
root=
{release}
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/etc/systemd"
mkdir -p "$root/run/systemd/journal" "$root/run/log/journal"
printf '%s' {settings} >"$root/etc/systemd/journald.conf"
mount --bind {identity} "$root/etc/machine-id"
{more}
exec setpriv --bounding-set=-audit_control,-sys_boot,-sys_time timeout --kill-after=5 {lifetime} \
    sh -c 'echo $$ >{pid}; exec chroot "${{1:-/}}" {daemon}' - "$root"
"""

_JOURNALCTL = """\
#!/bin/sh
# The journal of the tests' own daemon.
exec nsenter --target {pid} --mount --root -- {journalctl} "$@"
"""


@dataclass(frozen=True, slots=True)
class Journald:
    """A running journald.

    Attributes:
        pid: the daemon's process.
        path: a folder whose ``journalctl`` reads its journal.
    """

    pid: int
    path: Path

    @property
    def root(self) -> Path:
        """The daemon's file system, as others see it."""
        return Path(f"/proc/{self.pid}/root")

    def stop(self) -> None:
        """Ends the daemon before its time."""
        os.kill(self.pid, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{self.pid}").exists(), "journald did not end")


@contextlib.contextmanager
def running(
    folder: Path,
    journalctl: str,
    settings: str = "",
    *,
    another_boot: bool = False,
    release: Path | None = None,
) -> Iterator[Journald]:
    """Runs journald as long as the context lasts, at most ``LIFETIME`` seconds.

    Args:
        folder: for its files.
        journalctl: the program that reads journals.
        settings: further lines of its journald.conf.
        another_boot: whether it takes this boot of the kernel for another one.
        release: the root of the release whose journald and journalctl it is; None for this
            machine's own.
    """
    identity, pid = folder / "machine-id", folder / "journald.pid"
    identity.write_text(f"{os.urandom(16).hex()}\n", encoding="ascii")
    boot = folder / "boot-id"
    boot.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    more = f"mount --bind {boot} /proc/sys/kernel/random/boot_id" if another_boot else ""
    # An empty Audit= leaves the kernel's switch as it is.
    text = f"[Journal]\nStorage=volatile\nAudit=\nForwardToWall=no\nReadKMsg=no\n{settings}\n"
    own = layered(release, folder / "layers") if release else ""
    script = _START.format(
        release=f'{own}touch "$root/etc/machine-id"' if release else "",
        more=more,
        settings=shlex.quote(text),
        identity=identity,
        lifetime=LIFETIME,
        pid=pid,
        daemon=DAEMON,
    )
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script]) as process:
        try:
            wait_for(
                lambda: pid.exists() and bool(pid.read_text("ascii")), "journald did not start"
            )
            number = int(pid.read_text(encoding="ascii"))
            wait_for(lambda: _listens(number), "journald does not read audit messages")
            tool = folder / "bin" / "journalctl"
            tool.parent.mkdir()
            tool.write_text(_JOURNALCTL.format(pid=number, journalctl=journalctl), encoding="ascii")
            tool.chmod(0o755)
            yield Journald(number, tool.parent)
        finally:
            process.terminate()  # timeout(1), which passes it on


def _listens(pid: int) -> bool:
    """Whether a process has joined the multicast group of audit messages."""
    rows = Path("/proc/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    return any(row.split()[1:4] == ["9", str(pid), "00000001"] for row in rows)
