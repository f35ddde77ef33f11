"""The command ``audit`` in a process of its own, and what it found."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jsonschema

from probes.files import SUITE
from reports.tests.support.job import run_command

COMMAND = [sys.executable, "-m", "syscall_conformance", "audit"]
SCHEMA: Final = json.loads((SUITE / "reports/results/audit.schema.json").read_text("utf-8"))
QUICK = ("--audit-source=netlink", "--audit-source=auditd:/nowhere/audit.log")
PATIENCE = 60
FLAGGED = "ERRNO with SECCOMP_FILTER_FLAG_LOG"
PROMISED = {
    "KILL_PROCESS": "recorded",
    "ERRNO": "no record",
    FLAGGED: "recorded",
    "LOG": "recorded",
}
"""What is seen of each action where nothing is in the way."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the command said.

    Attributes:
        status: its exit status.
        document: what it found.
    """

    status: int
    document: Mapping[str, Any]

    @property
    def seen(self) -> dict[str, str]:
        """What was seen of each action."""
        return {
            one["action"]: one["seen"]
            for profile in self.document["profiles"]
            for one in profile["actions"]
        }

    @property
    def kept(self) -> dict[str, bool]:
        """Whether each profile's promise is kept."""
        return {one["name"]: one["kept"] for one in self.document["profiles"]}

    @property
    def limits(self) -> dict[str, str]:
        """What stands in the way, by what it is about."""
        return {one["about"]: one["text"] for one in self.document["limits"]}

    def collector(self, word: str) -> Mapping[str, Any]:
        """What became of a collector."""
        (found,) = (
            one for one in self.document["collectors"] if one["source"].partition(":")[0] == word
        )
        return dict(found)


def told(*words: str, before: Sequence[str] = (), command: Sequence[str] = COMMAND) -> Told:
    """Runs the command in a process of its own."""
    ended = run_command([*before, *command, "--format=json", *words])
    assert not ended.stderr, ended.stderr
    document = json.loads(ended.stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_status"] == ended.returncode
    return Told(ended.returncode, document)
