"""The versions of a run to which waivers may be limited."""

import os

from probes.documents.waivers import Surroundings
from probes.run.settings import Settings


def of(settings: Settings) -> Surroundings:
    """Those of this kernel and of what has made the target, as far as they are known."""
    origin, library = settings.target.origin, settings.target.library
    return Surroundings(
        kernel=os.uname().release,
        runtime="" if origin is None else origin.version,
        libseccomp="" if library is None else library.version,
    )
