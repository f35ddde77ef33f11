"""Records read one after another: what an earlier one said in the same words is not read again.

The machines of a fleet come to nearly the same, and so their records do, letter by letter. Of a
record as ``to_json`` writes it, every cell is first looked up by its text; only one that is new is
read and checked. Any other form of a record, and a damaged one, is left to ``codec.from_json``.
"""

from collections.abc import Iterator
from typing import Final

from probes.cell import Cell
from probes.errors import BadInputError
from reports.results import codec
from reports.results.codec import CELLS
from reports.results.fields import parse
from reports.results.model import Run
from reports.results.ruling import Summary

# No string of JSON has a line break in it, so these can only stand between the values.
_BEGIN: Final = f'\n "{CELLS}": [\n  {{'
_BETWEEN: Final = "\n  },\n  {"
_END: Final = "\n  }\n ]\n}\n"
_NO_CELLS: Final = f'\n "{CELLS}": []\n}}\n'


_MOST: Final = 1.25
"""How much one half of the memory may hold, in lengths of the longest record.

Less saves memory, and more time: with every change of the halves all cells are moved.
"""


class KnownCells:
    """The cells of the records that were read last, by their text.

    What is kept is a little longer than the longest record: cells that were not met again for that
    long are forgotten.
    """

    def __init__(self) -> None:
        self._recent: dict[str, Cell] = {}
        self._older: dict[str, Cell] = {}
        self._length = 0
        self._longest = 0

    def record(self, text: str) -> tuple[Run, Summary] | None:
        """The run of a record and its summary, all of it checked as ``codec.from_json`` does.

        Args:
            text: the text of the file.

        Returns:
            None where the text has another form, or anything is wrong with it; what that is,
            ``codec.from_json`` says.
        """
        begin, end = text.find(_BEGIN), len(text) - len(_END)
        if begin < 0 or not text.endswith(_END):
            return None
        try:
            cells = self._cells(text, begin + len(_BEGIN), end)
            return codec.read(parse(text[:begin] + _NO_CELLS), cells)
        except BadInputError:
            return None

    def _cells(self, text: str, begin: int, end: int) -> tuple[Cell, ...]:
        """The cells of a record.

        Args:
            text: the record.
            begin: where the first cell begins, behind its brace.
            end: where the last one ends, before its brace.

        Raises:
            BadInputError: one of them is no cell.
        """
        self._longest = max(self._longest, len(text))
        if self._length > _MOST * self._longest:
            self._recent, self._older, self._length = {}, self._recent, 0
        recent = self._recent
        return tuple(
            [recent.get(piece) or self._cell(piece) for piece in _pieces(text, begin, end)]
        )

    def _cell(self, piece: str) -> Cell:
        cell = self._older.pop(piece, None) or codec.cell_from_json(parse(f"{{{piece}\n}}"))
        self._recent[piece] = cell
        self._length += len(piece)
        return cell


def _pieces(text: str, begin: int, end: int) -> Iterator[str]:
    """What stands between the braces of each cell; one by one, for all would take much memory."""
    while (found := text.find(_BETWEEN, begin, end)) >= 0:
        yield text[begin:found]
        begin = found + len(_BETWEEN)
    yield text[begin:end]
