"""A machine of a release is one by itself, changes nothing here, and is gone with its holder."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.errors import InstrumentError
from probes.files import SUITE
from probes.releases import keeper, machine
from probes.releases.machine import HYBRID, V1, V2, Hierarchy, ReleaseMachine, chosen
from probes.releases.roots import Root
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require

pytestmark = [
    pytest.mark.root("makes namespaces and control groups"),
    pytest.mark.containers,
]

HOST = machine.hierarchies(Path("/proc/self/mountinfo").read_text())
VIEWS = [
    view
    for view, kinds in ((V1, {"cgroup"}), (V2, {"cgroup2"}), (HYBRID, {"cgroup", "cgroup2"}))
    if kinds <= {one.kind for one in HOST}
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """The root of no release: what of this machine a machine needs, copied."""
    folder = tmp_path_factory.mktemp("root")
    require("mmdebstrap", "mmdebstrap")
    programs = ("bash", "sh", "cat", "env", "id", "ls", "mkdir", "mount", "setpriv", "sleep")
    for name in (*programs, "touch", "umount", "hostname", "ip"):
        subprocess.run(["sh", "-ec", _COPY, "sh", name, folder], check=True)
    for name in ("etc", "proc", "sys", "dev", "tmp", "root"):
        (folder / name).mkdir(exist_ok=True)
    return Root("none", folder, ())


# A program with its libraries, at the same paths; links are followed.
_COPY = """
program=$(command -v "$1") || exit 0
for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$2${file%/*}"
    cp -L "$file" "$2$file"
done
"""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def groups_of(name: str) -> list[Path]:
    return [one.place / name for one in HOST if (one.place / name).exists()]


@pytest.mark.parametrize("view", VIEWS)
def test_a_machine_has_groups_of_its_own_and_leaves_none(root: Root, view: str) -> None:
    before = files(root.path)
    with machine.started(root, cgroups=view) as made:
        seen = dict(line.split(":")[1:] for line in made.run("cat", "/proc/self/cgroup").split())
        assert "/machine" in seen.values()
        kinds = made.run("cat", "/proc/self/mounts")
        assert ("cgroup2 rw" in kinds) == (view != V1)
        assert ("cgroup rw" in kinds) == (view != V2)
        inner = "unified/inner" if view == HYBRID else "inner" if view == V2 else "pids/inner"
        made.run("mkdir", f"/sys/fs/cgroup/{inner}")
        assert any((group / "inner").exists() for group in groups_of(made.name))
        made.run("touch", "/here", "/etc/here", "/var/lib/docker/here")
    assert not groups_of(made.name)
    assert not made.folder.exists()
    assert files(root.path) == before


@pytest.fixture(scope="module")
def shared(root: Root) -> Iterator[ReleaseMachine]:
    with machine.started(root) as made:
        yield made


def test_its_namespaces_are_not_this_machines(shared: ReleaseMachine) -> None:
    for name in ("mnt", "pid", "ipc", "uts", "net", "cgroup"):
        ours = Path(f"/proc/self/ns/{name}").readlink()
        assert Path(f"/proc/{shared.pid}/ns/{name}").readlink() != ours
        # A command that is brought in has them, too.
        seen = shared.run("ls", "-l", f"/proc/self/ns/{name}").rpartition("-> ")[2]
        assert seen != str(ours)


def test_the_kernels_settings_are_read_only(shared: ReleaseMachine) -> None:
    written = 'cat "$1" >/dev/null && cat "$1" >"$1"'
    for name in ("kernel/printk", "vm/swappiness", "fs/file-max"):
        tried = shared.tried("sh", "-c", written, "sh", f"/proc/sys/{name}")
        assert "Read-only file system" in tried.stderr
    assert not shared.tried("sh", "-c", written, "sh", "/proc/sys/net/ipv4/ip_forward").returncode


def test_it_may_not_do_what_acts_on_this_machine(shared: ReleaseMachine) -> None:
    for place in ("/proc/self/status", "/proc/1/status"):
        text = shared.run("cat", place)
        bounding = int(text.partition("CapBnd:")[2].split()[0], 16)
        for number in (16, 17, 22, 25):  # SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME
            assert not bounding >> number & 1
        assert bounding >> 21 & 1  # SYS_ADMIN


def test_files_and_words_go_in_and_out(shared: ReleaseMachine) -> None:
    (shared.folder / "in").write_text("hello")
    assert shared.run("sh", "-c", f"cat {shared.folder}/in; echo ' world'") == "hello world"
    assert shared.run("cat", shared.daemon("sh", "-c", "exec sleep 1000").as_posix()) == ""
    with pytest.raises(InstrumentError, match=r"ended with 3: trouble"):
        shared.run("sh", "-c", "echo trouble >&2; exit 3")
    with pytest.raises(InstrumentError, match=r"took more than 0 s"):
        shared.run("sleep", "1000", seconds=0.3)


def test_the_network_is_a_loopback_that_is_up(shared: ReleaseMachine) -> None:
    text = shared.run("cat", "/proc/net/fib_trie")
    assert "127.0.0.1" in text
    assert "lo:" in shared.run("cat", "/proc/net/dev")


HOLDER = textwrap.dedent(
    """\
    import sys, time
    from pathlib import Path
    from probes.releases import machine
    from probes.releases.roots import Root

    with machine.started(Root("none", Path(sys.argv[1]), ())) as made:
        made.daemon("sleep", "1000")
        print(made.name, made.pid, flush=True)
        time.sleep(1000)
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_holder(root: Root, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, root.path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=SUITE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        name, pid = holder.stdout.readline().split()
        assert groups_of(name)
        holder.send_signal(number)
    wait_for(lambda: not groups_of(name), "the control groups stay")
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_killed_keeper_left_goes_with_the_next_machine(root: Root) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = [one.place / f"{keeper.PREFIX}-{ended.pid}-1-dead" for one in HOST]
    alive = f"{keeper.PREFIX}-{os.getpid()}-{keeper.start_of(os.getpid())}-beef"
    living = [one.place / alive for one in HOST]
    try:
        for group in (*left, *living):
            (group / "inner").mkdir(parents=True)
        for view in VIEWS:
            with machine.started(root, cgroups=view):
                pass
        assert not [group for group in left if group.exists()]
        assert all(group.exists() for group in living)
    finally:
        keeper.remove([*left, *living])


def ours() -> list[Path]:
    return [path for one in HOST for path in one.place.glob(f"{keeper.PREFIX}-{os.getpid()}-*")]


def test_a_root_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    before = ours()
    with (
        pytest.raises(InstrumentError, match=r"no machine can be made here: .*No such file"),
        machine.started(Root("none", tmp_path, ())),
    ):
        pytest.fail("it started")
    assert ours() == before


_V1 = Hierarchy("pids", "cgroup", "pids", Path("/sys/fs/cgroup/pids"))
_UNIFIED = Hierarchy("unified", "cgroup2", "", Path("/sys/fs/cgroup/unified"))
_WHOLE = Hierarchy("", "cgroup2", "", Path("/sys/fs/cgroup"))


def test_the_view_is_what_is_asked_for_or_what_runtimes_do_best_with() -> None:
    hybrid = [_V1, _UNIFIED]
    assert chosen(hybrid, None) == chosen(hybrid, V1) == (_V1,)
    assert [one.name for one in chosen(hybrid, V2)] == [""]
    assert [one.name for one in chosen(hybrid, HYBRID)] == ["pids", "unified"]
    assert chosen([_WHOLE], None) == (_WHOLE,)
    for found, view in (([_WHOLE], V1), ([_WHOLE], HYBRID), ([_V1], V2), ([], None)):
        with pytest.raises(InstrumentError, match="has no control groups of"):
            chosen(found, view)


def test_hierarchies_are_read_from_mountinfo() -> None:
    text = (
        "24 1 0:21 / /proc rw - proc proc rw\n"
        "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup systemd "
        "rw,xattr,release_agent=/lib/agent,name=systemd\n"
        "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    assert [(one.name, one.kind, one.options) for one in machine.hierarchies(text)] == [
        ("cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ("systemd", "cgroup", "name=systemd"),
        ("unified", "cgroup2", ""),
    ]
