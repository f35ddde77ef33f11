"""A private systemd: the first process of a machine of its own, which has units of the test only.

It is the one that is installed here, whose files are the lower layer of an overlay, or another
release's. What it could do to the real machine, ``probes.releases.machine`` keeps from it.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.errors import InstrumentError
from probes.files import SUITE
from probes.instrument import control_groups
from probes.releases import machine
from probes.releases.machine import ENVIRONMENT, V2, ReleaseMachine
from probes.releases.roots import Root
from probes.targets.stack import FilterStack
from probes.tests.support import loading
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require, unavailable

HERE: Final = "here"
"""The systemd that is installed on this machine, in place of a release."""

_SYSTEMD: Final = "/lib/systemd/systemd"
_TARGET: Final = "conformance.target"
_START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class SystemdMachine:
    """A machine whose first process is systemd.

    Attributes:
        machine: the machine.
        units: the folder of its unit files, which is at the same path in it and here.
    """

    machine: ReleaseMachine
    units: Path

    def add(self, name: str, text: str) -> None:
        """Writes a unit, or a drop-in of one, which systemd reads by ``reload``.

        Args:
            name: its path below the folder of units.
            text: what is in it.
        """
        path = self.units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def reload(self) -> None:
        """Has systemd read its units again."""
        self.machine.run("systemctl", "daemon-reload")

    def start(self, name: str) -> None:
        """Starts a unit, once its command has its filters: systemd does not wait for that."""
        self.machine.run("systemctl", "start", name)

    def service(self, name: str, command: str, *settings: str) -> None:
        """Writes and starts a service.

        Args:
            name: its whole name.
            command: what it runs.
            *settings: further lines of its section.
        """
        self.add(name, service(command, *settings))
        self.reload()
        self.start(name)
        wait_for(lambda: self.runs(name), f"{name} does not run its command", _START_SECONDS)

    def runs(self, name: str) -> bool:
        """Whether none of a unit's processes is systemd's own any more, about to run a command."""
        pids = self.processes(name)
        return bool(pids) and not any(_is_systemds(pid) for pid in pids)

    def processes(self, name: str) -> list[int]:
        """The processes of a unit, by this test process's pids."""
        return control_groups.members(
            lambda group: self.machine.name in group.path and name in group.parts
        )

    def suite(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the suite on the machine, by the Python that runs the tests."""
        program = Path(sys.executable).with_name("syscall-conformance")
        return self.machine.tried("env", "COLUMNS=100", str(program), *words, seconds=120)

    def load(self, *words: str, by: Sequence[str] = ()) -> list[FilterStack | str]:
        """Opens units on the machine: each one's filters, or the sentence that refuses it.

        Args:
            *words: what stands behind ``unit:``.
            by: the words of a command that runs another.
        """
        said = self.machine.run(
            *(*by, "env", f"PYTHONPATH={SUITE}", sys.executable, loading.__file__, *words),
            seconds=120,
        )
        answers = json.loads(said, object_hook=loading.decoded)
        return [
            FilterStack.from_plain(answer["stack"]) if "stack" in answer else answer["error"]
            for answer in answers
        ]


def service(command: str, *settings: str) -> str:
    """The text of a service."""
    lines = (f"ExecStart={command}", "StandardOutput=null", "TimeoutStopSec=1", *settings)
    return "\n".join(("[Unit]", "DefaultDependencies=no", "[Service]", *lines, ""))


def _is_systemds(pid: int) -> bool:
    try:
        target = (Path("/proc") / str(pid) / "exe").readlink()
    except OSError:  # it has ended
        return False
    return target.name.startswith("systemd")


@contextlib.contextmanager
def systemd_machine(root: Root | None = None) -> Iterator[SystemdMachine]:
    """A machine with systemd for as long as the context lasts; ends the test where none can be.

    Args:
        root: the release's root; None for the systemd that is installed here.
    """
    if root is None:
        require("systemctl", "systemd")
    with tempfile.TemporaryDirectory(prefix="units-") as name, contextlib.ExitStack() as stack:
        units = Path(name)
        units.chmod(0o755)
        (units / _TARGET).write_text("[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n")
        settings = {**ENVIRONMENT, "container": "conformance", "SYSTEMD_UNIT_PATH": name}
        words = (_SYSTEMD, "--system", f"--unit={_TARGET}", "--log-target=null")
        try:
            made = stack.enter_context(
                machine.started(
                    root or Root(HERE, Path("/"), ()),
                    shared=(units, *_needed()),
                    cgroups=V2,
                    init=words,
                    environment=settings,
                )
            )
        except InstrumentError as error:
            unavailable(f"no machine of its own can be made for systemd: {error}")
        wait_for(
            lambda: made.tried("systemctl", "is-active", _TARGET).returncode == 0,
            "systemd does not start",
            _START_SECONDS,
        )
        yield SystemdMachine(made, units)


def _needed() -> tuple[Path, ...]:
    """The folders that the suite needs, wherever they are mounted: each but the inner ones."""
    found = {
        SUITE,
        *(Path(one).resolve() for one in (sys.prefix, sys.base_prefix)),
        *(Path(one).resolve() for one in sys.path if one.endswith("site-packages")),
    }
    usual = tuple(map(Path, ("/usr", "/lib", "/etc")))
    return tuple(
        one
        for one in sorted(found)
        if not any(one != other and one.is_relative_to(other) for other in found)
        and not any(one.is_relative_to(other) for other in usual)
        and one.is_dir()
    )
