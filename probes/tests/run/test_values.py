"""The options of a run, each by itself."""

import pytest

from probes.errors import BadInputError
from probes.run import values


@pytest.mark.parametrize("name", ["", "a", "node07", "ip-10-0-1-7.ec2.internal", "rack_1:7"])
def test_names_of_machines(name: str) -> None:
    assert values.node_name(name) == name


@pytest.mark.parametrize("name", ["$(NODE_NAME)", "two words", "-x", ".", "a\n", "a/b", "a" * 254])
def test_what_is_no_name_of_a_machine(name: str) -> None:
    """Such as a variable that nobody replaced."""
    with pytest.raises(BadInputError, match=r"--node-name .*: no name of a machine"):
        values.node_name(name)
