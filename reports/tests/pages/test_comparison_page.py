"""The page of two records: everything that changed, each reason once."""

from dataclasses import replace
from importlib import resources

import pytest

from probes.cell import Outcome
from probes.text import visible
from reports import results
from reports.html.view import outcome_class
from reports.pages import comparison_page
from reports.results import Run, comparison
from reports.results.comparison import RecordComparison
from reports.summary import call_name
from reports.tests.support import samples
from reports.tests.support.pages import checked


def found_in(old: Run, new: Run) -> RecordComparison:
    digests = (results.record_digest(old), results.record_digest(new))
    return comparison.compare(old, digests[0], new, digests[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["failing", "unprivileged", "waived", "merged", "empty"])
def test_every_reason_and_every_call_is_on_the_page(name: str) -> None:
    found = found_in(samples.passing(), samples.all_kinds()[name])
    checker = checked(comparison_page.render(found))
    for group in found.groups:
        assert visible(group.reason[1:]) in checker.text
        assert all(call_name(cell.key) in checker.text for cell in group.cells)
    assert checker.tags["article"] == len(found.groups)


def test_equal_records_are_told_to_be() -> None:
    run = samples.empty()
    text = checked(comparison_page.render(found_in(run, run))).text
    assert "Nothing is worse" in text
    assert "No cell came to anything else." in text


def test_two_targets_are_both_named() -> None:
    one = samples.empty()
    other = replace(one, target=replace(one.target, description="<b>another"))
    text = checked(comparison_page.render(found_in(one, other))).text
    assert f"{one.target.description} and <b>another" in text
    assert "The targets differ" in text


def test_every_outcome_has_a_colour_in_a_bar() -> None:
    """One that the style does not know would be black."""
    style = resources.files("reports.html").joinpath("style.css").read_text(encoding="utf-8")
    missing = [one for one in Outcome if f".bar .{outcome_class(one)} {{ fill" not in style]
    assert missing == []
