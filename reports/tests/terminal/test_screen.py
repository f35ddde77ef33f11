"""Lines on terminals of every width, in pipes, and with what people give as names."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from reports import results
from reports.commands import main
from reports.terminal import lines, screen, survey_lines
from reports.tests.support import samples

SAID = "✗ GETS THROUGH (kill): [red]x[/red]\nPASS (exit status 0): all\nplain [bold]\n"
COLOURED = "\x1b[31m✗ GETS THROUGH (kill): [red]x[/red]\x1b[0m\n"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

VARIABLES = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "COLUMNS")
"""What says something about colours and widths besides the terminal."""


@contextmanager
def terminal(columns: int = 80) -> Iterator[TextIO]:
    """A stream that leads to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with os.fdopen(theirs, "w") as stream:
            yield stream
    finally:
        os.close(ours)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_lines_have_the_colour_of_their_sign_or_verdict_and_names_are_no_markup() -> None:
    with terminal() as stream:
        shown = screen.painted(SAID, stream)
    assert shown.startswith(COLOURED)
    assert "\x1b[32mPASS" in shown
    assert ESCAPE.sub("", shown) == SAID


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_terminals_without_colours_get_none(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with terminal() as stream:
        assert screen.painted(SAID, stream) == SAID


def test_a_pipe_gets_no_escapes_unless_somebody_asks_for_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = io.StringIO()
    assert screen.painted(SAID, pipe) == SAID
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert screen.painted(SAID, pipe).startswith(COLOURED)
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen.painted(SAID, pipe) == SAID


@pytest.mark.parametrize(("columns", "wide"), [(20, 40), (40, 40), (80, 80), (200, 200)])
def test_the_width_is_that_of_the_terminal_that_is_written_to(columns: int, wide: int) -> None:
    with terminal(columns) as stream:
        assert screen.width(stream, 100) == wide
    assert screen.width(io.StringIO(), 100) == 100
    assert screen.width(None, 100) == 100


def taken(text: str) -> int:
    """The columns that a text takes, by the Unicode tables of Python."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


WIDE = "東京の容器 runs 記録 and " * 12


@pytest.mark.parametrize("width", [40, 41, 80, 200])
def test_wide_characters_take_two_columns(width: int) -> None:
    cut = lines.cut(WIDE, width)
    assert width - 2 <= taken(cut) <= width
    assert cut.endswith("…")
    fits = "記" * (width // 2)
    assert lines.cut(fits, width) == fits
    assert taken(lines.cut(f"{fits}録", width)) <= width
    for said in (lines.wrapped(WIDE, width), lines.clipped(WIDE, width, 100)):
        assert all(taken(line) <= width for line in said)
        assert "".join("".join(said).split()) == "".join(WIDE.split())


def test_a_word_of_wide_characters_is_broken_within_the_width() -> None:
    said = lines.wrapped("記" * 100, 41)
    assert all(38 <= taken(line) <= 41 for line in said[:-1])
    assert "".join(said) == "記" * 100


ROWS = [("state", "what", "processes"), ("holds", "docker:[red]東京[/red]" * 5, "1,234")]


def test_a_table_has_straight_columns_and_keeps_to_a_narrow_terminal() -> None:
    head, row = lines.table(ROWS, lines.UNCUT, [2])
    assert taken(head) == taken(row)
    assert "[red]東京[/red]" in row
    narrow = lines.table(ROWS, 40, [2])
    assert all(taken(line) <= 40 for line in narrow)
    assert len(narrow) > 2
    assert "".join(narrow).count("東") == 5


@pytest.fixture(name="record")
def _record(tmp_path: Path) -> Path:
    """A record whose folder has a name that would be markup and act on a terminal."""
    folder = tmp_path / "[red]x[/red]\x1b[31m"
    folder.mkdir(parents=True)
    path = folder / "results.json"
    path.write_text(results.to_json(samples.passing()))
    return path


def shown(*words: str, columns: int, **variables: str) -> str:
    """What a command shows on a terminal of so many columns; 0 for a pipe."""
    given = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    program = "import sys; from reports.commands import main; sys.exit(main.run(sys.argv[1:]))"
    ours, theirs = pty.openpty() if columns else os.pipe()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as reader:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env={**given, "TERM": "xterm", **variables},
            stdout=theirs,
        )
        os.close(theirs)
        seen = b""
        while piece := _piece(reader):
            seen += piece
        process.wait(timeout=60)
    return seen.decode().replace("\r\n", "\n")


def _piece(reader: io.RawIOBase) -> bytes:
    try:
        return reader.read(4096) or b""
    except OSError:  # EIO: the other side is closed
        return b""


def test_a_name_neither_is_markup_nor_acts_on_the_terminal(record: Path) -> None:
    for columns in (0, 40):
        said = shown("report", str(record), "--format=markdown", columns=columns)
        assert "[red]x[/red]\\x1b[31m: " in said
        assert "\x1b" not in said


def test_what_is_compared_keeps_to_a_terminal_and_is_whole_in_a_pipe(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for path, run in ((old, samples.passing()), (new, samples.failing())):
        path.write_text(results.to_json(run))
    whole = shown("compare", str(old), str(new), columns=0)
    assert "…" not in whole
    for columns in (40, 80, 200):
        said = shown("compare", str(old), str(new), columns=columns)
        assert all(taken(line) <= columns for line in ESCAPE.sub("", said).splitlines())
    assert "…" in shown("compare", str(old), str(new), columns=40)


def test_lines_beyond_twenty_are_counted() -> None:
    every = [str(number) for number in range(1_500)]
    assert lines.shortened(every[:20]) == every[:20]
    assert lines.shortened(every) == [*every[:19], "and 1,481 more lines: -v tells all"]


def test_a_machine_of_many_containers_is_told_in_twenty_lines() -> None:
    run = samples.surveyed()
    survey = run.target.survey
    assert survey is not None
    many = replace(survey, workloads=survey.workloads * 20)
    run = replace(run, target=replace(run.target, survey=many))
    written = [Path("out/results.json")]
    short = survey_lines.lines(run, written, lines.UNCUT)
    whole = survey_lines.lines(run, written, lines.UNCUT, verbose=True)
    assert len(short) <= 20 < len(whole)
    assert short[:5] == whole[:5]
    assert short[-2:] == whole[-2:]  # the verdict, and where the reports are


def test_one_line_is_the_verdict(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for path, run in ((old, samples.passing()), (new, samples.failing())):
        path.write_text(results.to_json(run))
    files = (str(old), str(new))
    for columns in (0, 40):
        (counts,) = shown("compare", "-q", *files, columns=columns).splitlines()
        assert re.match(r"[1-9]\d* worse, 0 better, ", counts)
        out = f"-o{tmp_path / 'fleet.json'}"
        (said,) = shown("merge", "-q", *files, out, columns=columns).splitlines()
        assert re.match(r"2 nodes, [\d,]+ cells: ", said)
        (said,) = shown("observe", "-q", "-o-", "--", "true", columns=columns).splitlines()
        assert ": none of the 60 calls of " in said


def test_one_line_and_all_of_it_exclude_each_other(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main.run(["compare", "-q", "-v", str(record), str(record)])
    assert refused.value.code == 4
    assert "-v/--verbose: not allowed with argument -q/--quiet" in capsys.readouterr().err
