"""Sandboxes that others make and that can be started on this machine: by Debian, PyPI and npm."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.tests.support.oracles import require
from reports.tests.support import format_oracles


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A way to start a sandbox of this machine.

    Attributes:
        page: the page about it.
        label: what its rows on the page are called.
        command: what starts a program in it, whose words it gets.
    """

    page: str
    label: str
    command: Callable[[Sequence[str]], Sequence[str]]

    def __str__(self) -> str:
        """Its name as a parameter."""
        return f"{self.page}-{self.label}"


def _firejail(*options: str) -> Callable[[Sequence[str]], Sequence[str]]:
    def command(program: Sequence[str]) -> Sequence[str]:
        require("firejail", "firejail")
        words = shlex.join(["firejail", "--noprofile", "--quiet", *options, *program])
        script = f"mount -t tmpfs tmpfs /run; exec {words}"
        return ["unshare", "--mount", "--uts", "--ipc", "sh", "-c", script]

    return command


def _nsjail(policy: str) -> Callable[[Sequence[str]], Sequence[str]]:
    def command(program: Sequence[str]) -> Sequence[str]:
        jail = Path(format_oracles.module("nsjail").__file__).parent / "bin/nsjail"
        options = ("-Mo", "-Q", "--disable_rlimits", "-c", "/", "--seccomp_string", policy)
        return [str(jail), *options, "--", *program]

    return command


_SANDLOCK: Final = """\
import sys, tempfile
from sandlock import Sandbox
made = Sandbox(fs_readable=["/"], fs_writable=["/dev", tempfile.gettempdir()])
sys.exit(made.run_interactive(sys.argv[1:]))
"""


def _sandlock(program: Sequence[str]) -> Sequence[str]:
    format_oracles.module("sandlock")
    return [sys.executable, "-c", _SANDLOCK, *program]


def _sandbox_runtime(program: Sequence[str]) -> Sequence[str]:
    """What its command has bubblewrap run first; by itself, for the rest makes no filter."""
    place = "node_modules/@anthropic-ai/sandbox-runtime/vendor/seccomp/x64/apply-seccomp"
    applied = format_oracles.stored(format_oracles.STORE / place)
    return ["unshare", "--mount", "--uts", "--ipc", str(applied), *program]


KAFEL: Final = (
    "POLICY p { ERRNO(1) { acct, kcmp, mount, umount, newuname, sysctl },"
    " KILL { swapon }, TRAP(1) { reboot } } USE p DEFAULT ALLOW"
)

KAFEL_LABEL: Final = "the example, DEFAULT ALLOW"

HERE: Final = (
    Sandbox("firejail", "--seccomp", _firejail("--seccomp")),
    Sandbox(
        "firejail",
        "--seccomp --seccomp-error-action=kill",
        _firejail("--seccomp", "--seccomp-error-action=kill"),
    ),
    Sandbox("nsjail", KAFEL_LABEL, _nsjail(KAFEL)),
    Sandbox("sandlock", "always", _sandlock),
    Sandbox("sandbox-runtime", "always", _sandbox_runtime),
)
