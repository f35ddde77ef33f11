"""Runs a command under raw filters, and judges a confinement from inside; a program of its own.

``python -m probes.tests.support.confined [PROGRAM...] -- COMMAND`` installs the filters, in
hexadecimal, and becomes the command. ``... supervise PROGRAM -- COMMAND`` has a process at the
listener of such a filter let every call run; it prints how many there were when all is over. ``...
judge PROFILE AUDIT [TARGET]`` judges the process that runs it, or another target in spite of its
confinement, and prints what came of it as one line of JSON.
"""

import fcntl
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess, run
from typing import Any

from probes import arch
from probes.audit.source import read as source_of
from probes.cell import Cell, Claim, Outcome
from probes.files import DEFAULT_POLICY, SUITE
from probes.instrument import kernel
from probes.judging.examiner import Examiner, cannot_tell
from probes.run import settings, values
from probes.run.bench import open_zygote, trail_of
from probes.targets.ambient import Ambient
from probes.targets.name import AMBIENT

ROOT = SUITE
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
    programs: Sequence[bytes],
    *command: str,
    by: Sequence[str] = (),
    python: str = sys.executable,
) -> CompletedProcess[bytes]:
    """Runs a command under filters, and gives what ``subprocess.run`` does.

    Args:
        programs: raw filters, the oldest first.
        command: what to run.
        by: a command in front, such as ``setpriv`` with its options.
        python: the interpreter.
    """
    filters = [program.hex() for program in programs]  # a file may be out of somebody's reach
    words = [*by, python, "-m", "probes.tests.support.confined", *filters, "--", *command]
    return run(words, cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE)


def judged(  # noqa: PLR0913 - the parts of a command
    programs: Sequence[bytes],
    profile: str,
    audit: str = "none",
    *,
    target: str = AMBIENT,
    by: Sequence[str] = (),
    python: str = sys.executable,
) -> Judged:
    """Has a process confined by the filters judge itself or something else; see ``under``."""
    command = (python, "-m", "probes.tests.support.confined", "judge", profile, audit, target)
    done = under(programs, *command, by=by, python=python)
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


def judge(profile: str, audit: str, word: str = AMBIENT) -> str:
    """Judges this process's confinement, or another target."""
    resolved = settings.resolve(
        values.read(DEFAULT_POLICY, profile=profile, target=word, audit_source=source_of(audit))
    )
    target = resolved.target
    assert isinstance(target, Ambient) == (word == AMBIENT)
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
        with open_zygote(resolved) as zygote:
            own = resolved.confinement
            source = trail_of(resolved, zygote)
            examiner = Examiner(zygote, target, resolved.policy, resolved.offered, source, own=own)
            arches = [arch for arch in resolved.arches if not resolved.untold(arch)]
            controls = examiner.calibrate(arches, resolved.profiles)
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
            "standing": target.standing.value if isinstance(target, Ambient) else "",
            "findings": [one.text for one in target.findings],
            "trail": trail,
        }
    )


def supervise(program: bytes, command: Sequence[str]) -> None:
    """Runs the command under a filter whose calls a process outside of it lets run."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        kernel.set_no_new_privs()
        seccomp = arch.of_this_process()[0].numbers["seccomp"]
        listener = kernel.install_listener(kernel.Filter(program), seccomp)
        socket.send_fds(theirs, [b"."], [listener])
        os.close(listener)
        os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
    _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    seen = 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if any(event & select.POLLIN for _, event in poll.poll(10)):
            told = bytearray(80)
            fcntl.ioctl(listener, _RECEIVE, told)
            reply = struct.pack("=QqiI", int.from_bytes(told[:8], sys.byteorder), 0, 0, _CONTINUE)
            fcntl.ioctl(listener, _SEND, reply)
            seen += 1
    sys.stderr.write(f"{seen} calls were supervised\n")


# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV and _SEND as on x86, SECCOMP_USER_NOTIF_FLAG_CONTINUE
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1


def main(words: Sequence[str]) -> None:
    """See the module."""
    if words[0] == "judge":
        sys.stdout.write(judge(*words[1:]))
        return
    if words[0] == "supervise":
        supervise(bytes.fromhex(words[1]), words[3:])
        return
    split = words.index("--")
    kernel.set_no_new_privs()
    for program in words[:split]:
        kernel.install(kernel.Filter(bytes.fromhex(program)))
    os.execvp(words[split + 1], list(words[split + 1 :]))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
