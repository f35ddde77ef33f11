"""Finds the ABIs by which this kernel can be entered."""

import errno
from collections.abc import Iterator, Sequence

from probes.arch import Arch, Entry, canary
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Request, Zygote


def entered(zygote: Zygote, arches: Sequence[Arch]) -> Iterator[tuple[Arch, str]]:
    """Asks the kernel by which of the ABIs it can be entered.

    Yields:
        Each ABI with "" if a call through it came back, else with what happened instead. One that
        came back with ENOSYS counts only if a filter is asked about it before the kernel is: x32
        on a kernel without it, and not the 32-bit entry of a kernel that is not Linux.
    """
    for arch in arches:
        if arch.entry is Entry.NONE:
            yield arch, "it takes a program of that ABI"
            continue
        call = Call(canary(arch)[1])
        (marked,) = witness.MARKER.one(arch, call, (), ())
        bare, asked = (
            zygote.run(
                [Request(arch.entry.name.lower(), (call,), programs, zygote.nonce(), runs=runs)]
            )[0][0]
            for programs, runs in (((), True), (marked.programs, False))
        )
        came_back = bare.status is None and not bare.fault
        if came_back and bare.errno == errno.ENOSYS and asked.errno == errno.ENOSYS:
            yield arch, "the kernel answers ENOSYS to its calls, and asks no filter"
        else:
            yield arch, "" if came_back else effect.answer(bare)
