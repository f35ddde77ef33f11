"""Starts Debian's auditd by hand, with a configuration and a log of its own.

Only one auditd can take the kernel's records, so there is a lock between the tests' processes,
and nothing is started where the machine's own auditd runs. ``-s nochange`` leaves the kernel's
audit switch alone. That of another release runs in its root, and else where this machine's does.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from probes.audit.control import AuditControl, AuditStatus
from probes.tests.support.emitter import lone_auditd, lone_reader, wait_for
from probes.tests.support.release_root import layered

LIFETIME = 120
"""Seconds after which timeout(1) ends the daemon, whatever became of the test."""

_PATIENCE = 10.0
_STATE_REPORT = Path("/run/auditd.state")

_CONFIGURATION = """\
local_events = yes
write_logs = yes
log_file = {log}
log_format = {log_format}
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = {megabytes}
num_logs = 5
max_log_file_action = ROTATE
name_format = NONE
priority_boost = 0
space_left = 2
space_left_action = IGNORE
admin_space_left = 1
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
plugin_dir = {plugins}
"""

# It is registered by its number in the initial pid namespace, so it has only its own mounts.
_IN_RELEASE = """\
set -eu
{own}
mount -t tmpfs none "$root/run"
mkdir -p "$root"{directory}
mount --bind {directory} "$root"{directory}
exec {limit} chroot "$root" "$@"
"""


class AuditdBusyError(Exception):
    """An auditd that is not ours takes the kernel's records."""


@dataclass(frozen=True, slots=True)
class Auditd:
    """A running auditd.

    Attributes:
        pid: the daemon's process.
        log: the file that it writes.
    """

    pid: int
    log: Path

    def rotate(self) -> None:
        """Has it rotate its log now, and waits until the new file holds its note of that."""
        before = self.log.stat().st_ino
        os.kill(self.pid, signal.SIGUSR1)
        wait_for(lambda: self._rotated_from(before), "auditd did not rotate its log")

    def _rotated_from(self, inode: int) -> bool:
        """Whether the log is another file than ``inode`` and has been written to."""
        if not self.log.exists():
            return False
        status = self.log.stat()
        return status.st_ino != inode and status.st_size > 0

    def kill(self) -> None:
        """Has it end at once, without a last note; the kernel sees that by its next record."""
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{self.pid}").exists(), "auditd did not end")

    def configure(self, old: str, new: str) -> None:
        """Changes its configuration, which it is to read by ``reread``."""
        configuration = self.log.with_name("auditd.conf")
        text = configuration.read_text(encoding="utf-8")
        assert old in text
        configuration.write_text(text.replace(old, new), encoding="utf-8")

    def reread(self) -> None:
        """Has it read its configuration again; it notes that in its log."""
        os.kill(self.pid, signal.SIGHUP)

    def resume(self) -> None:
        """Has it go on with a log that it had given up, which it notes there."""
        os.kill(self.pid, signal.SIGUSR2)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Stops the daemon from reading, for a while."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@contextlib.contextmanager
def running(  # noqa: PLR0913 - the last three have defaults
    executable: str,
    directory: Path,
    log_format: str,
    *,
    megabytes: int,
    plugins: Mapping[str, str] = MappingProxyType({}),
    release: Path | None = None,
    alone: bool = False,
) -> Iterator[Auditd]:
    """Runs auditd as long as the context lasts, at most ``LIFETIME`` seconds.

    A second one in the same directory goes on with its log.

    Args:
        executable: the daemon.
        directory: a directory for its configuration and its log.
        log_format: ``RAW`` or ``ENRICHED``.
        megabytes: the size at which it rotates by itself (max_log_file).
        plugins: the files of its plugins.d.
        release: the root of the release whose program it is; None for this machine's own.
        alone: whether no other test reads records meanwhile: while the kernel fails to send to an
            auditd it counts records as lost, for all readers.

    Raises:
        AuditdBusyError: another auditd runs.
    """
    # In this order, for a whole run of the suite under an auditd shares the records.
    with lone_auditd(), lone_reader() if alone else contextlib.nullcontext():
        before = the_status()
        refuse_if_busy(before)
        reported = _STATE_REPORT.exists()
        log = _configure(directory, log_format, megabytes)
        for name, text in plugins.items():
            file = directory / "plugins.d" / name
            file.write_text(text, encoding="ascii")
            file.chmod(0o640)
        process = subprocess.Popen(_command(executable, directory, release))
        try:
            wait_for(lambda: the_status().pid != 0 and log.exists(), "auditd did not start")
            yield Auditd(the_status().pid, log)
        finally:
            _stop(process)
            if not reported:
                # SIGCONT makes auditd write it.
                _STATE_REPORT.unlink(missing_ok=True)
        wait_for(lambda: the_status().pid == 0, "auditd is still registered with the kernel")
        after = the_status()
        changed = (after.enabled, after.failure, after.rate_limit, after.backlog_limit) != (
            before.enabled,
            before.failure,
            before.rate_limit,
            before.backlog_limit,
        )
        if changed:
            raise AssertionError(f"auditd changed the audit settings: {before} -> {after}")


def _command(executable: str, directory: Path, release: Path | None) -> list[str]:
    """The daemon's words; timeout(1) ends it, which becomes the process that they start."""
    limit = ["timeout", "--kill-after=5", str(LIFETIME)]
    daemon = [executable, "-n", "-c", str(directory), "-s", "nochange"]
    if release is None:
        return [*limit, *daemon]
    own = layered(release, Path(tempfile.mkdtemp(dir=directory, prefix="root-")) / "layers")
    script = _IN_RELEASE.format(own=own, directory=directory, limit=" ".join(limit))
    return ["unshare", "--mount", "sh", "-c", script, "-", *daemon]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends timeout(1) and with it the daemon, which ignores a signal during its start."""

    def ended() -> bool:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            # Whoever is registered while the lock is held is ours.
            pid = the_status().pid
            if pid:
                os.kill(pid, signal.SIGTERM)
            return False
        return True

    process.terminate()  # timeout(1) passes it on
    wait_for(ended, "auditd did not end")


def _configure(directory: Path, log_format: str, megabytes: int) -> Path:
    """Writes the configuration and returns the path of the log to be."""
    plugins = directory / "plugins.d"
    plugins.mkdir(mode=0o750, parents=True, exist_ok=True)
    log = directory / "audit.log"
    configuration = directory / "auditd.conf"
    configuration.write_text(
        _CONFIGURATION.format(log=log, log_format=log_format, plugins=plugins, megabytes=megabytes),
        encoding="utf-8",
    )
    configuration.chmod(0o640)  # auditd refuses one that others can write
    return log


def refuse_if_busy(status: AuditStatus) -> None:
    """Looks for an auditd that takes the kernel's records.

    Raises:
        AuditdBusyError: there is one.
    """
    if status.pid:
        raise AuditdBusyError(f"auditd runs already, as process {status.pid}")


def the_status() -> AuditStatus:
    """The kernel's audit status; root may read it."""
    control = AuditControl()
    try:
        status = control.status()
    finally:
        control.close()
    if status is None:
        raise AssertionError("the kernel's audit status cannot be read")
    return status
