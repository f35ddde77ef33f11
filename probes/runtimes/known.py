"""The container runtimes that are known, and what each can do: one row a runtime."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownRuntime:
    """A container runtime.

    Attributes:
        name: its word in ``--target`` and ``--runtime``, and its program's usual name.
        of_images: whether its containers are of images, made by docker's command line.
        observes: whether a workload can be observed in a container of it.
    """

    name: str
    of_images: bool
    observes: bool


KNOWN: Final = (
    KnownRuntime("runc", of_images=False, observes=True),
    KnownRuntime("crun", of_images=False, observes=True),
    KnownRuntime("docker", of_images=True, observes=True),
    KnownRuntime("podman", of_images=True, observes=True),
    KnownRuntime("bwrap", of_images=False, observes=False),
)

RUNTIMES: Final = tuple(one.name for one in KNOWN)
"""The runtimes, by their words in ``--target``."""

OF_IMAGES: Final = tuple(one.name for one in KNOWN if one.of_images)
"""Those whose containers are of images."""

OBSERVING: Final = (*OF_IMAGES, *(one.name for one in KNOWN if one.observes and not one.of_images))
"""Those in whose containers a workload can be observed, in the order in which help names them."""
