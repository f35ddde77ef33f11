"""ERRNO: a documented call does not run, answers EPERM, and leaves no record."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_denies(arch: str, call: str, conforms: Conforms) -> None:
    """The filter, and nothing else, answers EPERM; the call does not run."""
    conforms(Claim.DENIES, arch, call)


def test_is_silent(arch: str, call: str, conforms: Conforms) -> None:
    """The denial leaves no audit record."""
    conforms(Claim.IS_SILENT, arch, call)
