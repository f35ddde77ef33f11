"""The words of ``--runtime-arg``: read as the runtime reads them, before anything is made. Pure.

People copy them from production, where a container has a name, ports, a restart policy and a
program of its own. What says nothing about how a container is confined, and would only be in the
way of one that is looked at and removed, is left out. What would have another container made than
the one that is said, or the profile named twice, is refused. A workload that is observed needs
more of it: its network, its ports, its program.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError
from probes.runtimes.known import OF_IMAGES
from probes.text import did_you_mean, in_brackets, shown

_TRUE: Final = frozenset({"", "1", "t", "T", "true", "TRUE", "True"})
"""How a flag of docker or podman is set; "" stands for one without a value."""

_NEGATIVE: Final = re.compile(r"-\d+")
_VOLUME: Final = re.compile(r"[A-Za-z0-9][\w.-]*")
"""A volume's name, which no path is that a runtime takes."""

_LEAVE_OUT: Final = "leave it out"
_NO_FILTER: Final = f"{_LEAVE_OUT}: it changes no filter"


@dataclass(frozen=True, slots=True)
class Given:
    """An option, as its runtime reads it.

    Attributes:
        name: its long name, without dashes.
        value: its value, the last one where it takes several; "" where it has none.
        words: the words that it was given by.
    """

    name: str
    value: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a user's words come to.

    Attributes:
        words: those that the runtime gets.
        options: the options that these are.
    """

    words: tuple[str, ...]
    options: tuple[Given, ...]

    def has(self, name: str) -> bool:
        """Whether an option is given, and not switched off."""
        return any(one.name == name and one.value in _TRUE for one in self.options)

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an option, in their order."""
        return tuple(one.value for one in self.options if one.name == name)

    @property
    def profiles(self) -> tuple[str, ...]:
        """What stands behind ``seccomp=`` in the security options of docker or podman.

        Both spellings of docker's count.
        """
        found = (re.match(r"seccomp[=:](.*)", one, re.DOTALL) for one in self.values(SECURITY))
        return tuple(match[1] for match in found if match)

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of the volumes that docker or podman mounts, and would make where missing."""
        sources = [one.partition(":")[0] for one in self.values("volume") if ":" in one]
        for one in self.values("mount"):
            said = dict(part.partition("=")[::2] for part in one.split(","))
            if said.get("type", "volume") == "volume":
                sources.append(said.get("source") or said.get("src", ""))
        return tuple(one for one in sources if _VOLUME.fullmatch(one))


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How a runtime reads its options, and what the suite makes of them.

    Attributes:
        read: takes the words apart.
        flags: the options that take no value.
        letters: the long names of the one-letter options.
        left_out: the options that are left out, for they change no filter.
        taken: the options that the runtime does not get, for whoever reads them does what they say.
        refused: the options that are refused, with what is wrong and what to do.
        counts: how many values an option takes, where that is not 1.
        names: all long names, where they may be cut short.
    """

    read: Callable[["_Grammar", Sequence[str]], Iterator[Given]]
    flags: frozenset[str] = frozenset()
    letters: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


def read(runtime: str, words: Sequence[str], seccomp: Path | None) -> Arguments:
    """Reads the words of ``--runtime-arg`` for a container that holds still.

    Args:
        runtime: the runtime, by its word in ``--target``.
        words: what was given, one word each.
        seccomp: the profile of ``--seccomp``; None where there is none.

    Raises:
        BadInputError: an option is in the way, or is none.
    """
    made = _read(_GRAMMARS[runtime], runtime, words, seccomp)
    if runtime not in OF_IMAGES or made.values(NETWORK):
        return made
    return _made(made.options, _OF_A_NETWORK)


def read_observed(runtime: str, words: Sequence[str], seccomp: Path | None) -> Arguments:
    """Reads the words of ``--runtime-arg`` for a container whose program is observed.

    Args:
        runtime: the runtime, by its word in ``--runtime``.
        words: what was given, one word each.
        seccomp: the profile of ``--seccomp``; None where there is none.

    Raises:
        BadInputError: an option is in the way, or is none.
    """
    return _read(_OBSERVED[runtime], runtime, words, seccomp)


def _read(grammar: _Grammar, runtime: str, words: Sequence[str], seccomp: Path | None) -> Arguments:
    given = tuple(grammar.read(grammar, words))
    for one in given:
        if one.name in grammar.refused:
            raise _refusal(one.words, grammar.refused[one.name])
        if runtime == "bwrap" and one.name in _COVERING and _is_root(one.value):
            raise _refusal(
                one.words,
                "it would cover what the suite puts into the sandbox: name that directory as the"
                " root file system instead",
            )
    made = _made(given, grammar.left_out, grammar.taken)
    if runtime in OF_IMAGES:
        _check_profiles(made, seccomp)
        _check_pod(made)
    return made


def _refusal(words: Iterable[str], why: str) -> BadInputError:
    return BadInputError(f"--runtime-arg {shown(' '.join(words))}: {why}")


def _made(
    options: Iterable[Given], left_out: frozenset[str], taken: frozenset[str] = frozenset()
) -> Arguments:
    kept = tuple(one for one in options if one.name not in left_out)
    return Arguments(
        tuple(word for one in kept if one.name not in taken for word in one.words), kept
    )


def _check_profiles(made: Arguments, seccomp: Path | None) -> None:
    """Refuses a second profile: only one can be in force, and a reader would take the other."""
    named = [*made.profiles, *(["the image's own"] if "image" in made.values(_POLICY) else [])]
    if seccomp is not None:
        named.insert(0, str(seccomp))
    if len(named) > 1:
        raise BadInputError(
            f"--runtime-arg: {len(named)} seccomp profiles are given ({shown(', '.join(named))}),"
            " and the runtime would take one of them: give one alone, by --seccomp"
        )


def _check_pod(made: Arguments) -> None:
    for value in made.values("pod"):
        if value.startswith("new:"):
            raise _refusal(
                (f"--pod={value}",), f"the pod that it makes would be left behind: {_LEAVE_OUT}"
            )


def _is_root(path: str) -> bool:
    return path.startswith("/") and set(path.split("/")) <= {"", ".", ".."}


def _positional(word: str) -> BadInputError:
    return _refusal(
        (word,),
        "this word is no option, and what follows the options is the suite's own: give an option"
        " and its value by a --runtime-arg each, one after the other, or by one with = between",
    )


def _options_of(words: Sequence[str]) -> Iterator[tuple[str, deque[str]]]:
    """Every word that must be an option, with the words behind it, of which it may take some."""
    left = deque(words)
    while left:
        word = left.popleft()
        name = word.partition("=")[0]
        if not word.startswith("-") or word in {"-", "--"} or name.split() != [name]:
            raise _positional(word)
        yield word, left


def _takes(left: deque[str]) -> tuple[str, ...]:
    """The next word, if it is a value."""
    if left and (not left[0].startswith("-") or _NEGATIVE.fullmatch(left[0])):
        return (left.popleft(),)
    return ()


def _as_pflag(grammar: _Grammar, words: Sequence[str]) -> Iterator[Given]:
    """Reads options as docker and podman do: by Go's package pflag."""
    for word, left in _options_of(words):
        if word.startswith("--"):
            name, sign, value = word[2:].partition("=")
            name = _ALIASES.get(name, name)
            more = () if sign or name in grammar.flags else _takes(left)
            yield Given(name, "".join(more) or value, (word, *more))
        else:
            yield from _cluster(grammar, word[1:], left)


def _cluster(grammar: _Grammar, letters: str, left: deque[str]) -> Iterator[Given]:
    """One-letter options in one word, of which the last may have its value there."""
    for place, letter in enumerate(letters, 1):
        name = grammar.letters.get(letter, letter)
        rest = letters[place:]
        if name in grammar.flags and not rest.startswith("="):
            yield Given(name, "", (f"-{letter}",))
            continue
        if rest:
            yield Given(name, rest.removeprefix("="), (f"-{letter}{rest}",))
        else:
            more = _takes(left)
            yield Given(name, "".join(more), (f"-{letter}", *more))
        return


def _as_go(grammar: _Grammar, words: Sequence[str]) -> Iterator[Given]:
    """Reads options as runc does: by Go's package flag, where one dash is as good as two."""
    for word, left in _options_of(words):
        name, sign, value = word.lstrip("-").partition("=")
        name = grammar.letters.get(name, name)
        more = () if sign or name in grammar.flags else _takes(left)
        yield Given(name, "".join(more) or value, (word, *more))


def _as_argp(grammar: _Grammar, words: Sequence[str]) -> Iterator[Given]:
    """Reads options as crun does: by the C library's argp, where names may be cut short."""
    for word, left in _options_of(words):
        if not word.startswith("--"):
            yield from _cluster(grammar, word[1:], left)
            continue
        name, sign, value = word[2:].partition("=")
        meant = [known for known in grammar.names if known.startswith(name)]
        if name not in grammar.names and len(meant) == 1:
            (name,) = meant
        more = () if sign or name in grammar.flags else _takes(left)
        yield Given(name, "".join(more) or value, (word, *more))


def _as_bwrap(grammar: _Grammar, words: Sequence[str]) -> Iterator[Given]:
    """Reads options as bwrap does: the values are words of their own, as many as it takes."""
    for word, left in _options_of(words):
        name = word.removeprefix("--")
        count = 0 if name in grammar.flags else grammar.counts.get(name)
        if count is None:  # an option of a newer bwrap
            count = next((n for n, one in enumerate(left) if one.startswith("-")), len(left))
        if len(left) < count:
            raise _refusal((word, *left), "a value is missing behind it")
        values = [left.popleft() for _ in range(count)]
        yield Given(name, values[-1] if values else "", (word, *values))


SECURITY: Final = "security-opt"
NETWORK: Final = "network"
READ_ONLY: Final = "read-only"
ENTRYPOINT: Final = "entrypoint"
ENVIRONMENT: Final = "env"
DEFAULT_SECCOMP: Final = "seccomp"
"""ctr's flag for containerd's default profile."""
_POLICY: Final = "seccomp-policy"
_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"net": NETWORK, "net-alias": "network-alias"}
)

_IMAGE_FLAGS: Final = frozenset(
    (
        *("detach", "disable-content-trust", "env-host", "help", "http-proxy", "init"),
        *("interactive", "no-healthcheck", "no-hostname", "no-hosts", "oom-kill-disable"),
        *("passwd", "privileged", "publish-all", "quiet", READ_ONLY, "read-only-tmpfs"),
        *("replace", "rm", "rmi", "rootfs", "sig-proxy", "tls-verify", "tty", "unsetenv-all"),
        "use-api-socket",
    )
)

_IMAGE_LETTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "a": "attach",
        "c": "cpu-shares",
        "d": "detach",
        "e": "env",
        "h": "hostname",
        "i": "interactive",
        "l": "label",
        "m": "memory",
        "P": "publish-all",
        "p": "publish",
        "q": "quiet",
        "t": "tty",
        "u": "user",
        "v": "volume",
        "w": "workdir",
    }
)

_IMAGE_LEFT_OUT: Final = frozenset(
    (
        # The suite names the container, says what it runs, and removes it.
        *("name", "replace", ENTRYPOINT, "rm", "rmi", "restart"),
        # Nobody sits at it, and production may read these files.
        *("detach", "detach-keys", "sig-proxy", "attach", "interactive", "tty", "quiet"),
        *("preserve-fds", "cidfile", "pidfile", "conmon-pidfile"),
        # It would run a program of the image's.
        *("no-healthcheck", "health-cmd", "health-interval", "health-on-failure"),
        *("health-retries", "health-start-interval", "health-start-period", "health-timeout"),
        # Whoever runs in production has the port.
        *("publish", "publish-all"),
    )
)

_OF_A_NETWORK: Final = frozenset(
    (
        *("dns", "dns-opt", "dns-option", "dns-search", "ip", "ip6", "link", "link-local-ip"),
        *("mac-address", "network-alias"),
    )
)

_ASKS: Final = f"it only asks the runtime for words: {_NO_FILTER}"

_IMAGE_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "help": _ASKS,
        "rootfs": "then there is no image: judge a root file system by the runtime bwrap, or a"
        " bundle of it by crun or runc",
        "init-ctr": f"the container of a pod's is run to its end before the pod: {_NO_FILTER}",
    }
)

_OF_IMAGE: Final = _Grammar(
    _as_pflag,
    _IMAGE_FLAGS,
    _IMAGE_LETTERS,
    left_out=_IMAGE_LEFT_OUT,
    refused=_IMAGE_REFUSED,
)

_TAKEN: Final = frozenset({ENTRYPOINT})

_OBSERVED_IMAGE: Final = replace(
    _OF_IMAGE, left_out=_IMAGE_LEFT_OUT - _TAKEN - {"publish", "publish-all"}, taken=_TAKEN
)

_BUNDLE_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bundle": "the bundle is what stands in the target: leave it out",
        "config": "the configuration is the bundle's config.json: leave it out, or put the file"
        " there",
        "preserve-fds": f"no descriptors are handed on: {_NO_FILTER}",
        "console-socket": f"the container gets no terminal: {_NO_FILTER}",
        "help": _ASKS,
        "usage": _ASKS,
        "version": _ASKS,
    }
)

_BUNDLE_FLAGS: Final = frozenset({"no-pivot", "no-new-keyring", "no-subreaper", "help", "usage"})
_BUNDLE_NAMES: Final = frozenset({*_BUNDLE_REFUSED, *_BUNDLE_FLAGS, "pid-file"})
_BUNDLE_LEFT_OUT: Final = frozenset({"pid-file"})

_OF_RUNC: Final = _Grammar(
    _as_go,
    _BUNDLE_FLAGS,
    {"b": "bundle", "h": "help"},
    left_out=_BUNDLE_LEFT_OUT,
    refused=_BUNDLE_REFUSED,
)
_OF_CRUN: Final = _Grammar(
    _as_argp,
    _BUNDLE_FLAGS,
    {"b": "bundle", "f": "config", "?": "help"},
    left_out=_BUNDLE_LEFT_OUT,
    refused=_BUNDLE_REFUSED,
    names=_BUNDLE_NAMES,
)

_RUN_ONLY: Final = frozenset({"detach", "keep"})
"""What run takes and create does not: it would leave the container to somebody else."""


def _observed_bundle(grammar: _Grammar) -> _Grammar:
    return replace(
        grammar,
        flags=grammar.flags | _RUN_ONLY,
        letters={**grammar.letters, "d": "detach"},
        left_out=grammar.left_out | _RUN_ONLY,
        names=grammar.names | _RUN_ONLY if grammar.names else grammar.names,
    )


_DESCRIPTOR: Final = "no descriptors are handed on to bwrap: leave it out"

_BWRAP_COUNTS: Final[Mapping[str, int]] = MappingProxyType(
    dict.fromkeys(
        (
            *("setenv", "bind", "bind-try", "dev-bind", "dev-bind-try", "ro-bind", "ro-bind-try"),
            *("bind-fd", "ro-bind-fd", "file", "bind-data", "ro-bind-data", "symlink", "chmod"),
        ),
        2,
    )
    | dict.fromkeys(
        (
            *("uid", "gid", "hostname", "chdir", "unsetenv", "lock-file", "remount-ro"),
            *("exec-label", "file-label", "proc", "dev", "tmpfs", "mqueue", "dir", "cap-add"),
            *("cap-drop", "perms", "size", "argv0", "overlay-src", "tmp-overlay", "ro-overlay"),
            *("args", "userns", "userns2", "pidns", "sync-fd", "block-fd", "userns-block-fd"),
            *("info-fd", "json-status-fd", "seccomp", "add-seccomp-fd"),
        ),
        1,
    )
    | {"overlay": 3}
)

_BWRAP_FLAGS: Final = frozenset(
    (
        *("help", "version", "unshare-all", "share-net", "unshare-user", "unshare-user-try"),
        *("unshare-ipc", "unshare-pid", "unshare-net", "unshare-uts", "unshare-cgroup"),
        *("unshare-cgroup-try", "disable-userns", "assert-userns-disabled", "clearenv"),
        *("new-session", "die-with-parent", "as-pid-1"),
    )
)

_COVERING: Final = frozenset(
    (
        *("bind", "bind-try", "dev-bind", "dev-bind-try", "ro-bind", "ro-bind-try", "tmpfs"),
        *("overlay", "tmp-overlay", "ro-overlay", "proc", "dev", "mqueue"),
    )
)

_BWRAP_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("args", "userns", "userns2", "pidns", "file", "bind-data", "ro-bind-data"),
                *("bind-fd", "ro-bind-fd", "sync-fd", "block-fd", "userns-block-fd", "info-fd"),
                "json-status-fd",
            ),
            _DESCRIPTOR,
        ),
        **dict.fromkeys(
            ("seccomp", "add-seccomp-fd"),
            "no descriptors are handed on to bwrap: give the program by --seccomp=FILE",
        ),
        "help": _ASKS,
        "version": _ASKS,
    }
)

_CTR_FLAGS: Final = frozenset(
    (
        *("rm", "null-io", "detach", "runc-systemd-cgroup", "remap-labels", "cni", "net-host"),
        *("privileged", "read-only", "tty", "allow-new-privs", "rootfs", "no-pivot", "help"),
        *("enable-cfs", DEFAULT_SECCOMP),
    )
)

_CTR_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "seccomp-profile": "give the profile by --seccomp, so that the report names it",
        "config": "a bundle's configuration would bring its own profile: judge it by the runtime"
        " runc or crun",
        "rootfs": "whether it is a root file system is seen by what stands in the target: leave it"
        " out",
        "runc-root": f"what ctr would start there cannot be removed again: {_LEAVE_OUT}",
        "help": _ASKS,
    }
)

_OF_CTR: Final = _Grammar(
    _as_go,
    _CTR_FLAGS,
    {"d": "detach", "t": "tty", "c": "config", "h": "help"},
    left_out=frozenset(
        ("rm", "null-io", "detach", "tty", "log-uri", "fifo-dir", "pid-file", "cwd")
    ),
    refused=_CTR_REFUSED,
)

POD_SECCOMP: Final = "pod-seccomp"
CONTAINER_SECCOMP: Final = "container-seccomp"
SECCOMP_DEFAULT: Final = "seccomp-default"
BARE: Final = "bare"
PAUSE: Final = "pause"
PRIVILEGED: Final = "privileged"
RUNTIME_HANDLER: Final = "runtime-handler"
CGROUP_PARENT: Final = "cgroup-parent"
CAP_ADD: Final = "cap-add"
CAP_DROP: Final = "cap-drop"
ANNOTATION: Final = "annotation"

CRI_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        POD_SECCOMP: "PROFILE",
        CONTAINER_SECCOMP: "PROFILE",
        SECCOMP_DEFAULT: "",
        BARE: "",
        PAUSE: "",
        PRIVILEGED: "",
        RUNTIME_HANDLER: "NAME",
        NETWORK: "NETWORK",
        CGROUP_PARENT: "PATH",
        CAP_ADD: "NAME",
        CAP_DROP: "NAME",
        ANNOTATION: "KEY=VALUE",
    }
)
"""What can be said about a pod that is started, each with what stands for its value; "" for none.

No program reads these words but the suite.
"""

_CRI_FLAGS: Final = frozenset(name for name, value in CRI_WORDS.items() if not value)


def _as_cri(grammar: _Grammar, words: Sequence[str]) -> Iterator[Given]:
    """Reads what a pod is to be like."""
    for one in _as_pflag(grammar, words):
        if one.name not in CRI_WORDS:
            names = tuple(CRI_WORDS)
            hint = in_brackets(did_you_mean(one.name, names))
            raise _refusal(
                one.words,
                f"no such word about a pod{hint}: it is --{', --'.join(names[:-1])} or"
                f" --{names[-1]}",
            )
        if bool(one.value) is (one.name in _CRI_FLAGS):
            takes = "takes no value" if one.value else "a value is missing behind it"
            raise _refusal(one.words, takes)
        yield one


_OF_CRI: Final = _Grammar(_as_cri, _CRI_FLAGS)

_GRAMMARS: Final[Mapping[str, _Grammar]] = MappingProxyType(
    {
        "docker": _OF_IMAGE,
        "podman": _OF_IMAGE,
        "runc": _OF_RUNC,
        "crun": _OF_CRUN,
        "bwrap": _Grammar(_as_bwrap, _BWRAP_FLAGS, refused=_BWRAP_REFUSED, counts=_BWRAP_COUNTS),
        "containerd": _OF_CTR,
        "cri": _OF_CRI,
    }
)

_OBSERVED: Final[Mapping[str, _Grammar]] = MappingProxyType(
    {
        "docker": _OBSERVED_IMAGE,
        "podman": _OBSERVED_IMAGE,
        "runc": _observed_bundle(_OF_RUNC),
        "crun": _observed_bundle(_OF_CRUN),
    }
)
