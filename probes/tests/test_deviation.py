"""Known deviations: their names, and what is accepted of a run."""

from dataclasses import replace
from typing import Final

import pytest

from probes import deviation
from probes.cell import NOT_HOLDING, Cell, CellKey, Claim, Outcome
from probes.deviation import ROWS, KnownDeviation
from probes.errors import BadInputError
from probes.runtimes.known import RUNTIMES

STUB, CALLS, BAD_ARCH = KnownDeviation
KEY: Final = CellKey(Claim.DEFAULT_ACTION, "errno", "x86_64", "unknown", 500)
FAILED: Final = Cell(KEY, Outcome.FAILED, None, "why", "e", "o", deviations=(STUB,))


def test_every_name_has_its_row() -> None:
    assert tuple(ROWS) == tuple(KnownDeviation)
    assert all(set(row.met_under) <= set(RUNTIMES) for row in ROWS.values())


def test_names_come_once_and_in_order() -> None:
    assert deviation.named([BAD_ARCH, STUB, "runc-enosys-stub"]) == (STUB, BAD_ARCH)
    assert deviation.named([]) == ()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("runc-enosys", "runc-enosys is no known deviation of a runtime: did you mean "),
        ("list", "list is no known deviation of a runtime: known are runc-enosys-stub, "),
        ("", "an empty name is no known deviation"),
        ("a\nb", r"a\nb is no known deviation"),
    ],
)
def test_another_name_is_refused_with_those_that_are_known(word: str, said: str) -> None:
    with pytest.raises(BadInputError, match="bad-arch-kill-thread") as refused:
        deviation.named([STUB, word])
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_what_is_accepted_says_so() -> None:
    (cell,) = deviation.accept([FAILED], {STUB, CALLS})
    assert cell.outcome is Outcome.ACCEPTED
    assert cell.sentence == "why; accepted as runc-enosys-stub"
    assert cell.why == cell.sentence
    assert deviation.met_by([cell, FAILED], STUB) == [cell]
    assert deviation.met_by([cell], CALLS) == []


@pytest.mark.parametrize("accepted", [set(), {CALLS}, {BAD_ARCH, CALLS}])
def test_what_is_not_accepted_stays(accepted: set[KnownDeviation]) -> None:
    assert deviation.accept([FAILED], accepted) == [FAILED]


def test_all_that_explains_a_failure_has_to_be_accepted() -> None:
    both = replace(FAILED, deviations=(STUB, CALLS))
    assert deviation.accept([both], {STUB}) == [both]
    assert deviation.accept([both], {CALLS}) == [both]
    (cell,) = deviation.accept([both], {STUB, CALLS})
    assert cell.sentence.endswith("accepted as runc-enosys-stub and libseccomp-unknown-calls")


def test_nothing_but_an_explained_failure_is_accepted() -> None:
    unexplained = replace(FAILED, deviations=())
    others = [replace(FAILED, outcome=one) for one in Outcome if one is not Outcome.FAILED]
    assert deviation.accept([unexplained, *others], set(KnownDeviation)) == [unexplained, *others]


def test_what_is_accepted_does_not_hold() -> None:
    assert Outcome.ACCEPTED in NOT_HOLDING
