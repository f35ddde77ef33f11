"""The journal of a run, which goes on without where one cannot be written, and says so."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from probes.cell import CellKey
from reports.results import Run
from reports.results.journal import Journal

_NO_JOURNAL: Final = (
    "The journal could not be written ({}), so nothing would have been left of this run, had it"
    " been killed."
)


class KeptJournal:
    """The journal that is written while a run lasts.

    Attributes:
        troubles: sentences about what could not be written.
    """

    def __init__(self) -> None:
        """Writes nothing yet."""
        self.troubles: list[str] = []
        self._journal: Journal | None = None

    def begin(self, folder: Path, head: Run) -> None:
        """Begins it.

        Args:
            folder: where it shall be.
            head: what is known of the run before anything is judged.

        Raises:
            OSError: it cannot be written there.
        """
        self._journal = Journal(folder, head)

    def begin_if_possible(self, folder: Path, head: Run) -> None:
        """Begins it in a folder that is made for it; the arguments are those of ``begin``."""
        with self._noting():
            folder.mkdir(parents=True, exist_ok=True)
            self.begin(folder, head)

    def plan(self, selected: Collection[CellKey], selected_of: int) -> None:
        """Notes which cells are to be judged.

        Args:
            selected: the cells of the selected tests.
            selected_of: how many cells the whole job has.
        """
        with self._noting() as journal:
            if journal is not None:
                journal.plan(selected, selected_of)

    def note(self, nodeid: str, carried: Mapping[str, Any]) -> None:
        """Notes what a test sent.

        Args:
            nodeid: the test.
            carried: what it sent, in plain data.
        """
        with self._noting() as journal:
            if journal is not None:
                journal.note(nodeid, carried, datetime.now(UTC))

    def discard(self) -> bool:
        """Takes it away, which the record replaces; tells whether there was one."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.discard()
        return journal is not None

    @contextmanager
    def _noting(self) -> Iterator[Journal | None]:
        try:
            yield self._journal
        except OSError as error:
            if self._journal is not None:
                self._journal.close()
            self._journal = None
            self.troubles.append(_NO_JOURNAL.format(error.strerror or error))
