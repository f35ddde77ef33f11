"""What a process on another kernel is told to judge: the options, and the files that they name.

pytest-xdist can run the main job on several machines at once (``--dist each``). Each judges its
own kernel, so it plans the run itself; the files are those of whoever gave the order, so that
all of them judge the same.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from probes import files
from probes.audit import source
from probes.documents.waivers import Granted
from probes.errors import BadInputError
from probes.files import SUITE
from probes.run.settings import Settings
from probes.run.values import RunOptions, profile_words, profiles_named
from probes.runtimes.wanted import Start
from probes.targets import name
from probes.targets.words import SECCOMP, ContainerOptions, arches_named

_LARGEST_FILE: Final = 16 << 20
_PACKAGES: Final = ("cases", "probes", "reports")
_JUDGES: Final = {".py", ".toml"}
_JUDGE_NOTHING: Final = frozenset({"tests", "benchmarks", "launcher"})
"""Folders of a checkout that a wheel does not have."""


@dataclass(frozen=True, slots=True)
class Order:
    """The job that a process on another kernel is to judge.

    Attributes:
        options: the options.
        granted: the waivers.
        anonymous: whether user and host names shall be left out.
        files: the content of the files that the words name, by the names that they have there.
        suite: the digest of the suite that gives the order.
    """

    options: RunOptions
    granted: Granted
    anonymous: bool
    files: Mapping[str, bytes]
    suite: str

    def to_plain(self) -> dict[str, Any]:
        """The order in types that can be sent to another process; see ``from_plain``."""
        options, start = self.options, self.options.start
        return {
            "policy": str(options.policy),
            "profile": profile_words(options.profiles),
            "arch": options.arch_words,
            "target": str(options.target),
            "audit_source": str(options.audit_source),
            "container": [getattr(options.container, word) for word in _CONTAINER],
            "seccomp": None if start.seccomp is None else str(start.seccomp),
            "arguments": list(start.arguments),
            "command": list(start.command),
            "endpoint": start.endpoint,
            "granted": self.granted.to_plain(),
            "anonymous": self.anonymous,
            "files": dict(self.files),
            "suite": self.suite,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The order that ``to_plain`` was given."""
        seccomp = None if plain["seccomp"] is None else Path(plain["seccomp"])
        options = RunOptions(
            policy=Path(plain["policy"]),
            profiles=profiles_named(plain["profile"]),
            arches=arches_named(plain["arch"]),
            target=name.read_of_run(plain["target"]),
            audit_source=source.read(plain["audit_source"]),
            container=ContainerOptions(*plain["container"]),
            start=Start(
                seccomp, tuple(plain["arguments"]), tuple(plain["command"]), plain["endpoint"]
            ),
        )
        granted = Granted.from_plain(plain["granted"])
        return cls(options, granted, plain["anonymous"], dict(plain["files"]), plain["suite"])

    def lay_out(self, root: Path) -> RunOptions:
        """Writes the files below a folder, and gives the options with the places they have there.

        Raises:
            BadInputError: they cannot be written there.
        """
        try:
            for path, content in self.files.items():
                place = _place(root, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        except OSError as error:
            raise BadInputError(
                f"{error.filename}: the files of the order cannot be written there"
                f" ({error.strerror}): make room"
            ) from error
        # Which of its words are files is known where they were read, and nowhere else.
        return _with_files(
            self.options, lambda path: str(_place(root, path)), self.files.__contains__
        )

    def as_named(self, text: str, root: Path) -> str:
        """A sentence about the files below the folder, with the names that they have elsewhere."""
        for path in sorted(self.files, key=len, reverse=True):
            text = text.replace(str(_place(root, path)), path)
        return text


def as_named(resolved: Settings, given: Order, root: Path) -> Settings:
    """Settings whose policy and target go by the names that their files have elsewhere.

    Args:
        resolved: what ``Order.lay_out`` came to.
        given: the order.
        root: the folder where its files are.
    """
    target = resolved.target.reworded(lambda text: given.as_named(text, root))
    policy = replace(resolved.policy, path=given.as_named(resolved.policy.path, root))
    return replace(resolved, policy=policy, target=target)


_CONTAINER: Final = ("cap", "kernel", "engine", "runtime")


def _place(root: Path, name: str) -> Path:
    return root / name.lstrip("/")


def give(options: RunOptions, granted: Granted, *, anonymous: bool) -> Order:
    """An order with the files that the options name.

    Raises:
        BadInputError: a file cannot be read.
    """
    options = _with_files(options, _inside, os.path.exists)
    documented = str(options.policy)
    shipped = {documented: _read("policy", documented, "a policy")}
    for path in options.target.files():
        shipped[path] = _read("target", path, "a file of the target")
    if options.start.seccomp is not None:
        path = str(options.start.seccomp)
        shipped[path] = _read(SECCOMP, path, "a seccomp profile")
    return Order(options, granted, anonymous, shipped, suite_digest())


def _with_files(
    options: RunOptions, place: Callable[[str], str], is_there: Callable[[str], bool]
) -> RunOptions:
    """The options with every file that they name at another place.

    Args:
        options: the options.
        place: the other place of a file.
        is_there: says of a name whether there is such a file at its first place.
    """
    target, start = options.target, options.start
    if names := target.files(is_there):
        target = target.with_files(map(place, names))
    if start.seccomp is not None:
        start = replace(start, seccomp=Path(place(str(start.seccomp))))
    policy = Path(place(str(options.policy)))
    return replace(options, policy=policy, target=target, start=start)


def _inside(name: str) -> str:
    """The name, absolute if it would lead out of a folder that it is put under."""
    return str(Path(name).resolve()) if ".." in Path(name).parts else name


def _read(option: str, name: str, what: str) -> bytes:
    try:
        return files.read_whole(Path(name), _LARGEST_FILE, what)
    except BadInputError as error:
        raise BadInputError(f"--{option}: {error}") from error


def suite_digest(root: Path = SUITE) -> str:
    """The digest of the suite's own files: another digest means that it may judge otherwise.

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
