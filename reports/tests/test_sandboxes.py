"""Sandboxes that others make, started for real: what the pages in ``docs/sandboxes/`` say of them.

In each a C program makes the documented calls by every ABI. What it gets to see, what the product
reads off it by ``pid:N``, and what the page says must be the same.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from probes.action import Action
from probes.files import SUITE
from probes.filters import bpf
from probes.instrument.calls import Call, Zygote
from probes.releases.machine import V2, ReleaseMachine
from probes.tests.support import answers, releases, replay
from probes.tests.support.answers import Answers
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.oracles import require
from reports.commands import main
from reports.tests.support import markdown, sandboxes
from reports.tests.support.sandboxes import HERE, Sandbox

pytestmark = [
    pytest.mark.root("starts sandboxes and harvests their filters", machine="x86_64"),
    pytest.mark.containers,
]

PAGES: Final = SUITE / "docs/sandboxes"
SECTION: Final = "What its filters do with the documented calls"
PACKAGES: Final = ("apptainer", "firejail", "flatpak", "lxc", "minijail", "snapd")
"""Of Debian sid; bookworm has no apptainer and no minijail, and an LXC that is older."""

Rows = set[tuple[str, str, str]]


def rows_of(page: str, label: str) -> Rows:
    """What a page says of a way to start its sandbox: ABI, answer, calls."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    (table,) = markdown.section(text, SECTION).tables
    found = {(row.cells[1], row.cells[2], row.cells[3]) for row in table if row.key == label}
    assert found, f"the page {page} has no rows for {label}"
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    folder.chmod(0o755)
    return answers.program(folder)


@pytest.fixture(scope="module")
def free(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What the kernel says to each call where nothing confines."""
    return answers.unconfined(program, tmp_path_factory.mktemp("free"))


def judge(command: Sequence[str], folder: Path, free: Answers) -> Rows:
    """Starts a sandbox, holds what is seen against what is read, and gives the rows of a page."""
    with answers.running(command, folder) as inside:
        stack = inside.opened()
        assert answers.disagreements(stack, inside.answers, free) == []
        return answers.rows(stack)


# What bookworm, PyPI and npm have.


@pytest.mark.parametrize("sandbox", HERE, ids=str)
def test_a_sandbox_of_this_machine_does_what_its_page_says(
    sandbox: Sandbox, program: Path, free: Answers, tmp_path: Path
) -> None:
    found = judge(sandbox.command([str(program)]), tmp_path, free)
    assert found == rows_of(sandbox.page, sandbox.label)


QEMU: Final = ("qemu-system-x86_64", "-display", "none", "-nodefaults", "-S", "-accel", "tcg")


@pytest.mark.guests
@pytest.mark.parametrize(
    "option", ["on", "on,spawn=deny,elevateprivileges=deny,resourcecontrol=deny"]
)
def test_qemu_confines_itself(option: str, program: Path, free: Answers, tmp_path: Path) -> None:
    """No program runs in it, so its filters are put on others that make the calls."""
    require(QEMU[0], "qemu-system-x86")
    log = tmp_path / "qemu.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*QEMU, "-sandbox", option], stdout=output, stderr=output)
    try:
        wait_for(lambda: confined(process.pid), "QEMU installs no filter", answers.SECONDS)
        stack = answers.opened(f"pid:{process.pid}")
    finally:
        process.kill()
        process.wait()
    assert any("its own filter is there to protect the host" in one.text for one in stack.findings)
    assert answers.rows(stack) == rows_of("qemu", f"-sandbox {option}")
    raw = [bpf.to_bytes(one) for one in stack.programs]
    with Zygote() as prober, sharing_records():
        for abi in answers.ABIS:
            asked = [
                Call(abi.numbers[name]) for one, name in answers.calls().values() if one == abi
            ]
            assert replay.replay(prober, abi, raw, asked).mismatches == ()
    if "spawn=deny" in option:  # no program can be started under it
        return
    words = [one.hex() for one in raw]
    command = [sys.executable, "-m", "probes.tests.support.confined", *words, "--", str(program)]
    with answers.running(command, tmp_path) as seen:
        assert answers.disagreements(stack, seen.answers, free) == []


def confined(pid: int) -> bool:
    """Whether a process has a filter."""
    return "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


# What makes these tests red.

ACCT: Final = "x86_64:163"


def refusing(returned: int) -> bpf.Program:
    """A filter that answers acct of x86_64, and allows everything else."""
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, 163, 0, 1),
        bpf.statement(bpf.RET_K, returned),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
    )


@pytest.mark.parametrize(
    ("returned", "seen"),
    [
        (Action.ERRNO.value | 1, "38"),
        (Action.ERRNO.value | 38, "1"),
        (Action.KILL_PROCESS.value, "thread"),
        (Action.KILL_THREAD.value, "process"),
        (Action.TRAP.value, "process"),
        (Action.ALLOW.value, "thread"),
        (Action.LOG.value, "38"),
    ],
    ids=str,
)
def test_an_answer_that_no_filter_gives_is_told(
    returned: int, seen: str, free: Answers, tmp_path: Path
) -> None:
    path = tmp_path / "a.bpf"
    path.write_bytes(bpf.to_bytes(refusing(returned)))
    stack = answers.opened(f"bpf:{path}")
    assert free[ACCT] == "1"
    (said,) = answers.disagreements(stack, {**free, ACCT: seen}, free)
    assert said.startswith("acct on x86_64: ")
    assert said.endswith(f", seen {seen}")


def test_a_process_with_another_filter_disagrees(
    program: Path, free: Answers, tmp_path: Path
) -> None:
    """The whole way: a real process, and the filters of another."""
    path = tmp_path / "a.bpf"
    path.write_bytes(bpf.to_bytes(refusing(Action.ERRNO.value | 38)))
    raw = bpf.to_bytes(refusing(Action.KILL_PROCESS.value)).hex()
    command = [sys.executable, "-m", "probes.tests.support.confined", raw, "--", str(program)]
    with answers.running(command, tmp_path) as seen:
        assert answers.disagreements(seen.opened(), seen.answers, free) == []
        other = answers.opened(f"bpf:{path}")
        assert len(answers.disagreements(other, seen.answers, free)) == 1
        assert answers.rows(other) != answers.rows(seen.opened())


def test_every_page_is_tested_and_every_row() -> None:
    """A page that says what no test holds, or a row, is red."""
    files = (Path(__file__), Path(sandboxes.__file__))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    for page in PAGES.glob("*.md"):
        tables = [
            table
            for section in markdown.sections(page.read_text(encoding="utf-8"))
            if section.title == SECTION
            for table in section.tables
        ]
        for label in {row.key for table in tables for row in table}:
            assert f'"{page.stem}"' in source, page
            assert label in source or label.startswith("-sandbox "), (page, label)


# What Debian sid has.


@pytest.fixture(scope="module")
def sid() -> Iterator[ReleaseMachine]:
    with releases.release_machine("sid", *PACKAGES, cgroups=V2) as made:
        yield made


@pytest.fixture
def inside(sid: ReleaseMachine, program: Path) -> Path:
    """The program, at a path that the machine has as well."""
    copy = sid.folder / program.name
    if not copy.exists():
        copy.write_bytes(program.read_bytes())
        copy.chmod(0o755)
    return copy


def exported(profile: str, form: str, folder: Path) -> Path:
    """The suite's own filter, written by its command."""
    path = folder / f"{profile}.{form}"
    assert main.run(["export", "--profile", profile, "--format", form, "-o", str(path)]) == 0
    return path


LXC: Final = """\
lxc.rootfs.path = dir:/
lxc.uts.name = sandbox
lxc.seccomp.profile = {profile}
"""
LXC_OWN: Final = """\
2
denylist
[all]
acct errno 1
kcmp errno 38
swapon kill
fanotify_init trap
"""


LXC_PROFILES: Final[Mapping[str, str]] = {
    "common.seccomp": "/usr/share/lxc/config/common.seccomp",
    "the example": "own.seccomp",
}


@pytest.mark.parametrize("label", LXC_PROFILES)
def test_lxc(label: str, sid: ReleaseMachine, inside: Path, free: Answers, tmp_path: Path) -> None:
    assert in_lxc(sid, label, inside, free, tmp_path) == rows_of("lxc", label)


def test_lxc_of_an_older_release(program: Path, free: Answers, tmp_path: Path) -> None:
    """LXC 5 does the same by the profile that it ships."""
    with releases.release_machine("bookworm", "lxc", cgroups=V2) as bookworm:
        copy = bookworm.folder / program.name
        shutil.copy(program, copy)
        found = in_lxc(bookworm, "common.seccomp", copy, free, tmp_path)
    assert found == rows_of("lxc", "common.seccomp")


def in_lxc(machine: ReleaseMachine, label: str, inside: Path, free: Answers, folder: Path) -> Rows:
    """Judges the program in a container of LXC's."""
    (machine.folder / "own.seccomp").write_text(LXC_OWN)
    config = machine.folder / "lxc.conf"
    config.write_text(LXC.format(profile=machine.folder / LXC_PROFILES[label]))
    run = ("lxc-execute", "-n", "sandbox", "-P", str(machine.folder), "-f", str(config), "--")
    return judge(machine.words(*run, str(inside)), folder, free)


@pytest.mark.parametrize("secured", [True, False])
def test_apptainer(
    sid: ReleaseMachine, inside: Path, free: Answers, tmp_path: Path, *, secured: bool
) -> None:
    """Without the option it installs none."""
    sid.run("touch", "/etc/localtime")
    box = sid.folder / "box"
    for name in ("dev", "proc", "sys", "tmp", "etc", "root", "var/tmp"):
        (box / name).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group", "resolv.conf", "hosts", "localtime"):
        (box / "etc" / name).touch()
    (box / inside.name).write_bytes(inside.read_bytes())
    (box / inside.name).chmod(0o755)
    profile = exported("errno", "oci", sid.folder)
    option = ("--security", f"seccomp:{profile}") if secured else ()
    run = ("apptainer", "-s", "exec", "--userns", "--no-home", *option, str(box), "/answers")
    label = "--security seccomp:errno.json" if secured else "without --security"
    assert judge(sid.words(*run), tmp_path, free) == rows_of("apptainer", label)


def test_apptainer_knows_no_kill_process(sid: ReleaseMachine, inside: Path) -> None:
    profile = exported("kill", "oci", sid.folder)
    box = sid.folder / "empty"
    box.mkdir()
    sid.run("touch", "/etc/localtime")
    option = ("--security", f"seccomp:{profile}")
    ended = sid.tried("apptainer", "exec", "--userns", "--no-home", *option, str(box), str(inside))
    assert "invalid action 'SCMP_ACT_KILL_PROCESS' specified" in ended.stderr


def _minijail_policy() -> str:
    """An allow list, as minijail0 reads one: all that it knows but the documented calls."""
    documented = {name for _, name in answers.calls().values()}
    others = [name for name in answers.ABIS[0].numbers if name not in documented]
    return "\n".join(f"{name}: 1" for name in others)


@pytest.mark.parametrize("label", ["-S POLICY", "-L -S POLICY"])
def test_minijail_with_a_policy(
    label: str, sid: ReleaseMachine, inside: Path, free: Answers, tmp_path: Path
) -> None:
    known = set(sid.tried("minijail0", "-H").stdout.split())
    lines = [line for line in _minijail_policy().splitlines() if line.partition(":")[0] in known]
    path = sid.folder / "minijail.policy"
    path.write_text("\n".join([*lines, "kcmp: return EPERM", ""]))
    log = label.split()[:-2]
    run = ("minijail0", "--logging=stderr", "-n", *log, "-S", str(path), str(inside))
    assert judge(sid.words(*run), tmp_path, free) == rows_of("minijail", label)


def test_minijail_takes_the_exported_program(
    sid: ReleaseMachine, inside: Path, free: Answers, tmp_path: Path
) -> None:
    path = exported("errno", "bpf", sid.folder)
    run = ("minijail0", "--logging=stderr", f"--seccomp-bpf-binary={path}", str(inside))
    with answers.running(sid.words(*run), tmp_path) as seen:
        stack = seen.opened()
        assert stack.programs == answers.opened(f"bpf:{path}").programs
        assert answers.disagreements(stack, seen.answers, free) == []
        assert answers.rows(stack) == rows_of("minijail", "--seccomp-bpf-binary=errno.bpf")


FLATPAK: Final = """\
set -e
cd "$1"
mkdir -p run platform/files/bin platform/usr/bin app/files/bin app/export
export HOME="$PWD" XDG_RUNTIME_DIR="$PWD/run"
name=org.example
if [ ! -e repo/config ]; then
    printf '[Runtime]\nname=%s.Platform\nruntime=%s\nsdk=%s\n' \
        $name $name.Platform/x86_64/1 $name.Platform/x86_64/1 >platform/metadata
    printf '[Application]\nname=%s.App\nruntime=%s\nsdk=%s\ncommand=answers\n' \
        $name $name.Platform/x86_64/1 $name.Platform/x86_64/1 >app/metadata
    cp answers app/files/bin/
    flatpak build-export --runtime --files=files repo platform 1
    flatpak build-export repo app 1
    flatpak --user remote-add --no-gpg-verify own "file://$PWD/repo"
    flatpak --user install -y own $name.Platform//1
    flatpak --user install -y own $name.App//1
fi >&2
shift
# Where parts of /proc are covered, a user namespace gets no /proc of its own.
exec unshare --mount --pid --fork --kill-child \\
    sh -c 'mount -t proc proc /proc; exec flatpak --user run "$@"' - "$@" $name.App//1
"""


@pytest.mark.parametrize("label", ["flatpak run", "flatpak run --allow=multiarch"])
def test_flatpak(
    label: str, sid: ReleaseMachine, inside: Path, free: Answers, tmp_path: Path
) -> None:
    run = ("bash", "-c", FLATPAK, "-", str(inside.parent), *label.split()[2:])
    assert judge(sid.words(*run), tmp_path, free) == rows_of("flatpak", label)


def test_firejail_does_nothing_in_a_pid_namespace(
    sid: ReleaseMachine, inside: Path, tmp_path: Path
) -> None:
    """It takes it for a sandbox, and with --quiet does not even say so."""
    run = ("firejail", "--noprofile", "--quiet", "--seccomp", str(inside))
    with answers.running(sid.words(*run), tmp_path) as seen:
        stack = seen.opened()
    assert stack.programs == ()
    assert any("no seccomp filter at all" in one.text for one in stack.findings)


SNAP: Final = "acct\n~acct\n~kcmp\n"


def test_a_snap_is_judged_by_its_file(
    sid: ReleaseMachine, program: Path, free: Answers, tmp_path: Path
) -> None:
    """The real snap-seccomp writes it; ``pid:`` and ``bpf:`` read the same filters."""
    documented = {name for _, name in answers.calls().values()}
    names = sorted({name for abi in answers.ABIS for name in abi.numbers} - documented)
    text, made = sid.folder / "snap.src", sid.folder / "snap.bin2"
    text.write_text("".join(f"{name}\n" for name in names) + SNAP)
    sid.run("/usr/lib/snapd/snap-seccomp", "compile", str(text), str(made))
    loader = tmp_path / "snap_confine"
    source = SUITE / "probes/tests/data/snap_confine.c"
    subprocess.run([require("gcc", "gcc libc6-dev"), "-o", loader, source], check=True)
    with answers.running([str(loader), str(made), str(program)], tmp_path) as seen:
        stack, written = seen.opened(), answers.opened(f"bpf:{made}")
        assert (stack.programs, stack.logged) == (written.programs, written.logged)
        assert answers.disagreements(written, seen.answers, free) == []
    assert answers.rows(written) == rows_of("snap", "the example")
