"""The builtin filter: every number of every architecture gets exactly what the policy says."""

import itertools
import math
from collections.abc import Iterable, Sequence
from tempfile import TemporaryFile
from typing import Any

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch
from probes.documents import policy
from probes.files import SUITE
from probes.filters import bpf
from probes.filters.bpf import Program, SeccompData
from probes.targets.builtin import allowed_numbers, build, builtin

POLICY = policy.load(
    SUITE / "cases" / "policies" / "container-restrictions.toml",
    arch.all_names(),
)
ALLOW = FilterReturn(Action.ALLOW).value
FOREIGN_TOKENS = (0, 1, 0xC000003F, 0xFFFFFFFF)
MACHINES = sorted({abi.machine for abi in ARCHES.values()})


def subsets(abis: Sequence[Arch]) -> Iterable[tuple[Arch, ...]]:
    """Every choice of ABIs that a kernel could offer, at least one."""
    for size in range(1, len(abis) + 1):
        yield from itertools.combinations(abis, size)


SUBSETS = [chosen for machine in MACHINES for chosen in subsets(arch.offered_by(machine))]

every_subset = pytest.mark.parametrize(
    "abis", SUBSETS, ids=["+".join(abi.name for abi in chosen) for chosen in SUBSETS]
)
every_profile = pytest.mark.parametrize("profile", list(Profile))


def expected(abis: Iterable[Arch], token: int, number: int) -> bool:
    """Whether the filter must allow it; said from the tables, not from sets of numbers."""
    names = [(abi.name_of(number) or "") for abi in abis if abi.audit_arch == token]
    known = [name for name in names if name]
    return bool(known) and not any(name in POLICY.names for name in known)


def edges(abis: Iterable[Arch]) -> set[int]:
    """Every known number of any of the ABIs, their neighbours, and the ends of all ranges."""
    known = {number for abi in abis for number in abi.numbers.values()}
    known |= {number ^ X32_SYSCALL_BIT for number in known}
    ends = {0, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, bpf.U32}
    near = {number + step for number in known | ends for step in (-1, 0, 1)}
    return {number for number in near if 0 <= number <= bpf.U32}


@pytest.mark.slow
@every_profile
@every_subset
def test_every_number_gets_what_the_policy_says(abis: tuple[Arch, ...], profile: Profile) -> None:
    program = build(POLICY, abis, profile)
    for token in {abi.audit_arch for abi in abis}:
        allowed = 0
        for number in edges(abis):
            allow = expected(abis, token, number)
            allowed += allow
            wanted = ALLOW if allow else profile.returns.value
            assert bpf.simulate(program, SeccompData(number, token)) == wanted, (token, number)
        assert allowed > 250


@pytest.mark.slow
@every_profile
@every_subset
def test_a_foreign_architecture_gets_the_profiles_action(
    abis: tuple[Arch, ...], profile: Profile
) -> None:
    """Also one that the suite knows, but that the kernel was not said to offer."""
    program = build(POLICY, abis, profile)
    own = {abi.audit_arch for abi in abis}
    for token in {abi.audit_arch for abi in ARCHES.values()} | set(FOREIGN_TOKENS):
        if token in own:
            continue
        for number in {number for abi in abis for number in abi.numbers.values()}:
            data = SeccompData(number, token)
            assert bpf.simulate(program, data) == profile.returns.value


@every_subset
def test_the_kernel_would_take_it(abis: tuple[Arch, ...]) -> None:
    for profile in Profile:
        program = build(POLICY, abis, profile)

        bpf.check(program)
        assert len(program) < 1024  # of 4096; more ABIs in one filter would be too many to read
        assert bpf.from_bytes(bpf.to_bytes(program)) == program


@every_subset
def test_a_call_costs_a_logarithm_of_the_ranges(abis: tuple[Arch, ...]) -> None:
    """The longest way through the filter, in comparisons; a linear list would take hundreds."""
    program = build(POLICY, abis, Profile.KILL)
    allowed = allowed_numbers(POLICY, abis).values()
    ranges = max(len(bpf.ranges(numbers, ALLOW, 0)) for numbers in allowed)
    costs = [0] * len(program)
    for index in reversed(range(len(program))):
        one = program[index]
        if one.code == bpf.JA:
            costs[index] = costs[index + 1 + one.k]
        elif one.code in {bpf.JEQ, bpf.JGE}:
            costs[index] = 1 + max(costs[index + 1 + one.jt], costs[index + 1 + one.jf])
        elif one.code != bpf.RET_K:
            costs[index] = costs[index + 1]

    assert costs[0] <= len(allowed) + math.ceil(math.log2(ranges))


def test_it_is_an_allowlist() -> None:
    """No number is refused by name: of the whole space, only the known ones are let through."""
    for machine in MACHINES:
        abis = arch.offered_by(machine)
        for token, numbers in allowed_numbers(POLICY, abis).items():
            known = {n for abi in abis if abi.audit_arch == token for n in abi.numbers.values()}
            assert numbers < known
            ranges = bpf.ranges(numbers, ALLOW, 0)
            let_through = [one for one in ranges if one.returns == ALLOW]
            assert sum(one.last - one.first + 1 for one in let_through) == len(numbers)


def test_no_documented_call_is_allowed_under_a_shared_token() -> None:
    """x86_64 and x32 share one: nothing that one documents may slip through as the other's."""
    by_token = allowed_numbers(POLICY, tuple(ARCHES.values()))
    for abi in ARCHES.values():
        for name in POLICY.names:
            assert abi.number(name) not in by_token[abi.audit_arch]


def test_the_target_predicts_what_its_programs_do() -> None:
    abis = arch.offered_by("x86_64")
    target = builtin(POLICY, abis)

    assert target.kind == "builtin"
    for abi, profile in itertools.product(abis, Profile):
        assert target.predict(profile, abi, abi.numbers["getpid"]) == FilterReturn(Action.ALLOW)
        assert target.predict(profile, abi, abi.numbers["acct"]) == profile.returns
        assert target.predict(profile, abi, 0xFFFFFFFF) == profile.returns


def test_a_big_endian_machine_gets_its_own_byte_order() -> None:
    """s390x reads the very program that others read, written the other way round."""
    s390x = ARCHES["s390x"]
    target = builtin(POLICY, (s390x,))
    (program,) = target.programs(Profile.ERRNO)

    assert bpf.to_bytes(program, big_endian=True)[:4] == b"\x00\x20\x00\x00"
    assert target.predict(Profile.ERRNO, s390x, s390x.numbers["getpid"]) == FilterReturn(
        Action.ALLOW
    )


# libseccomp as the oracle: the same allowlist, compiled by others, simulated here.

SCMP_TOKENS = {"x86_64": "X86_64", "x32": "X32", "i386": "X86", "aarch64": "AARCH64", "arm": "ARM"}


def libseccomps(lib: Any, abis: Sequence[Arch], profile: Profile) -> tuple[Program, set[int]]:  # noqa: ANN401 - it has no types
    """The filter that libseccomp makes of the policy, and the numbers that it cannot name."""
    actions = {
        Profile.KILL: lib.KILL_PROCESS,
        Profile.ERRNO: lib.ERRNO(profile.returns.data),
        Profile.LOG: lib.LOG,
    }
    made = lib.SyscallFilter(actions[profile])
    made.set_attr(lib.Attr.ACT_BADARCH, actions[profile])
    native = lib.system_arch()
    scmp = {abi: getattr(lib.Arch, SCMP_TOKENS[abi.name]) for abi in abis}
    for token in scmp.values():
        if token != native:
            made.add_arch(token)
    if native not in scmp.values():
        made.remove_arch(native)
    unnamed: set[int] = set()
    for name in sorted({name for abi in abis for name in abi.numbers} - set(POLICY.names)):
        resolved = {abi: lib.resolve_syscall(token, name) for abi, token in scmp.items()}
        for abi, number in abi_numbers(abis, name):
            if resolved[abi] & bpf.U32 != number:
                unnamed.add(number)
        if any(number >= 0 for number in resolved.values()):
            made.add_rule(lib.ALLOW, name)
    with TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return bpf.from_bytes(file.read()), unnamed


def abi_numbers(abis: Iterable[Arch], name: str) -> Iterable[tuple[Arch, int]]:
    for abi in abis:
        number = abi.number(name)
        if number is not None:
            yield abi, number


@pytest.mark.slow
@every_profile
@pytest.mark.parametrize(
    "abis",
    [chosen for chosen in SUBSETS if all(abi.name in SCMP_TOKENS for abi in chosen)],
    ids=lambda chosen: "+".join(abi.name for abi in chosen),
)
def test_libseccomp_makes_the_same_filter(abis: tuple[Arch, ...], profile: Profile) -> None:
    lib = pytest.importorskip("pyseccomp", reason="needs pyseccomp: pip install pyseccomp")
    theirs, unnamed = libseccomps(lib, abis, profile)
    ours = build(POLICY, abis, profile)
    compared = 0
    for token in {abi.audit_arch for abi in abis} | set(FOREIGN_TOKENS):
        for number in edges(abis) - unnamed:
            data = SeccompData(number, token)
            assert bpf.simulate(ours, data) == bpf.simulate(theirs, data), (hex(token), number)
            compared += 1
    assert compared > 1000
    assert len(unnamed) < 120
