"""``report`` takes what merge, compare and observe have written: the same page, and its status."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from probes.errors import ExitStatus
from reports import results
from reports.commands.main import run as main
from reports.pages.catalogue import KINDS
from reports.results import Run
from reports.terminal.observed import to_json
from reports.tests.support import samples
from reports.tests.support.observations import ROWS, reported


def host(run: Run, name: str) -> Run:
    return replace(run, environments=(replace(run.environment, host=name),))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a document of each kind, and the page that its own command made of it."""
    folder = tmp_path_factory.mktemp("documents")
    old, new = folder / "old.json", folder / "new.json"
    results.write(host(samples.passing(), "a"), old)
    results.write(host(samples.waived(), "b"), new)
    main(["merge", str(old), str(new), "-o", f"{folder}/fleet", f"--html={folder}/fleet.page"])
    pages = [f"--json={folder}/comparison", f"--html={folder}/comparison.page"]
    main(["compare", str(old), str(new), "-o", "/dev/null", *pages])
    (folder / "observation").write_text(to_json(reported(ROWS)))
    return folder


STATUSES: Final = {
    "fleet": ExitStatus.CONFORMANT,
    "comparison": ExitStatus.NOT_CONFORMANT,
    "observation": ExitStatus.NOT_CONFORMANT,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_document_becomes_its_page(
    name: str, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --verdict the exit status is 0, with it that of the command that wrote it."""
    words = ["report", str(documents / name)]
    assert main([*words, "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"reports in {tmp_path}: {name}.html\n"
    page = (tmp_path / f"{name}.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    if name != "observation":
        assert page == (documents / f"{name}.page").read_text()
    assert main([*words, "-o", "-", "--format=html", "--verdict"]) == STATUSES[name]
    assert capsys.readouterr().out == page


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_document_and_another_format_are_refused(
    name: str, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = documents / name
    assert main(["report", str(path), "--format=sarif,html"]) == ExitStatus.USAGE
    said = capsys.readouterr().err
    assert f"{path} is the {name} of {KINDS[name].command}, which has its page alone: html" in said
    document = json.loads(path.read_text())
    document["stranger"] = 1
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps(document))
    assert main(["report", str(damaged)]) == ExitStatus.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"syscall-conformance report: {damaged}: ")
    assert "'stranger': is not a known key" in said
    assert said.count("\n") == 1
    del document["stranger"]
    document["schema"] = document["schema"].replace("/1", "/7")
    damaged.write_text(json.dumps(document))
    assert main(["report", str(damaged)]) == ExitStatus.USAGE
    assert "use the version of the suite that wrote the file" in capsys.readouterr().err
