"""What a run tells the program that has started it."""

from pathlib import Path

import pytest

from probes.errors import InstrumentError
from reports import channel
from reports.channel import Heard


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a program that listens."""
    path = tmp_path / "told"
    monkeypatch.setenv(channel.VARIABLE, str(path))
    return path


def test_what_is_told_is_heard(told: Path) -> None:
    assert channel.heard(told) == Heard()

    channel.tell_done(7)
    channel.tell_trouble("a page\ncould not be written")
    channel.tell_done(42)
    channel.tell_trouble("\u202eanother")
    channel.tell_record("0f")

    troubles = ("a page\ncould not be written", "\u202eanother")
    assert channel.heard(told) == Heard(42, troubles=troubles, record="0f")


def test_a_refusal_is_heard(told: Path) -> None:
    channel.tell_refused("--arch x: no")

    assert channel.heard(told) == Heard(refused="--arch x: no")


def test_nobody_is_told_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(channel.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    assert not channel.is_listened_to()
    channel.tell_record("0f")

    assert not list(tmp_path.iterdir())


def test_a_line_that_is_being_written_is_heard_later(told: Path) -> None:
    channel.tell_done(7)
    with told.open("ab") as file:
        file.write(b'{"record": "0')

    assert channel.heard(told) == Heard(7)


@pytest.mark.parametrize(
    "line", ["no JSON", "[]", "7", "{}", '{"verdict": "PASS"}', '{"done": "x"}', '{"done": []}']
)
def test_whatever_else_stands_there_is_refused(told: Path, line: str) -> None:
    channel.tell_record("0f")
    with told.open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(InstrumentError, match="cannot be understood"):
        channel.heard(told)
