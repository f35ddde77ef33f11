"""What a test needs beyond an interpreter, a kernel and a compiler: its mark says it.

A test is marked, or uses a fixture that stands in ``_MARKS_OF_FIXTURES``; there and nowhere else
the need is declared. Where root is missing, a test with the mark is skipped, with the reason that
the mark gives. A test that reaches for a tool of another mark than its own fails on every machine,
so that none is skipped silently on a smaller one (see ``declared``).

``own_tests`` registers these hooks; the main job never does.
"""

import gc
import os
import resource
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

MARKS: Final = ("root", "containers", "guests", "browser", "slow")
"""What a test without any of them needs, every developer has."""

_MARKS_OF_FIXTURES: Final[Mapping[str, str]] = {"browser": "browser", "machine": "containers"}

_MARKS_OF_TOOLS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("bwrap", "containerd", "crun", "ctr", "docker", "docker-init", "dockerd"), "containers"
    ),
    **dict.fromkeys(("firejail", "podman", "runc", "systemd-nspawn"), "containers"),
    "chromium": "browser",
}
"""What ``oracles.require`` may be asked for; an emulator counts by its name's beginning."""

_EMULATOR: Final = "qemu-"

_running: list[pytest.Item] = []


def register(config: pytest.Config) -> None:
    """Has these hooks called in this run, once, however often it is asked for."""
    if not config.pluginmanager.has_plugin(__name__):
        config.pluginmanager.register(_Needs(config), __name__)


def mark_of(tool: str) -> str | None:
    """The mark of tests that use a tool; None where they need none.

    Args:
        tool: a command's name, or a path.
    """
    name = tool.rpartition("/")[2]
    return "guests" if name.startswith(_EMULATOR) else _MARKS_OF_TOOLS.get(name)


def declared(tool: str) -> None:
    """Fails the running test if it does not carry the mark of a tool, whether that is here or not.

    Args:
        tool: a command's name, or a path.
    """
    mark = mark_of(tool)
    if mark is not None and _running and mark not in marks_of(_running[-1]):
        pytest.fail(f"a test that needs {tool} carries the mark {mark!r}", pytrace=False)


def marks_of(item: pytest.Item) -> frozenset[str]:
    """Those of a test's marks that say what it needs."""
    return frozenset(mark.name for mark in item.iter_markers() if mark.name in MARKS)


def fixtures_of(item: pytest.Item) -> frozenset[str]:
    """The fixtures that a test uses, itself or through others; a parameter may have such a name."""
    callspec = getattr(item, "callspec", None)
    return frozenset(getattr(item, "fixturenames", ())) - (
        callspec.params.keys() if callspec else set()
    )


def lacking(item: pytest.Item, *, is_root: bool, machine: str) -> str:
    """Why a test cannot run, as far as its marks tell; "" where nothing is in the way.

    Args:
        item: the test.
        is_root: whether it would run as root.
        machine: the machine's architecture, as the kernel names it.
    """
    for mark in (*item.iter_markers("root"), *item.iter_markers("containers")):
        why = mark.args[0] if mark.args else "starts containers"
        if not is_root:
            return f"needs root: {why}"
        wanted = mark.kwargs.get("machine", machine)
        if machine != wanted:
            return f"is for {wanted}: {why}"
    return ""


class _Needs:
    """Marks tests by their fixtures, skips those that cannot run, and minds what a run costs."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_worker = hasattr(config, "workerinput")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Adds the marks of the fixtures, and the skip."""
        for name in fixtures_of(item) & _MARKS_OF_FIXTURES.keys():
            item.add_marker(_MARKS_OF_FIXTURES[name])
        reason = lacking(item, is_root=os.geteuid() == 0, machine=os.uname().machine)
        if reason:  # the mark names what is missing; where nothing is, as in CI, nothing is skipped
            item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_collection_finish(self) -> None:
        """Spares the garbage collector all that has been collected and stays to the end.

        Thousands of tests and their modules would be looked through again and again.
        """
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Notes which test is running: its fixtures may ask for tools as well as itself."""
        _running.append(item)
        try:
            return (yield)
        finally:
            _running.pop()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says what the run has cost, with the processes that it started and waited for."""
        if not self._is_worker:
            terminalreporter.write_line(_cost())


def _cost() -> str:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    user, system = sum(use.ru_utime for use in uses), sum(use.ru_stime for use in uses)
    total = user + system
    return f"processor time: {total:.1f} s ({user:.1f} s user, {system:.1f} s system)"
