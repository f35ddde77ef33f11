"""Where the parts of a seccomp profile stand in the file that a user has written. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a file, one after the other.

    Attributes:
        first: the first of them, counted from 1.
        last: the last of them, counted from 1.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WrittenAction:
    """An action as it is written.

    Attributes:
        name: its name there, such as ``SCMP_ACT_ERRNO``.
        lines: where it stands.
    """

    name: str
    lines: Lines


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """An entry of a profile's ``syscalls``.

    Attributes:
        action: its action's name; "" where none is written.
        lines: all of it.
        calls: the line of each call that it names, in the order of the file.
        is_conditional: whether it counts for some arguments, containers or kernels alone.
    """

    action: str
    lines: Lines
    calls: tuple[tuple[str, int], ...]
    is_conditional: bool = False


@dataclass(frozen=True, slots=True)
class WrittenProfile:
    """A file that decides what a target's filters do, and where its parts stand in it.

    Attributes:
        path: the file: while it is read as it was named, in records as it stands in its repository.
        sha256: the digest of its bytes, in lower-case hexadecimal.
        untold: why no lines are known; "" where they are.
        default: the default action; None where it is not written.
        architectures: the lines of the architectures' names; None where there are none.
        rules: the entries of ``syscalls``, in the order of the file.
    """

    path: str
    sha256: str
    untold: str = ""
    default: WrittenAction | None = None
    architectures: Lines | None = None
    rules: tuple[WrittenRule, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The file in types that can be sent to another process; see ``from_plain``."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The file that ``to_plain`` was given."""
        default, architectures = plain["default"], plain["architectures"]
        return cls(
            path=plain["path"],
            sha256=plain["sha256"],
            untold=plain["untold"],
            default=default and WrittenAction(default["name"], Lines(**default["lines"])),
            architectures=architectures and Lines(**architectures),
            rules=tuple(
                WrittenRule(
                    rule["action"],
                    Lines(**rule["lines"]),
                    tuple((name, line) for name, line in rule["calls"]),
                    rule["is_conditional"],
                )
                for rule in plain["rules"]
            ),
        )
