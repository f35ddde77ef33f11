"""Filters that are wrong in one known way, and the cells that each must turn red.

What a mutant returns for a number is written down twice and apart: as a BPF program, which the
kernel runs, and as a plain function of token and number, from which the expected red cells are
derived without any of the instrument.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch, belongs_to, known_to
from probes.cell import CellKey, Claim
from probes.documents.policy import Policy
from probes.filters import bpf
from probes.filters.bpf import Program, Range
from probes.judging import plan
from probes.judging.plan import Scope
from probes.judging.proof import agrees
from probes.targets import StackTarget
from probes.targets.builtin import allowed_numbers
from probes.tests.support.stacks import target_of

ALLOW = FilterReturn(Action.ALLOW).value
KILL_PROCESS = FilterReturn(Action.KILL_PROCESS).value
KILL_THREAD = FilterReturn(Action.KILL_THREAD).value
TRAP = FilterReturn(Action.TRAP).value
EPERM = FilterReturn(Action.ERRNO, errno.EPERM).value
EACCES = FilterReturn(Action.ERRNO, errno.EACCES).value
LOG = FilterReturn(Action.LOG).value

X86_64 = ARCHES["x86_64"].audit_arch
I386 = ARCHES["i386"].audit_arch

Lookup = Callable[[int, int], int]
"""What a filter returns for an architecture token and a number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A filter as a table: by token, what it returns for some numbers, and for the others."""

    returns: Mapping[int, Mapping[int, int]]
    otherwise: int

    def lookup(self, token: int, number: int) -> int:
        """What the filter returns."""
        return self.returns.get(token, {}).get(number, self.otherwise)

    def program(self) -> Program:
        """The filter as BPF."""
        by_token = {
            token: bpf.ranges_from(numbers, self.otherwise)
            for token, numbers in self.returns.items()
        }
        return bpf.dispatch(by_token, self.otherwise)

    def changed(self, changes: Mapping[tuple[int, int], int]) -> "Table":
        """The same table with other returns for some (token, number)."""
        returns = {token: dict(numbers) for token, numbers in self.returns.items()}
        for (token, number), value in changes.items():
            returns.setdefault(token, {})[number] = value
        return replace(self, returns=returns)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong filter.

    Attributes:
        name: what is wrong with it.
        profile: the profile that it should have.
        program: the filter, as the kernel runs it.
        lookup: the filter, as the expectation reads it.
    """

    name: str
    profile: Profile
    program: Program
    lookup: Lookup

    @property
    def target(self) -> StackTarget:
        """The mutant as a target."""
        return target_of("mutant", f"the mutant {self.name!r}", {self.profile: (self.program,)})

    def red(self, key: CellKey, token: int, policy: Policy) -> bool:
        """Whether the mutant breaks the claim of a cell."""
        if key.claim is Claim.IS_PROVED:
            return any(
                not agrees(FilterReturn.decode(self.lookup(place, number)), wanted)
                for place, number, wanted in _covered(key, token, policy, self.profile)
            )
        if key.number is None:
            return False
        return not _HOLDS[key.claim](self, key, FilterReturn.decode(self.lookup(token, key.number)))


def _from_table(name: str, profile: Profile, table: Table) -> Mutant:
    return Mutant(name, profile, table.program(), table.lookup)


def _covered(
    key: CellKey, token: int, policy: Policy, profile: Profile
) -> Iterator[tuple[int, int, FilterReturn]]:
    """Numbers on which a proof must stumble if its claim is wrong, with what they must return."""
    near = {base + number for base in (0, X32_SYSCALL_BIT) for number in range(1024)}
    edges = near | {0x7FFFFFFF, 0x80000000, bpf.U32}
    if key.syscall == Scope.OTHER_ARCHITECTURES:
        yield from ((NO_ARCHITECTURE, number, profile.returns) for number in edges)
        return
    arch = ARCHES[key.arch]
    if key.syscall == Scope.OTHER_CALLS:
        allow = FilterReturn(Action.ALLOW)
        yield from ((token, number, allow) for number in plan.rest_of(policy, arch))
    elif key.syscall == Scope.UNKNOWN_NUMBERS:
        own = {number for number in edges if belongs_to(arch, number)}
        yield from ((token, n, profile.returns) for n in own - known_to(arch))
    elif key.number is not None:
        yield token, key.number, profile.returns


NO_ARCHITECTURE = 0x12345678


def _confined(mutant: Mutant, key: CellKey, returns: FilterReturn) -> bool:
    if returns == mutant.profile.returns:
        return True
    # A process with one thread ends alike under KILL_THREAD and KILL_PROCESS.
    alone = key.claim is Claim.IS_INHERITED and key.variant != "thread"
    return mutant.profile is Profile.KILL and returns.action is Action.KILL_THREAD and alone


_HOLDS: dict[Claim, Callable[[Mutant, CellKey, FilterReturn], bool]] = {
    Claim.TERMINATES: lambda _m, _k, r: r.action is Action.KILL_PROCESS,
    Claim.ENDS_EVERY_THREAD: lambda _m, _k, r: r.action is Action.KILL_PROCESS,
    Claim.IS_REPORTED: lambda _m, _k, r: r.action is Action.KILL_PROCESS,
    Claim.DENIES: lambda _m, _k, r: r.value == EPERM,
    Claim.IS_SILENT: lambda _m, _k, r: r.action is Action.ERRNO,
    Claim.RUNS: lambda _m, _k, r: r.action.reaches_kernel,
    Claim.IS_RECORDED: lambda _m, _k, r: r.action is Action.LOG,
    Claim.LEAVES_THE_REST_ALONE: lambda _m, _k, r: r.action is Action.ALLOW,
    Claim.DEFAULT_ACTION: _confined,
    Claim.IS_INHERITED: _confined,
}


def conforming(policy: Policy, arches: tuple[Arch, ...], profile: Profile) -> Table:
    """The filter that is right."""
    returns = {
        token: dict.fromkeys(sorted(numbers), ALLOW)
        for token, numbers in allowed_numbers(policy, arches).items()
    }
    return Table(returns, profile.returns.value)


def documented(policy: Policy, arches: tuple[Arch, ...]) -> dict[tuple[int, int], str]:
    """Every documented number as (token, number), with the call and ABI it stands for."""
    return {
        (arch.audit_arch, number): f"{arch.name}-{call.name}"
        for arch in arches
        for call in policy.calls
        if (number := arch.number(call.name)) is not None
    }


def dropped_rules(policy: Policy, arches: tuple[Arch, ...], profile: Profile) -> Iterator[Mutant]:
    """For every documented call on every ABI: its rule is missing."""
    table = conforming(policy, arches, profile)
    for place, name in documented(policy, arches).items():
        yield _from_table(f"no rule for {name}", profile, table.changed({place: ALLOW}))


def dropped_together(
    policy: Policy, arches: tuple[Arch, ...], profile: Profile
) -> Iterator[Mutant]:
    """Many rules are missing at once, so that few mutants tell any two rules apart.

    The rules are counted, and for each binary digit those with a one there are missing from one
    mutant and those with a zero from another. So of any two rules, each way round, some mutant
    lacks the first and has the second: a cell that one missing rule turns red by mistake is found.
    """
    table = conforming(policy, arches, profile)
    places = list(documented(policy, arches))
    for digit in range((len(places) - 1).bit_length()):
        for value in (0, 1):
            missing = [place for index, place in enumerate(places) if index >> digit & 1 == value]
            changed = table.changed(dict.fromkeys(missing, ALLOW))
            yield _from_table(f"no rules with {value} in place {digit}", profile, changed)


def wrong_actions(policy: Policy, arches: tuple[Arch, ...], profile: Profile) -> Iterator[Mutant]:
    """Every documented call has another action, and the rest is right."""
    table = conforming(policy, arches, profile)
    others = {
        Profile.KILL: {"KILL_THREAD": KILL_THREAD, "TRAP": TRAP, "ERRNO": EPERM, "LOG": LOG},
        Profile.ERRNO: {"EACCES": EACCES, "KILL_PROCESS": KILL_PROCESS, "LOG": LOG, "TRAP": TRAP},
        Profile.LOG: {"ERRNO": EPERM, "KILL_PROCESS": KILL_PROCESS, "TRAP": TRAP},
    }
    for word, value in {**others[profile], "ALLOW": ALLOW}.items():
        changes = dict.fromkeys(documented(policy, arches), value)
        yield _from_table(f"{word} instead of {profile}", profile, table.changed(changes))


def too_many_blocked(
    policy: Policy, arches: tuple[Arch, ...], profile: Profile
) -> Iterator[Mutant]:
    """One allowed call gets the profile's action, on one ABI; among them the one to exit with."""
    table = conforming(policy, arches, profile)
    for arch in arches:
        for name in ("getcwd", "io_uring_setup", "exit_group"):
            number = arch.number(name)
            if number is not None:
                change = {(arch.audit_arch, number): profile.returns.value}
                yield _from_table(f"{arch.name}-{name} too", profile, table.changed(change))


def structural(policy: Policy, arches: tuple[Arch, ...], profile: Profile) -> Iterator[Mutant]:
    """The classic mistakes in the frame of a filter."""
    table = conforming(policy, arches, profile)
    native = table.returns[X86_64]
    action = profile.returns.value
    deny = dict.fromkeys(documented(policy, arches), action)
    yield _from_table("default action ALLOW", profile, Table({}, ALLOW).changed(deny))
    yield _from_table("empty", profile, Table({}, ALLOW))
    yield _from_table("nothing allowed", profile, Table({}, action))
    yield Mutant(
        "architecture unchecked",
        profile,
        (bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR), *bpf.tree(bpf.ranges_from(native, action))),
        lambda _token, number: native.get(number, action),
    )
    below = [r for r in bpf.ranges_from(native, action) if r.first < X32_SYSCALL_BIT]
    below[-1] = replace(below[-1], last=X32_SYSCALL_BIT - 1)
    parts = [*below, Range(X32_SYSCALL_BIT, bpf.U32, ALLOW)]
    i386 = {I386: bpf.ranges_from(table.returns[I386], action)} if I386 in table.returns else {}
    yield Mutant(
        "x32 let through",
        profile,
        bpf.dispatch({X86_64: parts, **i386}, action),
        lambda token, number: (
            ALLOW if token == X86_64 and number >= X32_SYSCALL_BIT else table.lookup(token, number)
        ),
    )
    mask = bpf.U32 ^ X32_SYSCALL_BIT
    yield Mutant(
        "x32 bit masked off",
        profile,
        _masked(mask, bpf.ranges_from(native, action), i386.get(I386, ()), action),
        lambda token, number: (
            native.get(number & mask, action) if token == X86_64 else table.lookup(token, number)
        ),
    )
    for word, foreign in {"allowed": ALLOW, "killed by thread": KILL_THREAD}.items():
        yield Mutant(
            f"i386 missing, {word}",
            profile,
            bpf.dispatch({X86_64: bpf.ranges_from(native, action)}, foreign),
            lambda token, number, foreign=foreign: (  # type: ignore[misc] # a default binds it
                table.lookup(token, number) if token == X86_64 else foreign
            ),
        )


def _masked(
    mask: int, native: tuple[Range, ...], i386: tuple[Range, ...] | tuple[()], action: int
) -> Program:
    """A filter that forgets the x32 bit before it looks a number up."""
    block = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.statement(bpf.AND, mask),
        *bpf.tree(native),
    )
    rest = bpf.dispatch({I386: i386} if i386 else {}, action)
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, X86_64, 1, 0),
        bpf.statement(bpf.JA, len(block)),
        *block,
        *rest,
    )
