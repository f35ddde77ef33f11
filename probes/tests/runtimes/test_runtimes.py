"""Containers that really run: what their filters are harvested as is what the kernel does.

The profiles are Debian's own (docker.io's built-in one, containers-common's), and one of ours
with every action and operator. The kernel is asked by replaying the harvested programs. Every
container is of a root file system that has one static program and nothing else.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import capstone
import execnet
import pytest

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.errors import BadInputError, ExitStatus, InstrumentError
from probes.files import SUITE
from probes.filters import bpf
from probes.filters.comparison import compare
from probes.instrument import harvest
from probes.instrument.calls import Call, Zygote
from probes.instrument.effect import Effect
from probes.judging import executed
from probes.runtimes import container, holder
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.known import BY_ENDPOINT, KNOWN, RUNTIMES
from probes.runtimes.wanted import Holder, Wanted
from probes.targets import StackTarget
from probes.targets import started_container as target
from probes.targets.oci import compiler
from probes.tests.support import replay
from probes.tests.support.emitter import wait_for
from probes.tests.support.machine import Machine, bundle, need, static_root
from probes.tests.support.oracles import REQUIRE_VARIABLE, require

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

Rule = dict[str, Any]

ROOT = SUITE
ALLOW = FilterReturn(Action.ALLOW).value

ABIS = (ARCHES["x86_64"], ARCHES["x32"], ARCHES["i386"])
every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


def rule(name: str, action: str, *conditions: tuple[int, str, int, int], **more: int) -> Rule:
    """A rule of an OCI profile; a condition is index, operator, value, second value."""
    arguments = [
        {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}
        for index, operator, value, second in conditions
    ]
    return {"names": [name], "action": f"SCMP_ACT_{action}", "args": arguments, **more}


CUSTOM: Mapping[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        rule("acct", "ERRNO", errnoRet=errno.EIO),
        rule("kcmp", "KILL_PROCESS"),
        rule("vhangup", "KILL"),
        rule("add_key", "TRAP"),
        rule("lookup_dcookie", "LOG"),
        rule("quotactl", "TRACE", errnoRet=7),
        rule("getpriority", "ERRNO", (0, "NE", 1, 0), errnoRet=21),
        rule("setpriority", "ERRNO", (0, "LT", 1 << 31, 0), errnoRet=22),
        rule("sched_getparam", "ERRNO", (0, "LE", 1 << 32, 0), errnoRet=23),
        rule("sched_setparam", "ERRNO", (0, "EQ", (1 << 32) + 1, 0), errnoRet=24),
        rule("getrusage", "ERRNO", (0, "GE", 1 << 32, 0), errnoRet=25),
        rule("mincore", "ERRNO", (0, "GT", (1 << 32) - 1, 0), errnoRet=26),
        rule("personality", "ERRNO", (0, "MASKED_EQ", 1 << 63 | 1, 1), errnoRet=27),
        rule("keyctl", "ERRNO", (0, "EQ", 1, 0), (3, "GE", 2, 0), errnoRet=28),
    ],
}
"""Nothing that a container needs to start: the runtimes go on under it until execve(2)."""

CONDITIONAL = [entry["names"][0] for entry in CUSTOM["syscalls"] if entry["args"]]
VALUES = (0, 1, 2, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1)


PROGRAM = """\
#include <stdio.h>
int main(void) { puts("the image's own program runs"); return 7; }
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What FROM scratch and one COPY make: no shell, no library, no Python."""
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture(scope="session")
def podmans_default(machine: Machine, root: Path) -> Mapping[str, Any]:
    """containers-common's profile as podman resolves it for a runtime that has none of its own."""
    need("podman")
    name = f"{machine.name}-default"
    options = ("--cgroup-parent", f"/{machine.name}", "--network", "none")
    image = machine.subject("podman", root)
    machine.run("podman", "create", "--name", name, *options, image, "/program")
    machine.run("podman", "init", name)
    path = machine.run("podman", "inspect", "--format", "{{.OCIConfigPath}}", name)
    found: Mapping[str, Any] = json.loads(machine.run("cat", path))["linux"]["seccomp"]
    machine.run("podman", "rm", "--force", "--time", "0", name)
    return found


def as_taken(
    machine: Machine, runtime: str, profile: Mapping[str, Any]
) -> Mapping[str, Any] | bytes:
    """A profile as the runtime takes it: for bwrap the one program that crun makes of it."""
    if runtime != "bwrap":
        return profile
    parsed = compiler.read(machine.file(profile))
    resolved = compiler.resolve(parsed, ABIS[0], frozenset(), (6, 0))
    (program,) = compiler.compile(resolved, enosys_stub=False).programs
    return bpf.to_bytes(program)


@every_runtime
def test_every_number_under_the_default_profile(
    runtime: str, prober: Zygote, machine: Machine, root: Path, request: pytest.FixtureRequest
) -> None:
    need(runtime)
    by_itself = runtime in {"docker", "podman"}
    profile = None
    if not by_itself:
        profile = as_taken(machine, runtime, request.getfixturevalue("podmans_default"))

    held = container.hold(machine.wanted(runtime, root, profile))

    assert held.version[0].isdigit()
    for arch in ABIS:
        calls = [Call(number) for number in replay.numbers_of(arch)]
        compared = replay.replay(prober, arch, held.first, calls)
        assert compared.mismatches == ()
        assert compared.asked > len(arch.numbers)
        # An allowlist that is really there: neither all of them nor none get through.
        assert compared.effects[Effect.REACHED] > 200
        assert compared.effects[Effect.REFUSED] > 20
        assert set(compared.effects) == {Effect.REACHED, Effect.REFUSED}


@every_runtime
def test_every_action_and_operator_of_a_custom_profile(
    runtime: str, prober: Zygote, machine: Machine, root: Path
) -> None:
    need(runtime)

    held = container.hold(machine.wanted(runtime, root, as_taken(machine, runtime, CUSTOM)))

    stacks = [held.first] if held.executed is None else [held.first, held.executed]
    assert len(stacks) == (1 if runtime == "bwrap" else 2)
    for stack in stacks:
        for arch in ABIS:
            compared = replay.replay(prober, arch, stack, list(_calls(arch)))
            assert compared.mismatches == ()
            assert compared.effects[Effect.KILLED_PROCESS] == len(VICTIMS)
            assert compared.effects[Effect.TRAPPED] == 1
            assert compared.effects[Effect.REFUSED] > len(CONDITIONAL)
            assert compared.effects[Effect.REACHED] > len(arch.numbers)


VICTIMS = ("kcmp", "vhangup")


def _calls(arch: Arch) -> Iterator[Call]:
    """Every number once, and those that depend on an argument with what conditions turn on."""
    yield from (Call(number) for number in replay.numbers_of(arch))
    for name in CONDITIONAL:
        number = arch.number(name)
        assert number is not None
        for value in VALUES:
            yield from (Call(number, (value, 0, 0, other)) for other in (1, 2))


# What is judged.


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_bundle_brings_its_own_profile(runtime: str, machine: Machine, tmp_path: Path) -> None:
    need(runtime)
    root = static_root(tmp_path, PROGRAM)
    made = tmp_path / "bundle"
    made.mkdir()
    wanted = machine.wanted(runtime, root)

    bundle(made, root)
    bare = target.load(replace(wanted, subject=str(made)))
    bundle(made, root, CUSTOM)
    with_its_own = container.hold(replace(wanted, subject=str(made)))
    given = container.hold(machine.wanted(runtime, root, CUSTOM))

    assert tuple(map(str, bare.findings)) == (
        f"{bare.description}: its first process has no seccomp filter at all",
        f"a process that {runtime} exec starts there has no seccomp filter at all",
    )
    assert not bare.programs
    assert same(with_its_own.first, given.first)
    assert not same(with_its_own.first, ())


def same(one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    """Whether two stacks do the same about every call."""
    left, right = ([bpf.from_bytes(raw) for raw in stack] for stack in (one, other))
    return not compare(left, right).differing


# Every process of the container is read.


def test_an_init_of_the_runtimes_is_judged_like_the_program(machine: Machine, root: Path) -> None:
    """Bwrap's first process in the sandbox reaps the others; it is under the same filter."""
    need("bwrap")
    held = container.hold(machine.wanted("bwrap", root, as_taken(machine, "bwrap", CUSTOM)))

    (init,) = held.others
    assert init.comm == "bwrap"
    assert [one.programs for one in init.threads] == [held.first]
    assert held.settled


def test_an_init_that_docker_puts_before_the_program(machine: Machine, root: Path) -> None:
    need("docker")
    require("docker-init", "tini")
    held = container.hold(machine.wanted("docker", root, CUSTOM, "--init"))

    (init,) = held.others
    assert [one.programs for one in init.threads] == [held.first]
    assert held.first != ()


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_another_process_of_the_container_is_read(
    runtime: str, machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody put there without the container's filter, into its groups, too."""
    need(runtime)
    first_process = container.Running.first_process
    intruders: list[subprocess.Popen[bytes]] = []

    def first_with_company(running: container.Running) -> int:
        pid = first_process(running)
        words = ["nsenter", "--target", str(pid), "--pid", "--", "sleep", "60"]
        intruders.append(subprocess.Popen(["sh", "-c", COMPANY, "sh", str(pid), *words]))
        wait_for(lambda: len(container.processes_beside(pid)) == 1, "nobody came")
        return pid

    monkeypatch.setattr(container.Running, "first_process", first_with_company)
    try:
        found = target.load(machine.wanted(runtime, root, CUSTOM))
    finally:
        for one in intruders:
            one.wait(timeout=30)

    first, other = found.members
    assert first.programs == found.programs != ()
    assert first.description.endswith(f"(the first program) of the {found.description}")
    assert other.programs == ()
    assert other.description.endswith(f"(sleep) of the {found.description}")
    (told,) = map(str, found.findings)
    assert told.startswith(f"stack 2 is that of {other.description}: no filter, against 1 filter")


@every_runtime
def test_a_container_is_in_no_control_group_but_the_machines(
    runtime: str, machine: Machine, root: Path
) -> None:
    """Groups that runtimes make under names of their own would stay behind."""
    with container.started(machine.wanted(runtime, root)) as running:
        pid = running.first_process()
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    seen = {path for _, _, path in (line.split(":", 2) for line in lines)}
    ours = {path for path in seen if path.startswith(f"/{machine.name}/")}
    assert ours
    before = {path for _, _, path in (line.split(":", 2) for line in _own_groups())}
    assert seen - ours <= before


def _own_groups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


COMPANY = """\
pid=$1
shift
while IFS=: read -r _ controllers path; do
    name=${controllers#name=}
    for root in /sys/fs/cgroup ${name:+"/sys/fs/cgroup/$name"} /sys/fs/cgroup/unified; do
        if [ -d "$root$path" ]; then echo $$ >"$root$path/cgroup.procs" || true; fi
    done
done </proc/$pid/cgroup 2>/dev/null
exec "$@"
"""
"""Joins the control groups of a process, and becomes another program."""


def test_the_processes_beside_one() -> None:
    """Those of its pid namespace; of this machine's own namespace and group there are none."""
    body = "sleep 60 & sleep 60 & echo $$; exec sleep 60"
    words = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", body]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "1\n"
            (first,) = map(
                int, Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
            )
            others = container.processes_beside(first)
            assert len(others) == 2
            assert {harvest.filters_of(pid).threads[0].programs for pid in others} == {()}
            assert container.processes_beside(os.getpid()) == []
        finally:
            holder.kill()


def test_the_images_own_program_does_not_run(machine: Machine, tmp_path: Path) -> None:
    """Neither its entry point nor its health check, whose words it brings along."""
    need("podman")
    root = static_root(tmp_path, PROGRAM)
    wanted = machine.wanted("podman", root)
    made = f"{wanted.subject}-entry"
    words = ["--change", 'ENTRYPOINT ["/program"]', "--change", 'CMD ["--all"]']
    words += ["--change", "USER 1234:1234"]
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    machine.run("podman", "import", *words, str(archive), made)

    with container.started(replace(wanted, subject=made)) as running:
        pid = running.first_process()
        status = Path(f"/proc/{pid}/status").read_text()
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == f"/{running.held.name}\0".encode()

    assert re.search(r"^Uid:\s+1234\s", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)


def test_arguments_of_the_user_s_count(machine: Machine, root: Path) -> None:
    """Docker's default profile lets those reboot who may."""
    need("docker")
    reboot = bpf.SeccompData(169, 0xC000003E)

    without = target.load(machine.wanted("docker", root))
    allowed = target.load(machine.wanted("docker", root, None, "--cap-add=SYS_BOOT"))

    answers = [bpf.simulate(one.programs[0], reboot) for one in (without, allowed)]
    assert answers == [FilterReturn(Action.ERRNO, errno.EPERM).value, ALLOW]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_bundle_of_another_user(runtime: str, machine: Machine, tmp_path: Path) -> None:
    """Without any capability, and with a root file system that nobody may write to."""
    root = static_root(tmp_path, PROGRAM)
    made = tmp_path / "bundle"
    made.mkdir()
    bundle(made, root, CUSTOM)
    path = made / "config.json"
    configuration = json.loads(path.read_text())
    configuration["process"]["user"] = {"uid": 1234, "gid": 1234}
    configuration["process"]["capabilities"] = {}
    configuration["root"]["readonly"] = True
    path.write_text(json.dumps(configuration))

    held = container.hold(replace(machine.wanted(runtime, root), subject=str(made)))

    assert len(held.first) >= 1
    assert held.executed is not None
    assert same(held.first, held.executed)


def test_workers_get_the_very_container(machine: Machine, root: Path) -> None:
    """The controller starts one, and its workers judge by what it hands on."""
    found = target.load(machine.wanted("crun", root, CUSTOM))
    judged = StackTarget("crun", {Profile.KILL: found})
    # As execnet sends it from pytest's controller to its workers.
    sent = execnet.loads(execnet.dumps(judged.to_plain()))
    assert StackTarget.from_plain(sent) == judged
    assert judged.origin is not None
    assert judged.origin.executed is not None


class Broken(Machine):
    """A machine on which no runtime starts."""

    def words(self, *command: str) -> tuple[str, ...]:
        """Another command."""
        return ("sh", "-c", f"echo {command[0]}: no room in the cgroup >&2; exit 1")


def test_a_runtime_that_cannot_start_here(
    machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tests are skipped with the reason, which the summary counts, but not in CI."""
    need("crun")
    broken = Broken(machine.name, machine.folder / "none", machine.inner, machine.pid)
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        broken.wanted("crun", root)
    assert "crun cannot start a container on this machine: " in str(skipped.value)
    assert "no room in the cgroup" in str(skipped.value)
    monkeypatch.setenv(REQUIRE_VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception):
        broken.wanted("crun", root)


# exec.

EXEC_WITHOUT_A_FILTER = """\
#!/bin/sh
# A runtime whose exec forgets the filter: it enters the container by itself.
if [ "$1" = exec ]; then
    pid=$(runc state "$3" | sed -n 's/.*"pid": \\([0-9]*\\),.*/\\1/p')
    exec 3<&0  # a shell takes the input of what runs in its background away
    nsenter --target "$pid" --pid --mount -- "$4" <&3 &
    exit 0
fi
exec runc "$@"
"""


def test_an_exec_that_forgets_the_filter(machine: Machine, root: Path, tmp_path: Path) -> None:
    need("runc")
    script = tmp_path / "runc-of-ours"
    script.write_text(EXEC_WITHOUT_A_FILTER)
    script.chmod(0o755)
    right = machine.wanted("runc", root, CUSTOM)
    wrong = replace(right, program=RuntimeCommand("runc", machine.words(str(script))))

    good, bad = target.load(right), target.load(wrong)

    assert good.findings == ()
    assert tuple(map(str, bad.findings)) == (
        "a process that runc exec starts there has no seccomp filter at all",
    )
    assert good.origin is not None
    assert good.origin.executed is not None
    assert bad.origin is not None
    assert bad.origin.executed is not None
    for arch in ABIS:
        assert (
            executed.difference(good.programs, good.origin.executed, arch, big_endian=False) == ""
        )
        text = executed.difference(bad.programs, bad.origin.executed, arch, big_endian=False)
        assert text.startswith("about acct, add_key, getpriority, getrusage, kcmp and ")


# What is left of a container: nothing.


def left_behind(machine: Machine, runtime: str) -> list[str]:
    """What the runtime still knows of, and our own files."""
    listing = {
        "docker": ("docker", "container", "ls", "--all", "--format", "{{.Names}}"),
        "podman": ("podman", "container", "ls", "--all", "--format", "{{.Names}}"),
        "runc": ("runc", "list", "--quiet"),
        "crun": ("crun", "list", "--quiet"),
    }
    known = machine.run(*listing[runtime]).split() if runtime in listing else []
    if runtime in BY_ENDPOINT:
        known = [f"{sort}: {names}" for sort, names in machine.containerd.left().items()]
    temporary = Path(tempfile.gettempdir()).glob("syscall-conformance-*-*")
    return [*known, *(str(path) for path in temporary if path.is_dir() and ours(path))]


def ours(path: Path) -> bool:
    """Whether a temporary folder is of this machine's containers; other tests run meanwhile."""
    try:
        return "/root-" in (path / "config.json").read_text()
    except OSError:
        return False


@every_runtime
def test_nothing_is_left(runtime: str, machine: Machine, root: Path) -> None:
    need(runtime)
    wanted = machine.wanted(runtime, root, as_taken(machine, runtime, CUSTOM))
    before = sorted(root.rglob("*"))
    seen: list[tuple[Holder, int]] = []

    def fail_in_the_middle() -> None:
        with container.started(wanted) as running:
            seen.append((running.held, running.first_process()))
            running.executed_process(seen[0][1])
            assert len(list(container.processes_of(running.held))) == (1 + (runtime != "bwrap"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()

    wait_for(lambda: not list(container.processes_of(seen[0][0])), "a process goes on")
    wait_for(lambda: not left_behind(machine, runtime), "something is left behind")
    assert sorted(root.rglob("*")) == before


STARTER = """\
import sys, time
from pathlib import Path
from probes.runtimes import container
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.wanted import Wanted
runtime, subject, endpoint, *words = sys.argv[1:]
program = RuntimeCommand(runtime, tuple(words))
with container.started(Wanted(program, subject, endpoint=endpoint)) as running:
    print(running.held.name, running.first_process(), flush=True)
    time.sleep(60)
"""


@every_runtime
def test_ctrl_c(runtime: str, machine: Machine, root: Path) -> None:
    """The terminal sends SIGINT to the whole group, of which the runtime's commands are none."""
    need(runtime)
    wanted = machine.wanted(runtime, root)
    words = (runtime, wanted.subject, wanted.endpoint, *wanted.program.words)
    command = [sys.executable, "-c", STARTER, *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    name, pid = process.stdout.readline().split()
    assert Path(f"/proc/{pid}/exe").exists()

    os.killpg(process.pid, signal.SIGINT)

    _, complaint = process.communicate(timeout=60)
    assert complaint.rstrip().endswith("KeyboardInterrupt")
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists(), "its process goes on")
    wait_for(lambda: name not in left_behind(machine, runtime), "the container is left behind")


# Refusals: one sentence, with the runtime's own words.


def refusal(wanted: Wanted) -> str:
    with pytest.raises(BadInputError) as caught:
        container.hold(wanted)
    assert caught.value.exit_status is ExitStatus.USAGE
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


NONSENSE = {"defaultAction": "SCMP_ACT_NONSENSE"}


@pytest.mark.parametrize("runtime", ["runc", "crun", "docker", "podman"])
def test_a_profile_that_the_runtime_refuses(runtime: str, machine: Machine, root: Path) -> None:
    need(runtime)

    sentence = refusal(machine.wanted(runtime, root, NONSENSE))

    assert "it refuses the seccomp profile; its own words: " in sentence
    assert "SCMP_ACT_NONSENSE" in sentence.partition("own words")[2]
    assert left_behind(machine, runtime) == []


def test_a_profile_in_json_for_bwrap(machine: Machine, root: Path) -> None:
    need("bwrap")
    sentence = refusal(machine.wanted("bwrap", root, CUSTOM))
    assert "bwrap takes a raw BPF program" in sentence
    assert "export --format bpf" in sentence


def test_a_program_that_the_kernel_refuses_for_bwrap(machine: Machine, root: Path) -> None:
    need("bwrap")
    sentence = refusal(machine.wanted("bwrap", root, bytes(8)))
    assert "it refuses the seccomp profile; its own words: " in sentence


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_an_image_that_is_not_there(runtime: str, machine: Machine, root: Path) -> None:
    need(runtime)
    wanted = replace(machine.wanted(runtime, root), subject="localhost/no-such-image:1")
    sentence = refusal(wanted)
    assert "there is no such image: check its name" in sentence
    assert "localhost/no-such-image:1" in sentence.partition("own words")[2]


def test_a_daemon_that_cannot_be_reached(machine: Machine, root: Path) -> None:
    need("docker")
    wanted = machine.wanted("docker", root)
    words = (*wanted.program.words[:-1], "DOCKER_HOST=unix:///run/none.sock", "docker")
    sentence = refusal(replace(wanted, program=RuntimeCommand("docker", words)))
    assert "its daemon cannot be reached: start it, or say where it is (DOCKER_HOST)" in sentence
    assert "unix:///run/none.sock" in sentence
    # It is what went wrong first, although the container cannot be removed for the same reason.
    assert " docker create: " in sentence
    assert "docker rm" not in sentence


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_profile_that_is_not_there(runtime: str) -> None:
    """It is said before the runtime is asked for anything."""
    sentence = refusal(
        Wanted(RuntimeCommand(runtime, ("false",)), "image", Path("/no/such/file.json"))
    )
    assert sentence == (
        "/no/such/file.json: a seccomp profile cannot be read from there (No such file or"
        " directory); check the path and its permissions"
    )


UNREMOVABLE = """\
#!/bin/sh
case "$1" in
    create) echo "no room left" >&2; exit 1 ;;
    delete) echo "device busy" >&2; exit 1 ;;
esac
"""


def test_a_container_that_cannot_be_removed(tmp_path: Path) -> None:
    script = tmp_path / "runc"
    script.write_text(UNREMOVABLE)
    script.chmod(0o755)
    root = static_root(tmp_path, PROGRAM)
    sentence = refusal(Wanted(RuntimeCommand("runc", (str(script),)), str(bundle(tmp_path, root))))
    assert f"{script} create: its own words: no room left; nor can the" in sentence
    assert sentence.endswith("delete: its own words: device busy")


def test_a_limit_beyond_what_this_machine_gives(machine: Machine, root: Path) -> None:
    need("podman")
    wanted = machine.wanted("podman", root, None, "--ulimit=nofile=99999999:99999999")
    assert "it may not set a resource limit" in refusal(wanted)


def test_an_argument_that_the_runtime_does_not_know(machine: Machine, root: Path) -> None:
    need("crun")
    assert "check --runtime-arg" in refusal(machine.wanted("crun", root, None, "--nonsense"))


@every_runtime
def test_a_profile_under_which_nothing_can_run(runtime: str, machine: Machine, root: Path) -> None:
    need(runtime)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule("execve", "KILL_PROCESS"), rule("execveat", "KILL_PROCESS")],
    }
    sentence = refusal(machine.wanted(runtime, root, as_taken(machine, runtime, profile)))
    assert "does the profile allow execve" in sentence or "own words" in sentence


@pytest.mark.parametrize("runtime", [one.name for one in KNOWN if one.command])
def test_a_runtime_that_is_not_installed(runtime: str, root: Path) -> None:
    made = bundle(Path(tempfile.mkdtemp(dir=root.parent)), root)
    subject = str(root if runtime == "containerd" else made)
    wanted = Wanted(RuntimeCommand(runtime, ("/no/such/program",)), subject)
    assert refusal(wanted) == (
        f"{runtime} cannot be started here: /no/such/program: No such file or directory: install "
        f"{runtime}, or put it on PATH"
    )


BAD_BUNDLES = {
    "missing": (None, "No such file or directory"),
    "no json": ("{", "is JSON, and this is none"),
    "no object": ("[]", "is a JSON object, and this is none"),
    "no process": ('{"root": {}}', "process, root and linux must be objects"),
    "no proc": ('{"process": {}, "root": {"path": "r"}}', "it mounts no proc file system"),
}


@pytest.mark.parametrize(("text", "words"), BAD_BUNDLES.values(), ids=BAD_BUNDLES)
def test_a_bundle_that_is_none(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    sentence = refusal(Wanted(RuntimeCommand("runc", ("runc",)), str(tmp_path)))
    assert f"{tmp_path}/config.json: " in sentence
    assert words in sentence


def test_a_root_file_system_that_is_none(tmp_path: Path) -> None:
    sentence = refusal(Wanted(RuntimeCommand("bwrap", ("bwrap",)), str(tmp_path / "none")))
    assert "no root file system can be read there (No such file or directory)" in sentence


SAID = {
    "cgroup": (
        "error applying cgroup configuration for process: mountpoint for devices not found",
        "it has trouble with control groups, which depends on this machine's set-up",
    ),
    "daemon": (
        "permission denied while trying to connect to the Docker daemon socket at unix:///x",
        "its daemon refuses this user: run the suite as root",
    ),
    "unknown": ("something quite new", "fake create: its own words: something quite new"),
}


@pytest.mark.parametrize(("said", "words"), SAID.values(), ids=SAID)
def test_what_a_runtime_says(said: str, words: str) -> None:
    fake = RuntimeCommand("fake", ("sh", "-c", f"echo '{said}' >&2; exit 125"))
    with pytest.raises(BadInputError) as caught:
        fake.run("create")
    assert words.removeprefix("fake create: ") in str(caught.value)
    assert str(caught.value).endswith(f"its own words: {said}")


def test_a_runtime_that_does_not_answer(tmp_path: Path) -> None:
    script = tmp_path / "hangs"
    script.write_text("#!/bin/sh\nsleep 50 & echo $! >$0.pid; wait\n")
    script.chmod(0o755)
    with pytest.raises(InstrumentError, match="hangs create: no end after 1 s"):
        RuntimeCommand("runc", (str(script),)).run("create", seconds=1.0)
    child = int((tmp_path / "hangs.pid").read_text())
    wait_for(lambda: not Path(f"/proc/{child}/exe").exists(), "what it started goes on")


# The program that holds a container.

CODE = {
    "x86_64": ("CS_ARCH_X86", "CS_MODE_64", ["movabs", "dec", "jne", "ud2"]),
    "aarch64": ("CS_ARCH_ARM64", "CS_MODE_ARM", ["mov", "subs", "b.ne"]),
    "riscv64": ("CS_ARCH_RISCV", "CS_MODE_RISCV64", ["addi", "slli", "addi", "bnez"]),
}


@pytest.mark.parametrize("abi", CODE)
def test_the_holder_as_others_read_it(abi: str, tmp_path: Path) -> None:
    """Its head by readelf, its code by Capstone: it has no system call, and the jump goes back."""
    reader = require("readelf", "binutils")
    path = tmp_path / "holder"
    path.write_bytes(holder.program(abi, "name"))
    head = subprocess.run([reader, "-hl", "-W", path], capture_output=True, text=True, check=True)
    assert head.stderr == ""
    assert {"x86_64": "X86-64", "aarch64": "AArch64", "riscv64": "RISC-V"}[abi] in head.stdout
    assert re.search(r"LOAD .* R E ", head.stdout)
    assert re.search(r"GNU_STACK .* RW ", head.stdout)
    entry = int(re.findall(r"Entry point address:\s+0x([0-9a-f]+)", head.stdout)[0], 16)
    kind, mode, mnemonics = CODE[abi]
    engine = capstone.Cs(getattr(capstone, kind), getattr(capstone, mode))
    read = list(engine.disasm(path.read_bytes()[entry - 0x400000 :], entry))[: len(mnemonics)]
    assert [one.mnemonic for one in read] == mnemonics
    jump, start = read[-2 if abi == "x86_64" else -1], read[-3 if abi == "x86_64" else -2]
    target_of_jump = int(re.findall(r"(-?0x[0-9a-f]+|-?\d+)$", jump.op_str)[0], 0)
    assert target_of_jump in {start.address, start.address - jump.address}


def test_a_machine_without_a_holder() -> None:
    with pytest.raises(BadInputError, match="this machine is vax: start the container yourself"):
        holder.program("vax", "name")
