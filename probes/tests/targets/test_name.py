"""The names of targets: taken apart once, and put together again as they were."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probes.errors import BadInputError
from probes.targets import name
from probes.targets import open as opening
from probes.targets.name import TargetName


@pytest.mark.parametrize(
    ("word", "kind", "argument"),
    [
        ("builtin", "builtin", ""),
        ("oci:a:b.json", "oci", "a:b.json"),
        ("docker:registry:5000/image", "docker", "registry:5000/image"),
        ("pid:x", "pid", "x"),
    ],
)
def test_a_name_is_taken_apart_at_its_first_colon(word: str, kind: str, argument: str) -> None:
    found = name.read(word)

    assert found == TargetName(kind, argument)
    assert str(found) == word


@given(word=st.text(max_size=40) | st.from_regex(r"(bpf|pid|builtin|oci):?.*", fullmatch=True))
@example("builtin")
@example("ambient")
def test_any_text_is_a_name_or_refused(word: str) -> None:
    for read in (name.read, name.read_of_run):
        try:
            found = str(read(word))
        except BadInputError as error:
            found = word if str(error).isprintable() else ""
        assert found == word


def test_only_a_run_judges_its_own_confinement() -> None:
    assert name.read_of_run("ambient").is_ambient
    with pytest.raises(BadInputError, match="'ambient' is no target"):
        name.read("ambient")
    with pytest.raises(BadInputError, match=r"^--target: .*, or ambient$"):
        name.read_of_run("ambience")


def test_every_kind_can_be_opened() -> None:
    words = name.WORDS.replace(" or", ",").split(", ")
    known = {word.partition(":")[0] for word in words}

    assert known == set(opening._OPENERS)
    for kind in known:
        assert name.read("builtin" if kind == "builtin" else f"{kind}:x").kind == kind


@pytest.mark.parametrize(
    ("word", "files"),
    [
        ("bpf:a,b", ("a", "b")),
        ("oci:a,b", ("a", "b")),
        ("policy:a", ("a",)),
        ("pid:1", ()),
        ("docker:a", ()),
        ("runc:a", ()),
        ("builtin", ()),
    ],
)
def test_the_files_of_a_target_can_be_elsewhere(word: str, files: tuple[str, ...]) -> None:
    found = name.read(word)

    assert found.files() == files
    if files:
        there = found.with_files(f"/there/{one}" for one in files)
        assert there.files() == tuple(f"/there/{one}" for one in files)
        assert there.kind == found.kind


@pytest.mark.parametrize("kind", ["bpf", "oci"])
def test_a_comma_may_be_a_part_of_a_files_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a list only the whole is tried, and before its parts."""
    monkeypatch.chdir(tmp_path)
    for one in ("a", "b", "c,d"):
        Path(one).touch()
    assert name.read(f"{kind}:a,b").files() == ("a", "b")
    assert name.read(f"{kind}:c,d").files() == ("c,d",)
    assert name.read(f"{kind}:a,c,d").files() == ("a", "c", "d")
    Path("a,b").touch()
    assert name.read(f"{kind}:a,b").files() == ("a,b",)
    assert name.read(f"{kind}:a,b").files({"a", "b"}.__contains__) == ("a", "b")
