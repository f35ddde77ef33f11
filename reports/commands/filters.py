"""The words by which commands name filters and what these depend on."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from probes.action import Profile
from probes.arch import Arch
from probes.files import DEFAULT_POLICY
from probes.targets import words
from probes.targets.open import Surroundings
from probes.targets.words import ContainerOptions


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
    for option in words.OPTIONS:
        theirs.add_argument(
            f"--{option.name}", default="", metavar=option.metavar, help=option.help
        )
    started = parser.add_argument_group("for docker:IMAGE and other containers")
    for option in words.START_OPTIONS:
        started.add_argument(
            f"--{option.name}",
            default=[] if option.name == words.RUNTIME_ARG else "",
            action="append" if option.name == words.RUNTIME_ARG else "store",
            metavar=option.metavar,
            help=option.help,
        )


def surroundings(options: argparse.Namespace, wanted: Sequence[Arch]) -> Surroundings:
    """What ``add_surroundings`` took in.

    Args:
        options: the command line.
        wanted: the ABIs that were asked for; empty for this machine's.

    Raises:
        BadInputError: a word has no meaning.
    """
    container = ContainerOptions(options.cap, options.kernel, options.engine, options.runtime)
    found = words.surroundings(policy_path(options), Profile(options.profile), wanted, container)
    seccomp = Path(options.seccomp) if options.seccomp else None
    start = words.start(
        seccomp, options.runtime_arg, options.runtime_command, options.runtime_endpoint
    )
    return replace(found, start=start)


def policy_path(options: argparse.Namespace) -> Path:
    """The policy that was named, else the one that ships with the suite."""
    return DEFAULT_POLICY if options.policy is None else Path(options.policy)
