"""Which ABIs a run judges: by calls, those of this kernel; by proof, those that filters name."""

from collections.abc import Iterable, Sequence

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.errors import BadInputError
from probes.filters.prover import TooComplexError
from probes.run.values import RunOptions
from probes.targets import Target
from probes.targets.open import Surroundings
from probes.targets.words import written
from probes.text import shown


def judged(
    options: RunOptions, offered: Sequence[Arch], prevented: Iterable[Arch] = ()
) -> tuple[Arch, ...]:
    """The ABIs that are judged by calls.

    Args:
        options: what the run shall judge.
        offered: the ABIs by which this kernel can be entered.
        prevented: further ones that this process alone is kept from.

    Raises:
        BadInputError: one was asked for that this kernel does not have.
    """
    known = {*offered, *prevented}
    for one in options.arches:
        if one not in known:
            raise BadInputError(
                f"--arch {options.arch_words}: this kernel ({arch.machine_here()}) cannot be "
                f"entered as {one.name}; it can as {', '.join(each.name for each in offered)}"
            )
    return asked(options, offered)


def asked(options: RunOptions, arches: Iterable[Arch]) -> tuple[Arch, ...]:
    """Those that were asked for, where any were."""
    return tuple(filter(options.asks_for, arches))


def named(target: Target, profiles: Iterable[Profile]) -> tuple[Arch, ...]:
    """The ABIs that the programs name."""
    tokens: set[int] = set()
    for profile in profiles:
        try:
            tokens |= set(target.analysis(profile).tokens())
        except TooComplexError:
            continue  # each cell of the proof will say so
    return tuple(one for one in arch.ARCHES.values() if one.audit_arch in tokens)


def proved(options: RunOptions, target: Target, where: Surroundings) -> tuple[Arch, ...]:
    """The ABIs to judge by proof, of filters that may be for another machine.

    Filters that do not look at the architecture name no ABI; whatever they return for a number
    holds on each.

    Raises:
        BadInputError: the filters are for another machine than was said.
    """
    machine, theirs = arch.machine_here(), where.native.machine
    known = named(target, [where.profile]) or arch.offered_by(theirs)
    chosen = asked(options, known)
    fits = any(one.machine == theirs for one in known)
    if theirs == machine and options.arches and not chosen:
        # They treat it like architectures that they do not name: that is to be judged, too.
        return asked(options, arch.offered_by(theirs))
    if chosen if theirs != machine else fits:
        return chosen
    nothing = f"--arch={options.arch_words}" if options.arches else f"this machine, {machine}"
    raise BadInputError(
        f"--target {shown(str(options.target))}: these filters are for {written(known, ', ')}, "
        f"and not for {nothing}: say by --arch which of them to judge"
    )
