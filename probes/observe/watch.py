"""Which calls are watched, what each is to the platform, and the filter that reports them. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

from probes.action import Action, FilterReturn
from probes.arch import X32_SYSCALL_BIT, Arch
from probes.documents.policy import Policy
from probes.documents.siblings import Sibling, siblings
from probes.filters import bpf
from probes.filters.argument_code import decision
from probes.filters.bpf import Instruction, Program
from probes.filters.conditions import Restriction
from probes.targets.builtin import allowed_numbers


class Kind(StrEnum):
    """What a watched call is to the platform."""

    DOCUMENTED = "documented"
    """The policy documents it: the platform does not allow it."""
    UNKNOWN = "unknown"
    """No table knows its number, so no allowlist has it."""
    SIBLING = "sibling"
    """The policy does not document it, but it gives the power of calls that it does."""
    CONFINING = "confining"
    """It installs a filter, which may answer other calls before they are seen here."""

    @property
    def allowed(self) -> bool:
        """Whether a conforming platform lets the call run."""
        return self in {Kind.SIBLING, Kind.CONFINING}


@dataclass(frozen=True, slots=True)
class WatchedArgument:
    """What one argument must be for a call to be watched.

    Only the low half of the register counts, as on a 32-bit ABI, and where flags are an int.

    Attributes:
        argument: which one, from 0.
        mask: the bits that count.
        value: what they must be; None where any of them is enough.
    """

    argument: int
    mask: int
    value: int | None = None

    def holds(self, args: Sequence[int]) -> bool:
        """Whether a call with these arguments is watched."""
        return self.accepts(args[self.argument])

    def accepts(self, word: int) -> bool:
        """Whether a word is what it must be."""
        found = word & self.mask
        return found == self.value if self.value is not None else found != 0


@dataclass(frozen=True, slots=True)
class Watched:
    """A call of one ABI that is watched.

    Attributes:
        kind: what it is to the platform.
        name: the call's name.
        arch: the ABI.
        number: its number there.
        gives: of a sibling, the documented calls whose power it has; none where it weakens every
            filter.
        condition: when it is watched; None for always.
        memory: what 64 bits of memory must hold for it to count, the argument being their address;
            None where no memory matters. A filter cannot look there, but the supervisor can.
        restrictions: of a call that is documented for some arguments only, which these are, and
            what each such entry goes by; none where it is documented for all.
    """

    kind: Kind
    name: str
    arch: Arch
    number: int
    gives: tuple[str, ...] = ()
    condition: WatchedArgument | None = None
    memory: WatchedArgument | None = None
    restrictions: tuple[tuple[str, Restriction], ...] = ()

    def seen_as(self, args: Sequence[int]) -> Self | None:
        """What a call with these arguments is; None where they make it none that is watched."""
        if self.restrictions:
            found = (label for label, one in self.restrictions if one.holds(args))
            label = next(found, None)
            return None if label is None else replace(self, name=label)
        return self if self.condition is None or self.condition.holds(args) else None


@dataclass(frozen=True, slots=True)
class Addressing:
    """A call of one ABI that names the other end of a socket.

    Attributes:
        name: the call's name.
        arch: the ABI.
        conditions: it does where one of them holds; without any, always.
    """

    name: str
    arch: Arch
    conditions: tuple[WatchedArgument, ...]

    def holds(self, args: Sequence[int]) -> bool:
        """Whether a call with these arguments may name one."""
        return not self.conditions or any(one.holds(args) for one in self.conditions)


# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. Without one of
# them clone(2) starts a process or a thread, as every program does.
_CLONE_NAMESPACES: Final = 0x7E020000
# clone3(2) has its flags in memory, first of all, and CLONE_NEWTIME among them.
_CLONE3_NAMESPACES: Final = _CLONE_NAMESPACES | 0x80
# linux/ipc.h: MSGRCV; the kernel looks at the low 16 bits of the first argument.
_IPC_OPERATION: Final = 0xFFFF
_IPC_MSGRCV: Final = 12
_INT: Final = 0xFFFFFFFF
# linux/prctl.h
_PR_SET_SECCOMP: Final = 22
# linux/seccomp.h: SECCOMP_SET_MODE_FILTER
_SET_MODE_FILTER: Final = 1

_CONFINING: Final[Mapping[str, WatchedArgument]] = {
    "seccomp": WatchedArgument(0, _INT, _SET_MODE_FILTER),
    "prctl": WatchedArgument(0, _INT, _PR_SET_SECCOMP),
}

# linux/net.h: SYS_CONNECT, SYS_SENDTO, SYS_SENDMSG, SYS_SENDMMSG
_SOCKETCALL_OPERATIONS: Final = (3, 11, 16, 20)
_ADDRESS_LENGTH: Final = 5

_ADDRESSING: Final[Mapping[str, tuple[WatchedArgument, ...]]] = {
    "connect": (),
    "sendto": (WatchedArgument(_ADDRESS_LENGTH, _INT),),
    "sendmsg": (),
    "sendmmsg": (),
    "socketcall": tuple(WatchedArgument(0, _INT, one) for one in _SOCKETCALL_OPERATIONS),
}
"""The calls that name the other end of a socket, and when; without a condition, always."""

_NOTIFY: Final = FilterReturn(Action.USER_NOTIF).value
_ALLOW: Final = FilterReturn(Action.ALLOW).value


@dataclass(frozen=True, slots=True)
class Watch:
    """All that is watched.

    Attributes:
        arches: the ABIs of the kernel, its native one first.
        calls: the watched calls by AUDIT_ARCH token and number.
        known: the numbers that some table knows, by token; any other is watched.
        addressing: the calls that are looked at, not counted, because they name the other end of a
            socket; likewise by token and number.
    """

    arches: tuple[Arch, ...]
    calls: Mapping[tuple[int, int], Watched]
    known: Mapping[int, frozenset[int]]
    addressing: Mapping[tuple[int, int], Addressing]

    def recognize(self, token: int, number: int, args: Sequence[int]) -> Watched | None:
        """What a reported call is; None where its number, or its ABI, is in no table."""
        one = self.calls.get((token, number))
        return one.seen_as(args) if one is not None else None

    def addresses(self, token: int, number: int, args: Sequence[int]) -> Addressing | None:
        """The reported call, if it may name the other end of a socket."""
        one = self.addressing.get((token, number))
        return one if one and one.holds(args) else None

    def abi_of(self, token: int, number: int) -> str:
        """What to call the ABI of a number, also of one that no table knows."""
        found = [one for one in self.arches if one.audit_arch == token]
        if len(found) > 1:  # x86_64 and x32
            found = [one for one in found if (one.name == "x32") == bool(number & X32_SYSCALL_BIT)]
        return found[0].name if found else f"AUDIT_ARCH {token:#x}"


def watch(policy: Policy, arches: Sequence[Arch]) -> Watch:
    """What is watched for a policy.

    Of the siblings those that do all that a documented call does: many of the others, such as
    mprotect, are in every program's daily use and say nothing about it.

    Args:
        policy: what the platform does not allow.
        arches: the ABIs of the kernel, its native one first.
    """
    calls: dict[tuple[int, int], Watched] = {}
    for arch in arches:
        for one in _watched(arch, policy):
            # What is documented comes first, and is what a call goes by.
            calls.setdefault((arch.audit_arch, one.number), one)
    allowed = allowed_numbers(policy, arches)
    known = {
        token: numbers | {number for there, number in calls if there == token}
        for token, numbers in allowed.items()
    }
    addressing = {
        (arch.audit_arch, arch.numbers[name]): Addressing(name, arch, conditions)
        for arch in arches
        for name, conditions in _ADDRESSING.items()
        if name in arch.numbers
    }
    return Watch(
        tuple(arches),
        MappingProxyType(calls),
        MappingProxyType(known),
        MappingProxyType(addressing),
    )


def _watched(arch: Arch, policy: Policy) -> list[Watched]:
    documented = frozenset(policy.names)
    found = [
        Watched(
            Kind.DOCUMENTED,
            name,
            arch,
            number,
            restrictions=tuple(
                (call.label, call.restriction(arch)) for call in policy.entries(name) if call.args
            ),
        )
        for name, number in arch.numbers.items()
        if name in documented
    ]
    by_name: dict[str, list[Sibling]] = {}
    for sibling in siblings():
        if sibling.whole and sibling.concerns(policy) is not None:
            by_name.setdefault(sibling.name, []).append(sibling)
    found += [
        _sibling(arch, number, policy, alike)
        for name, alike in by_name.items()
        if (number := arch.number(name)) is not None
    ]
    for name, condition in _CONFINING.items():
        number = arch.number(name)
        if number is not None and name not in documented:
            found.append(Watched(Kind.CONFINING, name, arch, number, condition=condition))
    return found


def _sibling(arch: Arch, number: int, policy: Policy, alike: Sequence[Sibling]) -> Watched:
    """A call that is a sibling, perhaps of several kinds: watched when it is any of them."""
    powers = [one.concerns(policy) or () for one in alike]
    names = dict.fromkeys(policy.names)
    gives = tuple(name for name in names if any(name in power for power in powers))
    conditions = [_sibling_condition(one, arch) for one in alike]
    label = alike[0].label if len(alike) == 1 else alike[0].name
    condition, memory = (None, None) if (None, None) in conditions else conditions[0]
    return Watched(Kind.SIBLING, label, arch, number, gives, condition, memory)


def _sibling_condition(
    sibling: Sibling, arch: Arch
) -> tuple[WatchedArgument | None, WatchedArgument | None]:
    """When a call is a sibling: by an argument, by the memory behind it; None and None: always."""
    makes_namespaces = "unshare" in sibling.gives
    if sibling.name == "clone" and makes_namespaces:
        # s390 has the stack first: CONFIG_CLONE_BACKWARDS2.
        return WatchedArgument(int(arch.name in {"s390x", "s390"}), _CLONE_NAMESPACES), None
    if sibling.name == "clone3" and makes_namespaces:
        return None, WatchedArgument(0, _CLONE3_NAMESPACES)
    if sibling.label == "ipc MSGRCV":
        return WatchedArgument(0, _IPC_OPERATION, _IPC_MSGRCV), None
    return None, None


def program(watched: Watch) -> Program:
    """The filter that reports what is watched and lets everything run.

    A number that no table knows is reported, too, as is every call of an ABI that none knows.
    """
    big_endian = watched.arches[0].big_endian
    code: list[Instruction] = [bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH)]
    for token, known in watched.known.items():
        block = _block(watched, token, known, big_endian=big_endian)
        code += (bpf.jump(bpf.JEQ, token, 1, 0), bpf.statement(bpf.JA, len(block)), *block)
    code.append(bpf.statement(bpf.RET_K, _NOTIFY))
    found = tuple(code)
    bpf.check(found)
    return found


def _block(watched: Watch, token: int, known: Collection[int], *, big_endian: bool) -> Program:
    """What is done for one token: first the numbers whose arguments count, then the others."""
    code: list[Instruction] = [bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR)]
    returns = dict.fromkeys(known, _ALLOW)
    for number, conditions in _conditions(watched, token).items():
        restrictions = _restrictions(watched, token, number)
        if not conditions and not restrictions:
            returns[number] = _NOTIFY
        else:
            first = decision([(one, _NOTIFY) for one in restrictions], big_endian=big_endian)[:-1]
            asked = (*first, *_asked(conditions, big_endian=big_endian))
            code += (bpf.jump(bpf.JEQ, number, 1, 0), bpf.statement(bpf.JA, len(asked)), *asked)
    return (*code, *bpf.tree(bpf.ranges_from(returns, _NOTIFY)))


def _restrictions(watched: Watch, token: int, number: int) -> tuple[Restriction, ...]:
    """For which arguments a number is documented, where it is so for some only.

    None where it is reported whatever the arguments, since it names the other end of a socket.
    """
    other = watched.addressing.get((token, number))
    one = watched.calls.get((token, number))
    if one is None or (other is not None and not other.conditions):
        return ()
    return tuple(restriction for _, restriction in one.restrictions)


def _conditions(watched: Watch, token: int) -> Mapping[int, tuple[WatchedArgument, ...]]:
    """When each number is reported besides; always where nothing else says when."""
    found: dict[int, tuple[WatchedArgument, ...]] = {
        number: () if one.condition is None else (one.condition,)
        for (there, number), one in watched.calls.items()
        if there == token
    }
    for (there, number), other in watched.addressing.items():
        if there == token:
            before = found.get(number)
            documented = bool(_restrictions(watched, token, number))
            always = (before == () and not documented) or not other.conditions
            found[number] = () if always else (*(before or ()), *other.conditions)
    return found


def _asked(conditions: Sequence[WatchedArgument], *, big_endian: bool) -> Program:
    """Decides by arguments: whether one of some conditions holds."""
    code: list[Instruction] = []
    for one in conditions:
        offset = bpf.OFFSET_ARGS + 8 * one.argument + (4 if big_endian else 0)
        code.append(bpf.statement(bpf.LD_ABS, offset))
        if one.value is None:
            code.append(bpf.jump(bpf.JSET, one.mask, 0, 1))
        else:
            code += (
                bpf.statement(bpf.AND, one.mask),
                bpf.jump(bpf.JEQ, one.value, 0, 1),
            )
        code.append(bpf.statement(bpf.RET_K, _NOTIFY))
    return (*code, bpf.statement(bpf.RET_K, _ALLOW))
