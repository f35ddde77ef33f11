"""A process that answers questions: its answers come whole, and without one it is gone."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from probes.instrument.helper import Helper, NoAnswerError

_ECHO = "[(sys.stdout.write(line), sys.stdout.flush()) for line in sys.stdin]"


@pytest.fixture
def started() -> Iterator[Callable[[str], Helper]]:
    helpers: list[Helper] = []

    def start(statement: str) -> Helper:
        helpers.append(Helper(statement))
        return helpers[-1]

    yield start
    for one in helpers:
        one.close()


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
def test_answers_come_whole_and_one_after_the_other(
    size: int, started: Callable[[str], Helper]
) -> None:
    echo = started(_ECHO)
    for letter in (b"a", b"b"):
        assert echo.ask(letter * size, 20) == letter * size + b"\n"
    assert echo.is_alive


def test_an_answer_that_is_late_ends_it(started: Callable[[str], Helper]) -> None:
    silent = started("import time; time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(NoAnswerError) as caught:
        silent.ask(b"", 0.2)
    assert caught.value.status is None
    assert time.monotonic() - begun < 10
    assert not silent.is_alive


def test_half_an_answer_is_none(started: Callable[[str], Helper]) -> None:
    half = started("sys.stdin.readline(); os = __import__('os'); os.write(1, b'x'); input()")
    with pytest.raises(NoAnswerError) as caught:
        half.ask(b"", 1)
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("sys.stdin.readline(); sys.exit(3)", 3),
        ("sys.stdin.readline(); __import__('os').abort()", -signal.SIGABRT),
        ("sys.exit(4)", 4),
    ],
)
def test_how_it_ended_is_told(
    statement: str, status: int, started: Callable[[str], Helper]
) -> None:
    ending = started(statement)
    if status == 4:  # before it is asked
        ending._process.wait(20)
    with pytest.raises(NoAnswerError) as caught:
        ending.ask(b"", 20)
    assert caught.value.status == status


def test_it_finds_the_modules_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[str], Helper]
) -> None:
    (tmp_path / "made_up.py").write_text("WORD = 'made up'")
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.devnull)
    asked = started("import made_up; sys.stdin.readline(); print(made_up.WORD, flush=True)")
    assert asked.ask(b"", 20) == b"made up\n"
