"""How docker and podman make a container, so that exactly this one is removed again."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from probes.errors import BadInputError, InstrumentError
from probes.runtimes.command import PULL_SECONDS, RuntimeCommand
from probes.text import shown

ID: Final = re.compile(r"[0-9a-f]{64}")

_LABEL: Final = "syscall-conformance"
_GONE: Final = (
    *("no such container", "no container with name or id", "no container with id"),
    "is already in progress",
)
"""What is said of a container that the runtime has removed by itself, or is removing."""


class Creation:
    """A container that a runtime makes.

    It is known by the id that the runtime prints, and until then by a label like no other's: a
    name may be somebody else's.

    Attributes:
        id: the container's; "" until it is made.
    """

    def __init__(self, program: RuntimeCommand, name: str) -> None:
        """Nothing is made yet.

        Args:
            program: the runtime's command line program.
            name: the container's, like no other's.
        """
        self.id = ""
        self._program = program
        self._name = name
        self._asked = False

    def make(self, *words: str, volumes: Sequence[str]) -> None:
        """Makes the container.

        Args:
            words: what follows its name and label.
            volumes: the names of the volumes that it mounts.

        Raises:
            BadInputError: the runtime refuses.
            InstrumentError: it prints no id, or takes too long.
        """
        self._check_volumes(volumes)
        self._asked = True
        named = ("--name", self._name, "--label", f"{_LABEL}={self._name}")
        said = self._program.run("create", *named, *words, seconds=PULL_SECONDS).splitlines()
        if not said or not ID.fullmatch(said[-1]):
            raise InstrumentError(
                f"{self._program.line('create')}: it made a container without printing its id, so"
                " nothing can be told of it: look at --runtime-command"
            )
        self.id = said[-1]

    def _check_volumes(self, names: Sequence[str]) -> None:
        """Refuses a volume that would be made, and left behind with what the image has there.

        Raises:
            BadInputError: there is none of that name.
        """
        for name in names:
            try:
                self._program.run("volume", "inspect", name)
            except BadInputError as error:
                if "no such volume" not in str(error).lower():
                    raise
                raise BadInputError(
                    f"--runtime-arg: there is no volume {shown(name)}, and it would be left behind:"
                    " make it first, or leave it out"
                ) from error

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        if not self._asked:
            return
        waits_not = ("--time", "0") if self._program.runtime == "podman" else ()
        for container in self._made():
            try:
                self._program.run("rm", "--force", "--volumes", *waits_not, container)
            except BadInputError as error:
                if not any(words in str(error).lower() for words in _GONE):
                    raise

    def _made(self) -> Iterator[str]:
        """The ids of the containers that were made: one, or none."""
        if self.id:
            yield self.id
            return
        label = f"label={_LABEL}={self._name}"
        words = ("ps", "--all", "--quiet", "--no-trunc", "--filter", label)
        yield from self._program.run(*words).split()
