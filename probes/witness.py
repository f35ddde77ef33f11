"""The witness: a filter of ours that answers if, and only if, the filter under test did not.

Among stacked filters the action with the highest precedence wins, and among equal actions the
newest filter's data does (seccomp(2), ``seccomp_run_filters()`` in kernel/seccomp.c). So a marker
that answers with an errno which nothing else returns, installed before the filter under test,
tells a call that was let through from one that was refused or killed, whatever capabilities,
security modules or arguments would have made of it; and the call itself never runs.
"""

from typing import Final

from probes import bpf
from probes.action import Action, FilterReturn
from probes.arch import Arch

MARKER_ERRNO: Final = 2121
"""Below the kernel's 4095, and far above the highest errno that Linux defines (133)."""

SWEEP_MAGIC: Final = 0x5EEDED5E
"""The sixth argument by which a marker for many numbers knows the probed calls."""

_MARK: Final = FilterReturn(Action.ERRNO, MARKER_ERRNO).value
_ALLOW: Final = FilterReturn(Action.ALLOW).value
_SIXTH_ARGUMENT: Final = bpf.OFFSET_ARGS + 5 * 8


def marker(arch: Arch, number: int) -> bytes:
    """A marker for one number, whatever its arguments."""
    program = bpf.dispatch({arch.audit_arch: bpf.ranges({number}, _MARK, _ALLOW)}, _ALLOW)
    return bpf.to_bytes(program, big_endian=arch.big_endian)


def sweeping_marker(arch: Arch) -> bytes:
    """A marker for every number of an ABI, if the call's sixth argument is SWEEP_MAGIC."""
    low_half = _SIXTH_ARGUMENT + (4 if arch.big_endian else 0)
    program = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, arch.audit_arch, 0, 3),
        bpf.statement(bpf.LD_ABS, low_half),
        bpf.jump(bpf.JEQ, SWEEP_MAGIC, 0, 1),
        bpf.statement(bpf.RET_K, _MARK),
        bpf.statement(bpf.RET_K, _ALLOW),
    )
    bpf.check(program)
    return bpf.to_bytes(program, big_endian=arch.big_endian)
