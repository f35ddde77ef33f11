"""The target ``builtin``: the filter that the suite builds itself from the policy.

An allowlist: a number that some table knows and that the policy does not document is allowed;
every other number, and every number of a foreign architecture, gets the profile's action. A call
that is documented under conditions is allowed with the arguments that do not meet them.
"""

from collections.abc import Mapping, Sequence

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.documents.policy import Policy
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.argument_code import decision
from probes.filters.bpf import IllegalProgramError
from probes.targets import StackTarget
from probes.targets.stack import FilterStack

ALLOW = FilterReturn(Action.ALLOW)


def builtin(policy: Policy, arches: Sequence[Arch]) -> StackTarget:
    """The builtin filter for a kernel that offers these ABIs."""
    return StackTarget(
        "builtin",
        {
            profile: FilterStack("the builtin filter", (build(policy, arches, profile),), arches[0])
            for profile in Profile
        },
    )


def build(policy: Policy, arches: Sequence[Arch], profile: Profile) -> bpf.Program:
    """One program for every ABI of a kernel.

    Raises:
        BadInputError: the policy's conditions make a program that is too long for the kernel.
    """
    returns = profile.returns.value
    by_token: dict[int, Sequence[bpf.Range]] = {}
    for token, allowed in allowed_numbers(policy, arches).items():
        here = [arch for arch in arches if arch.audit_arch == token]
        values = dict.fromkeys(allowed, ALLOW.value)
        code: dict[int, bpf.Program] = {}
        for arch in here:
            values |= _own_answers(policy, arch, profile)
            code |= by_arguments(policy, arch, profile)
        by_token[token] = bpf.ranges_from(values, returns, code)
    try:
        return bpf.dispatch(by_token, foreign=returns)
    except IllegalProgramError as error:
        raise BadInputError(
            f"{policy.path}: the kernel would refuse the filter of this policy ({error}); document "
            f"fewer conditions"
        ) from error


def _own_answers(policy: Policy, arch: Arch, profile: Profile) -> dict[int, int]:
    """What the numbers return that are documented without conditions and with other errnos."""
    return {
        number: call.returns(profile, arch)[0].value
        for call in policy.calls
        if call.errno and not call.args and (number := arch.number(call.name)) is not None
    }


def by_arguments(policy: Policy, arch: Arch, profile: Profile) -> dict[int, bpf.Program]:
    """What decides about the numbers that are documented under conditions."""
    return {
        number: decision(
            [
                (call.restriction(arch), call.returns(profile, arch)[0].value)
                for call in policy.entries(name)
            ],
            big_endian=arch.big_endian,
        )
        for name in dict.fromkeys(call.name for call in policy.calls if call.args)
        if (number := arch.number(name)) is not None
    }


def allowed_numbers(policy: Policy, arches: Sequence[Arch]) -> Mapping[int, frozenset[int]]:
    """The numbers that a conforming filter lets through whatever the arguments, by token.

    ABIs can share a token (x86_64 and x32 do), and a number is theirs together.
    """
    documented = set(policy.names)
    allowed: dict[int, frozenset[int]] = {}
    for arch in arches:
        known = frozenset(n for name, n in arch.numbers.items() if name not in documented)
        allowed[arch.audit_arch] = allowed.get(arch.audit_arch, frozenset()) | known
    return allowed
