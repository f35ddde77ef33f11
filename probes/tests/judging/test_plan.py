"""The plan: every cell that a run must judge, each once, and in the same order everywhere."""

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest

from probes import arch
from probes.action import Action, Profile
from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch, canary
from probes.cell import CellKey, Claim
from probes.documents import policy
from probes.files import SUITE
from probes.judging import claims, plan, verdict
from probes.judging.needed_calls import Way
from probes.judging.plan import Case

ROOT = SUITE
POLICY = policy.load(ROOT / "cases" / "policies" / "container-restrictions.toml", arch.all_names())
KERNELS = {machine: arch.offered_by(machine) for machine in {a.machine for a in ARCHES.values()}}
X86 = KERNELS["x86_64"]
PROFILES = tuple(Profile)
ABSENT = {"x86_64": 0, "x32": 7, "i386": 3}
"""How many of the 60 documented calls an ABI of x86 has no number for."""


def planned(arches: Iterable[Arch], profiles: Iterable[Profile] = PROFILES) -> tuple[Case, ...]:
    """The plan of a run on the ABIs' kernel, proofs left out."""
    kernel = KERNELS[next(iter(arches)).machine]
    return plan.plan(POLICY, tuple(profiles), tuple(arches), kernel, ())


def cells(cases: Iterable[Case], claim: Claim) -> list[CellKey]:
    return [key for case in cases for key in case.cells if case.claim is claim]


CASES = planned(X86)
every_kernel = pytest.mark.parametrize("machine", sorted(KERNELS))
every_abi = pytest.mark.parametrize("abi", ARCHES.values(), ids=str)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("abi", X86, ids=str)
def test_the_documented_calls_of_x86(abi: Arch, profile: Profile) -> None:
    """60, 53 and 57 numbers; the rest is planned too, to be told as not applicable."""
    for claim in claims.documented(profile):
        keys = [
            key
            for key in cells(CASES, claim)
            if (key.arch, key.profile) == (abi.name, profile.value)
        ]

        assert [key.syscall for key in keys] == list(POLICY.names)
        assert len(keys) == 60
        assert sum(key.number is None for key in keys) == ABSENT[abi.name]
        assert all(key.number == abi.number(key.syscall) for key in keys)


def test_each_profile_has_its_claims() -> None:
    by_profile = {
        profile: {case.claim for case in CASES if case.profile is profile} for profile in Profile
    }
    common = {Claim.LEAVES_THE_REST_ALONE, Claim.DEFAULT_ACTION, Claim.IS_INHERITED}

    assert by_profile == {
        Profile.KILL: common | {Claim.TERMINATES, Claim.IS_REPORTED, Claim.ENDS_EVERY_THREAD},
        Profile.ERRNO: common | {Claim.DENIES, Claim.IS_SILENT},
        Profile.LOG: common | {Claim.RUNS, Claim.IS_RECORDED},
    }


@every_kernel
def test_each_abi_has_its_controls_and_ways(machine: str) -> None:
    kernel = KERNELS[machine]
    cases = planned(kernel)
    controls = Counter(key.arch for key in cells(cases, Claim.CONTROLS))
    inherited = Counter((key.arch, key.profile) for key in cells(cases, Claim.IS_INHERITED))
    threads = Counter(key.arch for key in cells(cases, Claim.ENDS_EVERY_THREAD))

    assert controls == {abi.name: 6 for abi in kernel}
    ways = len(set(Way) - {Way.RUNTIME_EXEC})
    assert inherited == {(abi.name, p.value): ways for abi in kernel for p in Profile}
    assert threads == {abi.name: 1 for abi in kernel}
    assert all(case.profile is None for case in cases if case.claim is Claim.CONTROLS)


def test_the_controls_are_the_actions_that_the_judge_tells_apart() -> None:
    actions = {returns.action for returns in plan.CONTROLS}

    assert actions == set(Action) - {Action.USER_NOTIF, Action.TRACE}
    for returns in plan.CONTROLS:
        assert verdict.expected_of(None, Claim.CONTROLS, returns.action.name) == returns


@every_kernel
def test_ids_are_unique_and_readable(machine: str) -> None:
    cases = planned(KERNELS[machine])
    names = [f"{case.function}[{case.id}]" for case in cases]

    assert len(set(names)) == len(names)
    assert all(name.isascii() and " " not in name for name in names)


def test_ids_are_those_that_the_documentation_promises() -> None:
    names = {f"{case.function}[{case.id}]" for case in CASES}

    assert "test_terminates[x86_64-acct]" in names
    assert "test_default_action[errno-x86_64-0xffffffff]" in names
    assert "test_is_inherited[log-i386-later_filter]" in names
    assert "test_leaves_the_rest_alone[kill-x32]" in names
    assert "test_controls[x86_64-KILL_PROCESS]" in names


@every_kernel
def test_no_cell_is_planned_twice(machine: str) -> None:
    keys = [key for case in planned(KERNELS[machine]) for key in case.cells]

    assert len(set(keys)) == len(keys)
    assert all(case.cells for case in planned(KERNELS[machine]))


def test_a_case_finds_its_cells_by_claim_and_profile() -> None:
    for case in CASES:
        for key in case.cells:
            assert key.claim is case.claim
            assert key.arch == case.arch.name
            assert key.profile == (case.profile.value if case.profile else plan.NO_PROFILE)


@every_kernel
def test_profiles_and_abis_only_add_up(machine: str) -> None:
    """What is planned for one ABI and profile does not depend on what else was asked for."""
    kernel = KERNELS[machine]
    whole = {key for case in planned(kernel) for key in case.cells}
    parts = [
        {key for case in planned([abi], [profile]) for key in case.cells}
        for abi, profile in itertools.product(kernel, Profile)
    ]

    assert set().union(*parts) == whole


@pytest.mark.slow
def test_the_order_is_the_same_in_every_process() -> None:
    """Test workers plan on their own; their hashes of strings differ."""
    script = (
        "from probes.tests.judging.test_plan import CASES; import hashlib;"
        "words = repr([(case.claim, case.id, case.cells) for case in CASES]);"
        "print(hashlib.sha256(words.encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(seen) == 1
    assert planned(X86) == CASES


# The rest, and what nobody knows.


@every_abi
def test_documented_and_rest_are_all_numbers_of_an_abi(abi: Arch) -> None:
    kernel = KERNELS[abi.machine]
    cases = planned([abi], [Profile.ERRNO])
    documented = {key.number for key in cells(cases, Claim.DENIES)} - {None}
    rest = {key.number: key.syscall for key in cells(cases, Claim.LEAVES_THE_REST_ALONE)}
    unknown = {key.number for key in cells(cases, Claim.DEFAULT_ACTION)}

    assert documented.isdisjoint(rest)
    assert documented | set(rest) == set(abi.numbers.values())
    assert all(abi.numbers[name] == number for number, name in rest.items())
    assert plan.rest_of(POLICY, abi) == rest
    for other in kernel:
        if other.audit_arch == abi.audit_arch:
            assert unknown.isdisjoint(other.numbers.values())


@every_abi
def test_unknown_numbers_are_unknown_and_the_telling_ones(abi: Arch) -> None:
    kernel = KERNELS[abi.machine]
    known = {
        number
        for other in ARCHES.values()
        if other.audit_arch == abi.audit_arch
        for number in other.numbers.values()
    }

    chosen = plan.unknown_numbers(abi, kernel)

    assert known.isdisjoint(chosen)
    assert sorted(set(chosen)) == list(chosen)
    assert all(0 <= number <= abi.highest for number in chosen)
    assert abi.highest in chosen or abi.name == "x32"
    assert max(abi.numbers.values()) + 1 in chosen
    garbage = [n for n in chosen if n & X32_SYSCALL_BIT and n & ~X32_SYSCALL_BIT > 0xFFFF]
    assert garbage or abi.highest == 0xFFFF
    if abi.name != "x32" and abi.highest > 0xFFFF:
        assert {0x7FFFFFFF, 0x80000000, abi.highest} <= set(chosen)
        assert abi.highest == 0xFFFFFFFF or abi.name == "arm"
        assert any(n & X32_SYSCALL_BIT and n < 2 * X32_SYSCALL_BIT for n in chosen)
    holes = [n for n in chosen if n < max(abi.numbers.values())]
    first, last = min(abi.numbers.values()), max(abi.numbers.values())
    assert bool(holes) is bool(set(range(first, last)) - known)


def test_some_number_tells_a_filter_that_ignores_the_x32_bit() -> None:
    """One that x32 must refuse is allowed on x86_64, or the other way round."""
    x86_64, x32 = ARCHES["x86_64"], ARCHES["x32"]
    allowed = set(plan.rest_of(POLICY, x86_64))
    refused = [
        key.number
        for claim in (Claim.DENIES, Claim.DEFAULT_ACTION)
        for key in cells(planned([x32], [Profile.ERRNO]), claim)
        if key.number is not None
    ]

    assert any(number & ~X32_SYSCALL_BIT in allowed for number in refused)
    assert any(n & ~X32_SYSCALL_BIT not in allowed for n in plan.rest_of(POLICY, x32))


def test_the_canary_has_no_arguments_and_is_not_documented() -> None:
    for abi in ARCHES.values():
        name, number = canary(abi)

        assert name not in POLICY.names
        assert abi.number(name) == number


def test_the_sample_is_documented_and_there() -> None:
    for abi in ARCHES.values():
        call = plan.sample_call(POLICY, abi)

        assert call is not None
        assert call.name in POLICY.names
        assert abi.number(call.name) is not None


def test_only_the_kernels_own_trampolines_are_exempt() -> None:
    exempt = {key for key in cells(CASES, Claim.LEAVES_THE_REST_ALONE) if plan.is_exempt(key)}

    assert {(key.arch, key.syscall) for key in exempt} == {
        ("x86_64", name) for name in ("uprobe", "uretprobe") if name in ARCHES["x86_64"].numbers
    }


# What the proofs cover.


def test_a_proof_covers_each_call_and_the_rest_once() -> None:
    cases = plan.plan(POLICY, PROFILES, (), X86, X86)
    keys = [key for case in cases for key in case.cells]

    assert {case.claim for case in cases} == {Claim.IS_PROVED}
    assert len(set(keys)) == len(keys)
    for abi, profile in itertools.product(X86, Profile):
        here = [key for key in keys if (key.arch, key.profile) == (abi.name, profile.value)]
        calls = [key for key in here if key.syscall in POLICY.names]
        assert [key.syscall for key in calls] == list(POLICY.names)
        assert sum(key.number is None for key in calls) == ABSENT[abi.name]
        assert {key.syscall for key in here} - set(POLICY.names) == {
            plan.Scope.OTHER_CALLS.value,
            plan.Scope.UNKNOWN_NUMBERS.value,
        }
    elsewhere = [key for key in keys if key.syscall == plan.Scope.OTHER_ARCHITECTURES]
    assert len(elsewhere) == len(Profile)
