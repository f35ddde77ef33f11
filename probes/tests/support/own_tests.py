"""What the suite's own tests need of a run before a module of them is imported.

A conftest.py of tests calls ``prepare`` for each module and imports nothing else: pytest loads
``cases/tests/conftest.py`` in the main job as well, where the packages of developers are missing
(it looks into every ``test*`` of a folder that it is given).
"""

import importlib
from pathlib import Path

import pytest

import probes.tests.support.interruptible  # noqa: F401 - it gives signals their effect
from probes.tests.support import needs


def prepare(config: pytest.Config, module: Path) -> None:
    """Lets marks decide what can run, and sets Hypothesis up where the module uses it.

    Args:
        config: the run's.
        module: the file that is going to be imported.
    """
    needs.register(config)
    if b"hypothesis" in module.read_bytes():  # to import it takes longer than most modules' tests
        importlib.import_module("probes.tests.support.unhurried")
