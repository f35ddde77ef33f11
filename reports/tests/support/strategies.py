"""Runs made by Hypothesis: any texts, outcomes and numbers, plausible or not."""

from dataclasses import replace
from datetime import UTC, date, datetime

from hypothesis import strategies as st

from probes import deviation
from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.cell import (
    NOT_HOLDING,
    Cause,
    Cell,
    CellKey,
    Claim,
    Evidence,
    EvidenceKind,
    Gap,
    GapState,
    Outcome,
)
from probes.deviation import KnownDeviation
from probes.documents.waivers import JudgedWaiver, Waiver, WaiverState
from probes.filters.conditions import HIGHEST_VALUE, Condition, Operator
from probes.workload import OwnerKind, StackRow, Survey, WorkloadRow, WorkloadState
from probes.written import Lines, WrittenAction, WrittenProfile, WrittenRule
from reports.results import (
    MAX_NUMBER,
    AuditSource,
    Baseline,
    CallInfo,
    Change,
    ChangeKind,
    Environment,
    Image,
    PolicyInfo,
    Run,
    RuntimeInfo,
    Suite,
    TargetInfo,
    TargetProgram,
)
from reports.results.provenance import Pipeline, RunBy

_NASTY = st.sampled_from(
    ["<img src=x onerror=alert(1)>", "\u202eabc", "a\nb", "\x1b[31m", "\"&'", "]]>", "</style>"]
)
TEXTS = st.one_of(st.text(max_size=30), _NASTY)
NAMES = st.one_of(st.sampled_from(["acct", "bpf", "mount", "unknown"]), TEXTS)
ARCHES = st.sampled_from(["x86_64", "x32", "i386", "<b>"])
PROFILES = st.sampled_from(["kill", "errno", "log", "none"])

RETURNED = st.none() | st.one_of(
    st.sampled_from(Action).map(FilterReturn),
    st.integers(0, MAX_ERRNO).map(lambda number: FilterReturn(Action.ERRNO, number)),
)
EVIDENCE = st.builds(Evidence, st.sampled_from(EvidenceKind), TEXTS, TEXTS)
KEYS = st.builds(
    CellKey,
    claim=st.sampled_from(Claim),
    profile=PROFILES,
    arch=ARCHES,
    syscall=NAMES,
    number=st.none() | st.integers(0, MAX_NUMBER),
    variant=st.sampled_from(["", "fork"]),
    stack=st.integers(0, 2),
)


def _deviations(cell: Cell) -> tuple[str, ...]:
    """Only what does not hold has any, and what is accepted has some."""
    if cell.outcome is Outcome.ACCEPTED and not cell.deviations:
        return (KnownDeviation.RUNC_ENOSYS_STUB,)
    return cell.deviations if cell.outcome in NOT_HOLDING else ()


CELLS = st.builds(
    Cell,
    key=KEYS,
    outcome=st.sampled_from(Outcome),
    cause=st.none() | st.sampled_from(Cause),
    sentence=TEXTS,
    expected=TEXTS,
    observed=TEXTS,
    evidence=st.lists(EVIDENCE, max_size=2).map(tuple),
    reason=TEXTS,
    by_program=st.booleans(),
    returned=RETURNED,
    deviations=st.lists(st.sampled_from(KnownDeviation), unique=True).map(tuple),
).map(
    # A sentence has its reason in it, and is all that reports show of a cell that stands alone.
    lambda cell: replace(
        cell,
        sentence=f"{cell.sentence}{cell.reason}",
        returned=cell.returned if cell.outcome in NOT_HOLDING else None,
        deviations=_deviations(cell),
    )
)
CELL_LISTS = st.lists(CELLS, max_size=25, unique_by=lambda cell: cell.key).map(tuple)

_WORDS = st.lists(TEXTS, max_size=3).map(tuple)
_CONDITIONS = st.builds(
    Condition,
    index=st.integers(0, 5),
    operator=st.sampled_from(Operator),
    value=st.integers(0, HIGHEST_VALUE),
    mask=st.none() | st.integers(0, HIGHEST_VALUE),
)
_CALLS = st.builds(
    CallInfo,
    name=NAMES,
    family=TEXTS,
    description=TEXTS,
    why=TEXTS,
    cves=_WORDS,
    attack=_WORDS,
    obsolete=st.booleans(),
    line=st.none() | st.integers(1, 9999),
    args=st.lists(_CONDITIONS, max_size=3).map(tuple),
    errno=_WORDS,
)
_MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - Hypothesis adds the time zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=0))
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)

_MAYBE = st.none() | TEXTS

_STACK_NAMES = st.sampled_from(["0123456789ab", "ba9876543210"])
_STATES = st.sampled_from(WorkloadState)
_COUNTS = st.integers(0, 9999)
_WORKLOADS = st.builds(
    WorkloadRow,
    kind=st.sampled_from(OwnerKind),
    engine=TEXTS,
    id=TEXTS,
    name=TEXTS,
    title=TEXTS,
    image=TEXTS,
    pod=TEXTS,
    inside=TEXTS,
    processes=_COUNTS,
    stacks=st.lists(_STACK_NAMES, max_size=2, unique=True).map(tuple),
    required=st.booleans(),
    state=_STATES,
    sentence=TEXTS,
)
_STACKS = st.tuples(
    *(
        st.builds(
            StackRow,
            name=st.just(name),
            logged=st.lists(st.booleans(), max_size=2).map(tuple),
            processes=_COUNTS,
            state=_STATES,
        )
        for name in ("0123456789ab", "ba9876543210")
    )
)
SURVEYS = st.builds(
    Survey,
    stacks=_STACKS,
    workloads=st.lists(_WORKLOADS, max_size=2).map(tuple),
    others=_COUNTS,
    kernel_threads=_COUNTS,
    zombies=_COUNTS,
)

_LINES = st.tuples(st.integers(1, 9999), st.integers(0, 99)).map(
    lambda pair: Lines(pair[0], sum(pair))
)
WRITTEN = st.builds(
    WrittenProfile,
    path=TEXTS,
    sha256=_DIGESTS,
    untold=TEXTS,
    default=st.none() | st.builds(WrittenAction, TEXTS, _LINES),
    architectures=st.none() | _LINES,
    rules=st.lists(
        st.builds(
            WrittenRule,
            action=TEXTS,
            lines=_LINES,
            calls=st.lists(st.tuples(NAMES, st.integers(1, 9999)), max_size=2).map(tuple),
            is_conditional=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)

TARGETS = st.builds(
    TargetInfo,
    kind=TEXTS,
    description=TEXTS,
    findings=_WORDS,
    programs=st.lists(
        st.builds(TargetProgram, PROFILES, _DIGESTS, st.integers(0, 4096), st.integers(0, 2)),
        max_size=3,
    ).map(tuple),
    image=st.none() | st.builds(Image, TEXTS, _MAYBE),
    runtime=st.none() | st.builds(RuntimeInfo, TEXTS, TEXTS),
    survey=st.none() | SURVEYS,
    written=st.lists(WRITTEN, max_size=2).map(tuple),
)
ENVIRONMENTS = st.builds(
    Environment,
    kernel=TEXTS,
    machine=TEXTS,
    capabilities=st.text("0123456789abcdef", min_size=16, max_size=16),
    uid=st.integers(0, MAX_NUMBER),
    no_new_privs=st.booleans(),
    seccomp=st.none() | st.integers(0, 3),
    seccomp_filters=st.none() | st.integers(0, 9),
    actions_logged=_WORDS,
    audit=st.builds(AuditSource, TEXTS, TEXTS),
    arches=st.lists(ARCHES, unique=True).map(tuple),
    shut=st.lists(st.tuples(ARCHES, TEXTS)).map(tuple),
    host=_MAYBE,
)
RUN_BY = st.builds(
    RunBy,
    uid=st.none() | st.integers(0, MAX_NUMBER),
    user=_MAYBE,
    login=_MAYBE,
    pipeline=st.none() | st.builds(Pipeline, TEXTS, _MAYBE, _MAYBE),
)
DAYS = st.dates(date(2000, 1, 1), date(2100, 1, 1))
WAIVERS = st.builds(
    Waiver,
    call=NAMES,
    arch=ARCHES,
    target=TEXTS,
    reason=TEXTS,
    owner=TEXTS,
    approver=TEXTS,
    created=DAYS,
    expires=DAYS,
    profile=st.none() | PROFILES,
    claim=st.none() | st.sampled_from(Claim),
    kernel=st.none() | st.just(">=6.1, <6.12"),
    runtime=st.none() | st.just("<1.2"),
    libseccomp=st.none() | st.just(">=2.5"),
)
JUDGED_WAIVERS = st.builds(
    JudgedWaiver,
    waiver=WAIVERS,
    state=st.sampled_from(WaiverState),
    days_left=st.integers(-9999, 9999),
    waived=st.integers(0, 99),
    sentence=TEXTS,
)
GAPS = st.builds(
    Gap,
    family=TEXTS,
    syscall=NAMES,
    arch=ARCHES,
    number=st.none() | st.integers(0, MAX_NUMBER),
    profile=PROFILES,
    documented=_WORDS,
    state=st.sampled_from(GapState),
    sentence=TEXTS,
    evidence=st.lists(EVIDENCE, max_size=1).map(tuple),
    reason=TEXTS,
)
_OUTCOMES = st.none() | st.sampled_from(Outcome)
BASELINES = st.builds(
    Baseline,
    sha256=_DIGESTS,
    started=_MOMENTS,
    changes=st.lists(
        st.builds(Change, st.sampled_from(ChangeKind), KEYS, _OUTCOMES, _OUTCOMES, TEXTS),
        max_size=3,
    ).map(tuple),
)


def _fitting(run: Run) -> Run:
    """The run, its cells with indices that lead somewhere, and all accepted that they are."""
    accepted = {
        name for cell in run.cells if cell.outcome is Outcome.ACCEPTED for name in cell.deviations
    }
    return replace(
        run,
        accept=deviation.named({*run.accept, *accepted}),
        cells=tuple(
            replace(
                cell,
                environment=number % len(run.environments),
                waiver=number % len(run.waivers)
                if run.waivers and cell.outcome is Outcome.WAIVED
                else None,
            )
            for number, cell in enumerate(run.cells)
        ),
    )


RUNS = st.builds(
    Run,
    suite=st.builds(Suite, TEXTS, TEXTS),
    policy=st.builds(
        PolicyInfo,
        name=TEXTS,
        title=TEXTS,
        sha256=_DIGESTS,
        calls=st.lists(_CALLS, max_size=4, unique_by=lambda call: call.name).map(tuple),
        families=_WORDS,
        path=TEXTS,
    ),
    target=TARGETS,
    environments=st.lists(ENVIRONMENTS, min_size=1, max_size=2).map(tuple),
    profiles=st.lists(PROFILES, unique=True).map(tuple),
    started=_MOMENTS,
    finished=_MOMENTS,
    planned=st.integers(0, 40),
    selected_of=st.integers(0, 40),
    cells=CELL_LISTS,
    run_by=RUN_BY,
    complete=st.booleans(),
    waivers=st.lists(JUDGED_WAIVERS, max_size=2).map(tuple),
    gaps=st.lists(
        GAPS,
        max_size=2,
        unique_by=lambda gap: (gap.family, gap.syscall, gap.arch, gap.number, gap.profile),
    ).map(tuple),
    unreviewed=st.lists(NAMES, max_size=3, unique=True).map(sorted).map(tuple),
    baseline=st.none() | BASELINES,
    accept=st.lists(st.sampled_from(KnownDeviation), unique=True).map(tuple),
).map(_fitting)
