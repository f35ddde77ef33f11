"""Judges a filter with planted mistakes, while something befalls its source of audit records.

Each claim about records is made of a call whose filter is right and of one or two whose filter is
wrong, so that a source that loses records, or brings others', could make either verdict wrong.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit import trail
from probes.audit.collector import Batch, Collector
from probes.audit.trail import AuditTrail, Sentinel, emit_and_read
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.documents.policy import Policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument.calls import Zygote
from probes.judging.examiner import Examiner
from probes.judging.plan import Case
from probes.targets import StackTarget
from probes.targets.stack import FilterStack

NATIVE: Final = arch.of_this_process()[0]
RIGHT: Final = "acct"
OPENED: Final = "mount"
OTHERWISE: Final = "swapon"
SENTINEL: Final = Sentinel(NATIVE, arch.canary(NATIVE)[1])
POLICY: Final[Policy] = policy.load(DEFAULT_POLICY, arch.all_names())

Name = tuple[Claim, str]
"""A cell: its claim and its call."""

EXPECTED: Final[Mapping[Name, Outcome]] = MappingProxyType(
    {
        (Claim.IS_REPORTED, RIGHT): Outcome.PASSED,
        (Claim.IS_REPORTED, OPENED): Outcome.FAILED,
        (Claim.IS_REPORTED, OTHERWISE): Outcome.FAILED,
        (Claim.IS_SILENT, RIGHT): Outcome.PASSED,
        (Claim.IS_SILENT, OTHERWISE): Outcome.FAILED,
        (Claim.IS_RECORDED, RIGHT): Outcome.PASSED,
        (Claim.IS_RECORDED, OPENED): Outcome.FAILED,
        (Claim.IS_RECORDED, OTHERWISE): Outcome.FAILED,
    }
)
"""What an undisturbed run comes to."""


class Moment(StrEnum):
    """Which record was written, and not read yet, when something happens."""

    NEEDED = "a record that must be there"
    FORBIDDEN = "a record that must not"


MOMENTS: Final[Mapping[Moment, Name]] = MappingProxyType(
    {
        Moment.NEEDED: (Claim.IS_REPORTED, RIGHT),
        Moment.FORBIDDEN: (Claim.IS_SILENT, OTHERWISE),
    }
)
"""The cells at which something happens: the loss of such a record may make either verdict wrong."""

_PROFILES: Final = {
    Claim.IS_REPORTED: Profile.KILL,
    Claim.IS_SILENT: Profile.ERRNO,
    Claim.IS_RECORDED: Profile.LOG,
}
_OTHER: Final = {
    Profile.KILL: FilterReturn(Action.KILL_THREAD),
    Profile.ERRNO: Profile.ERRNO.returns,
    Profile.LOG: FilterReturn(Action.KILL_PROCESS),
}
"""What the filter does at the call for which it does something else than it must."""


def _program(call: str, returns: FilterReturn) -> Program:
    """A filter with a rule for one call."""
    allow = FilterReturn(Action.ALLOW).value
    rules = bpf.ranges({NATIVE.numbers[call]}, returns.value, allow)
    return bpf.dispatch({NATIVE.audit_arch: rules}, allow)


def _stack(profile: Profile) -> FilterStack:
    """The filters of a profile: the one that does something else records even denials."""
    programs = (_program(RIGHT, profile.returns), _program(OTHERWISE, _OTHER[profile]))
    return FilterStack("the filter", programs, NATIVE, logged=(False, True))


def case_of(name: Name) -> Case:
    """The case that judges a cell."""
    claim, call = name
    profile = _PROFILES[claim]
    key = CellKey(claim, profile.value, NATIVE.name, call, NATIVE.numbers[call])
    return Case(claim, NATIVE, (key,), profile)


class DisturbedTrail(AuditTrail):
    """A trail to whose source something happens between a call and its sentinel."""

    due: Callable[[], object] | None = None
    waited: float = 0.0

    def read(self, zygote: Zygote, sentinel: Sentinel) -> Batch | None:
        """Has it happen, and reads on."""
        if self.due is not None:
            due, self.due = self.due, None
            due()
        before = time.monotonic()
        batch = super().read(zygote, sentinel)
        if batch is not None and batch.overdue:
            self.waited += time.monotonic() - before
        return batch


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run came to.

    Attributes:
        cells: the cells.
        waited: the seconds for which sentinels were waited for in vain.
    """

    cells: Mapping[Name, Cell]
    waited: float


def settled(zygote: Zygote, collector: Collector) -> None:
    """Reads canaries until one's batch is complete, as a run does at its start."""
    reason = ""
    for _ in range(2 * trail.CANARIES):
        batch = emit_and_read(
            zygote, collector, trail.CANARY_DEADLINE_SECONDS, SENTINEL, zygote.nonce()
        )
        if batch.complete:
            return
        reason = batch.reason
    raise AssertionError(f"no canary arrived: {reason}")


def judged(
    zygote: Zygote,
    opened: Callable[[], Collector],
    *,
    begin: Callable[[], object] = lambda: None,
    fault: Callable[[], object] = lambda: None,
    at: Name | None = None,
) -> Judged:
    """The cells of the filter, by a source that is opened for them.

    Args:
        zygote: makes the calls.
        opened: opens the source.
        begin: what happens to the source once a canary's record has arrived.
        fault: what happens to the source.
        at: the cell whose calls were made by then, and whose records were not read.
    """
    with contextlib.closing(opened()) as collector:
        settled(zygote, collector)
        begin()
        return examined(zygote, collector, fault=fault, at=at)


def examined(
    zygote: Zygote,
    collector: Collector,
    *,
    fault: Callable[[], object] = lambda: None,
    at: Name | None = None,
    each: bool = False,
) -> Judged:
    """The cells of the filter, judged one after the other.

    Args:
        zygote: makes the calls.
        collector: reads the records, and has read a canary's.
        fault: as for ``judged``.
        at: the cell whose calls were made by then, and whose records were not read.
        each: whether it happens at every cell.
    """
    # A run has a canary's record, which says so.
    read = DisturbedTrail(collector, "a canary's record arrived", pids_agree=True)
    target = StackTarget("test", {profile: _stack(profile) for profile in Profile})
    examiner = Examiner(zygote, target, POLICY, (NATIVE,), read)
    cells = {}
    for name in EXPECTED:
        read.due = fault if each or name == at else None
        (cells[name],) = examiner.examine([case_of(name)])
    return Judged(cells, read.waited)


def errors(cells: Mapping[Name, Cell]) -> list[str]:
    """The verdicts that are wrong: a source may leave a cell undecided, if it says why."""
    return [
        f"{' '.join(name)}: {cell.outcome}, not {EXPECTED[name]}: {cell.sentence}"
        for name, cell in cells.items()
        if cell.outcome is not EXPECTED[name]
        if cell.outcome not in {Outcome.BROKEN, Outcome.CANNOT_TELL} or not cell.reason
    ]
