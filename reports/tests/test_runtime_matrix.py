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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cases.fixtures import DEFAULT_POLICY
from probes import arch as abis
from probes import bpf, plan, policy, settings
from probes.action import Profile
from probes.arch import ARCHES
from probes.bpf import Program
from probes.catalogue import probe_for
from probes.cell import Cell, Claim, Outcome
from probes.examiner import AuditTrail, Examiner
from probes.instrument import Zygote
from probes.plan import Case
from probes.targets import Origin, StackTarget, builtin, oci
from probes.targets.runtimes import inside, target
from probes.targets.runtimes.container import RUNTIMES
from probes.targets.runtimes.wanted import Wanted
from probes.tests.emitter import sharing_records
from probes.tests.machine import Machine, need, private_machine, static_root
from probes.tests.oracles import require
from reports import export, results
from reports.agreement import compare
from reports.export import Request
from reports.tests import samples

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts containers"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
DROPPED = "acct"
"""The call whose rule a wrong profile lacks."""

every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
every_profile = pytest.mark.parametrize("profile", list(Profile))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), CONFIRMS)


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


# From outside.


@dataclass(frozen=True, slots=True)
class Judge:
    """The instrument, as the main job puts it up.

    Attributes:
        zygote: makes the calls.
        trail: gives the records.
    """

    zygote: Zygote
    trail: AuditTrail

    def cells(
        self, found: target.ContainerFilters, profile: Profile, cases: Sequence[Case]
    ) -> list[Cell]:
        """The verdicts on a container."""
        judged = StackTarget(
            "docker", found.description, {profile: found.programs}, origin=found.origin
        )
        examiner = Examiner(self.zygote, judged, SHIPPED, X86, self.trail)
        with sharing_records():
            controls = examiner.calibrate(X86)
            return [*controls, *examiner.examine(cases)]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Zygote() as zygote:
        trail = settings.open_trail("netlink", zygote, X86[0])
        assert trail.collector is not None, trail.reason
        yield Judge(zygote, trail)
        trail.collector.close()


def documented(profile: Profile) -> list[Case]:
    """The cases about every documented call, and those about the runtime's exec."""
    cases = plan.plan(SHIPPED, (profile,), X86, X86, ())
    claims = plan.DOCUMENTED_CLAIMS[profile]
    return [case for case in cases if case.claim in claims]


def profile_for(
    machine: Machine, runtime: str, profile: Profile, variant: str
) -> Mapping[str, Any] | bytes | None:
    """A profile, as the runtime takes it."""
    if variant == "default":
        return None
    made = json.loads(export.oci_json(Request(SHIPPED, profile, tuple(X86))))
    if variant == "one rule dropped":
        made["syscalls"].append({"names": [DROPPED], "action": "SCMP_ACT_ALLOW"})
    if variant == "x86_64 only":
        made["architectures"] = ["SCMP_ARCH_X86_64"]
    if runtime != "bwrap":
        checked: Mapping[str, Any] = made
        return checked
    parsed = oci.read(machine.file(made))
    resolved = oci.resolve(parsed, X86[0], frozenset(), (6, 0), oci.Engine.DOCKER)
    (program,) = oci.compile(resolved, enosys_stub=False).programs
    return bpf.to_bytes(program)


def failing(cells: Sequence[Cell]) -> set[tuple[str, str]]:
    """The documented calls of which a claim fails, by ABI; none may be left open."""
    odd = {Outcome.BROKEN, Outcome.CANNOT_TELL, Outcome.WAIVED}
    assert [cell.sentence for cell in cells if cell.outcome in odd] == []
    failed = [cell.key for cell in cells if cell.outcome is Outcome.FAILED]
    assert {key.claim for key in failed} <= {
        claim for some in plan.DOCUMENTED_CLAIMS.values() for claim in some
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


@every_profile
@every_runtime
def test_the_verdict_from_outside(
    runtime: str, profile: Profile, machine: Machine, scratch: Path, judge: Judge
) -> None:
    """Exactly the calls fail that the profile is wrong about; exec makes no difference."""
    need(runtime)
    executes = () if runtime == "bwrap" else plan.executed(SHIPPED, (profile,), X86)
    for variant, wrong in WRONG.items():
        given = profile_for(machine, runtime, profile, variant)
        found = target.load(machine.wanted(runtime, scratch, given))

        cells = judge.cells(found, profile, [*documented(profile), *executes])

        by_exec = [cell for cell in cells if cell.key.variant == plan.Way.RUNTIME_EXEC]
        assert failing([cell for cell in cells if cell not in by_exec]) == wrong, variant
        assert len(by_exec) == len(executes)
        wrongly_confined = {cell.key.arch for cell in by_exec if cell.outcome is Outcome.FAILED}
        # The call is made under exec's own filters, which are wrong about it there, too.
        expected = {arch for arch, name in wrong if name == SAMPLE[arch]} if executes else set()
        assert wrongly_confined == expected, variant


SAMPLE = {abi.name: plan.sample_call(SHIPPED, abi) for abi in X86}


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
        found = target.ContainerFilters("docker container of image", (right,), (), origin)
        cases = plan.executed(SHIPPED, (profile,), X86)
        cells = [c for c in judge.cells(found, profile, cases) if c.key.claim is not Claim.CONTROLS]
        assert {cell.key.arch for cell in cells} == {abi.name for abi in X86}
        assert {cell.outcome for cell in cells} == {outcome}, [cell.sentence for cell in cells]


@pytest.mark.parametrize("runtime", ["runc", "crun", "bwrap"])
def test_those_that_set_no_filter_of_their_own(
    runtime: str, machine: Machine, scratch: Path, judge: Judge
) -> None:
    need(runtime)
    found = target.load(machine.wanted(runtime, scratch))
    cells = judge.cells(found, Profile.ERRNO, documented(Profile.ERRNO))
    assert failing(cells) == set[tuple[str, str]]().union(*map(there, X86))


# The failures under docker's own profile are real.

CONFIRMS = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ABI NUMBER ARGUMENT... : what the kernel answers to a child of its own. */
int main(int count, char **words)
{
    unsigned long value[6] = {0};
    long number, answer;
    if (count < 3)
        return 64;
    number = (long)strtoul(words[2], NULL, 0);
    for (int index = 3; index < count && index < 9; index++)
        value[index - 3] = strtoul(words[index], NULL, 0);
    pid_t child = fork();
    if (child == 0) {
        if (!strcmp(words[1], "i386")) {
            __asm__ volatile("push %%rbp\n mov %7, %%rbp\n int $0x80\n pop %%rbp"
                             : "=a"(answer)
                             : "a"((long)(int)number), "b"(value[0]), "c"(value[1]),
                               "d"(value[2]), "S"(value[3]), "D"(value[4]), "r"(value[5])
                             : "memory");
        } else {
            answer = syscall(number, value[0], value[1], value[2], value[3], value[4], value[5]);
            if (answer == -1)
                answer = -errno;
        }
        printf("%ld\n", answer);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? 0 : 1;
}
"""


def test_dockers_default_profile(machine: Machine, scratch: Path, judge: Judge) -> None:
    """What fails answers otherwise than by EPERM, as a C program says in the same container."""
    need("docker")
    wanted = machine.wanted("docker", scratch)
    found = target.load(wanted)

    failed = failing(judge.cells(found, Profile.ERRNO, documented(Profile.ERRNO)))

    assert ("x86_64", "setsid") in failed
    assert ("x86_64", "mount") not in failed
    for arch, call in sorted(failed):
        assert confirmed(machine, wanted, arch, call) != -errno.EPERM, (arch, call)
    refused = sorted({(abi.name, "mount") for abi in X86} - failed)
    for arch, call in refused:
        assert confirmed(machine, wanted, arch, call) == -errno.EPERM, (arch, call)


def confirmed(machine: Machine, wanted: Wanted, arch: str, call: str) -> int:
    """What the C program gets for a call in a container that docker runs as anybody's."""
    number = ARCHES[arch].number(call)
    row = probe_for(call)
    assert number is not None
    assert row is not None
    words = [arch, hex(number), *(hex(value) for value in row.args)]
    made = ("docker", "run", "--rm", "--network", "none", *wanted.arguments, wanted.subject)
    return int(machine.run(*made, "/program", *words))


# From inside.


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


@dataclass(frozen=True, slots=True)
class Roots:
    """The root file systems."""

    scratch: Path
    with_python: Path


@pytest.fixture
def roots(scratch: Path, with_python: Path) -> Roots:
    return Roots(scratch, with_python)


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
