"""Which releases of engines and runtimes are installed here: each is asked, for a few seconds."""

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final

from probes.errors import SuiteError
from probes.runtimes.command import RuntimeCommand
from probes.targets.oci.reader import OLDEST, Engine, Release, Runtime, Version, version_of

_SECONDS: Final = 5.0
"""How long one may take to say its version; a tenth of a second is usual."""

# docker's daemon decodes profiles, and its client may be of another release and on other machines.
_QUESTIONS: Mapping[str, Sequence[tuple[str, ...]]] = MappingProxyType(
    {
        Engine.DOCKER: (
            ("docker", "version", "--format", "{{.Server.Version}}"),
            ("dockerd", "--version"),
        ),
        Engine.PODMAN: (("podman", "--version"),),
        Engine.CONTAINERD: (("containerd", "--version"),),
        Engine.CRI_O: (("crio", "--version"),),
        Runtime.RUNC: (("runc", "--version"),),
        Runtime.CRUN: (("crun", "--version"),),
    }
)


@cache
def installed(name: Engine | Runtime) -> Release | None:
    """The release of a program that is installed here.

    None where none is, where it does not say, or where it is older than any that was looked at.
    """
    for program, *arguments in _QUESTIONS.get(name, ()):
        try:
            said = RuntimeCommand(program, (program,)).run(*arguments, seconds=_SECONDS)
        except SuiteError:
            continue
        # podman-docker answers as docker, with podman's version.
        if (version := _first_version(said)) >= OLDEST[name]:
            return Release(name, version)
    return None


def _first_version(said: str) -> Version:
    """The first word that is a version: programs say their name first, containerd its home too."""
    return next((found for word in said.split() if (found := version_of(word))), ())
