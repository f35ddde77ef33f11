"""The table of what became of a run's cells: a fault a row, a collector a column."""

import sys
from collections import Counter
from dataclasses import dataclass, field

from probes.cell import Outcome
from probes.tests.support.planted import EXPECTED, Judged

_UNDECIDED = (Outcome.BROKEN, Outcome.CANNOT_TELL)


@dataclass
class Matrix:
    """The table.

    Attributes:
        found: for each fault and collector how many cells came to what.
        remarks: what else is said of some of these.
    """

    found: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, fault: str, collector: str, judged: Judged, remark: str = "") -> None:
        """Adds a run."""
        if remark:
            self.remarks.setdefault(fault, {})[collector] = remark
        counts = self.found.setdefault(fault, {}).setdefault(collector, Counter())
        for name, cell in judged.cells.items():
            if cell.outcome is EXPECTED[name]:
                counts["right"] += 1
            else:
                counts["untold" if cell.outcome in _UNDECIDED else "WRONG"] += 1

    def show(self) -> None:
        """Prints it, for whoever runs the tests with ``-s``."""
        sys.stdout.write(f"\n{self}\n")

    def __str__(self) -> str:
        """The table, as text."""
        columns = list(dict.fromkeys(one for row in self.found.values() for one in row))
        rows = [[fault, *(self._shown(fault, one) for one in columns)] for fault in self.found]
        lines = [["", *columns], *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns) + 1)]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def _shown(self, fault: str, collector: str) -> str:
        counts = self.found[fault].get(collector)
        if counts is None:
            return "-"
        text = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        remark = self.remarks.get(fault, {}).get(collector)
        return f"{text} ({remark})" if remark else text
