"""The word by which a target is named, taken apart.

| word | what it is |
|---|---|
| ``builtin``, ``policy:FILE`` | the filter that the suite builds from a policy |
| ``bpf:FILE[,FILE...]`` | raw programs, stacked in this order |
| ``oci:FILE[,BASE...]`` | a profile of an OCI runtime, compiled as the runtime does |
| ``pid:N`` | the filters of a running process |
| ``unit:NAME`` | those of the processes of a unit of systemd, or of a control group |
| ``docker:IMAGE``, ``podman:IMAGE`` | those of a container of an image |
| ``runc:BUNDLE``, ``crun:BUNDLE`` | those of a container of an OCI bundle |
| ``bwrap:ROOT`` | those of a sandbox over a root file system |
| ``containerd:IMAGE`` | those of a container of an image or a root file system, by ctr |
| ``cri:IMAGE`` | those of a container of an image in a pod, or of a pod that runs already |
| ``ambient`` | what confines this very process; only a run can judge it |

A list of files that is the name of a file as it stands, commas and all, is that one file.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from probes.errors import BadInputError
from probes.runtimes.known import RUNTIMES
from probes.text import did_you_mean, in_brackets, shown

BUILTIN: Final = "builtin"
"""The target that the suite builds itself, with each profile; every other has one filter."""

AMBIENT: Final = "ambient"
POLICY: Final = "policy"
BPF: Final = "bpf"
OCI: Final = "oci"
PID: Final = "pid"
UNIT: Final = "unit"
CRI: Final = "cri"
"""The runtime whose word names pods that run already, too."""

_WITH_ARGUMENT: Final = (POLICY, BPF, OCI, PID, UNIT, *RUNTIMES)
_OF_FILES: Final = (BPF, OCI)

WORDS: Final = (
    "builtin, policy:FILE, bpf:FILE[,FILE...], oci:FILE[,BASE...], pid:N, unit:NAME, docker:IMAGE, "
    "podman:IMAGE, runc:BUNDLE, crun:BUNDLE, bwrap:ROOT, containerd:IMAGE or cri:IMAGE"
)
"""How a target is written."""


@dataclass(frozen=True, slots=True)
class TargetName:
    """The value of ``--target``, taken apart.

    Attributes:
        kind: the word before the colon.
        argument: what stands behind the colon; "" of a kind that has none.
    """

    kind: str = BUILTIN
    argument: str = ""

    def __str__(self) -> str:
        """The name as it is written on the command line."""
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def is_builtin(self) -> bool:
        """Whether it is the suite's own filter, of each profile."""
        return self.kind == BUILTIN

    @property
    def is_ambient(self) -> bool:
        """Whether it is this process's own confinement."""
        return self.kind == AMBIENT

    @property
    def is_profile(self) -> bool:
        """Whether it is a profile of an OCI runtime."""
        return self.kind == OCI

    @property
    def starts_container(self) -> bool:
        """Whether a container is started to have its filters."""
        return self.kind in RUNTIMES

    def files(self, is_there: Callable[[str], bool] = os.path.exists) -> tuple[str, ...]:
        """The files that it is; none where it is something else, on whatever machine.

        Args:
            is_there: says of a name whether there is such a file.
        """
        if self.kind in _OF_FILES:
            return listed(self.argument, is_there)
        return (self.argument,) if self.kind == POLICY else ()

    def with_files(self, names: Iterable[str]) -> "TargetName":
        """The same, of files at other places.

        Args:
            names: a place for each of ``files``.
        """
        return replace(self, argument=",".join(names))


def listed(names: str, is_there: Callable[[str], bool] = os.path.exists) -> tuple[str, ...]:
    """Takes a list of files apart, with commas between them.

    Args:
        names: the list. Where a file has all of it for its name, it is that file alone.
        is_there: says of a name whether there is such a file.
    """
    return (names,) if "," in names and is_there(names) else tuple(names.split(","))


def read(word: str) -> TargetName:
    """Takes the name of a target apart that has filters of its own.

    Raises:
        BadInputError: the word is none.
    """
    kind, colon, argument = word.partition(":")
    if (kind == BUILTIN and not colon) or (kind in _WITH_ARGUMENT and argument):
        return TargetName(kind, argument)
    kinds = (*_WITH_ARGUMENT, BUILTIN)
    hint = "" if kind in kinds else in_brackets(did_you_mean(kind, kinds))
    raise BadInputError(f"{shown(word)!r} is no target{hint}: a target is {WORDS}")


def read_of_run(word: str) -> TargetName:
    """Takes the value of ``--target`` apart, which may be ``ambient``, too.

    Raises:
        BadInputError: the word is none.
    """
    if word == AMBIENT:
        return TargetName(AMBIENT)
    try:
        return read(word)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}, or {AMBIENT}") from error
