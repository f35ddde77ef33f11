"""Guests that wait for pytest-xdist: they are booted, and switched off when somebody says so."""

import math
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

from probes import interruption, main_job
from probes.errors import BadInputError, ExitStatus, InstrumentError
from probes.files import SUITE
from probes.guest import choice, runner, serve
from probes.guest.choice import WantedGuest
from probes.guest.runner import Ended, Guest, GuestJob, Limits
from probes.text import visible

_PORT: Final = 8888
_LOOK_SECONDS: Final = 0.2
_BEFOREHAND: Final = ("xdist.plugin", "pytest_html.plugin", "cases.run.start")
"""What a guest imports before it is asked: pytest's plug-ins, which bring the rest."""

Say = Callable[[str, str], None]
"""Tells the user about a guest: its name, and a sentence."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What guests get.

    Attributes:
        cache: what can be fetched or made again.
        limits: how long all of them may wait, and how long they may take to come up; the rest is
            of each guest.
        files: further files, by their path in the guests.
    """

    cache: Path
    limits: Limits
    files: Mapping[str, bytes]


@dataclass(slots=True)
class _Served:
    """A guest that is up, or is coming up.

    Attributes:
        name: what it is called as a node.
        port: the port of this machine's loopback that leads to it.
        ready: set when it takes connections.
        ended: how it ended, once it has.
    """

    name: str
    port: int
    ready: threading.Event = field(default_factory=threading.Event)
    ended: "Future[Ended] | None" = None

    @property
    def node(self) -> str:
        """The words by which pytest-xdist reaches it."""
        return f"socket=127.0.0.1:{self.port}//id={self.name}//chdir=/{runner.SUITE_FOLDER}"


def check(wanted: Sequence[WantedGuest]) -> None:
    """Refuses guests that cannot be reached from outside.

    Raises:
        BadInputError: one of them has no network card.
    """
    for one in wanted:
        if not one.machine.bus:
            raise BadInputError(
                f"guest {one}: its kernel has no network card that QEMU offers, so xdist cannot"
                " reach it: leave it out, or run it without --serve"
            )


def serve_guests(
    wanted: Sequence[WantedGuest], ask: Ask, say: Say, here: Sequence[WantedGuest] = ()
) -> tuple[ExitStatus, list[str]]:
    """Boots guests, says how to reach them, and waits for Ctrl-C or the deadline.

    Args:
        wanted: the guests, at least one.
        ask: what they get.
        say: tells the user how they are getting on.
        here: those that were asked for and that this machine itself stands for.

    Returns:
        The exit status, and what there is to say in the end.

    Raises:
        BadInputError: a tool is missing, or the cache cannot be written.
    """
    stop = threading.Event()
    with _stopped_by_signals(stop), TemporaryDirectory(prefix="serve-") as home:
        served = []
        with ThreadPoolExecutor(len(wanted)) as pool:
            try:
                for one in wanted:
                    if stop.is_set():
                        break
                    say(str(one), "getting its packages")
                    guest = choice.prepare(one, ask.cache, ask.limits)
                    made = _Served(_name(one), _free_port())
                    say(str(one), f"booting Linux {guest.kernel.release}")
                    boot = _Boot(guest, _job(made.port, ask.files), Path(home) / made.name, stop)
                    made.ended = pool.submit(boot.run, made, str(one), say)
                    served.append(made)
                nodes = [f"popen//id={_name(one)}" for one in here]
                return _wait(served, nodes, stop, ask.limits)
            except InstrumentError as error:
                return ExitStatus.BROKEN, [f"BROKEN: {error}"]
            finally:
                stop.set()


def _name(wanted: WantedGuest) -> str:
    """A guest's name as a node."""
    return str(wanted).replace("@", "-")


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Has Ctrl-C and every other request to end call the guests off, and nothing else.

    What somebody ignores (nohup(1)) is ignored.
    """

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    asking = (signal.SIGINT, *interruption.ENDING)
    taken = [number for number in asking if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _job(port: int, files: Mapping[str, bytes]) -> GuestJob:
    return GuestJob(
        tree=SUITE,
        commands=(("python3", "-m", serve.__name__, str(_PORT), *_BEFOREHAND),),
        files=files,
        # Its pytest gets the words of another machine's; these are for a guest alone. Modules are
        # loaded as they were compiled beforehand, and not rewritten.
        environment={"PYTEST_ADDOPTS": "-p no:cacheprovider --assert=plain"},
        forward=(port, _PORT),
    )


@dataclass(frozen=True, slots=True)
class _Boot:
    """A guest that is about to be booted."""

    guest: Guest
    job: GuestJob
    home: Path
    stop: threading.Event

    def run(self, served: _Served, name: str, say: Say) -> Ended:
        """Boots it and follows it to its end.

        Raises:
            InstrumentError: the emulator cannot be started.
        """

        def hear(line: str) -> None:
            if line == serve.READY:
                served.ready.set()
            say(name, line)

        # Between two runs of pytest a guest has nothing to print; who waits for it has the limits.
        limits = replace(self.guest.limits, silence=math.inf, deadline=math.inf)
        guest = replace(self.guest, limits=limits)
        ended = runner.run(guest, self.job, self.home, hear, self.stop)
        if ended.fault and not self.stop.is_set():
            last = f"; its last line: {visible(ended.last[-1])}" if ended.last else ""
            say(name, f"{ended.fault}{last}")
        return ended


def _wait(
    served: Sequence[_Served], here: Sequence[str], stop: threading.Event, limits: Limits
) -> tuple[ExitStatus, list[str]]:
    """Waits for all guests to be up, says how to reach them, and waits for the end."""
    began = time.monotonic()
    told = False
    while not stop.wait(_LOOK_SECONDS):
        gone = [each for each in served if each.ended is not None and each.ended.done()]
        if gone and (not told or len(gone) == len(served)):
            return ExitStatus.BROKEN, [f"BROKEN: {_how(each)}" for each in gone]
        waited = time.monotonic() - began
        late = [each.name for each in served if not each.ready.is_set()]
        if late and waited > limits.silence:
            names = ", ".join(late)
            return ExitStatus.BROKEN, [f"BROKEN: {names}: not up after {limits.silence:.0f} s"]
        if waited > limits.deadline:
            return ExitStatus.CONFORMANT, ["switched off: the deadline has come"]
        if not told and not late:
            sys.stdout.write(f"{command([*here, *(each.node for each in served)])}\n")
            sys.stdout.flush()
            told = True
    return ExitStatus.CONFORMANT, ["switched off"]


def _how(served: _Served) -> str:
    """How a guest came to its end that should not have."""
    try:
        ended = served.ended.result() if served.ended is not None else None
    except InstrumentError as error:
        return f"{served.name}: {error}"
    if ended is None:
        return f"{served.name}: it was not booted"
    last = f"; its last line: {visible(ended.last[-1])}" if ended.last else ""
    return f"{served.name}: {ended.fault or 'its server has ended'}{last}"


def command(nodes: Sequence[str]) -> str:
    """The command line that runs the suite on the nodes."""
    each = [word for one in nodes for word in ("--tx", one)]
    return shlex.join([*main_job.COMMAND, "--dist", "each", *each])
