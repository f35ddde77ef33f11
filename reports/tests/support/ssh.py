"""An ssh server on the loopback, with keys and a configuration of its own."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from probes.tests.support.emitter import lone_sshd
from probes.tests.support.oracles import require

PATIENCE_SECONDS: Final = 300
_SEPARATION: Final = Path("/run/sshd")
"""The folder that sshd wants to be there, when root starts it."""


@contextlib.contextmanager
def server(place: Path, names: Sequence[str], *more: str) -> Iterator[Path]:
    """A server for as long as the context lasts; gives ssh's configuration for it.

    Args:
        place: a folder to be made for its files.
        names: the hosts that it is by that configuration.
        *more: further lines of its own configuration.
    """
    program = require("/usr/sbin/sshd", "openssh-server")
    require("ssh", "openssh-client")
    place.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    known, allowed = _made_key(place / "host"), _made_key(place / "user")
    (place / "known").write_text(f"[127.0.0.1]:{port} {known}")
    (place / "allowed").write_text(allowed)
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile none\n"
        f"AuthorizedKeysFile {place}/allowed\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        + "".join(f"{line}\n" for line in more)
    )
    (place / "config").write_text(
        f"Host {' '.join(names)}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {place}/user\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {place}/known\nBatchMode yes\nLogLevel ERROR\n"
    )
    words = [program, "-D", "-e", "-f", str(place / "sshd_config")]
    with _separation(), subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            _await_port(port, process)
            yield place / "config"
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def _separation() -> Iterator[None]:
    """Has the folder there that root's sshd wants, which one test after the other may make."""
    if os.geteuid() != 0:
        yield
        return
    with lone_sshd():
        new = not _SEPARATION.exists()
        if new:
            _SEPARATION.mkdir(mode=0o755)
        try:
            yield
        finally:
            if new:
                _SEPARATION.rmdir()


def _made_key(path: Path) -> str:
    """A new pair of keys; the public one."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True, timeout=60)
    return path.with_suffix(".pub").read_text()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until a server takes connections."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None
        assert time.monotonic() < until
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
            return
        time.sleep(0.05)
