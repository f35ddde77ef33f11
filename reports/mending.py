"""How a reader mends a failed cell."""

from probes.cell import Cause, Cell
from probes.judging import advice, claims


def mend(cell: Cell) -> str:
    """What to change so that the cell passes: a sentence or two."""
    if cell.cause is Cause.INSTRUMENT:
        return "Run it again; if it happens again, report it as a bug of the suite."
    if cell.cause is Cause.NOT_IMPLEMENTED:
        return advice.of_kernel(cell)
    return claims.of(cell.key.claim).advice(cell)
