"""The forms of a command's report: which file gets what, and what is refused before anything."""

import json
import os
from pathlib import Path

import pytest

from reports.commands.main import run as main

EXPLAIN = ("explain", "builtin", "--arch=x86_64")
DIFF = ("diff", "builtin", "builtin", "--arch=x86_64")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.slow
@pytest.mark.parametrize("words", [EXPLAIN, DIFF])
def test_every_form_goes_where_it_is_sent(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file holds the same as standard output would, and text does not change beside files."""
    status, text, _ = said(capsys, *words)
    assert status == 0
    _, as_json, _ = said(capsys, *words, "--format=json")
    _, as_html, _ = said(capsys, *words, "--format", "html", "--output", "-")
    assert json.loads(as_json)["schema"].startswith("syscall-conformance/")
    assert as_html.startswith("<!DOCTYPE html>")
    files = [f"--json={tmp_path}/a.json", f"--html={tmp_path}/a.html", f"-o{tmp_path}/a.txt"]
    assert said(capsys, *words, *files) == (0, "", "")
    written = [(tmp_path / f"a.{name}").read_text() for name in ("txt", "json", "html")]
    assert written == [text, as_json, as_html]


@pytest.mark.slow
def test_the_same_words_give_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "html"):
        one, two = (said(capsys, *EXPLAIN, f"--format={form}") for _ in range(2))
        assert one == two


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (("--json=no/such/folder/x",), "--json no/such/folder/x: no/such/folder is no directory"),
        (("-o", "no/x"), "-o no/x: no is no directory that this user may write to"),
        (("--json=x", "--html=x"), "--html x: --json has it already: name another file"),
        (("-o", "x", "--html=./x"), "--html ./x: -o has it already: name another file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything(
    files: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = said(capsys, *EXPLAIN, *files)
    assert (status, out) == (4, "")
    assert err.startswith(f"syscall-conformance explain: {sentence}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_devices_and_names_that_cannot_be_are_told_by_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device is written to whoever may write beside it; two reports may go to one."""
    assert said(capsys, *EXPLAIN, "-o", "/dev/null", "--json=/dev/null")[0] == 0
    status, out, err = said(capsys, *EXPLAIN, "--html=a\0b")
    assert (status, out) == (4, "")
    assert err.startswith("syscall-conformance explain: a\\x00b: cannot be written")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    status, out, err = said(capsys, *EXPLAIN, f"--json={tmp_path}/one")
    assert (status, out) == (4, "")
    assert err.count("\n") == 1


@pytest.mark.root("becomes another user")
def test_a_device_needs_no_folder_that_is_writable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another user, who may write to /dev/null and not to /dev, nor to a folder of root's."""
    os.setresuid(65534, 0, 0)  # access(2) asks for the real user
    try:
        assert said(capsys, *EXPLAIN, "-o", "/dev/null")[0] == 0
        status, _, err = said(capsys, *EXPLAIN, f"--json={tmp_path}/x")
    finally:
        os.setresuid(0, 0, 0)
    assert status == 4
    assert "is no directory that this user may write to" in err


def test_an_unknown_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*EXPLAIN, "--format=pdf"])
    assert left.value.code == 4
    assert "invalid choice: 'pdf'" in capsys.readouterr().err
