"""Who reads a seccomp profile: an engine decodes it, an OCI runtime compiles it, each of a version.

One file means different things to different readers. Docker, Podman and CRI-O know rules that
count in some containers only; containerd, and so Kubernetes' ``localhostProfile``, decodes the
file as the struct that runtimes get, for which these keys do not exist. And what was new once is
passed over, or refused, by what is older. Pure: tables by version, and what follows from them.

Sources, by release: moby ``profiles/seccomp``, containers/common ``pkg/seccomp`` and the go.mod of
podman and cri-o that name it, containerd ``contrib/seccomp`` and the runtime-spec that it vendors,
runc ``libcontainer/specconv/spec_linux.go`` and ``libcontainer/seccomp``, crun
``src/libcrun/seccomp.c``. What is installed here is held against them by the tests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError
from probes.text import shown

Version = tuple[int, ...]
"""A release's numbers, the most significant first; ``()`` where a reader has none."""


class Engine(StrEnum):
    """The program that decodes a profile and picks the rules that count for a container."""

    DOCKER = "docker"
    PODMAN = "podman"
    CONTAINERD = "containerd"
    CRI_O = "cri-o"
    BUNDLE = "bundle"
    """Nobody: it is ``linux.seccomp`` of an OCI bundle, which the runtime decodes itself."""


class Runtime(StrEnum):
    """The OCI runtime that compiles the rules that an engine picked."""

    RUNC = "runc"
    CRUN = "crun"


NEWEST: Final[Mapping[str, Version]] = MappingProxyType(
    {
        Engine.DOCKER: (29, 7, 2),
        Engine.PODMAN: (5, 8, 2),
        Engine.CONTAINERD: (2, 3, 4),
        Engine.CRI_O: (1, 36, 3),
        Runtime.RUNC: (1, 5, 1),
        Runtime.CRUN: (1, 29, 1),
    }
)
"""The newest releases that were looked at."""

OLDEST: Final[Mapping[str, Version]] = MappingProxyType(
    {
        Engine.DOCKER: (19, 3),
        Engine.PODMAN: (3, 0),
        Engine.CONTAINERD: (1, 4),
        Engine.CRI_O: (1, 21),
        Runtime.RUNC: (1, 0, 0),
        Runtime.CRUN: (0, 19),
    }
)
"""The oldest releases that were looked at."""

_SINCE: Final[Mapping[str, Mapping[str, Version]]] = MappingProxyType(
    {
        Engine.DOCKER: {
            "errnoRet": (20, 10),
            "defaultErrnoRet": (23, 0),
            "flags": (23, 0),
            "listenerPath": (23, 0),
            "archMap on riscv64": (27, 3),
        },
        Engine.PODMAN: {
            "defaultErrnoRet": (3, 3),
            "errno": (4, 0),
            "flags": (4, 1),
            "listenerPath": (4, 1),
        },
        Engine.CRI_O: {
            "defaultErrnoRet": (1, 22),
            "errno": (1, 25),
            "flags": (1, 25),
            "listenerPath": (1, 25),
            "crun": (1, 31),
        },
        Engine.CONTAINERD: {"defaultErrnoRet": (1, 6), "listenerPath": (1, 6)},
        Runtime.RUNC: {
            "rules of the default action": (1, 0, 2),
            "SCMP_ACT_NOTIFY": (1, 1, 0),
            "SCMP_ACT_KILL_PROCESS": (1, 1, 3),
            "SCMP_ACT_KILL_THREAD": (1, 1, 3),
            "setup on s390": (1, 1, 3),
            "SCMP_ARCH_RISCV64": (1, 1, 8),
            "ENOSYS on the native architecture": (1, 1, 15),
            "flags": (1, 2, 0),
            # 1.4.1, but Debian's from 1.1.15 on; to take one too many starts no container.
            "SCMP_ARCH_LOONGARCH64": (1, 1, 15),
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (1, 5, 0),
        },
        Runtime.CRUN: {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (1, 7)},
    }
)
"""Since which release a reader has something that it did not always have."""

_RUNC_LACKS: Final = frozenset(
    f"SCMP_ARCH_{name}" for name in ("M68K", "PARISC", "PARISC64", "SH", "SHEB")
)
"""What libseccomp knows and no runc does: libcontainer/seccomp/config.go."""

_VERSION: Final = re.compile(r"v?([0-9]{1,6}(?:\.[0-9]{1,6}){0,2})(?![0-9.])")


def version_of(text: str) -> Version:
    """The release at the start of a text, such as (20, 10, 24) of ``20.10.24+dfsg1``; () for none.

    What follows the numbers, a distribution's suffix or ``-rc1``, makes no difference here.
    """
    match = _VERSION.match(text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def spelled(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


@dataclass(frozen=True, slots=True)
class Release:
    """A program of some version.

    Attributes:
        name: the program, an ``Engine`` or a ``Runtime``.
        version: its release; () for what has none.
    """

    name: Engine | Runtime
    version: Version = ()

    def has(self, what: str) -> bool:
        """Whether it has something of ``_SINCE``; what stands there for others only, it lacks."""
        since = _SINCE.get(self.name, {}).get(what)
        return since is not None and self.version >= since

    @property
    def word(self) -> str:
        """The release as an option takes it, such as ``docker@20.10.24``."""
        return f"{self.name}@{spelled(self.version)}" if self.version else str(self.name)

    def __str__(self) -> str:
        """The release in a sentence."""
        return f"{self.name} {spelled(self.version)}" if self.version else str(self.name)


def newest(name: Engine | Runtime) -> Release:
    """The newest release of a program that was looked at."""
    return Release(name, NEWEST.get(name, ()))


def release(option: str, name: Engine | Runtime, text: str) -> Release:
    """The release that somebody asks for.

    Args:
        option: the option that names it, for the sentence.
        name: the program.
        text: what stands behind the @.

    Raises:
        BadInputError: the text is no version, or none of the known ones, or it leaves open which.
    """
    asked = f"--{option} {name}@{shown(text)}"
    if name not in NEWEST:
        raise BadInputError(
            f"{asked}: a {name} has no version of its own, only its runtime has: give that"
        )
    version = version_of(text)
    if not version:
        raise BadInputError(
            f"{asked}: that is no version; write the release, as in {newest(name).word}"
        )
    oldest = OLDEST[name]
    if version < oldest[: len(version)]:
        raise BadInputError(
            f"{asked}: how releases before {spelled(oldest)} read profiles is not known here; name "
            f"a later one"
        )
    within = sorted(
        since
        for since in _SINCE[name].values()
        if since[: len(version)] == version and any(since[len(version) :])
    )
    if within:
        raise BadInputError(
            f"{asked}: {name} {spelled(version)} changed how it reads profiles with "
            f"{' and '.join(dict.fromkeys(map(spelled, within)))}; name the release in full"
        )
    return Release(name, version)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a decoder makes of a profile's keys; those that it does not know do not exist for it.

    Attributes:
        readers: who decodes so, for sentences.
        is_conditional: whether it knows rules that count in some containers only, and the other
            keys of Docker's form: ``includes``, ``excludes``, ``archMap``, ``name``, ``comment``.
        has_min_kernel: whether it knows ``minKernel``.
        has_errno_names: whether it knows ``errno`` and ``defaultErrno``.
        has_errno: whether it knows ``errnoRet``.
        has_default_errno: whether it knows ``defaultErrnoRet``.
        has_flags: whether it knows ``flags``.
        has_listener: whether it knows ``listenerPath`` and ``listenerMetadata``.
        is_exact: whether it tells capitals in keys and asks for those that the specification
            requires, as crun does; Go's decoder does neither.
    """

    readers: str
    is_conditional: bool = False
    has_min_kernel: bool = False
    has_errno_names: bool = False
    has_errno: bool = True
    has_default_errno: bool = True
    has_flags: bool = True
    has_listener: bool = True
    is_exact: bool = False


ANY_ENGINE: Final = Dialect(
    "Docker and Podman", is_conditional=True, has_min_kernel=True, has_errno_names=True
)
"""Every key that some engine knows."""

ANY_BUNDLE: Final = Dialect("runtimes")
"""Every key that a bundle's ``linux.seccomp`` has."""


@dataclass(frozen=True, slots=True)
class Reader:
    """An engine and a runtime, which together make a filter of a profile.

    Attributes:
        engine: who decodes the file.
        runtime: who compiles the rest.
    """

    engine: Release
    runtime: Release

    @property
    def dialect(self) -> Dialect:
        """How the file is decoded."""
        engine = self.engine
        if engine.name is Engine.BUNDLE:
            return Dialect(str(self.runtime), is_exact=self.runtime.name is Runtime.CRUN)
        conditional = engine.name is not Engine.CONTAINERD
        return Dialect(
            readers=str(engine),
            is_conditional=conditional,
            has_min_kernel=engine.name is Engine.DOCKER,
            has_errno_names=engine.has("errno"),
            has_errno=engine.name is not Engine.DOCKER or engine.has("errnoRet"),
            has_default_errno=engine.has("defaultErrnoRet"),
            has_flags=engine.name is Engine.CONTAINERD or engine.has("flags"),
            has_listener=engine.has("listenerPath"),
        )

    def looks_into_arch_map(self, native: str) -> bool:
        """Whether the engine looks into ``archMap`` where this architecture is the native one."""
        if self.engine.name is not Engine.DOCKER:
            return native in _PODMAN_ARCH_MAP
        return native != "SCMP_ARCH_RISCV64" or self.engine.has("archMap on riscv64")

    @property
    def has_stub(self) -> bool:
        """Whether the runtime answers ENOSYS to calls newer than the profile."""
        return self.runtime.name is Runtime.RUNC

    @property
    def stub_is_native(self) -> bool:
        """Whether it does so on the native architecture where the profile does not name it."""
        return self.runtime.has("ENOSYS on the native architecture")

    @property
    def stub_knows_setup(self) -> bool:
        """Whether it does so for the number as which s390 kernels show unknown ones."""
        return self.runtime.has("setup on s390")

    def refuses(self, word: str) -> bool:
        """Whether the runtime refuses an action, an architecture or a flag of profiles."""
        since = _SINCE[self.runtime.name]
        if self.runtime.name is Runtime.CRUN:
            return word in since and not self.runtime.has(word)
        if word.startswith("SECCOMP_FILTER_FLAG_") and not self.runtime.has("flags"):
            return True
        return word in _RUNC_LACKS or (word in since and not self.runtime.has(word))

    @property
    def takes_default_rules(self) -> bool:
        """Whether the runtime takes rules that have the default action."""
        return self.runtime.name is Runtime.CRUN or self.runtime.has("rules of the default action")

    @property
    def traits(self) -> tuple[bool, ...]:
        """All on which a program depends besides the rules: equal for equal programs."""
        return (
            self.has_stub,
            self.stub_is_native,
            self.stub_knows_setup,
            self.takes_default_rules,
        )

    @property
    def words(self) -> str:
        """The reader as options take it, such as ``docker@20.10.24, runc@1.1.5``."""
        return f"{self.engine.word}, {self.runtime.word}"

    def __str__(self) -> str:
        """The reader in a sentence."""
        if self.engine.name is Engine.BUNDLE:
            return f"{self.runtime} (OCI bundle)"
        return f"{self.engine} ({self.runtime})"


_PODMAN_ARCH_MAP: Final = frozenset(
    f"SCMP_ARCH_{name}"
    for name in ("X86_64", "AARCH64", "MIPS64", "MIPS64N32", "MIPSEL64", "MIPSEL64N32", "S390X")
)
"""The native architectures for which Podman looks into archMap."""


def newest_reader(engine: Engine = Engine.DOCKER, runtime: Runtime = Runtime.RUNC) -> Reader:
    """The newest releases of an engine and a runtime."""
    return Reader(newest(engine), newest(runtime))


@dataclass(frozen=True, slots=True)
class AskedReaders:
    """The readers of a profile that the user named.

    Attributes:
        engine: who decodes it; None where that was not said.
        runtime: who compiles it; None where that was not said.
    """

    engine: Engine | Release | None = None
    runtime: Runtime | Release | None = None
