"""What the cases need of pytest: their planned parameters, and the fixture ``conforms``."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from cases.run import upcoming
from cases.run.carried import record
from cases.run.stash import PLANNED
from probes.cell import Cell, Claim, Outcome
from probes.files import CASES
from probes.judging import claims, verdict
from probes.run.bench import Bench

_LONGEST_FAILURE: Final = 20

Conforms = Callable[..., None]
"""``conforms(claim, *parameters)``: judges a planned case and fails the test if it must."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives every case test the parameters that the plan has for it."""
    planned = metafunc.config.stash.get(PLANNED, None)
    function = metafunc.function.__name__
    if planned is None or not _is_case(metafunc.definition.path, function):
        return
    cases = [case for case in planned.settings.cases if case.function == function]
    names = [name for name in metafunc.fixturenames if name in _PARAMETERS]
    values = [(*(dict(case.parameters)[name] for name in names), case.stack) for case in cases]
    metafunc.parametrize(
        [*names, "stack"], values, ids=[case.id for case in cases], indirect=["stack"]
    )


def _is_case(path: Path, function: str) -> bool:
    return function in _FUNCTIONS and path.parent == CASES


_FUNCTIONS = {row.function for row in claims.ROWS.values()}
_PARAMETERS = ("profile", "arch", "action", "call", "number", "way", "about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of profiles that were not asked for."""
    planned = config.stash.get(PLANNED, None)
    if planned is None:
        return
    names = {f"{case.function}[{case.id}]" for case in planned.settings.cases}
    items[:] = [
        item
        for item in items
        if item.name in names or not _is_case(item.path, getattr(item, "originalname", ""))
    ]


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """The worker's instrument."""
    made = Bench(pytestconfig.stash[PLANNED].settings, upcoming.of(pytestconfig))
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
    planned = request.config.stash[PLANNED]

    def check(claim: Claim, *parameters: str) -> None:
        case = planned.settings.case(claim, parameters, stack)
        try:
            cells = planned.granted.waive(bench.judge(case))
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
        (Outcome.ACCEPTED, pytest.xfail),
        (Outcome.NOT_APPLICABLE, pytest.skip),
    ):
        first = next((cell for cell in cells if cell.outcome is outcome), None)
        if first is not None:
            end(first.sentence)
