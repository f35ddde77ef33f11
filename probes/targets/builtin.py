"""The target ``builtin``: the filter that the suite builds itself from the policy.

An allowlist: a number that some table knows and that the policy does not document is allowed;
every other number, and every number of a foreign architecture, gets the profile's action.
"""

from collections.abc import Mapping, Sequence

from probes import bpf
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.policy import Policy
from probes.targets import StackTarget

ALLOW = FilterReturn(Action.ALLOW)


def builtin(policy: Policy, arches: Sequence[Arch]) -> StackTarget:
    """The builtin filter for a kernel that offers these ABIs."""
    stacks = {profile: (build(policy, arches, profile),) for profile in Profile}
    return StackTarget("builtin", "the builtin filter", stacks, arches[0].big_endian)


def build(policy: Policy, arches: Sequence[Arch], profile: Profile) -> bpf.Program:
    """One program for every ABI of a kernel."""
    returns = profile.returns.value
    by_token = {
        token: bpf.ranges(allowed, ALLOW.value, returns)
        for token, allowed in allowed_numbers(policy, arches).items()
    }
    return bpf.dispatch(by_token, foreign=returns)


def allowed_numbers(policy: Policy, arches: Sequence[Arch]) -> Mapping[int, frozenset[int]]:
    """The numbers that a conforming filter lets through, by AUDIT_ARCH token.

    ABIs can share a token (x86_64 and x32 do), and a number is theirs together.
    """
    documented = {call.name for call in policy.calls}
    allowed: dict[int, frozenset[int]] = {}
    for arch in arches:
        known = frozenset(n for name, n in arch.numbers.items() if name not in documented)
        allowed[arch.audit_arch] = allowed.get(arch.audit_arch, frozenset()) | known
    return allowed
