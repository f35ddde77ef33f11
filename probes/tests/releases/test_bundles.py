"""Bundles whose paths go by ``..``: runc 1.1.5 takes them as they are, 1.3 no longer."""

import json
import tempfile
from pathlib import Path

import pytest

from probes.errors import InstrumentError
from probes.releases import starters
from probes.releases.starters import PreparedMachine, Sort
from probes.runtimes import container
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.wanted import Wanted
from probes.tests.support import releases

pytestmark = [pytest.mark.root("makes namespaces and control groups"), pytest.mark.containers]


def dotted(bench: PreparedMachine) -> Path:
    """A bundle with such a path."""
    folder = bench.bundle(None, ("/prober",))
    configuration = json.loads((folder / "config.json").read_bytes())
    configuration["root"]["path"] = f"../{bench.root.name}"
    (folder / "config.json").write_text(json.dumps(configuration))
    return folder


@pytest.mark.parametrize(
    ("suite", "refuses"),
    [
        pytest.param("bookworm", "", marks=releases.unless_asked_for("bookworm")),
        pytest.param("sid", r"contains '\.\.' components", marks=releases.unless_asked_for("sid")),
    ],
)
def test_a_bundle_is_judged_whose_root_goes_by_dots(
    suite: str, refuses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with starters.benches(releases.root_of_runtimes(suite)) as benches:
        bench = benches(Sort.RUNTIMES)
        folder = dotted(bench)
        monkeypatch.setattr(tempfile, "tempdir", str(bench.machine.folder))
        program = RuntimeCommand("runc", bench.machine.words("runc"))
        held = container.hold(Wanted(program, str(folder)))
        assert held.first == ()
        # What the runtime itself says of an absolute path that is not plain.
        configuration = json.loads((folder / "config.json").read_bytes())
        configuration["root"]["path"] = f"{folder}/../{bench.root.name}"
        (folder / "config.json").write_text(json.dumps(configuration))
        run = ("runc", "run", "--bundle", str(folder), "one")
        if refuses:
            with pytest.raises(InstrumentError, match=refuses):
                bench.machine.run(*run)
        else:
            assert bench.machine.run(*run) == "done"
