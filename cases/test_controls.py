"""Calibration: known filters on a call that changes nothing must be seen as what they are."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_controls(arch: str, action: str, conforms: Conforms) -> None:
    """The instrument tells KILL, ERRNO, LOG, ALLOW and TRAP apart."""
    conforms(Claim.CONTROLS, arch, action)
