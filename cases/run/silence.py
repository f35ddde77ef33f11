"""Nodes that say nothing for too long are given up."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from cases.run.node_run import NodeRun

_LOOK_SECONDS: Final = 0.5


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what blocks the main thread, such as a node that does not answer, with TimeoutError."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer for {seconds:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class SilenceWatch:
    """Gives nodes up that say nothing for too long, in a thread of its own."""

    def __init__(
        self, seconds: float, runs: Mapping[str, NodeRun], connected: Mapping[str, Any]
    ) -> None:
        """Prepares to look.

        Args:
            seconds: for how long a node may say nothing.
            runs: what is known of the nodes, by name.
            connected: xdist's controllers of those that are connected, by name.
        """
        self._seconds = seconds
        self._runs = runs
        self._connected = connected
        self._over = threading.Event()

    def start(self) -> None:
        """Begins to look."""
        threading.Thread(target=self._look, name="watch over nodes", daemon=True).start()

    def end(self) -> None:
        """Looks no more."""
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for name, controller in list(self._connected.items()):
                run = self._runs[name]
                if time.monotonic() - run.heard > self._seconds and not run.lost:
                    run.lost = f"it has said nothing for {self._seconds:.0f} s"
                    with suppress(OSError):  # it has gone meanwhile
                        controller.channel.close()
