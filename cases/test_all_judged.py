"""All profiles: a verdict speaks for all that the target names, or it does not say so."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_is_all_judged(profile: str, about: str, conforms: Conforms) -> None:
    """Nothing that the target names was left out, or is confined otherwise."""
    conforms(Claim.IS_ALL_JUDGED, profile, about)
