"""Paths of control groups, as engines and drivers make them, tell whose processes these are."""

import pytest

from probes.survey import cgroups
from probes.survey.cgroups import Owner
from probes.workload import OwnerKind

ONE, TWO = "0123456789abcdef" * 4, "fedcba9876543210" * 4
UID = "8d3f2c1e-0a1b-4c2d-9e3f-123456789abc"
SLICED = UID.replace("-", "_")
"""The same as systemd's names of slices have it, in which a hyphen stands for a folder."""

STATIC = "0123456789abcdef0123456789abcdef"
"""The uid of a pod that the kubelet has from a file."""

CONTAINERS = {
    f"/docker/{ONE}": ("docker", ONE, ""),
    f"/system.slice/docker-{ONE}.scope": ("docker", ONE, ""),
    f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ONE}.scope": (
        *("docker", ONE),
        "",
    ),
    f"/of-a-user/{ONE}": ("", ONE, ""),
    f"/machine.slice/libpod-{ONE}.scope": ("podman", ONE, ""),
    f"/machine.slice/libpod-{ONE}.scope/container": ("podman", ONE, ""),
    f"/libpod_parent/libpod-{ONE}": ("podman", ONE, ""),
    f"/machine.slice/machine-libpod_pod_{TWO}.slice/libpod-{ONE}.scope": ("podman", ONE, ""),
    f"/system.slice/web.service/libpod-payload-{ONE}": ("podman", ONE, ""),
    f"/system.slice/nerdctl-{ONE}.scope": ("containerd", ONE, ""),
    f"/kubepods/burstable/pod{UID}/{ONE}": ("", ONE, UID),
    f"/kubepods/pod{UID}/{ONE}": ("", ONE, UID),
    f"/kubepods/besteffort/pod{STATIC}/{ONE}": ("", ONE, STATIC),
    "/kubepods.slice/kubepods-burstable.slice/"
    f"kubepods-burstable-pod{SLICED}.slice/cri-containerd-{ONE}.scope": ("containerd", ONE, UID),
    f"/kubepods.slice/kubepods-pod{SLICED}.slice/crio-{ONE}.scope": ("cri-o", ONE, UID),
    f"/kubepods.slice/kubepods-pod{SLICED}.slice/crio-{ONE}.scope/container": (
        *("cri-o", ONE),
        UID,
    ),
    f"/kubepods/burstable/pod{UID}/crio-{ONE}": ("cri-o", ONE, UID),
    f"/kubepods.slice/kubepods-pod{SLICED}.slice/docker-{ONE}.scope": ("docker", ONE, UID),
    "/system.slice/containerd.service/"
    f"kubepods-besteffort-pod{SLICED}.slice:cri-containerd:{ONE}": ("containerd", ONE, UID),
    "/kubelet.slice/kubelet-kubepods.slice/"
    f"kubelet-kubepods-pod{SLICED}.slice/cri-containerd-{ONE}.scope": ("containerd", ONE, UID),
    f"/../../kubepods-besteffort-pod{SLICED}.slice/cri-containerd-{ONE}.scope": (
        *("containerd", ONE),
        UID,
    ),
    f"/../cri-containerd-{ONE}.scope": ("containerd", ONE, ""),
    "/system.slice/runc-web.scope": ("runc", "web", ""),
    "/user.slice/crun-web-1.scope": ("crun", "web-1", ""),
    "/lxc.payload.web": ("lxc", "web", ""),
    "/lxc.payload.web/system.slice/nginx.service": ("lxc", "web", ""),
    "/lxc/web/init.scope": ("lxc", "web", ""),
    "/lxc.payload/web": ("lxc", "web", ""),
    "/machine.slice/machine-my\\x2dbox.scope/payload/init.scope": ("nspawn", "my-box", ""),
    "/machine.slice/systemd-nspawn@box.service/payload/system.slice/a.service": (
        *("nspawn", "box"),
        "",
    ),
}


@pytest.mark.parametrize("path", CONTAINERS)
def test_the_path_of_a_container(path: str) -> None:
    found = cgroups.place_of(path)
    assert (found.kind, found.engine, found.id, found.pod) == (
        OwnerKind.CONTAINER,
        *CONTAINERS[path],
    )
    assert not found.outside


@pytest.mark.parametrize("path", CONTAINERS)
def test_an_engine_in_a_container_counts(path: str) -> None:
    """The innermost container is whose the processes are; those around it are told."""
    found = cgroups.place_of(f"/docker/{TWO}{path.replace('/..', '')}")
    assert found.id == CONTAINERS[path][1]
    assert found.outside == (TWO,)


SERVICES = {
    "/system.slice/ssh.service": "ssh.service",
    "/system.slice/system-getty.slice/getty@tty1.service": "getty@tty1.service",
    "/system.slice/docker.service": "docker.service",
    "/system.slice/web.service/workers/3": "web.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/music.service": "music.service",
    "/user.slice/user-1000.slice/user@1000.service/init.scope": "user@1000.service",
    "/system.slice/_cpu.service": "cpu.service",
    "/../../system.slice/cron.service": "cron.service",
    "/machine.slice/systemd-nspawn@box.service/supervisor": "systemd-nspawn@box.service",
}


@pytest.mark.parametrize("path", SERVICES)
def test_the_path_of_a_service(path: str) -> None:
    found = cgroups.place_of(path)
    assert (found.kind, found.engine, found.id) == (OwnerKind.SERVICE, "systemd", SERVICES[path])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/init.scope",
        "/user.slice/user-0.slice/session-3.scope",
        f"/machine.slice/libpod-conmon-{ONE}.scope",
        f"/kubepods.slice/crio-conmon-{ONE}.scope",
        "/lxc.monitor.web",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        f"/docker/{ONE[:-1]}",
        f"/docker/buildkit/{ONE}x",
    ],
)
def test_the_path_of_neither(path: str) -> None:
    found = cgroups.place_of(path)
    assert found == Owner(OwnerKind.OTHER, path=path)


def test_the_monitor_of_a_nested_container_belongs_to_the_outer_one() -> None:
    found = cgroups.place_of(f"/docker/{TWO}/libpod_parent/libpod-conmon-{ONE}")
    assert (found.kind, found.id) == (OwnerKind.CONTAINER, TWO)


def test_two_users_may_have_services_of_one_name() -> None:
    first, second = (
        cgroups.place_of(f"/user.slice/user@{uid}.service/app.slice/a.service") for uid in (1, 2)
    )
    assert first.id == second.id
    assert first.path != second.path


HIERARCHIES = {
    "version 2": (f"0::/system.slice/docker-{ONE}.scope\n", ONE),
    "version 1": (f"12:pids:/docker/{ONE}\n1:name=systemd:/docker/{ONE}\n", ONE),
    "hybrid, and only version 1 knows": (f"3:cpu,cpuacct:/docker/{ONE}\n0::/\n", ONE),
    "hybrid, and systemd knows a unit of it": (
        f"3:memory:/docker/{ONE}\n1:name=systemd:/system.slice/docker.service\n0::/\n",
        ONE,
    ),
    "hybrid, and a service": ("1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
    "taken away": (f"0::/system.slice/docker-{ONE}.scope (deleted)\n", ONE),
    "taken away, and version 1 says nothing of that": (
        f"2:pids:/docker/{ONE}\n0::/docker/{TWO} (deleted)\n",
        TWO,
    ),
    "a colon in a name": ("0::/system.slice/a:b.service\n", "a:b.service"),
}


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_every_version_of_control_groups(kind: str) -> None:
    text, identity = HIERARCHIES[kind]
    assert cgroups.place_of(cgroups.path_of(text)).id == identity


def test_a_name_forges_no_line() -> None:
    path = "/user.slice/\r0::/system.slice/a.service"
    assert cgroups.path_of(f"0::{path}\n") == path


def test_a_process_of_which_nothing_is_known() -> None:
    assert cgroups.path_of("") == "/"
    assert cgroups.path_of("nonsense") == "/"
