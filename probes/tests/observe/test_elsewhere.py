"""Work that is started elsewhere, and filters that hide calls: what the observer then says.

Whether a daemon was reached is told by the daemon itself.
"""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from probes import arch
from probes.files import SUITE
from probes.filters import bpf
from probes.observe.hiding import UNKNOWN
from probes.tests.support import observing
from probes.tests.support.emitter import wait_for
from probes.tests.support.machine import Machine, need, static_root
from probes.tests.support.oracles import require, unavailable

COMMAND = [sys.executable, "-m", "syscall_conformance"]
NATIVE = arch.offered_by(os.uname().machine)[0]
SOURCES = SUITE / "probes/tests/data/observe"

_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86 has this ABI")
_root = pytest.mark.root("starts daemons, or gives up rights")


def _compiled(folder: Path, name: str, *options: str) -> Path:
    compiler = require("gcc", "gcc libc6-dev")
    program = folder / name
    source = SOURCES / f"{name}.c"
    subprocess.run([compiler, "-O1", *options, "-o", program, source], check=True)
    return program


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("listen", "reach", "under"):
        _compiled(folder, name, "-static")
    return folder


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that runs outside of what is observed."""

    process: subprocess.Popen[str]
    port: str

    def was_reached(self) -> bool:
        """Whether anybody has come to it."""
        assert self.process.stdout is not None
        self.process.kill()
        return "reached\n" in self.process.stdout.read()


@contextlib.contextmanager
def _daemon(program: Path, *words: str, before: Sequence[str] = ()) -> Iterator[Daemon]:
    command: list[str | Path] = [*before, program, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, *port = process.stdout.readline().split()
            assert ready == "ready"
            yield Daemon(process, "".join(port))
        finally:
            process.kill()


def _named(tools: Path, folder: Path, name: str) -> Path:
    """The daemon under another name."""
    return Path(shutil.copy(tools / "listen", folder / name))


@dataclass(frozen=True, slots=True)
class Told:
    """What the observer told."""

    status: int
    said: str
    report: Mapping[str, Any]

    @property
    def works(self) -> list[str]:
        """What is known of the work of each contact."""
        return [one["work"] for one in self.report["contacts"]]


def _observe(folder: Path, *words: str | Path, **options: Any) -> Told:  # noqa: ANN401 - run's
    file = folder / "report.json"
    command: list[str | Path] = [*COMMAND, "observe", "--json", file, "-o", folder / "text"]
    command += ["--", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )
    assert file.exists(), done.stderr
    report = observing.load(file)
    assert report["exit_status"] == done.returncode
    return Told(done.returncode, " ".join((folder / "text").read_text().split()), report)


# Every way to reach somebody.


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        "connect",
        *("sendto", "sendmsg", "sendmmsg"),
        *(pytest.param(one, marks=_x86) for one in ("connect32", "socketcall")),
        *(pytest.param(one, marks=_x86) for one in ("sendmsg32", "socketcall-sendto")),
    ],
)
def test_a_daemon_is_recognized_however_it_is_reached(
    tools: Path, tmp_path: Path, way: str
) -> None:
    datagram = way.startswith("send") or way.endswith("sendto")
    kind, path = "dgram" if datagram else "stream", str(tmp_path / "any.name")
    with _daemon(_named(tools, tmp_path, "containerd"), kind, path, "none") as daemon:
        told = _observe(tmp_path, tools / "reach", way, path)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said
    assert f"connected to {path}, containerd ({tmp_path}/containerd)" in told.said
    assert "--image" in told.said
    assert told.said.startswith("CANNOT TELL: ")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tcp", "mapped", "fastopen"])
def test_a_daemon_is_recognized_by_the_program_behind_a_port(
    tools: Path, tmp_path: Path, way: str
) -> None:
    with _daemon(_named(tools, tmp_path, "sshd"), "tcp", "0", "none") as daemon:
        told = _observe(tmp_path, tools / "reach", way, daemon.port)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said
    assert f":{daemon.port}, ssh ({tmp_path}/sshd), which starts commands on" in told.said


@pytest.mark.slow
@pytest.mark.parametrize("way", ["udp", "udp-connect"])
@pytest.mark.parametrize(
    ("daemon_words", "told"),
    [
        ("any fork", (6, ["started processes"])),
        ("any none", (0, ["none seen"])),
        ("mosh-server none", (6, ["starts work"])),
        ("dnsmasq none", (0, [])),
    ],
)
def test_datagrams_reach_a_daemon_as_well(
    tools: Path, tmp_path: Path, way: str, daemon_words: str, told: tuple[int, list[str]]
) -> None:
    name, work = daemon_words.split()
    with _daemon(_named(tools, tmp_path, name), "udp", "0", work) as daemon:
        seen = _observe(tmp_path, tools / "reach", way, daemon.port)
        assert daemon.was_reached()
    assert (seen.status, seen.works) == told, seen.said


@pytest.mark.slow
def test_a_daemon_is_recognized_behind_an_abstract_name(tools: Path, tmp_path: Path) -> None:
    name = f"{tmp_path.name}-{os.getpid()}"
    with _daemon(_named(tools, tmp_path, "libvirtd"), "abstract", name, "none") as daemon:
        told = _observe(tmp_path, tools / "reach", "abstract", name)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said
    assert f"connected to @{name}, libvirt " in told.said


@pytest.mark.slow
def test_a_client_anywhere_in_the_tree_is_seen(tools: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "any")
    make = tmp_path / "Makefile"
    make.write_text(f"all:\n\t@sh -c '(setsid {tools}/reach connect {path}; true) & wait'\n")
    words: list[str | Path] = [require("make", "make"), "-f", make]
    with _daemon(_named(tools, tmp_path, "dockerd"), "stream", path, "none") as daemon:
        told = _observe(tmp_path, *words)
        assert daemon.was_reached()
    # setsid is one of the calls: what was seen outweighs what was not.
    assert (told.status, told.works) == (1, ["starts work"])
    assert "Docker's daemon" in told.said


# Wherever the path leads.


@pytest.mark.slow
@pytest.mark.parametrize("form", ["relative", "link", "descriptor", "renamed"])
def test_a_path_is_followed_as_the_client_has_it(tools: Path, tmp_path: Path, form: str) -> None:
    real = tmp_path / "real"
    real.mkdir()
    with _daemon(_named(tools, tmp_path, "podman"), "stream", str(real / "s"), "none") as daemon:
        words: list[str | Path]
        if form == "renamed":
            (real / "s").rename(real / "t")
            words = [tools / "reach", "connect", real / "t"]
        elif form == "relative":
            words = ["sh", "-c", f"cd {real} && exec {tools}/reach connect ./s"]
        elif form == "link":
            (tmp_path / "link").symlink_to(real / "s")
            words = [tools / "reach", "connect", tmp_path / "link"]
        else:
            words = ["sh", "-c", f"exec 7<{real}; exec {tools}/reach connect /proc/self/fd/7/s"]
        told = _observe(tmp_path, *words)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said


@_root
def test_a_path_is_followed_below_another_root(tools: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "run").mkdir(parents=True)
    shutil.copy(tools / "reach", root)
    (root / "run/link").symlink_to("/run/s")  # of that root
    daemon = _named(tools, tmp_path, "dockerd")
    with _daemon(daemon, "stream", str(root / "run/s"), "none") as running:
        told = _observe(tmp_path, "chroot", root, "/reach", "connect", "/run/link")
        assert running.was_reached()
    assert told.report["contacts"][0]["listener"] == str(daemon)
    assert "starts work" in told.works


@_root
@pytest.mark.parametrize("whose", ["client", "daemon"])
def test_a_daemon_is_recognized_from_another_network(
    tools: Path, tmp_path: Path, whose: str
) -> None:
    path, apart = str(tmp_path / "any"), ("unshare", "--net")
    before = apart if whose == "daemon" else ()
    with _daemon(_named(tools, tmp_path, "crio"), "stream", path, "none", before=before) as daemon:
        words = [*(() if before else apart), tools / "reach", "connect", path]
        told = _observe(tmp_path, *words)
        assert daemon.was_reached()
    assert told.works == ["starts work"], told.said


def test_a_socket_that_is_open_from_the_start_counts(tools: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "any")
    with (
        _daemon(_named(tools, tmp_path, "dockerd"), "stream", path, "none") as daemon,
        socket.socket(socket.AF_UNIX) as connected,
    ):
        connected.connect(path)
        told = _observe(tmp_path, tools / "reach", "inherited", stdin=connected)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said
    assert "a socket that was open from the start is connected to" in told.said


def test_half_of_a_pair_is_no_daemon(tmp_path: Path) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        told = _observe(tmp_path, "true", stdin=mine)
    assert (told.status, told.works) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    ["docker.sock", "systemd/private", "podman/podman.sock", "lxd/unix.socket", "supervisor.sock"],
)
def test_a_path_tells_who_is_behind_a_relay(tools: Path, tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    relay = _named(tools, tmp_path, "haproxy")  # which starts nothing by itself
    with _daemon(relay, "stream", str(path), "none") as daemon:
        told = _observe(tmp_path, tools / "reach", "connect", path)
        assert daemon.was_reached()
    assert (told.status, told.works) == (6, ["starts work"]), told.said


# Daemons that nobody knows.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "told_of"),
    [
        (("none",), ["none seen"]),
        (("fork",), ["started processes"]),
        (("twice",), ["started processes"]),
        (("late",), ["started processes"]),
        (("become",), ["started processes"]),
        (("end",), ["has ended"]),
        (("none", "silent"), ["not known"]),
    ],
)
@pytest.mark.parametrize("kind", ["stream", "tcp"])
def test_an_unknown_daemon_is_told_by_what_it_does(
    tools: Path, tmp_path: Path, kind: str, work: tuple[str, ...], told_of: list[str]
) -> None:
    where = "0" if kind == "tcp" else str(tmp_path / "any")
    with _daemon(_named(tools, tmp_path, "own-server"), kind, where, *work) as daemon:
        way, there = ("tcp", daemon.port) if kind == "tcp" else ("connect", where)
        told = _observe(tmp_path, "sh", "-c", f"{tools}/reach {way} {there}; true")
        assert daemon.was_reached()
    assert told.works == told_of, told.said
    assert told.status == (0 if told_of == ["none seen"] else 6), told.said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "work", "status"),
    [("nscd/socket", "none", 0), (".s.PGSQL.5432", "none", 0), ("nscd/socket", "fork", 6)],
)
def test_a_path_of_a_harmless_daemon_does_not_make_one(
    tools: Path, tmp_path: Path, place: str, work: str, status: int
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    with _daemon(_named(tools, tmp_path, "own-server"), "stream", str(path), work) as daemon:
        told = _observe(tmp_path, tools / "reach", "connect", path)
        assert daemon.was_reached()
    assert (told.status, len(told.works)) == (status, status // 6), told.said


def test_a_harmless_daemon_may_fork(tools: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "any")
    with _daemon(_named(tools, tmp_path, "postgres"), "stream", path, "fork") as daemon:
        told = _observe(tmp_path, tools / "reach", "connect", path)
        assert daemon.was_reached()
    assert (told.status, told.works) == (0, []), told.said


def test_the_workloads_own_daemon_is_observed_itself(tools: Path, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    daemon = _named(tools, tmp_path, "dockerd")
    script = (
        f"{daemon} stream {path} fork >/dev/null & until {tools}/reach connect {path} 2>/dev/null;"
        " do sleep 0.05; done; kill $!"
    )
    told = _observe(tmp_path, "sh", "-c", script)
    assert (told.status, told.works) == (0, []), told.said


def test_where_nobody_listens_nothing_is_started(tools: Path, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with _daemon(_named(tools, tmp_path, "dockerd"), "stream", str(path), "none"):
        pass  # it leaves its socket behind
    script = f"{tools}/reach connect {path}; {tools}/reach connect {tmp_path}/none; true"
    told = _observe(tmp_path, "sh", "-c", script)
    if os.geteuid() == 0 and _in_first_pid_namespace():
        assert (told.status, told.works) == (0, []), told.said
    else:
        assert told.status == 6


def _in_first_pid_namespace() -> bool:
    return str(Path("/proc/self/ns/pid").readlink()) == "pid:[4026531836]"


def test_usual_programs_reach_nobody_who_counts(tmp_path: Path) -> None:
    script = "getent passwd root; getent hosts localhost; logger hello 2>/dev/null; true"
    told = _observe(tmp_path, "sh", "-c", script)
    assert (told.status, told.works) == (0, []), told.said


# Filters of the workload's own.

ACCT, BPF, GETPID = (NATIVE.numbers[name] for name in ("acct", "bpf", "getpid"))
_ALLOW = 0x7FFF0000


def _filter(folder: Path, returns: Mapping[int, int], otherwise: int = _ALLOW) -> Path:
    """A program that answers some numbers, and all else otherwise, whatever the ABI."""
    code = [
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        *bpf.tree(bpf.ranges_from(returns, otherwise)),
    ]
    path = folder / f"filter-{len(list(folder.iterdir()))}"
    path.write_bytes(bpf.to_bytes(tuple(code), big_endian=NATIVE.big_endian))
    return path


_HIDING = {
    "kill_process": 0x80000000,
    "kill_thread": 0,
    "trap": 0x30000,
    "errno": 0x50001,
    "success": 0x50000,
    "user_notif": 0x7FC00000,
    "unknown": 0x12340000,
}
_SHOWING = {"trace": 0x7FF00000, "log": 0x7FFC0000, "allow": _ALLOW}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "action"),
    [
        *(("prctl", action) for action in (*_HIDING, *_SHOWING)),
        *product(("seccomp", "tsync", "child-prctl"), ("errno", "log")),
    ],
)
def test_silence_is_no_answer_under_an_own_filter_that_may_hide_a_call(
    tools: Path, tmp_path: Path, method: str, action: str
) -> None:
    own = _filter(tmp_path, {ACCT: {**_HIDING, **_SHOWING}[action]})
    told = _observe(tmp_path, tools / "under", method, own, "--", str(GETPID))
    assert told.report["calls"][0]["kind"] == "confining"
    (one,) = told.report["own_filters"]
    assert one["executable"] == str(tools / "under")
    if action in _HIDING:
        assert told.status == 6, told.said
        assert list(one["hidden"][NATIVE.name]) == ["acct"]
        assert f"on {NATIVE.name} {one['hidden'][NATIVE.name]['acct']} to acct" in told.said
    else:
        assert (told.status, one["hidden"]) == (0, {}), told.said
    # What the kernel does: whether the call is seen when it is made.
    made = _observe(tmp_path, tools / "under", method, own, "--", str(ACCT))
    seen = any(call["call"] == "acct" for call in made.report["calls"])
    assert seen == (action in _SHOWING), made.said
    assert made.status == (1 if seen else 6)


def test_what_an_own_filter_hides_the_platform_would_have_killed(
    tools: Path, tmp_path: Path
) -> None:
    own = _filter(tmp_path, {ACCT: _HIDING["errno"]})
    platform = _filter(tmp_path, {ACCT: _HIDING["kill_process"]})
    words: list[str | Path] = [tools / "under", "prctl", own, "--", str(ACCT)]
    told = _observe(tmp_path, *words)
    assert told.status == 6, told.said
    words.insert(2, platform)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "signal 31\n"  # SIGSYS


@pytest.mark.slow
@pytest.mark.parametrize("number", [999, 0x3FFFFFF0])
def test_a_number_that_no_table_knows_may_be_hidden_too(
    tools: Path, tmp_path: Path, number: int
) -> None:
    own = _filter(tmp_path, {number: _HIDING["errno"]})
    platform = _filter(tmp_path, {number: _HIDING["kill_process"]})
    words: list[str | Path] = [tools / "under", "prctl", own, "--", str(number)]
    told = _observe(tmp_path, *words)
    assert told.status == 6, told.said
    (one,) = told.report["own_filters"]
    assert one["hidden"][NATIVE.name] == {UNKNOWN: "ERRNO(EPERM)"}
    assert f"on {NATIVE.name} ERRNO(EPERM) to numbers that no table knows" in told.said
    words.insert(2, platform)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "signal 31\n"  # SIGSYS


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_several_own_filters_one_is_enough(
    tools: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    both = [_filter(tmp_path, {}), _filter(tmp_path, {BPF: _HIDING["trap"]})]
    words = [both[index] for index in order]
    told = _observe(tmp_path, tools / "under", "seccomp", *words, "--", str(GETPID))
    assert told.status == 6, told.said
    assert told.report["own_filters"][0]["hidden"][NATIVE.name] == {"bpf": "TRAP"}


def test_an_own_allowlist_hides_all_that_it_does_not_name(tools: Path, tmp_path: Path) -> None:
    names = ("getpid", "exit_group", "write", "wait4", "clone", "rt_sigprocmask", "newfstatat")
    numbers = {NATIVE.numbers[name]: _ALLOW for name in names if name in NATIVE.numbers}
    own = _filter(tmp_path, numbers, _HIDING["errno"])
    told = _observe(tmp_path, tools / "under", "child-prctl", own, "--", str(GETPID))
    hidden = told.report["own_filters"][0]["hidden"][NATIVE.name]
    assert told.status == 6, told.said
    assert {"acct", "bpf", "mount", "unshare"} <= set(hidden)
    assert f"and {len(hidden) - 8} more" in told.said


@_x86
def test_an_own_filter_that_came_by_another_abi_is_read(tools: Path, tmp_path: Path) -> None:
    own = _filter(tmp_path, {ACCT: _HIDING["errno"]})
    told = _observe(tmp_path, tools / "under", "seccomp32", own, "--", str(ACCT))
    assert told.status == 6, told.said
    assert told.report["calls"][0]["abi"] == "i386"
    assert told.report["own_filters"][0]["hidden"]["x86_64"] == {"acct": "ERRNO(EPERM)"}


def test_a_refused_listener_leaves_it_open(tools: Path, tmp_path: Path) -> None:
    own = _filter(tmp_path, {})
    told = _observe(tmp_path, tools / "under", "listener", own, "--", str(GETPID))
    assert told.status == 6, told.said
    assert "once a filter with a listener was refused, EBUSY" in told.said
    assert "filters of its own were installed" not in told.said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["null", "nowhere", "strict", "empty", "invalid", "available"])
def test_to_ask_what_the_kernel_can_do_installs_nothing(
    tools: Path, tmp_path: Path, what: str
) -> None:
    told = _observe(tmp_path, tools / "under", what)
    assert told.status == 0, told.said
    assert told.report["calls"] == []
    assert told.report["own_filters"] == []
    assert told.report["notes"] == []


@pytest.mark.root("whoever is not is told one thing more")
def test_libseccomp_asks_and_installs_nothing(tmp_path: Path) -> None:
    # The first call of the library makes it learn the kernel's level of the interface.
    script = "import ctypes; print(ctypes.CDLL('libseccomp.so.2').seccomp_api_get())"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError:
        unavailable("there is no libseccomp: install libseccomp2")
    assert int(asked.stdout) > 1
    told = _observe(tmp_path, sys.executable, "-c", script)
    assert (told.status, told.report["calls"], told.report["notes"]) == (0, [], [])


def test_under_a_filter_the_observer_cannot_tell(tools: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    own = _filter(tmp_path, {ACCT: _HIDING["errno"]})
    script = (
        "import ctypes, os, sys\n"
        "raw = open(sys.argv[1], 'rb').read()\n"
        "libc = ctypes.CDLL(None)\n"
        "class P(ctypes.Structure):\n"
        "    _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_char_p)]\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0\n"
        "assert libc.prctl(22, 2, ctypes.byref(P(len(raw) // 8, raw))) == 0\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    words: list[str | Path] = [sys.executable, "-c", script, own, *COMMAND, "observe"]
    words += ["--json", file, "--", tools / "under", "null"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert "the observer is itself under filters" in " ".join(done.stderr.split())


# Files that are left for later.


@_root
def test_a_job_that_is_left_for_later_is_seen(tmp_path: Path) -> None:
    script = (
        "mount --make-rprivate /; mount -t tmpfs none /var/spool; mkdir -p /var/spool/cron/atjobs;"
        ' exec "$@"'
    )
    file = tmp_path / "report.json"
    command = [*COMMAND, "observe", "--json", str(file), "--", "sh", "-c"]
    apart = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    job = "echo true >/var/spool/cron/atjobs/a0001"
    done = subprocess.run([*apart, job], capture_output=True, text=True, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 6, said
    assert "/var/spool/cron/atjobs/a0001 was left meanwhile, which cron or at runs later" in said
    done = subprocess.run([*apart, "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Real daemons.

_CALLS = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
int main(void) { return syscall(SYS_acct, -1L) + syscall(SYS_bpf, -1L, -1L, -1L) != -2; }
"""


@_root
@pytest.mark.parametrize("place", ["/run/docker.sock", "/run/else.where"])
def test_a_client_of_docker_cannot_tell(machine: Machine, tmp_path: Path, place: str) -> None:
    need("docker")
    root = static_root(tmp_path, _CALLS)
    wanted = machine.wanted("docker", root)
    machine.run(
        "sh",
        "-c",
        f"test -S {place} || {{ touch {place}; mount --bind /run/docker.sock {place}; }}",
    )
    file = machine.folder / "client.json"
    start = ["docker", "--host", f"unix://{place}", "run", "--rm", "--network=none"]
    start += [*wanted.arguments, "--security-opt=seccomp=unconfined", wanted.subject, "/program"]
    words = machine.words(*COMMAND, "observe", "--json", str(file), "--", *start)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    report = observing.load(file)
    assert done.returncode == 6, done.stderr
    assert report["workload"] == {"exit_status": 0, "signal": None}, done.stderr
    (contact,) = report["contacts"]
    assert contact["listener"] == shutil.which("dockerd")
    assert contact["where"].startswith(place)
    # The same work, where it can be seen.
    words = machine.words(*COMMAND, "observe", "--json", str(file), "--", str(root / "program"))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr


@_root
@pytest.mark.parametrize("name", ["dockerd", "own-server", "postgres"])
def test_a_container_that_reaches_out_is_no_answer(
    machine: Machine, tools: Path, tmp_path: Path, name: str
) -> None:
    need("docker")
    root = static_root(tmp_path, (SOURCES / "reach.c").read_text())
    wanted = machine.wanted("docker", root)
    folder = machine.folder / f"shared-{name}"
    folder.mkdir()
    file = machine.folder / "container.json"
    with _daemon(_named(tools, tmp_path, name), "stream", str(folder / "s"), "fork") as running:
        command = [*COMMAND, "observe", "--json", str(file), "--image", wanted.subject]
        command += ["--runtime-command", shlex.join(wanted.program.words)]
        command += [f"--runtime-arg={one}" for one in (*wanted.arguments, "--network=none")]
        command += [f"--runtime-arg=--volume={folder}:/s", "--seccomp=unconfined"]
        words = [*command, "--", "/program", "connect", "/s/s"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert running.was_reached(), done.stderr
    report = observing.load(file)
    assert report["workload"] == {"exit_status": 0, "signal": None}
    works = {"dockerd": ["starts work"], "own-server": ["started processes"], "postgres": []}
    assert [one["work"] for one in report["contacts"]] == works[name]
    assert done.returncode == (0 if name == "postgres" else 6), done.stderr


@_root
def test_a_client_of_containerd_cannot_tell(machine: Machine, tmp_path: Path) -> None:
    need("docker")
    client = require("ctr", "containerd")
    machine.wanted("docker", static_root(tmp_path, _CALLS))  # its daemon starts containerd
    file = machine.folder / "client.json"
    script = f"{client} --address /run/docker/containerd/containerd.sock containers list"
    words = machine.words(*COMMAND, "observe", "--json", str(file), "--", "sh", "-c", script)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 6, done.stderr
    assert [one["daemon"] for one in observing.load(file)["contacts"]] == ["containerd"]


@_root
def test_a_client_of_podmans_service_cannot_tell(machine: Machine) -> None:
    need("podman")
    file = machine.folder / "client.json"
    service = ["podman", "system", "service", "--time=0", "unix:///run/own.socket"]
    with subprocess.Popen(machine.words(*service), stderr=subprocess.PIPE) as running:
        try:
            wait_for(
                lambda: "own" in machine.run("ls", "/run") or running.poll() is not None,
                "podman's service does not start",
            )
            script = "curl -s --unix-socket /run/own.socket http://podman/_ping"
            words = machine.words(
                *COMMAND, "observe", "--json", str(file), "--", "sh", "-c", script
            )
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        finally:
            running.kill()
    assert done.stdout == "OK", done.stderr
    assert done.returncode == 6, done.stderr
    assert [one["daemon"] for one in observing.load(file)["contacts"]] == ["podman's service"]


@_root
def test_a_client_of_ssh_cannot_tell(tmp_path: Path) -> None:
    daemon, client = require("/usr/sbin/sshd", "openssh-server"), require("ssh", "openssh-client")
    keygen = require("ssh-keygen", "openssh-client")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": tmp_path / "host",
        "UsePAM": "no",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "StrictModes": "no",
        "PidFile": "none",
        "PermitRootLogin": "yes",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    command = [daemon, "-D", "-e", "-f", "/dev/null", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            words: list[str | Path] = [client, "-F/dev/null", "-oBatchMode=yes"]
            words += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
            words += ["-i", tmp_path / "user", "-p", str(port), "root@127.0.0.1", "echo done"]

            def answers() -> bool:
                return subprocess.run(words, capture_output=True, check=False).returncode == 0

            wait_for(answers, "sshd does not answer")
            told = _observe(tmp_path, *words)
        finally:
            running.kill()
    assert told.status == 6, told.said
    known = {(one["daemon"], one["listener"]) for one in told.report["contacts"]}
    assert ("ssh", str(daemon)) in known


@_root
def test_a_tmux_that_runs_already_runs_the_command(tmp_path: Path) -> None:
    tmux = require("tmux", "tmux")
    path = tmp_path / "any"
    subprocess.run([tmux, "-S", path, "-f/dev/null", "new-session", "-d", "sleep 60"], check=True)
    try:
        told = _observe(tmp_path, tmux, "-S", path, "new-window", "-d", "setsid true")
    finally:
        subprocess.run([tmux, "-S", path, "kill-server"], check=True)
    assert told.works == ["starts work"], told.said
    assert told.status == 6


def test_a_bus_of_the_workloads_own_starts_what_is_seen(tmp_path: Path) -> None:
    own, send = require("dbus-run-session", "dbus-daemon"), require("dbus-send", "dbus-bin")
    asked = ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"]
    told = _observe(tmp_path, own, "--", send, "--session", "--print-reply", *asked)
    assert (told.status, told.works) == (0, []), told.said
