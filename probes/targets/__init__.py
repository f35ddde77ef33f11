"""What is put to the test: a target gives the filters that confine a probing child."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from probes import bpf
from probes.action import FilterReturn, Profile
from probes.arch import Arch


class Target(Protocol):
    """Something whose restrictions can be put on a process."""

    @property
    def kind(self) -> str:
        """The word before the colon in ``--target``."""

    @property
    def description(self) -> str:
        """What a sentence calls the filter, such as ``the builtin filter``."""

    def program(self, profile: Profile) -> bpf.Program:
        """The filter under a profile."""

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """What the program returns for a number whatever the arguments; None if they matter."""


@dataclass(frozen=True, slots=True)
class ProgramTarget:
    """A target of one program a profile.

    Attributes:
        kind: the word before the colon in ``--target``.
        description: what a sentence calls the filter.
        programs: the program of each profile.
    """

    kind: str
    description: str
    programs: Mapping[Profile, bpf.Program]

    def program(self, profile: Profile) -> bpf.Program:
        """The filter under a profile."""
        return self.programs[profile]

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """What the program returns for a number whatever the arguments; None if they matter."""
        program = self.programs[profile]
        if not bpf.reads_only_number_and_arch(program):
            return None
        data = bpf.SeccompData(number, arch.audit_arch)
        return FilterReturn.decode(bpf.simulate(program, data, big_endian=arch.big_endian))
