"""QEMU on this machine: whether it is there, how old it is, and which package has it."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final

from probes.errors import BadInputError, InstrumentError
from probes.guest.machines import Machine
from probes.instrument import kernel

_SECONDS: Final = 20.0
_END_SECONDS: Final = 5.0


def check(machine: Machine) -> None:
    """Refuses a machine whose emulator is not installed and is not fetched, either.

    Raises:
        BadInputError: with the line that installs it.
    """
    if machine.qemu_suite or shutil.which(machine.qemu) is not None:
        return
    names = [name for name in (machine.qemu_package, machine.bookworm_qemu_package) if name]
    known = [name for name in names if _is_known(name)]
    older = f" (before Debian 13: {names[1]})" if names[1:] and not known else ""
    raise BadInputError(
        f"the guest {machine.name} needs {machine.qemu}; "
        f"run: apt-get install --no-install-recommends {(*known, *names)[0]}{older}"
    )


def _is_known(package: str) -> bool:
    """Whether this machine's apt has the package."""
    try:
        done = subprocess.run(
            ["apt-cache", "show", "--no-all-versions", package],  # noqa: S607 - on PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):  # it cannot tell, so all names are told
        return False
    return done.returncode == 0 and bool(done.stdout)


def is_new_enough(machine: Machine) -> bool:
    """Whether this machine has an emulator that can boot the machine's kernel."""
    try:
        said = subprocess.run(
            [machine.qemu, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):  # as good as none
        return False
    version = re.search(r"version (\d+)\.", said)
    return version is not None and int(version[1]) >= machine.qemu_since


def _begin() -> None:
    """Has the emulator end with its parent, and leave no core where it aborts."""
    kernel.die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator, which is gone afterwards in any case.

    Raises:
        InstrumentError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_begin,  # noqa: PLW1509 - no lock of a thread's is taken
        )
    except OSError as error:
        raise InstrumentError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_END_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
