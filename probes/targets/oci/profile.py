"""Reading a seccomp profile: Docker's and Podman's JSON, or ``linux.seccomp`` of an OCI bundle.

Which keys there are depends on who reads (``probes.targets.oci.reader``). Nothing is decided here
that depends on a container; ``probes.targets.oci.compiler`` does that. What the reader would refuse
is refused, in a sentence with the place in the file. What it would silently pass over is a finding,
for the profile's author most likely meant something by it.

Sources: moby/profiles ``seccomp/seccomp.go``, containers/common ``pkg/seccomp/types.go``, the
runtime-spec's ``specs-go/config.go``, and Go's encoding/json, which all of them decode with: it
ignores unknown keys, takes null for an absent value, and does not tell capitals in keys. crun
decodes with libocispec, which asks for the keys that the specification requires.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.action import DATA_MASK, MAX_ERRNO, Action
from probes.errors import BadInputError
from probes.files import read as read_file
from probes.targets.oci.reader import ANY_BUNDLE, ANY_ENGINE, Dialect
from probes.text import did_you_mean, shown

MAX_PROFILE_BYTES: Final = 4 << 20
"""Far above any real profile (Docker's has 14 KB) and any bundle's configuration."""

ARGUMENTS: Final = 6
"""How many arguments a system call has."""


class SeccompOperator(IntEnum):
    """How an argument is compared: ``enum scmp_compare`` of libseccomp's seccomp.h.in."""

    NE = 1
    LT = 2
    LE = 3
    EQ = 4
    GE = 5
    GT = 6
    MASKED_EQ = 7

    @property
    def scmp(self) -> str:
        """The name in profiles."""
        return f"SCMP_CMP_{self.name}"


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {action.scmp: action for action in Action} | {"SCMP_ACT_KILL": Action.KILL_THREAD}
)
"""The actions by their names in profiles."""

OPERATORS: Mapping[str, SeccompOperator] = MappingProxyType(
    {operator.scmp: operator for operator in SeccompOperator}
)

ARCHITECTURES: Mapping[str, int] = MappingProxyType(
    {
        "SCMP_ARCH_X86": 0x40000003,
        "SCMP_ARCH_X86_64": 0xC000003E,
        "SCMP_ARCH_X32": 0x4000003E,
        "SCMP_ARCH_ARM": 0x40000028,
        "SCMP_ARCH_AARCH64": 0xC00000B7,
        "SCMP_ARCH_LOONGARCH64": 0xC0000102,
        "SCMP_ARCH_M68K": 0x00000004,
        "SCMP_ARCH_MIPS": 0x00000008,
        "SCMP_ARCH_MIPS64": 0x80000008,
        "SCMP_ARCH_MIPS64N32": 0xA0000008,
        "SCMP_ARCH_MIPSEL": 0x40000008,
        "SCMP_ARCH_MIPSEL64": 0xC0000008,
        "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
        "SCMP_ARCH_PARISC": 0x0000000F,
        "SCMP_ARCH_PARISC64": 0x8000000F,
        "SCMP_ARCH_PPC": 0x00000014,
        "SCMP_ARCH_PPC64": 0x80000015,
        "SCMP_ARCH_PPC64LE": 0xC0000015,
        "SCMP_ARCH_RISCV64": 0xC00000F3,
        "SCMP_ARCH_S390": 0x00000016,
        "SCMP_ARCH_S390X": 0x80000016,
        "SCMP_ARCH_SH": 0x4000002A,
        "SCMP_ARCH_SHEB": 0x0000002A,
    }
)
"""libseccomp's tokens by name, from its seccomp.h.in: ``AUDIT_ARCH_*``, save for x32."""

FLAGS: Final = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
"""The flags of seccomp(2) that runc and crun know."""


@dataclass(frozen=True, slots=True)
class SeccompArg:
    """A condition on an argument.

    Attributes:
        index: which argument, from 0.
        operator: how it is compared.
        value: with what; for MASKED_EQ the mask.
        value_two: only for MASKED_EQ: what the masked argument must be.
    """

    index: int
    operator: SeccompOperator
    value: int
    value_two: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """An ``includes`` or ``excludes``; what is empty asks for nothing.

    Attributes:
        capabilities: such as ``CAP_SYS_ADMIN``.
        arches: native architectures as Go names them, such as ``amd64``.
        min_kernel: version and major revision of the lowest kernel.
    """

    capabilities: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SyscallRule:
    """An entry of ``syscalls``.

    Attributes:
        place: where it stands, such as ``syscalls[3]``.
        names: the calls.
        action: what happens to them.
        errno_ret: ``errnoRet``, the data of ERRNO and TRACE; None where it is absent.
        errno: ``errno``, by which Podman lets it be named; "" where it is absent.
        conditions: all must hold, but see ``probes.targets.oci.compiler``.
        includes: the rule counts only where these hold.
        excludes: the rule does not count where one of these holds.
    """

    place: str
    names: tuple[str, ...]
    action: Action
    errno_ret: int | None = None
    errno: str = ""
    conditions: tuple[SeccompArg, ...] = ()
    includes: Circumstances = Circumstances()
    excludes: Circumstances = Circumstances()


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """A profile as it is written.

    Attributes:
        path: the file, as a sentence can hold it.
        bundle: whether it is taken as it is; else its reader picks the rules that count for a
            container first.
        default_action: for every call that no rule matches.
        default_errno_ret: as a rule's ``errno_ret``.
        default_errno: as a rule's ``errno``.
        architectures: ``SCMP_ARCH_*``.
        arch_map: the sub-architectures of native architectures.
        flags: ``SECCOMP_FILTER_FLAG_*``.
        listener: whether it says who is to answer notifications.
        rules: in order.
        raw: a program that crun installs instead of all this; None where there is none.
        knows_all_calls: whether crun refuses the profile if libseccomp does not know a call.
        findings: sentences about what the reader passes over.
    """

    path: str
    bundle: bool
    default_action: Action
    default_errno_ret: int | None = None
    default_errno: str = ""
    architectures: tuple[str, ...] = ()
    arch_map: tuple[tuple[str, tuple[str, ...]], ...] = ()
    flags: tuple[str, ...] = ()
    listener: bool = False
    rules: tuple[SyscallRule, ...] = ()
    raw: bytes | None = None
    knows_all_calls: bool = False
    findings: tuple[str, ...] = ()


class UnconfinedError(BadInputError):
    """The reader starts containers without any filter."""


class UnclearError(BadInputError):
    """Raised for a file of which it is unknown how the reader understands it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose JSON was read, but not yet what it means to anybody.

    Attributes:
        path: as a sentence can hold it.
        members: its top level.
        is_of_operator: whether Kubernetes' Security Profiles Operator wrote it.
    """

    path: str
    members: "Members"
    is_of_operator: bool = False

    @property
    def is_bundle(self) -> bool:
        """Whether it is a bundle's ``config.json``, which no engine reads as a profile."""
        keys = {key.casefold() for key, value in self.members if value is not None}
        return bool(keys & {"linux", "ociversion"})


def load(path: Path) -> Source:
    """Reads the JSON of a profile or a bundle's ``config.json``.

    Raises:
        BadInputError: the file cannot be read, or is not JSON.
    """
    return parsed(read_bytes(path), shown(path))


def parsed(raw: bytes, path: str) -> Source:
    """Reads the JSON of a profile or a bundle's ``config.json``.

    Args:
        raw: the file.
        path: its name, as a sentence can hold it.

    Raises:
        BadInputError: it is not JSON.
    """
    return Source(path, _parsed(raw, _Document(path)))


def decode(source: Source, dialect: Dialect) -> SeccompProfile:
    """What a reader makes of a file.

    Raises:
        BadInputError: it would refuse what is in it.
        UnconfinedError: it would start containers without a filter.
        UnclearError: nobody can say what it would do.
    """
    document = _Document(source.path, dialect)
    top = _Object(document, "", source.members)
    if not source.is_bundle:
        return _profile(top)
    annotations = _annotations(top)
    linux = top.child("linux")
    seccomp = linux.child("seccomp") if linux else None
    if linux is not None and annotations.raw is not None:
        return _replaced(document, seccomp, annotations)
    if seccomp is None:
        raise UnconfinedError(
            f"{document.path}: linux.seccomp is not there, so nothing confines a container of this "
            f"bundle; add it, or name a bundle that has it"
        )
    found = _profile(seccomp)
    return replace(
        found,
        listener=found.listener or annotations.listener,
        knows_all_calls=annotations.knows_all_calls,
    )


def read(path: Path) -> SeccompProfile:
    """Reads a profile or a bundle's ``config.json`` with every key that some reader knows.

    Raises:
        BadInputError: the file cannot be read, or a runtime would refuse what is in it.
    """
    source = load(path)
    return decode(source, ANY_BUNDLE if source.is_bundle else ANY_ENGINE)


_ANNOTATIONS: Final = "run.oci.seccomp"
_RAW: Final = f"{_ANNOTATIONS}_bpf_data"
_KNOWS_ALL: Final = f"{_ANNOTATIONS}_fail_unknown_syscall"
_LISTENERS: Final = (f"{_ANNOTATIONS}.receiver", f"{_ANNOTATIONS}.plugins")


@dataclass(frozen=True, slots=True)
class _Annotations:
    """What crun takes from a bundle's annotations; other readers look at none."""

    raw: bytes | None = None
    knows_all_calls: bool = False
    listener: bool = False


def _annotations(top: "_Object") -> _Annotations:
    if not top.document.dialect.is_exact:
        for key in top.keys_within("annotations"):
            if key.startswith(_ANNOTATIONS):
                top.document.find(
                    f"annotations.{shown(key)}", "counts for crun only; other runtimes ignore it"
                )
        return _Annotations()
    written = top.child("annotations")
    if written is None:
        return _Annotations()
    encoded = written.get(_RAW)
    raw = None if encoded is None else _decoded(written, written.text(_RAW))
    return _Annotations(
        raw,
        # Whatever the value is but 0, as crun has it.
        knows_all_calls=written.text(_KNOWS_ALL) not in {"", "0"},
        listener=any(written.text(key) for key in _LISTENERS),
    )


def _decoded(written: "_Object", encoded: str) -> bytes:
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise written.refusal(_RAW, "is not base64, so crun refuses the bundle; mend it") from error


def _replaced(
    document: "_Document", seccomp: "_Object | None", annotations: _Annotations
) -> SeccompProfile:
    """What crun installs where an annotation has the program: the rules do not count, flags do."""
    document.find(
        f"annotations.{_RAW}", "holds the program that crun installs; no rule of the file counts"
    )
    flags: tuple[str, ...] = ()
    if seccomp is not None:
        flags = seccomp.choices("flags", FLAGS, "flag that runtimes know")
    return SeccompProfile(
        path=document.path,
        bundle=True,
        default_action=Action.ALLOW,
        flags=flags,
        raw=annotations.raw,
        findings=tuple(document.findings),
    )


def _parsed(raw: bytes, document: "_Document") -> "Members":
    try:
        value = parse_json(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{document.path}: line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}); name a "
            f"seccomp profile, which is JSON"
        ) from error
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{document.path}: line {error.lineno}, column {error.colno}: this is not JSON "
            f"({error.msg}); name a seccomp profile, or mend it there"
        ) from error
    except _NoNumberError as error:
        raise BadInputError(
            f"{document.path}: this is not JSON ({error} is no number there); write a number"
        ) from error
    except RecursionError as error:
        raise BadInputError(
            f"{document.path}: this is no seccomp profile (its values are nested too deeply)"
        ) from error
    if not isinstance(value, Members):
        raise BadInputError(
            f"{document.path}: a seccomp profile is a JSON object, but this is {kind(value)}; "
            f"name one"
        )
    return value


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that may be a profile.

    Raises:
        BadInputError: it cannot be read, or is too large.
    """
    raw = read_file(path, MAX_PROFILE_BYTES, "a seccomp profile")
    if len(raw) > MAX_PROFILE_BYTES:
        raise BadInputError(
            f"{shown(path)}: the file has more than {MAX_PROFILE_BYTES >> 20} MiB, so it is no "
            f"seccomp profile; name one"
        )
    return raw


def parse_json(raw: bytes) -> object:
    """What JSON says, its objects as ``Members``.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deeply.
    """
    return json.loads(
        raw.decode(), object_pairs_hook=Members, parse_int=_integer, parse_constant=_constant
    )


class Members(list[tuple[str, object]]):
    """An object's members as they were written: a key may be there twice."""


class _NoNumberError(ValueError):
    """NaN or an infinity, which Python reads and JSON does not have."""


def _integer(text: str) -> int:
    """A whole number; out of range where Go refuses it as unsigned, or Python as too long."""
    if text.startswith("-"):
        return -1
    return int(text) if len(text) <= len(str(1 << 64)) else 1 << 64


def _constant(text: str) -> object:
    raise _NoNumberError(text)


@dataclass(slots=True)
class _Document:
    """A file that is being read.

    Attributes:
        path: as a sentence can hold it.
        dialect: which keys count.
        ignored: the keys that mean nothing, with the places where they are.
        findings: sentences about what runtimes pass over; a dictionary, for a member that is
            asked for twice gives but one.
    """

    path: str
    dialect: Dialect = ANY_ENGINE
    ignored: dict[str, list[str]] = field(default_factory=dict)
    findings: dict[str, None] = field(default_factory=dict)

    def find(self, place: str, sentence: str) -> None:
        """Notes something about a place."""
        self.findings[f"{self.path}: {place} {sentence}"] = None

    def refusal(self, place: str, reason: str) -> BadInputError:
        """An error to raise about a place in the file."""
        return BadInputError(f"{self.path}: {place or 'the profile'} {reason}")

    def all_findings(self) -> tuple[str, ...]:
        """The findings, with one for each ignored key."""
        one = self.dialect not in {ANY_ENGINE, ANY_BUNDLE}
        ignore = f"{self.dialect.readers} {'ignores' if one else 'ignore'}"
        ignored = (
            f"{self.path}: {ignore} the key {key!r} ({_listed(places)})"
            for key, places in sorted(self.ignored.items())
        )
        return (*self.findings, *ignored)


_SHOWN_PLACES: Final = 3


def _listed(places: Sequence[str]) -> str:
    more = len(places) - _SHOWN_PLACES
    return ", ".join(places[:_SHOWN_PLACES]) + (f" and {more} more places" if more > 0 else "")


class _Object:
    """An object at a place in a file, asked for its members by name and kind."""

    __slots__ = ("_asked", "_document", "_members", "place")

    def __init__(self, document: _Document, place: str, members: Members) -> None:
        self.place = place
        self._document = document
        self._asked: set[str] = set()
        self._members: dict[str, list[tuple[str, object]]] = {}
        for key, value in members:
            self._members.setdefault(self._folded(key), []).append((key, value))

    def _folded(self, key: str) -> str:
        return key if self._document.dialect.is_exact else key.casefold()

    def keys_within(self, key: str) -> tuple[str, ...]:
        """The keys of an object below a key, as they are written, however often it is there."""
        return tuple(
            name
            for _, value in self._written(key)
            if isinstance(value, Members)
            for name, _ in value
        )

    @property
    def document(self) -> _Document:
        """The file that it stands in."""
        return self._document

    def at(self, key: str) -> str:
        """The place of a member."""
        return f"{self.place}.{key}" if self.place else key

    def get(self, key: str) -> object:
        """A member's value as it was written; None where it is absent or null."""
        found = self._written(key)
        if len(found) > 1:
            raise UnclearError(
                str(
                    self.refusal(
                        key, "is there twice, and readers differ in which they take; keep one"
                    )
                )
            )
        if not found:
            return None
        spelling, value = found[0]
        if spelling != key and value is not None:
            self._document.find(
                self.at(shown(spelling)),
                f"counts as {key} for Docker, Podman and runc, which do not tell capitals, but "
                f"not for crun; write {key}",
            )
        return value

    def _written(self, key: str) -> list[tuple[str, object]]:
        """Every member of this key."""
        self._asked.add(self._folded(key))
        return self._members.get(self._folded(key), [])

    def note(self, key: str) -> None:
        """Passes a text over that no filter depends on, however often it is there."""
        found = self._written(key)
        for _, value in found:
            if value is not None and not isinstance(value, str):
                raise self.refusal(key, f"must be text, but is {kind(value)}")
        if len(found) > 1:
            self._document.find(self.at(key), "is there more than once; nobody's filter heeds it")

    def refusal(self, key: str, reason: str) -> BadInputError:
        """An error to raise about a member of the object."""
        return self._document.refusal(self.at(key), reason)

    def text(self, key: str) -> str:
        """A text; "" where it is absent."""
        value = self.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.refusal(key, f"must be text, but is {kind(value)}")
        return value

    def whole(self, key: str, bits: int = 64) -> int | None:
        """A whole number from 0 on; None where it is absent."""
        value = self.get(key)
        if value is None:
            return None
        if type(value) is not int:  # to Python, true is an int
            raise self.refusal(key, f"must be a whole number, but is {kind(value)}")
        if not 0 <= value < 1 << bits:
            raise self.refusal(key, f"must be a whole number from 0 to {(1 << bits) - 1}")
        return value

    def entries(self, key: str) -> list[object]:
        """A list; empty where it is absent."""
        value = self.get(key)
        if value is None:
            return []
        # An object's members are a list, too.
        if not isinstance(value, list) or isinstance(value, Members):
            raise self.refusal(key, f"must be a list, but is {kind(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        found: list[str] = []
        for index, entry in enumerate(self.entries(key)):
            if not isinstance(entry, str):
                raise self.refusal(f"{key}[{index}]", f"must be text, but is {kind(entry)}")
            found.append(entry)
        return tuple(found)

    def choices(self, key: str, known: Iterable[str], what: str) -> tuple[str, ...]:
        """A list of words out of a few."""
        texts = self.texts(key)
        for index, entry in enumerate(texts):
            self.check(f"{key}[{index}]", entry, known, what)
        return texts

    def check(self, key: str, word: str, known: Iterable[str], what: str) -> None:
        """Refuses a word that is none of a few."""
        names = list(known)
        if word in names:
            return
        hint = did_you_mean(word, names, f"it is one of {', '.join(names)}")
        raise self.refusal(key, f"is {_quoted(word)}, which is no {what}; {hint}")

    def child(self, key: str) -> "_Object | None":
        """An object; None where it is absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Members):
            raise self.refusal(key, f"must be an object, but is {kind(value)}")
        return _Object(self._document, self.at(key), value)

    def children(self, key: str) -> list["_Object"]:
        """A list of objects."""
        found: list[_Object] = []
        for index, entry in enumerate(self.entries(key)):
            place = self.at(f"{key}[{index}]")
            if not isinstance(entry, Members):
                raise self._document.refusal(place, f"must be an object, but is {kind(entry)}")
            found.append(_Object(self._document, place, entry))
        return found

    def finish(self) -> None:
        """Notes the members that nobody asked for: they mean nothing."""
        for folded, written in self._members.items():
            if folded not in self._asked:
                place = self.place or "at the top"
                self._document.ignored.setdefault(written[0][0], []).append(place)


def kind(value: object) -> str:
    """The kind of a value in a sentence."""
    if isinstance(value, Members):
        return "an object"
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds: dict[type, str] = {str: "text", list: "a list", int: "a number"}
    return kinds.get(type(value), "null" if value is None else "a number with a fraction")


_LONGEST_QUOTE: Final = 60


def _quoted(text: str) -> str:
    """A text of the file, as a sentence can hold it."""
    short = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
    return f"'{shown(short)}'"


def _profile(seccomp: _Object) -> SeccompProfile:
    document, dialect = seccomp.document, seccomp.document.dialect
    rules = seccomp.children("syscalls")
    if not seccomp.text("defaultAction"):
        if rules:
            raise seccomp.refusal("defaultAction", f"is missing; add one of {', '.join(ACTIONS)}")
        if dialect.is_exact:
            raise seccomp.refusal("defaultAction", "is missing, so crun refuses it; add one")
        raise UnconfinedError(
            str(
                document.refusal(
                    seccomp.place,
                    "has neither defaultAction nor syscalls, which runtimes take for no filter at "
                    "all; name a seccomp profile",
                )
            )
        )
    architectures = seccomp.choices("architectures", ARCHITECTURES, "architecture")
    arch_map: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if dialect.is_conditional:
        arch_map = tuple(_arch_map(entry) for entry in seccomp.children("archMap"))
    if architectures and arch_map:
        raise document.refusal(
            seccomp.place,
            "has both architectures and archMap, which Docker and Podman refuse; keep one of them",
        )
    action = _action(seccomp, "defaultAction")
    profile = SeccompProfile(
        path=document.path,
        bundle=not dialect.is_conditional,
        default_action=action,
        default_errno_ret=(
            _errno_ret(seccomp, "defaultErrnoRet", action) if dialect.has_default_errno else None
        ),
        default_errno=seccomp.text("defaultErrno") if dialect.has_errno_names else "",
        architectures=architectures,
        arch_map=arch_map,
        flags=(
            seccomp.choices("flags", FLAGS, "flag that runtimes know") if dialect.has_flags else ()
        ),
        listener=dialect.has_listener and bool(seccomp.text("listenerPath")),
        rules=tuple(_rule(entry) for entry in rules),
    )
    if dialect.has_listener:
        seccomp.note("listenerMetadata")
    seccomp.finish()
    # Only now is everything read that there may be a finding about.
    return replace(profile, findings=document.all_findings())


def _arch_map(entry: _Object) -> tuple[str, tuple[str, ...]]:
    native = entry.text("architecture")
    entry.check("architecture", native, ARCHITECTURES, "architecture")
    parts = entry.choices("subArchitectures", ARCHITECTURES, "architecture")
    entry.finish()
    return native, parts


def _action(owner: _Object, key: str) -> Action:
    word = owner.text(key)
    if not word:
        raise owner.refusal(key, f"is missing; add one of {', '.join(ACTIONS)}")
    owner.check(key, word, ACTIONS, "action")
    return ACTIONS[word]


def _errno_ret(owner: _Object, key: str, action: Action) -> int | None:
    """The data of an action; refused where libseccomp refuses it."""
    value = owner.whole(key)
    if value is None:
        return None
    if action not in {Action.ERRNO, Action.TRACE}:
        owner.document.find(
            owner.at(key),
            f"goes with {action.scmp}, which has no errno: runc ignores it, and crun refuses the "
            f"profile",
        )
        return value
    if value > DATA_MASK:
        owner.document.find(
            owner.at(key),
            f"is {value}, of which runtimes keep the low 16 bits, {value & DATA_MASK}",
        )
    if action is Action.ERRNO and value & DATA_MASK > MAX_ERRNO:
        raise owner.refusal(
            key, f"is {value}, but an errno is at most {MAX_ERRNO} and libseccomp refuses more"
        )
    return value


def _rule(entry: _Object) -> SyscallRule:
    dialect = entry.document.dialect
    names = entry.texts("names")
    if dialect.is_exact and entry.get("names") is None:
        raise entry.document.refusal(entry.place, "has no names, so crun refuses it; add them")
    name = entry.text("name") if dialect.is_conditional else ""
    if name and names:
        raise entry.document.refusal(
            entry.place, "has both name and names, which Docker and Podman refuse; keep one of them"
        )
    for index, each in enumerate(names):
        _check_name(entry, f"names[{index}]", each)
    if name:
        _check_name(entry, "name", name)
        names = (name,)
    action = _action(entry, "action")
    rule = SyscallRule(
        place=entry.place,
        names=names,
        action=action,
        errno_ret=_errno_ret(entry, "errnoRet", action) if dialect.has_errno else None,
        errno=entry.text("errno") if dialect.has_errno_names else "",
        conditions=tuple(_condition(each) for each in entry.children("args")),
        includes=_circumstances(entry, "includes") if dialect.is_conditional else Circumstances(),
        excludes=_circumstances(entry, "excludes") if dialect.is_conditional else Circumstances(),
    )
    if not names:
        entry.document.find(entry.place, "names no call, so it does nothing")
    if dialect.is_conditional:
        entry.note("comment")
    entry.finish()
    return rule


def _check_name(entry: _Object, key: str, name: str) -> None:
    if not name:
        raise entry.refusal(key, "is empty, which runtimes refuse; name a system call")
    if not (name.isascii() and name.isprintable()):
        raise entry.refusal(key, f"is {_quoted(name)}, which is no system call's name; mend it")


def _condition(entry: _Object) -> SeccompArg:
    operator = entry.text("op")
    if not operator:
        raise entry.refusal("op", f"is missing; add one of {', '.join(OPERATORS)}")
    entry.check("op", operator, OPERATORS, "operator")
    index = entry.whole("index") or 0
    if index >= ARGUMENTS:
        raise entry.refusal("index", f"is {index}, but arguments are counted from 0 to 5")
    condition = SeccompArg(
        index=index,
        operator=OPERATORS[operator],
        value=entry.whole("value") or 0,
        value_two=entry.whole("valueTwo") or 0,
    )
    entry.finish()
    return condition


def _circumstances(entry: _Object, key: str) -> Circumstances:
    written = entry.child(key)
    if written is None:
        return Circumstances()
    found = Circumstances(
        capabilities=written.texts("caps"),
        arches=written.texts("arches"),
        min_kernel=_min_kernel(written) if entry.document.dialect.has_min_kernel else None,
    )
    written.finish()
    return found


_KERNEL: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_MAX_VERSION: Final = 255


def _min_kernel(written: _Object) -> tuple[int, int] | None:
    value = written.get("minKernel")
    if value is None:
        return None
    text = written.text("minKernel")
    if not text:
        return (0, 0)  # Docker's decoder leaves it so: every kernel has it
    match = _KERNEL.fullmatch(text)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version == (0, 0) or max(version) > _MAX_VERSION:
        raise written.refusal(
            "minKernel", f"is {_quoted(text)}, but must be a version such as '4.8'"
        )
    return version
