"""The target ``unit:NAME``: each process of a unit, under a private systemd of several releases."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn
from probes.errors import BadInputError
from probes.finding import Weight
from probes.instrument import control_groups
from probes.instrument.control_groups import SYSTEMD, UNIFIED, ControlGroup
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.runtimes import systemd
from probes.runtimes.systemd import Unit
from probes.targets import sandbox_kernel, unit
from probes.targets.stack import FilterStack
from probes.tests.support.emitter import wait_for
from probes.tests.support.releases import root_of
from probes.tests.support.systemd_machine import HERE, SystemdMachine, service, systemd_machine

NATIVE = arch.offered_by(os.uname().machine)[0]
DENIED = FilterReturn(Action.ERRNO, 1)

SLEEP = "/usr/bin/sleep 1000"
PACKAGES = ("systemd", "libseccomp2", "python3")
EPERM = "SystemCallErrorNumber=EPERM"


Test = Callable[..., None]


def live(test: Test) -> Test:
    """Marks a test that starts a systemd of its own."""
    for mark in (
        pytest.mark.root("starts a systemd of its own"),
        pytest.mark.containers,
        pytest.mark.skipif(os.uname().machine != "x86_64", reason="names the calls of x86_64"),
    ):
        test = mark(test)
    return test


@pytest.fixture(scope="module", params=[HERE, "sid"])
def manager(request: pytest.FixtureRequest) -> Iterator[SystemdMachine]:
    root = None if request.param == HERE else root_of(request.param, *PACKAGES)
    with systemd_machine(root) as made:
        yield made


def stack(manager: SystemdMachine, word: str) -> FilterStack:
    (found,) = manager.load(word)
    assert isinstance(found, FilterStack), found
    return found


def main_process(manager: SystemdMachine, name: str) -> str:
    return manager.machine.run("systemctl", "show", "--value", "--property=MainPID", name)


# What systemd says, and what the processes say.


@live
def test_a_unit_is_the_stack_of_its_process(manager: SystemdMachine) -> None:
    manager.service("one.service", SLEEP, "SystemCallFilter=~acct", EPERM)
    pid = main_process(manager, "one")
    found = stack(manager, "one")
    assert found.description == f"unit one.service (process {pid} (sleep))"
    assert len(found.programs) == 3
    assert found.findings == ()
    assert found.predict(NATIVE, NATIVE.number("acct") or 0) == DENIED
    assert stack(manager, "one.service") == found
    done = manager.suite("diff", "unit:one", f"pid:{pid}")
    assert done.returncode == 0, done.stdout + done.stderr


@live
def test_no_process_stands_for_another(manager: SystemdMachine) -> None:
    """A command with + has no filter, and what it leaves behind belongs to the service."""
    manager.service(
        "two.service",
        SLEEP,
        "SystemCallFilter=~acct",
        EPERM,
        f"ExecStartPre=+/bin/sh -c 'setsid {SLEEP} >/dev/null 2>&1 & exit 0'",
    )
    wait_for(lambda: len(manager.processes("two.service")) == 2, "not two processes")
    found = stack(manager, "two")
    assert [len(one.programs) for one in found.members] in ([0, 3], [3, 0])
    told = [one.text for one in found.findings if "has SystemCallFilter, and yet" in one.text]
    assert len(told) == 1
    words = ("--target=unit:two", "--profile=errno", "--arch=x86_64", "-k", "test_denies and acct")
    done = manager.suite("run", *words, "-n0", f"--report-dir={manager.machine.folder}/two")
    assert done.returncode == 1, done.stdout
    text = re.sub(r"\s+", " ", done.stdout)
    assert "acct (163) on x86_64: expected ERRNO(EPERM), but the call reached the kernel" in text
    assert "1 failed, 1 passed" in text


@live
def test_a_systemd_without_libseccomp_gives_no_filter() -> None:
    """The root has no libseccomp2, which the package only recommends: the unit starts openly."""
    with systemd_machine(
        root_of("sid", *(one for one in PACKAGES if one != "libseccomp2"))
    ) as bare:
        bare.service("one.service", SLEEP, "SystemCallFilter=~acct", EPERM)
        found = stack(bare, "one")
        assert found.programs == ()
        texts = [one.text for one in found.findings]
        assert any("libseccomp.so.2 is not installed, with a mere warning" in one for one in texts)


@live
def test_control_groups_are_named_by_their_paths(manager: SystemdMachine) -> None:
    manager.service("path.service", SLEEP, "SystemCallFilter=~acct", EPERM)
    show = ("systemctl", "show", "--value", "--property=ControlGroup", "path.service")
    group = manager.machine.run(*show)
    assert group.endswith("/system.slice/path.service")
    whole, slashed, below, shorter = manager.load(
        group, f"{group}/", f"{group}/none", group.removesuffix("e")
    )
    assert isinstance(whole, FilterStack)
    assert whole == slashed
    assert whole.description.startswith(f"control group {group} (process ")
    assert str(below).startswith(f"control group {group}/none: no process is in it")
    assert str(shorter).startswith(f"control group {group.removesuffix('e')}: no process is in it")


@live
def test_a_slice_is_all_that_is_in_it(manager: SystemdMachine) -> None:
    manager.service("in.service", SLEEP, "Slice=a-b.slice", "SystemCallFilter=~acct", EPERM)
    manager.service("open.service", SLEEP, "Slice=a-c.slice")
    assert len(stack(manager, "a-b.slice").members) == 1
    assert len(stack(manager, "a.slice").members) == 2


@live
def test_templates_are_named_by_instance(manager: SystemdMachine) -> None:
    manager.add("many@.service", service(SLEEP, "SystemCallFilter=~acct", EPERM))
    manager.reload()
    manager.start("many@x.service")
    found, template = manager.load("many@x", "many@")
    assert isinstance(found, FilterStack)
    assert "unit many@x.service (process" in found.description
    assert template == (
        "unit:many@: many@.service is a template, which has no process: name an instance of it,"
        " such as many@NAME.service"
    )


@live
def test_a_unit_is_explained_by_the_groups_of_its_systemd(manager: SystemdMachine) -> None:
    manager.service("groups.service", SLEEP, "SystemCallFilter=~@mount", EPERM)
    release = manager.machine.run("systemctl", "--version").split()[1]
    words = ("explain", "unit:groups", "--number=mount", "--arch=x86_64")
    text = " ".join(manager.suite(*words).stdout.split())
    told = (
        f"mount is in systemd's groups @mount, @known (systemd {release}, which is installed here)"
    )
    assert told in text
    assert "systemd's groups" not in manager.suite(*words, "--groups=none").stdout
    text = " ".join(manager.suite("explain", "unit:groups", "--arch=x86_64").stdout.split())
    assert "ERRNO(EPERM) whole: @mount" in text


@live
def test_a_transient_unit_is_one_like_any_other(manager: SystemdMachine) -> None:
    settings = ("DefaultDependencies=no", "SystemCallFilter=~acct", EPERM, "NoNewPrivileges=yes")
    options = [f"--property={one}" for one in (*settings, "RestrictRealtime=yes")]
    manager.machine.run("systemd-run", "--unit=passing", *options, *SLEEP.split())
    wait_for(lambda: manager.runs("passing.service"), "it does not start")
    found = stack(manager, "passing")
    # Three that restrict scheduling, one an ABI, and three for the list; the call is in the latter.
    assert len(found.programs) == 6
    assert found.predict(NATIVE, NATIVE.number("acct") or 0) == DENIED


@live
def test_what_does_not_run_is_refused_in_a_sentence(manager: SystemdMachine) -> None:
    manager.add("gone.service", service("/bin/true", "Type=oneshot", "RemainAfterExit=yes"))
    manager.add("ill.service", service("/bin/false", "Type=oneshot"))
    manager.add("never.service", service(SLEEP))
    manager.reload()
    manager.start("gone.service")
    manager.machine.tried("systemctl", "start", "ill.service")
    nowhere, never, gone, ill = map(str, manager.load("nowhere", "never", "gone", "ill"))
    assert nowhere.startswith("unit:nowhere.service: systemd has no such unit")
    assert never == "unit:never.service: it is inactive (dead) and has no process: start it first"
    assert "it is active (exited) and has no process" in gone
    assert "it is failed (failed) with the result exit-code and has no process" in ill


@live
def test_a_refusal_is_one_line_and_no_verdict(manager: SystemdMachine) -> None:
    done = manager.suite("explain", "unit:nowhere")
    assert done.returncode == 4
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@live
def test_without_systemctl_the_group_is_found_by_its_path(manager: SystemdMachine) -> None:
    manager.service("bare.service", SLEEP, "SystemCallFilter=~acct", EPERM)
    manager.machine.run("mount", "--bind", "/dev/null", "/usr/bin/systemctl")
    try:
        found, none = manager.load("bare", "nowhere")
    finally:
        manager.machine.run("umount", "/usr/bin/systemctl")
    assert isinstance(found, FilterStack)
    assert found.description.startswith("unit bare.service (process ")
    assert "no process is in a control group of this unit" in str(none)


@live
def test_a_service_that_is_just_starting_is_told(manager: SystemdMachine) -> None:
    manager.add("slow.service", service(SLEEP, f"ExecStartPre={SLEEP}"))
    manager.reload()
    manager.machine.run("systemctl", "start", "--no-block", "slow.service")
    wait_for(lambda: manager.runs("slow.service"), "it does not start")
    limits = [one for one in stack(manager, "slow").findings if one.weight is Weight.LIMITS]
    assert [one.about for one in limits] == ["a unit that starts or ends"]
    assert "unit slow.service is activating (start-pre)" in limits[0].text


@live
def test_whoever_may_not_read_a_process_is_told(manager: SystemdMachine) -> None:
    manager.service("secret.service", SLEEP, "SystemCallFilter=~acct", EPERM)
    show = ("systemctl", "show", "--value", "--property=ControlGroup", "secret.service")
    group = manager.machine.run(*show)
    without = ("setpriv", "--bounding-set=-sys_ptrace,-sys_admin", "--")
    (said,) = manager.load(group, by=without)
    assert isinstance(said, str)
    assert "this user may not trace process" in said
    assert len(said.splitlines()) == 1


@live
def test_the_suite_itself_is_not_read_and_that_is_told(manager: SystemdMachine) -> None:
    """What runs the suite is in the machine's own group, and so are all units."""
    manager.service("beside.service", SLEEP, "SystemCallFilter=~acct", EPERM)
    found = stack(manager, "/machine")
    limits = {one.about for one in found.findings if one.weight is Weight.LIMITS}
    assert "this very process" in limits
    assert "this very process" not in {one.about for one in stack(manager, "beside").findings}


# Real control groups without systemd.

GROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = {
    SYSTEMD: GROUPS / "systemd",
    UNIFIED: GROUPS / "unified" if (GROUPS / "unified").is_dir() else GROUPS,
}


@pytest.fixture(params=[SYSTEMD, UNIFIED])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty group of a made-up unit, in one of the hierarchies."""
    top = HIERARCHIES[request.param]
    if not (top / "cgroup.procs").exists():
        pytest.skip(f"this machine has not mounted the hierarchy {request.param or 'of version 2'}")
    base = top / f"conformance-{os.urandom(4).hex()}"
    inner = base / "system.slice" / f"{base.name}.service"
    inner.mkdir(parents=True)
    try:
        yield inner
    finally:
        for one in (inner, inner.parent, base):
            wait_for(partial(is_empty, one), f"{one} is not empty")
            one.rmdir()


def is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


root_only = pytest.mark.root("makes control groups")


@root_only
def test_a_group_tells_its_processes_where_there_is_no_systemd(group: Path) -> None:
    if systemd.manages():
        pytest.skip("systemd manages this machine")
    with subprocess.Popen(["sleep", "100"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        found = unit.load(group.stem)
        assert found.description == f"unit {group.name} (process {process.pid} (sleep))"
        (group.parents[1] / "cgroup.procs").write_text(str(process.pid))
        with pytest.raises(BadInputError, match="no process is in a control group of this unit"):
            unit.load(group.stem)
        process.kill()


@root_only
@pytest.mark.parametrize("group", [SYSTEMD], indirect=True)
def test_a_thread_alone_makes_its_process_a_member(group: Path) -> None:
    """Version 1 has threads of a process in other groups than its first one."""
    program = (
        "import threading, time\n"
        "one = threading.Thread(target=time.sleep, args=(100,))\n"
        "one.start()\n"
        "print(one.native_id, flush=True)\n"
        "one.join()\n"
    )
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (group / "tasks").write_text(process.stdout.readline())
        (member,) = control_groups.members(lambda one: group.name in one.parts)
        assert member == process.pid
        process.kill()


# What is decided without any systemd.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[Service]\nSystemCallFilter=~acct\nSystemCallLog = mount\n",
            ("SystemCallFilter", "SystemCallLog"),
        ),
        ("[Service]\nSystemCallFilter=@mount\n# more\n[Service]\nSystemCallFilter=\n", ()),
        ("SystemCallFilter=\nSystemCallFilter=@mount\n", ("SystemCallFilter",)),
        ("#SystemCallFilter=@mount\nSystemCallArchitectures=native\n", ()),
    ],
)
def test_the_files_of_a_unit_ask_for_filters(
    text: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_words: text)
    assert systemd.filters_asked_for("a.service") == expected


@pytest.mark.parametrize(
    ("names", "about"),
    [
        ({}, []),
        ({7: "gVisor"}, [("the sandbox's programs", False)]),
        ({7: "gVisor", 8: "QEMU"}, [("the sandbox's programs", True)]),
    ],
)
def test_sandboxes_of_a_unit_are_told(
    names: dict[int, str], about: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_kernel, "of_process", lambda pid: names.get(pid, ""))
    processes = [Harvest(pid, "a", (ThreadFilters(pid, "a", (), ()),)) for pid in (7, 8)]
    found = list(unit._sandboxes("unit a.service", processes))
    assert [(one.about, one.everything) for one in found] == about
    for kind in names.values():
        assert kind in found[0].text


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("cron", "cron.service"),
        ("cron.service", "cron.service"),
        ("a.b", "a.b.service"),
        ("session-3.scope", "session-3.scope"),
        ("user-1000.slice", "user-1000.slice"),
        ("getty@tty1", "getty@tty1.service"),
        (r"dev-disk\x2dby", r"dev-disk\x2dby.service"),
    ],
)
def test_a_unit_is_called_as_systemctl_calls_it(word: str, name: str) -> None:
    assert unit.full_name(word) == name


@pytest.mark.parametrize("word", ["a b", "a*", "a?", "[a]", "ä", "a/b", "x" * 256, "a\n"])
def test_what_no_unit_is_called_is_refused(word: str) -> None:
    with pytest.raises(BadInputError, match="a unit's name has letters, digits") as caught:
        unit.full_name(word)
    assert len(str(caught.value).splitlines()) == 1


def test_the_root_is_no_unit() -> None:
    with pytest.raises(BadInputError, match="every process is in that group"):
        unit.load("/")


@pytest.mark.parametrize(
    ("path", "prefixes", "expected"),
    [
        ("/system.slice/a.service", {""}, "/system.slice/a.service"),
        ("/system.slice/a.service/inner", {""}, "/system.slice/a.service"),
        ("/a.slice/a-b.slice/a.service", {""}, "/a.slice/a-b.slice/a.service"),
        ("/a.service", {""}, "/a.service"),
        ("/system.slice/_a.service", {""}, "/system.slice/_a.service"),
        ("/system.slice/xa.service", {""}, ""),
        ("/system.slice/b.service", {""}, ""),
        # The unit of another manager, in a container or of a user: it is not the machine's.
        ("/machine.slice/c.scope/system.slice/a.service", {""}, ""),
        ("/user.slice/user-1.slice/user@1.service/app.slice/a.service", {""}, ""),
        ("/../../system.slice/a.service", {"/../.."}, "/../../system.slice/a.service"),
        ("/x/system.slice/a.service", set(), "/x/system.slice/a.service"),
    ],
)
def test_a_units_group_is_below_its_slices(path: str, prefixes: set[str], expected: str) -> None:
    assert unit.unit_path(ControlGroup(UNIFIED, path), "a.service", prefixes) == expected


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[ControlGroup, ...]]:
    """Processes whose groups a test makes up, on a machine without systemd."""
    found: dict[int, tuple[ControlGroup, ...]] = {}
    monkeypatch.setattr(systemd, "manages", lambda: False)
    monkeypatch.setattr(control_groups, "processes", lambda: iter(found.items()))
    monkeypatch.setattr(control_groups, "groups_of", lambda pid: found.get(pid, ()))
    return found


def test_of_two_groups_of_one_name_neither_is_taken(
    made_up: dict[int, tuple[ControlGroup, ...]],
) -> None:
    made_up[11] = (ControlGroup(SYSTEMD, "/x/system.slice/a.service"),)
    made_up[12] = (ControlGroup(UNIFIED, "/y/system.slice/a.service"),)
    with pytest.raises(BadInputError, match=r"more than one control group of this unit: /x/.*/y/"):
        unit.load("a")


@pytest.mark.parametrize("hierarchy", [SYSTEMD, UNIFIED])
def test_version_1_and_2_and_both(
    made_up: dict[int, tuple[ControlGroup, ...]], hierarchy: str
) -> None:
    """On a hybrid machine both hierarchies have the unit, and controllers' groups do not count."""
    made_up[1] = (ControlGroup(hierarchy, "/init.scope"), ControlGroup("memory", "/"))
    made_up[12] = (ControlGroup(hierarchy, "/system.slice/a.service"),)
    made_up[13] = (ControlGroup("memory", "/system.slice/a.service"),)
    meant = unit._by_name("a.service")
    assert control_groups.members(meant.is_meant) == [12]


def state(invocation: str, active: str = "active", sub: str = "running") -> Unit:
    return Unit(
        "a.service", "loaded", active, sub, "success", "/system.slice/a.service", invocation
    )


@pytest.mark.parametrize(
    ("before", "after", "about"),
    [
        (state("1"), state("1"), set()),
        (state("1"), state("2"), {"a unit that is started anew"}),
        (state("1"), state("1", "deactivating", "stop"), {"a unit that starts or ends"}),
        (state("1", "activating", "start-pre"), state("1"), {"a unit that starts or ends"}),
        (state("1", "reloading", "reload"), state("1"), set()),
    ],
)
def test_what_a_unit_did_meanwhile_is_told(
    before: Unit, after: Unit, about: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "unit", lambda _name: after)
    found = list(unit._changes(before))
    assert {one.about for one in found} == about
    assert all(one.weight is Weight.LIMITS for one in found)
