"""The pages of commands in a real browser: readable, whole, for everybody, and safe."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from probes.cell import Outcome
from reports import results
from reports.benchmarks.browser import BrowserPage
from reports.filters.documents import Asked
from reports.pages import comparison_page, explanation_page, fleet_page, observation_page
from reports.results import comparison, observed
from reports.results.fleet import Gathering
from reports.terminal.observed import to_json
from reports.tests.pages.test_filter_pages import (
    POLICY,
    compared_page,
    explained_page,
)
from reports.tests.pages.test_fleet_page import denied, machine
from reports.tests.support import pages, samples
from reports.tests.support.filter_samples import (
    by_arguments,
    every_action,
    explained,
    explained_call,
    stack,
)
from reports.tests.support.observations import ROWS, reported

HOSTILE: Final = (
    "<img src=x onerror=\"document.title='hit';window.hit=1\">\u202e\x1b\udfff"
    "\"'></td></style></title></script><script>window.hit=1</script>" + "W" * 3000
)


def the_way() -> str:
    one = stack(by_arguments(), every_action())
    asked = Asked("bpf:x", "clone")
    return explanation_page.render(asked, "x", POLICY, [explained_call(one, "clone")])


def hostile_explanation() -> str:
    one = stack(every_action(), name=HOSTILE)
    return explanation_page.render(Asked(HOSTILE), HOSTILE, POLICY, [explained(one)])


def compared_records(poison: str = "") -> str:
    """Root's record and nobody's."""
    old, new = samples.passing(), samples.unprivileged()
    if poison:
        target = replace(new.target, description=poison)
        cells = tuple(replace(cell, reason=f"{cell.reason}{poison}") for cell in new.cells)
        new = replace(new, target=target, cells=cells)
    digests = (results.record_digest(old), results.record_digest(new))
    return comparison_page.render(comparison.compare(old, digests[0], new, digests[1]))


def observed_workload(poison: str = "") -> str:
    """A workload with calls of every kind."""
    document = json.loads(to_json(reported(ROWS)))
    if poison:
        document = poisoned(document, poison)
    return observation_page.render(observed.from_json(document))


def poisoned(value: Any, poison: str, name: str = "") -> Any:  # noqa: ANN401 - JSON
    """A document in which every free text has something nasty in it."""
    if isinstance(value, dict):
        return {one: poisoned(inner, poison, one) for one, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, poison, name) for inner in value]
    free = {"command", "call", "abi", "executable", "comm", "gives", "kernel", "notes"}
    further = {"sentence", "ended", "at", "values", "name"}
    return f"{value}{poison}" if name in free | further else value


def fleet_of_many(poison: str = "") -> str:
    """Two kinds of targets, one divided, and more unlike machines than a table has columns."""
    fleet = Gathering()
    for kind, count in (("builtin", 30), ("docker", 2)):
        for rank in range(count):
            run = machine(f"{kind}-{rank}{poison}", Outcome.PASSED)
            cells = [
                replace(cell, outcome=Outcome.FAILED, sentence=f"{cell.sentence}{poison}")
                if place and (rank >> place - 1) % 2 and place < 3
                else cell
                for place, cell in enumerate(run.cells)
            ]
            further = [denied(f"call{rank}", rank, Outcome.CANNOT_TELL)]
            target = replace(run.target, kind=kind)
            made = replace(run, cells=(*cells, *further), target=target)
            fleet.take_record(made, results.record_digest(made))
    return fleet_page.render(fleet.fleet(), [f"gone{poison}"])


PAGES: Final[dict[str, Callable[[], str]]] = {
    "explain": lambda: explained_page(stack(by_arguments(), every_action())),
    "explain, one call": the_way,
    "explain, hostile": hostile_explanation,
    "diff": lambda: compared_page(stack(every_action()), stack(by_arguments())),
    "diff, hostile": lambda: compared_page(
        stack(every_action(), name=HOSTILE), stack(by_arguments(), name=HOSTILE)
    ),
    "observe": observed_workload,
    "observe, hostile": lambda: observed_workload(HOSTILE),
    "merge": fleet_of_many,
    "merge, hostile": lambda: fleet_of_many(HOSTILE),
    "compare": compared_records,
    "compare, hostile": lambda: compared_records(HOSTILE),
}


def written(text: str, folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_does_nothing(name: str, page: BrowserPage, tmp_path: Path) -> None:
    path = written(PAGES[name](), tmp_path)
    for width in pages.WIDTHS:
        assert pages.faults(page, path, width) == []


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("name", [name for name in PAGES if "hostile" not in name])
def test_axe_finds_nothing(name: str, page: BrowserPage, tmp_path: Path) -> None:
    """In both colour schemes, everything unfolded."""
    path = written(PAGES[name](), tmp_path)
    for scheme in ("light", "dark"):
        page.look(scheme=scheme)
        page.open(path)
        page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
        assert pages.accuse(page) == []


def test_a_page_that_is_wrong_is_found_out(page: BrowserPage, tmp_path: Path) -> None:
    """What is too wide, and what runs, where a page lets it."""
    text = PAGES["diff"]()
    start, end = text.index('<meta http-equiv="Content-Security'), text.index('<meta name="view')
    wide = '<p style="width: 3000px" onclick="x">x</p><script>window.hit=1</script></main>'
    path = written((text[:start] + text[end:]).replace("</main>", wide), tmp_path)
    found = pages.faults(page, path, 360)
    assert {"it scrolls sideways", "a script ran", "it has elements that no page has"} <= set(found)
    assert {"attribute style", "attribute onclick"} <= set(found)
