"""The table of runtimes, and what stands ready for each row."""

import json
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from probes.errors import BadInputError
from probes.runtimes import arguments, bundles, container
from probes.runtimes.known import KNOWN, OBSERVING, OF_IMAGES, RUNTIMES


def test_every_runtime_can_be_started_and_its_words_read() -> None:
    assert tuple(container._MAKERS) == RUNTIMES
    assert set(arguments._GRAMMARS) == set(RUNTIMES)


def test_every_runtime_in_which_workloads_are_observed_has_a_grammar_for_it() -> None:
    assert set(arguments._OBSERVED) == {one.name for one in KNOWN if one.observes}
    assert set(OBSERVING) == set(arguments._OBSERVED)
    assert OBSERVING[: len(OF_IMAGES)] == OF_IMAGES


def test_a_bundle_that_cannot_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError("no space left")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        bundles.written({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["process", "root", "linux"])
def test_a_configuration_without_a_part_is_refused(part: str, tmp_path: Path) -> None:
    whole = {"process": {}, "root": {"path": "rootfs"}, "linux": {"cgroupsPath": "/x"}}
    path = tmp_path / bundles.CONFIGURATION
    path.write_text(str(whole).replace("'", '"'))
    found = bundles.configuration_of(str(tmp_path))
    assert found == {"process": {}, "root": {"path": str(tmp_path / "rootfs")}, "linux": {}}
    path.write_text(str(whole | {part: 1}).replace("'", '"'))
    with pytest.raises(BadInputError, match="process, root and linux must be objects"):
        bundles.configuration_of(str(tmp_path))


def test_a_bundles_paths_are_plain_whatever_its_own_is(tmp_path: Path) -> None:
    """From 1.3 on runc refuses a path with ``..`` in it, which 1.1.5 took."""
    (tmp_path / "one").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "rootfs").symlink_to("real")
    mounts = [
        {"destination": "/a", "type": "bind", "source": "../data"},
        {"destination": "/b", "source": "data", "options": ["ro", "rbind"]},
        {"destination": "/c", "type": "bind", "source": "/x/../y"},
        {"destination": "/proc", "type": "proc", "source": "proc"},
        "nonsense",
    ]
    whole = {"process": {}, "root": {"path": "../rootfs"}, "mounts": mounts}
    (tmp_path / "one" / bundles.CONFIGURATION).write_text(json.dumps(whole))
    for subject in (tmp_path / "one", tmp_path / "real" / ".." / "one"):
        found = bundles.configuration_of(str(subject))
        assert found["root"]["path"] == str(tmp_path / "real")
        sources = [one["source"] for one in found["mounts"][:4]]
        assert sources == [f"{tmp_path}/data", f"{tmp_path}/one/data", "/x/../y", "proc"]


def test_a_bundle_is_found_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = {"process": {}, "root": {"path": "rootfs"}}
    (tmp_path / "one" / bundles.CONFIGURATION).write_text(json.dumps(whole))
    monkeypatch.chdir(tmp_path / "two")
    found = bundles.configuration_of("../one")
    assert found["root"]["path"] == str(tmp_path / "one" / "rootfs")
