"""What the verdicts depend on besides the target: the kernel, and this process's own confinement.

Read from proc_pid_status(5), ``/proc/sys/kernel/seccomp`` (seccomp(2)) and uname(2).
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from probes.arch import machine_here
from probes.errors import InstrumentError
from probes.files import kernel_lines


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The kernel and the confinement under which a run took place.

    Attributes:
        kernel: release and version of the running kernel.
        machine: the hardware name.
        capabilities: CapEff, 16 hexadecimal digits.
        uid: the effective user id.
        no_new_privs: NoNewPrivs.
        seccomp: the seccomp mode of this process: 0 none, 1 strict, 2 filter; None if not shown.
        seccomp_filters: how many filters this process has; None if the kernel shows no number
            (before Linux 5.9).
        actions_logged: the actions that the kernel writes records for.
    """

    kernel: str
    machine: str
    capabilities: str
    uid: int
    no_new_privs: bool
    seccomp: int | None
    seccomp_filters: int | None
    actions_logged: tuple[str, ...]


def read(root: Path = Path("/")) -> Fingerprint:
    """Takes the fingerprint.

    Args:
        root: the directory that holds ``proc``.
    """
    status = _status(root / "proc/self/status")
    system = os.uname()
    return Fingerprint(
        kernel=f"{system.release} {system.version}",
        machine=system.machine,
        capabilities=status.get("CapEff", "0").zfill(16),
        uid=os.geteuid(),
        no_new_privs=status.get("NoNewPrivs") == "1",
        seccomp=_number(status.get("Seccomp")),
        seccomp_filters=_number(status.get("Seccomp_filters")),
        actions_logged=_words(root / "proc/sys/kernel/seccomp/actions_logged"),
    )


def seccomp_mode(root: Path = Path("/")) -> int | None:
    """The seccomp mode of this process: 0 none, 1 strict, 2 filter; None if the kernel shows none.

    Args:
        root: the directory that holds ``proc``.
    """
    return _number(_status(root / "proc/self/status").get("Seccomp"))


def emulation(machine: str, root: Path = Path("/")) -> str:
    """The evidence that this process runs under an emulator, so that uname(2) misnames its kernel.

    An emulator of programs, such as qemu-user, pretends to be another machine in uname(2), and
    hands the files of proc(5) through: ``/proc/sys/kernel/arch`` (Linux 6.1) has the kernel's own.

    Args:
        machine: uname(2)'s.
        root: the directory that holds ``proc``.

    Returns:
        One clause; "" where nothing shows it, as where the emulated machine is of the same kind.
    """
    own = _words(root / "proc/sys/kernel/arch")
    if not own or _family(own[0]) == _family(machine):
        return ""
    return f"uname(2) says {machine}, and the kernel {own[0]} (/proc/sys/kernel/arch)"


@dataclass(frozen=True, slots=True)
class UserSpace:
    """The properties of an x86_64 kernel that decide which instruction addresses are possible.

    Attributes:
        five_levels: whether page tables have five levels, which gives user space 56 bits.
        vsyscalls: whether the vsyscall page is mapped.
    """

    five_levels: bool = True
    vsyscalls: bool = True


@cache
def user_space() -> UserSpace:
    """Reads the properties of this kernel; whatever the kernel does not say counts as possible."""
    if machine_here() != "x86_64":
        return UserSpace()
    return UserSpace(
        five_levels=_says(Path("/proc/cpuinfo"), b" la57"),
        vsyscalls=_says(Path("/proc/self/maps"), b"[vsyscall]"),
    )


def _says(path: Path, word: bytes) -> bool:
    try:
        return word in path.read_bytes()
    except OSError:
        return True


_FAMILIES: Final = {
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "x86": "x86",
    "aarch64": "arm",
    "arm": "arm",
    "mips": "mips",
    "parisc": "parisc",
    "ppc": "ppc",
    "riscv": "riscv",
    "s390": "s390",
    "sparc": "sparc",
}
"""Families of machines whose kernels run each other's programs, by the start of their names."""


def _family(machine: str) -> str:
    heads = (family for head, family in _FAMILIES.items() if machine.startswith(head))
    return next(heads, machine)


def tracer(root: Path = Path("/")) -> int:
    """The process id of this process's tracer; 0 for none.

    Args:
        root: the directory that holds ``proc``.
    """
    return _number(_status(root / "proc/self/status").get("TracerPid")) or 0


def _status(path: Path) -> dict[str, str]:
    """The fields of a proc_pid_status(5).

    Raises:
        InstrumentError: there is none.
    """
    try:
        lines = kernel_lines(path.read_bytes())
    except OSError as error:
        raise InstrumentError(
            f"{path} cannot be read ({error.strerror}): mount proc(5) on /proc, and run the suite"
            " again"
        ) from error
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None else None


def _words(path: Path) -> tuple[str, ...]:
    """The words of a small file; none where the kernel has no such file."""
    return tuple(path.read_text(encoding="ascii").split()) if path.exists() else ()
