"""Fixtures that several modules of tests share."""

from collections.abc import Iterator

import pytest

import probes.tests.support.interruptible
import probes.tests.support.unhurried  # noqa: F401 - it sets Hypothesis up
from probes.tests.support.machine import Machine, private_machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A machine of one's own for container runtimes; its daemons start when first needed."""
    with private_machine() as made:
        yield made
