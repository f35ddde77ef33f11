"""Fixtures that several modules of tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.tests.support import own_tests

if TYPE_CHECKING:  # to import it takes as long as many a module's tests
    from probes.tests.support.machine import Machine


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepares the run for the suite's own tests."""
    own_tests.prepare(parent.config, module_path)


@pytest.fixture(scope="session")
def machine() -> Iterator["Machine"]:
    """A machine of one's own for container runtimes; its daemons start when first needed."""
    from probes.tests.support.machine import private_machine  # noqa: PLC0415 - see above

    with private_machine() as made:
        yield made
