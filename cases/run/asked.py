"""What a run is asked for besides what it judges."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from probes.documents.waivers import Granted


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a run that do not change what is judged.

    Attributes:
        started: when the run started, aware, in UTC.
        folder: where the reports shall go.
        granted: the waivers.
        baseline: an earlier record to compare with; None for no comparison.
        anonymous: whether user and host names shall be left out.
        node_name: what reports shall call this machine; "" for its own name.
    """

    started: datetime
    folder: Path
    granted: Granted
    baseline: Path | None = None
    anonymous: bool = False
    node_name: str = ""
