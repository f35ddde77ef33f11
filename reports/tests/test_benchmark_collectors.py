"""What the benchmark of sources of records says of two runs."""

from collections.abc import Mapping
from typing import Any

import pytest

from probes.audit.source import SourceKind
from reports.tests import benchmark_collectors as benchmark
from reports.tests.benchmark_collectors import Comparison

RECORDED = {"kind": "recorded", "source": "netlink", "text": "audit(1.000:7): pid=7"}
KEY = ("is reported", "acct")
CELL: Mapping[str, Any] = {
    "outcome": "passed",
    "cause": None,
    "expected": "an audit record",
    "observed": "its audit record arrived",
    "reason": "its audit record arrived, as expected",
    "evidence": [RECORDED],
}


def compared(cell: Mapping[str, Any]) -> Comparison:
    return benchmark.compared({KEY: cell}, {KEY: CELL})


def test_the_words_of_a_record_are_the_sources_own() -> None:
    other = {"kind": "recorded", "source": "laurel:FILE", "text": '{"ID":"1.000:8"}'}

    assert compared({**CELL, "evidence": [other]}) == Comparison(1, compared(CELL).untold, ())


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": "failed"},
        {"outcome": "broken"},
        {"observed": "it left no audit record"},
        {"evidence": []},
        {"evidence": [RECORDED, RECORDED]},
    ],
)
def test_any_other_difference_is_one(changed: Mapping[str, Any]) -> None:
    assert compared({**CELL, **changed}).different == (KEY,)


def test_what_cannot_be_told_is_counted_by_its_reason() -> None:
    found = compared({**CELL, "outcome": "cannot_tell", "reason": "nothing arrived"})

    assert (found.equal, dict(found.untold), found.different) == (0, {"nothing arrived": 1}, ())


def test_a_cell_that_netlink_lacks_is_different() -> None:
    assert benchmark.compared({KEY: CELL}, {}).different == (KEY,)


def test_a_cell_that_only_netlink_has_is_different() -> None:
    assert benchmark.compared({}, {KEY: CELL}).different == (KEY,)


def test_no_source_is_left_out() -> None:
    words = {word.partition("-")[0] for word in benchmark.SOURCES}
    wanted = {kind.name.lower() for kind in SourceKind} - {"none", "best"}

    assert words == wanted
