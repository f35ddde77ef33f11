"""By which ABIs this process can enter the kernel, and what holds it back."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probes import arch, environment
from probes.arch import Arch
from probes.errors import InstrumentError
from probes.finding import Finding, Weight
from probes.instrument import abis as kernel_abis
from probes.instrument.calls import Observation, Zygote
from probes.instrument.effect import answer
from probes.run.values import RunOptions
from probes.targets import confinement
from probes.targets.confinement import ConfinedError, Confinement


@dataclass(frozen=True, slots=True)
class Entries:
    """By which ABIs this process can enter the kernel.

    Attributes:
        offered: those by which it can.
        shut: what happened instead, by the names of the others.
        prevented: those of the others by which its own confinement lets no call be made, with what
            came of one.
        confinement: what confines this process itself; None where nothing does.
    """

    offered: tuple[Arch, ...]
    shut: Mapping[str, str]
    prevented: Mapping[Arch, Observation] = field(default_factory=dict)
    confinement: Confinement | None = None

    def left_out(self, options: RunOptions) -> tuple[Finding, ...]:
        """Findings about the ABIs that are left out although ``--arch`` asks for them."""
        if self.confinement is None:
            return ()
        shut = {one: made for one, made in self.prevented.items() if options.asks_for(one)}
        return confinement.left_out(shut, self.confinement.words)


def entries(known: Sequence[Arch]) -> Entries:
    """Asks the kernel by which ABIs this process can enter it.

    Raises:
        InstrumentError: not even by its own.
    """
    own = known[0]
    said = confinement.words()
    if said:
        return _of_confined(known, said)
    with Zygote() as zygote:
        tried = dict(kernel_abis.entered(zygote, known))
    offered = tuple(one for one, trouble in tried.items() if not trouble)
    shut = {one.name: trouble for one, trouble in tried.items() if trouble}
    if own not in offered:
        raise InstrumentError(f"this kernel's own ABI cannot be called: {shut[own.name]}")
    return Entries(offered, shut)


def _of_confined(known: Sequence[Arch], said: str) -> Entries:
    """Asks the kernel in a process that is confined itself.

    Raises:
        ConfinedError: not even by its own, or no call can be made.
    """
    with confinement.open_zygote(known[0], said) as zygote:
        seen = dict(confinement.entered(zygote, known))
        offered = tuple(one for one, made in seen.items() if confinement.came_back(made))
        found = confinement.explore(zygote, offered, said)
    shut = {one: made for one, made in seen.items() if one not in offered}
    why = {one.name: "it takes a program of that ABI" for one in known if one not in seen}
    why |= {one.name: answer(made) for one, made in shut.items()}
    if known[0] not in offered:
        raise ConfinedError(found.prevents(why[known[0].name]))
    prevented = {one: made for one, made in shut.items() if confinement.is_shut(made)}
    return Entries(offered, why, prevented, found)


def emulation() -> str:
    """Why nothing can be observed in this process; "" where nothing shows that it is emulated."""
    return why_emulated(arch.machine_here(), environment.emulation(os.uname().machine))


def why_emulated(machine: str, shown: str) -> str:
    """Why nothing can be observed in an emulated process; "" where nothing shows that it is one.

    Args:
        machine: the one that the emulator pretends to be.
        shown: what shows it, by ``environment.emulation``.
    """
    if not shown:
        return ""
    return (
        f"this process is emulated ({shown}): no filter of its own can be tested here; run the "
        f"suite on a machine of that kind ({machine}), or in a guest (syscall-conformance guest)"
    )


def of_emulator(emulation: str) -> Finding:
    """What a reader has to know of a record that was made under an emulator."""
    text = f"{emulation}; machine and kernel in this record are what the emulator says"
    return Finding(text, Weight.LIMITS, "this kernel")
