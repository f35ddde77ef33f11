"""Whoever ends a run by SIGTERM, as build systems and docker stop do, finds nothing of it left.

The runtimes are real ones, behind a script that says when a step begins and lets it take a while,
so that the signal meets that step.
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from probes import interruption
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.machine import Machine, control_groups, need, private_machine, static_root
from reports.tests.support.job import CHECKOUT, PATIENCE_SECONDS, environment

SUITE = [sys.executable, "-m", "syscall_conformance"]
MAIN_JOB = [sys.executable, "-m", "pytest", "cases", "-q", "-p", "no:xdist", "-k", "acct"]

starts_containers = pytest.mark.containers(machine="x86_64")

PROGRAM = "int main(void) { return 0; }\n"

SLOW = """\
#!/bin/sh
# The runtime; what it is asked for stands in a file, and before one step it takes a rest.
echo "$@" >>{log}
for word; do
    [ "$word" = {step} ] && [ ! -e {ready} ] && : >{ready} && sleep 3
    break
done
exec {runtime} "$@"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Which step of what is met.

    Attributes:
        runtime: the runtime.
        step: its command before which it rests.
        words: what is run, up to the container.
        options: what follows.
    """

    runtime: str
    step: str
    words: Sequence[str]
    options: Sequence[str] = ()


MEETINGS = {
    "a test run starts its container": Meeting(
        "crun", "start", MAIN_JOB, ("--profile=kill", "--target=crun:{subject}")
    ),
    "gate's run has exec start a process": Meeting(
        "podman", "exec", [*SUITE, "gate", "{subject}"], ("--profile=kill", "-n1")
    ),
    "gate judges from inside": Meeting(
        "runc",
        "run",
        [*SUITE, "gate", "{subject}"],
        ("--profile=kill", "-n0", "--arch=x86_64", "--probe-python=/"),
    ),
    "observe makes a container": Meeting("podman", "cp", [*SUITE, "observe", "--image={subject}"]),
}


@starts_containers
@pytest.mark.parametrize("met", MEETINGS.values(), ids=MEETINGS)
def test_nothing_is_left(met: Meeting, machine: Machine, root: Path, tmp_path: Path) -> None:
    need(met.runtime)
    wanted = machine.wanted(met.runtime, root)
    log, ready, slow = tmp_path / "log", tmp_path / "ready", tmp_path / "slow"
    slow.write_text(SLOW.format(log=log, ready=ready, step=met.step, runtime=met.runtime))
    slow.chmod(0o755)
    folder = tmp_path / "temporary"
    folder.mkdir()
    tmp_path.chmod(0o755)
    command = [word.format(subject=wanted.subject) for word in (*met.words, *met.options)]
    command += [f"--runtime-arg={one}" for one in wanted.arguments]
    command.append(f"--runtime-command={shlex.join(machine.words(str(slow)))}")
    if "pytest" in command or "gate" in command:
        command.append(f"--report-dir={tmp_path / 'reports'}")
    if "pytest" not in command:
        command.append(f"--runtime={met.runtime}")
    if "observe" in command:
        command += ["--", "/program"]

    with sharing_records():
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment() | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for(
                lambda: ready.exists() or process.poll() is not None,
                "the step is not reached",
                PATIENCE_SECONDS,
            )
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.communicate()

    assert ready.exists(), said
    assert process.returncode == 2, said
    if "pytest" not in command:
        assert said.splitlines()[-1] == "syscall-conformance interrupted"
    names = set(re.findall(r"syscall-conformance-[0-9a-f]{12}\b", log.read_text()))
    assert names
    listing = ("ps", "-aq") if met.runtime == "podman" else ("list", "--quiet")
    wait_for(lambda: machine.run(met.runtime, *listing) == "", "a container is left")
    for name in names:
        wait_for(lambda name=name: not control_groups(name), "a control group is left")  # type: ignore[misc]
    # pytest's own folder it keeps, as after any run with -n.
    assert [path for path in folder.iterdir() if not path.name.startswith("pytest-of-")] == []


OWN_TEST = """\
import time
from pathlib import Path
from probes.tests.support.machine import private_machine

def test_that_takes_long():
    with private_machine():
        Path({ready!r}).touch()
        time.sleep({patience})
"""


@starts_containers
def test_nothing_is_left_of_the_suites_own_tests(tmp_path: Path) -> None:
    ready, folder = tmp_path / "ready", tmp_path / "temporary"
    folder.mkdir()
    (tmp_path / "test_own.py").write_text(
        OWN_TEST.format(ready=str(ready), patience=PATIENCE_SECONDS)
    )
    command = [sys.executable, "-m", "pytest", str(tmp_path / "test_own.py"), "-p", "no:xdist"]
    process = subprocess.Popen(
        [*command, "-c", str(CHECKOUT / "pyproject.toml")],
        cwd=CHECKOUT,
        env=environment() | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "?", PATIENCE_SECONDS)
        assert list(folder.glob("conformance-*"))
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 2, said
    assert list(folder.iterdir()) == []


@pytest.fixture
def as_before() -> Iterator[None]:
    """The signals as they are before pytest itself has them interrupt a run."""
    taken = {one: signal.signal(one, signal.SIG_DFL) for one in interruption.ENDING}
    yield
    for number, handler in taken.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_before")
def test_only_the_first_signal_interrupts() -> None:
    def put_away() -> None:
        with interruption.orderly():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)

    with pytest.raises(KeyboardInterrupt):
        put_away()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("as_before")
def test_what_somebody_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.orderly():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
