"""A comparison of records as a document: its schema, its way back, and what it counts."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given, settings

from probes.cell import Cause, Claim, Outcome
from probes.errors import BadInputError
from reports import results
from reports.results import ChangeKind, Run, comparison
from reports.results.comparison import RecordComparison
from reports.terminal import compared
from reports.terminal.lines import columns
from reports.tests.support import samples
from reports.tests.support.filter_samples import schema
from reports.tests.support.strategies import RUNS

SCHEMA: Final = schema("comparison")
RANKS: Final = {
    "passed": 0,
    "not_applicable": 0,
    "waived": 1,
    "accepted": 1,
    "cannot_tell": 2,
    "broken": 2,
}


def found_in(old: Run, new: Run) -> RecordComparison:
    digests = (results.record_digest(old), results.record_digest(new))
    return comparison.compare(old, digests[0], new, digests[1])


def unprivileged() -> RecordComparison:
    """As root and as nobody: hundreds of cells for one reason."""
    return found_in(samples.passing(), samples.unprivileged())


def document(found: RecordComparison) -> Any:  # noqa: ANN401 - JSON
    return json.loads(comparison.to_json(found))


def test_the_schema_is_valid_and_knows_every_word() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    published: Any = SCHEMA
    defined = published["$defs"]
    assert set(defined["outcome"]["enum"]) == {None, *Outcome}
    assert set(defined["group"]["properties"]["cause"]["enum"]) == {None, *Cause}
    assert set(defined["cell"]["properties"]["claim"]["enum"]) == set(Claim)
    assert set(published["properties"]["counts"]["required"]) == set(ChangeKind)


@pytest.mark.slow
@given(RUNS, RUNS)
@settings(deadline=None, max_examples=40)
def test_any_comparison_obeys_the_schema_and_comes_back(old: Run, new: Run) -> None:
    found = found_in(old, new)
    told = document(found)
    jsonschema.validate(told, SCHEMA)
    assert comparison.from_json(told) == found
    for width in (40, 100):
        lines = compared.lines(found, width)
        assert len(lines) <= 20
        assert all(line.isprintable() for line in lines)
        assert all(columns(line) <= width for line in lines)


def counted(old: Run, new: Run) -> Counter[str]:
    """How many cells changed in which way, by the two records' own JSON."""
    sides = []
    for run in (old, new):
        cells = json.loads(results.to_json(run))["cells"]
        names = ("claim", "profile", "arch", "syscall", "number", "variant")
        sides.append({tuple(cell[name] for name in names): cell["outcome"] for cell in cells})
    kinds: Counter[str] = Counter()
    for key in sides[0].keys() & sides[1].keys():
        was, now = (RANKS.get(side[key], 3) for side in sides)
        if sides[0][key] != sides[1][key]:
            kinds["worse" if now > was else "better" if now == 0 < was else "other"] += 1
    return kinds


@pytest.mark.slow
@pytest.mark.parametrize("other", ["failing", "unprivileged", "waived"])
def test_counts_are_those_of_the_records(other: str) -> None:
    old, new = samples.passing(), samples.all_kinds()[other]
    for one, two in ((old, new), (new, old)):
        told = document(found_in(one, two))
        counts = {kind: count for kind, count in told["counts"].items() if count}
        assert {kind: counts[kind] for kind in counts.keys() & RANK_KINDS} == counted(one, two)
        listed = Counter(dict.fromkeys(told["counts"], 0))
        for group in told["groups"]:
            listed[group["kind"]] += len(group["cells"])
        assert listed == told["counts"]


RANK_KINDS: Final = frozenset({"worse", "better", "other"})


@pytest.mark.slow
def test_one_reason_of_hundreds_is_told_once() -> None:
    """In twenty lines; with -v every call by name."""
    found = unprivileged()
    lines = compared.lines(found, 100)
    assert sum(len(group.cells) for group in found.groups) > 400
    assert len(lines) <= 20
    for group in found.groups:
        assert len({group.reason for group in found.groups}) == len(found.groups)
        assert len(group.cells) == len(set(group.cells))
    whole = " ".join(" ".join(compared.lines(found, 100, verbose=True)).split())
    for group in found.groups:
        assert whole.count(" ".join(group.reason.split())) == 1
        assert all(name in whole for name in compared.call_names(group))


def test_what_does_not_fit_is_counted() -> None:
    """A group of its own for each of thirty reasons."""
    old = samples.passing()
    cells = [
        replace(cell, outcome=Outcome.FAILED, reason=f"reason {rank}") if rank < 30 else cell
        for rank, cell in enumerate(old.cells)
    ]
    lines = compared.lines(found_in(old, replace(old, cells=tuple(cells))), 100)
    assert len(lines) <= 20
    shown = sum(line.startswith("worse: 1 cell") for line in lines)
    assert lines[-1].startswith(f"and {30 - shown} cells for {30 - shown} more reasons: -v")


def test_another_schema_and_a_changed_file_are_refused() -> None:
    told = document(found_in(samples.empty(), samples.empty()))
    assert comparison.is_comparison(told)
    with pytest.raises(BadInputError, match=r"this version reads .*/comparison/1"):
        comparison.from_json({**told, "schema": "syscall-conformance/comparison/9"})
    changed = json.loads(json.dumps(told))
    changed["counts"]["worse"] = 1
    with pytest.raises(BadInputError, match="counts: they are not those of the groups"):
        comparison.from_json(changed)
    del changed["old"]["user"]
    with pytest.raises(BadInputError, match=r"old\.user: is missing"):
        comparison.from_json(changed)
