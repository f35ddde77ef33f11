"""What all tests of this folder share."""

from pathlib import Path

import pytest

from probes.tests.support import own_tests


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepares the run for the suite's own tests."""
    own_tests.prepare(parent.config, module_path)
