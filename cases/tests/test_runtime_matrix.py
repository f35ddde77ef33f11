"""Every runtime under every profile: the right verdict from outside, and the same from inside.

The containers are of a root file system with one static program and nothing else, and of one that
mmdebstrap makes, with Python. The filters are those that each runtime makes of the profile; for
bwrap, which takes none, libseccomp makes it.
"""

import errno
import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.arch import ARCHES, canary
from probes.audit.source import NETLINK
from probes.audit.trail import AuditTrail, Sentinel, open_trail
from probes.cell import Cell, Claim, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument.calls import Zygote
from probes.judging import claims, plan
from probes.judging.examiner import Examiner
from probes.judging.needed_calls import Way
from probes.judging.plan import Case
from probes.runtimes import container, inside
from probes.runtimes.known import BY_ENDPOINT, RUNTIMES
from probes.runtimes.wanted import Job, Wanted
from probes.targets import StackTarget, builtin
from probes.targets import started_container as target
from probes.targets.oci import compiler
from probes.targets.stack import FilterStack, Origin
from probes.tests.support import confirming
from probes.tests.support.emitter import sharing_records
from probes.tests.support.machine import Machine, need, private_machine, static_root
from probes.tests.support.oracles import require
from reports import results
from reports.filters import allowlist
from reports.filters.allowlist import ExportRequest
from reports.results import codec
from reports.terminal.agreement import compare
from reports.tests.support import from_inside, samples

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
DROPPED = "acct"
"""The call whose rule a wrong profile lacks."""

Rule = dict[str, Any]

every_profile = pytest.mark.parametrize("profile", list(Profile))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), confirming.CONFIRMS)


@pytest.fixture(scope="session")
def with_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of Debian's with Python; one for all workers."""
    tool = require("mmdebstrap", "mmdebstrap")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    root = shared / "python-root"
    with (shared / "python-root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "usr/bin/python3").exists():
            words = [tool, "--quiet", "--variant=extract", "--include=python3", "bookworm"]
            subprocess.run([*words, str(root)], check=True, timeout=300)
    return root


@dataclass(frozen=True, slots=True)
class Roots:
    """The root file systems."""

    scratch: Path
    with_python: Path


@pytest.fixture
def roots(scratch: Path, with_python: Path) -> Roots:
    return Roots(scratch, with_python)


# What both ways come to.


@dataclass(frozen=True, slots=True)
class Judge:
    """The instrument, as the main job puts it up.

    Several runtimes make the same programs of a profile, and those are judged once.

    Attributes:
        zygote: makes the calls.
        trail: gives the records.
    """

    zygote: Zygote
    trail: AuditTrail
    _judged: dict[Hashable, list[Cell]] = field(default_factory=dict)

    def cells(self, found: FilterStack, profile: Profile, cases: Sequence[Case]) -> list[Cell]:
        """The verdicts on a container."""
        assert found.origin is not None
        key = (found.programs, found.origin.executed, found.logged, profile, tuple(cases))
        if key not in self._judged:
            self._judged[key] = self._examine(found, profile, cases)
        return self._judged[key]

    def _examine(self, found: FilterStack, profile: Profile, cases: Sequence[Case]) -> list[Cell]:
        judged = StackTarget("docker", {profile: found})
        examiner = Examiner(self.zygote, judged, SHIPPED, X86, self.trail)
        with sharing_records():
            controls = examiner.calibrate(X86)
            return [*controls, *examiner.examine(cases)]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Zygote() as zygote:
        trail = open_trail(NETLINK, zygote, Sentinel(X86[0], canary(X86[0])[1]))
        assert trail.collector is not None, trail.reason
        yield Judge(zygote, trail)
        trail.collector.close()


def documented(profile: Profile) -> list[Case]:
    """The cases about every documented call, and those about the runtime's exec."""
    cases = plan.plan(SHIPPED, (profile,), X86, X86, ())
    return [case for case in cases if case.claim in claims.documented(profile)]


def exported(profile: Profile) -> dict[str, Any]:
    """The profile that conforms, as the suite exports it."""
    made: dict[str, Any] = json.loads(
        allowlist.oci_json(ExportRequest(SHIPPED, profile, tuple(X86)))
    )
    return made


def profile_for(
    machine: Machine, runtime: str, profile: Profile, variant: str
) -> Mapping[str, Any] | bytes | None:
    """A profile, as the runtime takes it."""
    if variant == "default":
        return None
    made = exported(profile)
    if variant == "one rule dropped":
        made["syscalls"].append({"names": [DROPPED], "action": "SCMP_ACT_ALLOW"})
    if variant == "x86_64 only":
        made["architectures"] = ["SCMP_ARCH_X86_64"]
    if runtime != "bwrap":
        checked: Mapping[str, Any] = made
        return checked
    parsed = compiler.read(machine.file(made))
    resolved = compiler.resolve(parsed, X86[0], frozenset(), (6, 0))
    (program,) = compiler.compile(resolved, enosys_stub=False).programs
    return bpf.to_bytes(program)


def failing(cells: Sequence[Cell]) -> set[tuple[str, str]]:
    """The documented calls of which a claim fails, by ABI; none may be left open."""
    odd = {Outcome.BROKEN, Outcome.CANNOT_TELL, Outcome.WAIVED}
    assert [cell.sentence for cell in cells if cell.outcome in odd] == []
    failed = [cell.key for cell in cells if cell.outcome is Outcome.FAILED]
    assert {key.claim for key in failed} <= {
        claim for profile in Profile for claim in claims.documented(profile)
    }
    return {(key.arch, key.syscall) for key in failed}


def there(abi: abis.Arch) -> set[tuple[str, str]]:
    """The documented calls that an ABI has."""
    return {(abi.name, name) for name in SHIPPED.names if abi.number(name) is not None}


WRONG = {
    "conforming": set[tuple[str, str]](),
    "one rule dropped": {(abi.name, DROPPED) for abi in X86},
    "x86_64 only": there(ARCHES["x32"]) | there(ARCHES["i386"]),
}
EVERYTHING = set[tuple[str, str]]().union(*map(there, X86))
VARIANTS = (*WRONG, "default")
ROUGHEST = ("one rule dropped", Profile.KILL)
HAVE_A_DEFAULT = ("docker", "podman", "cri")
MATRIX = [
    pytest.param(variant, runtime, profile, id=f"{variant}-{runtime}-{profile}")
    for variant in VARIANTS
    for runtime in RUNTIMES
    for profile in Profile
    # Their containers are runc's, as docker's are: what they make of a profile is the same for all.
    if runtime not in BY_ENDPOINT or profile is Profile.ERRNO or (variant, profile) == ROUGHEST
]

Answers = Mapping[tuple[str, str], int]
"""What the C program got for every documented call."""

every_default = pytest.mark.parametrize("runtime", HAVE_A_DEFAULT)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was judged within a container.

    Attributes:
        description: what the suite calls the confinement there.
        findings: what it says of it.
        cells: the verdicts.
    """

    description: str
    findings: Sequence[str]
    cells: Sequence[Cell]


def judged_inside(wanted: Wanted, python: Path, profile: Profile, folder: Path) -> Seen:
    """Has the suite's judge judge a container from inside, by a Python that is mounted."""
    folder.chmod(0o755)
    (folder / "results").mkdir()
    job = inside._job(folder, python, (), None)
    made = container.make(wanted)
    with container.removed(made):
        places = job.words[job.words.index("-c") + 2]  # behind the program that takes them
        run = f"import runpy, sys; sys.path[:0] = {places.split(':')}"
        run += f"; runpy.run_module({from_inside.__name__!r}, run_name='__main__')"
        words = (job.words[0], "-I", "-S", "-c", run, profile.value)
        said = json.loads(made.run(replace(job, words=words)))
    cells = [codec.cell_from_json(cell) for cell in said["cells"]]
    return Seen(said["description"], said["findings"], cells)


@dataclass(slots=True)
class Bed:
    """What the matrix stands on.

    Attributes:
        machine: starts containers.
        roots: their root file systems.
        judge: judges from outside.
    """

    machine: Machine
    roots: Roots
    judge: Judge
    _answers: dict[tuple[str, ...], Answers] = field(default_factory=dict)

    def answers(self, how: str, runtime: str, *arguments: str) -> Answers:
        """What the C program gets in a container of the runtime, by default under its profile."""
        key = (how, runtime, *arguments)
        if key not in self._answers:
            wanted = self.machine.wanted(runtime, self.roots.scratch, None, *arguments)
            self._answers[key] = confirmed(self.machine, wanted, how)
        return self._answers[key]

    def wrong(self, runtime: str, profile: Profile, variant: str) -> set[tuple[str, str]]:
        """What a container's filters are wrong about: by how they were made, or by C."""
        if variant != "default":
            return WRONG[variant]
        if runtime in HAVE_A_DEFAULT and profile is Profile.ERRNO:
            said = self.answers("witnessed", runtime)
            return {key for key, answer in said.items() if answer != -errno.EPERM}
        # No default ends a process, or lets one run that it records.
        return EVERYTHING


@pytest.fixture(scope="module")
def bed(machine: Machine, scratch: Path, with_python: Path, judge: Judge) -> Bed:
    return Bed(machine, Roots(scratch, with_python), judge)


@pytest.mark.parametrize(("variant", "runtime", "profile"), MATRIX)
def test_the_verdict(
    runtime: str, profile: Profile, variant: str, bed: Bed, tmp_path: Path
) -> None:
    """Exactly the calls fail that the profile is wrong about: from outside, by exec, and inside."""
    need(runtime)
    given = profile_for(bed.machine, runtime, profile, variant)
    wanted = bed.machine.wanted(runtime, bed.roots.scratch, given)
    wrong = bed.wrong(runtime, profile, variant)
    executes = () if runtime == "bwrap" else plan.executed(SHIPPED, (profile,), X86)

    found = target.load(wanted)
    cells = bed.judge.cells(found, profile, [*documented(profile), *executes])
    inside_it = judged_inside(wanted, bed.roots.with_python, profile, tmp_path)

    by_exec = [cell for cell in cells if cell.key.variant == Way.RUNTIME_EXEC]
    assert failing([cell for cell in cells if cell not in by_exec]) == wrong
    assert len(by_exec) == len(executes)
    wrongly_confined = {cell.key.arch for cell in by_exec if cell.outcome is Outcome.FAILED}
    # The call is made under exec's own filters, which are wrong about it there, too.
    expected = {arch for arch, name in wrong if name == SAMPLE[arch]} if executes else set()
    assert wrongly_confined == expected
    check_inside(inside_it, cells, profile, wrong)
    unconfined = variant == "default" and runtime not in HAVE_A_DEFAULT
    for said in (" ".join(inside_it.findings), inside_it.description):
        assert ("no seccomp filter is installed" in said) == unconfined
    assert ("has no seccomp filter at all" in " ".join(map(str, found.findings))) == unconfined


def check_inside(
    seen: Seen, outside: Sequence[Cell], profile: Profile, wrong: set[tuple[str, str]]
) -> None:
    """The same calls fail inside, as far as that shows without audit records."""
    effect, record = claims.documented(profile)
    *told, last = [cell for cell in seen.cells if cell.key.claim is not Claim.CONTROLS]
    assert {cell.key.claim for cell in told} == {effect}
    assert failing(told) == {
        (cell.key.arch, cell.key.syscall)
        for cell in outside
        if cell.outcome is Outcome.FAILED and cell.key.claim is effect
    }
    # Without records LOG is not told from ALLOW there.
    assert failing(told) == wrong or profile is Profile.LOG
    assert last.key.claim is record
    if last.outcome is Outcome.FAILED:
        assert (last.key.arch, last.key.syscall) in wrong
    else:
        assert last.outcome is Outcome.CANNOT_TELL
        assert "no record reaches this container" in last.sentence
    agreement = compare(samples.run(outside), samples.run(seen.cells))
    assert [(a.sentence, b.sentence) for a, b in agreement.differing] == []
    assert agreement.agreed == len(EVERYTHING) + (last.outcome is Outcome.FAILED)


SAMPLE = {
    abi.name: call.name for abi in X86 if (call := plan.sample_call(SHIPPED, abi)) is not None
}


def rule(name: str, action: str, *conditions: tuple[int, str, int, int], **more: int) -> Rule:
    """A rule of a profile; a condition is index, operator, value, second value."""
    arguments = [
        {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}
        for index, operator, value, second in conditions
    ]
    return {"names": [name], "action": f"SCMP_ACT_{action}", "args": arguments, **more}


ODD: Mapping[str, Sequence[Rule]] = {
    "conditions": [
        # What is let through under a condition is refused where it does not hold.
        rule("acct", "ALLOW", (0, "NE", 0, 0)),
        rule("mount", "ALLOW", (3, "MASKED_EQ", 0x20, 0x20)),
        rule("setns", "ALLOW", (1, "EQ", 0x40000000, 0)),
        rule("keyctl", "ALLOW", (0, "GE", 1 << 31, 0)),
        rule("quotactl", "ALLOW", (0, "LT", 1 << 31, 0)),
    ],
    "other actions": [
        rule("acct", "TRACE", errnoRet=3),
        rule("mount", "ERRNO", errnoRet=errno.ENOSYS),
        rule("reboot", "KILL_PROCESS"),
        rule("swapoff", "KILL_THREAD"),
        rule("bpf", "TRAP"),
        rule("swapon", "LOG"),
    ],
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_profiles(odd: str, bed: Bed, tmp_path: Path) -> None:
    """The calls that are made are judged alike outside and inside, and as a C program sees them."""
    need("docker")
    profile = Profile.ERRNO
    given = dict(exported(profile))
    given["syscalls"] = [*given["syscalls"], *ODD[odd]]
    wanted = bed.machine.wanted("docker", bed.roots.scratch, given)

    cells = bed.judge.cells(target.load(wanted), profile, documented(profile))
    seen = judged_inside(wanted, bed.roots.with_python, profile, tmp_path)
    confined = ("--security-opt", f"seccomp={wanted.seccomp}")
    by_c = replace(wanted, arguments=(*wanted.arguments, *confined))
    said = confirmed(bed.machine, by_c, "witnessed")

    wrong = {key for key, answer in said.items() if answer != -errno.EPERM}
    assert {name for _, name in wrong} <= {rule["names"][0] for rule in ODD[odd]}
    assert wrong
    assert failing(cells) == wrong
    check_inside(seen, cells, profile, wrong)


WRONG_BY_EXEC = {
    "no filter": lambda _: (bpf.statement(bpf.RET_K, 0x7FFF0000),),
    # It answers the same as the right one about every number but those that no table knows.
    "unknown numbers": lambda right: (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JGE, 0x50000000, 0, 1),
        bpf.statement(bpf.RET_K, 0x7FFF0000),
        *right,
    ),
}


@every_profile
@pytest.mark.parametrize("wrong", WRONG_BY_EXEC.values(), ids=WRONG_BY_EXEC)
def test_an_exec_that_confines_otherwise(
    profile: Profile, wrong: Callable[[Program], Program], judge: Judge
) -> None:
    right = builtin.build(SHIPPED, X86, profile)
    for executed, outcome in (((right,), Outcome.PASSED), ((wrong(right),), Outcome.FAILED)):
        origin = Origin("docker", "1", "image", "", executed)
        found = FilterStack("docker container of image", (right,), X86[0], origin=origin)
        cases = plan.executed(SHIPPED, (profile,), X86)
        cells = [c for c in judge.cells(found, profile, cases) if c.key.claim is not Claim.CONTROLS]
        assert {cell.key.arch for cell in cells} == {abi.name for abi in X86}
        assert {cell.outcome for cell in cells} == {outcome}, [cell.sentence for cell in cells]


# The failures under docker's own profile are real.

UNCONFINED = {
    **dict.fromkeys(("docker", "podman"), ("--security-opt", "seccomp=unconfined")),
    "cri": ("--container-seccomp=Unconfined",),
}


@every_default
def test_the_default_profiles(runtime: str, bed: Bed) -> None:
    """What the matrix compares them with: a call that C says is not refused is none that was."""
    need(runtime)
    witnessed = bed.answers("witnessed", runtime)
    plain = bed.answers("plain", runtime)
    without = bed.answers("plain", runtime, *UNCONFINED[runtime])

    assert set(witnessed) == set(plain) == set(without) == EVERYTHING
    assert set(witnessed.values()) == {-errno.EPERM, -errno.ENOSYS}
    refused = {key for key, answer in witnessed.items() if answer == -errno.EPERM}
    assert {(abi.name, "kexec_load") for abi in X86} <= refused
    assert ("x86_64", "setsid") not in refused
    assert plain["x86_64", "setsid"] > 0
    assert {plain[key] for key in refused} == {-errno.EPERM}
    # Nothing else is refused but what a missing capability refuses, too, or by ENOSYS.
    for key in EVERYTHING - refused:
        answers = {without[key], -errno.ENOSYS}
        assert plain[key] in answers or key[1] == "setsid", (key, plain[key])


def confirmed(machine: Machine, wanted: Wanted, how: str) -> Answers:
    """What the C program gets for every documented call in a container that runs as anybody's."""
    asked = sorted(EVERYTHING)
    words = ("/program", *confirming.words(how, asked))
    if wanted.program.runtime == "cri":
        made = container.make(wanted)
        with container.removed(made):
            return confirming.answers(asked, made.run(Job(words, {}, ())))
    started = (wanted.program.runtime, "run", "--rm", "--network", "none")
    said = machine.run(*started, *wanted.arguments, wanted.subject, *words)
    return confirming.answers(asked, said)


# From inside, the whole plan.


@dataclass(frozen=True, slots=True)
class Inside:
    """A container that is judged from inside.

    Attributes:
        runtime: its runtime.
        profile: what it is judged by.
        variant: the profile that it gets.
        own_python: whether it is of an image with Python; else one is mounted.
    """

    runtime: str
    profile: Profile
    variant: str
    own_python: bool = False


FROM_INSIDE = [
    Inside("runc", Profile.KILL, "one rule dropped"),
    Inside("crun", Profile.LOG, "conforming"),
    Inside("podman", Profile.ERRNO, "x86_64 only"),
    Inside("bwrap", Profile.KILL, "conforming"),
    Inside("docker", Profile.ERRNO, "default", own_python=True),
]


@pytest.mark.parametrize("one", FROM_INSIDE, ids=lambda one: f"{one.runtime}-{one.profile}")
def test_the_verdict_from_inside(
    one: Inside, machine: Machine, roots: Roots, judge: Judge, tmp_path: Path
) -> None:
    """Both ways come to the same, cell by cell, for everything that can be told inside."""
    need(one.runtime)
    root = roots.with_python if one.own_python else roots.scratch
    given = profile_for(machine, one.runtime, one.profile, one.variant)
    wanted = machine.wanted(one.runtime, root, given)
    cases = plan.plan(SHIPPED, (one.profile,), X86, X86, ())
    outside = samples.run(judge.cells(target.load(wanted), one.profile, cases))
    before = sorted(roots.scratch.rglob("*"))
    tmp_path.chmod(0o755)
    python = None if one.own_python else roots.with_python

    found = inside.judge(wanted, tmp_path, python, [f"--profile={one.profile}"])

    assert found.record is not None, found.said
    theirs = results.load(found.record)
    agreement = compare(outside, theirs)
    assert [(a.sentence, b.sentence) for a, b in agreement.differing] == []
    assert agreement.agreed > 900
    assert {cell.key.arch for cell in theirs.cells} == {abi.name for abi in X86}
    assert theirs.target.kind == "ambient"
    if one.variant == "one rule dropped":
        assert DROPPED in {c.key.syscall for c in theirs.cells if c.outcome is Outcome.FAILED}
    assert sorted(roots.scratch.rglob("*")) == before
