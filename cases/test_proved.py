"""All profiles: what the programs return, for every argument and number, kernel here or not."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_is_proved(profile: str, arch: str, call: str, conforms: Conforms) -> None:
    """No arguments lead around the filter; a counterexample is tried on the kernel."""
    conforms(Claim.IS_PROVED, profile, arch, call)
