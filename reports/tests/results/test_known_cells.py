"""A record that is read by what earlier ones said is the one that is read from its beginning."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cell, Outcome
from probes.errors import BadInputError
from reports import results
from reports.results import Run, codec, fleet
from reports.results.fields import parse
from reports.results.known_cells import KnownCells
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS


def read_alone(text: str) -> Run | None:
    """The run of a text that is parsed as a whole; None where that is refused."""
    try:
        return codec.from_json(parse(text))
    except BadInputError:
        return None


@pytest.mark.slow
@given(st.lists(RUNS, max_size=4))
def test_what_was_read_before_changes_nothing(runs: list[Run]) -> None:
    """Every record is read, whichever came before, and those without cells by the codec alone."""
    known = KnownCells()
    for run in [*runs, *runs]:
        text = results.to_json(run)
        told = known.record(text)
        assert (told is None) == (not run.cells)
        if told is not None:
            assert told == (read_alone(text), results.summarize(run))


def small() -> Run:
    """A record of few cells."""
    return samples.run([*samples.controls()][:20])


def failing() -> Run:
    """One of as many, of other words."""
    run = small()
    return replace(run, cells=tuple(samples.failed(cell, "nothing") for cell in run.cells))


OLD = Path(__file__).parents[1] / "data/results-1.json"

MARKS = ('"', "}", "{", "[", "]", ",", "\n", "\n  },\n  {", '\n "cells": [\n  {', "1", "\\", "")
"""What changes the form of a record when it is put in somewhere."""


@pytest.mark.slow
@given(RUNS.filter(lambda run: bool(run.cells)), st.data())
def test_damage_is_never_read_as_something_else(run: Run, data: st.DataObject) -> None:
    """Whatever is cut out and put in: it is what a parser of the whole makes of it, or nothing."""
    known = KnownCells()
    text = results.to_json(run)
    known.record(text)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 40)))
    damaged = text[:begin] + data.draw(st.sampled_from(MARKS)) + text[end:]
    told = known.record(damaged)
    assert told is None or told[0] == read_alone(damaged)


def changed(text: str, old: str, new: str) -> str:
    """The text with a part replaced that must be there."""
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"passed"', '"failed"'),
        ("\n  },\n  {\n", "\n  },\n  [\n"),
        ("\n  },\n  {\n", "\n  },\n  {\n  },\n  {\n"),
        ("\n  },\n  {\n", '\n  },\n  {"x": {}},\n  {\n'),
        ('\n "cells": [', ',\n "cells": ['),
        ('\n "cells": [', '\n "kept": {"cells": [],\n "cells": ['),
        ("\n ]\n}\n", "\n ]\n}}\n"),
        ("\n ]\n}\n", '\n ],\n "more": []\n}\n'),
        ('"environment": 0', '"environment": 1'),
    ],
)
def test_changed_record_is_refused_in_the_same_words(old: str, new: str, tmp_path: Path) -> None:
    """Also where every cell of it but one was met before."""
    text = results.to_json(small())
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(text)
    bad.write_text(changed(text, old, new))
    with pytest.raises(BadInputError) as alone:
        results.load(bad)
    with pytest.raises(BadInputError) as after:
        fleet.gather([good, bad])
    assert str(after.value) == str(alone.value)


def test_cell_twice_is_refused() -> None:
    """Its text was met, and it cannot stand there again."""
    text = results.to_json(small())
    begin = text.index('\n "cells": [\n') + len('\n "cells": [\n')
    first = text[begin : text.index("\n  },\n", begin) + len("\n  },\n")]
    known = KnownCells()
    assert known.record(text) is not None
    assert known.record(text[:begin] + first + text[begin:]) is None


def test_cells_of_this_version_in_a_record_of_the_first_are_refused() -> None:
    """Though each of them was met in a record that may have them."""
    text = results.to_json(small())
    old = json.loads(OLD.read_text())
    summary = old["summary"] | json.loads(text)["summary"]
    head = codec.indented({**old, "summary": summary, "cells": []}).removesuffix(
        '\n "cells": []\n}'
    )
    mixed = head + text[text.index('\n "cells": [') :]
    known = KnownCells()
    assert known.record(text) is not None
    assert known.record(mixed) is None
    assert read_alone(mixed) is None
    assert read_alone(codec.indented(old)) is not None


@pytest.mark.parametrize("laid_out", [{"indent": 2}, {"sort_keys": True}, {}])
def test_record_in_another_form_is_left_to_the_codec(
    laid_out: dict[str, int], tmp_path: Path
) -> None:
    """As other tools write JSON."""
    path, same = tmp_path / "a.json", tmp_path / "b.json"
    text = results.to_json(small())
    path.write_text(json.dumps(json.loads(text), **laid_out))  # type: ignore[arg-type] # its many keywords
    same.write_text(text)
    (one, pattern), (other, alike) = fleet.gather([path, same]).nodes
    assert (one.verdict, one.started, pattern) == (other.verdict, other.started, alike)


def numbered(number: int) -> Run:
    """A record in which one cell is like no other record's."""
    run = small()
    *same, last = run.cells
    return replace(run, cells=(*same, replace(last, sentence=f"{last.sentence}: {number}")))


def test_cell_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records have it; this is what makes a fleet quick."""
    read: list[Cell] = []
    real = codec.cell_from_json

    def counting(value: object) -> Cell:
        read.append(real(value))
        return read[-1]

    monkeypatch.setattr(codec, "cell_from_json", counting)
    known = KnownCells()
    for number in range(20):
        assert known.record(results.to_json(numbered(number))) is not None
    assert len(read) == len(small().cells) + 19


def test_what_is_not_met_again_is_forgotten() -> None:
    """Or else a thousand records would be kept that have nothing in common."""
    known = KnownCells()
    longest = 0
    for number in range(50):
        run = small()
        own = [replace(cell, sentence=f"{cell.sentence}: {number}") for cell in run.cells]
        text = results.to_json(replace(run, cells=tuple(own)))
        longest = max(longest, len(text))
        assert known.record(text) is not None
        kept = sum(map(len, known._recent)) + sum(map(len, known._older))
        assert kept <= 4 * longest


def test_two_kinds_of_records_in_turn_are_both_known() -> None:
    """As those of a fleet of two sorts of machines are."""
    known = KnownCells()
    kinds = [results.to_json(run) for run in (small(), failing())]
    told = [known.record(text) for text in kinds * 6]
    for first, last, outcome in zip(
        told[2:4], told[-2:], (Outcome.PASSED, Outcome.FAILED), strict=True
    ):
        assert first is not None
        assert last is not None
        assert all(a is b for a, b in zip(first[0].cells, last[0].cells, strict=True))
        assert {cell.outcome for cell in last[0].cells} == {outcome}
