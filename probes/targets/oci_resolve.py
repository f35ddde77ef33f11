"""Picking the rules of a profile that count for a container, as Docker or Podman do.

Docker and Podman read the same files almost alike: Podman does not know minKernel, looks into
archMap on fewer machines, and has errnos by name. What a bundle has is taken as it is.

Sources: moby/profiles ``seccomp/seccomp_linux.go``, containers/common
``pkg/seccomp/seccomp_linux.go``, and for what runc refuses ``libcontainer/seccomp``.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from probes.action import DATA_MASK, MAX_ERRNO, Action, FilterReturn
from probes.arch import Arch
from probes.errors import BadInputError
from probes.targets.capability import CAPABILITIES
from probes.targets.files import shown
from probes.targets.oci_profile import Condition, Profile, Rule

_RELEASE: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


def kernel_version(release: str) -> tuple[int, int]:
    """Version and major revision of a kernel release, such as (6, 1) of ``6.1.0-18-amd64``.

    Raises:
        BadInputError: the text does not begin with them.
    """
    match = _RELEASE.match(release)
    if not match:
        raise BadInputError(
            f"'{shown(release)}' is no kernel release; it begins with two numbers, as in 6.1 or "
            f"6.1.0-18-amd64"
        )
    return int(match[1]), int(match[2])


class Engine(StrEnum):
    """Whose reading of a profile counts."""

    DOCKER = "docker"
    PODMAN = "podman"

    @property
    def other(self) -> "Engine":
        """The one whose reading does not count."""
        return Engine.PODMAN if self is Engine.DOCKER else Engine.DOCKER


@dataclass(frozen=True, slots=True)
class ResolvedRule:
    """One call's rule, as the runtime gets it.

    Attributes:
        name: the call.
        returns: what a filter returns where the conditions hold.
        conditions: on the arguments.
        place: the rule's place in the file.
    """

    name: str
    returns: FilterReturn
    conditions: tuple[Condition, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the runtime gets for one container.

    Attributes:
        path: the file, as a sentence can hold it.
        native: the native ABI of the machine.
        default: what a filter returns for every call that no rule matches.
        rules: in order, one a name.
        architectures: ``SCMP_ARCH_*``; the native one may be absent, but is always there.
        flags: ``SECCOMP_FILTER_FLAG_*``.
        default_errno_ret: ``defaultErrnoRet`` as it was written.
        findings: sentences about what is not as it was written.
    """

    path: str
    native: Arch
    default: FilterReturn
    rules: tuple[ResolvedRule, ...]
    architectures: tuple[str, ...]
    flags: tuple[str, ...] = ()
    default_errno_ret: int | None = None
    findings: tuple[str, ...] = ()


# Docker and Podman name native architectures in arches as Go programs do, almost.
_GO_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "x86_64": "amd64",
        "x32": "x32",
        "i386": "x86",
        "aarch64": "arm64",
        "arm": "arm",
        "ppc64le": "ppc64le",
        "s390x": "s390x",
        "riscv64": "riscv64",
        "loongarch64": "loong64",
        "mips64el": "mipsel64",
    }
)
_DOCKER_NAMES: Mapping[str, str] = MappingProxyType({**_GO_NAMES, "loongarch64": "loongarch64"})
_OTHER_NAMES: Final = frozenset({"mips", "mips64", "mips64n32", "mipsel", "ppc", "ppc64", "s390"})
_N32_NAMES: Final = frozenset({"mipsel64n32", "mips3l64n32"})

_PODMAN_ARCH_MAP: Final = frozenset(
    f"SCMP_ARCH_{name}"
    for name in ("X86_64", "AARCH64", "MIPS64", "MIPS64N32", "MIPSEL64", "MIPSEL64N32", "S390X")
)
"""The native architectures for which Podman looks into archMap."""

_RUNC_LACKS: Final = frozenset(
    f"SCMP_ARCH_{name}" for name in ("M68K", "PARISC", "PARISC64", "SH", "SHEB")
)
"""What libseccomp knows and runc refuses: libcontainer/seccomp/config.go."""


def resolve(
    profile: Profile,
    native: Arch,
    capabilities: Collection[str],
    kernel: tuple[int, int],
    engine: Engine = Engine.DOCKER,
) -> Resolved:
    """Picks what counts for a container, as Docker or Podman do before they start the runtime.

    Args:
        profile: a bundle's is taken as it is.
        native: the native ABI of the machine.
        capabilities: the container's bounding set, such as ``CAP_SYS_ADMIN``.
        kernel: version and major revision; only Docker asks for it.
        engine: whose reading of a profile counts.

    Raises:
        BadInputError: runc would refuse what comes out, or a value has no meaning.
    """
    container = _Container(native, frozenset(capabilities), kernel, engine)
    picked = _pick(profile, container)
    for name in picked.architectures:
        if name in _RUNC_LACKS:
            raise BadInputError(
                f"{profile.path}: runc does not know the architecture {name}; leave it out"
            )
    _check_notifications(profile, picked)
    findings = [*profile.findings]
    if not profile.bundle:
        findings += _words_without_meaning(profile)
        findings += _other_reading(profile, container, picked)
    findings += _joined_by_or(picked, profile)
    findings += _without_effect(picked, profile)
    if "SECCOMP_FILTER_FLAG_LOG" in profile.flags:
        findings.append(
            f"{profile.path}: the flag SECCOMP_FILTER_FLAG_LOG has the kernel record every action "
            f"but ALLOW, and Docker passes flags on only from version 23 on"
        )
    return Resolved(
        path=profile.path,
        native=native,
        default=picked.default,
        rules=picked.rules,
        architectures=picked.architectures,
        flags=profile.flags,
        default_errno_ret=picked.default_errno_ret,
        findings=tuple(findings),
    )


@dataclass(frozen=True, slots=True)
class _Container:
    native: Arch
    capabilities: frozenset[str]
    kernel: tuple[int, int]
    engine: Engine


@dataclass(frozen=True, slots=True)
class _Picked:
    default: FilterReturn
    default_errno_ret: int | None
    architectures: tuple[str, ...]
    rules: tuple[ResolvedRule, ...]


def _pick(profile: Profile, container: _Container) -> _Picked:
    default_errno_ret = _errno_of(
        profile, "defaultErrno", profile.default_errno_ret, profile.default_errno, container
    )
    architectures = profile.architectures
    looks = container.engine is Engine.DOCKER or container.native.scmp in _PODMAN_ARCH_MAP
    for own, parts in profile.arch_map:
        if own == container.native.scmp and looks:
            architectures = (own, *parts)
            break
    rules = tuple(
        ResolvedRule(name, returns, rule.conditions, rule.place)
        for rule in profile.rules
        if profile.bundle or _counts(rule, container)
        for returns in (_returns(profile, rule, container),)
        for name in rule.names
    )
    default = _filter_return(profile.default_action, default_errno_ret)
    return _Picked(default, default_errno_ret, architectures, rules)


def _counts(rule: Rule, container: _Container) -> bool:
    """Whether a rule's includes and excludes let it count."""
    asks, bars = rule.includes, rule.excludes
    docker = container.engine is Engine.DOCKER
    name = (_DOCKER_NAMES if docker else _GO_NAMES)[container.native.name]
    if name in bars.arches or not container.capabilities.isdisjoint(bars.capabilities):
        return False
    if asks.arches and name not in asks.arches:
        return False
    if not container.capabilities.issuperset(asks.capabilities):
        return False
    if not docker:  # Podman's decoder does not know minKernel
        return True
    if bars.min_kernel is not None and container.kernel >= bars.min_kernel:
        return False
    return asks.min_kernel is None or container.kernel >= asks.min_kernel


def _returns(profile: Profile, rule: Rule, container: _Container) -> FilterReturn:
    data = _errno_of(profile, f"{rule.place}.errno", rule.errno_ret, rule.errno, container)
    return _filter_return(rule.action, data)


def _filter_return(action: Action, data: int | None) -> FilterReturn:
    if action not in {Action.ERRNO, Action.TRACE}:
        return FilterReturn(action)
    return FilterReturn(action, errno.EPERM if data is None else data & DATA_MASK)


_SAME_EVERYWHERE: Final = 34
"""The errnos up to here have the same numbers on all architectures: asm-generic/errno-base.h."""


def _errno_of(
    profile: Profile, place: str, number: int | None, name: str, container: _Container
) -> int | None:
    """What Podman makes of a number and a name for the same; Docker sees only the number."""
    if not name or container.engine is Engine.DOCKER:
        return number
    if name.isascii() and name.isdigit() and len(name) <= len(str(MAX_ERRNO)):
        found = int(name)
    else:
        found = getattr(errno, name, 0) if re.fullmatch("E[A-Z0-9]+", name) else 0
        mips = [machine.startswith("mips") for machine in (container.native.machine, _machine())]
        if found > _SAME_EVERYWHERE and mips[0] != mips[1]:
            raise _ForeignErrnoError(
                f"{profile.path}: {place} is {name}, whose number on {container.native} is not "
                f"known here; write the number"
            )
    if not 0 < found <= MAX_ERRNO and name.strip("0"):
        raise BadInputError(
            f"{profile.path}: {place} is '{shown(name)}', which is no errno; write one of "
            f"errno(3), such as EPERM"
        )
    return found


class _ForeignErrnoError(BadInputError):
    """An errno's number on another machine, which only that machine's headers tell."""


def _machine() -> str:
    return os.uname().machine


def _check_notifications(profile: Profile, picked: _Picked) -> None:
    """Refuses what runc refuses of SCMP_ACT_NOTIFY."""
    if picked.default.action is Action.USER_NOTIF:
        raise BadInputError(
            f"{profile.path}: SCMP_ACT_NOTIFY cannot be the default action, for runc refuses it; "
            f"name another one"
        )
    notified = [rule for rule in picked.rules if rule.returns.action is Action.USER_NOTIF]
    for rule in notified:
        if rule.name == "write":
            raise BadInputError(
                f"{profile.path}: {rule.place} has SCMP_ACT_NOTIFY for write, which runc refuses, "
                f"for it must write before anyone can answer; name another action"
            )
    if notified and not profile.listener:
        raise BadInputError(
            f"{profile.path}: {notified[0].place} has SCMP_ACT_NOTIFY, but the profile has no "
            f"listenerPath, without which runtimes start no container; add it"
        )


def _words_without_meaning(profile: Profile) -> Iterator[str]:
    """Findings about capabilities and architectures that no container ever has."""
    arches = {*_GO_NAMES.values(), *_DOCKER_NAMES.values(), *_OTHER_NAMES, *_N32_NAMES}
    for rule in profile.rules:
        for key, written, effect in (
            ("includes", rule.includes, "so the rule never counts"),
            ("excludes", rule.excludes, "so this never keeps the rule from counting"),
        ):
            for what, words, known in (
                ("capability", written.capabilities, CAPABILITIES),
                ("native architecture", written.arches, arches),
            ):
                for word in words:
                    if word not in known:
                        yield (
                            f"{profile.path}: {rule.place}.{key} names '{shown(word)}', which is "
                            f"no {what}, {_effect(what, effect, words, known)}"
                        )


def _effect(what: str, effect: str, words: Sequence[str], known: Collection[str]) -> str:
    # Of arches one must fit, of caps all must.
    if what == "native architecture" and any(word in known for word in words):
        return "so it does nothing"
    return effect


def _other_reading(profile: Profile, container: _Container, picked: _Picked) -> Iterator[str]:
    """A finding where Docker and Podman differ."""
    engine = container.engine
    other = _Container(container.native, container.capabilities, container.kernel, engine.other)
    try:
        theirs = _pick(profile, other)
    except _ForeignErrnoError:
        return  # what Podman makes of it cannot be said here
    except BadInputError as error:
        yield f"{engine.other.name.capitalize()} refuses the profile: {error}"
        return
    differences = [
        what
        for what, ours, others in (
            ("the default action's errno", picked.default, theirs.default),
            ("the architectures", picked.architectures, theirs.architectures),
            *_rule_differences(picked.rules, theirs.rules),
        )
        if ours != others
    ]
    if differences:
        yield (
            f"{profile.path}: {engine.other.name.capitalize()} reads "
            f"{', '.join(differences)} differently; what counts here is "
            f"{engine.name.capitalize()}'s reading"
        )


def _rule_differences(
    ours: Iterable[ResolvedRule], theirs: Iterable[ResolvedRule]
) -> Iterator[tuple[str, object, object]]:
    by_place = [
        {rule.place: rule.returns for rule in rules} for rules in (tuple(ours), tuple(theirs))
    ]
    for place in dict.fromkeys([*by_place[0], *by_place[1]]):
        yield place, by_place[0].get(place), by_place[1].get(place)


def _joined_by_or(picked: _Picked, profile: Profile) -> Iterator[str]:
    """Findings about conditions that look like a conjunction and are none."""
    seen: set[str] = set()
    for rule in picked.rules:
        if rule.place not in seen and rule.returns != picked.default and repeats(rule):
            seen.add(rule.place)
            yield (
                f"{profile.path}: {rule.place} has several conditions on one argument, so "
                f"runtimes let it match where any of its conditions holds, not only where all do"
            )


def repeats(rule: ResolvedRule) -> bool:
    """Whether conditions share an argument: runtimes then make each a rule of its own."""
    return max(Counter(each.index for each in rule.conditions).values(), default=0) > 1


def _without_effect(picked: _Picked, profile: Profile) -> Iterator[str]:
    """Findings about rules that an unconditional rule for the same call makes void.

    In libseccomp the first unconditional rule of a call beats all others, whatever their order.
    Rules with the default action never get that far: the runtimes leave them out.
    """
    winners: dict[str, ResolvedRule] = {}
    for rule in picked.rules:
        if not rule.conditions and rule.returns != picked.default:
            winners.setdefault(rule.name, rule)
    void: dict[tuple[str, str, str], list[str]] = {}
    for rule in picked.rules:
        winner = winners.get(rule.name)
        same = winner is None or (not rule.conditions and rule.returns == winner.returns)
        if winner is None or same or rule is winner:
            continue
        reason = (
            "as it has the default action, runtimes leave it out"
            if rule.returns == picked.default
            else "it cannot be reached"
        )
        void.setdefault((rule.place, winner.place, reason), []).append(rule.name)
    for (place, winner_place, reason), names in void.items():
        yield (
            f"{profile.path}: {place} does nothing for {listed(names)}: {reason}, and "
            f"{winner_place} matches whatever the arguments are"
        )


_SHOWN_NAMES: Final = 8


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first few of many."""
    texts = [shown(name) for name in dict.fromkeys(names)]
    more = len(texts) - _SHOWN_NAMES
    return ", ".join(texts[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
