"""The suite as its users install it: from a wheel, into an environment of its own."""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.tests.support.job import CHECKOUT, PATIENCE_SECONDS, environment, undisturbed

IMPORT_PACKAGE = "syscall_conformance"


def built(folder: Path, kind: str = "wheel", source: Path = CHECKOUT) -> Path:
    """Builds a wheel, or the source distribution (``sdist``).

    Args:
        folder: where it goes; nothing else may be there.
        kind: which of both.
        source: what it is built from.
    """
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(
        words, cwd=source, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that has the suite from a wheel.

    Attributes:
        folder: the virtual environment.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin/python"

    @property
    def command(self) -> str:
        """The suite's command."""
        return str(self.folder / "bin/syscall-conformance")

    @property
    def packages(self) -> Path:
        """The folder of its packages."""
        return next(self.folder.glob("lib/python3.*/site-packages"))

    @property
    def suite(self) -> Path:
        """The folder that has the suite's own folders."""
        return self.packages / IMPORT_PACKAGE / "suite"

    def pip(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the pip of this process for it."""
        return subprocess.run(
            [sys.executable, "-m", "pip", "--quiet", f"--python={self.python}", *words],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def run(
        self, *words: str, cwd: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the suite's command."""
        return ran([self.command, *words], cwd=cwd, variables=variables)


def ran(
    words: Sequence[str], *, cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    with undisturbed():
        return subprocess.run(
            words,
            cwd=cwd,
            env=environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


def installed(wheel: Path, folder: Path) -> Installed:
    """Installs a wheel; what it needs is found where this process has it, so no index is asked.

    Args:
        wheel: the wheel.
        folder: where the environment goes.
    """
    made = Installed(folder)
    words = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(words, check=True, timeout=PATIENCE_SECONDS)
    done = made.pip("install", "--no-index", "--no-deps", str(wheel))
    assert done.returncode == 0, done.stderr
    # Its own .pth files are not read there: what is installed editably is not found.
    (made.packages / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return made
