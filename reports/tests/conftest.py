"""Fixtures that several modules of tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.tests.support import own_tests

if TYPE_CHECKING:  # to import them takes as long as many a module's tests
    from probes.tests.support.emitter import Emitter
    from reports.benchmarks.browser import Browser, BrowserPage


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepares the run for the suite's own tests."""
    own_tests.prepare(parent.config, module_path)


@pytest.fixture(scope="session")
def emitter(tmp_path_factory: pytest.TempPathFactory) -> "Emitter":
    """The program that emits audit records."""
    from probes.tests.support.emitter import build  # noqa: PLC0415 - see above

    return build(tmp_path_factory.mktemp("emitter"))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One browser for all pages of a module's tests."""
    from probes.tests.support import oracles  # noqa: PLC0415 - see above
    from reports.benchmarks.browser import NAMES, Browser, find  # noqa: PLC0415 - see above

    with Browser(find() or oracles.require(NAMES[0], "chromium")) as running:
        yield running


@pytest.fixture
def page(browser: "Browser") -> "BrowserPage":
    """A page of its own for each test."""
    return browser.page()


@pytest.fixture
def axe() -> None:
    """Ends a test where axe-core is missing."""
    from probes.tests.support import oracles  # noqa: PLC0415 - see above
    from reports.tests.support.pages import AXE  # noqa: PLC0415 - see above

    oracles.require(str(AXE), "npm, and then: sh .ci/oracles")
