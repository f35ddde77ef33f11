"""What is put to the test: a target gives the filters that confine a probing child."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from probes import bpf, prover
from probes.action import FilterReturn, Profile
from probes.arch import Arch
from probes.bpf import Program
from probes.prover import Analysis, TooComplexError


class Target(Protocol):
    """Something whose restrictions can be put on a process."""

    @property
    def kind(self) -> str:
        """The word before the colon in ``--target``."""

    @property
    def description(self) -> str:
        """What a sentence calls the filter, such as ``the builtin filter``."""

    def programs(self, profile: Profile) -> tuple[Program, ...]:
        """The filters under a profile, the oldest first."""

    def analysis(self, profile: Profile) -> Analysis:
        """The proof of what the filters return.

        Raises:
            TooComplexError: there is none.
        """

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """What the filters return for a number whatever the arguments.

        None where the arguments matter, or where no proof is to be had.
        """


@dataclass(frozen=True, slots=True)
class StackTarget:
    """A target of known programs.

    Attributes:
        kind: the word before the colon in ``--target``.
        description: what a sentence calls the filter.
        stacks: the filters of each profile, the oldest first.
        big_endian: the byte order of the machine that runs them.
    """

    kind: str
    description: str
    stacks: Mapping[Profile, tuple[Program, ...]]
    big_endian: bool = False
    _analyses: dict[Profile, Analysis | TooComplexError] = field(
        default_factory=dict, repr=False, compare=False
    )

    def programs(self, profile: Profile) -> tuple[Program, ...]:
        """The filters under a profile, the oldest first."""
        return self.stacks[profile]

    def analysis(self, profile: Profile) -> Analysis:
        """The proof of what the filters return; made once.

        Raises:
            TooComplexError: there is none.
        """
        if profile not in self._analyses:
            try:
                found: Analysis | TooComplexError = prover.analyze(
                    self.stacks[profile], big_endian=self.big_endian
                )
            except TooComplexError as error:
                found = error
            self._analyses[profile] = found
        known = self._analyses[profile]
        if isinstance(known, TooComplexError):
            raise known
        return known

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """What the filters return for a number whatever the arguments; None if that is unsure."""
        stack = self.stacks[profile]
        if len(stack) == 1 and bpf.reads_only_number_and_arch(stack[0]):
            data = bpf.SeccompData(number, arch.audit_arch)
            value = bpf.simulate(stack[0], data, big_endian=self.big_endian)
            return FilterReturn.decode(value)
        try:
            possible = self.analysis(profile).returns(arch.audit_arch, number)
        except TooComplexError:
            return None
        return FilterReturn.decode(next(iter(possible))) if len(possible) == 1 else None
