"""Keeps a machine: makes its control groups and namespaces, and removes them when its holder ends.

A program of its own, with the standard library alone. Its holder is at the other end of standard
input, and whatever becomes of the holder closes that: then every process of the machine is killed,
and its control groups go. So it must not itself be in what it removes, nor share the holder's
session, where Ctrl-C would end it.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "conformance"
"""How the names of a machine's control groups begin; its holder's pid and start follow."""

READY: Final = "ready"

LEAF: Final = "machine"
"""The group of a machine's own processes: version 2 wants none in a group that has groups."""

_NAMESPACES: Final = ("--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup")
_GROUPS: Final = "sys/fs/cgroup"
_CPUSET: Final = ("cpuset.cpus", "cpuset.mems")
_JOIN: Final = """\
while [ "$1" != -- ]; do
    [ -d "$1" ] || mkdir "$1"  # not its parent, which may be gone with the machine
    echo 0 >"$1/cgroup.procs"
    shift
done
shift
exec "$@"
"""
_REMOVE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_INTERFACE: Final = "16sh14x"

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_IN_MEMORY: Final = (
    *("run", "tmp", "var/tmp", "var/lib/docker", "var/lib/containerd", "var/lib/containers"),
    *("var/lib/lxc", "var/lib/machines"),
)
"""What a runtime fills; an overlay cannot be the upper layer of another one."""

_READ_ONLY: Final = ("proc/sys", "proc/sysrq-trigger")
_WHOLE: Final = "root/.proc"
_OWN: Final = "proc/sys/net"
"""The only settings of the kernel that are the network namespace's, and so the machine's."""


def main(role: str, text: str) -> int:
    """Keeps a machine, or becomes the first process of one.

    Args:
        role: ``keep`` or ``become``.
        text: the plan, as ``probes.releases.machine`` writes it.
    """
    plan = json.loads(text)
    if role == "become":
        _become(plan)
    return _keep(plan)


def _keep(plan: dict[str, Any]) -> int:
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is made is put away
    groups = [Path(group) for group in plan["groups"]]
    for group in groups:
        _sweep(group.parent)
    try:
        _make_groups(groups)
        return _hold(plan, groups)
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'a control group'}: {error.strerror}\n")
        return 1
    finally:
        remove(groups)


def _hold(plan: dict[str, Any], groups: Sequence[Path]) -> int:
    with subprocess.Popen(
        [*joined(groups), "unshare", *_NAMESPACES, "--fork", "--kill-child", *_become_words(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        first = 0
        try:
            said = b"" if child.stdout is None else child.stdout.readline()
            if said.decode().strip() != READY:
                return 1
            children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
            first = int(children.read_text(encoding="ascii"))
            sys.stdout.write(f"{READY} {first}\n")
            sys.stdout.flush()
            while os.read(0, 1 << 12):
                pass
            return 0
        finally:
            # unshare(1) reaps it then; an init of the real machine may take its time.
            _kill(first or child.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGKILL)


def _become_words(plan: dict[str, Any]) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", __file__, "become", json.dumps(plan))


def joined(groups: Sequence[Path]) -> tuple[str, ...]:
    """The words that put a command into control groups.

    Args:
        groups: the groups, as this process sees them; each is made where only it is missing.
    """
    return ("sh", "-ec", _JOIN, "sh", *(str(group) for group in groups), "--")


def _make_groups(groups: Sequence[Path]) -> None:
    for group in groups:
        group.mkdir()
        for name in _CPUSET:  # without these of version 1 no process may join
            file = group / name
            if file.exists():
                file.write_bytes((group.parent / name).read_bytes())


def remove(groups: Sequence[Path]) -> None:
    """Removes control groups with all below them, once their last process has been reaped."""
    until = time.monotonic() + _REMOVE_SECONDS
    while left := [group for group in groups if not _is_removed(group)]:
        if time.monotonic() > until:
            sys.stderr.write(f"the control group {left[0]} cannot be removed\n")
            return
        time.sleep(_POLL_SECONDS)


def _is_removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # EBUSY while a process ends
            Path(folder).rmdir()
    return not group.exists()


def _sweep(parent: Path) -> None:
    """Removes what a keeper left that was killed itself."""
    for group in parent.glob(f"{PREFIX}-*"):
        found = re.fullmatch(rf"{PREFIX}-(\d+)-(\d+)-\w+", group.name)
        if found and start_of(int(found[1])) != found[2]:
            _is_removed(group)


def start_of(pid: int) -> str:
    """When a process started, which with its pid names it for good; "" if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return ""
    return text.rpartition(")")[2].split()[19]


# The first process of the machine, in its namespaces.


def _become(plan: dict[str, Any]) -> None:
    _raise_loopback()
    if plan["root"]:
        _enter_root(plan)
    else:
        _mount("proc", Path("/proc"), kind="proc")  # that of its own pid namespace
        _mount_groups(Path("/"), plan["hierarchies"])
    if plan["prepare"]:
        _run("sh", "-euc", plan["prepare"])
    _join_leaf(plan["hierarchies"])
    os.write(1, f"{READY}\n".encode())
    os.execvpe(plan["init"][0], plan["init"], {**os.environ, **plan["environment"]})  # noqa: S606 - no shell


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack(_INTERFACE, b"lo", _IFF_UP))


def _enter_root(plan: dict[str, Any]) -> None:
    base = Path(plan["base"])
    _mount("tmpfs", base, kind="tmpfs")
    layers = [base / name for name in ("upper", "work", "root")]
    for layer in layers:
        layer.mkdir(mode=0o755)
    upper, work, root = layers
    _mount(
        *("overlay", root),
        kind="overlay",
        options=f"lowerdir={plan['root']},upperdir={upper},workdir={work}",
    )
    _fill(root, plan)
    before = root / ".before"
    before.mkdir()
    os.chdir(root)
    _run("pivot_root", ".", ".before")
    os.chdir("/")
    _run("umount", "--lazy", "/.before")
    Path("/.before").rmdir()


def _fill(root: Path, plan: dict[str, Any]) -> None:
    for name in ("proc", "sys", "dev", *_IN_MEMORY):
        (root / name).mkdir(parents=True, exist_ok=True)
    _mount("proc", root / "proc", kind="proc")
    for name in filter(lambda name: (root / name).exists(), _READ_ONLY):
        _mount(root / name, root / name, "--bind")
        _mount(None, root / name, options="remount,bind,ro")
    _mount(root / _OWN, root / _OWN, "--bind")
    _mount(None, root / _OWN, options="remount,bind,rw")
    # A user namespace may mount a proc only where one is in sight of which nothing is covered.
    (root / _WHOLE).mkdir(parents=True, exist_ok=True, mode=0o700)
    _mount("proc", root / _WHOLE, kind="proc")
    _mount("sysfs", root / "sys", kind="sysfs")
    _mount_groups(root, plan["hierarchies"])
    _mount(None, root / "sys", options="remount,bind,ro")
    _make_devices(root / "dev")
    for name in _IN_MEMORY:
        _mount("tmpfs", root / name, kind="tmpfs", options="mode=1777" if "tmp" in name else "")
    (root / "run/lock").mkdir()
    for path in plan["shared"]:
        _share(Path(path), root / path.lstrip("/"))
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
    (root / "etc/resolv.conf").write_text("", encoding="utf-8")
    (root / "etc/machine-id").write_text(f"{os.urandom(16).hex()}\n", encoding="utf-8")


def _share(path: Path, place: Path) -> None:
    if path.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(path, place, "--bind")


def _make_devices(dev: Path) -> None:
    _mount("tmpfs", dev, kind="tmpfs", options="mode=755")
    for name in _DEVICES:
        host = Path("/dev", name)
        if host.is_char_device():
            (dev / name).parent.mkdir(exist_ok=True)
            os.mknod(dev / name, 0o20666, host.stat().st_rdev)
            (dev / name).chmod(0o666)
    for name, aim in _LINKS:
        (dev / name).symlink_to(aim)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ):
        (dev / name).mkdir()
        _mount(kind, dev / name, kind=kind, options=options)


def _mount_groups(root: Path, hierarchies: Sequence[Sequence[str]]) -> None:
    """Mounts hierarchies, each as its namespace shows it: from the machine's own group on."""
    for name, kind, options in hierarchies:
        place = root / _GROUPS / name
        if name and place.parent == root / _GROUPS and not _has_tmpfs(place.parent):
            _mount("tmpfs", place.parent, kind="tmpfs", options="mode=755")
        place.mkdir(exist_ok=True)
        _mount("cgroup", place, kind=kind, options=options)


_COVERED: Final[list[Path]] = []


def _has_tmpfs(place: Path) -> bool:
    if place in _COVERED:
        return True
    _COVERED.append(place)
    return False


def _join_leaf(hierarchies: Sequence[Sequence[str]]) -> None:
    for group in leaves(Path("/", _GROUPS), hierarchies):
        group.mkdir(exist_ok=True)
        for name in _CPUSET:
            if (group / name).exists():
                (group / name).write_bytes((group.parent / name).read_bytes())
        (group / "cgroup.procs").write_bytes(b"0")  # no codec can be loaded any more


def leaves(groups: Path, hierarchies: Sequence[Sequence[str]]) -> Iterator[Path]:
    """The groups of a machine's own processes, as the machine sees them."""
    for name, _, _ in hierarchies:
        yield groups / name / LEAF


def _mount(source: object, place: Path, *words: str, kind: str = "", options: str = "") -> None:
    kinds = ("-t", kind) if kind else ()
    given = ("-o", options) if options else ()
    sources = () if source is None else (str(source),)
    _run("mount", *words, *kinds, *given, *sources, str(place))


def _run(*command: str) -> None:
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        sys.stderr.write(f"{' '.join(command)}: {said or f'exit status {done.returncode}'}\n")
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
