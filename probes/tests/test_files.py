"""Files that a user names: what is none, cannot be read or is too large ends in one sentence."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from probes import files
from probes.errors import BadInputError
from probes.text import shown

NAMED = """
import ctypes, sys
PR_SET_NAME = 15
ctypes.CDLL(None).prctl(PR_SET_NAME, sys.argv[1].encode(), 0, 0, 0)
print(flush=True)
sys.stdin.read()
"""


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


def test_only_a_newline_ends_a_line_of_the_kernels() -> None:
    assert files.kernel_lines(b"Name:\ta\rUid:\t0\x0bb\x85\xe2\x80\xa8\nUid:\t1\n") == [
        "Name:\ta\rUid:\t0\x0bb\ufffd\u2028",
        "Uid:\t1",
    ]
    assert files.kernel_lines(b"") == []


@pytest.mark.parametrize("field", ["NSpid", "Seccomp", "SigIgn"])
def test_a_process_forges_no_line_by_its_name(field: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NAMED, f"x\r{field}:\t7"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status")
        told = files.kernel_lines(status.read_bytes())
        as_text = status.read_text().splitlines()
        process.communicate()
    assert len([line for line in told if line.startswith(f"{field}:")]) == 1
    assert len([line for line in as_text if line.startswith(f"{field}:")]) == 2


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
