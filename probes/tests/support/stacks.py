"""Targets of known programs, as tests make them up."""

import os
from collections.abc import Mapping, Sequence

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.filters.bpf import Program
from probes.targets import StackTarget
from probes.targets.stack import FilterStack

NATIVE = arch.offered_by(os.uname().machine)[0]


def target_of(
    kind: str,
    description: str,
    programs: Mapping[Profile, Sequence[Program]],
    native: Arch = NATIVE,
) -> StackTarget:
    """A target without anything to be said of it.

    Args:
        kind: the word before the colon in ``--target``.
        description: what a sentence calls the filter.
        programs: the filters of each profile, the oldest first.
        native: the native ABI of the machine that they are for.
    """
    return StackTarget(
        kind,
        {
            profile: FilterStack(description, tuple(stack), native)
            for profile, stack in programs.items()
        },
    )
