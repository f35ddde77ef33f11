"""KILL: the process that makes a documented call is terminated, and that is on record."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_terminates(arch: str, call: str, conforms: Conforms) -> None:
    """The process ends by SIGSYS at the documented call, whichever of its threads makes it."""
    conforms(Claim.TERMINATES, arch, call)


def test_is_reported(arch: str, call: str, conforms: Conforms) -> None:
    """The termination leaves an audit record."""
    conforms(Claim.IS_REPORTED, arch, call)


def test_ends_every_thread(arch: str, conforms: Conforms) -> None:
    """No thread of a process with several survives the call."""
    conforms(Claim.ENDS_EVERY_THREAD, arch)
