"""What may befall a source of audit records in the course of a run."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from probes.audit.record import parse
from probes.tests.support import planted
from probes.tests.support.fed_sources import Source

_STAMP: Final = re.compile(r"audit\((\d+)\.(\d{3}):(\d+)\)")
_DAY: Final = 86_400
_OTHERS: Final = "others"
_PROBED: Final = frozenset(
    planted.NATIVE.numbers[one] for one in (planted.RIGHT, planted.OPENED, planted.OTHERWISE)
)

# To a log.


def renamed(source: Source) -> None:
    """As by a rotation whose new file never comes, unless its writer opens it by name."""
    source.log.rename(f"{source.log}.1")


def rotated(source: Source) -> None:
    renamed(source)
    source.reopen()


def compressed(source: Source) -> None:
    """As by a rotation that compresses at once."""
    with gzip.open(f"{source.log}.1.gz", "wb") as kept:
        kept.write(source.log.read_bytes())
    source.log.unlink()
    source.reopen()


def copied_and_emptied(source: Source) -> None:
    """As by logrotate's copytruncate."""
    shutil.copy(source.log, f"{source.log}.1")
    emptied(source)


def emptied(source: Source) -> None:
    os.truncate(source.log, 0)


def deleted(source: Source) -> None:
    source.log.unlink()


def a_pipe(source: Source) -> None:
    """Opening it would wait for a writer."""
    source.log.unlink()
    os.mkfifo(source.log)


def a_folder(source: Source) -> None:
    source.log.unlink()
    source.log.mkdir()


def a_link_to_nothing(source: Source) -> None:
    source.log.unlink()
    source.log.symlink_to("nowhere/at all")


def a_link_to_itself(source: Source) -> None:
    source.log.unlink()
    source.log.symlink_to(source.log.name)


def a_link_to_the_file(source: Source) -> None:
    """As where the log was moved to another disk."""
    elsewhere = Path(f"{source.log}.moved")
    source.log.rename(elsewhere)
    source.log.symlink_to(elsewhere)


def a_link_to_a_device(source: Source) -> None:
    """Which could be read for ever."""
    source.log.unlink()
    source.log.symlink_to("/dev/zero")


def another_file(source: Source) -> None:
    """Which nobody renamed."""
    source.log.unlink()
    source.log.write_text("something else\n", encoding="ascii")


def a_file_without_end(source: Source) -> None:
    """A gigabyte without a single line."""
    source.log.unlink()
    source.log.touch()
    os.truncate(source.log, 1 << 30)


LOG_FAULTS: Final[tuple[Callable[[Source], None], ...]] = (
    *(renamed, rotated, compressed, copied_and_emptied, emptied, deleted),
    *(a_pipe, a_folder, a_link_to_nothing, a_link_to_itself, a_link_to_the_file),
    *(a_link_to_a_device, another_file, a_file_without_end),
)

# To records on their way.


_HELD_INTERVALS: Final = 4


@dataclass
class Backwards:
    """Holds records back for some intervals, and writes the last one first.

    Attributes:
        held: the records that are held back.
        intervals: since the first of them came; other processes may write without a pause.
    """

    held: list[str] = field(default_factory=list)
    intervals: int = 0

    def __call__(self, texts: list[str]) -> list[str]:
        """The records to write now."""
        self.held += texts
        self.intervals += bool(self.held)
        if self.intervals < _HELD_INTERVALS:
            return []
        held, self.held, self.intervals = self.held, [], 0
        return held[::-1]


def as_they_are(source: Source) -> None:
    """Nothing befalls them."""
    source.twist = list


def in_another_order(source: Source) -> None:
    source.twist = Backwards()


def twice(source: Source) -> None:
    source.twist = lambda texts: [text for text in texts for _ in range(2)]


def in_two_pieces(source: Source) -> None:
    source.torn = _is_probed


def lost(source: Source) -> None:
    """Only those of probed calls."""
    source.loses = _is_probed


def lost_with_yesterdays_in_their_place(source: Source) -> None:
    """As where a queue on a disk outlives a boot: the numbers begin anew."""
    source.twist = lambda texts: [one for text in texts for one in (_yesterdays(text), text)]
    source.loses = _is_probed


def lost_with_another_machines_in_their_place(source: Source) -> None:
    """As in a log to which several machines send theirs."""
    source.twist = lambda texts: [one for text in texts for one in (_elsewhere(text), text)]
    source.loses = _is_probed


def among_those_of_an_earlier_boot(source: Source) -> None:
    numbers = count(1)
    source.twist = lambda texts: [
        one for text in texts for one in (_yesterdays(text, next(numbers)), text)
    ]


def half_of_each_is_lost(source: Source) -> None:
    """As on a disk that is full: what is written next continues the line."""
    source.halved = _is_probed


def _is_probed(text: str) -> bool:
    """Whether a record is of a probed call, and no canary's, sentinel's or other process's."""
    found = None if text.startswith("node=") else parse(text)
    return found is not None and found.syscall in _PROBED and found.comm != _OTHERS


def _elsewhere(text: str) -> str:
    return f"node=elsewhere {_renamed(text)}"


def _yesterdays(text: str, serial: int | None = None) -> str:
    """The record of a call of yesterday, with a number of its own or the same."""
    stamp = _STAMP.match(text)
    assert stamp
    was = f"audit({int(stamp[1]) - _DAY}.{stamp[2]}:{stamp[3] if serial is None else serial})"
    return _renamed(_STAMP.sub(was, text))


def _renamed(text: str) -> str:
    return re.sub(r'comm="[^"]*"', f'comm="{_OTHERS}"', text)


RECORD_FAULTS: Final[tuple[Callable[[Source], None], ...]] = (
    *(as_they_are, in_another_order, twice, in_two_pieces, lost, half_of_each_is_lost),
    *(lost_with_yesterdays_in_their_place, lost_with_another_machines_in_their_place),
    among_those_of_an_earlier_boot,
)
