"""What an examination of a machine's audit found. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import FilterReturn, Profile
from probes.errors import ExitStatus
from probes.finding import Finding


class Seen(StrEnum):
    """What a collector showed of a canary."""

    RECORDED = "recorded"
    NONE = "no record"
    UNKNOWN = "cannot tell"


class State(StrEnum):
    """How a collector came out of the examination."""

    WORKS = "works"
    FAILS = "does not work"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class CanaryKind:
    """A call that is made under a known filter, to see whether it leaves a record.

    Attributes:
        profile: the profile that the filter is of.
        returns: what the filter returns for the call.
        logged: whether the filter has SECCOMP_FILTER_FLAG_LOG.
        promised: what the profile promises of such a call; ``UNKNOWN`` where it promises nothing.
    """

    profile: Profile
    returns: FilterReturn
    logged: bool
    promised: Seen

    @property
    def name(self) -> str:
        """The action in words."""
        flag = " with SECCOMP_FILTER_FLAG_LOG" if self.logged else ""
        return f"{self.returns.action.name}{flag}"


_ERRNO: Final = Profile.ERRNO.returns

CANARIES: Final = (
    CanaryKind(Profile.KILL, Profile.KILL.returns, logged=False, promised=Seen.RECORDED),
    CanaryKind(Profile.ERRNO, _ERRNO, logged=False, promised=Seen.NONE),
    CanaryKind(Profile.ERRNO, _ERRNO, logged=True, promised=Seen.UNKNOWN),
    CanaryKind(Profile.LOG, Profile.LOG.returns, logged=False, promised=Seen.RECORDED),
)
"""Every canary, in the order in which they are made."""


@dataclass(frozen=True, slots=True)
class ExaminedCollector:
    """What became of one collector.

    Attributes:
        source: its word for ``--audit-source``.
        state: whether it brings records here.
        reason: why it does not, or was not tried, with what would mend it; "" where it works.
        seen: what it showed of each canary, by the canary's name.
    """

    source: str
    state: State
    reason: str
    seen: Mapping[str, Seen]


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Attributes:
        kernel: the release and the machine's name of the kernel.
        profiles: the profiles that were asked about.
        collectors: what became of each collector.
        findings: what of the kernel, and of this process, decides about records; those with a
            weight stand in the way of some.
        faults: why canaries could not be made, by their names.
    """

    kernel: str
    profiles: tuple[Profile, ...]
    collectors: tuple[ExaminedCollector, ...]
    findings: tuple[Finding, ...]
    faults: Mapping[str, str]

    @property
    def canaries(self) -> tuple[CanaryKind, ...]:
        """The canaries of these profiles."""
        return tuple(one for one in CANARIES if one.profile in self.profiles)

    def seen(self, canary: CanaryKind) -> Seen:
        """What the collectors together showed of a canary: a record that one brings exists."""
        shown = {one.seen.get(canary.name, Seen.UNKNOWN) for one in self.collectors}
        found = (one for one in (Seen.RECORDED, Seen.NONE) if one in shown)
        return next(found, Seen.UNKNOWN)

    def seen_by(self, canary: CanaryKind) -> tuple[str, ...]:
        """The collectors that showed what all together showed; none where nothing was shown."""
        found = self.seen(canary)
        if found is Seen.UNKNOWN:
            return ()
        return tuple(one.source for one in self.collectors if one.seen.get(canary.name) is found)

    def is_kept(self, profile: Profile) -> bool:
        """Whether what a profile promises about records would be seen here."""
        return all(
            one.promised in {Seen.UNKNOWN, self.seen(one)}
            for one in CANARIES
            if one.profile is profile
        )

    @property
    def unkept(self) -> tuple[Profile, ...]:
        """The profiles of whose records not all would be seen as promised."""
        return tuple(one for one in self.profiles if not self.is_kept(one))

    @property
    def status(self) -> ExitStatus:
        """The exit status of ``syscall-conformance audit``."""
        return ExitStatus.CANNOT_TELL if self.unkept else ExitStatus.CONFORMANT
