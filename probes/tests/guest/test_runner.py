"""Following a guest: programs that stand in for an emulator end in every way there is."""

import base64
import io
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zlib
from pathlib import Path

import pytest

from probes import main_job
from probes.errors import BadInputError
from probes.files import SUITE
from probes.guest import emulators, runner
from probes.guest.boot import DebianKernel, Userland
from probes.guest.machines import Machine
from probes.guest.runner import Ended, Guest, GuestJob, Limits

CHECKOUT = SUITE


def over_the_console(name: str, data: bytes) -> str:
    text = base64.b85encode(zlib.compress(data)).decode()
    return f"@@DATA {name} {len(data)}\n{text[:7]}\n{text[7:]}\n@@END\n"


def bundle(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return made.getvalue()


DONE = (
    "@@UP 1.0\n@@READY 1.1\nhello\n@@ENDED 0 3 2.0\n"
    + over_the_console("out", bundle(results_json="{}"))
    + "@@HOME 2.5\n"
)


def guest(folder: Path, body: str, limits: Limits) -> Guest:
    """A machine whose emulator is a Python program; its console is what that prints."""
    emulator = folder / "emulator"
    emulator.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\n{textwrap.dedent(body)}\n"
    )
    emulator.chmod(0o755)
    for name in ("kernel", "layer"):
        (folder / name).write_bytes(b"")
    (folder / "modules").mkdir(exist_ok=True)
    machine = Machine(
        *("fake", "amd64", "amd64", "linux", str(emulator), "qemu-fake", (), "ttyS0"), bus=""
    )
    kernel = DebianKernel(folder / "kernel", folder / "modules", ())
    userland = Userland((folder / "layer",), (), (sys.executable, "-I", "-S"))
    return Guest(machine, kernel, userland, limits)


def tree(folder: Path) -> Path:
    for name in ("cases", "probes", "reports"):
        (folder / "tree" / name).mkdir(parents=True, exist_ok=True)
    (folder / "tree" / main_job.CONFIGURATION).touch()
    return folder / "tree"


def follow(
    folder: Path,
    body: str,
    limits: Limits = Limits(deadline=60, silence=60),  # noqa: B008 - frozen
    stop: threading.Event | None = None,
) -> tuple[Ended, list[str]]:
    said: list[str] = []
    job = GuestJob(tree(folder), (("true",),))
    ended = runner.run(guest(folder, body, limits), job, folder / "home", said.append, stop)
    return ended, said


def test_a_guest_that_does_its_job(tmp_path: Path) -> None:
    ended, said = follow(tmp_path, f"sys.stdout.write({DONE!r})")

    assert not ended.fault
    assert ended.statuses == (3,)
    assert said == ["hello"]
    assert set(ended.seconds) == {"up", "ready", "command 1 ended", "home", "over"}
    assert (tmp_path / "home/results.json").read_text() == "{}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("print('@@UP 1', flush=True); os._exit(5)", r"before it was done.*exit status is 5"),
        ("print('@@UP 1', flush=True); os.kill(os.getpid(), 9)", r"exit status is -9"),
        ("print('Kernel panic - not syncing: no init')", r"kernel gave up: Kernel panic"),
        ("print('Out of memory: Killed process 7')", r"kernel gave up: Out of memory"),
        ("print('@@FAULT OSError(5)')", r"first process failed: OSError\(5\)"),
        (
            "print('@@DATA out 3'); print('no data'); print('@@END'); print('@@HOME 1')",
            r"over the console is damaged",
        ),
        ("print('@@HOME 1')", r"brought home cannot be read"),
        ("", r"before it was done"),
    ],
)
def test_a_guest_that_fails_is_told_in_words(body: str, fault: str, tmp_path: Path) -> None:
    ended, _ = follow(tmp_path, body)

    assert ended.fault
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(ended.fault)


def test_the_last_lines_are_kept(tmp_path: Path) -> None:
    ended, _ = follow(tmp_path, "print(*range(100), sep='\\n')")

    assert ended.last == tuple(str(number) for number in range(80, 100))


def test_a_mark_need_not_begin_a_line_of_the_kernels(tmp_path: Path) -> None:
    ended, said = follow(tmp_path, f"sys.stdout.write('half a line' + '\\n' + {DONE!r})")

    assert not ended.fault
    assert said == ["half a line", "hello"]


def pid_of(folder: Path) -> int:
    deadline = time.monotonic() + 30
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((folder / "pid").read_text())


HANGS = "open({path!r}, 'w').write(str(os.getpid())); print('alive', flush=True); time.sleep(600)"


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        (Limits(deadline=1.5, silence=60), "it was not done at its deadline of 2 s"),
        (Limits(deadline=60, silence=1.0), "it printed nothing for 1 s"),
    ],
)
def test_a_guest_that_hangs_is_ended(limits: Limits, fault: str, tmp_path: Path) -> None:
    ended, _ = follow(tmp_path, HANGS.format(path=str(tmp_path / "pid")), limits)

    assert ended.fault == fault
    assert ended.last == ("alive",)
    assert is_gone(pid_of(tmp_path))


@pytest.mark.slow
def test_a_guest_that_talks_for_ever_is_ended(tmp_path: Path) -> None:
    limits = Limits(deadline=1.5, silence=60)
    ended, _ = follow(tmp_path, "while True: print('y' * 1000, flush=True)", limits)

    assert "deadline" in ended.fault


def test_a_guest_can_be_called_off(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    ended, _ = follow(tmp_path, HANGS.format(path=str(tmp_path / "pid")), stop=stop)

    assert ended.fault == "it was called off"
    assert is_gone(pid_of(tmp_path))


@pytest.mark.slow
def test_an_emulator_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also where there was no time for anything: SIGKILL."""
    code = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from pathlib import Path
from probes.tests.guest import test_runner as here
folder = Path({str(tmp_path)!r})
here.follow(folder, here.HANGS.format(path=str(folder / "pid")))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        pid = pid_of(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    assert is_gone(pid)


def test_what_grows_comes_home_while_it_grows(tmp_path: Path) -> None:
    """Of a guest whose plug is pulled, what was judged is there."""
    grown = over_the_console("journal", b"one\n") + over_the_console("journal", b"two\n")
    plug = "sys.stdout.flush(); os.kill(os.getpid(), 9)"
    ended, _ = follow(tmp_path, f"sys.stdout.write({grown!r}); {plug}")

    assert ended.fault
    assert (tmp_path / "home" / runner.JOURNAL_FILE).read_bytes() == b"one\ntwo\n"


WITHOUT_PORTS = """
from pathlib import Path
from probes.guest import init
init.port = lambda name: None
init._JOURNAL_SECONDS = 0.01
init._ALIVE_SECONDS = 0.1
job = {{"folder": {folder!r}, "environment": {{}}}}
growing = init.GrowingFile({journal!r})
status = init.run([{python!r}, "-c", {command!r}], job)
growing.close()
init.mark("ENDED", 0, status, "2.0")
"""
"""A guest without virtio ports: all that it says goes over the console."""


def first_process(folder: Path, command: str, python: str = sys.executable) -> str:
    """The source of an emulator whose console is what the guest's own first process prints.

    Args:
        folder: has the journal.
        command: the source of the Python program that the guest runs.
        python: the interpreter that it runs it by.
    """
    code = WITHOUT_PORTS.format(
        folder=str(folder), journal=str(folder / "grows"), python=python, command=command
    )
    return f"""
    import subprocess
    sys.stdout.write("@@UP 1.0\\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-c", {code!r}], cwd={str(CHECKOUT)!r}, check=True)
    sys.stdout.write({DONE.partition("2.0")[2]!r})
    """


DOTS = """
import sys, time
with open("grows", "w") as journal:
    for line in range(3):
        print(f"test_{line}.py ", end="")
        for dot in range(20):
            print(".", end="", flush=True)
            journal.write("x" * 3000 + "\\n")
            journal.flush()
            time.sleep(0.01)
        print(" [ 33%]")
print("@@ -1,3 +1,3 @@")
print("@@HOME 9")
sys.stderr.write("no end of line")
sys.exit(3)
"""


def test_a_journal_comes_whole_between_the_dots_of_a_command(tmp_path: Path) -> None:
    """Both share one console where there are no virtio ports; what looks like a mark is none."""
    ended, said = follow(tmp_path, first_process(tmp_path, DOTS))

    assert not ended.fault
    assert ended.statuses == (3,)
    assert said == [
        *(f"test_{number}.py {'.' * 20} [ 33%]" for number in range(3)),
        *("@@ -1,3 +1,3 @@", "@@HOME 9", "no end of line"),
    ]
    journal = (tmp_path / "home" / runner.JOURNAL_FILE).read_text()
    assert journal == ("x" * 3000 + "\n") * 60


def test_a_line_that_grows_is_a_sign_of_life(tmp_path: Path) -> None:
    dots = "import time\nfor _ in range(25): print('.', end='', flush=True); time.sleep(0.1)"
    limits = Limits(deadline=60, silence=1.5)
    ended, said = follow(tmp_path, first_process(tmp_path, dots), limits)

    assert not ended.fault
    assert said == ["." * 25]


def test_a_command_that_leaves_programs_behind_is_not_waited_for(tmp_path: Path) -> None:
    leaves = "import subprocess; subprocess.Popen(['sleep', '4']); print('done')"
    began = time.monotonic()
    ended, said = follow(tmp_path, first_process(tmp_path, leaves))

    assert (ended.fault, ended.statuses, said) == ("", (0,), ["done"])
    assert time.monotonic() - began < 3


def test_a_command_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    ended, _ = follow(tmp_path, first_process(tmp_path, "", "/nowhere/python"))

    assert "its first process failed: cannot run /nowhere/python FileNotFoundError" in ended.fault


def test_what_the_kernel_says_amid_data_is_seen(tmp_path: Path) -> None:
    cut = over_the_console("journal", b"x" * 100).replace("@@END\n", "")
    ended, said = follow(tmp_path, f"sys.stdout.write({cut + 'Kernel panic - not syncing'!r})")

    assert ended.fault == "its kernel gave up: Kernel panic - not syncing"
    assert said == ["Kernel panic - not syncing"]


def test_data_without_its_end_is_told(tmp_path: Path) -> None:
    cut = over_the_console("journal", b"x" * 100).replace("@@END\n", "")
    ended, _ = follow(tmp_path, f"sys.stdout.write({cut + DONE!r})")

    assert ended.fault.endswith("over the console is damaged (it lacks its end)")


def test_a_line_is_shown_as_a_terminal_shows_it(tmp_path: Path) -> None:
    _, said = follow(tmp_path, "print('collecting ... \\rcollected 5 items')")

    assert said == ["collected 5 items"]


def test_an_emulator_that_is_missing_is_told_with_its_package(tmp_path: Path) -> None:
    made = guest(tmp_path, "", Limits())
    Path(made.machine.qemu).unlink()

    with pytest.raises(BadInputError, match=r"apt-get install .* qemu-fake$"):
        emulators.check(made.machine)
