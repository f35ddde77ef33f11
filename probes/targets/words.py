"""The words that say what a target depends on: ``--arch``, ``--cap``, ``--kernel`` and others.

Command line and pytest read them alike. How a target itself is written is in
``probes.targets.name``.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.errors import BadInputError
from probes.runtimes.wanted import Start
from probes.targets.oci.capability import capability_set
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime, release
from probes.targets.oci.resolve import kernel_version
from probes.targets.open import Surroundings
from probes.text import did_you_mean, in_brackets, shown


@dataclass(frozen=True, slots=True)
class TargetOption:
    """An option of ``oci:FILE``.

    Attributes:
        name: without the dashes.
        metavar: what help calls the value.
        help: what help says.
    """

    name: str
    metavar: str
    help: str


OPTIONS: Final = (
    TargetOption(
        "cap",
        "NAMES",
        "the container's capabilities, comma-separated, or all, none, docker's or podman's default "
        "set; default: docker",
    ),
    TargetOption("kernel", "RELEASE", "the container's kernel, such as 6.1; default: this one"),
    TargetOption(
        "engine",
        "ENGINE",
        "who reads the file: docker, podman, containerd, cri-o, or bundle for the runtime itself; "
        "with @VERSION, as in docker@20.10, as that release does, else as the installed one or, "
        "where none is, the newest; without the option all of them read it, and a documented call "
        "about which they do not agree cannot be told",
    ),
    TargetOption(
        "runtime",
        "RUNTIME",
        "who compiles it, runc or crun, also with @VERSION, as in runc@1.1.5; runc answers ENOSYS "
        "beyond the highest number that a profile names; default: the engine's usual one",
    ),
)
"""What the filter of an OCI profile depends on besides the file."""


SECCOMP: Final = "seccomp"
RUNTIME_ARG: Final = "runtime-arg"
RUNTIME_COMMAND: Final = "runtime-command"
RUNTIME_ENDPOINT: Final = "runtime-endpoint"

START_OPTIONS: Final = (
    TargetOption(
        SECCOMP,
        "FILE",
        "the profile that the container gets, as its runtime takes it; default: the runtime's own",
    ),
    TargetOption(
        RUNTIME_ARG,
        "ARG",
        "a further argument of the command that makes the container, such as --cap-add=SYS_ADMIN; "
        "may be given several times",
    ),
    TargetOption(
        RUNTIME_COMMAND,
        "WORDS",
        "how the runtime's program is called, such as 'podman --cgroup-manager cgroupfs'; default: "
        "its name",
    ),
    TargetOption(
        RUNTIME_ENDPOINT,
        "SOCKET",
        "the socket of containerd or of another runtime that speaks CRI, such as "
        "unix:///run/crio/crio.sock; default: CONTAINER_RUNTIME_ENDPOINT, else a usual place",
    ),
)
"""What a container depends on that is started: a target such as ``docker:IMAGE``."""


def start(
    seccomp: Path | None, arguments: Sequence[str], command: str, endpoint: str = ""
) -> Start:
    """Reads the words of ``START_OPTIONS``.

    Raises:
        BadInputError: the command's quotation marks do not pair.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise BadInputError(
            f"--{RUNTIME_COMMAND} {shown(command)}: {str(error).lower()}: quote it as for a shell"
        ) from error
    return Start(seccomp, tuple(arguments), words, endpoint)


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """The words of ``OPTIONS`` as they were given; "" means the default."""

    cap: str = ""
    kernel: str = ""
    engine: str = ""
    runtime: str = ""


def surroundings(
    policy: Path, profile: Profile, wanted: Sequence[Arch], container: ContainerOptions
) -> Surroundings:
    """Reads what targets depend on.

    Args:
        policy: the policy of the builtin filter.
        profile: the builtin filter's profile.
        wanted: the ABIs that were asked for, of one machine; empty for this machine's.
        container: what OCI profiles depend on.

    Raises:
        BadInputError: a word has no meaning.
    """
    machine = wanted[0].machine if wanted else arch.machine_here()
    asked = AskedReaders(
        _release("engine", container.engine, Engine),
        _release("runtime", container.runtime, Runtime),
    )
    try:
        capabilities = capability_set(container.cap or Engine.DOCKER.value)
    except BadInputError as error:
        raise BadInputError(f"--cap {shown(container.cap)}: {error}") from error
    try:
        kernel = kernel_version(container.kernel or os.uname().release)
    except BadInputError as error:
        raise BadInputError(f"--kernel: {error}") from error
    return Surroundings(
        policy=policy,
        profile=profile,
        native=arch.offered_by(machine)[0],
        capabilities=capabilities,
        kernel=kernel,
        asked=asked,
        arches=tuple(wanted),
    )


_Name = TypeVar("_Name", Engine, Runtime)


def _release(option: str, text: str, known: type[_Name]) -> _Name | Release | None:
    """Who an option names, with its release where that is given; None for no word."""
    if not text:
        return None
    word, at, version = text.partition("@")
    words = [one.value for one in known]
    if word not in words:
        hint = in_brackets(did_you_mean(word, words))
        raise BadInputError(
            f"--{option} {shown(text)}: no such {option}{hint}: {', '.join(words[:-1])} or "
            f"{words[-1]}"
        )
    return release(option, known(word), version) if at else known(word)


def arches_named(text: str) -> tuple[Arch, ...]:
    """The ABIs of a list of names, in its order; none for no list.

    Raises:
        BadInputError: a name is none.
    """
    if not text:
        return ()
    try:
        return tuple(arch.get(word) for word in text.split(","))
    except BadInputError as error:
        raise BadInputError(f"--arch {shown(text)}: {error}") from error


def written(arches: Sequence[Arch], between: str = ",") -> str:
    """The list that names these ABIs."""
    return between.join(one.name for one in arches)


def check_one_machine(wanted: Sequence[Arch]) -> None:
    """Refuses ABIs of several machines, where a filter is for one.

    Raises:
        BadInputError: two of them are of different machines.
    """
    for one in wanted:
        if one.machine != wanted[0].machine:
            raise BadInputError(
                f"--arch {written(wanted)}: {wanted[0].name} and {one.name} are of different "
                f"machines, and a filter is for one: name the ABIs of one"
            )


def ordered(wanted: Sequence[Arch]) -> tuple[Arch, ...]:
    """ABIs in the project's order, each once."""
    return tuple(one for one in arch.ARCHES.values() if one in wanted)


def arches(text: str) -> tuple[Arch, ...]:
    """The ABIs of a list of names, of one machine, in the project's order; none for no list.

    Raises:
        BadInputError: a name is none, or they are of several machines.
    """
    wanted = arches_named(text)
    check_one_machine(wanted)
    return ordered(wanted)
