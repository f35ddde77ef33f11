"""All profiles: what the document does not name is left alone. Blocking too much fails too."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_leaves_the_rest_alone(profile: str, arch: str, conforms: Conforms) -> None:
    """Every other call of the ABI goes through; each is a cell of its own."""
    conforms(Claim.LEAVES_THE_REST_ALONE, profile, arch)
