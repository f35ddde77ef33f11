"""What all tests of this folder share; the main job loads this file, and uses nothing of it."""

from pathlib import Path

import pytest


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepares the run for the suite's own tests."""
    from probes.tests.support import own_tests  # noqa: PLC0415 - not where the main job runs

    own_tests.prepare(parent.config, module_path)
