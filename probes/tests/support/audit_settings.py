"""Changes this machine's audit settings for moments, and puts them back.

They are one for the whole machine, so no other test reads records meanwhile (``lone_reader``).
"""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.tests.support.emitter import lone_reader
from probes.tests.support.oracles import require

ACTIONS_LOGGED = Path("/proc/sys/kernel/seccomp/actions_logged")


@dataclass(frozen=True, slots=True)
class Machine:
    """The audit settings of this machine, as long as nobody else reads records.

    Attributes:
        auditctl: the program that changes them.
        logged: the words of actions_logged, as they were.
    """

    auditctl: str
    logged: str

    def log(self, *without: str) -> None:
        """Has the kernel record every action but these."""
        words = [word for word in self.logged.split() if word not in without]
        ACTIONS_LOGGED.write_text(" ".join(words), encoding="ascii")

    def add(self, *rule: str) -> None:
        """Adds an audit rule: a list and an action, and its conditions."""
        self.control("-a", *rule)

    def remove(self, *rule: str) -> None:
        """Removes it again."""
        self.control("-d", *rule)

    def enable(self, switch: int) -> None:
        """Sets the kernel's audit switch."""
        self.control("-e", str(switch))

    def reset(self) -> None:
        """Puts everything back."""
        ACTIONS_LOGGED.write_text(self.logged, encoding="ascii")
        self.enable(0)
        self.control("-D")
        self.control("-r", "0")

    def control(self, *words: str) -> str:
        """Runs auditctl, and returns what it printed."""
        ended = subprocess.run(
            [self.auditctl, *words], capture_output=True, text=True, timeout=10, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@contextlib.contextmanager
def changing() -> Iterator[Machine]:
    """Lets tests change the settings; whatever they have changed is undone at the end.

    A module whose tests all do so has one of these, for each may be waited for.
    """
    auditctl = require("auditctl", "auditd")
    with lone_reader():
        machine = Machine(auditctl, ACTIONS_LOGGED.read_text(encoding="ascii"))
        assert machine.control("-l").strip() == "No rules", "this machine has audit rules"
        assert "enabled 0" in machine.control("-s"), "this machine's audit is switched on"
        try:
            yield machine
        finally:
            machine.reset()
