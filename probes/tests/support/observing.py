"""Runs the observer in a process of its own, as it wants to be run, and tells what it saw.

As a program (``python -m probes.tests.support.observing FILE COMMAND ...``) it writes every counted
call with the id of its process, which reports leave out because no two runs agree on them.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema

from probes import arch
from probes.documents import policy
from probes.files import SUITE
from probes.observe.observation import observe
from probes.observe.watch import watch

POLICY: Final = SUITE / "cases/policies/container-restrictions.toml"
SCHEMA: Final = SUITE / "reports/results/observation.schema.json"
DEADLINE_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Call:
    """Calls of one process that have the same names."""

    kind: str
    name: str
    abi: str
    executable: str
    comm: str
    pid: int
    count: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a run."""

    calls: tuple[Call, ...]
    status: int
    cut_short: int
    output: str

    def counts(self, *kinds: str) -> Mapping[tuple[str, int], int]:
        """Calls by name and process."""
        counted: Counter[tuple[str, int]] = Counter()
        for call in self.calls:
            if not kinds or call.kind in kinds:
                counted[call.name, call.pid] += call.count
        return counted

    def total(self, name: str, abi: str = "x86_64") -> int:
        """How often a call was made."""
        return sum(one.count for one in self.calls if (one.name, one.abi) == (name, abi))


def run(folder: Path, command: Sequence[str | Path], **options: Any) -> Seen:  # noqa: ANN401
    """Observes a command.

    Args:
        folder: a directory for a file.
        command: its words.
        options: for subprocess.run().
    """
    file = folder / "seen.json"
    words = [sys.executable, "-m", "probes.tests.support.observing", file, *command]
    done = subprocess.run(
        words, check=True, text=True, capture_output=True, timeout=DEADLINE_SECONDS, **options
    )
    data = json.loads(file.read_text())
    calls = tuple(Call(**one) for one in data["calls"])
    return Seen(calls, data["status"], data["cut_short"], done.stdout)


def load(file: Path) -> Mapping[str, Any]:
    """A report in JSON, which is as its schema publishes it."""
    report: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    validator().validate(report)
    return report


def validator() -> jsonschema.Draft202012Validator:
    """The schema's oracle."""
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _main(file: str, command: Sequence[str]) -> None:
    documented = policy.load(POLICY, arch.all_names())
    watched = watch(documented, arch.offered_by(os.uname().machine))
    observation = observe(command, watched, DEADLINE_SECONDS / 2, print)
    calls = [
        {
            "kind": key.kind.value,
            "name": key.name,
            "abi": key.abi,
            "executable": key.executable,
            "comm": key.comm,
            "pid": process[0],
            "count": count,
        }
        for key, row in observation.rows.items()
        for process, count in row.processes.items()
    ]
    cut_short = sum(row.cut_short for row in observation.rows.values())
    status = observation.outcome.status
    Path(file).write_text(json.dumps({"calls": calls, "cut_short": cut_short, "status": status}))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
