"""A fleet by Ansible: the playbook on three hosts, whose statuses do not lose their records."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probes.errors import ExitStatus
from probes.tests.support.oracles import tool
from reports.tests.support import fleets
from reports.tests.support.fleets import NODES, WEAK
from reports.tests.support.job import CHECKOUT

PLAYBOOK = CHECKOUT / ".ansible/fleet.yml"
PATIENCE_SECONDS = 240
FAILED = 2
"""What ansible-playbook ends with where a task failed on some host."""

pytestmark = pytest.mark.root("reads filters that are in force", machine="x86_64")


@dataclass(frozen=True, slots=True)
class Played:
    """A playbook that has ended.

    Attributes:
        status: its exit status.
        said: what it printed.
        records: the folder of the records.
    """

    status: int
    said: str
    records: Path

    def verdict(self, node: str) -> str:
        """The verdict in the record of a machine that has come home."""
        record = json.loads((self.records / node / "results.json").read_text(encoding="utf-8"))
        assert record["environments"][0]["host"] == node
        return str(record["summary"]["verdict"])

    def failed(self, node: str) -> int:
        """How many tasks failed on a host, as the recapitulation says."""
        (found,) = re.findall(rf"(?m)^{node} .* failed=(\d+) ", self.said)
        return int(found)


def inventory(programs: Mapping[str, Path], **more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Three hosts on this machine, each with a filter of its own.

    Args:
        programs: the filters.
        more: variables of a host by its name.
    """
    words = ["run", "--target=bpf:{{ program }}", *fleets.JOB[:-3], "-k", f"'{fleets.SELECTION}'"]
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "words": " ".join([*words, "-n0", "{{ option | default('') }}"]),
    }
    hosts = {node: {"program": str(path), **more.get(node, {})} for node, path in programs.items()}
    return {"all": {"hosts": hosts, "vars": variables}}


Play = Callable[[Mapping[str, Any]], Played]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Plays the playbook with an inventory, in a folder of the test's own."""
    program = tool("ansible-playbook")

    def played(hosts: Mapping[str, Any], *options: str) -> Played:
        path = tmp_path / "inventory.json"
        path.write_text(json.dumps(hosts), encoding="utf-8")
        settings = fleets.environment() | {
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "PWD": str(tmp_path),
            "TMPDIR": str(tmp_path),
        }
        ended = subprocess.run(
            [program, "-i", str(path), str(PLAYBOOK), *options],
            cwd=tmp_path,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        left = [one.name for one in tmp_path.glob("syscall-conformance-*")]
        assert left == []
        return Played(ended.returncode, ended.stdout, tmp_path / "records")

    return played


@pytest.mark.slow
def test_the_host_that_lost_a_rule_is_named(play: Play, tmp_path: Path) -> None:
    """Its status is 1, and its record comes home before the play fails."""
    ended = play(inventory(fleets.programs(tmp_path / "programs")))
    assert ended.status == FAILED, ended.said
    assert [ended.verdict(node) for node in NODES] == ["PASS", "FAIL", "PASS"]
    assert [ended.failed(node) for node in NODES] == [0, 1, 0]
    assert f"the suite ended with 1 on {WEAK}" in ended.said
    fleets.check(ended.records / "fleet.json", ended.records / "fleet.html")


@pytest.mark.slow
def test_what_cannot_be_told_and_what_is_not_there(play: Play, tmp_path: Path) -> None:
    """Status 6 loses no record; where the suite refuses, there is none, and an old one is gone."""
    programs = fleets.programs(tmp_path / "programs")
    old = tmp_path / "records/n3/results.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    hosts = inventory(
        dict.fromkeys(NODES, programs["n1"]),
        n2={"option": "-k controls"},
        n3={"program": "/nonexistent"},
    )

    ended = play(hosts)

    assert ended.status == FAILED, ended.said
    assert ended.verdict("n1") == "PASS"
    assert ended.verdict("n2") == "INCOMPLETE"
    assert [ended.failed(node) for node in NODES] == [0, 1, 1]
    assert "no record of 1 of 3 machines: n3" in ended.said
    assert not old.exists()
    fleet = json.loads((ended.records / "fleet.json").read_text())
    assert [node["name"] for node in fleet["nodes"]] == ["n1", "n2"]
    assert "There is no record of 1 more: n3." in (ended.records / "fleet.html").read_text()


@pytest.mark.slow
def test_a_fleet_that_holds_ends_well(play: Play, tmp_path: Path) -> None:
    """With 0, and nothing has changed on a host."""
    ended = play(inventory({"n1": fleets.programs(tmp_path / "programs")["n1"]}))
    assert ended.status == ExitStatus.CONFORMANT, ended.said
    assert ended.said.count("changed=0 ") == 2


@pytest.mark.slow
def test_words_that_nobody_gave_are_asked_for(play: Play, tmp_path: Path) -> None:
    """Nothing is judged in their place, and no record made."""
    hosts = inventory({"n1": tmp_path / "none"})
    del hosts["all"]["vars"]["words"]
    ended = play(hosts)
    assert ended.status == FAILED
    assert "name what the suite is asked for" in ended.said
    assert not ended.records.exists()


@pytest.mark.slow
def test_the_linter_of_the_field(tmp_path: Path) -> None:
    """By its strictest rules it finds nothing, and finds what a mutant has wrong."""
    text = PLAYBOOK.read_text(encoding="utf-8")
    right, wrong = (tmp_path / name for name in ("fleet.yml", "mutant.yml"))
    right.write_text(text)
    wrong.write_text(
        text.replace("          changed_when: false\n          failed", "          failed")
    )
    ended = subprocess.run(
        [
            *(
                tool("ansible-lint"),
                "--offline",
                "--profile=production",
                "--nocolor",
                "--format=pep8",
            ),
            *(right.name, wrong.name),
        ],
        env=fleets.environment() | {"ANSIBLE_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    found = [line for line in ended.stdout.splitlines() if ".yml:" in line]
    assert len(found) == 1, ended.stdout + ended.stderr
    assert found[0].startswith("mutant.yml:")
    assert "no-changed-when" in found[0]
