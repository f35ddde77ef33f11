"""The picture at the top: each call by profile and kernel, with the sign of what became of it."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from probes.cell import Cell, Claim, Outcome
from probes.judging.kinds import Kind, Subject
from reports.causes.looks import LOOKS
from reports.html import picture
from reports.html.compliance import render
from reports.html.view import GLYPHS
from reports.results import Run, why_none_counts
from reports.tests.support import samples


def rows(page: str) -> dict[str, list[str]]:
    """What stands in each row of the picture, by the name of the row."""
    shown = page[page.index('<section id="picture"') :]
    shown = shown[: shown.index("</section>")]
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", shown):
        name = re.search(r'<th scope="row">(?:<a [^>]*>)?([^<]*)', row)
        if name is not None:
            cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
            found[name[1]] = [re.sub(r"<[^>]*>", "", cell) for cell in cells]
    return found


def heads(page: str) -> list[str]:
    """The heads of the picture's columns."""
    shown = page[page.index('<section id="picture"') :]
    head = shown[shown.index("<thead>") : shown.index("</thead>")]
    return re.findall(r"<span>([^<]*)</span>", head)


def changed(run: Run, change: dict[str, Outcome]) -> Run:
    """The run with another outcome of each cell of some calls."""

    def one(cell: Cell) -> Cell:
        outcome = change.get(cell.key.syscall)
        return cell if outcome is None else replace(cell, outcome=outcome)

    return replace(run, cells=tuple(map(one, run.cells)))


def test_every_documented_call_has_a_sign_in_each_profile() -> None:
    run = samples.passing()
    found = rows(render(run))
    assert heads(render(run)) == ["KILL", "ERRNO", "LOG"]
    sign = f"{LOOKS[Kind.AS_DOCUMENTED].sign}{Kind.AS_DOCUMENTED}"
    assert {call.name for call in run.policy.calls} <= found.keys()
    for call in run.policy.calls:
        assert found[call.name] == [sign] * 3


def test_what_is_wrong_is_where_it_is_wrong() -> None:
    """By an own count of the cells: which call failed under which profile, on which ABIs."""
    run = samples.failing()
    found = rows(render(run))
    fail = {
        (cell.key.syscall, cell.key.profile) for cell in run.cells if cell.outcome is Outcome.FAILED
    }
    through = LOOKS[Kind.GETS_THROUGH].sign
    for call in run.policy.calls:
        for profile, told in zip(run.profiles, found[call.name], strict=True):
            assert (through in told) == ((call.name, profile) in fail), (call.name, profile)
    assert "x86_64, x32" in found["bpf"][0]
    assert (
        f"{LOOKS[Kind.BLOCKED_TOO_MUCH].sign}{Kind.BLOCKED_TOO_MUCH} 1"
        in (found["Calls that are not documented"][1])
    )


@pytest.mark.parametrize(
    ("outcome", "sign"),
    [
        (Outcome.CANNOT_TELL, LOOKS[Kind.NOT_JUDGED].sign),
        (Outcome.BROKEN, LOOKS[Kind.NOT_JUDGED].sign),
        (Outcome.NOT_APPLICABLE, LOOKS[Kind.NOT_APPLICABLE].sign),
        (Outcome.WAIVED, GLYPHS[Outcome.WAIVED]),
        (Outcome.ACCEPTED, GLYPHS[Outcome.ACCEPTED]),
    ],
)
def test_no_other_outcome_looks_as_documented(outcome: Outcome, sign: str) -> None:
    run = changed(samples.passing(), {"bpf": outcome})
    found = rows(render(run))
    assert all(told.startswith(sign) for told in found["bpf"])
    assert all(told.startswith(LOOKS[Kind.AS_DOCUMENTED].sign) for told in found["mount"])


def test_what_could_not_be_told_stands_beside_what_was_seen() -> None:
    """Nobody's run: the calls are refused, and whether that is recorded is open."""
    found = rows(render(samples.unprivileged()))
    assert all(told.startswith("✓?as documented, as far") for told in found["bpf"])


def test_kernels_that_differ_stand_side_by_side() -> None:
    """And those on which all is the same share a column, which names them."""
    run = samples.merged()
    page = render(run)
    assert heads(page) == [
        "KILL, 6.12.0, 6.1.0-40-amd64",
        "KILL, 5.10.0-35-amd64",
        "ERRNO, 6.12.0, 6.1.0-40-amd64",
        "ERRNO, 5.10.0-35-amd64",
        "LOG, all 3 kernels",
    ]
    through = LOOKS[Kind.GETS_THROUGH].sign
    assert [through in told for told in rows(page)["bpf"]] == [False, True, False, True, False]


def test_columns_cover_every_kernel_once() -> None:
    run = samples.merged()
    seen = Counter(
        (one.profile, number) for one in picture.columns(run) for number in one.environments
    )
    assert seen == Counter((profile, number) for profile in run.profiles for number in range(3))


def test_bar_counts_calls_as_the_first_line_does() -> None:
    """58 of 60 are as documented and 2 get through, whatever the number of ABIs."""
    kill = next(one for one in picture.columns(samples.failing()) if one.profile == "kill")
    counts = Counter(mark.words for mark in kill.calls().values())
    assert counts == {Kind.GETS_THROUGH: 2, Kind.AS_DOCUMENTED: 58}


def test_no_picture_where_no_verdict_counts() -> None:
    """A sign that says that all is well would be wrong there."""
    run = samples.passing()
    cells = tuple(
        replace(cell, outcome=Outcome.BROKEN) if cell.key.claim is Claim.CONTROLS else cell
        for cell in run.cells
    )
    broken = replace(run, cells=cells)
    assert why_none_counts(broken.cells)
    assert 'id="picture"' not in render(broken)


def test_every_subject_has_a_row() -> None:
    assert {*picture._SUBJECTS, Subject.DOCUMENTED_CALL} == set(Subject)
