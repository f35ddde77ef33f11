"""The calls that a case makes, and the function that turns their results into cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from probes.action import Profile
from probes.arch import Arch
from probes.audit.collector import Batch
from probes.cell import Cell, CellKey
from probes.instrument.calls import Observation, Request, Route
from probes.instrument.witness import Attempt
from probes.judging.needed_calls import Way
from probes.judging.plan import Case, Scope


class Role(Enum):
    """The purposes of calls in a ``Sighting``."""

    WITNESSED = auto()
    UNREAD = auto()
    PLAIN = auto()
    FREE = auto()
    CONTROL = auto()
    OWN = auto()
    """A call without the filter under test, to see what this process's own confinement answers."""
    OWN_BELOW = auto()
    """A harmless call without the filter under test, to see what is answered below a kill."""
    ASKING = auto()


@dataclass(frozen=True, slots=True)
class Try:
    """One child for a cell: its purpose, its calls and filters, and who makes the calls."""

    role: Role
    attempt: Attempt
    route: Route


UNDER_TEST = frozenset({Role.WITNESSED, Role.UNREAD, Role.PLAIN, Role.FREE})
"""The calls that are made under the filters under test."""

MAY_RUN = frozenset({Role.FREE, Role.CONTROL, Role.OWN_BELOW})
"""The calls that the kernel may run."""


def by_role(
    tries: Sequence[Try], seen: Sequence[Observation]
) -> dict[Role, tuple[Observation, ...]]:
    """The observations by the purpose of their calls."""
    pairs = list(zip(tries, seen, strict=True))
    return {role: tuple(made for one, made in pairs if one.role is role) for role in Role}


@dataclass(slots=True)
class Inquiry:
    """The requests of one case, and the function that turns their results into cells.

    Attributes:
        case: the case to judge.
        requests: the children that it takes.
        nonces: their names, by which their records are known.
        vouchers: the names of children whose known filter leaves a record, each with its ABI,
            number and code.
        vouched: whether these children could be made: a confinement may keep them from it.
        needs_records: whether the audit trail is read.
        is_open: whether it was a first attempt and a record was missing, or a call was let through
            and it was not tried if somebody is asked about it: try again.
        again: whether this is another attempt, which tries all that ``is_open`` names.
        judge: makes the cells.
    """

    case: Case
    again: bool = False
    requests: list[Request] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)
    vouchers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    vouched: bool = True
    needs_records: bool = False
    is_open: bool = False
    judge: Callable[[Sequence[Sequence[Observation]], Batch | None], list[Cell]] | None = None


def is_by_exec(case: Case) -> bool:
    """Whether the case is about what a runtime's exec starts."""
    return case.cells[0].variant == Way.RUNTIME_EXEC


def entry(arch: Arch) -> str:
    """The name of an ABI's entry, as a request to the zygote has it."""
    return arch.entry.name.lower()


def is_absent(case: Case) -> bool:
    """Whether a documented call has no number on the case's ABI."""
    key = case.cells[0]
    return key.number is None and key.syscall not in {scope.value for scope in Scope}


def number_of(key: CellKey) -> int:
    """The number of a cell that has one."""
    if key.number is None:
        raise ValueError(f"{key} has no number to call")
    return key.number


def profile_of(case: Case) -> Profile:
    """The profile of a case that has one."""
    if case.profile is None:
        raise ValueError(f"{case.id} has no profile")
    return case.profile
