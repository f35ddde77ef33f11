"""All profiles: no way leads out of the filter."""

from cases.run.fixtures import Conforms
from probes.cell import Claim


def test_is_inherited(profile: str, arch: str, way: str, conforms: Conforms) -> None:
    """After fork, in a thread, after execve or a change of user the process is still confined.

    A later filter that allows everything loosens nothing, and filter mode cannot be left.
    """
    conforms(Claim.IS_INHERITED, profile, arch, way)
