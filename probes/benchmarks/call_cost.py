"""What a probe costs: ratios against the same work in a C loop, measured in the same run.

``python -m probes.benchmarks.call_cost [--rounds N]``. Machines differ and are noisy, so every
figure is the median of several turns in which reference and probe alternate, and only the ratios
are worth quoting.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from probes.action import Profile
from probes.arch import canary
from probes.errors import SuiteError
from probes.files import SUITE
from probes.filters import bpf
from probes.instrument import witness
from probes.instrument.calls import Call, Request, Route, Standing, Zygote
from probes.instrument.witness import Witness
from probes.judging import plan
from probes.run import settings, values
from probes.run.settings import Settings
from probes.targets import ambient

REFERENCE = Path(__file__).with_name("reference.c")
POLICY = SUITE / "cases" / "policies" / "container-restrictions.toml"
TURNS = 7
CALL = "keyctl"
CONFINED = {
    Standing.LISTENER: "a listener (target ambient)",
    Standing.ORDER: "precedence (where none can be)",
}
"""The witnesses of a confined process, in words."""


@dataclass(frozen=True, slots=True)
class CallFigure:
    """One measured thing.

    Attributes:
        name: what was done.
        nanoseconds: the median time of one.
        reference: the median time of the reference in the same turns.
    """

    name: str
    nanoseconds: float
    reference: float

    def __str__(self) -> str:
        """The figure as a line of the table."""
        ratio = self.nanoseconds / self.reference
        return f"{self.name:<44} {self.nanoseconds / 1000:>10.1f} {ratio:>8.2f}"


def _timed(action: Callable[[], object], count: int) -> float:
    begin = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - begin) / count


def measure(resolved: Settings, rounds: int) -> list[CallFigure]:
    """Measures probes of one call, and sweeps of one ABI, against the reference."""
    arch = resolved.native
    number = arch.numbers[CALL]
    programs = (
        witness.marker(arch, number),
        bpf.to_bytes(resolved.target.programs(Profile.ERRNO)[0], big_endian=arch.big_endian),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Zygote() as zygote,
        Zygote(confined=True) as confined,
    ):
        ambient.put_up(confined, arch)
        reference = _reference(Path(folder), programs, number, rounds)

        def probe(route: Route) -> Callable[[], object]:
            one = Request("syscall", (Call(number),), programs, "benchmark", route)
            return lambda: zygote.run([one] * rounds)

        def let_through(prober: Zygote, told_by: Witness) -> Callable[[], object]:
            let_pass = canary(arch)[1]
            attempts = told_by.one(arch, Call(let_pass), (programs[1],), ())
            one = [Request("syscall", each.calls, each.programs, "benchmark") for each in attempts]
            return lambda: prober.run(one * rounds)

        rest = sorted(plan.rest_of(resolved.policy, arch))
        calls = tuple(Call(n, (0, 0, 0, 0, 0, witness.SWEEP_MAGIC)) for n in rest)
        sweep = Request("syscall", calls, (witness.sweeping_marker(arch), programs[1]), "benchmark")
        work = [
            ("one probe in a forked child", probe(Route.DIRECT), rounds),
            ("the same in a thread of its own", probe(Route.SIBLING), rounds),
            ("the same after execve", probe(Route.EXECVE), rounds),
            (f"one number of a sweep over {len(rest)}", lambda: zygote.run([sweep]), len(rest)),
            ("a call let through, by a marker", let_through(zygote, witness.MARKER), rounds),
            *(
                (f"the same by {words}", let_through(confined, witness.WITNESSES[one]), rounds)
                for one, words in CONFINED.items()
            ),
        ]
        turns = [
            (reference(), [_timed(action, count) for _, action, count in work])
            for _ in range(TURNS)
        ]
    base = statistics.median(own for own, _ in turns)
    return [
        CallFigure(name, statistics.median(times[index] for _, times in turns), base)
        for index, (name, _, _) in enumerate(work)
    ] + [CallFigure("reference: the probe as a C loop", base, base)]


def _reference(
    folder: Path, programs: tuple[bytes, ...], number: int, rounds: int
) -> Callable[[], float]:
    binary = folder / "reference"
    subprocess.run(["cc", "-O2", "-o", binary, REFERENCE], check=True)  # noqa: S607 - as make does
    paths = [folder / f"program-{index}" for index in range(len(programs))]
    for path, program in zip(paths, programs, strict=True):
        path.write_bytes(program)
    command = [str(word) for word in (binary, rounds, number, *paths)]

    def run() -> float:
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    return run


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what a probe costs, against a C loop")
    parser.add_argument("--rounds", type=int, default=200, help="probes a turn")
    arguments = parser.parse_args()
    try:
        figures = measure(settings.resolve(values.read(POLICY)), arguments.rounds)
    except (SuiteError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    sys.stdout.write(f"{f'median of {TURNS} turns':<44} {'us each':>10} {'ratio':>8}\n")
    sys.stdout.writelines(f"{figure}\n" for figure in figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
