"""The libseccomp of this machine, by which its runtimes make filters: the calls that it lacks."""

from collections.abc import Mapping
from typing import Final

from probes.arch import ARCHES, Arch
from probes.errors import BadInputError
from probes.targets.oci import compile_request
from probes.targets.oci.profile import ARCHITECTURES
from probes.targets.stack import Library

_LAST_OF_MULTIPLEXERS: Final = -10_000
"""Below it are the numbers that stand for calls which an architecture has not got.

Above it are those of operations of a multiplexer, such as ``socketcall``, of which rules are made.
"""


def here(native: Arch, reported: str = "") -> Library | None:
    """What the installed libseccomp lacks; None where it cannot be asked, or is not the right one.

    Args:
        native: the native ABI of the machine, about all of whose ABIs it is asked.
        reported: the release that a runtime says it has; "" where it does not say.
    """
    same = (arch for arch in ARCHES.values() if arch.machine == native.machine)
    asked = [arch for arch in same if arch.scmp in ARCHITECTURES]
    calls = tuple(dict.fromkeys(name for arch in asked for name in arch.numbers))
    try:
        known = compile_request.numbers(calls, [ARCHITECTURES[arch.scmp] for arch in asked])
        version = compile_request.version()
    except BadInputError:
        return None
    if reported not in {"", version}:
        return None
    return Library(
        version,
        {arch.name: _lacking(arch, known[ARCHITECTURES[arch.scmp]]) for arch in asked},
    )


def _lacking(arch: Arch, known: Mapping[str, int]) -> frozenset[int]:
    return frozenset(number for name, number in arch.numbers.items() if _is_lacking(known[name]))


def _is_lacking(number: int) -> bool:
    return number == compile_request.UNKNOWN or number <= _LAST_OF_MULTIPLEXERS
