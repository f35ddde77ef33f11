"""Picking the rules of a profile that count for a container, as its reader does.

Docker and Podman read the same files almost alike: Podman does not know minKernel, looks into
archMap on fewer machines, and has errnos by name. What a bundle has is taken as it is. Then the
runtime may refuse what was picked.

Sources: moby/profiles ``seccomp/seccomp_linux.go``, containers/common
``pkg/seccomp/seccomp_linux.go``, and for what runc refuses ``libcontainer/seccomp``.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from probes.action import DATA_MASK, MAX_ERRNO, Action, FilterReturn
from probes.arch import Arch
from probes.errors import BadInputError
from probes.targets.oci.capability import CAPABILITIES
from probes.targets.oci.profile import SeccompArg, SeccompProfile, SyscallRule, UnclearError
from probes.targets.oci.reader import Engine, Reader, Runtime, newest_reader
from probes.text import shown

NEWEST: Final = newest_reader()
"""The newest Docker and runc."""

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
    conditions: tuple[SeccompArg, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The profile as the engine hands it to the runtime, for one container.

    Attributes:
        path: the file, as a sentence can hold it.
        native: the native ABI of the machine.
        default: what a filter returns for every call that no rule matches.
        rules: in order, one a name.
        architectures: ``SCMP_ARCH_*``; the native one may be absent, but is always there.
        flags: ``SECCOMP_FILTER_FLAG_*``.
        default_errno_ret: ``defaultErrnoRet`` as it was written.
        reader: who picked, and who compiles it.
        raw: a program that is installed instead of all this; None where there is none.
        knows_all_calls: whether the runtime refuses calls that libseccomp does not know.
        findings: sentences about what is not as it was written.
    """

    path: str
    native: Arch
    default: FilterReturn
    rules: tuple[ResolvedRule, ...]
    architectures: tuple[str, ...]
    flags: tuple[str, ...] = ()
    default_errno_ret: int | None = None
    reader: Reader = NEWEST
    raw: bytes | None = None
    knows_all_calls: bool = False
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
        "ppc64": "ppc64",
        "s390x": "s390x",
        "riscv64": "riscv64",
        "loongarch64": "loong64",
        "mips64el": "mipsel64",
    }
)
_DOCKER_NAMES: Mapping[str, str] = MappingProxyType({**_GO_NAMES, "loongarch64": "loongarch64"})
_OTHER_NAMES: Final = frozenset({"mips", "mips64", "mips64n32", "mipsel", "ppc", "s390"})
_N32_NAMES: Final = frozenset({"mipsel64n32", "mips3l64n32"})


def resolve(
    profile: SeccompProfile,
    native: Arch,
    capabilities: Collection[str],
    kernel: tuple[int, int],
    reader: Reader = NEWEST,
) -> Resolved:
    """Picks what counts for a container, as engines do before they start the runtime.

    Args:
        profile: what the reader made of a file; a bundle's is taken as it is.
        native: the native ABI of the machine.
        capabilities: the container's bounding set, such as ``CAP_SYS_ADMIN``.
        kernel: version and major revision; only Docker asks for it.
        reader: whose reading of a profile counts.

    Raises:
        BadInputError: the runtime would refuse what comes out, or a value has no meaning.
    """
    picked = _pick(profile, _Container(native, frozenset(capabilities), kernel, reader))
    _check_words(profile, picked, reader)
    _check_errnos(profile, picked, reader)
    _check_notifications(profile, picked, reader)
    findings = [*profile.findings]
    if not profile.bundle:
        findings += _words_without_meaning(profile)
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
        reader=reader,
        raw=profile.raw,
        knows_all_calls=profile.knows_all_calls,
        findings=tuple(findings),
    )


@dataclass(frozen=True, slots=True)
class _Container:
    native: Arch
    capabilities: frozenset[str]
    kernel: tuple[int, int]
    reader: Reader

    @property
    def engine(self) -> Engine | Runtime:
        """Who picks."""
        return self.reader.engine.name


@dataclass(frozen=True, slots=True)
class _Picked:
    default: FilterReturn
    default_errno_ret: int | None
    architectures: tuple[str, ...]
    rules: tuple[ResolvedRule, ...]


def _pick(profile: SeccompProfile, container: _Container) -> _Picked:
    default_errno_ret = _errno_of(
        profile, "defaultErrno", profile.default_errno_ret, profile.default_errno, container
    )
    architectures = profile.architectures
    looks = container.reader.looks_into_arch_map(container.native.scmp)
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


def _counts(rule: SyscallRule, container: _Container) -> bool:
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


def _returns(profile: SeccompProfile, rule: SyscallRule, container: _Container) -> FilterReturn:
    data = _errno_of(profile, f"{rule.place}.errno", rule.errno_ret, rule.errno, container)
    return _filter_return(rule.action, data)


def _filter_return(action: Action, data: int | None) -> FilterReturn:
    if action not in {Action.ERRNO, Action.TRACE}:
        return FilterReturn(action)
    return FilterReturn(action, errno.EPERM if data is None else data & DATA_MASK)


_PODMAN_ERRNOS: Final = frozenset(
    [
        "EPERM",
        "ENOENT",
        "ESRCH",
        "EIO",
        "ENXIO",
        "E2BIG",
        "ENOEXEC",
        "EBADF",
        "ECHILD",
        "EAGAIN",
        "ENOMEM",
        "EACCES",
        "EFAULT",
        "ENOTBLK",
        "EBUSY",
        "EEXIST",
        "EXDEV",
        "ENODEV",
        "ENOTDIR",
        "EISDIR",
        "EINVAL",
        "ENFILE",
        "EMFILE",
        "ENOTTY",
        "ETXTBSY",
        "EFBIG",
        "ENOSPC",
        "ESPIPE",
        "EROFS",
        "EMLINK",
        "EPIPE",
        "EDOM",
        "ERANGE",
        "EDEADLK",
        "ENAMETOOLONG",
        "ENOLCK",
        "ENOSYS",
        "ENOTEMPTY",
        "ELOOP",
        "ENOMSG",
        "EIDRM",
        "EREMOTE",
        "EBADMSG",
        "EOVERFLOW",
        "EILSEQ",
        "EUSERS",
        "ENOTSOCK",
        "EDESTADDRREQ",
        "EMSGSIZE",
        "EPROTOTYPE",
        "ENOPROTOOPT",
        "EPROTONOSUPPORT",
        "ESOCKTNOSUPPORT",
        "ENOTSUP",
        "EOPNOTSUPP",
        "EPFNOSUPPORT",
        "EAFNOSUPPORT",
        "EADDRINUSE",
        "EADDRNOTAVAIL",
        "ENETDOWN",
        "ENETUNREACH",
        "ENETRESET",
        "ECONNABORTED",
        "ECONNRESET",
        "ENOBUFS",
        "EISCONN",
        "ENOTCONN",
        "ESHUTDOWN",
        "ETOOMANYREFS",
        "ETIMEDOUT",
        "ECONNREFUSED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "EALREADY",
        "EINPROGRESS",
        "ESTALE",
        "EDQUOT",
        "ENOMEDIUM",
        "EMEDIUMTYPE",
        "ECANCELED",
        "EOWNERDEAD",
        "ENOTRECOVERABLE",
    ]
)
"""The errnos that Podman knows by name, EINTR not among them: ``pkg/seccomp/errno_list.go``."""

_SAME_EVERYWHERE: Final = 34
"""The errnos up to here have the same numbers on all architectures: asm-generic/errno-base.h."""


def _errno_of(
    profile: SeccompProfile, place: str, number: int | None, name: str, container: _Container
) -> int | None:
    """What Podman makes of a number and a name for the same; Docker sees only the number."""
    if not name or container.engine is Engine.DOCKER:
        return number
    if name.isascii() and name.isdigit() and len(name) <= len(str(MAX_ERRNO)):
        found = int(name)
    else:
        found = getattr(errno, name) if name in _PODMAN_ERRNOS else 0
        mips = [machine.startswith("mips") for machine in (container.native.machine, _machine())]
        if found > _SAME_EVERYWHERE and mips[0] != mips[1]:
            raise _ForeignErrnoError(
                f"{profile.path}: {place} is {name}, whose number on {container.native} is not "
                f"known here; write the number"
            )
    if not 0 < found <= MAX_ERRNO and name.strip("0"):
        raise BadInputError(
            f"{profile.path}: {place} is '{shown(name)}', which is no errno that Podman knows; "
            f"write its number"
        )
    return found


class _ForeignErrnoError(UnclearError):
    """An errno's number on another machine, which only that machine's headers tell."""


def _machine() -> str:
    return os.uname().machine


def _check_words(profile: SeccompProfile, picked: _Picked, reader: Reader) -> None:
    """Refuses actions, architectures and flags that the runtime does not know."""
    words = [
        *(("the architecture", name) for name in picked.architectures),
        *(("the action", rule.returns.action.scmp) for rule in picked.rules),
        ("the action", picked.default.action.scmp),
        *(("the flag", name) for name in profile.flags),
    ]
    for what, word in words:
        if reader.refuses(word):
            raise BadInputError(
                f"{profile.path}: {reader.runtime} does not know {what} {word}; leave it out"
            )


def _check_errnos(profile: SeccompProfile, picked: _Picked, reader: Reader) -> None:
    """Refuses what crun refuses: an errno beside an action that has none."""
    if reader.runtime.name is not Runtime.CRUN:
        return
    places = {rule.place for rule in picked.rules}
    counting = [each for each in profile.rules if each.place in places]
    with_errno = [
        ("defaultErrnoRet", profile.default_action, picked.default_errno_ret),
        *((each.place, each.action, each.errno_ret) for each in counting),
    ]
    for place, action, value in with_errno:
        if value is not None and action not in {Action.ERRNO, Action.TRACE}:
            raise BadInputError(
                f"{profile.path}: {place} has an errno beside {action.scmp}, which has none, and "
                f"{reader.runtime} refuses that; remove it"
            )


def _check_notifications(profile: SeccompProfile, picked: _Picked, reader: Reader) -> None:
    """Refuses what runc refuses of SCMP_ACT_NOTIFY, and crun does not.

    Without a listener the kernel answers ENOSYS, and under crun so do such rules.
    """
    if reader.runtime.name is Runtime.CRUN:
        return
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
            f"listenerPath, without which runc starts no container; add it"
        )


def _words_without_meaning(profile: SeccompProfile) -> Iterator[str]:
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


def _joined_by_or(picked: _Picked, profile: SeccompProfile) -> Iterator[str]:
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


def _without_effect(picked: _Picked, profile: SeccompProfile) -> Iterator[str]:
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
