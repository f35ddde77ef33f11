"""The way of a call through a stack of filters: a ribbon of each program, and what runs. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from probes.filters.bpf import SeccompData
from probes.targets.stack import FilterStack
from reports.filters import way as ways
from reports.filters.way import PathRow
from reports.html.markup import Markup, code, element, join, text
from reports.html.view import paragraph, sheet

_RIBBON: Final = 1000
_LEAST_STEP: Final = 3.0


def way(stack: FilterStack, data: SeccompData, anchor: str) -> Markup:
    """Every instruction that a call runs through, filter by filter.

    Args:
        stack: the filters.
        data: the call.
        anchor: what the ids of the tables begin with.
    """
    return join(*_parts(stack, data, anchor))


def _parts(stack: FilterStack, data: SeccompData, anchor: str) -> Iterator[Markup]:
    if not stack.programs:
        yield paragraph("There is no filter, so that the call is allowed.")
    for rank, rows in enumerate(ways.paths(stack, data)):
        length = len(stack.programs[rank])
        which = "" if len(stack.programs) == 1 else f"Filter {rank + 1}: "
        yield paragraph(f"{which}{len(rows):,} of {length:,} instructions run.")
        yield _ribbon(rows, length)
        yield sheet(
            f"way-{anchor}-{rank}",
            "",
            ("Place", "Instruction", "What it does with the call"),
            (_way_row(row) for row in rows),
        )


def _way_row(row: PathRow) -> Sequence[Markup]:
    index, _, instruction = row.instruction.partition(":")
    return text(index.strip()), code(instruction.strip()), text(row.said)


def _ribbon(rows: Sequence[PathRow], length: int) -> Markup:
    """The program from its first instruction to its last, with those that run."""
    step = _RIBBON / length
    wide = max(step, _LEAST_STEP)
    marks = [
        element(
            "rect",
            x=f"{min(row.index * step, _RIBBON - wide):.1f}",
            y="0",
            width=f"{wide:.1f}",
            height="24",
            class_="last" if row is rows[-1] else "step",
        )
        for row in rows
    ]
    bed = element("rect", x="0", y="0", width=f"{_RIBBON}", height="24", class_="bed")
    return element(
        "svg",
        bed,
        *marks,
        viewBox=f"0 0 {_RIBBON} 24",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"the {len(rows):,} instructions that run, among {length:,}",
        class_="ribbon",
    )
