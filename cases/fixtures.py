"""What the cases stand on: the options, the planned parameters, and the fixture ``conforms``.

No mechanism of judging is here; it is in ``probes``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from probes import plan, settings, verdict
from probes.cell import Cell, Claim, Outcome
from probes.errors import ExitStatus, InstrumentError, SuiteError
from probes.examiner import Examiner
from probes.instrument import Zygote
from probes.plan import Case
from probes.settings import Settings, Words
from reports.plugin import Recorder, record

DEFAULT_POLICY = Path(__file__).parent / "policies" / "container-restrictions.toml"

_SETTINGS = pytest.StashKey[Settings]()
_LONGEST_FAILURE = 20

Conforms = Callable[..., None]
"""``conforms(claim, *parameters)``: judges a planned case and fails the test if it must."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite; README.md describes them for users."""
    group = parser.getgroup("syscall-conformance")
    group.addoption("--policy", default=str(DEFAULT_POLICY), metavar="FILE", help="a policy (TOML)")
    group.addoption(
        "--profile", default="", metavar="NAMES", help="kill, errno, log, comma-separated"
    )
    group.addoption("--target", default="builtin", metavar="TARGET", help="builtin")
    group.addoption(
        "--arch", default="", metavar="NAMES", help="ABIs to judge; default: all that run here"
    )
    group.addoption(
        "--audit-source",
        default=settings.AUDIT_BEST,
        metavar="SOURCE",
        help="netlink, auditd:FILE or none; default: the best that works here",
    )
    group.addoption(
        "--report-dir",
        default="reports/out",
        metavar="DIR",
        help="where the reports go; default: %(default)s",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Reads the options and plans the run, before anything else can go wrong."""
    if not _judges_cases(config):
        return
    words = Words(
        policy=config.getoption("policy"),
        profile=config.getoption("profile"),
        arch=config.getoption("arch"),
        target=config.getoption("target"),
        audit_source=config.getoption("audit_source"),
    )
    try:
        resolved = settings.resolve(words)
        config.stash[_SETTINGS] = resolved
        if not hasattr(config, "workerinput"):
            folder = Path(config.getoption("report_dir"))
            config.pluginmanager.register(Recorder(config, resolved, folder), "recorder")
    except SuiteError as error:
        if error.exit_status is ExitStatus.USAGE:
            raise pytest.UsageError(str(error)) from error
        pytest.exit(str(error), returncode=int(error.exit_status))


def _judges_cases(config: pytest.Config) -> bool:
    """Whether this run is the main job, or part of it, and not the suite's own tests."""
    if config.option.collectonly or config.option.help or config.option.version:
        return not config.option.help and not config.option.version
    here = Path(__file__).parent
    start = config.invocation_params.dir
    for argument in config.args:
        path = (start / argument.partition("::")[0]).resolve()
        if path == here or here in path.parents or path in here.parents:
            return True
    return False


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives every case test the parameters that the plan has for it."""
    resolved = metafunc.config.stash.get(_SETTINGS, None)
    function = metafunc.function.__name__
    if resolved is None or function not in _FUNCTIONS:
        return
    cases = [case for case in resolved.cases if case.function == function]
    names = [name for name in metafunc.fixturenames if name in _PARAMETERS]
    values = [tuple(dict(case.parameters)[name] for name in names) for case in cases]
    metafunc.parametrize(names, values, ids=[case.id for case in cases])


_FUNCTIONS = {plan.function_of(claim) for claim in Claim}
_PARAMETERS = ("profile", "arch", "action", "call", "number", "way")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of profiles that were not asked for."""
    resolved = config.stash.get(_SETTINGS, None)
    if resolved is None:
        return
    planned = {f"{case.function}[{case.id}]" for case in resolved.cases}
    functions = {item: getattr(item, "originalname", "") for item in items}
    items[:] = [item for item in items if functions[item] not in _FUNCTIONS or item.name in planned]


class Bench:
    """A worker's instrument: an examiner, calibrated, and put up anew when its process dies."""

    def __init__(self, resolved: Settings) -> None:
        """Puts the instrument up."""
        self._settings = resolved
        self._stack = ExitStack()
        self.controls: list[Cell] = []
        self._examiner = self._put_up()

    def _put_up(self) -> Examiner:
        resolved = self._settings
        zygote = self._stack.enter_context(Zygote())
        trail = settings.open_trail(resolved.audit_source, zygote, resolved.native)
        if trail.collector is not None:
            self._stack.callback(trail.collector.close)
        self.trail = trail
        examiner = Examiner(zygote, resolved.target, resolved.native, trail)
        self.controls = examiner.calibrate(resolved.arches)
        return examiner

    def judge(self, case: Case) -> list[Cell]:
        """The verdicts on a case's cells; *broken* ones where the instrument dies over it."""
        if case.claim is Claim.CONTROLS:
            return [cell for cell in self.controls if cell.key in case.cells]
        try:
            return self._examiner.examine([case])
        except InstrumentError as error:
            self.close()
            self._examiner = self._put_up()
            return [verdict.broken(key, str(error)) for key in case.cells]

    def close(self) -> None:
        """Gives everything back."""
        self._stack.close()


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """The worker's instrument."""
    made = Bench(pytestconfig.stash[_SETTINGS])
    yield made
    made.close()


@pytest.fixture
def conforms(request: pytest.FixtureRequest, bench: Bench) -> Conforms:
    """Judges a planned case, hands its cells to the reports, and ends the test accordingly."""
    resolved = request.config.stash[_SETTINGS]

    def check(claim: Claim, *parameters: str) -> None:
        cells = bench.judge(resolved.case(claim, parameters))
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
    for outcome in (Outcome.CANNOT_TELL, Outcome.NOT_APPLICABLE):
        first = next((cell for cell in cells if cell.outcome is outcome), None)
        if first is not None:
            pytest.skip(first.sentence)
