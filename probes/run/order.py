"""What a process on another kernel is told to judge: the words, and the files that they name.

pytest-xdist can run the main job on several machines at once (``--dist each``). Each judges its
own kernel, so it reads the words itself; the files are those of whoever gave the order, so that
all of them judge the same.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from probes import files
from probes.audit import source
from probes.documents.waivers import Granted
from probes.errors import BadInputError
from probes.files import SUITE
from probes.run.settings import Settings, Words
from probes.runtimes.wanted import Start
from probes.targets import StackTarget
from probes.targets.words import SECCOMP, Container

_LARGEST_FILE: Final = 16 << 20
_OF_FILES: Final = ("bpf", "oci", "policy")
"""The targets that are files of whoever gives the order; any other is the node's own."""

_PACKAGES: Final = ("cases", "probes", "reports")
_JUDGES: Final = {".py", ".toml"}
_JUDGE_NOTHING: Final = frozenset({"tests", "benchmarks", "launcher"})
"""Folders of a checkout that a wheel does not have."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be judged elsewhere.

    Attributes:
        words: the options.
        granted: the waivers.
        anonymous: whether user and host names shall be left out.
        files: the content of the files that the words name, by the names that they have there.
        suite: the digest of the suite that gives the order.
    """

    words: Words
    granted: Granted
    anonymous: bool
    files: Mapping[str, bytes]
    suite: str

    def to_plain(self) -> dict[str, Any]:
        """In types that can be sent to another process; see ``from_plain``."""
        words, start = self.words, self.words.start
        return {
            "words": [words.policy, words.profile, words.arch, words.target],
            "audit_source": str(words.audit_source),
            "container": [getattr(words.container, name) for name in _CONTAINER],
            "seccomp": None if start.seccomp is None else str(start.seccomp),
            "arguments": list(start.arguments),
            "command": list(start.command),
            "granted": self.granted.to_plain(),
            "anonymous": self.anonymous,
            "files": dict(self.files),
            "suite": self.suite,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The order that ``to_plain`` was given."""
        seccomp = None if plain["seccomp"] is None else Path(plain["seccomp"])
        start = Start(seccomp, tuple(plain["arguments"]), tuple(plain["command"]))
        policy, profile, arches, target = plain["words"]
        records = source.read(plain["audit_source"])
        container = Container(*plain["container"])
        words = Words(policy, profile, arches, target, records, container, start)
        granted = Granted.from_plain(plain["granted"])
        return cls(words, granted, plain["anonymous"], dict(plain["files"]), plain["suite"])

    def lay_out(self, root: Path) -> Words:
        """Writes the files below a folder, and gives the words with the places that they have.

        Raises:
            BadInputError: they cannot be written there.
        """
        try:
            for name, content in self.files.items():
                place = _place(root, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        except OSError as error:
            raise BadInputError(
                f"{error.filename}: the files of the order cannot be written there"
                f" ({error.strerror}): make room"
            ) from error
        words, start = self.words, self.words.start
        kind, names = _named_by(words.target)
        if names:
            target = f"{kind}:{','.join(str(_place(root, name)) for name in names)}"
            words = replace(words, target=target)
        if start.seccomp is not None:
            place = _place(root, str(start.seccomp))
            words = replace(words, start=replace(start, seccomp=place))
        return replace(words, policy=str(_place(root, words.policy)))

    def as_named(self, text: str, root: Path) -> str:
        """A sentence about the files below the folder, with the names that they have elsewhere."""
        for name in sorted(self.files, key=len, reverse=True):
            text = text.replace(str(_place(root, name)), name)
        return text


def as_named(resolved: Settings, given: Order, root: Path) -> Settings:
    """Settings whose target goes by the names that its files have elsewhere.

    Args:
        resolved: what ``Order.lay_out`` came to.
        given: the order.
        root: the folder where its files are.
    """
    target = resolved.target
    if not isinstance(target, StackTarget):
        return resolved
    named = replace(
        target,
        description=given.as_named(target.description, root),
        findings=tuple(
            replace(one, text=given.as_named(one.text, root)) for one in target.findings
        ),
    )
    return replace(resolved, target=named)


_CONTAINER: Final = ("cap", "kernel", "engine", "runtime")


def _place(root: Path, name: str) -> Path:
    return root / name.lstrip("/")


def give(words: Words, granted: Granted, *, anonymous: bool) -> Order:
    """An order with the files that the words name.

    Raises:
        BadInputError: a file cannot be read.
    """
    kind, names = _named_by(words.target)
    if names:
        names = [_inside(name) for name in names]
        words = replace(words, target=f"{kind}:{','.join(names)}")
    if words.start.seccomp is not None:
        seccomp = Path(_inside(str(words.start.seccomp)))
        words = replace(words, start=replace(words.start, seccomp=seccomp))
    words = replace(words, policy=_inside(words.policy))
    shipped = {words.policy: _read("policy", words.policy, "a policy")}
    for name in names:
        shipped[name] = _read("target", name, "a file of the target")
    if words.start.seccomp is not None:
        name = str(words.start.seccomp)
        shipped[name] = _read(SECCOMP, name, "a seccomp profile")
    return Order(words, granted, anonymous, shipped, suite_digest())


def _named_by(target: str) -> tuple[str, list[str]]:
    """The kind of a target, and the files that its word names."""
    kind, _, rest = target.partition(":")
    if kind not in _OF_FILES or not rest:
        return kind, []
    return kind, rest.split(",") if kind == "bpf" else [rest]


def _inside(name: str) -> str:
    """The name, absolute if it would lead out of a folder that it is put under."""
    return str(Path(name).resolve()) if ".." in Path(name).parts else name


def _read(option: str, name: str, what: str) -> bytes:
    try:
        return files.read_whole(Path(name), _LARGEST_FILE, what)
    except BadInputError as error:
        raise BadInputError(f"--{option}: {error}") from error


def suite_digest(root: Path = SUITE) -> str:
    """What tells this suite from one that may judge otherwise: the digest of its own files.

    Args:
        root: the checkout, or wherever the suite's packages are installed.
    """
    told = hashlib.sha256()
    for path in _judging(root):
        name, content = path.relative_to(root).as_posix().encode(), path.read_bytes()
        told.update(b"%d %d " % (len(name), len(content)) + name + content)
    return told.hexdigest()


def _judging(root: Path) -> Iterator[Path]:
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            folders = path.relative_to(root).parts
            if path.suffix in _JUDGES and not _JUDGE_NOTHING.intersection(folders):
                yield path
