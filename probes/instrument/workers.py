"""Work of this process's own, spread over forked processes: one for each share of it."""

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from probes.errors import InstrumentError

_Share = TypeVar("_Share")
_Result = TypeVar("_Result")


def spread(work: Callable[[_Share], _Result], shares: Sequence[_Share]) -> list[_Result]:
    """Does each share of some work in a process of its own, and gives the results in order.

    A single share is done in this process. Whatever ends this call ends those processes.

    Args:
        work: does a share; what it gives and what it raises must be picklable.
        shares: what it is given.

    Raises:
        InstrumentError: a process ended before its work.
    """
    if len(shares) < 2:  # noqa: PLR2004 - there is nothing to spread
        return [work(share) for share in shares]
    started: list[tuple[int, int]] = []
    try:
        started += (_started(work, share) for share in shares)
        results: list[_Result] = [_result(reading) for _, reading in started]
        return results
    finally:
        for pid, reading in started:
            os.close(reading)
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _started(work: Callable[[_Share], _Result], share: _Share) -> tuple[int, int]:
    """Starts a process; returns its id, and the descriptor from which its result is read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _do(work, share, writing)
    os.close(writing)
    return pid, reading


def _do(work: Callable[[_Share], _Result], share: _Share, writing: int) -> NoReturn:
    """Does a share, writes what came of it, and ends the process at once."""
    status = 1
    try:
        # Whoever interrupts the parent has it end this process.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        with os.fdopen(writing, "wb") as stream:
            pickle.dump(_attempted(work, share), stream)
        status = 0
    finally:
        os._exit(status)


def _attempted(
    work: Callable[[_Share], _Result], share: _Share
) -> tuple[_Result | None, Exception | None]:
    """What came of a share, or what it raised."""
    try:
        return work(share), None
    except Exception as error:  # noqa: BLE001 - raised again where the result is awaited
        return None, error


def _result(reading: int) -> Any:  # noqa: ANN401 - whatever the work gave
    with os.fdopen(os.dup(reading), "rb") as stream:
        written = stream.read()
    if not written:
        raise InstrumentError("a process that judges ended before its work: run it again")
    result, error = pickle.loads(written)  # noqa: S301 - our own process has written it
    if error is not None:
        raise error
    return result
