"""The command ``node`` on a machine full of containers: exactly those that are open are told."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from probes import arch as abis
from probes.action import Profile
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY, SUITE
from probes.filters import bpf
from probes.run import settings, values
from probes.run.bench import Bench
from probes.survey import judged, question, seen_processes, taken
from probes.survey.question import SurveyQuestion
from probes.survey.seen_processes import Listing
from probes.targets import builtin
from probes.tests.support import pods
from probes.tests.support.emitter import wait_for
from probes.tests.support.machine import Machine, bundle, need, private_machine, static_root
from probes.tests.support.oracles import require
from probes.workload import OwnerKind, WorkloadRow, WorkloadState
from reports import results
from reports.commands import main
from reports.filters import allowlist
from reports.filters.allowlist import ExportRequest
from reports.results import Run

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
DROPPED: Final = "acct"
"""The call whose rule the profile of an open container lacks."""

SCHEMA: Final = json.loads((SUITE / "reports/results/results.schema.json").read_text())
HOLD: Final = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
UNDER: Final = """\
import ctypes, os, struct, sys
raw = open(sys.argv[1], "rb").read()
kept = ctypes.create_string_buffer(raw)
filters = struct.pack("HxxxxxxP", len(raw) // 8, ctypes.addressof(kept))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filters, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs a program under a filter, and in no container: PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP."""

SOCKET: Final = "/run/docker/containerd/containerd.sock"

DOCKER, PODMAN, CONTAINERD, RUNC, BWRAP = 8, 6, 6, 4, 6

OPEN_DOCKER, OPEN_CONTAINERD = 3, 2
"""Which of them is open: one that has no filter, and one of which a rule is dropped."""

CONTAINERS = DOCKER + PODMAN + CONTAINERD + RUNC + BWRAP
PROGRAMS = CONTAINERS + 5
"""How many processes run there, with those of the services."""

pytestmark = pytest.mark.containers(machine="x86_64")


@dataclass(frozen=True, slots=True)
class Full:
    """A machine with 30 containers of five kinds and three services, two of them all open.

    Attributes:
        machine: the machine.
        root: the root file system of the containers.
        conforming: the profile of those that hold.
    """

    machine: Machine
    root: Path
    conforming: Path

    def listing(self) -> Listing:
        """What runs on it, of all that /proc shows here."""
        seen = seen_processes.listing()
        space = Path(f"/proc/{self.machine.pid}/ns/pid").readlink()
        inside = {
            pid: one
            for pid, one in seen.processes.items()
            if any(up.pid == self.machine.pid for up in (one, *seen.ancestors(one)))
        }
        assert str(space) in {one.namespace for one in inside.values()}
        return replace(seen, processes=inside)

    def take(self, asked: SurveyQuestion) -> taken.Taken:
        """A survey of it, from outside."""
        return taken.take(SHIPPED, replace(asked, namespace_alone=True), self.listing())

    def node(self, *words: str, before: Sequence[str] = ()) -> tuple[int, str, Run]:
        """Runs the command on it: exit status, what is printed, and the record."""
        folder = self.machine.folder / "out"
        command = (str(Path(sys.executable).parent / "syscall-conformance"), "node")
        ended = subprocess.run(
            self.machine.words(*before, *command, *words, "--report-dir", str(folder)),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert not ended.stderr, ended.stderr
        return ended.returncode, ended.stdout, results.load(folder / "results.json")


def profiles() -> tuple[dict[str, Any], dict[str, Any]]:
    """The profile that conforms, and the same without a rule."""
    text = allowlist.oci_json(ExportRequest(SHIPPED, Profile.ERRNO, tuple(X86)))
    good, bad = json.loads(text), json.loads(text)
    bad["syscalls"].append({"names": [DROPPED], "action": "SCMP_ACT_ALLOW"})
    return good, bad


@pytest.fixture(scope="module")
def full() -> Iterator[Full]:
    for runtime in ("docker", "podman", "runc", "bwrap"):
        need(runtime)
    require("ctr", "docker.io")
    with private_machine() as machine:
        root = static_root(machine.folder, HOLD)
        good, bad = profiles()
        conforming, dropped = machine.file(good), machine.file(bad)
        raw = machine.file(bpf.to_bytes(builtin.build(SHIPPED, X86, Profile.KILL)))
        under = machine.file(UNDER.encode())
        images = {one: machine.wanted(one, root, good).subject for one in ("docker", "podman")}
        made = _bundle(machine, root, good)
        lines = [
            _run("podman", machine, f"db{index}", str(conforming), images["podman"])
            for index in range(PODMAN)
        ]
        for index in range(DOCKER):
            which = "unconfined" if index == OPEN_DOCKER else str(conforming)
            lines.append(_run("docker", machine, f"web{index}", which, images["docker"]))
        for index in range(CONTAINERD):
            which = str(dropped if index == OPEN_CONTAINERD else conforming)
            lines.append(
                f"ctr --address {SOCKET} -n shop run -d --cgroup /{machine.name}/c{index} --rootfs"
                f" --seccomp --seccomp-profile {which} {root} cart{index} /program"
            )
        lines += [
            f"runc run -d -b {made} {machine.name}-{index} </dev/null >/dev/null 2>&1"
            for index in range(RUNC)
        ]
        lines += [
            f"bwrap --bind {root} / --unshare-pid --seccomp 9 /program 9<{raw} >/dev/null 2>&1 &"
            for _ in range(BWRAP)
        ]
        lines += [_service(machine, "good", f"{sys.executable} {under} {raw} {root}/program &")]
        lines += [_service(machine, name, f"{root}/program & {root}/program &") for name in "ab"]
        machine.run("bash", "-ec", "\n".join(lines), seconds=100)
        done = Full(machine, root, conforming)
        wait_for(lambda: _count(done) == PROGRAMS, "not all containers are there", 30)
        try:
            yield done
        finally:
            for index in range(RUNC):
                machine.run("runc", "delete", "-f", f"{machine.name}-{index}")


def _run(engine: str, machine: Machine, name: str, profile: str, image: str) -> str:
    return (
        f"{engine} run -d --name {name} --network none --cgroup-parent=/{machine.name}"
        f" --security-opt seccomp={profile} {image} /program >/dev/null"
    )


def _bundle(machine: Machine, root: Path, profile: dict[str, Any]) -> Path:
    """A bundle of which several containers can be detached."""
    folder = machine.folder / "bundle"
    folder.mkdir()
    made = bundle(folder, root, profile) / "config.json"
    configuration = json.loads(made.read_text())
    configuration["process"]["terminal"] = False
    made.write_text(json.dumps(configuration))
    return folder


def _service(machine: Machine, name: str, command: str) -> str:
    """A script that starts a service as systemd does: in a control group of the unit's name."""
    group = f"/sys/fs/cgroup/systemd/{machine.name}/system.slice/{name}.service"
    inside = f"mkdir -p {group}; echo $BASHPID >{group}/cgroup.procs; {command}"
    return f"({inside}) >/dev/null 2>&1"


def _count(one: Full) -> int:
    """How many of the containers' programs run."""
    return sum(process.name == "program" for process in one.listing().processes.values())


@pytest.fixture(scope="module")
def said(full: Full) -> tuple[int, str, Run]:
    return full.node("--this-pid-namespace", "--node-name=worker-1")


def rows(run: Run) -> tuple[WorkloadRow, ...]:
    assert run.target.survey is not None
    return run.target.survey.workloads


def test_exactly_those_that_are_open_are_told(said: tuple[int, str, Run]) -> None:
    status, printed, run = said
    containers = [one for one in rows(run) if one.kind == OwnerKind.CONTAINER]
    assert {(one.engine, one.name) for one in containers if one.engine != "bwrap"} == {
        *(("docker", f"web{index}") for index in range(DOCKER)),
        *(("podman", f"db{index}") for index in range(PODMAN)),
        *(("containerd", f"cart{index}") for index in range(CONTAINERD)),
        *(("runc", one.name) for one in containers if one.engine == "runc"),
    }
    assert len(containers) == CONTAINERS
    assert all(one.required for one in containers)
    amiss = {one.name: one for one in containers if one.state is not WorkloadState.HOLDS}
    assert {name: one.state for name, one in amiss.items()} == {
        f"web{OPEN_DOCKER}": WorkloadState.NONE,
        f"cart{OPEN_CONTAINERD}": WorkloadState.FAILS,
    }
    assert amiss[f"cart{OPEN_CONTAINERD}"].sentence.endswith(f"does not refuse: {DROPPED}")
    assert status == ExitStatus.NOT_CONFORMANT
    first, second = printed.splitlines()[1:3]
    assert first.startswith("no filter")
    assert f"docker:web{OPEN_DOCKER}" in first
    assert second.startswith("does not hold")
    assert f"containerd:cart{OPEN_CONTAINERD}" in second


def test_the_record_has_the_failures_of_the_open_ones_alone(said: tuple[int, str, Run]) -> None:
    _, _, run = said
    failed = [cell.key for cell in run.cells if cell.outcome is Outcome.FAILED]
    assert {key.syscall for key in failed if key.claim is Claim.IS_PROVED} == {DROPPED}
    assert {key.arch for key in failed if key.claim is Claim.IS_PROVED} == {one.name for one in X86}
    (without,) = (key for key in failed if key.claim is Claim.IS_ALL_JUDGED)
    assert without.syscall.startswith(f"docker:web{OPEN_DOCKER} (")
    assert run.environment.host == "worker-1"
    assert run.target.kind == judged.KIND
    (tried,) = (cell for cell in run.cells if "so it is on this kernel" in cell.sentence)
    assert tried.key.syscall == DROPPED


def test_the_record_is_as_its_schema_says(said: tuple[int, str, Run], full: Full) -> None:
    _, _, run = said
    record = json.loads(results.to_json(run))
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert results.from_json(record) == run
    page = (full.machine.folder / "out/compliance.html").read_text()
    assert f"docker:web{OPEN_DOCKER} (" in page
    assert "Containers and services (33)" in page


def test_services_are_told_of_and_not_required(said: tuple[int, str, Run]) -> None:
    _, _, run = said
    services = {one.name: one for one in rows(run) if one.kind == OwnerKind.SERVICE}
    assert services.keys() == {"a.service", "b.service", "good.service"}
    assert not any(one.required for one in services.values())
    assert services["a.service"].state is WorkloadState.NONE
    assert services["a.service"].processes == 2


def test_services_that_are_required(full: Full) -> None:
    found = full.take(
        SurveyQuestion(required=question.required("services"), exclude=("*:b.service",))
    )
    survey = found.survey(lambda cells: cells)
    required = {one.name: one.state for one in survey.workloads if one.required}
    assert required == {"a.service": WorkloadState.NONE, "good.service": WorkloadState.HOLDS}
    excluded = [one.name for one in survey.workloads if one.state is WorkloadState.EXCLUDED]
    assert excluded == ["b.service"]
    failed = [cell.key.syscall for cell in found.cells if cell.outcome is Outcome.FAILED]
    assert failed == ["service:a.service"]


def test_every_container_of_a_pod(full: Full) -> None:
    """By CRI's own messages: the pause container and two more, one of which has no field."""
    need("cri")
    machine = full.machine
    image, right = machine.subject("cri", full.root), pods.localhost(full.conforming)
    socket = machine.containerd.socket
    with pods.of(socket, machine.folder, f"/{machine.name}", image) as made:
        pod = made.pod("cart", right)
        made.container(pod, "web", ["/program"], right)
        made.container(pod, "debugger", ["/program"], None)
        found = full.take(SurveyQuestion(include=("containerd:tests/*",)))
        survey = found.survey(lambda cells: cells)
    told = {one.name: one for one in survey.workloads if one.required}
    assert {name: one.state for name, one in told.items()} == {
        "tests/cart/pause": WorkloadState.HOLDS,
        "tests/cart/web": WorkloadState.HOLDS,
        "tests/cart/debugger": WorkloadState.NONE,
    }
    assert {one.engine for one in told.values()} == {"containerd"}
    assert {one.pod for one in told.values()} == {"cart"}
    assert told["tests/cart/web"].image == image
    assert {one.id for one in told.values()} == {pod.id, *pod.containers.values()}


def test_a_part_of_the_machine(full: Full) -> None:
    out = [f"--exclude=docker:web{OPEN_DOCKER}", f"--exclude=*:cart{OPEN_CONTAINERD}"]
    status, printed, _ = full.node("--this-pid-namespace", *out)
    assert status == ExitStatus.CONFORMANT, printed
    status, printed, run = full.node(*out)
    assert status == ExitStatus.CANNOT_TELL, printed
    (limit,) = (cell for cell in run.cells if cell.outcome is Outcome.CANNOT_TELL)
    assert "--this-pid-namespace" in limit.sentence
    assert limit.sentence in " ".join(printed.split())
    status, printed, run = full.node("--this-pid-namespace", "--include=docker:nothing")
    assert status == ExitStatus.NOTHING_ASSESSED, printed
    assert not run.cells


def test_without_the_right_to_read_filters(full: Full) -> None:
    """Who has none is known all the same; of all others nothing is."""
    less = ("setpriv", "--bounding-set=-sys_admin,-sys_ptrace", "--inh-caps=-all", "--")
    status, printed, run = full.node("--this-pid-namespace", before=less)
    # Names are read through the engine's processes, which takes the same right.
    states = {one.id: one.state for one in rows(run) if one.kind == OwnerKind.CONTAINER}
    (open_one,) = (name for name, state in states.items() if state is WorkloadState.NONE)
    assert (
        full.machine.run("docker", "inspect", "--format={{.Name}}", open_one)
        == f"/web{OPEN_DOCKER}"
    )
    assert status == ExitStatus.NOT_CONFORMANT, printed
    del states[open_one]
    assert set(states.values()) == {WorkloadState.CANNOT_TELL}
    # runc's are known by their pid namespaces: those of processes that may do no more than this one
    # can be seen, and which one the first process is in is told by its depth.
    assert len(states) == CONTAINERS - 1
    assert "who is in a container" not in {cell.key.syscall for cell in run.cells}
    status, _, _ = full.node("--this-pid-namespace", f"--exclude=*:{open_one}", before=less)
    assert status == ExitStatus.CANNOT_TELL


def test_the_verdict_is_that_of_a_single_process(full: Full) -> None:
    """On the claim that both make, cell by cell: of a stack that conforms, and of others."""
    profile = Profile.ERRNO
    found = full.take(SurveyQuestion(profile.value))
    by_failures: dict[int, judged.JudgedStack] = {}
    for one in found.stacks:
        failed = sum(cell.outcome is Outcome.FAILED for cell in one.cells)
        by_failures[failed] = one
    assert len(by_failures) > 2
    compared = 0
    for judged_stack in by_failures.values():
        pid = next(
            process.pid
            for member in found.members
            for process in member.workload.processes
            if process.name == "program"
            and len(member.stacks) == 1
            and member.stacks[0][0] == judged_stack.confinement
        )
        theirs = {_placed(cell): cell.outcome for cell in _proved(pid, profile)}
        ours = {_placed(cell): cell.outcome for cell in judged_stack.cells}
        assert ours == theirs, judged_stack.name
        compared += len(ours)
    assert compared > 500


def _proved(pid: int, profile: Profile) -> list[Cell]:
    """The proofs of a run with the target ``pid:N``."""
    options = values.read(DEFAULT_POLICY, profile=profile.value, target=f"pid:{pid}")
    resolved = settings.resolve(options)
    bench = Bench(resolved)
    try:
        cases = [case for case in resolved.cases if case.claim is Claim.IS_PROVED]
        return [cell for case in cases for cell in bench.judge(case)]
    finally:
        bench.close()


def _placed(cell: Cell) -> CellKey:
    return replace(cell.key, variant="")


# From within a container, as a DaemonSet runs it.

CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
"""Those that docs/node.md asks for."""

OWN = "f00dfeed" * 8
"""The id of the container that the suite runs in."""


def within(full: Full, *words: str, own_pids: bool = False, confined: bool = False) -> Run:
    """The record that the command makes in a container that has the machine's files."""
    machine = full.machine
    folder = machine.folder / f"within-{len(list(machine.folder.iterdir()))}"
    for place in ("host", "out"):
        (folder / place).mkdir(parents=True)
    machine.run("mount", "--rbind", "/", str(folder / "host"))
    machine.run("mount", "--make-rslave", str(folder / "host"))
    command = (str(Path(sys.executable).parent / "syscall-conformance"), "node")
    spaces = ("mount", "ipc", "uts", "network", "cgroup", *(["pid"] if own_pids else []))
    seccomp = {"seccomp": profiles()[0]} if confined else {}
    configuration = {
        "ociVersion": "1.0.2",
        "process": {
            "args": [*command, *words, "--node-name=worker-2", "--report-dir=/mnt"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": str(folder / "host"), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["ro"]},
            {
                "destination": "/mnt",
                "type": "bind",
                "source": str(folder / "out"),
                "options": ["rbind", "rw"],
            },
        ],
        "linux": {"namespaces": [{"type": space} for space in spaces], **seccomp},
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    ended = subprocess.run(
        machine.words("runc", "run", "-b", str(folder), OWN),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    machine.run("umount", "--recursive", str(folder / "host"))
    assert (folder / "out/results.json").exists(), ended.stderr
    run = results.load(folder / "out/results.json")
    assert ended.returncode == results.summarize(run).ruling.exit_status
    return run


def test_from_within_a_container(full: Full, said: tuple[int, str, Run]) -> None:
    """The same is found, by the same names; the suite's own container is open, as it has to be."""
    run = within(full, "--this-pid-namespace")
    found = {one.title: (one.state, one.stacks) for one in rows(run)}
    assert found.pop(f"runc:{OWN[:12]}") == (WorkloadState.EXCLUDED, ())
    assert found == {one.title: (one.state, one.stacks) for one in rows(said[2])}
    assert results.summarize(run).ruling.exit_status == ExitStatus.NOT_CONFORMANT


def test_from_within_a_pid_namespace_of_its_own(full: Full) -> None:
    run = within(full, own_pids=True)
    assert rows(run) == ()
    (limit,) = run.cells
    assert "hostPID: true" in limit.sentence
    assert results.summarize(run).ruling.exit_status == ExitStatus.CANNOT_TELL


def test_from_within_a_filter(full: Full) -> None:
    """The kernel shows filters to nobody who has one."""
    run = within(full, "--this-pid-namespace", confined=True)
    told = {one.name: one for one in rows(run) if one.kind is OwnerKind.CONTAINER}
    assert told[f"web{OPEN_DOCKER}"].state is WorkloadState.NONE
    assert told["db0"].state is WorkloadState.CANNOT_TELL
    assert "to nobody who is confined by seccomp" in told["db0"].sentence


def test_the_containers_go_on(full: Full, said: tuple[int, str, Run]) -> None:
    assert said[0]
    assert len(full.machine.run("docker", "ps", "-q").splitlines()) == DOCKER
    assert len(full.machine.run("podman", "ps", "-q").splitlines()) == PODMAN


# Command lines.


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--require=pods"], "--require pods: unknown word 'pods'"),
        (["--require="], "--require : unknown word ''"),
        (["--include=web"], "--include web: a pattern is a sort and a name"),
        (["--exclude=web"], "--exclude web: a pattern is a sort and a name"),
        (["--node-name=$(x)"], "--node-name $(x): no name of a machine"),
        (["--policy=/nowhere"], "/nowhere: "),
        (["--waivers=/nowhere"], "/nowhere: "),
        (["--report-dir=/proc/nowhere"], "/proc/nowhere: cannot write reports there"),
    ],
)
def test_a_faulty_command_line_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["node", *words]) == ExitStatus.USAGE
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith(f"syscall-conformance node: {sentence}")
    assert said.err.count("\n") == 1


def test_a_profile_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["node", "--profile=maim"])
    assert ended.value.code == ExitStatus.USAGE
    assert "refuse" in capsys.readouterr().err
