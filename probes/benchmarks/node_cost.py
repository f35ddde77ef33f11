"""What a survey of a machine costs: 500 processes with 40 distinct stacks of filters.

``python -m probes.benchmarks.node_cost [--processes N] [--stacks N]``. The reference is read and
proved in the same run: the same processes one by one, as the target ``pid:N`` takes them, of which
a few stand for all. Only the ratio is worth quoting. It takes root.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from probes import arch
from probes.action import Profile
from probes.cell import Claim
from probes.documents import policy
from probes.documents.policy import Policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.run import settings, values
from probes.run.bench import Bench
from probes.survey import seen_processes, taken
from probes.survey.question import SurveyQuestion
from probes.survey.seen_processes import Listing
from probes.targets import builtin
from probes.workload import OwnerKind

SAMPLES: Final = 5
"""How many processes stand for all where they are judged one by one."""

_CHILD: Final = """\
import ctypes, os, signal, struct, sys
raw = sys.stdin.buffer.read()
count = int(sys.argv[1])
programs = [raw[end - size:end] for size, end in (map(int, one.split(":")) for one in sys.argv[2:])]
prctl = ctypes.CDLL(None).prctl
prctl(38, 1, 0, 0, 0)
for program in programs:
    kept = ctypes.create_string_buffer(program)
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    if prctl(22, 2, head, 0, 0):
        sys.exit("a filter was refused")
for _ in range(count - 1):
    if os.fork() == 0:
        break
else:
    print("ready", flush=True)
signal.pause()
"""
"""Puts filters on itself, and forks processes that inherit them."""


@dataclass(frozen=True, slots=True)
class NodeFigure:
    """What a survey took.

    Attributes:
        processes: how many were looked at.
        stacks: how many distinct stacks they had.
        seconds: how long it took.
        one_by_one: how long it would take to judge the processes one by one on the same claim.
    """

    processes: int
    stacks: int
    seconds: float
    one_by_one: float


def stack(documented: Policy, index: int) -> tuple[Program, ...]:
    """A stack of filters that no other index has: a conforming one, and others as of systemd's."""
    own = arch.of_this_process()
    mark = (bpf.statement(bpf.LD_IMM, index), bpf.statement(bpf.TAX))
    filters = [(*mark, *builtin.build(documented, own, Profile.ERRNO))]
    if index % 2:
        filters.append((*mark, *builtin.build(documented, own, Profile.KILL)))
    return tuple(filters)


@contextmanager
def running(documented: Policy, count: int, stacks: int) -> Iterator[list[int]]:
    """Processes with filters, for as long as the context lasts; their ids."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(stacks):
            share = count // stacks + (index < count % stacks)
            started.append(_started(stack(documented, index), share))
        parents = {one.pid for one in started}
        seen = seen_processes.listing().processes.values()
        yield [one.pid for one in seen if one.pid in parents or one.parent in parents]
    finally:
        for one in started:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(one.pid, signal.SIGKILL)
            one.communicate()


def _started(programs: Sequence[Program], count: int) -> subprocess.Popen[bytes]:
    raw = [bpf.to_bytes(one, big_endian=sys.byteorder == "big") for one in programs]
    ends = [sum(map(len, raw[: place + 1])) for place in range(len(raw))]
    words = [f"{len(one)}:{end}" for one, end in zip(raw, ends, strict=True)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, str(count), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("a process without pipes")
    process.stdin.write(b"".join(raw))
    process.stdin.close()
    process.stdin = None
    if process.stdout.readline() != b"ready\n":
        raise ValueError("a process did not come up")
    return process


def measured(count: int, stacks: int) -> NodeFigure:
    """Starts processes, and takes the survey of them."""
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    with running(documented, count, stacks) as pids:
        start = time.monotonic()
        seen = _these(seen_processes.listing(), pids)
        every = frozenset(OwnerKind)
        wanted = SurveyQuestion(Profile.ERRNO.value, every, namespace_alone=True)
        found = taken.take(documented, wanted, seen)
        found.survey(lambda cells: cells)
        seconds = time.monotonic() - start
        start = time.monotonic()
        for pid in pids[:SAMPLES]:
            _alone(pid)
        one = (time.monotonic() - start) / SAMPLES
    looked_at = sum(member.read for member in found.members)
    return NodeFigure(looked_at, len(found.stacks), seconds, one * len(pids))


def _these(seen: Listing, pids: Sequence[int]) -> Listing:
    """A listing with these processes alone."""
    chosen = set(pids)
    return replace(
        seen, processes={pid: one for pid, one in seen.processes.items() if pid in chosen}
    )


def _alone(pid: int) -> None:
    """Judges one process on the claim that a survey makes."""
    options = values.read(DEFAULT_POLICY, profile=Profile.ERRNO.value, target=f"pid:{pid}")
    resolved = settings.resolve(options)
    bench = Bench(resolved)
    try:
        for case in resolved.cases:
            if case.claim is Claim.IS_PROVED:
                bench.judge(case)
    finally:
        bench.close()


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=500)
    parser.add_argument("--stacks", type=int, default=40)
    options = parser.parse_args()
    found = measured(options.processes, options.stacks)
    ratio = found.seconds / found.one_by_one
    print(  # noqa: T201 - this is what it is for
        f"{found.processes} processes, {found.stacks} stacks: {found.seconds:.1f} s,"
        f" {ratio:.3f} of one by one ({found.one_by_one:.0f} s)"
    )


if __name__ == "__main__":
    main()
