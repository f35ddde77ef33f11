"""The audit records of a case: waits for them, finds whose they are and why one may be missing."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from probes.action import Action, FilterReturn
from probes.arch import Arch, canary
from probes.audit.collector import Batch, excluded
from probes.audit.record import SeccompRecord
from probes.audit.trail import Sentinel
from probes.cell import Cause, Cell, CellKey
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request
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
    """Adds a known filter's records around the case's own, as proof that records are written.

    What keeps the kernel from writing one, an action that kernel.seccomp.actions_logged lacks
    or an audit rule, keeps it from writing the other. The probes are made twice, so that a setting
    that changes all the time does not keep all of theirs away and none of the known filter's.
    """
    returns, judge = _vouched(setup, inquiry), inquiry.judge
    if returns is None or judge is None:
        return
    case, asked = inquiry.case, list(inquiry.requests)
    arch, number = canary_on(setup, case.arch)
    raw = witness.marker(arch, number, returns.value)
    route = case.row.calls(case.cells[0]).route
    # Without the flag an ERRNO leaves no record at all.
    logged = (True,) if returns.action is Action.ERRNO else ()
    known = [
        Request(
            *(entry(arch), (Call(number),), (raw,), setup.zygote.nonce(), route),
            runs=False,
            logged=logged,
            seccomp=setup.native.numbers["seccomp"],
        )
        for _ in range(3)
    ]
    copies = [
        replace(one, comm=setup.zygote.nonce()) for one in asked if one.comm in inquiry.nonces
    ]
    inquiry.requests = [known[0], *asked, known[1], *copies, known[2]]
    inquiry.nonces += [one.comm for one in copies]
    record = (arch.audit_arch, number, returns.action.value)
    inquiry.vouchers = {one.comm: record for one in known}
    inquiry.judge = lambda seen, batch: _judged(inquiry, judge, seen, batch)


def _judged(
    inquiry: Inquiry,
    judge: Callable[[Sequence[Sequence[Observation]], Batch | None], list[Cell]],
    seen: Sequence[Sequence[Observation]],
    batch: Batch | None,
) -> list[Cell]:
    """The cells by the case's own observations, without those of the children that vouch."""
    made = zip(inquiry.requests, seen, strict=True)
    inquiry.vouched = not any(
        effect.is_stopped(one[0]) for request, one in made if request.comm in inquiry.vouchers
    )
    own = next(n for n, one in enumerate(inquiry.requests[1:]) if one.comm in inquiry.vouchers)
    return judge(seen[1 : 1 + own], batch)


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
    if batch.overdue and not records and (why := setup.trail.why_unwritten()):
        return Trail("", reason=why, cause=Cause.KERNEL_CONFIGURATION)
    doubt = "" if records else doubt_of(setup, inquiry, batch)
    return Trail(setup.trail.source, records, batch.complete, batch.reason, doubt)


def doubt_of(setup: Setup, inquiry: Inquiry, batch: Batch) -> str:
    """Why the kernel may not have written the action's record; "" where it must have.

    A kernel that was told otherwise meanwhile does not always say so: so a known filter has to have
    left such records before and after.
    """
    case = inquiry.case
    action = _leaving_records(setup, case)
    if action is None:
        return ""
    if reason := setup.trail.why_unlogged(action):
        return reason
    if batch.changes:
        inquiry.is_open = not inquiry.again and not setup.trail.lost
        return f"what the kernel records was changed at that time: {', '.join(batch.changes)}"
    found = {one.comm: (one.arch, one.syscall, one.code) for one in batch.records}
    if inquiry.vouchers and all(
        found.get(one) == inquiry.vouchers[one] for one in inquiry.vouchers
    ):
        return ""
    if action is Action.ERRNO and not inquiry.vouched:
        # No filter can be given that flag here, so the settings alone have to do.
        return ""
    inquiry.is_open = not inquiry.again and not setup.trail.lost
    flag = " with SECCOMP_FILTER_FLAG_LOG" if action is Action.ERRNO else ""
    why = excluded() or (
        "kernel.seccomp.actions_logged lacked it then, or an audit rule kept it away (auditctl -l)"
    )
    return f"a known filter's {action.name}{flag} left no record either at that time: {why}"


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


def _leaving_records(setup: Setup, case: Case) -> Action | None:
    """The action of a case's filter whose record is looked for, if any.

    No setting of the machine has an ERRNO recorded whose filter lacks SECCOMP_FILTER_FLAG_LOG.
    """
    if case.profile is None:
        action = calibration.action_of_case(case)
        return action if action in _RECORDED_ACTIONS else None
    action = case.profile.returns.action
    return None if action is Action.ERRNO and not may_log(setup, case) else action


def _vouched(setup: Setup, inquiry: Inquiry) -> FilterReturn | None:
    """What a known filter returns that vouches for a case's records; None where none has to.

    That a record is missing is looked into by another attempt, where it is a failure; where it is
    a success, at once.
    """
    case = inquiry.case
    action = _leaving_records(setup, case)
    if not inquiry.needs_records or action is None:
        return None
    if case.profile is None:
        return FilterReturn(action) if inquiry.again else None
    return case.profile.returns if inquiry.again or action is Action.ERRNO else None


def _concerns(record: SeccompRecord, arch: Arch, key: CellKey) -> bool:
    return record.arch == arch.audit_arch and record.syscall == key.number
