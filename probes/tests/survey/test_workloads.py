"""Processes by container and service, from made-up lists of processes and files of engines."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.survey import labels, monitors, seen_processes, workloads
from probes.survey.labels import Label
from probes.survey.monitors import Monitor
from probes.survey.seen_processes import Listing, SeenProcess
from probes.survey.workloads import FoundWorkload
from probes.workload import OwnerKind

ONE, TWO = "0123456789abcdef" * 4, "fedcba9876543210" * 4
OWN = 7


def process(pid: int, parent: int = 1, *words: str, **more: Any) -> SeenProcess:  # noqa: ANN401 - as SeenProcess takes them
    fields = {"name": words[0].rpartition("/")[2] if words else "a", "cgroup": "/", **more}
    return SeenProcess(pid, parent, started=pid, words=words, **fields)


def listing(*made: SeenProcess) -> Listing:
    first = process(1, 0, "/sbin/init", namespace="pid:[1]")
    return Listing({one.pid: one for one in (first, *made)})


def found(
    *made: SeenProcess,
    by_hand: Mapping[int, tuple[str, str]] | None = None,
    known: Mapping[str, Label] | None = None,
) -> dict[str, set[int]]:
    """The processes by the titles of what they belong to, without those that belong to nothing."""
    return {
        one.title: ids(one) for one in all_of(made, by_hand, known) if one.kind != OwnerKind.OTHER
    }


def all_of(
    made: Iterable[SeenProcess],
    by_hand: Mapping[int, tuple[str, str]] | None = None,
    known: Mapping[str, Label] | None = None,
) -> tuple[FoundWorkload, ...]:
    def label(_: Monitor, identity: str) -> Label:
        return (known or {}).get(identity, Label())

    return workloads.workloads(listing(*made), OWN, by_hand or {}, label)


def ids(one: FoundWorkload) -> set[int]:
    return {process.pid for process in one.processes}


SHIM = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "shop", "-id", "cart", "-address", "/a")
MOBY = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", ONE)
CONMON = (
    "/usr/bin/conmon",
    "--api-version",
    "1",
    "-c",
    ONE,
    "-n",
    "db",
    "--exit-dir",
    "/run/exits",
)
CRIO = (
    "/usr/bin/conmon",
    "-b",
    "/b",
    "-c",
    ONE,
    "--exit-dir",
    "/var/run/crio/exits",
    "-n",
    "k8s_a",
)


def test_a_container_that_its_path_does_not_name() -> None:
    """Containerd calls groups as its client likes; the shim knows the container."""
    shim, inner = process(10, 1, *SHIM), process(11, 10, "sh", cgroup="/shop/cart")
    assert found(shim, inner, process(12, 11, cgroup="/shop/cart")) == {"containerd:cart": {11, 12}}


def test_the_engine_of_a_path_of_the_users_own() -> None:
    for words, title in (
        (MOBY, f"docker:{ONE[:12]}"),
        (CONMON, f"podman:{ONE[:12]}"),
        (CRIO, f"cri-o:{ONE[:12]}"),
        (("sh",), f"container:{ONE[:12]}"),
    ):
        made = process(10, 1, *words), process(11, 10, cgroup=f"/of-a-user/{ONE}")
        assert found(*made) == {title: {11}}


def test_another_container_of_a_shim() -> None:
    """A pod has one shim, which is called by the pod's first container."""
    shim = process(10, 1, "containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", ONE)
    pod = "/kubepods/pod8d3f2c1e-0a1b-4c2d-9e3f-123456789abc"
    made = shim, process(11, 10, cgroup=f"{pod}/{ONE}"), process(12, 10, cgroup=f"{pod}/{TWO}")
    known = {ONE: Label("shop/cart/pause"), TWO: Label("shop/cart/web", "web:1", "uid")}
    assert found(*made, known=known) == {
        f"containerd:shop/cart/pause ({ONE[:12]})": {11},
        f"containerd:shop/cart/web ({TWO[:12]})": {12},
    }
    (web,) = (one for one in all_of(made, known=known) if one.id == TWO)
    assert (web.pod, web.image) == ("8d3f2c1e-0a1b-4c2d-9e3f-123456789abc", "web:1")
    assert {"containerd:shop/cart/web", f"containerd:{TWO}", "containerd:web:1"} <= {*web.words}


def test_a_sandbox_without_a_group() -> None:
    """Bubblewrap is there twice: outside, where nothing is confined, and within."""
    outer, inner = process(10, 2, "bwrap", "--ro-bind"), process(11, 10, "bwrap", "--ro-bind")
    program = process(12, 11, "nginx")
    service = "/system.slice/web.service"
    made = [process(2, 1, "sh"), outer, inner, program]
    made = [SeenProcess(**{**_fields(one), "cgroup": service}) for one in made]
    assert found(*made) == {"bwrap:nginx (10)": {11, 12}, "service:web.service": {2, 10}}


def _fields(one: SeenProcess) -> dict[str, Any]:
    return {name: getattr(one, name) for name in SeenProcess.__dataclass_fields__}


def test_lxc_and_nspawn_by_their_monitors() -> None:
    lxc = process(10, 1, "[lxc monitor] /var/lib/lxc web")
    nspawn = process(20, 1, "/usr/bin/systemd-nspawn", "-D", "/srv/box/", "--keep-unit")
    named = process(30, 1, "systemd-nspawn", "--machine=shop", "-D", "/srv/box")
    made = lxc, process(11, 10), nspawn, process(21, 20), named, process(31, 30)
    assert found(*made) == {"lxc:web": {11}, "nspawn:box": {21}, "nspawn:shop": {31}}


def test_a_runtime_that_was_called_by_hand() -> None:
    in_front = process(10, 1, "runc", "run", "-b", "/b", "job")
    kept = process(20, 1, "job2", cgroup="/job2")
    made = in_front, process(11, 10), kept, process(21, 20, cgroup="/job2")
    by_hand = {20: ("crun", "job2")}
    assert found(*made, by_hand=by_hand) == {"runc:job": {11}, "crun:job2": {20, 21}}
    assert found(process(10, 1, "runc", "list")) == {}


def test_a_pid_namespace_of_ones_own() -> None:
    """Whatever engine made it: an open container must not be missed."""
    apart = process(10, 1, cgroup="/box", namespace="pid:[2]")
    assert found(apart) == {"container:box-2": {10}}
    assert found(process(10, 1, namespace="pid:[2]")) == {"container:namespace-2": {10}}
    assert found(process(10, 1, namespace="pid:[1]")) == {}
    in_session = process(
        10, 1, cgroup="/user.slice/user-0.slice/session-1.scope", namespace="pid:[2]"
    )
    assert found(in_session) == {}
    in_service = process(10, 1, cgroup="/system.slice/a.service", namespace="pid:[2]")
    assert found(in_service) == {"service:a.service": {10}}


def test_services_of_one_name_stay_apart() -> None:
    made = [
        process(10 + uid, 1, cgroup=f"/user.slice/user@{uid}.service/app.slice/a.service")
        for uid in (1, 2)
    ]
    assert found(*made) == {
        "service:a.service of process 11": {11},
        "service:a.service of process 12": {12},
    }


def test_what_the_suite_itself_runs_in() -> None:
    made = process(OWN, 1, cgroup=f"/docker/{ONE}"), process(8, 1, cgroup=f"/docker/{TWO}")
    assert {one.id: one.is_own for one in all_of(made) if one.id != "/"} == {
        ONE: True,
        TWO: False,
    }


# The files of engines.


def written(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_json", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


CONTAINERD = {
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-name": "cart-7d9",
    "io.kubernetes.cri.sandbox-uid": "u",
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "web",
    "io.kubernetes.cri.image-name": "web:1",
}
OF_CRI_O = {
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.name": "cart-7d9",
    "io.kubernetes.pod.uid": "u",
    "io.kubernetes.cri-o.ContainerType": "sandbox",
    "io.kubernetes.container.name": "POD",
}


@pytest.mark.parametrize(
    ("notes", "label"),
    [
        (CONTAINERD, Label("shop/cart-7d9/web", "web:1", "u")),
        (
            CONTAINERD | {"io.kubernetes.cri.container-type": "sandbox"},
            Label("shop/cart-7d9/pause", "web:1", "u"),
        ),
        (OF_CRI_O, Label("shop/cart-7d9/pause", "", "u")),
        ({}, Label()),
        ([], Label()),
    ],
)
def test_the_name_of_a_pods_container(notes: object, label: Label, tmp_path: Path) -> None:
    bundle = written(tmp_path / "id", config_json={"annotations": notes})
    assert labels.label(Monitor("containerd", "id", process(2), bundle), "id") == label
    # Another container of the same pod stands beside.
    written(tmp_path / "other", config_json={"annotations": CONTAINERD})
    beside = labels.label(Monitor("containerd", "id", process(2), bundle), "other")
    assert beside.name == "shop/cart-7d9/web"


@pytest.mark.parametrize("content", ["", "[", "[]", "7", "{" * 100_000, "\0", '{"mounts": [3]}'])
def test_a_damaged_file_of_an_engine_is_no_fault(content: str, tmp_path: Path) -> None:
    bundle = written(tmp_path / "id", config_json=content)
    for engine in ("docker", "containerd", "podman"):
        monitor = Monitor(engine, "id", process(2), bundle, "db")
        assert labels.label(monitor, "id") == Label("db")
    assert labels.label(Monitor("docker", "id", process(2), tmp_path / "none"), "id") == Label()


def test_what_runtimes_know(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        run__runc__job__state_json={"init_process_pid": 12},
        run__runc__odd__state_json={"init_process_pid": "12"},
        run__crun__web__status={"pid": 13},
    )
    assert labels.known_to_runtimes(root) == {12: ("runc", "job"), 13: ("crun", "web")}
    assert labels.known_to_runtimes(tmp_path / "none") == {}


# What /proc shows.


def test_this_machines_processes() -> None:
    seen = seen_processes.listing()
    own = seen.processes[monitors_pid()]
    assert own.words
    assert own.name
    assert seen_processes.is_still(own)
    assert not seen_processes.is_still(
        SeenProcess(own.pid, own.parent, own.name, own.started - 1, "/")
    )
    assert next(iter(seen.ancestors(own))).pid == own.parent


@pytest.mark.parametrize(
    ("own", "other", "found"),
    [
        ("NSpid:\t7", "NSpid:\t1", seen_processes.INITIAL_PID_NAMESPACE),
        ("NSpid:\t7", "NSpid:\t9\t1", ""),
        ("NSpid:\t7", "Name:\tx\rNSpid:\t9\nNSpid:\t9\t1", ""),  # its name forges a line
        ("NSpid:\t7\t2", "NSpid:\t1", ""),
        ("NSpid:\t7\t2", "NSpid:\t8\t3", ""),
        ("", "", ""),
    ],
)
def test_who_shares_this_pid_namespace_is_known_by_depth(
    own: str, other: str, found: str, tmp_path: Path
) -> None:
    """The link of a process may be hidden, as that of this machine's first process can be."""
    for name, said in (("self", own), ("1", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status").write_text(f"Name:\tx\n{said}\n")
    (tmp_path / "1/stat").write_text("1 (x) S" + " 0" * 30)
    (tmp_path / "self/ns").mkdir()
    (tmp_path / "self/ns/pid").symlink_to(seen_processes.INITIAL_PID_NAMESPACE)
    assert seen_processes.listing(tmp_path).processes[1].namespace == found


def monitors_pid() -> int:
    return int(Path("/proc/self/stat").read_text().split()[0])


def test_the_value_of_an_option() -> None:
    for words in (["a", "-c", "x"], ["a", "--cid=x"], ["a", "--cid", "x"]):
        assert seen_processes.argument(words, "-c", "--cid") == "x"
    for words in (["a"], ["a", "-c"], ["a", "-cx"]):
        assert seen_processes.argument(words, "-c", "--cid") == ""


def test_no_monitor() -> None:
    for words in (("containerd",), ("containerd-shim", "-id"), ("conmon",), ("lxc-start",), ()):
        assert monitors.monitor_of(process(2, 1, *words)) is None
