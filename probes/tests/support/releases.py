"""Roots of other releases of Debian, for tests that start their programs.

To make a root takes half a minute and downloads 100 MB, so it is done where it is asked for:
SYSCALL_CONFORMANCE_RELEASES names the releases, separated by blanks. Without it such a test is
skipped, with the reason. Whoever uses these carries the marks ``root`` and ``containers``.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cache

import pytest

from probes.guest.choice import default_cache
from probes.releases import machine, roots
from probes.releases.machine import ReleaseMachine
from probes.releases.roots import Root

VARIABLE = "SYSCALL_CONFORMANCE_RELEASES"


def asked_for() -> tuple[str, ...]:
    """The releases that the tests of this run use."""
    return tuple(os.environ.get(VARIABLE, "").split())


def unless_asked_for(suite: str) -> pytest.MarkDecorator:
    """Skips a test that uses a release which is not asked for."""
    return pytest.mark.skipif(
        suite not in asked_for(), reason=f"uses packages of another release: set {VARIABLE}={suite}"
    )


@cache
def root_of(suite: str, *names: str) -> Root:
    """The root of a release with these packages; ends the test where it is not asked for."""
    if suite not in asked_for():
        pytest.skip(f"uses packages of another release: set {VARIABLE}={suite}")
    return roots.build(suite, names, default_cache())


@cache
def root_of_runtimes(suite: str) -> Root:
    """The root with all runtimes that are compared; ends the test where it is not asked for.

    Tests that need no other packages share it.
    """
    if suite not in asked_for():
        pytest.skip(f"uses packages of another release: set {VARIABLE}={suite}")
    return roots.of_runtimes(suite, default_cache())


def root_of_collectors(suite: str) -> Root:
    """The root with what collects audit records; ends the test where it is not asked for.

    Tests of each share it.
    """
    return root_of(suite, "auditd", "laurel")


@contextlib.contextmanager
def release_machine(
    suite: str, *names: str, cgroups: str | None = None
) -> Iterator[ReleaseMachine]:
    """A machine of a release with these packages; ends the test where it is not asked for."""
    with machine.started(root_of(suite, *names), cgroups=cgroups) as made:
        yield made
