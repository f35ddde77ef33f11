"""The options of a run, each taken apart once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from probes.action import Profile
from probes.arch import Arch
from probes.audit.source import BEST, RecordSource
from probes.errors import BadInputError
from probes.run.options import NODE_NAME
from probes.runtimes.known import RUNTIMES
from probes.runtimes.wanted import Start
from probes.targets import name, words
from probes.targets.name import BUILTIN, TargetName
from probes.targets.words import ContainerOptions
from probes.text import did_you_mean, in_brackets, shown

_NODE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
"""What Kubernetes, Slurm and others call machines; nothing that a shell left as it was."""

_NO_CONTAINER: Final = ContainerOptions()
_NO_START: Final = Start()
_PROFILE_NAMES: Final = tuple(profile.value for profile in Profile)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run, as typed values: they say what it judges.

    Attributes:
        policy: ``--policy``, a file.
        profiles: ``--profile``, in the project's order.
        arches: ``--arch``, as they were named; empty for all that can be judged.
        target: ``--target``.
        audit_source: ``--audit-source``.
        container: ``--cap`` and others, on which a target ``oci:FILE`` depends.
        start: ``--seccomp`` and others, on which a container that is started depends.
    """

    policy: Path
    profiles: tuple[Profile, ...] = tuple(Profile)
    arches: tuple[Arch, ...] = ()
    target: TargetName = field(default_factory=TargetName)
    audit_source: RecordSource = BEST
    container: ContainerOptions = field(default_factory=ContainerOptions)
    start: Start = field(default_factory=Start)

    def asks_for(self, one: Arch) -> bool:
        """Whether an ABI was asked for, where any was."""
        return not self.arches or one in self.arches

    @property
    def arch_words(self) -> str:
        """``--arch`` as it was given."""
        return words.written(self.arches)

    def check(self) -> None:
        """Refuses options that have no meaning together, on whatever machine.

        Raises:
            BadInputError: some have none; the sentence names them.
        """
        if not self.target.is_builtin:
            self._check_one_profile()
        if not (self.target.is_builtin or self.target.is_ambient):
            words.check_one_machine(self.arches)
        self._check_container()
        self._check_start()

    def _check_one_profile(self) -> None:
        if len(self.profiles) > 1:
            raise BadInputError(
                f"--target {shown(str(self.target))}: this is one filter and is judged against one "
                f"profile: name it, --profile={' or --profile='.join(Profile)}"
            )

    def _check_container(self) -> None:
        """Refuses options of a profile where none is judged, lest one thinks that they count."""
        if self.target.is_profile:
            return
        for option in words.OPTIONS:
            if given := getattr(self.container, option.name):
                raise BadInputError(
                    f"--{option.name} {shown(given)}: only --target=oci:FILE depends on it; leave "
                    f"it out, or name a profile"
                )

    def _check_start(self) -> None:
        """Refuses options of a container where none is started, lest one thinks that they count."""
        if self.start != _NO_START and not self.target.starts_container:
            names = ", ".join(f"--{option.name}" for option in words.START_OPTIONS)
            raise BadInputError(
                f"{names}: --target {shown(str(self.target))} starts no container; leave them out, "
                f"or name one of the targets {', '.join(f'{runtime}:...' for runtime in RUNTIMES)}"
            )


def read(  # noqa: PLR0913 - as many as a run has
    policy: Path | str,
    *,
    profile: str = "",
    arch: str = "",
    target: str = BUILTIN,
    audit_source: RecordSource = BEST,
    container: ContainerOptions = _NO_CONTAINER,
    start: Start = _NO_START,
) -> RunOptions:
    """Takes the options of a run apart.

    Args:
        policy: the value of ``--policy``.
        profile: that of ``--profile``; "" for all.
        arch: that of ``--arch``; "" for all.
        target: that of ``--target``.
        audit_source: that of ``--audit-source``, which is read with others.
        container: what a target ``oci:FILE`` depends on.
        start: what a container that is started depends on.

    Raises:
        BadInputError: a word means nothing, or not beside another.
    """
    profiles, arches = profiles_named(profile), words.arches_named(arch)
    named = name.read_of_run(target)
    options = RunOptions(Path(policy), profiles, arches, named, audit_source, container, start)
    options.check()
    return options


def profiles_named(text: str) -> tuple[Profile, ...]:
    """The profiles of a list of names, in the project's order; all for no list.

    Raises:
        BadInputError: a name is none.
    """
    if not text:
        return tuple(Profile)
    named = text.split(",")
    for word in named:
        if word not in _PROFILE_NAMES:
            hint = in_brackets(did_you_mean(word, _PROFILE_NAMES))
            raise BadInputError(
                f"--profile {text}: unknown profile {word!r}{hint}; "
                f"the profiles are {', '.join(_PROFILE_NAMES)}, separated by commas"
            )
    return tuple(profile for profile in Profile if profile.value in named)


def profile_words(profiles: Sequence[Profile]) -> str:
    """A value of ``--profile`` that names these profiles."""
    return ",".join(profile.value for profile in profiles)


def node_name(word: str) -> str:
    """A value of ``--node-name``, as it was given; "" where none was.

    Raises:
        BadInputError: it is no name of a machine.
    """
    if word and not _NODE_NAME.fullmatch(word):
        raise BadInputError(
            f"--{NODE_NAME} {shown(word)}: no name of a machine: it may have letters, digits, dots,"
            " hyphens, underscores and colons, 253 of them, and begins with a letter or a digit"
        )
    return word
