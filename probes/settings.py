"""From the words of a command line to what a run does; every bad word is refused in a sentence."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from probes import arch, examiner, plan, policy
from probes.action import Profile
from probes.arch import Arch
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import Collector, CollectorUnavailableError
from probes.audit.netlink import NetlinkCollector
from probes.cell import Claim
from probes.errors import BadInputError, InstrumentError
from probes.examiner import AuditTrail
from probes.instrument import Zygote
from probes.plan import Case
from probes.policy import Policy
from probes.prover import TooComplexError
from probes.targets import Target
from probes.targets.builtin import builtin

AUDITD_LOG = Path("/var/log/audit/audit.log")
"""Where auditd writes unless auditd.conf(5) says otherwise."""

AUDIT_NETLINK = "netlink"
AUDIT_NONE = "none"
AUDIT_BEST = "best"
_AUDITD = "auditd:"


@dataclass(frozen=True, slots=True)
class Words:
    """The options as they were given; "" means the default.

    Attributes:
        policy: ``--policy``, a file.
        profile: ``--profile``, comma-separated.
        arch: ``--arch``, comma-separated.
        target: ``--target``.
        audit_source: ``--audit-source``.
    """

    policy: str
    profile: str = ""
    arch: str = ""
    target: str = "builtin"
    audit_source: str = AUDIT_BEST


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does.

    Attributes:
        policy: what must hold.
        profiles: the profiles to judge, in the project's order.
        native: the kernel's own ABI.
        arches: the ABIs to judge.
        offered: every ABI that this kernel can be entered by.
        shut: the ABIs that were looked for and cannot be entered, with what happened.
        target: what is put to the test.
        audit_source: where records shall come from.
        cases: the plan.
    """

    policy: Policy
    profiles: tuple[Profile, ...]
    native: Arch
    arches: tuple[Arch, ...]
    offered: tuple[Arch, ...]
    shut: Mapping[str, str]
    target: Target
    audit_source: str
    cases: tuple[Case, ...]

    def case(self, claim: Claim, parameters: Iterable[str]) -> Case:
        """The planned case of a claim with these parameters.

        Raises:
            LookupError: nothing like it was planned.
        """
        wanted = tuple(parameters)
        for case in self.cases:
            if case.claim is claim and tuple(value for _, value in case.parameters) == wanted:
                return case
        raise LookupError(f"no case was planned for {claim!r} and {wanted}")


def resolve(words: Words) -> Settings:
    """Reads the options and plans the run.

    Raises:
        BadInputError: an option has no meaning, or not here.
        InstrumentError: the process that makes the calls cannot be started.
    """
    documented = policy.load(Path(words.policy), arch.all_names())
    profiles = _profiles(words.profile)
    check_audit_source(words.audit_source)
    if words.target != "builtin":
        raise BadInputError(f"--target {words.target}: unknown target; this version has builtin")
    machine = os.uname().machine
    known = arch.offered_by(machine)
    with Zygote() as zygote:
        tried = dict(examiner.entered(zygote, known))
    offered = tuple(one for one, trouble in tried.items() if not trouble)
    shut = {one.name: trouble for one, trouble in tried.items() if trouble}
    if known[0] not in offered:
        raise InstrumentError(f"this kernel's own ABI cannot be called: {shut[known[0].name]}")
    arches = _arches(words.arch, offered, machine)
    target = builtin(documented, offered)
    return Settings(
        policy=documented,
        profiles=profiles,
        native=known[0],
        arches=arches,
        offered=offered,
        shut=MappingProxyType(shut),
        target=target,
        audit_source=words.audit_source,
        cases=plan.plan(
            documented, profiles, arches, offered, _named(target, profiles, words.arch)
        ),
    )


def _profiles(text: str) -> tuple[Profile, ...]:
    if not text:
        return tuple(Profile)
    names = [profile.value for profile in Profile]
    for word in text.split(","):
        if word not in names:
            raise BadInputError(
                f"--profile {text}: unknown profile {word!r}{_nearest(word, names)}; "
                f"the profiles are {', '.join(names)}, separated by commas"
            )
    return tuple(profile for profile in Profile if profile.value in text.split(","))


def _arches(text: str, offered: Sequence[Arch], machine: str) -> tuple[Arch, ...]:
    if not text:
        return tuple(offered)
    wanted = [_arch(text, word) for word in text.split(",")]
    for one in wanted:
        if one not in offered:
            names = ", ".join(each.name for each in offered)
            raise BadInputError(
                f"--arch {text}: this kernel ({machine}) cannot be entered as {one.name}; "
                f"it can as {names}"
            )
    return tuple(one for one in offered if one in wanted)


def _named(target: Target, profiles: Iterable[Profile], wanted: str) -> tuple[Arch, ...]:
    """The ABIs that the programs name, those that were asked for where any were."""
    tokens: set[int] = set()
    for profile in profiles:
        try:
            tokens |= set(target.analysis(profile).tokens())
        except TooComplexError:
            continue  # each cell of the proof will say so
    named = (one for one in arch.ARCHES.values() if one.audit_arch in tokens)
    return tuple(one for one in named if not wanted or one.name in wanted.split(","))


def _arch(text: str, word: str) -> Arch:
    try:
        return arch.get(word)
    except BadInputError as error:
        raise BadInputError(f"--arch {text}: {error}") from error


def _nearest(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def check_audit_source(text: str) -> None:
    """Refuses a word that names no source of audit records.

    Raises:
        BadInputError: the sentence names the possible words.
    """
    known = text in {AUDIT_BEST, AUDIT_NETLINK, AUDIT_NONE}
    if not known and not (text.startswith(_AUDITD) and text != _AUDITD):
        raise BadInputError(
            f"--audit-source {text}: unknown source; it is {AUDIT_NETLINK}, {_AUDITD}FILE or "
            f"{AUDIT_NONE}, and without the option the best that works here"
        )


@dataclass(frozen=True, slots=True)
class _Attempt:
    collector: Collector | None
    reason: str


def open_trail(source: str, zygote: Zygote, native: Arch) -> AuditTrail:
    """Opens a source of audit records and sees whether a canary's record arrives.

    Args:
        source: the value of ``--audit-source``.
        zygote: emits the canary.
        native: the ABI by which the canary enters.

    Returns:
        The trail; without a collector where none works, with the reason.
    """
    if source == AUDIT_NONE:
        return AuditTrail(None, "records were not asked for (--audit-source none)")
    if source != AUDIT_BEST:
        attempt = _try(source, zygote, native)
        return AuditTrail(attempt.collector, attempt.reason)
    reasons: list[str] = []
    candidates = [AUDIT_NETLINK]
    if os.path.lexists(AUDITD_LOG):  # unlike Path.exists() it refuses nobody
        candidates.append(f"{_AUDITD}{AUDITD_LOG}")
    for candidate in candidates:
        attempt = _try(candidate, zygote, native)
        if attempt.collector is not None:
            return AuditTrail(attempt.collector, attempt.reason)
        reasons.append(attempt.reason)
    return AuditTrail(None, "; ".join(reasons))


def _try(source: str, zygote: Zygote, native: Arch) -> _Attempt:
    try:
        collector: Collector = (
            NetlinkCollector()
            if source == AUDIT_NETLINK
            else AuditdCollector(Path(source.removeprefix(_AUDITD)))
        )
    except CollectorUnavailableError as error:
        return _Attempt(None, str(error))
    reason = ""
    for _ in range(CANARIES):
        batch = examiner.emit_and_read(zygote, native, collector, CANARY_DEADLINE_SECONDS)
        if batch.complete:
            return _Attempt(collector, "a canary's record arrived")
        reason = batch.reason
    collector.close()
    return _Attempt(None, reason)


CANARIES = 3
"""How many canaries are sent: a log that has no record of the kernel's yet shows no first one."""

CANARY_DEADLINE_SECONDS = 2.0
"""How long a canary's record may take, before it is taken not to arrive at all."""
