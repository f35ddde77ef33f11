"""The first process of a guest: prepares the machine, runs commands, and switches it off.

It stands alone in the guest, on the standard library only; ``/guest.json`` says what to do. Lines
that begin with ``@@`` on the console are for ``probes.guest.runner``: how far it is, what it
brings home, how it ended. All else there is what the commands print, which is why commands have a
terminal of their own: this process alone writes to the console, one whole line after the other. A
command's line that begins with ``@@`` gets another ``@@`` in front.
"""

import base64
import ctypes
import fcntl
import io
import json
import os
import select
import socket
import struct
import sys
import tarfile
import threading
import time
import zlib
from typing import Any

OUT = "/out"
_RB_POWER_OFF = 0x4321FEDC
_RB_AUTOBOOT = 0x01234567
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x891C, 0x8914, 0x1
_MARK = b"@@"
_LINE = 1000
_LONGEST_LINE = 1 << 16
_JOURNAL_SECONDS = 0.5
_LOOK_SECONDS = 0.2
_ALIVE_SECONDS = 10.0

_libc = ctypes.CDLL(None, use_errno=True)
_console = threading.Lock()


def mark(*words: object) -> None:
    """Says something to the runner."""
    with _console:
        # The kernel writes there, too, and not always to the end of a line.
        print("\n@@" + " ".join(str(word) for word in words), flush=True)


class CommandOutput:
    """Writes what commands print to the console, in whole lines."""

    def __init__(self) -> None:
        """Starts with nothing to write."""
        self._rest = b""
        self._heard_since = time.monotonic()

    def take(self, piece: bytes) -> None:
        """Writes the lines that have come to their end.

        Of a line that has not, as pytest's of dots, the runner only hears that it grows.
        """
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        if whole:
            self._write(whole)
        elif piece and time.monotonic() - self._heard_since > _ALIVE_SECONDS:
            mark("ALIVE")
            self._heard_since = time.monotonic()

    def close(self) -> None:
        """Writes the last line, which may lack its end."""
        if self._rest:
            self._write([self._rest])
        self._rest = b""

    def _write(self, lines: list[bytes]) -> None:
        text = b"".join((_MARK if line.startswith(_MARK) else b"") + line + b"\n" for line in lines)
        with _console:
            sys.stdout.flush()
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        self._heard_since = time.monotonic()


def uptime() -> str:
    """Seconds since the kernel started."""
    with open("/proc/uptime", encoding="ascii") as file:
        return file.read().split()[0]


def mount(source: str, target: str, kind: str) -> None:
    """Mounts a file system."""
    os.makedirs(target, exist_ok=True)
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(0), b"") < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def prepare() -> None:
    """Mounts what a Linux process expects."""
    for kind, target in (
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/tmp"),
    ):
        mount(kind, target, kind)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1")):
        if not os.path.lexists("/dev/" + name):
            os.symlink(target, "/dev/" + name)


def load(modules: list[str], number: int) -> None:
    """Loads kernel modules by finit_module(2)."""
    for name in modules:
        with open("/modules/" + name, "rb") as file:
            answer = _libc.syscall(
                ctypes.c_long(number), ctypes.c_long(file.fileno()), b"", ctypes.c_long(0)
            )
        if answer < 0:
            mark("MODULE", name, os.strerror(ctypes.get_errno()))


def connect() -> None:
    """Gives the loopback and the first network card their addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for card, address, net in (
            ("lo", "127.0.0.1", "255.0.0.0"),
            ("eth0", "10.0.2.15", "255.255.255.0"),
        ):
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, net)):
                words = struct.pack(
                    "16sHH4s8x", card.encode(), socket.AF_INET, 0, socket.inet_aton(value)
                )
                fcntl.ioctl(control, request, words)
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", card.encode(), _IFF_UP))


def port(name: str) -> str | None:
    """The device of a virtio port of that name; None where there is none."""
    folder = "/sys/class/virtio-ports"
    for device in os.listdir(folder) if os.path.isdir(folder) else ():
        with open(f"{folder}/{device}/name", encoding="utf-8") as file:
            if file.read().strip() == name:
                return "/dev/" + device
    return None


def send(name: str, data: bytes) -> None:
    """Brings bytes home: through the virtio port of that name, else over the console."""
    device = port(name)
    if device is not None:
        with open(device, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        return
    text = base64.b85encode(zlib.compress(data)).decode()
    with _console:
        print(f"\n@@DATA {name} {len(data)}")
        for start in range(0, len(text), _LINE):
            print(text[start : start + _LINE])
        print("@@END", flush=True)


class GrowingFile:
    """Brings a file home that grows, while it grows."""

    def __init__(self, path: str) -> None:
        """Starts to follow it."""
        self._path = path
        self._sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._over.wait(_JOURNAL_SECONDS):
            self._send()
        self._send()

    def _send(self) -> None:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._sent)
                news = file.read()
        except FileNotFoundError:
            return
        whole = news[: news.rfind(b"\n") + 1]
        if whole:
            send("journal", whole)
            self._sent += len(whole)

    def close(self) -> None:
        """Brings the rest home."""
        self._over.set()
        self._thread.join()


def run(command: list[str], job: dict[str, Any]) -> int:
    """Runs a command on a terminal of its own to its end; its exit status."""
    ours, theirs = os.openpty()
    fault, tell_fault = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (1, 2):
                os.dup2(theirs, number)
            os.chdir(job["folder"])
            environment = {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LANG": "C.UTF-8",
                "TERM": "dumb",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            environment.update(job["environment"])
            os.execvpe(command[0], command, environment)
        except BaseException as error:  # noqa: BLE001 - a forked child must not return
            os.write(tell_fault, f"cannot run {command[0]} {error!r}".encode())
        finally:
            os._exit(127)
    os.close(theirs)
    os.close(tell_fault)
    over = threading.Event()
    writer = threading.Thread(target=follow, args=(ours, over))
    writer.start()
    while True:
        ended, status = os.wait()
        if ended == pid:
            break
    over.set()
    writer.join()
    os.close(ours)
    with os.fdopen(fault) as reasons:
        if reason := reasons.read():
            mark("FAULT", reason)
    return os.waitstatus_to_exitcode(status)


def follow(terminal: int, over: threading.Event) -> None:
    """Writes to the console what comes from a terminal.

    Args:
        terminal: the descriptor of its other side.
        over: set when the command has ended. What it has left running may hold the terminal open,
            so only what is there by then is written.
    """
    output = CommandOutput()
    while True:
        last = over.is_set()
        ready, _, _ = select.select([terminal], [], [], 0 if last else _LOOK_SECONDS)
        try:
            piece = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # nobody has the other side any more
            break
        if last and not piece:
            break
        output.take(piece.replace(b"\r\n", b"\n"))
    output.close()


def main() -> None:
    """Does the job."""
    prepare()
    mark("UP", uptime())
    with open("/guest.json", encoding="utf-8") as file:
        job = json.load(file)
    socket.sethostname(job["hostname"])
    load(job["modules"], job["finit_module"])
    if job["network"]:
        connect()
    mark("READY", uptime())
    for place, command in enumerate(job["commands"]):
        journal = GrowingFile(job["journal"]) if job["journal"] else None
        status = run(command, job)
        if journal is not None:
            journal.close()
        mark("ENDED", place, status, uptime())
    bundle = io.BytesIO()
    with tarfile.open(fileobj=bundle, mode="w:gz", compresslevel=1) as archive:
        archive.add(OUT, ".")
    send("out", bundle.getvalue())
    mark("HOME", uptime())


def off() -> None:
    """Switches the machine off."""
    _libc.sync()
    _libc.reboot(ctypes.c_int(_RB_POWER_OFF))
    _libc.reboot(ctypes.c_int(_RB_AUTOBOOT))


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:  # noqa: BLE001 - a first process that ends is a panic
        mark("FAULT", repr(error))
    sys.stdout.flush()
    time.sleep(0.1)  # the console is slower than the switch
    off()
