"""The arguments with which a case makes its call."""

import sys

from probes.arch import Arch, Entry
from probes.filters import bpf
from probes.filters.conditions import ARGUMENTS, example
from probes.instrument.calls import Call
from probes.instrument.harmless import probe_for
from probes.judging import plan, under_test
from probes.judging.claims import About
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.widths import width

ALL_ONES = (1 << 64) - 1
UNKNOWN_ARGUMENTS = (ALL_ONES,) * 6
"""For numbers that no table knows: no valid pointer, descriptor or flag, if there is a call."""


def harmless_arguments(setup: Setup, case: Case) -> tuple[int, ...] | None:
    """Arguments that are known to do no harm; None where none are."""
    key = case.cells[0]
    if case.row.about is About.UNKNOWN_NUMBER:
        return UNKNOWN_ARGUMENTS
    documented = under_test.documented_call(setup, key)
    if documented is not None:
        return plan.harmless_arguments(documented, case.arch)
    row = probe_for(key.syscall)
    return None if row is None else row.args


def any_arguments(setup: Setup, case: Case) -> tuple[int, ...]:
    """Arguments for a call that cannot run, because the witness answers it: restricted ones."""
    documented = under_test.documented_call(setup, case.cells[0])
    if documented is None or not documented.args:
        return ()
    return example(documented.restriction(case.arch)) or ()


def with_unread_bits(setup: Setup, case: Case, call: Call) -> Call | None:
    """The same call with the bits set that the kernel does not read, so that it sees no difference.

    None where a document's conditions are on nothing but whole registers.
    """
    documented = under_test.documented_call(setup, case.cells[0])
    if documented is None or setup.own is not None:
        return None  # what confines this process may look at such bits, too
    arguments = [*call.arguments, *(0,) * ARGUMENTS][:ARGUMENTS]
    for one in documented.args:
        bits = width(documented.name, case.arch, one.index)
        arguments[one.index] |= ALL_ONES >> bits << bits & widest()
    made = (*call.arguments, *(0,) * ARGUMENTS)[:ARGUMENTS]
    return None if tuple(arguments) == made else Call(call.number, tuple(arguments))


def widest(arch: Arch | None = None) -> int:
    """The highest argument that fits a register of this process, or of an ABI's if given."""
    narrow = sys.maxsize <= bpf.U32 or (arch is not None and arch.entry is Entry.INT80)
    return bpf.U32 if narrow else ALL_ONES


def arguments_words(call: Call) -> str:
    """The arguments of a call that are not zero, in words."""
    pairs = enumerate(call.arguments)
    return "with " + ", ".join(f"args[{index}]={value:#x}" for index, value in pairs if value)
