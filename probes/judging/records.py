"""The audit records of a case: waits for them, finds whose they are and why one may be missing."""

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch, canary
from probes.audit.collector import Batch
from probes.audit.record import SeccompRecord
from probes.audit.trail import Sentinel
from probes.cell import Cause, CellKey
from probes.instrument import witness
from probes.instrument.calls import Call, Request
from probes.judging import calibration, under_test
from probes.judging.inquiry import Inquiry, entry, is_by_exec
from probes.judging.plan import Case
from probes.judging.setup import Setup
from probes.judging.sighting import Trail
from probes.targets import Target
from probes.targets.confinement import Confinement

_RECORDED_ACTIONS = frozenset({Action.KILL_PROCESS, Action.KILL_THREAD, Action.LOG})
"""The actions recorded without SECCOMP_FILTER_FLAG_LOG (``seccomp_log()``, kernel/seccomp.c)."""


def vouch(setup: Setup, inquiry: Inquiry) -> None:
    """Adds a known filter's record before and after the case's own, as proof that records arrive.

    What keeps the kernel from writing one, an action that kernel.seccomp.actions_logged lacks
    or an audit rule, keeps it from writing the other.
    """
    case, judge = inquiry.case, inquiry.judge
    returns = _recorded(case)
    if returns is None or judge is None or not inquiry.needs_records:
        return
    arch, number = canary_on(setup, case.arch)
    raw = witness.marker(arch, number, returns.value)
    route = case.row.calls(case.cells[0]).route
    before, after = (
        Request(entry(arch), (Call(number),), (raw,), setup.zygote.nonce(), route, runs=False)
        for _ in range(2)
    )
    inquiry.requests = [before, *inquiry.requests, after]
    record = (arch.audit_arch, number, returns.value)
    inquiry.vouchers = {one.comm: record for one in (before, after)}
    inquiry.judge = lambda seen, batch: judge(seen[1:-1], batch)


def canary_on(setup: Setup, arch: Arch) -> tuple[Arch, int]:
    """A call that no other filter restricts, on this ABI, else on the kernel's own ABI."""
    if setup.ambient is not None:
        found = setup.ambient.canaries.get(arch.name)
        if found is not None and found.returns.action is Action.ALLOW:
            return arch, found.number
        return setup.native, sentinel_number(setup.target, setup.native)
    if setup.own is not None and arch.name in setup.own.canaries:
        return arch, setup.own.canaries[arch.name].number
    return arch, canary(arch)[1]


def read(setup: Setup) -> Batch | None:
    """Everything that was recorded until now, up to a sentinel that is recorded for sure."""
    number = sentinel_number(setup.target, setup.native, setup.own)
    return setup.trail.read(setup.zygote, Sentinel(setup.native, number))


def trail_of(setup: Setup, inquiry: Inquiry, batch: Batch | None) -> Trail:
    """The audit records of a case's call, and whether one may be missing."""
    if batch is None:
        if setup.trail.lost:
            return Trail("", reason=setup.trail.lost, cause=Cause.INSTRUMENT)
        return Trail("", reason=setup.trail.reason)
    key = inquiry.case.cells[0]
    records = tuple(
        record
        for record in batch.records
        if record.comm in inquiry.nonces
        and _concerns(record, inquiry.case.arch, key)
        and record.code not in witness.UNKNOWN_ACTIONS
    )
    doubt = "" if records else doubt_of(setup, inquiry, batch)
    return Trail(setup.trail.source, records, batch.complete, batch.reason, doubt)


def doubt_of(setup: Setup, inquiry: Inquiry, batch: Batch) -> str:
    """Why the kernel may not have written the action's record; "" where it must have.

    A kernel that was told otherwise meanwhile does not say so: so a known filter has to have
    left such records before and after.
    """
    case = inquiry.case
    action = _leaving_records(case)
    if action is None or (action is Action.ERRNO and not may_log(setup, case)):
        return ""
    if reason := setup.trail.why_unlogged(action):
        return reason
    if _recorded(case) is None:
        return ""
    found = {one.comm: (one.arch, one.syscall, one.code) for one in batch.records}
    if inquiry.vouchers and all(
        found.get(one) == inquiry.vouchers[one] for one in inquiry.vouchers
    ):
        return ""
    inquiry.is_open = not inquiry.vouchers and not setup.trail.lost
    return (
        f"a known filter's {action.name} left no record either at that time: "
        "kernel.seccomp.actions_logged or an audit rule (auditctl -l) kept the kernel from it"
    )


def may_log(setup: Setup, case: Case) -> bool:
    """Whether a filter may have SECCOMP_FILTER_FLAG_LOG, so that more actions are recorded."""
    if setup.ambient is not None:
        return True
    return case.profile is not None and any(under_test.flags_of(setup, by_exec=is_by_exec(case)))


def sentinel_number(target: Target | None, native: Arch, own: Confinement | None = None) -> int:
    """The number of a call that serves as a sentinel."""
    for whose in (target, own):
        if whose is not None and native.name in whose.canaries:
            return whose.canaries[native.name].number
    return canary(native)[1]


def _leaving_records(case: Case) -> Action | None:
    """The action of a case's filter whose record is looked for, if any."""
    if case.profile is None:
        action = calibration.action_of_case(case)
        return action if action in _RECORDED_ACTIONS else None
    return case.profile.returns.action


def _recorded(case: Case) -> FilterReturn | None:
    """The return value of the known filter that must leave a record as the case's; None if none.

    Of a control the filter is the known one, and where none may be left nothing is missing.
    """
    if case.profile is None or case.profile is Profile.ERRNO:
        return None
    return case.profile.returns


def _concerns(record: SeccompRecord, arch: Arch, key: CellKey) -> bool:
    return record.arch == arch.audit_arch and record.syscall == key.number
