"""Makes pytest the suite: reads the options and plans the run."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from cases.run import command_line
from cases.run.account import Account
from cases.run.asked import Asked
from cases.run.follower import LocalRun
from cases.run.node import ORDER, Node
from cases.run.nodes import Nodes
from cases.run.recorder import follow
from cases.run.stash import PLANNED, Planned
from probes import arch, deviation, interruption, main_job
from probes.documents import policy, waivers
from probes.documents.waivers import Granted
from probes.errors import BadInputError, ExitStatus, SuiteError
from probes.files import CASES, SUITE
from probes.run import order, settings, surroundings
from probes.run.order import Order
from reports import channel

_HANDED: Final = "syscall_conformance_target"
_HANDED_WAIVERS: Final = "syscall_conformance_waivers"
"""Where in xdist's ``workerinput`` a worker finds the filters and the waivers, in plain data."""

_TESTS: Final = CASES / "tests"
"""The tests of how a run is started, which are no part of one."""

_ASKS_NOTHING: Final = ("help", "version", "markers", "cacheshow")
_JUDGES_NOTHING: Final = (
    "collectonly",
    "showfixtures",
    "show_fixtures_per_test",
    "setuponly",
    "setupplan",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tells pytest of the options."""
    command_line.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Reads the options and plans the run, before anything else can go wrong."""
    # A container is started right below, and the suite's own tests start machines. And a run may be
    # a container's first process, which the kernel lets ignore SIGTERM.
    if not hasattr(config, "workerinput"):  # whoever ends the controller's run ends its workers
        ending = ExitStack()
        ending.enter_context(interruption.orderly())
        config.add_cleanup(ending.close)
    given = getattr(config, "workerinput", {}).get(ORDER)
    if given is not None:
        _obey(config, Order.from_plain(given))
        return
    if _any_of(config, _ASKS_NOTHING) or not _judges_cases(config):
        return
    try:
        command_line.check_blanks(config)
        if _each_on_its_own(config):
            _give_order(config)
            return
        _plan(config)
    except SuiteError as error:
        channel.tell_refused(str(error))
        if error.exit_status is ExitStatus.USAGE:
            raise pytest.UsageError(str(error)) from error
        pytest.exit(str(error), returncode=int(error.exit_status))


def _plan(config: pytest.Config) -> None:
    """Plans the run, and starts to make its reports where its tests are heard of."""
    given = getattr(config, "workerinput", {})
    accepted = command_line.accepted(config)
    resolved = settings.resolve(command_line.read(config), given.get(_HANDED))
    started = datetime.now(UTC)
    granted = _granted(config, started.date(), (*accepted, *resolved.policy.accept))
    if not given:
        granted = replace(granted, here=surroundings.of(resolved))
    config.stash[PLANNED] = Planned(resolved, granted)
    if not given and not _any_of(config, _JUDGES_NOTHING):
        asked = _asked(config, started, granted)
        follow(config, LocalRun(resolved, asked), asked)


def _asked(config: pytest.Config, started: datetime, granted: Granted) -> Asked:
    return Asked(
        started=started,
        folder=Path(command_line.path(config, "report_dir")),
        granted=granted,
        baseline=command_line.path_or_none(config, "baseline"),
        anonymous=config.getoption("anonymous"),
        node_name=command_line.node_name(config),
    )


def _each_on_its_own(config: pytest.Config) -> bool:
    """Whether every node of xdist runs the whole job, on a kernel of its own."""
    each = config.getoption("dist", "no") == "each" and config.getoption("tx", [])
    return bool(each) and not _any_of(config, _JUDGES_NOTHING)


def _give_order(config: pytest.Config) -> None:
    """Prepares nodes that judge their own kernels; this one is asked nothing.

    Raises:
        BadInputError: an option has no meaning on any kernel, or names no file.
    """
    wanted = command_line.read(config)
    started = datetime.now(UTC)
    try:
        documented = policy.load(wanted.policy, arch.all_names())
    except BadInputError as error:
        raise BadInputError(f"--policy: {error}") from error
    granted = _granted(config, started.date(), (*command_line.accepted(config), *documented.accept))
    asked = _asked(config, started, granted)
    given = order.give(wanted, granted, anonymous=asked.anonymous)
    for_nodes = main_job.for_nodes(list(map(str, config.invocation_params.args)))
    config.invocation_params = replace(config.invocation_params, args=tuple(for_nodes))
    follow(config, Nodes(config, given, asked, config.getoption("node_silence")), asked)


def _obey(config: pytest.Config, given: Order) -> None:
    """Plans the run of a node by its order; what is wrong with that becomes its answer."""
    with TemporaryDirectory(prefix="order-") as folder:
        root = Path(folder)
        try:
            if given.suite != order.suite_digest():
                raise BadInputError(
                    f"{SUITE} there is another version of the suite than the one that starts"
                    " the nodes: bring both to the same"
                )
            resolved = order.as_named(settings.resolve(given.lay_out(root)), given, root)
        except SuiteError as error:
            refusal = given.as_named(str(error), root)
            config.pluginmanager.register(Node(None, refusal, int(error.exit_status)))
            return
    granted = replace(given.granted, here=surroundings.of(resolved))
    config.stash[PLANNED] = Planned(resolved, granted)
    made = Account(resolved, granted, datetime.now(UTC), anonymous=given.anonymous)
    config.pluginmanager.register(Node(made))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist, which has no types, may be absent
    """Hands every worker the filters that the controller has opened, so that all judge the same."""
    planned = node.config.stash.get(PLANNED, None)
    if planned is not None:
        node.workerinput[_HANDED] = planned.settings.handed
        node.workerinput[_HANDED_WAIVERS] = planned.granted.to_plain()


def _granted(config: pytest.Config, today: date, accepted: Iterable[str]) -> Granted:
    """What is forgiven: the controller's for every worker, whatever becomes of the file meanwhile.

    Args:
        config: pytest's.
        today: the day on which the run started.
        accepted: the names of what is accepted of runtimes.

    Raises:
        BadInputError: the file is not what it must be.
    """
    handed = getattr(config, "workerinput", {}).get(_HANDED_WAIVERS)
    if handed is not None:
        return Granted.from_plain(handed)
    path = command_line.path_or_none(config, "waivers")
    try:
        loaded = () if path is None else waivers.load(path)
    except BadInputError as error:
        raise BadInputError(f"--waivers: {error}") from error
    return Granted(loaded, config.getoption("target"), today, deviation.named(accepted))


def _any_of(config: pytest.Config, names: Iterable[str]) -> bool:
    return any(config.getoption(name, default=False) for name in names)


def _judges_cases(config: pytest.Config) -> bool:
    """Whether this run is the main job, or part of it, and not the suite's own tests."""
    begin = config.invocation_params.dir
    paths = [(begin / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(
        (CASES in (path, *path.parents) and _TESTS not in (path, *path.parents))
        or path in CASES.parents
        for path in paths
    )
