"""All profiles: the filter is an allowlist, so a number that no table knows gets its action."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_default_action(profile: str, arch: str, number: str, conforms: Conforms) -> None:
    """A number that no table knows gets the profile's action."""
    conforms(Claim.DEFAULT_ACTION, profile, arch, number)
