"""What the plug-ins of a run leave for each other in pytest's stash."""

from dataclasses import dataclass
from typing import Final

import pytest

from probes.documents.waivers import Granted
from probes.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of a process that judges.

    Attributes:
        settings: the plan.
        granted: the waivers.
    """

    settings: Settings
    granted: Granted


PLANNED: Final = pytest.StashKey[Planned]()
"""In the stash of ``pytest.Config``; not there where nothing of the main job is judged."""
