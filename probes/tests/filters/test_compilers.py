"""Programs that others' compilers made: the proof is exact, and the kernel does what it says.

Harvested from processes that really run: systemd's nspawn and its call groups, firejail, OpenSSH's
hand-written sandbox and Chromium's policy compiler. bubblewrap makes no program of its own; it,
runc, crun, docker and podman are in ``test_runtimes``.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from probes.arch import ARCHES
from probes.errors import BadInputError
from probes.filters import bpf, prover
from probes.filters.prover import Analysis
from probes.instrument import harvest
from probes.instrument.calls import Call, Zygote
from probes.tests.support import replay
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.machine import static_root
from probes.tests.support.oracles import require

pytestmark = [
    pytest.mark.root("harvests and makes namespaces"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters the ABIs of x86_64"),
]

ABIS: Final = (ARCHES["x86_64"], ARCHES["x32"], ARCHES["i386"])
START_SECONDS: Final = 60.0
NOBODY: Final = 65534

PAUSES: Final = """\
#include <unistd.h>
int main(void) { alarm(120); for (;;) pause(); }
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody's program with filters.

    Attributes:
        command: what starts it.
        after: what it then takes to have them installed, tried again and again.
        environment: more of it.
        close: what is to be put away afterwards.
    """

    command: Sequence[str]
    after: Callable[[], object] = field(default=lambda: None)
    environment: dict[str, str] = field(default_factory=dict)
    close: Callable[[], object] = field(default=lambda: None)


def _privately(words: str) -> list[str]:
    """A shell's command for which /run is its own."""
    script = f"mount -t tmpfs tmpfs /run; mkdir /run/sshd; exec {words}"
    return ["unshare", "--mount", "sh", "-c", script]


def _nspawn(directory: Path, options: str) -> Subject:
    require("systemd-nspawn", "systemd-container")
    root = static_root(directory, PAUSES)
    for name in ("usr", "etc", "tmp", "var", "root"):
        (root / name).mkdir(exist_ok=True)
    (root / "etc" / "os-release").write_text("ID=none\n")
    place = shlex.quote(str(root))
    return Subject(
        _privately(
            f"systemd-nspawn --quiet --register=no --keep-unit --pipe --directory={place} "
            f"{options} /program"
        )
    )


def _firejail(options: str) -> Subject:
    require("firejail", "firejail")
    return Subject(_privately(f"firejail --noprofile --quiet {options} sleep 120"))


def _sshd(directory: Path) -> Subject:
    """Its child confines itself before it talks to somebody who has not said who he is."""
    server = require("/usr/sbin/sshd", "openssh-server")
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connected: list[socket.socket] = []

    def connect() -> None:
        with contextlib.suppress(ConnectionRefusedError):  # it is not listening yet
            if not connected:
                connected.append(socket.create_connection(("127.0.0.1", port)))
                connected[0].sendall(b"SSH-2.0-test\r\n")

    def close() -> None:
        for one in connected:
            one.close()

    options = f"-D -e -f /dev/null -p {port} -o PidFile=none -o ListenAddress=127.0.0.1"
    words = f"{server} {options} -h {shlex.quote(str(key))}"
    return Subject(_privately(words), connect, close=close)


def _chromium(_: Path) -> Subject:
    browser = require("chromium", "chromium")
    home = Path(tempfile.mkdtemp())  # the test's own folder is closed to others
    os.chown(home, NOBODY, NOBODY)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    options = ["--headless", "--disable-gpu", f"--user-data-dir={home}/data", "about:blank"]
    return Subject(
        [*user, browser, *options, "--remote-debugging-port=0"],
        environment={"HOME": str(home)},
        close=lambda: shutil.rmtree(home),
    )


SUBJECTS: Final[dict[str, Callable[[Path], Subject]]] = {
    "nspawn": lambda place: _nspawn(place, ""),
    "nspawn with groups": lambda place: _nspawn(place, "--system-call-filter='~@mount acct'"),
    "firejail": lambda _: _firejail("--seccomp"),
    "firejail with options": lambda _: _firejail(
        "--protocol=unix,inet --memory-deny-write-execute --seccomp=@clock,@module,acct:ENOSYS"
    ),
    "sshd": _sshd,
    "chromium": _chromium,
}


def _descendants(pid: int) -> list[int]:
    """The processes below one, itself last."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(stat.parent.name))

    def walk(one: int) -> Iterator[int]:
        for child in below.get(one, ()):
            yield from walk(child)
        yield one

    return list(walk(pid))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2][1] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _confined(pid: int) -> list[int]:
    """Those of a tree of processes that have filters."""
    found = []
    for each in _descendants(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "\nSeccomp:\t2\n" in Path(f"/proc/{each}/status").read_text(errors="replace"):
                found.append(each)
    return found


def _harvested(subject: Subject, directory: Path) -> list[tuple[bytes, ...]]:
    """The different stacks of filters in a tree of processes, which then ends."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            subject.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **subject.environment},
        )
    try:
        _wait_for_filters(subject, process, log)
        stacks = []
        for pid in _confined(process.pid):
            with contextlib.suppress(BadInputError):  # it has ended meanwhile
                stacks += [one.programs for one in harvest.filters_of(pid).threads]
        return list(dict.fromkeys(stack for stack in stacks if stack))
    finally:
        every = _descendants(process.pid)
        for pid in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(_runs(pid) for pid in every), "a process does not end")
        subject.close()


def _wait_for_filters(subject: Subject, process: subprocess.Popen[bytes], log: Path) -> None:
    def ready() -> bool:
        subject.after()
        return bool(_confined(process.pid)) or process.poll() is not None

    wait_for(ready, f"nothing is confined: {log.read_text(errors='replace')}", START_SECONDS)
    assert process.poll() is None, log.read_text(errors="replace")
    # Several filters are installed one after the other.
    last: list[str] = []

    def settled() -> bool:
        seen = [_seccomp_filters(pid) for pid in _confined(process.pid)]
        same, last[:] = seen == last, seen
        time.sleep(0.5)
        return same

    wait_for(settled, "filters are installed without end", START_SECONDS)


def _seccomp_filters(pid: int) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return next((line for line in lines if line.startswith("Seccomp_filters:")), "")


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


_MARKS: Final = {
    **dict.fromkeys(set(SUBJECTS) - {"sshd", "chromium"}, (pytest.mark.containers,)),
    "chromium": (pytest.mark.browser,),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MARKS.get(name, ())) for name in SUBJECTS]
)
def test_the_proof_is_exact_and_the_kernel_agrees(
    name: str, prober: Zygote, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    require("unshare", "util-linux")
    stacks = _harvested(SUBJECTS[name](tmp_path), tmp_path)
    assert stacks
    for stack in stacks:
        programs = [bpf.from_bytes(raw) for raw in stack]
        began = time.process_time()
        analysis = prover.analyze(programs)
        seconds = time.process_time() - began
        figures = f"{[len(one) for one in programs]} instructions, {seconds:.2f} s"
        record_property(name, figures)
        sys.stdout.write(f"{name}: {figures}\n")
        assert analysis.exact
        assert ABIS[0].audit_arch in analysis.tokens()
        for arch in ABIS:
            calls = [Call(number) for number in replay.numbers_of(arch)]
            if arch.name == "x86_64":
                calls += _by_arguments(analysis, [call.number for call in calls])
            with sharing_records():
                compared = replay.replay(prober, arch, stack, calls)
            assert compared.mismatches == ()
            assert compared.asked == len(calls)


def _by_arguments(analysis: Analysis, numbers: Sequence[int]) -> Iterator[Call]:
    """A call for each return that depends on arguments, where the sixth one leaves it alone."""
    for number in numbers:
        possible = analysis.returns(ABIS[0].audit_arch, number)
        for value in possible if len(possible) > 1 else ():
            data = analysis.witness(ABIS[0].audit_arch, number, value)
            if data is not None and not data.args[5]:
                yield Call(number, data.args[:5])
