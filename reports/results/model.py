"""What a record holds: a run, what was asked of what, where, by whom, and what came of it. Pure.

``results.schema.json`` beside this module publishes the shape in which a file holds it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from probes.cell import Cause, Cell, CellKey, Claim, Gap, GapState, Outcome
from probes.deviation import KnownDeviation
from probes.documents.waivers import JudgedWaiver
from probes.errors import InstrumentError
from probes.filters.conditions import Condition
from probes.workload import Survey
from probes.written import WrittenProfile
from reports.results.provenance import RunBy

MAX_NUMBER = 0xFFFFFFFF
"""The highest system call number that seccomp can see (``seccomp_data.nr``, seen unsigned)."""


DECIDED = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.WAIVED, Outcome.ACCEPTED})
"""The outcomes that say whether the claim holds."""

UNDECIDED = frozenset({Outcome.CANNOT_TELL, Outcome.BROKEN})
"""The outcomes that leave open whether the claim holds."""

GAPS_WORST_FIRST = (GapState.OPEN, GapState.UNKNOWN, GapState.CLOSED)
"""The states of a gap in the order in which a reader wants to know about them."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The program that made the record.

    Attributes:
        name: the name of the distribution package.
        version: its version.
    """

    name: str
    version: str

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class CallInfo:
    """A call that the policy documents, with what a reader of a report should know about it.

    Attributes:
        name: what cells call it: its name, and the conditions under which it is restricted.
        family: what it is grouped under.
        description: what the call does.
        why: why it is restricted.
        cves: identifiers of vulnerabilities that went through it.
        attack: identifiers of MITRE ATT&CK techniques that use it.
        obsolete: whether today's kernels have given it up.
        args: the conditions that its arguments meet; all arguments do where there are none.
        errno: the errnos that a refusal may answer; none stands for the profile's own.
        line: where it begins in the policy's file; None where that is not known.
    """

    name: str
    family: str
    description: str
    why: str
    cves: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    obsolete: bool = False
    args: tuple[Condition, ...] = ()
    errno: tuple[str, ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """The policy that was asked for.

    Attributes:
        name: its short name.
        title: its title, for people.
        sha256: the digest of the policy file, 64 lowercase hexadecimal digits.
        calls: what it documents, in its own order.
        families: the order in which a report lists the families of the calls.
        path: the policy file's place in its repository; "" where that is not known.
    """

    name: str
    title: str
    sha256: str
    calls: tuple[CallInfo, ...]
    families: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class TargetProgram:
    """The identity of one filter program of the target.

    Attributes:
        profile: the profile under which it is in force.
        sha256: the digest of its array of ``struct sock_filter``, in this machine's byte order.
        instructions: how many there are.
        stack: which of the target's stacks of filters it is in, counted from 0.
    """

    profile: str
    sha256: str
    instructions: int
    stack: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """The container image that was put to the test.

    Attributes:
        reference: its name, as it was given.
        digest: its content's digest with the algorithm, ``sha256:...``; None where nobody said.
    """

    reference: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """The program that put the filter on, where one did.

    Attributes:
        name: ``runc``, ``docker`` and the like.
        version: what it says of itself.
    """

    name: str
    version: str

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What was put to the test.

    Attributes:
        kind: the sort of target, as in ``--target``.
        description: which one it was.
        findings: advice about the target itself, such as of rules that a profile has in vain; what
            a verdict depends on has a cell of the claim "is all judged".
        programs: its filter programs by profile, the oldest of each first; none where they are
            not to be had.
        image: the container image; None where there is none.
        runtime: what put the filter on; None where the suite did.
        survey: what a whole machine's containers and services came to; None of any other target.
        written: the files in which users have said what the filters do.
    """

    kind: str
    description: str
    findings: tuple[str, ...] = ()
    programs: tuple[TargetProgram, ...] = ()
    image: Image | None = None
    runtime: RuntimeInfo | None = None
    survey: Survey | None = None
    written: tuple[WrittenProfile, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Where audit records came from.

    Attributes:
        source: ``netlink``, another word of ``--audit-source``, or ``none``.
        reason: why this one was used, or why there was none.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Environment:
    """What the verdicts depend on besides the target: the kernel and the suite's own process.

    Attributes:
        kernel: its release and version, as uname(2) says them.
        machine: as uname(2) says it.
        capabilities: ``CapEff`` of proc_pid_status(5), 16 lowercase hexadecimal digits.
        uid: the effective user id.
        no_new_privs: ``NoNewPrivs`` of proc_pid_status(5).
        seccomp: ``Seccomp`` of proc_pid_status(5); None where the kernel does not say.
        seccomp_filters: ``Seccomp_filters`` of it; None where the kernel does not say.
        actions_logged: the words of ``/proc/sys/kernel/seccomp/actions_logged``.
        audit: where audit records came from.
        arches: the ABIs that were asked, in the order in which reports list them.
        shut: the ABIs that this machine may have and by which its kernel cannot be entered, each
            with what happened instead.
        host: the machine's name, as uname(2) says it; None where it was to be left out.
    """

    kernel: str
    machine: str
    capabilities: str
    uid: int
    no_new_privs: bool
    seccomp: int | None
    seccomp_filters: int | None
    actions_logged: tuple[str, ...]
    audit: AuditSource
    arches: tuple[str, ...]
    shut: tuple[tuple[str, str], ...] = ()
    host: str | None = None


class ChangeKind(StrEnum):
    """In which way a cell differs from the same one of an earlier record."""

    WORSE = "worse"
    BETTER = "better"
    OTHER = "other"
    APPEARED = "appeared"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Change:
    """A cell that came to something else than in an earlier record.

    Attributes:
        kind: how it differs.
        key: the cell; the number is that of the newer record where it has the cell.
        before: what it came to then; None where the earlier record does not have it.
        after: what it came to now; None where the newer record does not have it.
        sentence: the newer cell's sentence, the earlier one's where it vanished.
    """

    kind: ChangeKind
    key: CellKey
    before: Outcome | None
    after: Outcome | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """An earlier record that the run was compared with.

    Attributes:
        sha256: the digest of its file.
        started: when that run started, aware, in UTC.
        changes: what differs, in order; cells that came to the same are not among them.
    """

    sha256: str
    started: datetime
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run: what was asked of what, where, when, and every cell that was judged.

    Attributes:
        suite: what made the record.
        policy: what must hold.
        target: what was put to the test.
        environments: where, at least one; a cell says in which one it was judged.
        profiles: the profiles that were asked, in the order in which reports list them.
        started: when, aware, in UTC.
        finished: when, aware, in UTC; of a run that ended before its time, when it last judged.
        planned: how many cells were to be judged.
        selected_of: how many the whole job has; more where the user selected a part of its tests.
        cells: those that were, in any order.
        run_by: who ran it.
        complete: whether it came to its end; False where it was interrupted or killed.
        waivers: the waivers that were given, each with what came of it, in the file's order.
        gaps: the calls beside the policy that were looked at, in any order.
        unreviewed: the documented calls of which it is not known which others give their power,
            sorted.
        baseline: the earlier record and what changed since; None where none was given.
        accept: what runtimes do to every profile and the run accepted, needed or not.
    """

    suite: Suite
    policy: PolicyInfo
    target: TargetInfo
    environments: tuple[Environment, ...]
    profiles: tuple[str, ...]
    started: datetime
    finished: datetime
    planned: int
    selected_of: int
    cells: tuple[Cell, ...]
    run_by: RunBy = field(default_factory=RunBy)
    complete: bool = True
    waivers: tuple[JudgedWaiver, ...] = ()
    gaps: tuple[Gap, ...] = ()
    unreviewed: tuple[str, ...] = ()
    baseline: Baseline | None = None
    accept: tuple[KnownDeviation, ...] = ()

    @property
    def environment(self) -> Environment:
        """The first environment, which is the only one unless records were put together."""
        return self.environments[0]


def sort_key(key: CellKey) -> tuple[Claim, str, str, str, int, str, int]:
    """The order of ``CellKey``, which alone cannot compare a number with the lack of one."""
    number = -1 if key.number is None else key.number
    return (key.claim, key.profile, key.arch, key.syscall, number, key.variant, key.stack)


def in_order(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells in the order in which every record and report lists them."""
    return tuple(sorted(cells, key=lambda cell: (sort_key(cell.key), cell.environment)))


def gap_key(gap: Gap) -> tuple[str, str, str, int, str]:
    """What identifies a gap, in the order in which a report lists them."""
    number = -1 if gap.number is None else gap.number
    return (gap.family, gap.syscall, gap.arch, number, gap.profile)


def gaps_in_order(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """The gaps in the order in which every record and report lists them."""
    return tuple(sorted(gaps, key=gap_key))


def gravest_state(gaps: Iterable[Gap]) -> GapState:
    """Open where it is open anywhere, closed only where it is closed everywhere."""
    return min((gap.state for gap in gaps), key=GAPS_WORST_FIRST.index)


def count_outcomes(cells: Iterable[Cell]) -> dict[Outcome, int]:
    """How many cells came to each outcome; every outcome has an entry."""
    counts = Counter(cell.outcome for cell in cells)
    return {outcome: counts[outcome] for outcome in Outcome}


def describe(key: CellKey) -> str:
    """A cell's key as people say it: ``terminates (kill): acct (163) on x86_64``."""
    number = "no number" if key.number is None else str(key.number)
    which = f", {key.which}" if key.which else ""
    return f"{key.claim} ({key.profile}): {key.syscall} ({number}) on {key.arch}{which}"


def missing(planned: Iterable[CellKey], judged: Iterable[Cell]) -> tuple[Cell, ...]:
    """Gives every planned cell that nobody judged the outcome *broken*.

    Args:
        planned: the keys of the cells that were to be judged.
        judged: the cells that were.

    Returns:
        The broken cells, in order.

    Raises:
        InstrumentError: a cell was planned or judged twice, or judged without being planned.
    """
    plan = _unique(planned, "planned")
    done = _unique((cell.key for cell in judged), "judged")
    if strangers := sorted(done - plan, key=sort_key):
        raise InstrumentError(
            f"{describe(strangers[0])} was judged but never planned"
            f" ({len(strangers)} such): please report this as a bug of the suite"
        )
    return tuple(_never_reported(key) for key in sorted(plan - done, key=sort_key))


def _unique(keys: Iterable[CellKey], verb: str) -> set[CellKey]:
    seen: set[CellKey] = set()
    for key in keys:
        if key in seen:
            raise InstrumentError(
                f"{describe(key)} was {verb} twice: please report this as a bug of the suite"
            )
        seen.add(key)
    return seen


def _never_reported(key: CellKey) -> Cell:
    number = "" if key.number is None else f" ({key.number})"
    part = f" in {key.part}" if key.part else ""
    reason = "the test never reported, because its worker died or the run ended first: run it again"
    return Cell(
        key=key,
        outcome=Outcome.BROKEN,
        cause=Cause.INSTRUMENT,
        sentence=f"{key.syscall}{number} on {key.arch}{part}: {reason}",
        reason=reason,
        expected="a verdict",
        observed="none",
    )
