"""Reports how far a run has come to the program that has started it."""

from cases.run.follower import Follower
from reports import channel

_WHOLE = 100


class Progress:
    """Tells each per cent of a run's tests that is done."""

    def __init__(self, follower: Follower) -> None:
        """Prepares to listen.

        Args:
            follower: what follows the run.
        """
        self._follower = follower
        self._done: set[str] = set()
        self._planned = 0
        self._told = 0

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Takes note of a test that has ended, on whichever worker."""
        self._done.add(nodeid)
        if len(self._done) > self._planned:
            self._planned = len(self._follower.tests)
        percent = _WHOLE * len(self._done) // max(self._planned, len(self._done))
        if percent > self._told:
            self._told = percent
            channel.tell_done(percent)
