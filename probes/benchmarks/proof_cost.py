"""What a proof costs: against libseccomp's compile of Docker's profile, measured in the same run.

``python -m probes.benchmarks.proof_cost [--profile FILE]``. Programs of growing size show how time
and memory grow with it; the profile shows what a proof costs of a filter that is in use. Only the
ratios are worth quoting.
"""

import argparse
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.errors import BadInputError, SuiteError
from probes.filters import bpf, prover
from probes.filters.bpf import Program
from probes.targets.oci import compiler
from probes.targets.oci.capability import DOCKER_CAPABILITIES

TURNS: Final = 5
SIZES: Final = (10, 30, 100, 300, 1000, 2000, bpf.MAX_INSTRUCTIONS)
PROFILES: Final = (
    Path("/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"),
    Path("/usr/share/containers/seccomp.json"),
)
"""Docker's own, of golang-github-docker-docker-dev, and that of containers-common."""

_ALLOW: Final = FilterReturn(Action.ALLOW).value
_DENY: Final = Profile.ERRNO.returns.value
_EVERY: Final = 8
"""One rule in so many looks at an argument."""


@dataclass(frozen=True, slots=True)
class ProofFigure:
    """One program that was proved.

    Attributes:
        name: which.
        instructions: its length.
        seconds: the median processor time of a proof.
        megabytes: the highest amount of memory that it had at once.
        nodes: how many nodes its diagrams had.
    """

    name: str
    instructions: int
    seconds: float
    megabytes: float
    nodes: int


def made_up(size: int) -> Program:
    """A list of rules of exactly this length: a number each, some with a 64-bit argument."""
    native = arch.ARCHES["x86_64"]
    start = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, native.audit_arch, 1, 0),
        bpf.statement(bpf.RET_K, _DENY),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
    )
    rules: list[bpf.Instruction] = []
    number = 0
    while True:
        rule = _with_argument(number) if number % _EVERY == 0 else _plain(number)
        if len(start) + len(rules) + len(rule) >= size:
            break
        rules += rule
        number += 1
    missing = size - len(start) - len(rules)
    return (*start, *rules, *(bpf.statement(bpf.RET_K, _DENY) for _ in range(missing)))


def _plain(number: int) -> Program:
    # The odd ones only, so that no two rules are neighbours that look like one.
    return (
        bpf.jump(bpf.JEQ, 2 * number, 0, 1),
        bpf.statement(bpf.RET_K, _ALLOW),
    )


def _with_argument(number: int) -> Program:
    first = bpf.OFFSET_ARGS + 8 * (number // _EVERY % 6)
    return (
        bpf.jump(bpf.JEQ, 2 * number, 0, 6),
        bpf.statement(bpf.LD_ABS, first + 4),
        bpf.jump(bpf.JEQ, 0, 0, 3),
        bpf.statement(bpf.LD_ABS, first),
        bpf.jump(bpf.JEQ, number, 0, 1),
        bpf.statement(bpf.RET_K, _ALLOW),
        bpf.statement(bpf.RET_K, _DENY),
    )


def measure(programs: Sequence[tuple[str, Program]], reference: Callable[[], object]) -> str:
    """The table: every program in turns with the reference."""
    spent: dict[str, list[float]] = {name: [] for name, _ in programs}
    base: list[float] = []
    for _ in range(TURNS):
        base.append(_timed(reference))
        for name, program in programs:
            spent[name].append(_timed(lambda program=program: prover.analyze([program])))  # type: ignore[misc] # a default binds it
    unit = statistics.median(base)
    figures = [_figure(name, program, spent[name]) for name, program in programs]
    head = f"{f'median of {TURNS} turns':<36} {'length':>7} {'ms':>8} {'ratio':>8} {'MB':>7} nodes"
    lines = [head]
    lines += [
        f"{one.name:<36} {one.instructions:>7} {1000 * one.seconds:>8.1f}"
        f" {one.seconds / unit:>8.2f} {one.megabytes:>7.1f} {one.nodes}"
        for one in figures
    ]
    lines.append(f"{'reference: libseccomp compiles it':<36} {'':>7} {1000 * unit:>8.1f} {1:>8.2f}")
    return "\n".join(lines)


def _figure(name: str, program: Program, seconds: Sequence[float]) -> ProofFigure:
    tracemalloc.start()
    analysis = prover.analyze([program])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return ProofFigure(name, len(program), statistics.median(seconds), peak / 1e6, len(analysis))


def _timed(action: Callable[[], object]) -> float:
    """The processor time of it: whatever else the machine does costs none."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def _resolved(path: Path) -> compiler.Resolved:
    native = arch.offered_by(os.uname().machine)[0]
    kernel = compiler.kernel_version(os.uname().release)
    return compiler.resolve(compiler.read(path), native, DOCKER_CAPABILITIES, kernel)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what a proof costs, against libseccomp's compile")
    there = [path for path in PROFILES if path.exists()]
    parser.add_argument("--profile", type=Path, help="a profile; default: Docker's, or Podman's")
    arguments = parser.parse_args()
    try:
        chosen = [arguments.profile] if arguments.profile else there
        if not chosen:
            names = " or ".join(map(str, PROFILES))
            raise BadInputError(f"there is no {names}: name a profile with --profile")
        resolved = {path: _resolved(path) for path in chosen}
        programs = [(f"a list of {size}", made_up(size)) for size in SIZES]
        programs += [
            (f"...{str(path)[-32:]}", compiler.compile(one).programs[0])
            for path, one in resolved.items()
        ]
        table = measure(programs, lambda: compiler.compile(resolved[chosen[0]]))
    except SuiteError as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    sys.stdout.write(f"{table}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
