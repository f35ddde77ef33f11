"""LOG: a documented call runs, and leaves a record."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_runs(arch: str, call: str, conforms: Conforms) -> None:
    """The call answers as it does without a filter."""
    conforms(Claim.RUNS, arch, call)


def test_is_recorded(arch: str, call: str, conforms: Conforms) -> None:
    """The call leaves an audit record."""
    conforms(Claim.IS_RECORDED, arch, call)
