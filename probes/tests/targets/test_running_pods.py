"""Pods that run already: every container is judged, and none stands for another.

The pods are started by CRI's own messages, on a containerd of the test's. What each container is
confined by is told by a C program that makes every documented call in it.
"""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from probes import arch
from probes.action import Action, Profile
from probes.documents import policy
from probes.errors import BadInputError
from probes.files import DEFAULT_POLICY
from probes.finding import Weight
from probes.runtimes.wanted import Start
from probes.targets import running_pods as target
from probes.targets.name import TargetName
from probes.targets.open import open_target
from probes.targets.stack import FilterStack
from probes.targets.words import ContainerOptions, surroundings
from probes.tests.support import confirming, containerd_daemon, pods
from probes.tests.support.containerd_daemon import Containerd
from probes.tests.support.machine import Machine, need, static_root
from probes.tests.support.oracles import require
from probes.tests.support.pods import Pod, Pods, SecurityProfile
from probes.tests.support.releases import release_machine, unless_asked_for
from reports.tests.support import job

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

SHIPPED = policy.load(DEFAULT_POLICY, arch.all_names())
X86 = arch.offered_by("x86_64")
ASKED: Final = sorted(
    (abi.name, name) for abi in X86 for name in SHIPPED.names if abi.number(name) is not None
)
KERNEL = (6, 0)
IMAGE = "syscall-conformance.test/pods:1"
STAY = "/stay"
OWN = "/own"
CONFIRM = ("/program", *confirming.words("witnessed", ASKED))


def allowing(*names: str) -> Mapping[str, Any]:
    """A profile that refuses the documented calls by EPERM, but for some."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {
                "names": sorted(set(SHIPPED.names) - set(names)),
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": errno.EPERM,
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with a runtime for pods.

    Attributes:
        pods: starts them.
        endpoint: the runtime's socket.
        folder: a folder for profiles, which the runtime sees by the same path.
    """

    pods: Pods
    endpoint: str
    folder: Path

    def profile(self, *allowed: str) -> SecurityProfile:
        """The field for a profile that refuses the documented calls but these."""
        path = self.folder / f"allowing-{'-'.join(allowed)}.json"
        path.write_text(json.dumps(allowing(*allowed)))
        return pods.localhost(path)


HERE: Final = "here"
RELEASES: Final = ("trixie", "sid")


@pytest.fixture(
    scope="module",
    params=[HERE, *(pytest.param(one, marks=unless_asked_for(one)) for one in RELEASES)],
)
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node of this machine's containerd, and of other releases' where they are asked for."""
    root = static_root(tmp_path_factory.mktemp("pods"), confirming.CONFIRMS)
    compiler = require("gcc", "gcc libc6-dev")
    for name, source in ((STAY, pods.STAYS), (OWN, pods.OWN_FILTER)):
        pods.add_program(root, name.strip("/"), source, compiler)
    with daemon(request, tmp_path_factory) as made:
        made.add_image(IMAGE, root, "/program")
        with pods.of(made.socket, made.folder, "/pods", IMAGE) as its:
            yield Node(its, made.endpoint, made.folder)


@contextmanager
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    """The containerd of a release, or of this machine."""
    if request.param == HERE:
        need("cri")
        machine: Machine = request.getfixturevalue("machine")
        yield machine.containerd
        return
    with release_machine(request.param, "containerd", "runc") as other:
        folder = other.folder / "containerd"
        folder.mkdir()
        compiler = require("gcc", "gcc libc6-dev")
        pause = containerd_daemon.pause_root(tmp_path_factory.mktemp("pause"), compiler)
        made = containerd_daemon.started(other.words, folder, "/run/own", pause)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture(scope="module")
def mixed(node: Node) -> Pod:
    """A pod with an init container that has ended, three others, and one that came later.

    What the kubelet would send: the pause container has the runtime's default profile, and every
    container its own field. But for the last one, which a bare client has made without a field.
    """
    made = node.pods
    pod = made.pod("mixed", labels={"app": "mixed"})
    made.container(pod, "setup", CONFIRM, node.profile())
    made.await_end(pod.containers["setup"])
    made.container(pod, "app", (STAY, *CONFIRM), node.profile())
    made.container(pod, "open", (STAY, *CONFIRM), node.profile("acct"))
    made.container(pod, "default", (STAY, *CONFIRM), pods.DEFAULT)
    made.container(pod, "debugger", (STAY, *CONFIRM), None)
    return pod


CONTAINERS: Final = ("setup", "app", "open", "default", "debugger")


def by_the_kernel(made: Pods, pod: Pod, name: str) -> set[tuple[str, str]]:
    """What is not refused in a container by EPERM, as the C program found out."""
    if name == "setup":
        path = Path(pod.config.log_directory, f"{name}.log")
        said = "\n".join(line.split(" ", 3)[3] for line in path.read_text().splitlines())
    else:
        said = made.printed(pod, name)
    answers = confirming.answers(ASKED, said)
    return {key for key, answer in answers.items() if answer != -errno.EPERM}


def by_the_suite(stack: FilterStack) -> set[tuple[str, str]]:
    """What a stack of filters does not refuse by EPERM."""
    return {(abi, call) for abi, call in ASKED if not refuses(stack, abi, call)}


def refuses(stack: FilterStack, abi: str, call: str) -> bool:
    """Whether a stack refuses a call by EPERM, whatever its arguments are."""
    if not stack.programs:
        return False
    one = arch.ARCHES[abi]
    number = one.number(call)
    assert number is not None
    found = stack.predict(one, number)
    return found is not None and (found.action, found.data) == (Action.ERRNO, errno.EPERM)


def stack_with(found: FilterStack, container: str) -> FilterStack:
    """The stack of a container, which must be one."""
    (stack,) = [one for one in found.members if f"container {container} of" in one.description]
    return stack


def test_every_container_is_judged_as_it_is_confined(node: Node, mixed: Pod) -> None:
    found = target.load("pod=tests/mixed", node.endpoint, KERNEL)

    for name in CONTAINERS:
        stack = stack_with(found, name)
        assert by_the_suite(stack) == by_the_kernel(node.pods, mixed, name), name
    # One with a profile of its own stands by itself, and what is confined alike stands together.
    groups = {
        frozenset(
            name for name in (*CONTAINERS, "pause") if f"container {name} of" in one.description
        )
        for one in found.members
    }
    assert groups == {
        frozenset({"setup", "app"}),
        frozenset({"open"}),
        frozenset({"default", "pause"}),
        frozenset({"debugger"}),
    }
    assert by_the_suite(stack_with(found, "app")) == set()
    wrong = by_the_suite(stack_with(found, "open"))
    assert wrong == {(abi.name, "acct") for abi in X86}
    assert found.origin is not None
    assert found.origin.version.endswith(" (containerd)")


def test_what_has_ended_and_what_a_bare_client_made_is_said(node: Node, mixed: Pod) -> None:
    del mixed
    found = target.load("label=app=mixed", node.endpoint, KERNEL)
    said = [one.text for one in found.findings]
    assert [one for one in found.findings if one.weight is not Weight.ADVICE] == []
    (ended,) = [one for one in said if "does not run" in one and "judged by the profile" in one]
    assert "container setup of the pod tests/mixed" in ended
    (bare,) = [one for one in said if "without a seccomp field" in one]
    assert "container debugger of the pod tests/mixed" in bare
    assert "the pod's field (RuntimeDefault) is for the pause container alone" in bare


@pytest.mark.parametrize(
    "word", ["pod=mixed,container={name}", "container={id}", "container={short}"]
)
def test_a_container_alone(word: str, node: Node, mixed: Pod) -> None:
    identifier = mixed.containers["open"]
    text = word.format(name="open", id=identifier, short=identifier[:12])
    found = target.load(text, node.endpoint, KERNEL)
    assert found.further == ()
    assert [one for one in found.findings if one.weight is not Weight.ADVICE] == []
    assert by_the_suite(found) == {(abi.name, "acct") for abi in X86}


@pytest.mark.parametrize("processes", [0, 2], ids=["of the pod", "of the node"])
def test_a_shared_pid_namespace_mixes_no_containers(processes: int, node: Node) -> None:
    made, endpoint = node.pods, node.endpoint
    pod = made.pod(f"sharing-{processes}", processes=processes)
    made.container(pod, "app", (STAY,), node.profile())
    made.container(pod, "other", (STAY,), pods.UNCONFINED)
    found = target.load(f"pod={pod.id}", endpoint, KERNEL)
    assert len(found.members) == 3
    assert by_the_suite(stack_with(found, "app")) == set()
    assert stack_with(found, "other").programs == ()
    assert len(stack_with(found, "pause").programs) == 1
    made.remove(pod)


def test_a_process_that_has_left_its_control_group_still_counts(node: Node) -> None:
    """Its pid namespace tells: else a process could hide from the judge by moving."""
    made, endpoint = node.pods, node.endpoint
    pod = made.pod("moving")
    identifier = made.container(pod, "app", (OWN,), node.profile())
    made.printed(pod, "app")
    for moved in within(identifier):
        if last_of(moved, "NSpid") != "1":
            leave(moved, identifier)
    found = target.load("pod=moving,container=app", endpoint, KERNEL)
    assert sorted(len(one.programs) for one in found.members) == [1, 2]
    made.remove(pod)


def within(container: str) -> list[Path]:
    """The processes in a container's control group, by their folders."""
    return [one for one in Path("/proc").glob("[0-9]*") if container in text_of(one / "cgroup")]


def text_of(path: Path) -> str:
    """What stands in a file of a process; nothing if it has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def last_of(process: Path, key: str) -> str:
    """The last word of a line of a process's status."""
    lines = text_of(process / "status").splitlines()
    return next(line for line in lines if line.startswith(f"{key}:")).split()[-1]


def leave(process: Path, container: str) -> None:
    """Has a process leave its container's control groups for those above."""
    for line in text_of(process / "cgroup").splitlines():
        _, hierarchy, path = line.split(":", 2)
        if container in path:
            mounted = hierarchy.removeprefix("name=") or "unified"
            group = Path("/sys/fs/cgroup", mounted, path.lstrip("/")).parent
            (group / "cgroup.procs").write_text(process.name)
    assert container not in text_of(process / "cgroup")


def test_a_container_that_is_made_and_not_started_counts(node: Node) -> None:
    made, endpoint = node.pods, node.endpoint
    pod = made.pod("waiting")
    made.container(pod, "app", (STAY,), None, starts=False)
    found = target.load("pod=waiting", endpoint, KERNEL)
    assert stack_with(found, "app").programs == ()
    assert any("had no profile" in one.text for one in found.findings)
    made.remove(pod)


REFUSED = {
    "pod=tests/mixd": r"there is no such pod on this node \(did you mean tests/mixed\?\)",
    "container=nosuch": "there is no such container",
    "pod=mixed,container=ap": r"there is no such container \(did you mean app\?\)",
    "label=app=none": "there is no such pod on this node: crictl pods lists them",
    "pod=": "names nothing: write pod=NAMESPACE/NAME",
    "label=app": "a label stands alone, as label=KEY=VALUE",
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_there(text: str, words: str, node: Node, mixed: Pod) -> None:
    del mixed
    with pytest.raises(BadInputError, match=words) as caught:
        target.load(text, node.endpoint, KERNEL)
    assert "\n" not in str(caught.value)


def test_a_pod_that_has_ended(node: Node) -> None:
    made, endpoint = node.pods, node.endpoint
    pod = made.pod("gone")
    made.end(pod)
    with pytest.raises(BadInputError, match="the pod tests/gone has ended: judge it while it runs"):
        target.load("pod=gone", endpoint, KERNEL)
    made.remove(pod)


def test_options_of_a_start_are_refused(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(allowing()))
    where = surroundings(DEFAULT_POLICY, Profile.ERRNO, (), ContainerOptions())
    given = replace(where, start=Start(profile, endpoint="unix:///x"))
    with pytest.raises(BadInputError, match="it runs already, so that no option says how"):
        open_target(TargetName("cri", "pod=x"), given)


SELECTED: Final = ("-k", "(denies or is_all_judged) and (acct or mount or is_all_judged)")


JOBS: Final = {
    "app": ("pod=tests/mixed,container=app", set[tuple[str, int]]()),
    "open": ("pod=tests/mixed,container=open", {("acct", 0)}),
    "setup": ("container={setup}", set[tuple[str, int]]()),
    "all": (
        "pod=tests/mixed",
        {("acct", 1), ("acct", 3), ("mount", 3), ("umount2", 3)},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_the_main_job(name: str, node: Node, mixed: Pod, tmp_path: Path) -> None:
    """From the command line to the exit status: exactly what is open fails, in its container."""
    text, failed = JOBS[name]
    words = text.format(**mixed.containers)
    done = job.run(
        tmp_path,
        *(*job.ALONE, f"--target=cri:{words}", f"--runtime-endpoint={node.endpoint}"),
        *("--profile=errno", "--arch=x86_64", *SELECTED),
    )
    assert done.status == int(bool(failed)), done.output
    cells = [cell for cell in done.cells if cell["outcome"] == "failed"]
    assert {(cell["syscall"], cell.get("stack", 0)) for cell in cells} == failed
    assert done.results["target"]["runtime"]["name"] == "cri"


@pytest.mark.slow
def test_a_gate_on_a_pod_that_runs(node: Node, mixed: Pod, tmp_path: Path) -> None:
    """It fails by the container that is open, says so, and judges nothing from inside."""
    del mixed
    words = (*(sys.executable, "-m", "syscall_conformance"), "gate", "pod=mixed,container=open")
    options = ("--runtime=cri", f"--runtime-endpoint={node.endpoint}", "--profile=errno")
    done = subprocess.run(
        (*words, *options, "--arch=x86_64", "--inside", f"--report-dir={tmp_path / 'out'}"),
        capture_output=True,
        text=True,
        timeout=job.PATIENCE_SECONDS,
        check=False,
        env=job.environment(),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "from inside: not judged: cri:pod=mixed,container=open: it runs already" in done.stdout
