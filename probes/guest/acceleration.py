"""By which accelerator of QEMU's a guest runs: KVM where that works, else emulation.

Whether it works shows only when a kernel runs: where a virtual machine offers /dev/kvm to its own
programs, KVM may accept everything and then end at an instruction that it cannot emulate, or
hang. So the guest's own kernel is tried, alone, for a second at most: until it says its name.
"""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.guest import emulators
from probes.guest.machines import Machine
from probes.text import visible

AUTO: Final = "auto"
"""The word for whatever works."""

KVM: Final = "kvm"
EMULATION: Final = "tcg"

INTERNAL_ERROR: Final = "KVM internal error"
"""What QEMU prints before it holds a guest for good."""

TRIAL_SECONDS: Final = 1.0
_BANNER: Final = b"Linux version"
_END_SECONDS: Final = 5.0
DEVICE: Final = Path("/dev/kvm")
"""Where a kernel that has KVM offers it."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How a guest runs.

    Attributes:
        name: QEMU's name of the accelerator.
        options: QEMU's options for the machine and the processor.
        why: what was tried before and did not do, in a sentence; "" where nothing was.
    """

    name: str
    options: tuple[str, ...]
    why: str = ""

    def __str__(self) -> str:
        """As people call it."""
        return {KVM: "by KVM", EMULATION: "emulated"}.get(self.name, f"by {self.name}")


def of(machine: Machine, name: str) -> Accelerator:
    """The accelerator of that name, as a machine needs it."""
    options = machine.kvm_options if name == KVM else ()
    return Accelerator(name, options or machine.options)


def choose(machine: Machine, emulator: Sequence[str], image: Path, asked: str) -> Accelerator:
    """The accelerator that is asked for, or the one that works.

    Args:
        machine: what shall run.
        emulator: the command of QEMU.
        image: the kernel that shall run.
        asked: QEMU's name of one, or ``AUTO``.

    Raises:
        InstrumentError: QEMU cannot be started.
    """
    if asked != AUTO:
        return of(machine, asked)
    emulated = of(machine, EMULATION)
    if machine.kvm_on != os.uname().machine or not os.access(DEVICE, os.R_OK | os.W_OK):
        return emulated
    accelerated = of(machine, KVM)
    fault = try_kernel(_trial(machine, emulator, image, accelerated))
    if not fault:
        return accelerated
    return Accelerator(emulated.name, emulated.options, f"KVM does not do here: {fault}")


def _trial(
    machine: Machine, emulator: Sequence[str], image: Path, accelerated: Accelerator
) -> tuple[str, ...]:
    append = f"console={machine.console} earlyprintk={machine.console} earlycon panic=-1"
    return (
        *emulator,
        *accelerated.options,
        *("-accel", accelerated.name, "-m", "512M", "-smp", "1"),
        *("-display", "none", "-no-reboot", "-nodefaults", "-serial", "stdio"),
        *("-kernel", str(image), "-append", f"{append} {machine.append}".strip()),
    )


def try_kernel(command: Sequence[str]) -> str:
    """What keeps a kernel from starting, in words; "" once it has said its name.

    Raises:
        InstrumentError: the command cannot be started.
    """
    with emulators.running(command) as process:
        return _first_words(process)


def _first_words(process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + TRIAL_SECONDS
    said = b""
    while process.stdout is not None and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([process.stdout], [], [], left)
        piece = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
        said += piece
        if _BANNER in said:
            return ""
        if ready and (not piece or INTERNAL_ERROR.encode() in said):
            lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
            words = [line for line in lines if INTERNAL_ERROR in line] or lines[-1:]
            return visible(words[0]) if words else "QEMU ended without a word"
    return f"its kernel did not start within {TRIAL_SECONDS:.0f} s"
