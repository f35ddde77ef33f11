"""Processes in which a whole sandbox runs: what confines these is not what confines its programs.

A kernel of its own, in a process or in a virtual machine, answers the programs of such a sandbox.
The host sees only the process that runs this kernel, with a filter that guards the host.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_SANDBOXES: Final = (
    (re.compile(r"runsc(-.+)?"), "gVisor"),
    (re.compile(r"containerd-shim-kata(-.+)?|kata-(runtime|agent|shim).*"), "Kata Containers"),
    (re.compile(r"qemu-system-.+|qemu-kvm"), "QEMU"),
    (re.compile(r"cloud-hypervisor(-.+)?"), "Cloud Hypervisor"),
    (re.compile(r"firecracker(-.+)?"), "Firecracker"),
    (re.compile(r"crosvm"), "crosvm"),
)


def of_process(pid: int) -> str:
    """Whose sandbox runs in a process; "" where it is not known to be one's."""
    names = list(_names(pid))
    return next((kind for pattern, kind in _SANDBOXES if any(map(pattern.fullmatch, names))), "")


def _names(pid: int) -> Iterator[str]:
    """What a process goes by: its program's file, what it was called by, and its own name.

    gVisor starts itself anew from /proc/self/exe, so that one name alone does not tell.
    """
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):  # it has ended, or belongs to somebody else
        yield (folder / "exe").readlink().name.removesuffix(" (deleted)")
    for name in ("cmdline", "comm"):
        with suppress(OSError):
            first = (folder / name).read_bytes().partition(b"\0")[0].removesuffix(b"\n")
            yield first.decode(errors="replace").rpartition("/")[2]
