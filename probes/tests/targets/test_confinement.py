"""What confines the suite itself is never credited to another target.

The oracle is the same judgement without the outer filter: inside, each verdict is that one, or that
nothing can be told; and what the outer filter leaves alone is decided there too.
"""

import errno
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.cell import Claim, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.instrument import kernel
from probes.instrument.calls import Observation, Route, Stage
from probes.instrument.witness import MARKER_ERRNO
from probes.judging import plan
from probes.targets import builtin, confinement
from probes.tests.support import confined, mutants
from probes.tests.support.confined import Judged, Key

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the outer filters are for the ABIs of x86_64"
)

KERNEL = arch.of_this_process()
NATIVE = KERNEL[0]
POLICY = policy.load(DEFAULT_POLICY, arch.all_names())

ALLOW = FilterReturn(Action.ALLOW).value
EACCES = FilterReturn(Action.ERRNO, errno.EACCES).value
LOG = FilterReturn(Action.LOG).value
TRACE = FilterReturn(Action.TRACE).value
NOTIFY = FilterReturn(Action.USER_NOTIF).value
KILL, KILL_THREAD, TRAP = mutants.KILL_PROCESS, mutants.KILL_THREAD, mutants.TRAP

CALLS = ("acct", "reboot", "vhangup", "getpriority")
"""Three that are documented, and one that is not."""


def answering(value: int, calls: Collection[str] = CALLS, on: Sequence[Arch] = KERNEL) -> bytes:
    """An outer filter that answers some calls by some ABIs, and allows everything else."""
    tables: dict[int, dict[int, int]] = {}
    for one in on:
        numbers = tables.setdefault(one.audit_arch, {})
        numbers |= {n: value for call in calls if (n := one.number(call)) is not None}
    parts = {token: bpf.ranges_from(numbers, ALLOW) for token, numbers in tables.items()}
    return bpf.to_bytes(bpf.dispatch(parts, ALLOW))


def exported(profile: Profile) -> bytes:
    """The suite's own filter as an outer one."""
    return bpf.to_bytes(builtin.build(POLICY, KERNEL, profile))


def rightly(profile: Profile) -> bpf.Program:
    return mutants.conforming(POLICY, KERNEL, profile).program()


def everything_allowed(profile: Profile) -> bpf.Program:
    del profile
    return (bpf.statement(bpf.RET_K, ALLOW),)


def wrongly(profile: Profile) -> bpf.Program:
    """A filter that is wrong about calls that the outer filters answer too."""
    wrong = {"acct": KILL, "reboot": TRAP, "vhangup": EACCES, "getpriority": KILL_THREAD}
    if profile is Profile.KILL:
        wrong = {"acct": ALLOW, "reboot": KILL_THREAD, "vhangup": LOG, "getpriority": EACCES}
    table = mutants.conforming(POLICY, KERNEL, profile)
    return table.changed(
        {(NATIVE.audit_arch, NATIVE.numbers[c]): v for c, v in wrong.items()}
    ).program()


TARGETS: Mapping[str, Callable[[Profile], bpf.Program]] = {
    "right": rightly,
    "allowing": everything_allowed,
    "wrong": wrongly,
}


@cache
def judged(outer: tuple[bytes, ...], profile: Profile, target: str, folder: Path) -> Judged:
    file = folder / f"{target}-{profile}.bpf"
    file.write_bytes(bpf.to_bytes(TARGETS[target](profile)))
    return confined.judged(outer, profile.value, target=f"bpf:{file}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


OUTER: Mapping[str, bytes] = {
    "kills": answering(KILL),
    "kills a thread": answering(KILL_THREAD),
    "traps": answering(TRAP),
    "refuses": answering(EACCES),
    "traces": answering(TRACE),
    "logs": answering(LOG),
    "allows": answering(ALLOW),
    "export kill": exported(Profile.KILL),
    "export errno": exported(Profile.ERRNO),
    "export log": exported(Profile.LOG),
    "unknown action": answering(0x00010000),
    "unknown action of a low rank": answering(0x7FF10000),
}


PAIRS = (
    (Profile.KILL, "wrong"),
    (Profile.KILL, "allowing"),
    (Profile.ERRNO, "right"),
    (Profile.LOG, "wrong"),
)


TOGETHER = [
    (name, *PAIRS[(index + step) % len(PAIRS)])
    for index, name in enumerate(OUTER)
    for step in range(2)
]
"""Two targets for each outer filter: a judgement takes seconds."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "profile", "target"), TOGETHER)
def test_a_verdict_is_the_same_or_none(
    name: str, profile: Profile, target: str, folder: Path
) -> None:
    free = judged((), profile, target, folder).cells
    inside = judged((OUTER[name],), profile, target, folder).cells

    assert inside.keys() == free.keys()
    changed = {key: inside[key] for key in free if inside[key][0] is not free[key][0]}
    assert {outcome for outcome, _ in changed.values()} <= {Outcome.CANNOT_TELL}, changed
    words = "this process is confined itself (Seccomp: 2), and its own confinement"
    assert all(words in sentence for _, sentence in changed.values())
    # What the outer filter leaves alone is decided.
    refused = {*CALLS, *POLICY.names, plan.UNKNOWN}
    answered = refused if name.startswith("export") else set(CALLS)
    assert {key[2].split()[0] for key in changed} <= answered
    if name == "allows":
        assert not changed


def calls_of(found: Mapping[Key, tuple[Outcome, str]], claim: Claim, on: Arch = NATIVE) -> set[str]:
    """The calls about which nothing can be told."""
    return {
        key[2].split()[0]
        for key, (outcome, _) in found.items()
        if outcome is Outcome.CANNOT_TELL and key[0] == claim.value and key[1] == on.name
    }


DOCUMENTED = set(CALLS[:3])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "word"),
    [("kills", "KILL_PROCESS"), ("kills a thread", "KILL_THREAD"), ("traps", "TRAP")],
)
def test_what_outranks_the_target_is_named(name: str, word: str, folder: Path) -> None:
    found = judged((OUTER[name],), Profile.ERRNO, "right", folder).cells
    assert calls_of(found, Claim.DENIES) == DOCUMENTED
    sentence = found[Claim.DENIES.value, NATIVE.name, f"acct {NATIVE.numbers['acct']:#x}", ""][1]
    assert f"answers acct with {word}: run the suite outside of it" in sentence
    assert "--target=ambient" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["refuses", "traces", "logs"])
def test_what_ranks_below_the_target_changes_nothing(name: str, folder: Path) -> None:
    """But a call that must run does not do so by itself then."""
    found = judged((OUTER[name],), Profile.KILL, "right", folder).cells
    assert calls_of(found, Claim.TERMINATES) == set()
    found = judged((OUTER[name],), Profile.LOG, "right", folder).cells
    assert calls_of(found, Claim.RUNS) == DOCUMENTED
    assert calls_of(found, Claim.LEAVES_THE_REST_ALONE) == set()


@pytest.mark.slow
def test_where_even_the_canaries_are_answered_another_one_serves(folder: Path) -> None:
    outer = answering(KILL, ["getppid"])
    told = judged((outer,), Profile.ERRNO, "right", folder)
    assert {outcome for outcome, _ in told.controls.values()} == {Outcome.PASSED}
    assert {key[2].split()[0] for key in told.controls} == {"getpid"}
    assert calls_of(told.cells, Claim.DENIES) == set()
    assert calls_of(told.cells, Claim.LEAVES_THE_REST_ALONE) == {"getppid"}


@pytest.mark.slow
def test_an_abi_that_the_confinement_kills_is_not_left_out_in_silence(folder: Path) -> None:
    """As libseccomp's filters do with those that a profile does not name."""
    i386 = ARCHES["i386"]
    numbers = set(i386.numbers.values())
    outer = bpf.to_bytes(
        bpf.dispatch({i386.audit_arch: bpf.ranges(numbers, KILL_THREAD, KILL_THREAD)}, ALLOW)
    )
    told = judged((outer,), Profile.ERRNO, "right", folder).cells
    left = {key: found for key, found in told.items() if key[0] == Claim.IS_ALL_JUDGED.value}
    ((key, (outcome, sentence)),) = left.items()
    assert outcome is Outcome.CANNOT_TELL
    assert key[2].startswith("calls of i386")
    assert "this process is confined itself (Seccomp: 2)" in sentence
    proved = [k for k in told if k[0] == Claim.IS_PROVED.value and k[1] == "i386"]
    assert {told[k][0] for k in proved} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    observed = [k for k in told if k[0] == Claim.DENIES.value and k[1] == "i386"]
    assert not observed


@pytest.mark.slow
@pytest.mark.parametrize("value", [KILL, EACCES], ids=["killed", "refused"])
@pytest.mark.parametrize(
    "calls",
    [
        ("prctl",),
        ("seccomp",),
        ("setsid", "setpgid"),
        ("pidfd_open",),
        ("capset",),
        ("memfd_create",),
    ],
    ids=lambda calls: calls[0],
)
def test_what_is_closed_to_the_instrument_makes_no_verdict_wrong(
    calls: tuple[str, ...], value: int, folder: Path
) -> None:
    free = judged((), Profile.ERRNO, "right", folder).cells
    inside = judged((answering(value, calls, [NATIVE]),), Profile.ERRNO, "right", folder).cells
    changed = {key: inside[key] for key in free if inside[key][0] is not free[key][0]}
    assert {outcome for outcome, _ in changed.values()} <= {Outcome.CANNOT_TELL}, changed
    known = {"leaves the rest alone", "is inherited", "denies"}
    assert {key[0] for key in changed} <= known
    assert len(changed) <= len(calls) + 2 * len(KERNEL), changed


@pytest.mark.slow
def test_where_no_filter_can_be_installed_nothing_is_told_but_by_proof(folder: Path) -> None:
    outer = answering(EACCES, ["prctl", "seccomp"], [NATIVE])
    told = judged((outer,), Profile.ERRNO, "right", folder)
    observed = {k: v for k, v in told.cells.items() if k[0] != Claim.IS_PROVED.value}
    assert {one for one, _ in observed.values()} <= {Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE}
    proved = {v for k, (v, _) in told.cells.items() if k[0] == Claim.IS_PROVED.value}
    assert Outcome.PASSED in proved
    assert Outcome.BROKEN not in proved
    # Those that the profile does not need are not applicable.
    controls = {outcome for outcome, _ in told.controls.values()}
    assert Outcome.CANNOT_TELL in controls
    assert controls <= {Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE}


@pytest.mark.slow
def test_a_supervisors_answer_is_not_the_targets(folder: Path) -> None:
    """An outer filter hands calls to a process outside, which lets them run."""
    file = folder / "right-log.bpf"
    file.write_bytes(bpf.to_bytes(rightly(Profile.LOG)))
    outer = answering(NOTIFY, CALLS, [NATIVE])
    me = (sys.executable, "-m", "probes.tests.support.confined")
    done = confined.under(
        (), *(*me, "supervise", outer.hex(), "--"), *(*me, "judge", "log", "none", f"bpf:{file}")
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = confined.read(done.stdout).cells
    assert calls_of(told, Claim.RUNS) == DOCUMENTED
    sentence = told[Claim.RUNS.value, NATIVE.name, f"acct {NATIVE.numbers['acct']:#x}", ""][1]
    assert "answers acct with USER_NOTIF or TRACE" in sentence
    bad = {
        key: found for key, found in told.items() if found[0] in {Outcome.FAILED, Outcome.BROKEN}
    }
    assert not bad


# The pure parts.

REACHED = Observation(Stage.RETURNED, result=-1, errno=MARKER_ERRNO)
KILLED = Observation(Stage.ARMED, status=31)
THREAD_KILLED = Observation(Stage.ARMED, status=0, survived=True)
TRAPPED = Observation(Stage.RETURNED, result=-1, errno=errno.ENOSYS, trapped=True)
REFUSED = Observation(Stage.RETURNED, result=-1, errno=errno.EPERM)
FAULT = Observation(Stage.NOT_REACHED, fault="it hung")


@pytest.mark.parametrize(
    ("alone", "together", "route", "told"),
    [
        (REACHED, KILLED, Route.SIBLING, True),
        (REACHED, REFUSED, Route.DIRECT, True),
        (KILLED, KILLED, Route.SIBLING, False),
        (THREAD_KILLED, KILLED, Route.SIBLING, True),
        (THREAD_KILLED, KILLED, Route.DIRECT, False),
        (THREAD_KILLED, THREAD_KILLED, Route.SIBLING, False),
        (TRAPPED, KILLED, Route.DIRECT, True),
        (TRAPPED, THREAD_KILLED, Route.SIBLING, True),
        (TRAPPED, TRAPPED, Route.DIRECT, False),
        (TRAPPED, REFUSED, Route.DIRECT, False),
        (FAULT, KILLED, Route.SIBLING, False),
        (TRAPPED, FAULT, Route.SIBLING, False),
    ],
)
def test_only_what_outranks_the_confinement_is_the_targets(
    alone: Observation, together: Observation, route: Route, told: object
) -> None:
    assert confinement.is_told_apart(alone, together, route) is told


def test_without_a_status_a_confinement_is_supposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "own_status", lambda _: None)
    assert "may be confined" in confinement.words()
    monkeypatch.setattr(kernel, "own_status", lambda _: "0")
    assert confinement.words() == ""
