"""A stack of filters: what confines a process, as any kind of target is opened to it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from probes import arch
from probes.action import FilterReturn
from probes.arch import Arch
from probes.environment import user_space
from probes.filters import bpf, pointer, prover
from probes.filters.bpf import Program
from probes.filters.prover import Analysis, TooComplexError
from probes.finding import Finding
from probes.written import WrittenProfile

LOG_FLAG: Final = "SECCOMP_FILTER_FLAG_LOG"
"""The flag of seccomp(2) by which the kernel records all that a filter does but ALLOW."""


@dataclass(frozen=True, slots=True)
class ProgramIdentity:
    """The identity of a filter program, which tells it from every other.

    Attributes:
        sha256: of the array of ``struct sock_filter``, in the byte order of its machine; so that
            of the file of ``bpf:FILE``.
        instructions: how many there are.
    """

    sha256: str
    instructions: int


@dataclass(frozen=True, slots=True)
class Library:
    """The libseccomp that makes a target's filters.

    Attributes:
        version: its release.
        lacking: by the ABI's name, the numbers of calls for which it makes no rule, because it does
            not know them there.
    """

    version: str
    lacking: Mapping[str, frozenset[int]]

    def to_plain(self) -> list[Any]:
        """The library in types that can be sent to another process; see ``from_plain``."""
        return [self.version, {name: sorted(numbers) for name, numbers in self.lacking.items()}]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Self:
        """The library that ``to_plain`` was given."""
        version, lacking = plain
        return cls(version, {name: frozenset(numbers) for name, numbers in lacking.items()})


@dataclass(frozen=True, slots=True)
class Origin:
    """The container from which filters were read.

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

    def to_plain(self, *, big_endian: bool) -> list[Any]:
        """The origin in types that can be sent to another process; see ``from_plain``."""
        executed = self.executed
        told = [self.runtime, self.version, self.subject, self.digest]
        raw = None if executed is None else _raw(executed, big_endian=big_endian)
        return [*told, raw, list(self.executed_logged)]

    @classmethod
    def from_plain(cls, plain: Sequence[Any], *, big_endian: bool) -> Self:
        """The origin that ``to_plain`` was given."""
        runtime, version, subject, digest, raw, flags = plain
        executed = None if raw is None else _programs(raw, big_endian=big_endian)
        return cls(runtime, version, subject, digest, executed, tuple(flags))


@dataclass(frozen=True, slots=True)
class FilterStack:
    """Filters that confine a process together.

    A target whose processes or threads are not all confined alike has a stack for each group of
    them: one stands here, and the others are ``further``.

    Attributes:
        description: what a sentence calls the target.
        programs: the filters, the oldest first, each as ``bpf.check`` accepts it; none of what is
            not confined.
        native: the native ABI of the machine that runs them, and so their byte order.
        findings: what is to be said of the target besides what the filters return.
        origin: the container that the filters are from; None where they are from none.
        logged: for each filter, by its place, whether it is installed with
            SECCOMP_FILTER_FLAG_LOG; () where none is.
        first: what a sentence calls the part of the target that these filters confine; "" where
            they confine all of it.
        further: the other parts, each with the filters that confine it.
        written: the files in which users have said what the filters do.
        library: the libseccomp that makes the filters; None where none does, or it is not known.
    """

    description: str
    programs: tuple[Program, ...]
    native: Arch
    findings: tuple[Finding, ...] = ()
    origin: Origin | None = None
    logged: tuple[bool, ...] = ()
    first: str = ""
    further: "tuple[FilterStack, ...]" = ()
    written: tuple[WrittenProfile, ...] = ()
    library: Library | None = None
    _analyses: list[Analysis | TooComplexError] = field(
        default_factory=list, repr=False, compare=False
    )
    """The proof, once it was made; a copy with other findings shares it, for it is costly."""
    _regardless: list[bool] = field(default_factory=list, repr=False, compare=False)
    """Whether one program alone decides, and on nothing but number and architecture."""

    @property
    def big_endian(self) -> bool:
        """The byte order of the machine that runs the filters."""
        return self.native.big_endian

    @property
    def members(self) -> "tuple[FilterStack, ...]":
        """Each part of the target by itself; the findings stand with the first."""
        if not self.further:
            return (self,)
        return (replace(self, description=self.first, first="", further=()), *self.further)

    @property
    def identities(self) -> tuple[ProgramIdentity, ...]:
        """The identity of each filter, the oldest first."""
        return tuple(
            ProgramIdentity(hashlib.sha256(raw).hexdigest(), len(program))
            for raw, program in zip(
                _raw(self.programs, big_endian=self.big_endian), self.programs, strict=True
            )
        )

    def analysis(self) -> Analysis:
        """The proof of what the filters return; made once.

        Raises:
            TooComplexError: there is none.
        """
        if not self._analyses:
            try:
                self._analyses.append(analyzed(self.programs, big_endian=self.big_endian))
            except TooComplexError as error:
                self._analyses.append(error)
        (known,) = self._analyses
        if isinstance(known, TooComplexError):
            raise known
        return known

    def predict(self, where: Arch, number: int) -> FilterReturn | None:
        """What the filters return for a number whatever the arguments; None if that is unsure."""
        if not self._regardless:
            alone = len(self.programs) == 1 and bpf.reads_only_number_and_arch(self.programs[0])
            self._regardless.append(alone)
        if self._regardless[0]:
            data = bpf.SeccompData(number, where.audit_arch)
            value = bpf.simulate(self.programs[0], data, big_endian=self.big_endian)
            return FilterReturn.decode(value)
        try:
            possible = self.analysis().returns(where.audit_arch, number)
        except TooComplexError:
            return None
        return FilterReturn.decode(next(iter(possible))) if len(possible) == 1 else None

    def reworded(self, reword: Callable[[str], str]) -> "FilterStack":
        """The same filters with other words about them.

        Args:
            reword: makes a sentence of one that stands here.
        """
        return replace(
            self,
            description=reword(self.description),
            findings=tuple(replace(one, text=reword(one.text)) for one in self.findings),
            first=reword(self.first),
            further=tuple(one.reworded(reword) for one in self.further),
            written=tuple(replace(one, path=reword(one.path)) for one in self.written),
        )

    def to_plain(self) -> dict[str, Any]:
        """The stack in types that can be sent to another process; see ``from_plain``."""
        big_endian, origin = self.big_endian, self.origin
        return {
            "description": self.description,
            "programs": _raw(self.programs, big_endian=big_endian),
            "native": self.native.name,
            "findings": [one.to_plain() for one in self.findings],
            "origin": None if origin is None else origin.to_plain(big_endian=big_endian),
            "logged": list(self.logged),
            "first": self.first,
            "further": [one.to_plain() for one in self.further],
            "written": [one.to_plain() for one in self.written],
            "library": None if self.library is None else self.library.to_plain(),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The stack that ``to_plain`` was given."""
        native, origin = arch.get(plain["native"]), plain["origin"]
        library = plain["library"]
        big_endian = native.big_endian
        return cls(
            description=plain["description"],
            programs=_programs(plain["programs"], big_endian=big_endian),
            native=native,
            findings=tuple(map(Finding.from_plain, plain["findings"])),
            origin=None if origin is None else Origin.from_plain(origin, big_endian=big_endian),
            logged=tuple(plain["logged"]),
            first=plain["first"],
            further=tuple(map(cls.from_plain, plain["further"])),
            written=tuple(map(WrittenProfile.from_plain, plain["written"])),
            library=None if library is None else Library.from_plain(library),
        )


def analyzed(programs: Sequence[Program], *, big_endian: bool) -> Analysis:
    """The proof of what filters return for every call that a process can make.

    Raises:
        TooComplexError: there is none.
    """
    analysis = prover.analyze(programs, big_endian=big_endian)
    if any(map(bpf.reads_pointer, programs)):
        return analysis.met_from(pointer.possible(analysis.tokens(), user_space()))
    return analysis


def _raw(programs: Sequence[Program], *, big_endian: bool) -> list[bytes]:
    return [bpf.to_bytes(program, big_endian=big_endian) for program in programs]


def _programs(raw: Sequence[bytes], *, big_endian: bool) -> tuple[Program, ...]:
    return tuple(bpf.from_bytes(one, big_endian=big_endian) for one in raw)
