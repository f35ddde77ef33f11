"""Files that a user names: what is none, cannot be read or is too large ends in one sentence."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from probes import files
from probes.errors import BadInputError
from probes.text import shown


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "cannot be read from there \\(No such file or directory\\)"),
    "a directory": (Path.mkdir, "not a regular file"),
    "a pipe": (fifo, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a loop of links": (loop, "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_no_file_to_read(name: str, tmp_path: Path) -> None:
    make, words = NO_FILES[name]
    path = tmp_path / "x"
    make(path)
    with pytest.raises(BadInputError, match=words):
        files.read(path, 10, "a thing")


def test_a_name_that_no_file_can_have() -> None:
    for name, words in (
        ("a\0b", "embedded null (byte|character)"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(BadInputError, match=words) as refusal:
            files.read(Path(name), 10, "a thing")
        assert str(refusal.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(BadInputError, match="Permission denied"):
        files.read(path, 10, "a thing")


@pytest.mark.root("becomes somebody who may not read")
def test_no_permission_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(BadInputError, match="Permission denied"):
            files.read(path, 10, "a thing")
    finally:
        os.seteuid(0)


def test_one_byte_more_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 100)
    assert len(files.read(path, 10, "a thing")) == 11
    assert len(files.read(path, 100, "a thing")) == 100


def test_a_larger_file_is_refused_where_it_is_needed_whole(tmp_path: Path) -> None:
    """None of it is given away: half a policy would be another policy."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * (1 << 20))
    assert len(files.read_whole(path, 1 << 20, "a thing")) == 1 << 20
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(BadInputError, match="more than 1 MiB: name a thing"):
        files.read_whole(path, 1 << 20, "a thing")


@pytest.mark.parametrize(("text", "escaped"), [("plain é", "plain é"), ("a\n\x1b", r"a\n\x1b")])
def test_texts_that_would_break_a_line_are_escaped(text: str, escaped: str) -> None:
    assert shown(text) == escaped
