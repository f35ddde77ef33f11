"""What a container costs to judge: ratios against its runtime's bare start of it, in the same run.

``python -m reports.tests.benchmark_containers [RUNTIME ...]``. As root, on a machine with the
runtimes: each is put up in namespaces of its own, as for the tests, and starts containers of a root
file system with one static program that does nothing, under its default profile; runc and crun
have none, so a bundle brings one, and under bwrap there is no filter. Every figure is the median of
several turns in which all take part, and only the ratios are worth quoting.
"""

import argparse
import json
import os
import secrets
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from cases.tests.test_runtime_matrix import profile_for
from probes import interruption
from probes.action import Profile
from probes.errors import SuiteError
from probes.instrument import harvest
from probes.runtimes import container
from probes.runtimes.known import RUNTIMES
from probes.runtimes.wanted import Wanted
from probes.targets import started_container as target
from probes.tests.support.machine import Machine, bundle, private_machine, static_root

TURNS: Final = 5
TRUE: Final = "int main(void) { return 0; }\n"
_GATE: Final = "import sys; from syscall_conformance.__main__ import main; sys.exit(main())"
_JUDGED: Final = {0, 1}


def measure(machine: Machine, runtime: str, root: Path, folder: Path) -> Iterator[str]:
    """Measures a runtime; the lines of the table.

    Raises:
        SuiteError: it refuses.
        OSError: a program is missing.
        subprocess.CalledProcessError: a command fails.
    """
    wanted = _wanted(machine, runtime, root)
    bare = f"{runtime}: a bare run of the program"
    work: dict[str, Callable[[], object]] = {
        bare: lambda: _run(_bare(wanted, runtime), {0}),
        f"{runtime}: the same, held and harvested": lambda: _harvest(wanted),
        f"{runtime}: exec's process, too, as the target": lambda: target.load(wanted),
    }
    turns = [{name: _seconds(action) for name, action in work.items()} for _ in range(TURNS)]
    # Once: it is no start of a container that this is about, and takes as long as a test run.
    last = f"{runtime}: gate, the whole command, once"
    once = _seconds(lambda: _run(_gate(wanted, runtime, folder), _JUDGED))
    medians = {name: statistics.median(turn[name] for turn in turns) for name in work}
    base = medians[bare]
    for name, median in (*medians.items(), (last, once)):
        yield f"{name:<52} {median * 1000:>9.0f} {median / base:>8.2f}"


def _wanted(machine: Machine, runtime: str, root: Path) -> Wanted:
    wanted = machine.wanted(runtime, root)
    if runtime not in {"runc", "crun"}:
        return wanted
    profile = profile_for(machine, runtime, Profile.ERRNO, "conforming")
    if not isinstance(profile, Mapping):
        raise TypeError(f"{runtime} takes no {profile!r}")
    folder = bundle(Path(tempfile.mkdtemp(dir=machine.folder)), root, profile)
    configuration = json.loads((folder / "config.json").read_text())
    configuration["process"]["terminal"] = False  # there is none
    (folder / "config.json").write_text(json.dumps(configuration))
    return replace(wanted, subject=str(folder))


def _bare(wanted: Wanted, runtime: str) -> Sequence[str]:
    """The command line by which a user would run the program."""
    words, name = wanted.program.words, f"bare-{secrets.token_hex(6)}"
    if runtime == "bwrap":
        sandbox = ("--unshare-all", "--die-with-parent", "--ro-bind", wanted.subject, "/")
        return (*words, *sandbox, "/program")
    if runtime in {"docker", "podman"}:
        made = ("run", "--rm", "--network", "none", *wanted.arguments)
        return (*words, *made, wanted.subject, "/program")
    return (*words, "run", "--bundle", wanted.subject, *wanted.arguments, name)


def _gate(wanted: Wanted, runtime: str, folder: Path) -> Sequence[str]:
    return (
        *(sys.executable, "-c", _GATE, "gate", wanted.subject, "--runtime", runtime),
        *("--profile=errno", f"--report-dir={folder / 'reports'}"),
        f"--runtime-command={shlex.join(wanted.program.words)}",
        *(f"--runtime-arg={one}" for one in wanted.arguments),
    )


def _harvest(wanted: Wanted) -> None:
    with container.started(wanted) as running:
        pid = running.first_process()
        if wanted.program.runtime != "bwrap":
            harvest.filters_of(pid)


def _run(command: Sequence[str], good: set[int]) -> None:
    ended = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if ended.returncode not in good:
        raise subprocess.CalledProcessError(ended.returncode, command, ended.stdout, ended.stderr)


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what a container costs to judge")
    parser.add_argument("runtimes", nargs="*", choices=(*RUNTIMES, []), metavar="RUNTIME")
    runtimes = parser.parse_args().runtimes or RUNTIMES
    if os.geteuid():
        sys.stderr.write("benchmark: needs root: it starts containers\n")
        return 1
    sys.stdout.write(f"{f'median of {TURNS} turns':<52} {'ms':>9} {'ratio':>8}\n")
    try:
        with (
            interruption.orderly(),
            tempfile.TemporaryDirectory() as name,
            private_machine() as machine,
        ):
            root = static_root(Path(name), TRUE)
            for runtime in runtimes:
                try:
                    lines = list(measure(machine, runtime, root, Path(name)))
                except pytest.skip.Exception as missing:
                    lines = [f"{runtime}: {missing}"]
                sys.stdout.writelines(f"{line}\n" for line in lines)
                sys.stdout.flush()
    except (SuiteError, AssertionError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"benchmark: {error} {getattr(error, 'stderr', '')}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
