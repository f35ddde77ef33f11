"""Real containers to harvest from, and the kernel's own word on what was harvested.

Every container, with whatever manages it, runs in namespaces of its own: processes, mounts,
network. What a runtime leaves behind (state under /run and /var/lib, copies of /etc, mounts,
daemons) is gone with the one process that holds these namespaces, whatever went wrong. Only its
control groups are the machine's, under a parent with a name of ours, and are removed by hand.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from probes import bpf, witness
from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.arch import Arch, Entry
from probes.instrument import Call, Request, Zygote
from probes.tests.emitter import wait_for
from probes.tests.oracles import require
from probes.verdict import Effect, read
from probes.zygote import MAX_CALLS

LIFETIME: Final = 60
"""Seconds after which a container ends by itself, whatever became of the test."""

START_SECONDS: Final = 45.0
"""How long a runtime may take; half a second is usual, and twice that for dockerd."""

_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
_PODMAN_PROFILE: Final = "/usr/share/containers/seccomp.json"

_PROGRAM: Final = f"""\
#include <unistd.h>
int main(void) {{ alarm({LIFETIME}); for (;;) pause(); }}
"""

# Whatever the runtimes write goes to where nobody else sees it. The working directory is the
# test's own; it stays reachable even if its path is hidden now.
_PRIVATE: Final = """\
set -eu
name=$1
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /var/lib
cp -a /etc /var/lib/etc
mount --bind /var/lib/etc /etc
# crun refuses to choose between the two hierarchies of a hybrid set-up.
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
export HOME=/run DOCKER_CONFIG=/run DOCKER_HOST=unix:///run/docker.sock
"""

_SCRIPTS: Final = {
    "runc": 'runc run -b . "$name"',
    "crun": 'crun run -b . "$name"',
    # Lower limits than the defaults: to raise them takes CAP_SYS_RESOURCE.
    "podman": """\
alias podman='podman --cgroup-manager cgroupfs --events-backend none --runtime crun'
podman import rootfs.tar "$name"
podman create --name "$name" --network none --cgroup-parent "/$name" \\
    --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \\
    ${2:+--security-opt "seccomp=$2"} "$name" "/$name"
podman init "$name"
cp "$(podman inspect --format '{{.OCIConfigPath}}' "$name")" oci.json
podman start --attach "$name"
""",
    "docker": """\
dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \\
    --userland-proxy=false --storage-driver=vfs --exec-opt native.cgroupdriver=cgroupfs \\
    --cgroup-parent="/$name" -H "$DOCKER_HOST" &
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ "$tries" -lt 300 ] && kill -0 "$!" || exit 1; sleep 0.1
done
docker import rootfs.tar "$name"
docker run --network none ${2:+--security-opt "seccomp=$2"} "$name" "/$name"
""",
}

_NEEDS: Final[Mapping[str, Mapping[str, str]]] = {
    "runc": {"runc": "runc"},
    "crun": {"crun": "crun"},
    "podman": {
        "podman": "podman",
        "crun": "crun",
        _PODMAN_PROFILE: "golang-github-containers-common",
    },
    "docker": {"dockerd": "docker.io", "docker": "docker.io"},
}

RUNTIMES: Final = tuple(_SCRIPTS)
"""The runtimes, by the command that starts a container."""


class RuntimeFailedError(Exception):
    """A runtime did not start the container, or left something behind; with its own words."""


def need(runtime: str) -> None:
    """Ends the test where a runtime is missing, saying which package brings it."""
    for tool, package in _NEEDS[runtime].items():
        require(tool, package)
    require("gcc", "gcc libc6-dev")
    require("unshare", "util-linux")


@contextlib.contextmanager
def running(
    runtime: str, directory: Path, profile: Mapping[str, Any] | None = None
) -> Iterator[int]:
    """Runs a container for as long as the context lasts; gives its first process, by our pid.

    Args:
        runtime: one of ``RUNTIMES``.
        directory: a new directory for the container's files. podman leaves the configuration
            there that it hands to crun: ``oci.json``.
        profile: the seccomp profile; None for the runtime's default, which docker and podman
            have. runc and crun, which manage nothing, then set no filter.

    Raises:
        RuntimeFailedError: the container did not start, or something is left of it.
    """
    name = f"sc-{os.urandom(5).hex()}"
    arguments = [name]
    _build_root(directory, name)
    (directory / "config.json").write_text(json.dumps(_bundle(name, profile)))
    if profile is not None:
        (directory / "profile.json").write_text(json.dumps(profile))
        arguments.append("profile.json")
    log = directory / "log"
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net"]
    script = f"shopt -s expand_aliases\n{_PRIVATE}{_SCRIPTS[runtime]}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "bash", "-c", script, runtime, *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield _first_process(process, name, log)
    finally:
        # The namespaces' first process goes with this one, and with it all others in there.
        process.kill()
        process.wait()
        _remove_control_groups(name)
        _refuse_leftovers(name, directory)


def configuration(directory: Path) -> Mapping[str, Any]:
    """What podman handed to crun for the container in this directory."""
    found: Mapping[str, Any] = json.loads((directory / "oci.json").read_text())
    return found


def _build_root(directory: Path, name: str) -> None:
    """A root file system of one static program, whose name tells its process from all others."""
    root = directory / "rootfs"
    for place in ("proc", "dev", "sys", "etc"):
        (root / place).mkdir(parents=True)
    source = directory / "program.c"
    source.write_text(_PROGRAM)
    subprocess.run(["gcc", "-static", "-o", root / name, source], check=True)
    subprocess.run(["tar", "-C", root, "-cf", directory / "rootfs.tar", "."], check=True)


def _bundle(name: str, profile: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The least that the OCI runtime specification asks for."""
    spaces = ("pid", "mount", "ipc", "uts", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": [f"/{name}"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": space} for space in spaces],
            "cgroupsPath": f"/{name}/{name}",
            **({} if profile is None else {"seccomp": profile}),
        },
    }


def _first_process(process: subprocess.Popen[bytes], name: str, log: Path) -> int:
    """Waits until the container's program runs; it has its name only after execve(2)."""
    found: list[int] = []

    def runs() -> bool:
        found.extend(_processes_called(name))
        return bool(found) or process.poll() is not None

    with contextlib.suppress(AssertionError):  # what the runtime says tells more
        wait_for(runs, "the container did not start", START_SECONDS)
    if not found:
        raise RuntimeFailedError(f"no container started: {log.read_text(errors='replace')}")
    return found[0]


def _processes_called(name: str) -> list[int]:
    pids = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if comm.read_text(errors="replace").strip() == name:
                pids.append(int(comm.parent.name))
    return pids


def _groups(name: str) -> list[Path]:
    """The control groups of ours, in every hierarchy, the innermost first."""
    parents = [*_CONTROL_GROUPS.glob(name), *_CONTROL_GROUPS.glob(f"*/{name}")]
    inner = [path for parent in parents for path in parent.rglob("*") if path.is_dir()]
    return sorted([*inner, *parents], key=lambda path: -len(path.parts))


def _remove_control_groups(name: str) -> None:
    def removed() -> bool:
        for group in _groups(name):
            with contextlib.suppress(OSError):  # EBUSY while the last process is being reaped
                group.rmdir()
        return not _groups(name)

    wait_for(removed, f"the control groups called {name} cannot be removed")


def _refuse_leftovers(name: str, directory: Path) -> None:
    wait_for(lambda: not _processes_called(name), f"a process called {name} does not end")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    left = [line for line in mounts if name in line or f"{directory}/" in line]
    if left:
        raise RuntimeFailedError(f"left behind: {', '.join(left)}")


# What the kernel makes of a stack of filters, and what each filter says.


@dataclass(frozen=True, slots=True)
class Comparison:
    """The kernel against the simulation.

    Attributes:
        asked: how many calls were made.
        effects: how many of them had each effect.
        mismatches: a sentence for each call of which the two say different things.
    """

    asked: int
    effects: Mapping[Effect, int]
    mismatches: tuple[str, ...]


def replay(
    prober: Zygote, arch: Arch, programs: Sequence[bytes], calls: Sequence[Call]
) -> Comparison:
    """Has children make calls under a stack of filters and compares with simulation.

    A marker below the stack keeps every call from running: see ``probes.witness``.

    Args:
        prober: who forks the children.
        arch: the ABI of the calls.
        programs: raw filters, the oldest first.
        calls: the numbers, and up to five arguments each; the sixth is the marker's.
    """
    stack = [bpf.from_bytes(raw, big_endian=arch.big_endian) for raw in programs]
    marked = [Call(call.number, _with_magic(call.arguments)) for call in calls]
    installed = (witness.sweeping_marker(arch), *programs)
    entry = arch.entry.name.lower()
    requests = [
        Request(entry, tuple(marked[first : first + MAX_CALLS]), installed, prober.nonce())
        for first in range(0, len(marked), MAX_CALLS)
    ]
    seen = [read(one) for answer in prober.run(requests) for one in answer]
    effects: dict[Effect, int] = {}
    mismatches = []
    for call, found in zip(marked, seen, strict=True):
        effects[found.effect] = effects.get(found.effect, 0) + 1
        returned = combined(stack, _as_seen(arch, call), big_endian=arch.big_endian)
        if (found.effect, found.errno) != _effect_of(returned):
            mismatches.append(
                f"{arch} {call.number:#x}{call.arguments}: simulated {returned}, {found.detail}"
            )
    return Comparison(len(seen), effects, tuple(mismatches))


def combined(
    stack: Sequence[bpf.Program], data: bpf.SeccompData, *, big_endian: bool = False
) -> FilterReturn:
    """What the kernel makes of the filters together: the first in precedence, else the newest."""
    values = [bpf.simulate(program, data, big_endian=big_endian) for program in stack]
    returns = [FilterReturn.decode(value) for value in values]
    return min(reversed(returns), key=lambda one: one.action.precedence)


def _with_magic(arguments: Sequence[int]) -> tuple[int, ...]:
    return (*(*arguments, 0, 0, 0, 0, 0)[:5], witness.SWEEP_MAGIC)


def _as_seen(arch: Arch, call: Call) -> bpf.SeccompData:
    width = 0xFFFFFFFF if arch.entry is Entry.INT80 else 0xFFFFFFFFFFFFFFFF
    arguments = tuple(argument & width for argument in call.arguments)
    return bpf.SeccompData(call.number, arch.audit_arch, arguments)


def _effect_of(returned: FilterReturn) -> tuple[Effect, int]:
    """What is seen of a return value in a child with one thread, above a marker."""
    if returned.action in {Action.KILL_PROCESS, Action.KILL_THREAD}:
        return Effect.KILLED_PROCESS, 0
    if returned.action is Action.TRAP:
        return Effect.TRAPPED, 0
    if returned.action is Action.ERRNO:
        return Effect.REFUSED, min(returned.data, MAX_ERRNO)
    # The marker's own answer has precedence over all the others.
    return Effect.REACHED, witness.MARKER_ERRNO


def numbers_of(arch: Arch) -> tuple[int, ...]:
    """Every number of an ABI's table, its neighbours, and where ranges and signs change.

    Without x86_64's uretprobe and uprobe, about which newer kernels ask no filter.
    """
    known = frozenset(arch.numbers.values())
    edges = {0, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF}
    beside = {number + step for number in known for step in (-1, 1)}
    unasked = {arch.number("uretprobe"), arch.number("uprobe")} if arch.name == "x86_64" else set()
    return tuple(sorted(n for n in known | edges | beside if n >= 0 and n not in unasked))
