"""How far a command has come, as terminals, pipes and those who want silence see it."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest

from reports.terminal import progress

WHAT = "judging docker:[red]x[/red]\x1b[31m"
PLAIN = "judging docker:[red]x[/red]\\u001b[31m"
END = "THE END"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def told(stream: io.TextIOBase, monkeypatch: pytest.MonkeyPatch, what: str = WHAT) -> None:
    """Tells of a run that has come to 10, 30, 50 and 100 per cent."""
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.telling(what) as at:
        for percent in (10, 30, 50, 100):
            at(percent)


def on_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, what: str = WHAT) -> str:
    """What a terminal of so many columns is sent."""
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with (
        os.fdopen(ours, "rb", buffering=0) as reader,
        os.fdopen(theirs, "w") as stream,
        ThreadPoolExecutor(1) as beside,
    ):
        reading = beside.submit(_all, reader)
        told(stream, monkeypatch, what)
        stream.write(END)
        stream.flush()
        sent = reading.result(timeout=30)
    return sent.decode().removesuffix(END).replace("\r\n", "\n")


def _all(reader: io.FileIO) -> bytes:
    """What arrives until ``END``."""
    seen = b""
    while not seen.endswith(END.encode()):
        seen += reader.read(4096) or b""
    return seen


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_has_one_line_of_its_width_that_is_gone_at_the_end(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    sent = on_a_terminal(columns, monkeypatch, WHAT * 8)
    lines = [CONTROL.sub("", line).strip("\r\n") for line in sent.split("\x1b[2K")]
    assert all(len(line) <= columns for line in lines)
    assert all(line.startswith(PLAIN[:18]) for line in lines if line)
    seen = [int(found[1]) for line in lines if (found := re.search(r"(\d+)%$", line.rstrip()))]
    assert seen == sorted(seen)
    assert {10, 30, 50} <= set(seen)
    assert lines[-1] == ""
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")  # the cursor is there again
    assert "\x1b[31m[" not in sent


def test_what_cannot_take_a_line_back_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [PLAIN, f"{PLAIN}: 25 %", f"{PLAIN}: 50 %", ""]
    pipe = io.StringIO()
    told(pipe, monkeypatch)
    assert pipe.getvalue().split("\n") == expected
    monkeypatch.setenv("TERM", "dumb")
    assert on_a_terminal(80, monkeypatch).split("\n") == expected


def test_silence_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    for ways in ({"quiet": True}, {"only_bar": True}):
        with progress.telling("merging", **ways) as at:
            assert list(progress.each("abc", at)) == ["a", "b", "c"]
    assert pipe.getvalue() == ""
