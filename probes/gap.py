"""The vocabulary of the gaps of a policy: calls that it leaves out and that give the same power."""

from dataclasses import dataclass
from enum import StrEnum

from probes.cell import Evidence


class GapState(StrEnum):
    """Whether a call that the policy does not name gets through."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Gap:
    """A call that gives the power of a documented one, and is not documented itself.

    Attributes:
        family: what the policy groups the documented call under.
        syscall: the call that is not documented; for a multiplexer its name and the operation.
        arch: the ABI's name, as in ``probes.arch``.
        number: the number as seccomp sees it; None where the ABI has none.
        profile: the profile under which it was looked at.
        documented: the documented calls whose power it has.
        state: whether it gets through.
        sentence: what was found, as one sentence for people.
        evidence: what that rests on.
        reason: what was found, without the words that only name the call; "" where the sentence
            alone says it.
    """

    family: str
    syscall: str
    arch: str
    number: int | None
    profile: str
    documented: tuple[str, ...]
    state: GapState
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""

    @property
    def why(self) -> str:
        """The reason; the whole sentence where no reason stands apart."""
        return self.reason or self.sentence
