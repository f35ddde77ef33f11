"""The vocabulary of a verdict: claims, outcomes, causes, evidence, cells, and gaps of a policy.

A cell is the unit that is planned, judged, counted and reported: one claim about one number of
one ABI under one profile. ``reports/results/results.schema.json`` publishes the same shape for
readers of ``results.json``.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import FilterReturn
from probes.text import spelled


class Claim(StrEnum):
    """The claims of the document; each is one parametrized test function."""

    CONTROLS = "controls"
    TERMINATES = "terminates"
    ENDS_EVERY_THREAD = "ends every thread"
    IS_REPORTED = "is reported"
    DENIES = "denies"
    IS_SILENT = "is silent"
    RUNS = "runs"
    IS_RECORDED = "is recorded"
    LEAVES_THE_REST_ALONE = "leaves the rest alone"
    DEFAULT_ACTION = "default action"
    IS_INHERITED = "is inherited"
    IS_PROVED = "is proved"
    IS_ALL_JUDGED = "is all judged"


class Outcome(StrEnum):
    """The verdict on a cell."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot_tell"
    NOT_APPLICABLE = "not_applicable"
    WAIVED = "waived"
    ACCEPTED = "accepted"
    BROKEN = "broken"


FORGIVEN: Final = frozenset({Outcome.WAIVED, Outcome.ACCEPTED})
"""The outcomes of failures that somebody puts up with: they fail no run, and pass no claim."""

NOT_HOLDING: Final = FORGIVEN | {Outcome.FAILED}
"""The outcomes of a claim that does not hold, whether or not somebody has accepted that."""


class Cause(StrEnum):
    """The reason for an outcome, by kind, for programs that read results."""

    FILTER = "filter"
    CAPABILITY = "capability"
    LSM = "lsm"
    NOT_IMPLEMENTED = "not implemented"
    ARCHITECTURE = "architecture"
    KERNEL_CONFIGURATION = "kernel configuration"
    PRIVILEGE = "privilege"
    INSTRUMENT = "instrument"
    TARGET = "target"


class EvidenceKind(StrEnum):
    """The kinds of evidence: the kernel's behavior, an audit record, an analysis of the program."""

    OBSERVED = "observed"
    RECORDED = "recorded"
    PROVED = "proved"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence.

    Attributes:
        kind: the kind of evidence.
        source: its origin: ``witness``, ``control``, ``netlink``, ``auditd``, ``simulation``.
        text: the evidence itself, in one line.
    """

    kind: EvidenceKind
    source: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class CellKey:
    """What identifies a cell; keys sort in the order in which a report lists them.

    Attributes:
        claim: the claim that is judged.
        profile: ``kill``, ``errno`` or ``log``; ``none`` for the controls.
        arch: the ABI's name, as in ``probes.arch``.
        syscall: the call's name; ``unknown`` for a number that no table knows.
        number: the number as seccomp sees it (x32 with its bit); None where the ABI has none.
        variant: tells apart cells that are otherwise alike (``fork``, ``execve``...); may be "".
        stack: which of the target's stacks of filters is judged, counted from 0; more than one
            where parts of it, such as threads, are confined by others.
    """

    claim: Claim
    profile: str
    arch: str
    syscall: str
    number: int | None
    variant: str = ""
    stack: int = 0

    @property
    def part(self) -> str:
        """The stack in words, counted from 1; "" for the first, which needs none."""
        return f"stack {self.stack + 1}" if self.stack else ""

    @property
    def which(self) -> str:
        """What tells the cell apart besides its call and ABI: variant and stack, in words."""
        return ", ".join(filter(None, (self.variant, self.part)))


def call_words(key: CellKey) -> str:
    """A cell's call with its number and ABI: ``acct (163) on x86_64``."""
    number = "" if key.number is None else f" ({spelled(key.number)})"
    return f"{key.syscall}{number} on {key.arch}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A judged cell.

    Attributes:
        key: the identity of the cell.
        outcome: the verdict.
        cause: the kind of reason for the outcome; None for a plain pass.
        sentence: the verdict as one sentence for people.
        expected: what the claim asks for, in a few words.
        observed: what was seen, in a few words.
        evidence: the evidence for the verdict.
        reason: the verdict's reason without the words that name the cell, so that cells with the
            same reason can be grouped; "" where only the sentence gives it.
        by_program: whether the outcome rests on an analysis of the filter program, because the
            kernel's behavior alone would not have shown it.
        waiver: for *waived*, which of the run's waivers accepts the failure, counted from 0.
        environment: which of the record's environments it was judged in, counted from 0.
        returned: for a claim that does not hold, what the filter returned for the call, as the
            kernel showed it or as the program says; ALLOW also where LOG looks the same. None
            where it is not known, and for every other outcome.
        deviations: for a failure, accepted or not, that is exactly what runtimes do to every
            profile, the names of ``probes.deviation`` that together explain it.
    """

    key: CellKey
    outcome: Outcome
    cause: Cause | None
    sentence: str
    expected: str
    observed: str
    evidence: tuple[Evidence, ...] = ()
    waiver: int | None = None
    environment: int = 0
    reason: str = ""
    by_program: bool = False
    returned: FilterReturn | None = None
    deviations: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The reason; the whole sentence where no reason stands apart."""
        return self.reason or self.sentence


class GapState(StrEnum):
    """Whether a call that the policy does not name gets through."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Gap:
    """A call that gives the power of a documented one, and is not documented itself.

    Attributes:
        family: the policy's group of the documented call.
        syscall: the call that is not documented; for a multiplexer its name and the operation.
        arch: the ABI's name, as in ``probes.arch``.
        number: the number as seccomp sees it; None where the ABI has none.
        profile: the profile under which it was looked at.
        documented: the documented calls whose power it has.
        state: whether it gets through.
        sentence: what was found, as one sentence for people.
        evidence: what that rests on.
        reason: what was found, without the words that name the call; "" where only the sentence
            says it.
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
