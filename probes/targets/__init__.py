"""What is put to the test: a target gives the filters that confine a probing child."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from probes.action import FilterReturn, Profile
from probes.arch import Arch
from probes.environment import user_space
from probes.filters import bpf, pointer, prover
from probes.filters.bpf import Program
from probes.filters.prover import Analysis, TooComplexError
from probes.finding import Finding


@dataclass(frozen=True, slots=True)
class ProgramIdentity:
    """What tells one program from every other.

    Attributes:
        sha256: of the array of ``struct sock_filter``, in the byte order of its machine; so that
            of the file of ``bpf:FILE``.
        instructions: how many there are.
    """

    sha256: str
    instructions: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The container that filters are from.

    Attributes:
        runtime: its runtime, by the word in ``--target``.
        version: the runtime's version.
        subject: the image, the bundle or the root file system, as the user names it.
        digest: the digest of the image; "" where there is no image.
        executed: the filters of a process that the runtime's exec started there, the oldest first;
            None where it has no exec.
        executed_logged: for each of these whether it has SECCOMP_FILTER_FLAG_LOG; () where none
            has.
    """

    runtime: str
    version: str
    subject: str
    digest: str
    executed: tuple[Program, ...] | None
    executed_logged: tuple[bool, ...] = ()


def analyzed(programs: Sequence[Program], *, big_endian: bool) -> Analysis:
    """The proof of what filters return for every call that a process can make.

    Raises:
        TooComplexError: there is none.
    """
    analysis = prover.analyze(programs, big_endian=big_endian)
    if any(map(bpf.reads_pointer, programs)):
        return analysis.met_from(pointer.possible(analysis.tokens(), user_space()))
    return analysis


class Target(Protocol):
    """Something whose restrictions can be put on a process."""

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
    def members(self) -> "tuple[Target, ...]":
        """A target for each stack of filters that confines a part of this one.

        The first one's filters are the target's own, and where there is no other it is the target.
        """

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """What identifies the filters of each profile, the oldest first."""

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
        stacks: the filters of each profile, the oldest first; none of what is not confined.
        big_endian: the byte order of the machine that runs them.
        findings: what is to be said of the filters besides the verdicts.
        origin: the container that the filters are from; None where they are from none.
        logged: for each filter of a stack, by its place, whether it is installed with
            SECCOMP_FILTER_FLAG_LOG, so that the kernel records all that it does but ALLOW; () where
            none is.
        first: what a sentence calls the part that these filters confine; "" where they confine
            all of the target.
        further: the other parts, each with the filters that confine it.
    """

    kind: str
    description: str
    stacks: Mapping[Profile, tuple[Program, ...]]
    big_endian: bool = False
    findings: tuple[Finding, ...] = ()
    origin: Origin | None = None
    logged: tuple[bool, ...] = ()
    first: str = ""
    further: "tuple[StackTarget, ...]" = ()
    _analyses: dict[Profile, Analysis | TooComplexError] = field(
        default_factory=dict, repr=False, compare=False
    )
    _regardless: dict[Profile, bool] = field(default_factory=dict, repr=False, compare=False)
    """Whether one program alone decides, and on nothing but number and architecture."""

    def programs(self, profile: Profile) -> tuple[Program, ...]:
        """The filters under a profile, the oldest first."""
        return self.stacks[profile]

    @property
    def members(self) -> "tuple[StackTarget, ...]":
        """A target for each stack of filters; they share the findings of the whole."""
        if not self.further:
            return (self,)
        # It shares the analyses, which are costly, with the whole.
        first = replace(self, description=self.first, first="", further=())
        return (first, *(replace(one, findings=self.findings) for one in self.further))

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """What identifies the filters of each profile, the oldest first."""
        return {
            profile: tuple(
                ProgramIdentity(hashlib.sha256(raw).hexdigest(), len(program))
                for raw, program in zip(self._raw(profile), stack, strict=True)
            )
            for profile, stack in self.stacks.items()
        }

    def _raw(self, profile: Profile) -> list[bytes]:
        return [
            bpf.to_bytes(program, big_endian=self.big_endian) for program in self.stacks[profile]
        ]

    def _plain_origin(self) -> list[Any] | None:
        one = self.origin
        if one is None:
            return None
        executed = None
        if one.executed is not None:
            executed = [bpf.to_bytes(made, big_endian=self.big_endian) for made in one.executed]
        told = [one.runtime, one.version, one.subject, one.digest]
        return [*told, executed, list(one.executed_logged)]

    def to_plain(self) -> dict[str, Any]:
        """The target in types that can be sent to another process; see ``from_plain``."""
        return {
            "kind": self.kind,
            "description": self.description,
            "stacks": {profile.value: self._raw(profile) for profile in self.stacks},
            "big_endian": self.big_endian,
            "findings": [one.to_plain() for one in self.findings],
            "origin": self._plain_origin(),
            "logged": list(self.logged),
            "first": self.first,
            "further": [one.to_plain() for one in self.further],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The target that ``to_plain`` was given."""
        big_endian = plain["big_endian"]
        stacks = {
            Profile(profile): tuple(bpf.from_bytes(raw, big_endian=big_endian) for raw in stack)
            for profile, stack in plain["stacks"].items()
        }
        origin = None
        if plain["origin"] is not None:
            runtime, version, subject, digest, raw, flags = plain["origin"]
            executed = None
            if raw is not None:
                executed = tuple(bpf.from_bytes(made, big_endian=big_endian) for made in raw)
            origin = Origin(runtime, version, subject, digest, executed, tuple(flags))
        findings = tuple(map(Finding.from_plain, plain["findings"]))
        return cls(
            kind=plain["kind"],
            description=plain["description"],
            stacks=stacks,
            big_endian=big_endian,
            findings=findings,
            origin=origin,
            logged=tuple(plain["logged"]),
            first=plain["first"],
            further=tuple(map(cls.from_plain, plain["further"])),
        )

    def analysis(self, profile: Profile) -> Analysis:
        """The proof of what the filters return; made once.

        Raises:
            TooComplexError: there is none.
        """
        if profile not in self._analyses:
            try:
                found: Analysis | TooComplexError = analyzed(
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
        if profile not in self._regardless:
            alone = len(stack) == 1 and bpf.reads_only_number_and_arch(stack[0])
            self._regardless[profile] = alone
        if self._regardless[profile]:
            data = bpf.SeccompData(number, arch.audit_arch)
            value = bpf.simulate(stack[0], data, big_endian=self.big_endian)
            return FilterReturn.decode(value)
        try:
            possible = self.analysis(profile).returns(arch.audit_arch, number)
        except TooComplexError:
            return None
        return FilterReturn.decode(next(iter(possible))) if len(possible) == 1 else None
