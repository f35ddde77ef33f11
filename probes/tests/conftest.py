"""Fixtures that several modules of tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.tests.support import own_tests

if TYPE_CHECKING:  # to import them takes as long as many a module's tests
    from probes.instrument.calls import Zygote
    from probes.tests.support.emitter import Emitter
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


@pytest.fixture(scope="module")
def zygote() -> Iterator["Zygote"]:
    """The process whose children probe, one for a module's tests."""
    from probes.instrument.calls import Zygote  # noqa: PLC0415 - see above

    with Zygote() as made:
        yield made


@pytest.fixture(scope="session")
def emitter(tmp_path_factory: pytest.TempPathFactory) -> "Emitter":
    """The program that emits audit records."""
    from probes.tests.support.emitter import build  # noqa: PLC0415 - see above

    return build(tmp_path_factory.mktemp("emitter"))
