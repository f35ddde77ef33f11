"""The survey of a machine in a record: what is written is read again, damage is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from probes.errors import BadInputError
from reports import results
from reports.html import compliance
from reports.terminal import survey_lines
from reports.tests.support import samples

Record = dict[str, Any]


def record() -> Record:
    made: Record = json.loads(results.to_json(samples.surveyed()))
    return made


def test_a_survey_comes_back() -> None:
    found, wanted = results.from_json(record()), samples.surveyed()
    assert found.target == wanted.target
    assert set(found.cells) == set(wanted.cells)


def test_other_targets_have_none() -> None:
    assert "survey" not in json.loads(results.to_json(samples.passing()))["target"]
    assert "Containers and services" not in compliance.render(samples.passing())


def changed(change: Callable[[Record], object]) -> Record:
    whole = record()
    change(whole["target"]["survey"])
    return whole


DAMAGED: dict[str, Callable[[Record], object]] = {
    "a stack that is none": lambda one: one["workloads"][1].update(stacks=["0" * 12]),
    "an unknown state": lambda one: one["workloads"][0].update(state="fine"),
    "an unknown kind": lambda one: one["workloads"][0].update(kind="pod"),
    "a name that is none": lambda one: one["stacks"][0].update(name="<b>"),
    "a flag that is none": lambda one: one["stacks"][0].update(logged=[1]),
    "less than nothing": lambda one: one.update(others=-1),
    "a key too many": lambda one: one.update(more=1),
    "a key too few": lambda one: one.pop("zombies"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_survey_is_refused(how: str) -> None:
    with pytest.raises(BadInputError, match=r"^target\.survey"):
        results.from_json(changed(DAMAGED[how]))


def test_records_of_two_machines_have_no_survey_together() -> None:
    one = samples.surveyed()
    found = one.target.survey
    assert found is not None
    other = replace(one, target=replace(one.target, survey=replace(found, others=1)))
    assert results.join([one, one]).target.survey == found
    assert results.join([one, other]).target.survey is None


def test_the_page_has_every_row_and_its_state() -> None:
    page = compliance.render(samples.surveyed())
    for row in ("docker:agent", "containerd:shop/cart/web", "podman:db", "service:cron.service"):
        assert f"<code>{row}" in page
    assert ">State</th>" in page
    assert "Required (3)" in page
    assert "Not required (1)" in page
    assert "2 programs, 1 with SECCOMP_FILTER_FLAG_LOG" in page
    assert '<a href="#survey">1 of 3 containers and services that are required hold</a>' in page
    assert "2 distinct: " in page


def test_the_lines_have_every_row_and_its_state() -> None:
    run = samples.surveyed()
    said = survey_lines.lines(run, [], 100)
    assert said[0].split() == ["state", "counts", "what", "processes", "filters"]
    assert [line.split("  ")[0] for line in said[1:5]] == [
        *("no filter", "does not hold", "holds"),
        "no filter",
    ]
    assert said[-1] == results.summarize(run).ruling.line
    # Who is not required is not complained of.
    assert not any(line.startswith("service:cron.service is") for line in said)
    with pytest.raises(ValueError, match="not that of a whole machine"):
        survey_lines.lines(samples.passing(), [], 100)
