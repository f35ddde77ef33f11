"""What the cases stand on: the options, the planned parameters, and the fixture ``conforms``.

No mechanism of judging is here; it is in ``probes``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cases.run.account import Account
from cases.run.nodes import ORDER, Node, Nodes
from cases.run.recorder import Asked, follow, record, start
from probes import arch, interruption
from probes.cell import Cause, Cell, Claim, Outcome
from probes.documents import policy, waivers
from probes.documents.waivers import Granted
from probes.errors import BadInputError, ExitStatus, InstrumentError, SuiteError
from probes.finding import all_undecided
from probes.judging import plan, verdict
from probes.judging.examiner import AuditTrail, Examiner, cannot_tell
from probes.judging.plan import Case
from probes.run import order, settings
from probes.run.order import Order
from probes.run.settings import Settings, Words
from probes.targets import ambient
from probes.targets.confinement import ConfinedError
from probes.targets.open import WORDS
from probes.targets.words import (
    OPTIONS,
    RUNTIME_ARG,
    RUNTIME_COMMAND,
    SECCOMP,
    START_OPTIONS,
    Container,
)
from probes.targets.words import start as start_of

HERE = Path(__file__).parent
_TESTS = HERE / "tests"
"""The tests of how a run is started, which are no part of one."""

DEFAULT_POLICY = HERE / "policies" / "container-restrictions.toml"

_SETTINGS = pytest.StashKey[Settings]()
_GRANTED = pytest.StashKey[Granted]()
_HANDED = "syscall_conformance_target"
_HANDED_WAIVERS = "syscall_conformance_waivers"
_LONGEST_FAILURE = 20
NODE_SILENCE_SECONDS = 300.0
_MOST_ATTEMPTS = 3

_PATH_OPTIONS = ("--policy", "--report-dir", "--waivers", "--baseline", f"--{SECCOMP}")
_ASKS_NOTHING = ("help", "version", "markers", "cacheshow")
_JUDGES_NOTHING = (
    "collectonly",
    "showfixtures",
    "show_fixtures_per_test",
    "setuponly",
    "setupplan",
)

Conforms = Callable[..., None]
"""``conforms(claim, *parameters)``: judges a planned case and fails the test if it must."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite; README.md describes them for users."""
    group = parser.getgroup("syscall-conformance")
    group.addoption("--policy", default=str(DEFAULT_POLICY), metavar="FILE", help="a policy (TOML)")
    group.addoption(
        "--profile", default="", metavar="NAMES", help="kill, errno, log, comma-separated"
    )
    group.addoption(
        "--target",
        default=settings.BUILTIN,
        metavar="TARGET",
        help=f"{WORDS}, or {ambient.WORD}; any but builtin with one --profile",
    )
    for option in OPTIONS:
        group.addoption(
            f"--{option.name}",
            default="",
            metavar=option.metavar,
            help=f"of oci:FILE: {option.help}",
        )
    for option in START_OPTIONS:
        group.addoption(
            f"--{option.name}",
            default=[] if option.name == RUNTIME_ARG else "",
            action="append" if option.name == RUNTIME_ARG else "store",
            metavar=option.metavar,
            help=f"of a container that is started: {option.help}",
        )
    group.addoption(
        "--arch", default="", metavar="NAMES", help="ABIs to judge; default: all that run here"
    )
    group.addoption(
        "--audit-source",
        default=settings.AUDIT_BEST,
        metavar="SOURCE",
        help="netlink, auditd:FILE, fd:N, kmsg or none; default: the best that works here",
    )
    group.addoption(
        "--audit-fd",
        default="",
        metavar="N",
        help="a descriptor of with-audit, for one process: without -n; as --audit-source=fd:N",
    )
    group.addoption(
        "--report-dir",
        default="reports/out",
        metavar="DIR",
        help="where the reports go; default: %(default)s",
    )
    group.addoption(
        "--waivers", default="", metavar="FILE", help="failures that are accepted for a time (TOML)"
    )
    group.addoption(
        "--baseline",
        default="",
        metavar="FILE",
        help="an earlier results.json: say what has changed since",
    )
    group.addoption(
        "--node-silence",
        type=float,
        default=NODE_SILENCE_SECONDS,
        metavar="SECONDS",
        help="with --dist each: how long a node may say nothing before it counts as lost;"
        " default: %(default).0f",
    )
    group.addoption(
        "--anonymous", action="store_true", help="leave user and host names out of the reports"
    )


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
        _check_blanks(config)
        if _each_on_its_own(config):
            _give_order(config)
            return
        resolved = settings.resolve(_words(config), getattr(config, "workerinput", {}).get(_HANDED))
        config.stash[_SETTINGS] = resolved
        started = datetime.now(UTC)
        config.stash[_GRANTED] = granted = _granted(config, started.date())
        if not hasattr(config, "workerinput") and not _any_of(config, _JUDGES_NOTHING):
            start(config, resolved, _asked(config, started, granted))
    except SuiteError as error:
        if error.exit_status is ExitStatus.USAGE:
            raise pytest.UsageError(str(error)) from error
        pytest.exit(str(error), returncode=int(error.exit_status))


def _words(config: pytest.Config) -> Words:
    """The options as they were given.

    Raises:
        BadInputError: they contradict each other.
    """
    return Words(
        policy=_path(config, "policy"),
        profile=config.getoption("profile"),
        arch=config.getoption("arch"),
        target=config.getoption("target"),
        audit_source=_audit_source(config),
        container=Container(*(config.getoption(option.name) for option in OPTIONS)),
        start=start_of(
            Path(_path(config, SECCOMP)) if config.getoption(SECCOMP) else None,
            config.getoption(RUNTIME_ARG.replace("-", "_")),
            config.getoption(RUNTIME_COMMAND.replace("-", "_")),
        ),
    )


def _asked(config: pytest.Config, started: datetime, granted: Granted) -> Asked:
    return Asked(
        started=started,
        folder=Path(_path(config, "report_dir")),
        granted=granted,
        baseline=_path_or_none(config, "baseline"),
        anonymous=config.getoption("anonymous"),
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
    words = _words(config)
    settings.profiles_named(words.profile)
    settings.check_audit_source(words.audit_source)
    started = datetime.now(UTC)
    granted = _granted(config, started.date())
    asked = _asked(config, started, granted)
    given = order.give(words, granted, anonymous=asked.anonymous)
    policy.load(Path(words.policy), arch.all_names())
    follow(config, Nodes(config, given, asked, config.getoption("node_silence")), asked)


def _obey(config: pytest.Config, given: Order) -> None:
    """Plans the run of a node by its order; what is wrong with that becomes its answer."""
    with TemporaryDirectory(prefix="order-") as folder:
        root = Path(folder)
        try:
            if given.suite != order.suite_digest():
                raise BadInputError(
                    f"{HERE.parent} there is another version of the suite than the one that starts"
                    " the nodes: bring both to the same"
                )
            resolved = order.as_named(settings.resolve(given.lay_out(root)), given, root)
        except SuiteError as error:
            refusal = given.as_named(str(error), root)
            config.pluginmanager.register(Node(None, refusal, int(error.exit_status)))
            return
    config.stash[_SETTINGS], config.stash[_GRANTED] = resolved, given.granted
    made = Account(resolved, given.granted, datetime.now(UTC), anonymous=given.anonymous)
    config.pluginmanager.register(Node(made))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist, which has no types, may be absent
    """Hands every worker the filters that the controller has opened, so that all judge the same."""
    resolved = node.config.stash.get(_SETTINGS, None)
    if resolved is not None:
        node.workerinput[_HANDED] = resolved.handed
        node.workerinput[_HANDED_WAIVERS] = node.config.stash[_GRANTED].to_plain()


def _granted(config: pytest.Config, today: date) -> Granted:
    """The waivers: the controller's for every worker, whatever happens to the file meanwhile.

    Raises:
        BadInputError: the file is not what it must be.
    """
    handed = getattr(config, "workerinput", {}).get(_HANDED_WAIVERS)
    if handed is not None:
        return Granted.from_plain(handed)
    path = _path_or_none(config, "waivers")
    try:
        loaded = () if path is None else waivers.load(path)
    except BadInputError as error:
        raise BadInputError(f"--waivers: {error}") from error
    return Granted(loaded, config.getoption("target"), today)


def _audit_source(config: pytest.Config) -> str:
    """Where records come from.

    Raises:
        BadInputError: the options contradict each other, or several processes would read one
            descriptor, and take records from each other.
    """
    source: str = config.getoption("audit_source")
    descriptor: str = config.getoption("audit_fd")
    if descriptor:
        if source != settings.AUDIT_BEST:
            raise BadInputError(
                f"--audit-fd {descriptor}: --audit-source {source} names another source: leave one"
                " of them out"
            )
        source = f"{settings.AUDIT_DESCRIPTOR}{descriptor}"
    if source == settings.AUDIT_KMSG and config.getoption("dist", "no") != "no":
        raise BadInputError(
            f"--audit-source {source}: the kernel's log takes few records a second, and one process"
            " alone can keep to that: leave -n out"
        )
    workers = config.getoption("dist", "no") != "no" or hasattr(config, "workerinput")
    if source.startswith(settings.AUDIT_DESCRIPTOR) and workers:
        raise BadInputError(
            f"--audit-source {source}: workers would take records from each other, so one process"
            " must read the descriptor: leave -n out"
        )
    return source


def _any_of(config: pytest.Config, options: Iterable[str]) -> bool:
    return any(config.getoption(name, default=False) for name in options)


def _judges_cases(config: pytest.Config) -> bool:
    """Whether this run is the main job, or part of it, and not the suite's own tests."""
    begin = config.invocation_params.dir
    paths = [(begin / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(
        (HERE in (path, *path.parents) and _TESTS not in (path, *path.parents))
        or path in HERE.parents
        for path in paths
    )


def _path(config: pytest.Config, option: str) -> str:
    """A path as the user meant it: relative to where pytest was started, with ~ for home."""
    return str(config.invocation_params.dir / Path(config.getoption(option)).expanduser())


def _path_or_none(config: pytest.Config, option: str) -> Path | None:
    return Path(_path(config, option)) if config.getoption(option) else None


def _check_blanks(config: pytest.Config) -> None:
    """Refuses a path after a blank, where pytest could take it for the path of tests.

    Before a plug-in's options are known pytest looks for its configuration in every existing path
    on its command line (``determine_setup()`` in ``_pytest/config/findpaths.py``). So it depended
    on whether a folder is there already, and differed between xdist's workers and their controller.

    Raises:
        BadInputError: a path outside of this checkout was given like that, and no path of tests.
    """
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    root = HERE.parent
    for option, value in pairwise(map(str, config.invocation_params.args)):
        path = (config.invocation_params.dir / value).resolve()
        if option in _PATH_OPTIONS and root not in (path, *path.parents):
            raise BadInputError(
                f"{option} {value}: pytest could take the path after the blank for one of tests;"
                f" write {option}={value}"
            )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives every case test the parameters that the plan has for it."""
    resolved = metafunc.config.stash.get(_SETTINGS, None)
    function = metafunc.function.__name__
    if resolved is None or not _is_case(metafunc.definition.path, function):
        return
    cases = [case for case in resolved.cases if case.function == function]
    names = [name for name in metafunc.fixturenames if name in _PARAMETERS]
    values = [(*(dict(case.parameters)[name] for name in names), case.stack) for case in cases]
    metafunc.parametrize(
        [*names, "stack"], values, ids=[case.id for case in cases], indirect=["stack"]
    )


def _is_case(path: Path, function: str) -> bool:
    return function in _FUNCTIONS and path.parent == HERE


_FUNCTIONS = {plan.function_of(claim) for claim in Claim}
_PARAMETERS = ("profile", "arch", "action", "call", "number", "way", "about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of profiles that were not asked for."""
    resolved = config.stash.get(_SETTINGS, None)
    if resolved is None:
        return
    planned = {f"{case.function}[{case.id}]" for case in resolved.cases}
    items[:] = [
        item
        for item in items
        if item.name in planned or not _is_case(item.path, getattr(item, "originalname", ""))
    ]


class Bench:
    """A worker's instrument: put up and calibrated when first asked, and anew when it dies.

    Attributes:
        controls: what the controls came to, of the instrument that is up.
        trail: where its audit records come from; None before it is put up.
    """

    def __init__(self, resolved: Settings) -> None:
        """Notes what will be judged; nothing is started yet."""
        self.controls: list[Cell] = []
        self.trail: AuditTrail | None = None
        self._settings = resolved
        self._stack = ExitStack()
        self._examiners: Sequence[Examiner] = ()
        self._attempts = 0
        self._trouble = ""

    def _try_to_put_up(self) -> Sequence[Examiner]:
        if self._attempts == _MOST_ATTEMPTS:
            raise InstrumentError(f"the instrument cannot be put up: {self._trouble}")
        self._attempts += 1
        try:
            self._examiners = self._put_up()
        except Exception as error:
            self._trouble = str(error)
            raise
        self._attempts = 0
        return self._examiners

    def _put_up(self) -> Sequence[Examiner]:
        """Gives an examiner for each stack of the target's filters; they share one calibration."""
        resolved = self._settings
        zygote = self._stack.enter_context(settings.open_zygote(resolved))
        trail = (
            AuditTrail(None, resolved.emulation)
            if resolved.emulation
            else settings.open_trail(
                *(resolved.audit_source, zygote, resolved.native, resolved.target),
                resolved.confinement,
            )
        )
        if trail.collector is not None:
            self._stack.callback(trail.collector.close)
        self.trail = trail
        first, *others = resolved.target.members
        examiner = Examiner(
            *(zygote, first, resolved.policy, resolved.offered, trail),
            own=resolved.confinement,
            observes=not resolved.emulation,
        )
        told = [arch for arch in resolved.arches if not resolved.untold(arch)]
        self.controls = examiner.calibrate(told, resolved.profiles)
        return [examiner, *map(examiner.beside, others)]

    def _known(self, case: Case) -> list[Cell]:
        """The cells of a case that is decided before anything is asked; none of any other."""
        findings = self._settings.target.findings
        if case.claim is Claim.IS_ALL_JUDGED:
            return verdict.all_judged(case, findings)
        untold = self._settings.untold(case.arch)
        if untold and case.claim is not Claim.IS_PROVED:
            return cannot_tell(case, untold)
        reason = all_undecided(findings)
        if reason and case.claim is not Claim.CONTROLS:
            return cannot_tell(case, reason, Cause.TARGET)
        return []

    def judge(self, case: Case) -> list[Cell]:
        """The verdicts on a case's cells; *broken* ones where the instrument dies over it."""
        if known := self._known(case):
            return known
        try:
            examiners = self._examiners or self._try_to_put_up()
            if case.claim is Claim.CONTROLS:
                return [cell for cell in self.controls if cell.key in case.cells]
            return examiners[case.stack].examine([case])
        except ConfinedError as error:
            self.close()
            return cannot_tell(case, str(error))
        except InstrumentError as error:
            self.close()
            return [verdict.broken(key, str(error)) for key in case.cells]
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Gives everything back."""
        self._examiners = ()
        self._stack.close()


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """The worker's instrument."""
    made = Bench(pytestconfig.stash[_SETTINGS])
    yield made
    made.close()


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> int:
    """Which of the target's stacks of filters is judged, counted from 0."""
    planned: int = request.param
    return planned


@pytest.fixture
def conforms(request: pytest.FixtureRequest, bench: Bench, stack: int) -> Conforms:
    """Judges a planned case, hands its cells to the reports, and ends the test accordingly."""
    resolved = request.config.stash[_SETTINGS]
    granted = request.config.stash[_GRANTED]

    def check(claim: Claim, *parameters: str) -> None:
        case = resolved.case(claim, parameters, stack)
        try:
            cells = granted.waive(bench.judge(case))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}: please report this as a bug of the suite"
            broken = [verdict.broken(key, reason) for key in case.cells]
            record(request.node, broken, bench.controls, bench.trail)
            raise
        record(request.node, cells, bench.controls, bench.trail)
        _end(cells)

    return check


def _end(cells: Sequence[Cell]) -> None:
    """Ends the test the way its worst cell asks for."""
    for outcome in (Outcome.FAILED, Outcome.BROKEN):
        bad = [cell.sentence for cell in cells if cell.outcome is outcome]
        if bad:
            more = (
                f"\n... and {len(bad) - _LONGEST_FAILURE} more"
                if len(bad) > _LONGEST_FAILURE
                else ""
            )
            pytest.fail("\n".join(bad[:_LONGEST_FAILURE]) + more, pytrace=False)
    for outcome, end in (
        (Outcome.CANNOT_TELL, pytest.skip),
        (Outcome.WAIVED, pytest.xfail),
        (Outcome.NOT_APPLICABLE, pytest.skip),
    ):
        first = next((cell for cell in cells if cell.outcome is outcome), None)
        if first is not None:
            end(first.sentence)
