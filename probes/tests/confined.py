"""Runs a command under raw filters, and judges a confinement from inside; a program of its own.

``python -m probes.tests.confined [FILE...] -- COMMAND`` installs the filters
and becomes the command. ``python -m probes.tests.confined judge PROFILE AUDIT`` judges the process
that runs it, and prints what came of it as one line of JSON.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any

from cases.fixtures import DEFAULT_POLICY
from probes import kernel, settings
from probes.cell import Cell, Claim, Outcome
from probes.examiner import Examiner, cannot_tell
from probes.settings import Words
from probes.targets.ambient import Ambient

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds for a whole judgement; it takes a few, and this machine may be busy."""

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a confined process said of its own confinement.

    Attributes:
        cells: outcome and sentence by claim, ABI, call and variant.
        controls: likewise, of the controls.
        description: what the target is called.
        standing: how calls were witnessed.
        findings: what a reader should know.
        trail: where records came from, and why.
    """

    cells: Mapping[Key, tuple[Outcome, str]]
    controls: Mapping[Key, tuple[Outcome, str]]
    description: str
    standing: str
    findings: tuple[str, ...]
    trail: tuple[str, str]

    def outcomes(self) -> dict[Key, Outcome]:
        """The outcomes alone."""
        return {key: outcome for key, (outcome, _) in self.cells.items()}


def key_of(cell: Cell) -> Key:
    """What tells a cell from all others of one profile."""
    key = cell.key
    number = "" if key.number is None else f" {key.number:#x}"
    return (key.claim.value, key.arch, f"{key.syscall}{number}", key.variant)


def under(
    programs: Sequence[bytes], directory: Path, *command: str, by: Sequence[str] = ()
) -> CompletedProcess[bytes]:
    """Runs a command under filters, and gives what ``subprocess.run`` does.

    Args:
        programs: raw filters, the oldest first.
        directory: for the files.
        command: what to run.
        by: a command in front, such as ``setpriv`` with its options.
    """
    files = []
    for index, program in enumerate(programs):
        path = directory / f"confine-{index}"
        path.write_bytes(program)
        files.append(str(path))
    words = [*by, sys.executable, "-m", "probes.tests.confined", *files, "--", *command]
    return run(words, cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE)


def judged(
    programs: Sequence[bytes],
    profile: str,
    directory: Path,
    audit: str = "none",
    *,
    by: Sequence[str] = (),
) -> Judged:
    """Has a process confined by the filters judge itself; see ``under``."""
    command = (sys.executable, "-m", "probes.tests.confined", "judge", profile, audit)
    done = under(programs, directory, *command, by=by)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return read(done.stdout)


def read(text: bytes) -> Judged:
    """What ``judge`` has printed."""
    told = json.loads(text)

    def cells(rows: list[list[Any]]) -> dict[Key, tuple[Outcome, str]]:
        return {tuple(key): (Outcome(outcome), sentence) for key, outcome, sentence in rows}

    return Judged(
        cells(told["cells"]),
        cells(told["controls"]),
        told["description"],
        told["standing"],
        tuple(told["findings"]),
        tuple(told["trail"]),
    )


def judge(profile: str, audit: str) -> str:
    """Judges this process's confinement."""
    resolved = settings.resolve(
        Words(str(DEFAULT_POLICY), profile=profile, target="ambient", audit_source=audit)
    )
    target = resolved.target
    assert isinstance(target, Ambient)
    cases = [case for case in resolved.cases if case.claim is not Claim.CONTROLS]
    told = [case for case in cases if not resolved.untold(case.arch)]
    cells = [
        cell
        for case in cases
        if (why := resolved.untold(case.arch))
        for cell in cannot_tell(case, why)
    ]
    controls: list[Cell] = []
    trail = ("none", "nothing can be told")
    if told:
        with settings.open_zygote(resolved) as zygote:
            source = settings.open_trail(audit, zygote, resolved.native, target)
            examiner = Examiner(zygote, target, resolved.policy, resolved.offered, source)
            arches = [arch for arch in resolved.arches if not resolved.untold(arch)]
            controls = examiner.calibrate(arches)
            cells += examiner.examine(told)
            trail = (source.source, source.reason)
            if source.collector is not None:
                source.collector.close()

    def rows(some: list[Cell]) -> list[list[Any]]:
        return [[key_of(cell), cell.outcome.value, cell.sentence] for cell in some]

    return json.dumps(
        {
            "cells": rows(cells),
            "controls": rows(controls),
            "description": target.description,
            "standing": target.standing.value,
            "findings": list(target.findings),
            "trail": trail,
        }
    )


def main(words: Sequence[str]) -> None:
    """See the module."""
    if words[0] == "judge":
        sys.stdout.write(judge(*words[1:]))
        return
    split = words.index("--")
    kernel.set_no_new_privs()
    for file in words[:split]:
        kernel.install(kernel.Filter(Path(file).read_bytes()))
    os.execvp(words[split + 1], list(words[split + 1 :]))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
