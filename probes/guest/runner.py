"""Boots a guest, follows it, and brings home what it leaves; whatever happens, nothing hangs."""

import base64
import binascii
import json
import os
import re
import select
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Final

from probes import main_job
from probes.arch import ARCHES
from probes.errors import InstrumentError
from probes.guest import acceleration, boot, cpio, emulators
from probes.guest.acceleration import Accelerator
from probes.guest.boot import DebianKernel, Userland
from probes.guest.cpio import ArchiveMember
from probes.guest.machines import Machine

MEMORY_MIB: Final = 1024
DEADLINE_SECONDS: Final = 1800.0
SILENCE_SECONDS: Final = 300.0
"""How long a guest may take, and how long it may print nothing, before it counts as hung."""

SUITE_FOLDER: Final = "suite"
"""Where the working tree is in a guest."""

UP: Final = "up"
"""The time at which a guest's kernel had started Python, among its ``seconds``."""

OUT_FOLDER: Final = "/out"
"""What is brought home from a guest."""

PYTEST: Final = (
    *("python3", "-m", "pytest", *main_job.words(PurePosixPath("/", SUITE_FOLDER))),
    *("-p", "no:xdist"),
    # Modules are loaded as they were compiled beforehand, and not rewritten.
    "--assert=plain",
)
"""How a guest starts the suite."""

_INIT: Final = Path(__file__).with_name("init.py")
_LAST_LINES: Final = 20
_MARK: Final = "@@"
_ENCODED: Final = re.compile(r"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]+")
"""A line of what comes home over the console; anything else between two of them is the kernel's."""

_PANIC: Final = re.compile(r"Kernel panic|Out of memory|Oops[: ]|Unable to mount root")
_NO_END: Final = "it lacks its end"
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc")
_FINIT_MODULE: Final = "finit_module"
_END_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5

_ABIS: Final = {
    "amd64": "x86_64",
    "i386": "i386",
    "arm64": "aarch64",
    "armhf": "arm",
    "ppc64el": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64el": "mips64el",
    "loong64": "loongarch64",
}
"""The ABI of a Debian architecture's programs."""


@dataclass(frozen=True, slots=True)
class GuestJob:
    """The work of a guest: its commands, and the files that they need.

    Attributes:
        tree: the working tree, which is ``/suite`` in the guest and the commands' folder.
        commands: what is run, one after the other.
        files: further files, by their path in the guest.
        environment: variables of the commands.
        journal: a file in the guest that is brought home while it grows; "" for none.
        forward: a port of this machine's loopback and one of the guest's that it leads to.
    """

    tree: Path
    commands: tuple[tuple[str, ...], ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    journal: str = ""
    forward: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guest ended.

    Attributes:
        statuses: the exit status of each command that came to its end.
        fault: what went wrong, in a sentence; "" for a guest that did its job and switched off.
        seconds: how long until the kernel had started Python, the guest was ready, each command
            had ended, and it was over, by name.
        last: the last lines of its console.
        accelerator: how it ran: ``emulated``, ``by KVM``.
    """

    statuses: tuple[int, ...]
    fault: str
    seconds: Mapping[str, float]
    last: tuple[str, ...]
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a guest must stay within.

    Attributes:
        deadline: seconds from its start to its end.
        silence: seconds without a line on its console.
        memory: MiB.
        accelerator: QEMU's name of one, such as ``tcg``, which emulates; or ``AUTO``.
    """

    deadline: float = DEADLINE_SECONDS
    silence: float = SILENCE_SECONDS
    memory: int = MEMORY_MIB
    accelerator: str = acceleration.AUTO


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine with what it boots.

    Attributes:
        machine: the machine.
        kernel: its kernel.
        userland: its root.
        limits: what it may take.
        emulator: the command of QEMU; () for the machine's usual program.
    """

    machine: Machine
    kernel: DebianKernel
    userland: Userland
    limits: Limits
    emulator: tuple[str, ...] = ()


def run(
    guest: Guest,
    job: GuestJob,
    home: Path,
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> Ended:
    """Boots a guest, has it do a job, and unpacks what it leaves.

    Where KVM was chosen because it seemed to work and the guest does not come up, it is emulated.

    Args:
        guest: what is booted.
        job: what it does.
        home: where the content of its ``/out`` goes, and ``journal`` if the job has one.
        say: is told every line that a command prints, and what KVM did not do.
        stop: ends the guest when it is set.

    Raises:
        BadInputError: the emulator is not installed.
        InstrumentError: the emulator cannot be started.
    """
    stop = stop or threading.Event()
    if not guest.emulator:
        emulators.check(guest.machine)
        guest = replace(guest, emulator=(guest.machine.qemu,))
    home.mkdir(parents=True, exist_ok=True)
    asked = guest.limits.accelerator
    chosen = acceleration.choose(guest.machine, guest.emulator, guest.kernel.image, asked)
    if chosen.why:
        say(f"{chosen.why}; so it is emulated")
    ended = _attempt(guest, job, home, say, _How(chosen, stop))
    came_up = not ended.fault or UP in ended.seconds
    if came_up or stop.is_set() or asked != acceleration.AUTO or chosen.name != acceleration.KVM:
        return ended
    say(f"with KVM {ended.fault}; so it is emulated")
    emulated = acceleration.of(guest.machine, acceleration.EMULATION)
    return _attempt(guest, job, home, say, _How(emulated, stop))


@dataclass(frozen=True, slots=True)
class _How:
    """How a guest runs, and what calls it off."""

    accelerator: Accelerator
    stop: threading.Event


def _attempt(
    guest: Guest, job: GuestJob, home: Path, say: Callable[[str], None], how: _How
) -> Ended:
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        folder = Path(scratch)
        modules = boot.in_load_order(guest.kernel.modules, _modules(guest.machine, job))
        _write_initrd(folder / _INITRD_FILE, guest, _job_entries(guest, modules, job))
        console = _Console(folder, home, say)
        with emulators.running(_command(guest, folder, job, how.accelerator)) as process:
            fault = console.follow(process, guest.limits, how.stop)
        return replace(console.ended(fault), accelerator=str(how.accelerator))


def _modules(machine: Machine, job: GuestJob) -> tuple[str, ...]:
    if not machine.bus:
        return ()
    bus = ("virtio_pci",) if machine.bus == "pci" else ("virtio_ccw",)
    return (*bus, "virtio_console", *(("virtio_net",) if job.forward else ()))


def _job_entries(guest: Guest, modules: Sequence[str], job: GuestJob) -> Iterator[ArchiveMember]:
    """The last layer of the root: the working tree and what to do."""
    yield cpio.file("init", b"#!/usr/bin/python3 -SE\n" + _INIT.read_bytes(), 0o755)
    for name in modules:
        yield cpio.file(f"modules/{name}", (guest.kernel.modules / name).read_bytes())
    order = {
        "hostname": guest.machine.name,
        "modules": list(modules),
        "finit_module": ARCHES[_ABIS[guest.machine.userland]].number(_FINIT_MODULE),
        "network": job.forward is not None,
        "folder": f"/{SUITE_FOLDER}",
        "environment": dict(job.environment),
        "commands": [list(command) for command in job.commands],
        "journal": job.journal,
    }
    yield cpio.file("guest.json", json.dumps(order).encode())
    for path, data in job.files.items():
        yield cpio.file(path.lstrip("/"), data)
    yield from boot.tree_layer(job.tree, SUITE_FOLDER, guest.userland)


def _write_initrd(place: Path, guest: Guest, entries: Iterator[ArchiveMember]) -> None:
    with place.open("wb") as archive:
        for layer in guest.userland.layers:
            with layer.open("rb") as source:
                shutil.copyfileobj(source, archive)
        for piece in cpio.pack(entries):
            archive.write(piece)


_INITRD_FILE: Final = "initrd"
_OUT_FILE: Final = "out.tar.gz"
JOURNAL_FILE: Final = "journal"
"""Where a guest's journal is at home."""


def _command(guest: Guest, folder: Path, job: GuestJob, accelerator: Accelerator) -> list[str]:
    machine = guest.machine
    append = f"console={machine.console} quiet loglevel=1 panic=-1 mitigations=off"
    command = [
        *guest.emulator,
        *accelerator.options,
        *("-accel", accelerator.name, "-m", f"{guest.limits.memory}M", "-smp", "1"),
        *("-display", "none", "-no-reboot", "-nodefaults", "-serial", "stdio"),
        *("-kernel", str(guest.kernel.image), "-initrd", str(folder / _INITRD_FILE)),
        *("-append", f"{append} {machine.append}".strip()),
    ]
    if machine.bus:
        command += ["-device", f"virtio-serial-{machine.bus}"]
        for name, file in (("out", _OUT_FILE), ("journal", JOURNAL_FILE)):
            command += ["-chardev", f"file,id={name},path={folder / file}"]
            command += ["-device", f"virtserialport,chardev={name},name={name}"]
    if job.forward:
        here, there = job.forward
        network = f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{here}-:{there}"
        rom = ",romfile=" if machine.bus == "pci" else ""
        command += ["-netdev", network, "-device", f"virtio-net-{machine.bus},netdev=n{rom}"]
    return command


class _Console:
    """Reads the output of a guest's console, and keeps what came of its commands."""

    def __init__(self, folder: Path, home: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._home = home
        self._say = say
        self._last: list[str] = []
        self._statuses: list[int] = []
        self._seconds: dict[str, float] = {}
        self._faults: list[str] = []
        self._panic = ""
        self._over = False
        self._data: tuple[str, list[str]] | None = None
        self._began = time.monotonic()

    def follow(
        self, process: subprocess.Popen[bytes], limits: Limits, stop: threading.Event
    ) -> str:
        """Reads the console to its end; what went wrong, or ""."""
        stream = process.stdout
        if stream is None:
            raise InstrumentError("the emulator has no console")
        for line in _lines(stream, lambda quiet: _why_end(self._began, quiet, limits, stop)):
            if isinstance(line, _Timeout):
                return line.words
            self._take(line)
            if acceleration.INTERNAL_ERROR in line:
                return f"it was stopped: {line}"
        status = process.wait(_END_SECONDS)
        if self._panic:
            return f"its kernel gave up: {self._panic}"
        if self._faults:
            return f"its first process failed: {self._faults[0]}"
        if not self._over:
            return f"it ended before it was done (its emulator's exit status is {status})"
        return ""

    def _take(self, line: str) -> None:
        if self._data is not None and line == f"{_MARK}END":
            name, lines = self._data
            self._data = None
            self._receive(name, "".join(lines))
        elif self._data is not None and _ENCODED.fullmatch(line):
            self._data[1].append(line)
        elif line.startswith(_MARK) and not line.startswith(_MARK * 2):
            self._note(line.removeprefix(_MARK).split())
        elif line:
            line = line.removeprefix(_MARK)
            self._last = [*self._last[1 - _LAST_LINES :], line]
            if _PANIC.search(line) and not self._panic:
                self._panic = line
            self._say(line)

    def _note(self, words: Sequence[str]) -> None:
        kind, *rest = words or ("",)
        if kind == "DATA" and rest:
            if self._data is not None:
                self._faults.append(f"what came over the console is damaged ({_NO_END})")
            self._data = (rest[0], [])
        elif kind == "ENDED":
            self._statuses.append(int(rest[1]))
            self._seconds[f"command {len(self._statuses)} ended"] = time.monotonic() - self._began
        elif kind in {"FAULT", "MODULE"}:
            (self._faults if kind == "FAULT" else self._last).append(" ".join(rest))
        elif kind in {"UP", "READY", "HOME"}:
            self._over = kind == "HOME"
            self._seconds[kind.lower()] = time.monotonic() - self._began

    def _receive(self, name: str, text: str) -> None:
        try:
            data = zlib.decompress(base64.b85decode(text))
        except (ValueError, binascii.Error, zlib.error) as error:
            self._faults.append(f"what came over the console is damaged ({error})")
            return
        file = _OUT_FILE if name == "out" else JOURNAL_FILE
        with (self._folder / file).open("ab") as place:
            place.write(data)

    def ended(self, fault: str) -> Ended:
        """Takes in what came home."""
        self._seconds["over"] = time.monotonic() - self._began
        fault = fault or self._unpack()
        journal = self._folder / JOURNAL_FILE
        if journal.exists() and journal.stat().st_size:
            shutil.copyfile(journal, self._home / JOURNAL_FILE)
        return Ended(tuple(self._statuses), fault, dict(self._seconds), tuple(self._last))

    def _unpack(self) -> str:
        bundle = self._folder / _OUT_FILE
        try:
            with tarfile.open(bundle) as archive:
                # An attribute, for Python before 3.11.4 knows no such parameter.
                archive.extraction_filter = getattr(tarfile, "data_filter", None)
                archive.extractall(self._home, members=list(filter(_is_harmless, archive)))  # noqa: S202 - harmless ones
        except (OSError, tarfile.TarError) as error:
            return f"what it brought home cannot be read ({error})"
        return ""


@dataclass(frozen=True, slots=True)
class _Timeout:
    words: str


def _is_harmless(member: tarfile.TarInfo) -> bool:
    """Whether it is a file or folder below the one where it is unpacked."""
    path = PurePosixPath(member.name)
    return (member.isreg() or member.isdir()) and not path.is_absolute() and ".." not in path.parts


def _why_end(began: float, quiet: float, limits: Limits, stop: threading.Event) -> str:
    """Why a guest must not go on; "" if it may.

    Args:
        began: when it started, by the monotonic clock.
        quiet: how many seconds it has printed nothing.
        limits: what it may take.
        stop: whether it was called off.
    """
    if stop.is_set():
        return "it was called off"
    if time.monotonic() - began > limits.deadline:
        return f"it was not done at its deadline of {limits.deadline:.0f} s"
    return f"it printed nothing for {limits.silence:.0f} s" if quiet > limits.silence else ""


def _lines(stream: IO[bytes], why_end: Callable[[float], str]) -> Iterator[str | _Timeout]:
    """The lines of a stream until its end, or until there is a reason to end."""
    descriptor = stream.fileno()
    rest = b""
    heard = time.monotonic()
    while True:
        ready, _, _ = select.select([descriptor], [], [], _LOOK_SECONDS)
        if reason := why_end(time.monotonic() - heard):
            yield _Timeout(reason)
            return
        if not ready:
            continue
        heard = time.monotonic()
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        *whole, rest = (rest + piece).split(b"\n")
        yield from (_text(line) for line in whole)
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    """A line as a terminal shows it in the end: what it went back over is gone."""
    shown = _ESCAPES.sub("", line.decode(errors="replace")).rstrip("\r")
    return shown.rpartition("\r")[2]
