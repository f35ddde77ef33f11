"""Gaps: whether the filter lets siblings of documented calls through, and who says so."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES
from probes.cell import Cell, CellKey, Claim, EvidenceKind, Gap, GapState, Outcome
from probes.documents import policy, siblings
from probes.documents.policy import DocumentedCall
from probes.files import SUITE
from probes.filters import bpf
from probes.filters.conditions import Condition, Operator
from probes.judging import gaps
from probes.judging.gaps import ANY_FILTER
from probes.targets import StackTarget, Target, ambient
from probes.targets.builtin import builtin
from probes.targets.name import TargetName
from probes.targets.open import Surroundings, open_target
from probes.tests.support import oracles
from probes.tests.support.stacks import target_of

SHIPPED = SUITE / "cases" / "policies" / "container-restrictions.toml"
POLICY = policy.load(SHIPPED, arch.all_names())
X86 = tuple(ARCHES[name] for name in ("x86_64", "x32", "i386"))
KILL, ERRNO, LOG = Profile.KILL, Profile.ERRNO, Profile.LOG


def same_everywhere(value: FilterReturn) -> StackTarget:
    """A filter that gives every call one answer."""
    program = (bpf.statement(bpf.RET_K, value.value),)
    return target_of("bpf", "the filter", dict.fromkeys(Profile, (program,)))


def states(found: tuple[Gap, ...]) -> set[GapState]:
    return {gap.state for gap in found}


def by_name(found: tuple[Gap, ...]) -> dict[tuple[str, str], Gap]:
    return {(gap.syscall, gap.arch): gap for gap in found}


def test_every_documented_call_of_power_has_its_known_siblings() -> None:
    """What design and measurement name is there, on the ABIs that have it and on no others."""
    found = by_name(gaps.find(POLICY, builtin(POLICY, X86), (KILL,), X86, {}))
    for name in ("fsopen", "clone3", "quotactl_fd", "io_uring_setup", "move_mount"):
        assert {where for call, where in found if call == name} == {"x86_64", "x32", "i386"}
    for name in ("clock_settime64", "ipc MSGRCV", "stime", "umount"):
        assert {where for call, where in found if call == name} == {"i386"}
    assert found["fsopen", "i386"].documented == ("mount",)
    assert found["fsopen", "i386"].family == "mounts and namespaces"
    assert found["io_uring_setup", "x86_64"].family == ANY_FILTER
    assert not any(call == "socketcall" for call, _ in found)


def test_builtin_filter_leaves_all_open() -> None:
    """It allows whatever its policy does not name; so says an analysis, not a guess."""
    found = gaps.find(POLICY, builtin(POLICY, X86), tuple(Profile), X86, {})
    assert states(found) == {GapState.OPEN}
    assert {gap.evidence[0].kind for gap in found} == {EvidenceKind.PROVED}
    gap = by_name(found)["umount", "i386"]
    assert gap.sentence.startswith("umount (22) on i386: the filter lets it through; it detaches")


def test_documenting_a_sibling_closes_it() -> None:
    """It is then a documented call like any other, and all claims are made about it."""
    fsopen = replace(POLICY.calls[0], name="fsopen")
    wider = replace(POLICY, calls=(*POLICY.calls, fsopen))
    found = by_name(gaps.find(wider, builtin(wider, X86), (KILL,), X86, {}))
    assert ("fsopen", "x86_64") not in found
    assert ("fsconfig", "x86_64") in found


def test_policy_that_documents_something_else() -> None:
    """Only siblings of its own calls concern it, and those that weaken every filter."""
    sockets = replace(POLICY, calls=(replace(POLICY.calls[0], name="socket", family="net"),))
    found = by_name(gaps.find(sockets, builtin(sockets, X86), (KILL,), X86, {}))
    assert {call for call, _ in found} == {
        "socketcall",
        "socketpair",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "personality",
        "modify_ldt",
    }
    assert found["socketcall", "i386"].family == "net"


@pytest.mark.parametrize(
    ("action", "kill", "log"),
    [
        (Action.ALLOW, GapState.OPEN, GapState.OPEN),
        (Action.LOG, GapState.OPEN, GapState.CLOSED),
        (Action.ERRNO, GapState.CLOSED, GapState.CLOSED),
        (Action.TRAP, GapState.CLOSED, GapState.CLOSED),
        (Action.KILL_THREAD, GapState.CLOSED, GapState.CLOSED),
        (Action.KILL_PROCESS, GapState.CLOSED, GapState.CLOSED),
        (Action.USER_NOTIF, GapState.UNKNOWN, GapState.UNKNOWN),
        (Action.TRACE, GapState.UNKNOWN, GapState.UNKNOWN),
    ],
)
def test_every_answer_of_a_filter(action: Action, kill: GapState, log: GapState) -> None:
    """A record alone stops nothing, but under LOG it is what a documented call gets."""
    target = same_everywhere(FilterReturn(action, 1 if action is Action.ERRNO else 0))
    assert states(gaps.find(POLICY, target, (KILL,), X86, {})) == {kill}
    assert states(gaps.find(POLICY, target, (LOG,), X86, {})) == {log}


def masked(number: int, index: int, mask: int, value: int) -> StackTarget:
    """A filter that kills a number where a masked argument has a value, and else allows."""
    argument = 16 + 8 * index
    program: bpf.Program = (
        bpf.statement(bpf.LD_ABS, 0),
        bpf.jump(bpf.JEQ, number, 0, 4),
        bpf.statement(bpf.LD_ABS, argument),
        bpf.statement(bpf.AND, mask),
        bpf.jump(bpf.JEQ, value, 0, 1),
        bpf.statement(bpf.RET_K, Action.KILL_PROCESS.value),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
    )
    return target_of("bpf", "the filter", dict.fromkeys(Profile, (program,)))


def test_one_way_through_a_multiplexer_is_enough() -> None:
    """The kernel takes the low half of ipc's first argument; a filter has to do the same."""
    number = ARCHES["i386"].numbers["ipc"]
    key = ("ipc MSGRCV", "i386")
    exact = by_name(gaps.find(POLICY, masked(number, 0, 0xFFFFFFFF, 12), (KILL,), X86, {}))
    low = by_name(gaps.find(POLICY, masked(number, 0, 0xFFFF, 12), (KILL,), X86, {}))
    assert exact[key].state is GapState.OPEN
    assert low[key].state is GapState.CLOSED
    assert "with the arguments that matter" in low[key].sentence


def test_documenting_a_sibling_under_conditions_does_not_hide_the_rest_of_it() -> None:
    """A filter with the documented flag only leaves the others open; with all of them, none."""
    flags = [1 << bit for bit in (*range(25, 31), 17)]
    for documented, state in ((flags[:1], GapState.OPEN), (flags, GapState.CLOSED)):
        calls = [
            DocumentedCall(
                "clone", "x", "x", "x", args=(Condition(0, Operator.MASKED_EQ, flag, flag),)
            )
            for flag in documented
        ]
        policy = replace(POLICY, calls=(*POLICY.calls, *calls))
        found = gaps.find(policy, builtin(policy, X86[:1]), (KILL,), X86[:1], {})
        assert by_name(found)["clone", "x86_64"].state is state


def test_one_namespace_flag_is_enough() -> None:
    """A filter that forgets one of clone's flags leaves it open."""
    number = ARCHES["x86_64"].numbers["clone"]
    forgotten = gaps.find(POLICY, masked(number, 0, 0x20000, 0x20000), (KILL,), X86[:1], {})
    assert by_name(forgotten)["clone", "x86_64"].state is GapState.OPEN


def test_arguments_that_nobody_named_leave_it_unknown() -> None:
    number = ARCHES["x86_64"].numbers["personality"]
    found = gaps.find(POLICY, masked(number, 0, 0xFF, 8), (KILL,), X86[:1], {})
    gap = by_name(found)["personality", "x86_64"]
    assert gap.state is GapState.UNKNOWN
    assert "some arguments only" in gap.sentence


def test_libseccomp_leaves_a_multiplexed_msgrcv_open() -> None:
    """Its rule for msgrcv on i386 compares all of ipc's first argument."""
    lib = pytest.importorskip("pyseccomp", reason="needs pyseccomp: pip install pyseccomp")
    made = lib.SyscallFilter(lib.ALLOW)
    made.remove_arch(lib.Arch.NATIVE)
    made.add_arch(lib.Arch.X86)
    made.add_rule(lib.KILL_PROCESS, "msgrcv")
    with TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        program = bpf.from_bytes(file.read())
    target = target_of("bpf", "libseccomp's filter", dict.fromkeys(Profile, (program,)))
    found = by_name(gaps.find(POLICY, target, (KILL,), X86[2:], {}))
    assert found["ipc MSGRCV", "i386"].state is GapState.OPEN


@pytest.mark.slow
def test_runtimes_default_profile() -> None:
    """Open is what Podman's profile allows without a condition, closed what it never allows."""
    profile = oracles.require(
        "/usr/share/containers/seccomp.json", "golang-github-containers-common"
    )
    pytest.importorskip("pyseccomp", reason="needs pyseccomp: pip install pyseccomp")
    surroundings = Surroundings(SHIPPED, ERRNO, X86[0], frozenset(), (6, 1))
    programs = open_target(TargetName("oci", str(profile)), surroundings).programs
    target = target_of("oci", "its filter", {ERRNO: programs})
    found = gaps.find(POLICY, target, (ERRNO,), X86[:1], {})
    rules = json.loads(Path(profile).read_text(encoding="utf-8"))["syscalls"]
    allowing = [rule for rule in rules if rule["action"] == "SCMP_ACT_ALLOW"]
    plain = {
        name
        for rule in allowing
        if not any(rule.get(condition) for condition in ("args", "includes", "excludes"))
        for name in rule["names"]
    }
    never = {gap.syscall for gap in found} - {name for rule in allowing for name in rule["names"]}
    told = {gap.syscall: gap.state for gap in found}
    assert {told[name] for name in plain & told.keys()} == {GapState.OPEN}
    assert {told[name] for name in never} == {GapState.CLOSED}
    assert {"fsopen", "clone3", "adjtimex"} <= plain
    assert {"quotactl_fd", "io_uring_setup"} <= never
    assert told["personality"] is GapState.UNKNOWN


# Nobody asks an ambient target for its programs: the kernel shows them to no confined process.
OPAQUE: Target = ambient.untold(X86[:1], "the filters are not to be had")


def rest(name: str, outcome: Outcome) -> Cell:
    key = CellKey(
        Claim.LEAVES_THE_REST_ALONE, "kill", "x86_64", name, ARCHES["x86_64"].numbers[name]
    )
    return Cell(key, outcome, None, "", "", "")


def test_without_programs_the_sweep_decides() -> None:
    """What went through is open; what needs arguments to be dangerous is unknown then."""
    cells = [
        rest("fsopen", Outcome.PASSED),
        rest("clone3", Outcome.FAILED),
        rest("clone", Outcome.PASSED),
        rest("chroot", Outcome.CANNOT_TELL),
    ]
    seen = gaps.swept(cells)
    found = by_name(gaps.find(POLICY, OPAQUE, (KILL,), X86[:1], seen))
    fsopen, clone3 = found["fsopen", "x86_64"], found["clone3", "x86_64"]
    assert (fsopen.state, clone3.state) == (GapState.OPEN, GapState.CLOSED)
    assert {fsopen.evidence[0].kind, clone3.evidence[0].kind} == {EvidenceKind.OBSERVED}
    unknown = ("clone", "chroot", "ptrace")
    assert {found[name, "x86_64"].state for name in unknown} == {GapState.UNKNOWN}
    assert {found[name, "x86_64"].evidence for name in unknown} == {()}


def documenting(*names: str) -> policy.Policy:
    return replace(
        POLICY, calls=tuple(replace(POLICY.calls[0], name=name, family="all") for name in names)
    )


@pytest.mark.parametrize(
    ("documented", "expected"),
    [
        (("chmod", "chown"), "fchmod fchmodat fchmodat2 fchown fchownat lchown"),
        (("rename",), "link linkat renameat renameat2"),
        (("open",), "creat open_by_handle_at open_tree openat openat2"),
        (("kill",), "pidfd_send_signal ptrace rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill"),
        (("fork",), "clone clone3 vfork"),
        (("ptrace",), "process_vm_readv process_vm_writev"),
        (("chroot",), "fchroot pivot_root"),
        (("mknod", "mkdir"), "bind mkdirat mknodat"),
        (("setxattr",), "fsetxattr lsetxattr setxattrat"),
        (("unshare", "fork"), "clone clone3 fsmount open_tree vfork"),
    ],
)
def test_an_own_policy_gets_its_own_gaps(documented: tuple[str, ...], expected: str) -> None:
    """By name and open, under a filter that refuses only what is documented."""
    own = documenting(*documented)
    numbers = {X86[0].numbers[name] for name in documented}
    parts = bpf.ranges(numbers, ERRNO.returns.value, FilterReturn(Action.ALLOW).value)
    program = bpf.dispatch({X86[0].audit_arch: parts}, FilterReturn(Action.ALLOW).value)
    target = target_of("bpf", "the filter", {ERRNO: (program,)})
    found = gaps.find(own, target, (ERRNO,), X86[:1], {})
    anyway = {one.name for one in siblings.siblings() if one.always}
    assert {gap.syscall for gap in found} - anyway == set(expected.split())
    assert states(found) == {GapState.OPEN}
    keys = [(gap.family, gap.syscall, gap.arch, gap.number, gap.profile) for gap in found]
    assert len(keys) == len(set(keys))


def test_a_sibling_of_several_kinds_is_one_gap() -> None:
    """Its gravest state counts: here of clone, which may start a process but no namespace."""
    number = ARCHES["x86_64"].numbers["clone"]
    own = documenting("unshare", "fork")
    program: bpf.Program = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number, 0, 3),
        bpf.statement(bpf.LD_ABS, 16),
        bpf.jump(bpf.JSET, 0x7E020000, 0, 1),
        bpf.statement(bpf.RET_K, Action.KILL_PROCESS.value),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
    )
    target = target_of("bpf", "the filter", {KILL: (program,)})
    (gap,) = (one for one in gaps.find(own, target, (KILL,), X86[:1], {}) if one.syscall == "clone")
    assert gap.state is GapState.UNKNOWN
    assert gap.documented == ("fork",)
    assert "can start a process" in gap.sentence


NAMESPACES = 0x7E020080
EMPTY_MOUNT_NAMESPACE = 0x00100000
"""UNSHARE_EMPTY_MNTNS of Linux 7.1: a new mount namespace without CLONE_NEWNS."""


@pytest.mark.parametrize(
    ("refused", "state"),
    [
        (NAMESPACES, GapState.OPEN),
        (NAMESPACES & ~0x80 | EMPTY_MOUNT_NAMESPACE, GapState.OPEN),
        (NAMESPACES | EMPTY_MOUNT_NAMESPACE, GapState.CLOSED),
        # Whoever refuses nothing but namespaces refuses all of the power.
        (0xFFFFFFFF, GapState.CLOSED),
    ],
    ids=str,
)
def test_a_namespace_without_a_flag_of_clone_is_one(refused: int, state: GapState) -> None:
    number = ARCHES["x86_64"].numbers["unshare"]
    program: bpf.Program = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number, 0, 3),
        bpf.statement(bpf.LD_ABS, 16),
        bpf.jump(bpf.JSET, refused, 0, 1),
        bpf.statement(bpf.RET_K, Action.KILL_PROCESS.value),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
    )
    target = target_of("bpf", "the filter", {KILL: (program,)})
    found = gaps.find(documenting("clone"), target, (KILL,), X86[:1], {})
    assert by_name(found)["unshare", "x86_64"].state is state


def test_socket_calls_have_socketcall_on_i386() -> None:
    for name in ("socket", "bind", "connect", "listen", "sendto"):
        own = documenting(name)
        found = by_name(gaps.find(own, builtin(own, X86), (KILL,), X86[2:], {}))
        assert found["socketcall", "i386"].documented == (name,)
