"""Nodes that are no processes of this machine's: hosts by ssh, and guests with other kernels."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from cases.tests.test_main_job import EMPTY_FILTER, check_complete
from cases.tests.test_nodes import EACH, copied, files_of
from probes.errors import ExitStatus
from probes.guest import choice, emulators, serve, serving
from probes.guest.runner import GuestJob, Limits
from probes.tests.guest import test_runner as fakes
from reports.commands import main as cli
from reports.results import journal
from reports.tests.commands.test_guests import COMMAND, VARIABLE, asked_for
from reports.tests.support import job, ssh, wheel
from reports.tests.support.job import CHECKOUT, SMALL

PATIENCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is reached by ssh: this one.

    Attributes:
        config: ssh's configuration, in which it is ``host``.
        checkout: a copy of the suite there.
    """

    config: Path
    checkout: Path

    def node(self, name: str) -> str:
        """The word for --tx."""
        return (
            f"--tx=ssh=host//ssh_config={self.config}//python={sys.executable}"
            f"//chdir={self.checkout}//id={name}"
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """An ssh server on the loopback, with keys and a configuration of its own."""
    with ssh.server(tmp_path / "sshd", ["host"]) as config:
        yield Host(config, copied(tmp_path / "far"))


@pytest.mark.slow
@pytest.mark.skipif(not job.on_x86_64, reason="the sample is of an x86_64 kernel")
def test_hosts_by_ssh(host: Host, tmp_path: Path) -> None:
    """Two nodes, on one kernel here: two environments; their checkout stays as it was."""
    before = files_of(host.checkout)
    options = (*EACH, host.node("one"), host.node("two"), *SMALL, "-k", "acct and not leaves")
    ended = job.run(tmp_path / "reports", *options)
    assert ended.status in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}, ended.output
    check_complete(ended)
    first, second = ended.results["environments"]
    assert first == second
    assert first["kernel"].startswith(os.uname().release)
    assert {case.get("name", "").rpartition("@")[2] for case in ended.test_cases} == {
        "one]",
        "two]",
    }
    assert files_of(host.checkout) == before


@pytest.mark.slow
@pytest.mark.skipif(not job.on_x86_64, reason="the sample is of an x86_64 kernel")
def test_hosts_that_have_the_suite_from_a_wheel(host: Host, tmp_path: Path) -> None:
    """Nobody has to know where it is there; folders that are called as words are none of tests."""
    (tmp_path / "wheel").mkdir()
    far = wheel.installed(wheel.built(tmp_path / "wheel"), tmp_path / "env")
    here = tmp_path / "here"
    for name in ("cases", "acct", "html"):
        (here / name).mkdir(parents=True)
    before = files_of(far.suite)
    done = far.run(
        *(
            "run",
            "--dist=each",
            f"--tx=ssh=host//ssh_config={host.config}//python={far.python}//id=one",
        ),
        *("--tx=popen//id=two", *SMALL, "-k", "acct", "--report-dir=out"),
        cwd=here,
    )
    assert done.returncode in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}, done.stdout
    ended = job.Job(done.returncode, done.stdout, here / "out")
    check_complete(ended)
    first, second = ended.results["environments"]
    assert first == second
    assert {case.get("name", "").rpartition("@")[2] for case in ended.test_cases} == {
        "one]",
        "two]",
    }
    assert files_of(far.suite) == before


@pytest.mark.slow
def test_host_that_has_no_such_python_ends_the_run(host: Host, tmp_path: Path) -> None:
    """In one sentence."""
    word = host.node("one").replace(sys.executable, "/nonexistent/python")
    ended = job.run(tmp_path / "reports", *EACH, word, *SMALL)
    assert ended.status == ExitStatus.BROKEN, ended.output
    assert "node one (ssh=host//" in ended.output
    assert "cannot be brought up: " in ended.output
    assert "Traceback" not in ended.output
    assert not (tmp_path / "reports/results.json").exists()


# Guests

GUESTS = ("s390x", "x32@bullseye")
WEAK = "x32-bullseye"
"""A machine of another byte order, and an old kernel; the second node gets a weak filter."""

CALLS = "acct and not leaves or controls"


@dataclass(frozen=True, slots=True)
class Serving:
    """Guests that wait for pytest.

    Attributes:
        process: the command that has booted them.
        nodes: the words for --tx.
        files: the folder of what was brought along.
    """

    process: subprocess.Popen[str]
    nodes: tuple[str, ...]
    files: Path

    def emulator(self, word: str) -> int:
        """The pid of the emulator of one of the guests, told by a word of its command line."""
        found = [pid for pid in children_of(self.process.pid) if word in command_of(pid)]
        (pid,) = found
        return pid


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and that are still there."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for path in lists for word in path.read_text().split()]


def command_of(pid: int) -> str:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Serving]:
    """Two guests by the command that users have for it, which leaves nothing behind."""
    folder = tmp_path / "brought"
    folder.mkdir()
    plugin = EMPTY_FILTER.replace(
        "settings.builtin = empty",
        f'if os.environ.get("PYTEST_XDIST_WORKER") == "{WEAK}": settings.builtin = empty',
    )
    (folder / "weakened.py").write_text(f"import os\n{plugin}")
    words = [*COMMAND, "guest", *GUESTS, "--serve", "--emulate", "--file", f"{folder}/weakened.py"]
    with subprocess.Popen(
        words, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = threading.Timer(900, process.kill)
        deadline.start()
        progress: list[str] = []
        reader = threading.Thread(target=lambda: progress.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line.startswith("pytest --dist each --tx "), progress
            nodes = tuple(f"--tx={word}" for word in line.split() if word.startswith("socket="))
            yield Serving(process, nodes, folder)
        finally:
            emulators = children_of(process.pid)
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
            deadline.cancel()
    assert status == ExitStatus.CONFORMANT, progress
    for pid in emulators:
        assert not Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def pytest_on(guests: Serving, folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Starts pytest as the command's line has it; it is gone afterwards."""
    words = job.command(folder, *EACH, *options)
    environment: Mapping[str, str] = job.environment() | {"PYTHONPATH": str(guests.files)}
    with subprocess.Popen(
        words,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.guests
@pytest.mark.skipif(
    not set(GUESTS) <= set(asked_for()),
    reason=f"boots guests: set {VARIABLE} to {','.join(GUESTS)}",
)
def test_guests_are_nodes(guests: Serving, tmp_path: Path) -> None:
    """One after the other, for booting them takes most of the time."""
    check_in_one_run(guests, tmp_path / "together")
    check_pulled_plug(guests, tmp_path / "pulled")
    check_refusal(guests, tmp_path / "refused")


def check_in_one_run(guests: Serving, folder: Path) -> None:
    """The one with the weak filter fails, and the other does not."""
    words = ("-o", "pythonpath=/files", "-p", "weakened")
    options = (*guests.nodes, *words, "--profile=kill", "-k", CALLS)
    with pytest_on(guests, folder, *options) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    ended = job.Job(process.returncode, output, folder)
    assert ended.status == ExitStatus.NOT_CONFORMANT, output
    check_complete(ended)
    good, bad = ended.results["environments"]
    assert (good["machine"], good["arches"]) == ("s390x", ["s390x"])
    assert (bad["machine"], bad["kernel"].partition(" ")[0][:4]) == ("x86_64", "5.10")
    outcomes = {
        (cell["environment"], cell["claim"], cell["arch"], cell["syscall"]): cell["outcome"]
        for cell in ended.cells
        if cell["claim"] in {"terminates", "is reported"}
    }
    assert {one[2] for one in outcomes if one[0] == 0} == {"s390x"}
    assert {outcome for one, outcome in outcomes.items() if one[0] == 0} == {"passed"}
    assert {one[2] for one in outcomes if one[0] == 1} == {"x86_64", "x32", "i386"}
    assert {outcome for one, outcome in outcomes.items() if one[0] == 1} == {"failed"}
    assert {cell["outcome"] for cell in ended.cells if cell["claim"] == "controls"} == {"passed"}
    assert {one[3] for one in outcomes} == {"acct"}
    assert any("kernels: " in line and "s390x" in line for line in ended.closing)
    release = re.escape(bad["kernel"].split()[0])
    assert re.search(rf"\n. [A-Z ]+ \(kill, Linux {release}\): ", output)


def beside(guests: Serving) -> tuple[str, ...]:
    """Options for the guest whose plug is pulled, and for this machine beside it."""
    (far,) = (node for node in guests.nodes if "id=s390x" in node)
    selection = "terminates and (s390x or x86_64-acct)"
    return (far, "--tx=popen//id=near", "--profile=kill", "-k", selection)


def check_pulled_plug(guests: Serving, folder: Path) -> None:
    """What it had judged stays, and the rest is broken."""
    kept = journal.of_node(folder, "s390x") / journal.NAME
    with pytest_on(guests, folder, *beside(guests)) as process:
        until = time.monotonic() + PATIENCE_SECONDS
        while not kept.exists() or kept.read_bytes().count(b"\n") < 5:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(guests.emulator("qemu-system-s390x"), signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    ended = job.Job(process.returncode, output, folder)
    assert ended.status == ExitStatus.BROKEN, output
    check_complete(ended)
    lost = [cell for cell in ended.cells if cell["environment"] == 0]
    assert {cell["outcome"] for cell in lost if cell["claim"] == "terminates"} == {
        "passed",
        "broken",
    }
    others = {cell["outcome"] for cell in ended.cells if cell["environment"] == 1}
    assert others == {"passed"}
    assert any(line.startswith("ERROR: node s390x (socket=") for line in ended.errors)


def check_refusal(guests: Serving, folder: Path) -> None:
    """Nobody answers any more where the plug was pulled."""
    with pytest_on(guests, folder, *beside(guests)) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitStatus.BROKEN, output
    assert "node s390x (socket=" in output
    assert "Connection refused" in output
    assert not (folder / "results.json").exists()


# What the command refuses, and what it says of guests that fail


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mips64el"], "guest mips64el: its kernel has no network card"),
        (["loongarch64"], "guest loongarch64: its kernel has no network card"),
        (["s390x", "--pytest=-k acct"], "--pytest: with --serve give these words to the pytest"),
        ([os.uname().machine], "this machine is of that kind and needs no guest"),
    ],
    ids=["network", "bus", "pytest", "native"],
)
def test_what_cannot_be_served_gets_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for emulator in ("qemu-system-mips64el", "qemu-system-s390x"):
        if shutil.which(emulator) is None:
            pytest.skip(f"needs {emulator}")
    assert cli.run(["guest", "--serve", *words]) == ExitStatus.USAGE
    said = capsys.readouterr()
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1


UP = f"print({serve.READY!r}, flush=True); "


def instead_of_qemu(
    folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, limits: Limits
) -> None:
    """Has guests be Python programs; their console is what these print."""
    made, tree = fakes.guest(folder, body, limits), fakes.tree(folder)
    monkeypatch.setattr(choice, "prepare", lambda *_: made)
    monkeypatch.setattr(serving, "_job", lambda *_: GuestJob(tree, (("true",),)))


@pytest.mark.parametrize(
    "ending",
    [
        ("print('no disk')", Limits(), "BROKEN: s390x: it ended .* its last line: no disk"),
        (f"{UP}time.sleep(1)", Limits(), "BROKEN: s390x: it ended before"),
        (f"{UP}time.sleep(99)", Limits(deadline=2), "switched off: the deadline has come"),
        ("time.sleep(99)", Limits(silence=1), "BROKEN: s390x: not up after 1 s"),
    ],
    ids=["never up", "ends", "deadline", "hangs"],
)
def test_what_becomes_of_a_guest_is_said(
    ending: tuple[str, Limits, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body, limits, words = ending
    instead_of_qemu(tmp_path, monkeypatch, body, limits)
    ask = serving.Ask(tmp_path, limits, {})
    wanted = choice.read(["s390x"])
    status, (line,) = serving.serve_guests(wanted, ask, lambda _name, _line: None)
    assert status == (ExitStatus.BROKEN if "BROKEN" in words else ExitStatus.CONFORMANT)
    assert re.match(words, line)
    told = r"pytest --dist each --tx socket=127\.0\.0\.1:[0-9]+//id=s390x//chdir=/suite\n"
    assert bool(re.fullmatch(told, capsys.readouterr().out)) == body.startswith(UP)


def test_this_machine_is_a_node_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a guest of its kind was asked for beside others."""
    instead_of_qemu(tmp_path, monkeypatch, f"{UP}time.sleep(99)", Limits())
    monkeypatch.setattr(emulators, "check", lambda _machine: None)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="s390x"))
    assert cli.run(["guest", "--serve", "--deadline=2", "s390x", "aarch64"]) == 0
    (line, *_) = capsys.readouterr().out.splitlines()
    assert line.startswith("pytest --dist each --tx popen//id=s390x --tx socket=")
    assert line.endswith("//id=aarch64//chdir=/suite")
