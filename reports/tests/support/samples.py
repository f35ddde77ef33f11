"""Runs to render: one of each kind that a reader can meet.

The calls' texts are those of the shipped policy. The numbers are invented, because a report has to
show whatever it is given; which call an ABI lacks is as on real kernels.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from probes.action import Action, FilterReturn
from probes.arch import all_names as known_names
from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Gap, GapState, Outcome
from probes.documents import waivers
from probes.documents.waivers import Waiver
from probes.files import SUITE
from probes.workload import OwnerKind, StackRow, Survey, WorkloadRow, WorkloadState
from reports.results import (
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
    missing,
)
from reports.results.provenance import Pipeline, RunBy

POLICY_FILE = SUITE / "cases/policies/container-restrictions.toml"
ARCHES = ("x86_64", "x32", "i386")
PROFILES = ("kill", "errno", "log")
REST = 330
"""How many calls of an ABI are not documented."""

_ABSENT = {
    "x86_64": frozenset[str](),
    "x32": frozenset(
        {
            "create_module",
            "get_kernel_syms",
            "query_module",
            "nfsservctl",
            "uselib",
            "vserver",
            "_sysctl",
        }
    ),
    "i386": frozenset({"kexec_file_load", "security", "tuxcall"}),
}
_FIRST_NUMBER = {"x86_64": 400, "x32": 0x40000190, "i386": 500}
_CLAIMS = {
    "kill": (Claim.TERMINATES, Claim.IS_REPORTED),
    "errno": (Claim.DENIES, Claim.IS_SILENT),
    "log": (Claim.RUNS, Claim.IS_RECORDED),
}
_EXPECTED = {
    Claim.TERMINATES: "KILL_PROCESS",
    Claim.IS_REPORTED: "an audit record with sig=31 code=0x80000000",
    Claim.DENIES: "ERRNO(EPERM)",
    Claim.IS_SILENT: "a denial that leaves no audit record",
    Claim.RUNS: "that it runs as without a filter",
    Claim.IS_RECORDED: "an audit record with sig=0 code=0x7ffc0000",
}
_OBSERVED = {
    Claim.TERMINATES: "SIGSYS ended the process at the call",
    Claim.IS_REPORTED: "its audit record arrived",
    Claim.DENIES: "the filter answered ERRNO(EPERM)",
    Claim.IS_SILENT: "the filter answered ERRNO(EPERM), and no audit record was written",
    Claim.RUNS: "it answered EINVAL, with a filter and without",
    Claim.IS_RECORDED: "its audit record arrived",
}
_RECORDED = frozenset({Claim.IS_REPORTED, Claim.IS_SILENT, Claim.IS_RECORDED})
_WAYS = ("fork", "thread", "execve", "setuid", "later filter", "removal")
_ACTIONS = ("KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "LOG", "ALLOW")
_NO_RECORDS = (
    "audit records need CAP_AUDIT_READ in the first user namespace: run as root, or name a log"
    " that auditd writes"
)


@cache
def policy() -> PolicyInfo:
    """The shipped policy, as a record holds it."""
    content = POLICY_FILE.read_bytes()
    file = tomllib.loads(content.decode())
    return PolicyInfo(
        name=file["name"],
        title=file["title"],
        sha256=hashlib.sha256(content).hexdigest(),
        calls=tuple(
            CallInfo(
                name=call["name"],
                family=call["family"],
                description=call["description"],
                why=call["why"],
                cves=tuple(call.get("cves", ())),
                attack=tuple(call.get("attack", ())),
                obsolete=call.get("obsolete", False),
            )
            for call in file["call"]
        ),
        families=tuple(file["families"]),
    )


def run(cells: Iterable[Cell]) -> Run:
    """A privileged run of these cells, all of them planned."""
    every = tuple(cells)
    started = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    return Run(
        suite=Suite("syscall-conformance", "0.1.0"),
        policy=policy(),
        target=TargetInfo("builtin", "the filter that the suite builds from the policy"),
        environments=(
            Environment(
                kernel="6.12.0 #1 SMP PREEMPT_DYNAMIC",
                machine="x86_64",
                capabilities="000001ffffffffff",
                uid=0,
                no_new_privs=False,
                seccomp=0,
                seccomp_filters=0,
                actions_logged=("kill_process", "kill_thread", "trap", "errno", "trace", "log"),
                audit=AuditSource("netlink", "a record made on purpose arrived"),
                arches=ARCHES,
                shut=(("arm", "it takes a program of that ABI"),),
            ),
        ),
        profiles=PROFILES,
        started=started,
        finished=started + timedelta(seconds=14),
        planned=len(every),
        selected_of=len(every),
        cells=every,
    )


@cache
def passing() -> Run:
    """Everything holds."""
    return run((*controls(), *documented(), *others()))


@cache
def failing() -> Run:
    """Two calls got through under every profile, and one call too many is blocked."""
    return run(map(_fail_some, passing().cells))


@cache
def hopeless() -> Run:
    """An empty filter: everything but the controls and the rest fails."""
    spared = {Claim.CONTROLS, Claim.LEAVES_THE_REST_ALONE}
    return run(
        cell
        if cell.key.claim in spared or cell.outcome is Outcome.NOT_APPLICABLE
        else failed(cell, "the call reached the kernel (the witness answered)")
        for cell in passing().cells
    )


@cache
def proved() -> Run:
    """Everything holds, and was proved besides, also for an ABI that the kernel does not have."""
    return run((*passing().cells, *proofs()))


@cache
def unprivileged() -> Run:
    """Nobody may read audit records, so the claims about them stay open."""
    cells = map(_withhold, passing().cells)
    whole = run(cells)
    environment = replace(
        whole.environment,
        uid=65534,
        capabilities="0" * 16,
        audit=AuditSource("none", _NO_RECORDS),
    )
    return replace(whole, environments=(environment,))


@cache
def broken() -> Run:
    """A control gave another answer than the known one."""
    cells = list(passing().cells)
    cells[0] = failed(cells[0], "the call reached the kernel (the witness answered)")
    return run(cells)


@cache
def lost() -> Run:
    """Every worker died before it judged anything."""
    return run(missing([cell.key for cell in passing().cells], ()))


@cache
def interrupted() -> Run:
    """The run was killed half-way, and what it had judged until then held."""
    cells = passing().cells
    return replace(run(cells[: len(cells) // 2]), planned=len(cells), complete=False)


@cache
def waived() -> Run:
    """What failed is accepted for a while, and nothing came of a waiver for other targets."""
    whole = failing()
    failures = {(c.key.syscall, c.key.arch) for c in whole.cells if c.outcome is Outcome.FAILED}
    named = [_waiver(call, arch, "*") for call, arch in sorted(failures)]
    named.append(_waiver("acct", "x86_64", "oci:*"))
    today = whole.started.date()
    cells = waivers.waive(whole.cells, named, "builtin", today)
    keys = [cell.key for cell in cells]
    scope = waivers.WaiverScope("builtin", today, keys, known_names(), ARCHES)
    return replace(whole, cells=tuple(cells), waivers=waivers.judge(named, scope, cells))


@cache
def expired() -> Run:
    """Everything holds, but a waiver has expired."""
    whole = passing()
    old = _waiver("acct", "x86_64", "*")
    scope = waivers.WaiverScope("builtin", old.expires + timedelta(days=3), (), (), ())
    return replace(whole, waivers=waivers.judge([old], scope, whole.cells))


def _waiver(call: str, arch: str, target: str) -> Waiver:
    return Waiver(
        call=call,
        arch=arch,
        target=target,
        reason="the agent of the backup needs it until it is replaced (TICKET-17)",
        owner="storage team",
        approver="security board",
        created=date(2026, 1, 5),
        expires=date(2026, 3, 31),
    )


@cache
def merged() -> Run:
    """The same policy on three kernels, of which one is older and lets two calls through."""
    whole = failing()
    middle, last = (
        replace(whole.environment, kernel=kernel, host=host, shut=())
        for kernel, host in (("6.1.0-40-amd64 #1 SMP", "node-b"), ("5.10.0-35-amd64 #1", "node-c"))
    )
    good = passing().cells
    cells = [
        *good,
        *(replace(cell, environment=1) for cell in good),
        *(replace(cell, environment=2) for cell in whole.cells),
    ]
    first = replace(whole.environment, host="node-a")
    return replace(run(cells), environments=(first, middle, last))


@cache
def compared() -> Run:
    """A run with what changed since an earlier one, and with gaps of every state."""
    whole = failing()
    return replace(
        whole,
        target=replace(
            whole.target,
            programs=(TargetProgram("kill", "a" * 64, 31), TargetProgram("errno", "b" * 64, 33)),
            image=Image("registry.example/app:1.4", "sha256:" + "c" * 64),
            runtime=RuntimeInfo("runc", "1.1.5"),
            findings=("the rule for fooctl is in vain: no such call is known",),
        ),
        run_by=RunBy(0, "root", "ada", Pipeline("GitLab CI/CD", "ada", "https://ci.example/7")),
        baseline=Baseline("d" * 64, whole.started - timedelta(days=30), tuple(_changes(whole))),
        gaps=gaps(),
    )


def _changes(whole: Run) -> Iterator[Change]:
    failures = [cell for cell in whole.cells if cell.outcome is Outcome.FAILED]
    for cell in failures:
        kind = ChangeKind.WORSE
        yield Change(kind, cell.key, Outcome.PASSED, Outcome.FAILED, cell.sentence)
    better, gone, *_ = (cell for cell in whole.cells if cell.outcome is Outcome.PASSED)
    yield Change(ChangeKind.BETTER, better.key, Outcome.BROKEN, Outcome.PASSED, better.sentence)
    yield Change(ChangeKind.VANISHED, gone.key, Outcome.PASSED, None, gone.sentence)


@cache
def gaps() -> tuple[Gap, ...]:
    """Some siblings, one of each state and one whose state depends on the ABI."""
    states = {
        ("fsopen", "mount"): (GapState.OPEN, GapState.OPEN, GapState.CLOSED),
        ("quotactl_fd", "quotactl"): (GapState.CLOSED,) * 3,
        ("clone", "unshare"): (GapState.UNKNOWN,) * 3,
    }
    families = {call.name: call.family for call in policy().calls}
    return tuple(
        Gap(
            family=families[documented],
            syscall=name,
            arch=arch,
            number=_FIRST_NUMBER[arch] + 300 + place,
            profile=profile,
            documented=(documented,),
            state=state,
            sentence=f"{name} ({300 + place}) on {arch}: it is {state}; it does what it does",
            reason=f"it is {state}; it does what it does",
            evidence=(Evidence(EvidenceKind.PROVED, "analysis", f"it is {state}"),),
        )
        for place, ((name, documented), on) in enumerate(states.items())
        for arch, state in zip(ARCHES, on, strict=True)
        for profile in PROFILES
    )


@cache
def empty() -> Run:
    """Nothing was planned."""
    return run(())


@cache
def surveyed() -> Run:
    """A machine: a container holds, one lets a call through, and one has no filter."""
    right, wrong = "0123456789ab", "ba9876543210"
    proofs_of_all = [cell for cell in proofs() if cell.key.profile == "errno"]
    cells = [
        replace(cell, key=replace(cell.key, profile="refuse", variant=name))
        for name in (right, wrong)
        for cell in proofs_of_all
    ]
    cells = [
        failed(cell, "the filter returns ALLOW for number 0xa3")
        if (cell.key.variant, cell.key.syscall) == (wrong, "acct")
        else cell
        for cell in cells
    ]
    key = CellKey(Claim.IS_ALL_JUDGED, "refuse", "any", "docker:agent (5c1f0d1a9b32)", None)
    cells.append(failed(_passed(key, "a filter", "none"), "it has no seccomp filter at all"))
    rows = (
        _workload(OwnerKind.CONTAINER, "docker", "agent", WorkloadState.NONE, ()),
        _workload(
            OwnerKind.CONTAINER, "containerd", "shop/cart/web", WorkloadState.FAILS, (wrong,)
        ),
        _workload(OwnerKind.CONTAINER, "podman", "db", WorkloadState.HOLDS, (right,)),
        _workload(OwnerKind.SERVICE, "systemd", "cron.service", WorkloadState.NONE, ()),
    )
    stacks = (
        StackRow(right, (False,), 6, WorkloadState.HOLDS),
        StackRow(wrong, (False, True), 3, WorkloadState.FAILS),
    )
    survey = Survey(stacks, rows, others=88, kernel_threads=120, zombies=1)
    target = TargetInfo("node", "node worker-1 with 3 containers and 1 service", survey=survey)
    whole = run(cells)
    return replace(whole, target=target, profiles=("refuse",))


def _workload(
    kind: OwnerKind, engine: str, name: str, state: WorkloadState, stacks: tuple[str, ...]
) -> WorkloadRow:
    is_container = kind is OwnerKind.CONTAINER
    identity = hashlib.sha256(name.encode()).hexdigest() if is_container else name
    title = f"{engine}:{name} ({identity[:12]})" if is_container else f"service:{name}"
    sentence = "" if state is WorkloadState.HOLDS else f"{title} is not confined as documented"
    told = (identity, name, title, "registry/image:1" if is_container else "", "", "")
    return WorkloadRow(kind, engine, *told, 3, stacks, is_container, state, sentence)


def all_kinds() -> dict[str, Run]:
    """Every sample by its name."""
    return {
        "passing": passing(),
        "proved": proved(),
        "failing": failing(),
        "hopeless": hopeless(),
        "unprivileged": unprivileged(),
        "broken": broken(),
        "lost": lost(),
        "interrupted": interrupted(),
        "waived": waived(),
        "expired": expired(),
        "merged": merged(),
        "compared": compared(),
        "empty": empty(),
        "surveyed": surveyed(),
    }


def failed(cell: Cell, observed: str) -> Cell:
    """The cell, had the filter done something else."""
    reason = f"expected {cell.expected}, but {observed}: the builtin filter lets it through"
    return replace(
        cell,
        outcome=Outcome.FAILED,
        cause=Cause.FILTER,
        observed=observed,
        sentence=f"{_named(cell.key)}: {reason}",
        reason=reason,
        evidence=(Evidence(EvidenceKind.OBSERVED, "witness", observed),),
        returned=FilterReturn(Action.ALLOW),
    )


def controls() -> Iterator[Cell]:
    """The calibration."""
    for arch in ARCHES:
        for action in _ACTIONS:
            key = CellKey(Claim.CONTROLS, "none", arch, "getppid", _FIRST_NUMBER[arch] - 1, action)
            yield _passed(key, action, f"the filter answered {action}")


def documented() -> Iterator[Cell]:
    """Six claims about every documented call on every ABI."""
    for profile, claims in _CLAIMS.items():
        for claim in claims:
            for arch in ARCHES:
                for index, call in enumerate(policy().calls):
                    yield _documented(claim, profile, arch, call.name, index)


def _documented(claim: Claim, profile: str, arch: str, call: str, index: int) -> Cell:
    if call in _ABSENT[arch]:
        return Cell(
            CellKey(claim, profile, arch, call, None),
            Outcome.NOT_APPLICABLE,
            Cause.ARCHITECTURE,
            f"{call} on {arch}: not applicable, for no number of {arch} stands for it",
            "nothing",
            f"{arch} has no such call",
            reason=f"not applicable, for no number of {arch} stands for it",
        )
    key = CellKey(claim, profile, arch, call, _FIRST_NUMBER[arch] + index)
    cell = _passed(key, _EXPECTED[claim], _OBSERVED[claim])
    if claim not in _RECORDED:
        return cell
    return replace(cell, evidence=(*cell.evidence, _record(key)))


def _record(key: CellKey) -> Evidence:
    if key.claim is Claim.IS_SILENT:
        text = "no record, and a later event's record arrived"
        return Evidence(EvidenceKind.RECORDED, "netlink", text)
    signal, code = (31, "0x80000000") if key.profile == "kill" else (0, "0x7ffc0000")
    return Evidence(
        EvidenceKind.RECORDED,
        "netlink",
        "audit(1769860800.123:4711): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=4242"
        f' comm="p{key.number}" exe="/usr/bin/python3.11" sig={signal} arch=c000003e'
        f" syscall={key.number} compat=0 ip=0x7f0000000000 code={code}",
    )


def others() -> Iterator[Cell]:
    """The claims that are not about one documented call each."""
    first = policy().calls[0].name
    for arch in ARCHES:
        base = _FIRST_NUMBER[arch]
        key = CellKey(Claim.ENDS_EVERY_THREAD, "kill", arch, first, base)
        yield _passed(key, "KILL_PROCESS for all threads", "SIGSYS ended the process at the call")
        for profile in PROFILES:
            for offset in range(REST):
                number = base - 400 + offset + 61 * (offset > 150)
                key = CellKey(Claim.LEAVES_THE_REST_ALONE, profile, arch, f"call{offset}", number)
                yield _passed(key, "ALLOW", "the call reached the kernel (the witness answered)")
            for number in (base + 600, 0x7FFFFFFF, 0xFFFFFFFF):
                key = CellKey(Claim.DEFAULT_ACTION, profile, arch, "unknown", number)
                yield _passed(key, profile.upper(), "the filter answered in the kernel's place")
            for way in _WAYS:
                key = CellKey(Claim.IS_INHERITED, profile, arch, first, base, way)
                yield _passed(key, profile.upper(), "the filter answered in the kernel's place")


def proofs() -> Iterator[Cell]:
    """What an analysis of the filter covers."""
    scopes = ("every other call", "every unknown number")
    for profile in PROFILES:
        for arch in (*ARCHES, "aarch64"):
            base = _FIRST_NUMBER.get(arch, 600)
            for index, call in enumerate(policy().calls):
                if call.name not in _ABSENT.get(arch, ()):
                    yield _proof(profile, arch, call.name, base + index)
            for scope in scopes:
                yield _proof(profile, arch, scope, None)
        yield _proof(profile, "any", "every other architecture", None)


def _proof(profile: str, arch: str, call: str, number: int | None) -> Cell:
    key = CellKey(Claim.IS_PROVED, profile, arch, call, number)
    cell = _passed(key, f"{profile.upper()} for all arguments", "the filter returns nothing else")
    evidence = Evidence(EvidenceKind.PROVED, "analysis", "no input leads to anything else")
    return replace(cell, evidence=(evidence,))


def _passed(key: CellKey, expected: str, observed: str) -> Cell:
    reason = f"{expected}, as it must be: {observed}"
    return Cell(
        key,
        Outcome.PASSED,
        None,
        f"{_named(key)}: {reason}",
        expected,
        observed,
        (
            Evidence(EvidenceKind.OBSERVED, "witness", observed),
            Evidence(
                EvidenceKind.PROVED,
                "simulation",
                "the program returns what the profile says for this number, whatever the arguments",
            ),
        ),
        reason=reason,
    )


def _named(key: CellKey) -> str:
    number = f"{key.number:#x}" if key.number and key.number > 0xFFFF else str(key.number)
    return f"{key.syscall} ({number}) on {key.arch}"


def _fail_some(cell: Cell) -> Cell:
    key = cell.key
    acting = key.claim in {Claim.TERMINATES, Claim.DENIES, Claim.IS_REPORTED}
    if acting and key.syscall in {"acct", "bpf"} and key.arch != "i386":
        return failed(cell, "the call reached the kernel (the witness answered)")
    blocked = key.claim is Claim.LEAVES_THE_REST_ALONE and key.syscall == "call17"
    if blocked and key.profile == "errno":
        return failed(cell, "the filter answered ERRNO(EPERM)")
    return cell


def _withhold(cell: Cell) -> Cell:
    if cell.key.claim not in _RECORDED or cell.outcome is not Outcome.PASSED:
        return cell
    return replace(
        cell,
        outcome=Outcome.CANNOT_TELL,
        cause=Cause.PRIVILEGE,
        observed=_NO_RECORDS,
        sentence=f"{_named(cell.key)}: cannot tell whether {cell.expected}: {_NO_RECORDS}",
        reason=_NO_RECORDS,
        evidence=cell.evidence[:1],
    )
