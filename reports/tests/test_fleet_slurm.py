"""A fleet by Slurm: the batch script on a controller and three nodes of Debian's."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.errors import ExitStatus
from probes.tests.support.oracles import require
from reports.tests.support import fleets, slurm
from reports.tests.support.fleets import NODES
from reports.tests.support.job import CHECKOUT
from reports.tests.support.slurm import Cluster

SCRIPT = CHECKOUT / ".slurm/fleet.sh"

pytestmark = pytest.mark.root("starts daemons in namespaces", machine="x86_64")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here, which is gone afterwards."""
    folder = tmp_path_factory.mktemp("slurm")
    with slurm.cluster(folder / "cluster", fleets.programs(folder / "programs")) as made:
        yield made


def job(cluster: Cluster) -> tuple[str, ...]:
    """The script and what it shall have the nodes do."""
    target = f"--target=bpf:{cluster.folder}/files/platform.bpf"
    return (str(SCRIPT), "run", target, *fleets.JOB)


@pytest.mark.slow
def test_the_node_that_lost_a_rule_is_named(cluster: Cluster, tmp_path: Path) -> None:
    """In a batch, whose status is the fleet's."""
    words = ("sbatch", "--parsable", f"--nodes={len(NODES)}", *job(cluster))
    number = cluster.run(*words, cwd=tmp_path).stdout.strip()
    status = cluster.awaited(number)
    said = (tmp_path / f"syscall-conformance-{number}.log").read_text()
    assert status == ExitStatus.NOT_CONFORMANT, said + cluster.logs
    (records,) = (tmp_path / "records").iterdir()
    assert sorted(one.parent.name for one in records.glob("*/results.json")) == sorted(NODES)
    fleets.check(records / "fleet.json", records / "fleet.html")
    assert "\nn2: denies (errno): failed; most: passed: mount (x86_64)\n" in said


@pytest.mark.slow
def test_a_node_without_a_record_is_missed(cluster: Cluster, tmp_path: Path) -> None:
    """Its filter cannot be read; the others' records are good, and that is no fleet that holds."""
    weak = cluster.folder / f"{fleets.WEAK}.files/platform.bpf"
    program = weak.read_bytes()
    weak.unlink()
    try:
        ended = cluster.run("salloc", f"--nodes={len(NODES)}", *job(cluster), cwd=tmp_path)
    finally:
        weak.write_bytes(program)
    said = ended.stdout + ended.stderr
    assert ended.returncode == ExitStatus.INTERRUPTED, said + cluster.logs
    assert f"note: no record of 1 of 3 machines: {fleets.WEAK}\n" in said
    (page,) = tmp_path.glob("records/*/fleet.html")
    assert "INCOMPLETE" in page.read_text()


def test_the_script_as_shellcheck_reads_it() -> None:
    checker = require("shellcheck", "shellcheck")
    ended = subprocess.run([checker, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
