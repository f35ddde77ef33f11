"""Cleans up when a signal ends a run: no container and no temporary file is left behind.

Ctrl-C raises KeyboardInterrupt in Python, and every context puts away what it has made. SIGTERM,
by which build systems cancel a job and docker stops a container, and SIGHUP, which comes when a
terminal is closed, would end the process on the spot, and leave containers and files.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a process to end."""


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into KeyboardInterrupt for as long as the context lasts.

    Only the first of them does: what is being put away is not disturbed. Signals that somebody
    ignores (nohup(1)) or handles already stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only there signals can be handled
        return
    told = False

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal told
        if not told:
            told = True
            raise KeyboardInterrupt

    taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
