"""The words by which commands name filters and what these depend on."""

import argparse
import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.errors import BadInputError
from probes.targets import oci
from probes.targets.capability import capability_set
from probes.targets.files import shown
from probes.targets.oci import Engine
from probes.targets.open import Surroundings


def add_surroundings(parser: argparse.ArgumentParser) -> None:
    """Adds what a target depends on besides its word."""
    parser.add_argument(
        "--arch",
        default="",
        metavar="NAMES",
        help="only these ABIs, of one machine, comma-separated; the filters are taken to be for "
        "that machine; default: this machine, and every architecture",
    )
    ours = parser.add_argument_group("for builtin and policy:FILE")
    ours.add_argument(
        "--profile",
        default=Profile.KILL.value,
        choices=[profile.value for profile in Profile],
        help="default: kill",
    )
    ours.add_argument(
        "--policy", metavar="FILE", help="of builtin; default: the policy that ships with it"
    )
    theirs = parser.add_argument_group("for oci:FILE")
    theirs.add_argument(
        "--cap",
        default="docker",
        metavar="NAMES",
        help="the container's capabilities, comma-separated, or all, none, docker's or podman's "
        "default set; default: docker",
    )
    theirs.add_argument("--kernel", metavar="RELEASE", help="such as 6.1; default: this one")
    theirs.add_argument(
        "--engine",
        default=Engine.DOCKER.value,
        choices=[engine.value for engine in Engine],
        help="who picks the rules; default: docker",
    )
    theirs.add_argument(
        "--runtime",
        default="runc",
        choices=["runc", "crun"],
        help="who compiles them; runc answers ENOSYS beyond the highest number that a profile "
        "names; default: runc",
    )


def surroundings(options: argparse.Namespace, wanted: Sequence[Arch]) -> Surroundings:
    """What ``add_surroundings`` took in.

    Args:
        options: the command line.
        wanted: the ABIs that were asked for; empty for this machine's.

    Raises:
        BadInputError: a word has no meaning.
    """
    machine = wanted[0].machine if wanted else os.uname().machine
    return Surroundings(
        policy=policy_path(options),
        profile=Profile(options.profile),
        native=arch.offered_by(machine)[0],
        capabilities=capability_set(options.cap),
        kernel=oci.kernel_version(options.kernel or os.uname().release),
        engine=Engine(options.engine),
        enosys_stub=options.runtime == "runc",
    )


def policy_path(options: argparse.Namespace) -> Path:
    """The policy that was named, else the one that ships with the suite."""
    if options.policy is not None:
        return Path(options.policy)
    shipped = importlib.resources.files("cases") / "policies" / "container-restrictions.toml"
    return Path(str(shipped))


def arches(text: str) -> tuple[Arch, ...]:
    """The ABIs of a list of names, in the project's order; none for no list.

    Raises:
        BadInputError: a name is none, or they are of several machines.
    """
    if not text:
        return ()
    try:
        wanted = [arch.get(word) for word in text.split(",")]
    except BadInputError as error:
        raise BadInputError(f"--arch {shown(text)}: {error}") from error
    for one in wanted:
        if one.machine != wanted[0].machine:
            raise BadInputError(
                f"--arch {text}: {wanted[0].name} and {one.name} are of different machines, and a "
                f"filter is for one: name the ABIs of one"
            )
    return tuple(one for one in arch.ARCHES.values() if one in wanted)
