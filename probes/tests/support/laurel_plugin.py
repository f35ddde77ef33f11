"""Starts laurel by hand and feeds it lines, as auditd does with its plug-ins."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

_PATIENCE = 10.0

_CONFIGURATION = """\
directory = "{folder}"
user = "root"
[auditlog]
file = "audit.log"
size = {size}
generations = 50
[translate]
universal = {translated}
user-db = {translated}
drop-raw = {dropped}
"""

PLUGIN = """\
active = yes
direction = out
type = always
format = string
path = {executable}
args = -c {configuration}
"""
"""A file of auditd's ``plugins.d``."""


def configure(
    folder: Path, *, size: int = 1 << 20, translated: bool = False, dropped: bool = False
) -> Path:
    """Writes a configuration; laurel's log will be ``audit.log`` in the folder.

    Args:
        folder: a new folder for the log.
        size: the bytes after which it is rotated.
        translated: whether numbers are translated.
        dropped: whether the translated ones are left out, which 0.5 does not know.
    """
    folder.mkdir(parents=True)
    path = folder.with_suffix(".toml")
    words = {"translated": str(translated).lower(), "dropped": str(dropped).lower()}
    text = _CONFIGURATION.format(folder=folder, size=size, **words)
    path.write_text(text, encoding="ascii")
    return path


@dataclass
class Laurel:
    """A running laurel.

    Attributes:
        process: the plug-in, which reads its standard input.
        log: the file that it writes.
        serials: the numbers for the events to be.
    """

    process: subprocess.Popen[bytes]
    log: Path
    serials: Iterator[int] = field(default_factory=lambda: count(1))

    def feed(self, comm: str, *, exe: str = '"/x"', age: float = 0.0, skip: int = 0) -> str:
        """Feeds it a record, and gives the line.

        Args:
            comm: as the kernel writes it, with quotes or hexadecimal.
            exe: the program, as the kernel writes it.
            age: the seconds ago that the record is said to be made.
            skip: how many numbers are left out before, as by lost events.
        """
        for _ in range(skip):
            next(self.serials)
        stamp = f"{time.time() - age:.3f}:{next(self.serials)}"
        line = (
            f"type=SECCOMP msg=audit({stamp}): auid=4294967295 uid=0 gid=0 ses=1 pid=7 "
            f"comm={comm} exe={exe} sig=31 arch=40000003 syscall=-1 compat=1 ip=0x7f12ab "
            "code=0x80000000"
        )
        self.write(line + "\n")
        return line

    def write(self, text: str) -> None:
        """Feeds it text."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def begin(self) -> None:
        """Has it create its log, with an event that is whole by itself."""
        stamp = f"{time.time():.3f}:{next(self.serials)}"
        self.write(f"type=USER_AUTH msg=audit({stamp}): pid=1 uid=0 auid=0 ses=1 msg='op=x'\n")
        end = time.monotonic() + _PATIENCE
        while not (self.log.exists() and self.log.stat().st_size):
            assert time.monotonic() < end, "laurel wrote nothing"
            time.sleep(0.01)


@contextlib.contextmanager
def fed(words: Callable[..., Sequence[str]], configuration: Path) -> Iterator[Laurel]:
    """Runs laurel as long as the context lasts.

    Args:
        words: makes a command line of laurel's own.
        configuration: of ``configure``.
    """
    with subprocess.Popen(
        words("laurel", "-c", str(configuration)), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Laurel(process, configuration.with_suffix("") / "audit.log")
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(_PATIENCE)
