"""The table of runtimes, and what stands ready for each row."""

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
