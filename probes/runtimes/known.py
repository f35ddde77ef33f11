"""The container runtimes that are known, and what each can do: one row a runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownRuntime:
    """A container runtime.

    Attributes:
        name: its word in ``--target`` and ``--runtime``.
        of_images: whether its containers are of images, made by docker's command line.
        observes: whether a workload can be observed in a container of it.
        program: the usual name of its command line program, where that is not its own name; "" for
            one without such a program.
        has_endpoint: whether it is reached by a socket that ``--runtime-endpoint`` names.
    """

    name: str
    of_images: bool
    observes: bool
    program: str | None = None
    has_endpoint: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """The words by which its program is called; none where it has none."""
        if self.program is None:
            return (self.name,)
        return (self.program,) if self.program else ()


KNOWN: Final = (
    KnownRuntime("runc", of_images=False, observes=True),
    KnownRuntime("crun", of_images=False, observes=True),
    KnownRuntime("docker", of_images=True, observes=True),
    KnownRuntime("podman", of_images=True, observes=True),
    KnownRuntime("bwrap", of_images=False, observes=False),
    KnownRuntime("containerd", of_images=False, observes=False, program="ctr", has_endpoint=True),
    KnownRuntime("cri", of_images=False, observes=False, program="", has_endpoint=True),
)

RUNTIMES: Final = tuple(one.name for one in KNOWN)
"""The runtimes, by their words in ``--target``."""

OF_IMAGES: Final = tuple(one.name for one in KNOWN if one.of_images)
"""Those whose containers are of images."""

OBSERVING: Final = (*OF_IMAGES, *(one.name for one in KNOWN if one.observes and not one.of_images))
"""Those in whose containers a workload can be observed, in the order in which help names them."""

BY_ENDPOINT: Final = tuple(one.name for one in KNOWN if one.has_endpoint)
"""Those that are reached by a socket that can be named."""

BY_NAME: Final[Mapping[str, KnownRuntime]] = MappingProxyType({one.name: one for one in KNOWN})
"""The runtimes by their words."""
