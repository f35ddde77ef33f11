"""A draft of waivers: refused until it is filled in, and then just what the record needs."""

import itertools
import json
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.arch import ARCHES
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.deviation import KnownDeviation
from probes.documents import waivers
from probes.errors import BadInputError
from reports import results
from reports.commands.main import run as main
from reports.formats import waiver_draft
from reports.results import Run, Verdict
from reports.tests.support import samples
from reports.tests.support.waiver_drafts import filled_in

TODAY = date(2026, 1, 31)
X86 = ("x86_64", "x32", "i386")
CALLS = ("acct", "msgrcv", "clone[0&0x10000000==0x10000000]", "mseal", 'a"b\\c', "l\nf")

_KEYS = st.builds(
    CellKey,
    claim=st.sampled_from([one for one in Claim if one is not Claim.CONTROLS]),
    profile=st.sampled_from(["kill", "errno"]),
    arch=st.sampled_from(X86),
    syscall=st.sampled_from(CALLS),
    number=st.just(1),
)
CELLS = st.lists(
    st.builds(
        Cell,
        key=_KEYS,
        outcome=st.sampled_from(Outcome),
        cause=st.none(),
        sentence=st.just("s"),
        expected=st.just("e"),
        observed=st.just("o"),
    ),
    max_size=60,
    unique_by=lambda cell: cell.key,
)


def loaded(text: str, folder: Path) -> tuple[waivers.Waiver, ...]:
    path = folder / "waivers.toml"
    path.write_text(text, encoding="utf-8")
    return waivers.load(path)


@given(cells=CELLS)
def test_a_draft_is_for_what_failed_and_for_nothing_else(
    cells: list[Cell], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = samples.run(cells)
    folder = tmp_path_factory.getbasetemp()
    given_ = loaded(filled_in(waiver_draft.draft(run, TODAY)), folder)
    failed = {
        (c.key.claim, c.key.profile, c.key.arch, c.key.syscall)
        for c in cells
        if c.outcome is Outcome.FAILED
    }
    every = itertools.product(set(Claim) - {Claim.CONTROLS}, ("kill", "errno"), X86, CALLS)
    named = {
        (claim, profile, arch, call)
        for claim, profile, arch, call in every
        if any(one.names(CellKey(claim, profile, arch, call, 1)) for one in given_)
    }
    assert named == failed
    done = waivers.waive(cells, given_, run.target.kind, TODAY)
    changed = {c.key for c, before in zip(done, cells, strict=True) if c != before}
    assert changed == {c.key for c in cells if c.outcome is Outcome.FAILED}
    assert all(c.outcome is not Outcome.FAILED for c in done)


def failing(count: int) -> Run:
    """A calibrated run in which calls are refused that no document names."""
    names = sorted(ARCHES["i386"].numbers)[:count]
    cells = [
        Cell(
            CellKey(claim, "errno", arch, name, number),
            Outcome.FAILED,
            None,
            f"{name}: why",
            "e",
            "o",
            deviations=(KnownDeviation.LIBSECCOMP_UNKNOWN_CALLS,) if arch == "x32" else (),
        )
        for claim in (Claim.LEAVES_THE_REST_ALONE, Claim.DENIES)
        for arch in X86
        for number, name in enumerate(names)
    ]
    return samples.run([*samples.controls(), *cells])


def test_a_draft_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    text = waiver_draft.draft(failing(3), TODAY)
    while 'expires = ""' in text or '= ""' in text:
        with pytest.raises(BadInputError, match=r"is empty; fill (it )?in") as refused:
            loaded(text, tmp_path)
        assert "\n" not in str(refused.value)
        key = str(refused.value).split("'")[1]
        value = "2026-12-31" if key == "expires" else '"x"'
        text = text.replace(f'\n{key} = ""', f"\n{key} = {value}")
    assert loaded(text, tmp_path)


def test_a_draft_is_compact() -> None:
    run = failing(200)
    text = waiver_draft.draft(run, TODAY)
    lines = text.splitlines()
    assert sum(cell.outcome is Outcome.FAILED for cell in run.cells) == 1200
    assert len(lines) < 200
    assert max(map(len, lines)) <= 100
    assert text.count("[[waiver]]") == 4
    said = "# Or accept what runtimes do to every profile: --accept=libseccomp-unknown-calls"
    assert lines.count(said) == 2


def test_the_command_makes_a_record_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record as it would be with the waivers that were drafted from it."""
    run = failing(5)
    results.write(run, tmp_path / "results.json")
    assert results.summarize(run).ruling.verdict is Verdict.FAIL
    assert main(["waivers", str(tmp_path / "results.json"), "-o", str(tmp_path / "new.toml")]) == 0
    assert capsys.readouterr().out == ""
    text = (tmp_path / "new.toml").read_text(encoding="utf-8")
    given_ = loaded(filled_in(text), tmp_path)
    granted = waivers.Granted(given_, "builtin", TODAY)
    done = granted.waive(run.cells)
    judged = granted.judge([c.key for c in done], {c.key.syscall for c in done}, ARCHES, done)
    assert {one.state for one in judged} == {waivers.WaiverState.ACTIVE}
    assert not any(cell.outcome is Outcome.FAILED for cell in done)


def test_where_nothing_failed_the_draft_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.write(samples.passing(), tmp_path / "results.json")
    assert main(["waivers", str(tmp_path / "results.json")]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text) == {"format": 1}
    assert loaded(text, tmp_path) == ()


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"schema": "another"}))
    assert main(["waivers", str(tmp_path / "x.json")]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
