"""What is put to the test: a target gives the filters that confine a probing child."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

from probes.action import FilterReturn, Profile
from probes.arch import Arch
from probes.filters.bpf import Program
from probes.filters.prover import Analysis
from probes.finding import Finding
from probes.instrument import witness
from probes.instrument.calls import Zygote
from probes.instrument.witness import Witness
from probes.targets.stack import FilterStack, Library, Origin, ProgramIdentity
from probes.written import WrittenProfile


@dataclass(frozen=True, slots=True)
class Canary:
    """The call of the controls on an ABI.

    Attributes:
        name: the call.
        number: its number.
        returns: what the confinement does with it: ALLOW stands for all that lets a call through.
    """

    name: str
    number: int
    returns: FilterReturn


class Target(Protocol):
    """Something whose restrictions can be put on a process, or that confines this one already."""

    @property
    def kind(self) -> str:
        """The word before the colon in ``--target``."""

    @property
    def description(self) -> str:
        """What a sentence calls the filter, such as ``the builtin filter``."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be said of the filters besides the verdicts."""

    @property
    def origin(self) -> Origin | None:
        """The container that the filters are from; None where they are from none."""

    @property
    def written(self) -> tuple[WrittenProfile, ...]:
        """The files in which users have said what the filters do; none of what has no file."""

    @property
    def library(self) -> Library | None:
        """The libseccomp that makes the filters; None where none does, or it is not known."""

    @property
    def members(self) -> "tuple[Target, ...]":
        """A target for each stack of filters that confines a part of this one.

        The first one's filters are the target's own, and where there is no other it is the target.
        """

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """What identifies the filters of each profile, the oldest first."""

    @property
    def logged(self) -> tuple[bool, ...]:
        """For each filter, by its place, whether the kernel records all that it does but ALLOW.

        () where that holds for none.
        """

    @property
    def is_ambient(self) -> bool:
        """Whether its filters confine this process already, and nothing is put on probes."""

    @property
    def canaries(self) -> Mapping[str, Canary]:
        """The calls that serve the controls, by the name of each ABI where these are not usual."""

    @property
    def untold(self) -> Mapping[str, str]:
        """Why no verdict is possible, by the name of each ABI that cannot be judged."""

    @property
    def supervised(self) -> str:
        """What shows that somebody may be asked about this process's calls; "" for nothing."""

    @property
    def alone(self) -> bool:
        """Whether nobody is there who could be asked about a call, and have it run."""

    @property
    def witness(self) -> Witness:
        """Tells what the filters do with a call.

        Raises:
            InstrumentError: there is no way to tell.
        """

    def why_unrecorded(self, native: Arch) -> str:
        """Why no audit record can be told to be a probe's; "" where it can.

        Args:
            native: the ABI of the sentinel, whose record ends what was read.
        """

    def open_zygote(self, native: Arch) -> Zygote:
        """Starts the process that makes the calls.

        Args:
            native: the kernel's own ABI.

        Raises:
            InstrumentError: it cannot be started, or cannot witness calls as it could before.
        """

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

    def reworded(self, reword: Callable[[str], str]) -> "Target":
        """The same target with other words about it.

        Args:
            reword: makes a sentence of one that stands here.
        """

    def to_plain(self) -> dict[str, Any]:
        """The target in types that can be sent to another process: a worker judges the same."""


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StackTarget:
    """A target of known programs.

    Attributes:
        kind: the word before the colon in ``--target``.
        stacks: the stack of filters of each profile; they differ in nothing but the programs.
    """

    kind: str
    stacks: Mapping[Profile, FilterStack]

    @property
    def _any(self) -> FilterStack:
        return next(iter(self.stacks.values()))

    @property
    def description(self) -> str:
        """What a sentence calls the filter."""
        return self._any.description

    @property
    def big_endian(self) -> bool:
        """The byte order of the machine that runs the filters."""
        return self._any.big_endian

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be said of the filters besides the verdicts."""
        return self._any.findings

    @property
    def origin(self) -> Origin | None:
        """The container that the filters are from; None where they are from none."""
        return self._any.origin

    @property
    def written(self) -> tuple[WrittenProfile, ...]:
        """The files in which users have said what the filters do."""
        return self._any.written

    @property
    def library(self) -> Library | None:
        """The libseccomp that makes the filters; None where none does, or it is not known."""
        return self._any.library

    @property
    def logged(self) -> tuple[bool, ...]:
        """For each filter, by its place, whether it has SECCOMP_FILTER_FLAG_LOG; () for none."""
        return self._any.logged

    @property
    def is_ambient(self) -> bool:
        """No: each probe is put under the filters."""
        return False

    @property
    def canaries(self) -> Mapping[str, Canary]:
        """None: the usual calls serve."""
        return _NONE

    @property
    def untold(self) -> Mapping[str, str]:
        """None: an ABI that can be entered can be judged."""
        return _NONE

    @property
    def supervised(self) -> str:
        """Nothing."""
        return ""

    @property
    def alone(self) -> bool:
        """Yes: it is this suite that puts up the filters."""
        return True

    @property
    def witness(self) -> Witness:
        """The usual one, which needs no leave of anybody."""
        return witness.MARKER

    @property
    def members(self) -> "tuple[StackTarget, ...]":
        """A target for each stack of filters; they share the findings of the whole."""
        if not self._any.further:
            return (self,)
        parts = {profile: stack.members for profile, stack in self.stacks.items()}
        return tuple(
            replace(
                self,
                stacks={
                    profile: replace(each[place], findings=self.findings)
                    for profile, each in parts.items()
                },
            )
            for place in range(len(self._any.members))
        )

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """What identifies the filters of each profile, the oldest first."""
        return {profile: stack.identities for profile, stack in self.stacks.items()}

    def why_unrecorded(self, native: Arch) -> str:
        """Nothing: a probe has a name by which to find its record."""
        del native
        return ""

    def open_zygote(self, native: Arch) -> Zygote:
        """Starts the process that makes the calls."""
        del native
        return Zygote()

    def programs(self, profile: Profile) -> tuple[Program, ...]:
        """The filters under a profile, the oldest first."""
        return self.stacks[profile].programs

    def analysis(self, profile: Profile) -> Analysis:
        """The proof of what the filters return; made once.

        Raises:
            TooComplexError: there is none.
        """
        return self.stacks[profile].analysis()

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """What the filters return for a number whatever the arguments; None if that is unsure."""
        return self.stacks[profile].predict(arch, number)

    def with_findings(self, *findings: Finding) -> Self:
        """A copy of this target with further findings."""
        return self._of_each(lambda one: replace(one, findings=(*one.findings, *findings)))

    def reworded(self, reword: Callable[[str], str]) -> Self:
        """A copy of this target whose sentences about the filters are reworded."""
        return self._of_each(lambda one: one.reworded(reword))

    def _of_each(self, change: Callable[[FilterStack], FilterStack]) -> Self:
        return replace(
            self, stacks={profile: change(stack) for profile, stack in self.stacks.items()}
        )

    def to_plain(self) -> dict[str, Any]:
        """The target in types that can be sent to another process; see ``from_plain``."""
        return {
            "kind": self.kind,
            "stacks": {profile.value: stack.to_plain() for profile, stack in self.stacks.items()},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The target that ``to_plain`` was given."""
        stacks = {
            Profile(profile): FilterStack.from_plain(stack)
            for profile, stack in plain["stacks"].items()
        }
        return cls(plain["kind"], stacks)
