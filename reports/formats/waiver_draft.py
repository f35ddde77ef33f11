"""A draft of the waivers that a record would need, as a file that somebody has to fill in. Pure.

Failures of one claim stand together, and of these the calls that fail on the same ABIs. Who works
on it, who accepts it, why and until when is left open, and a file with such gaps is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from probes.cell import Cell, Outcome
from probes.documents.waivers import FORMAT
from probes.judging import claims
from probes.judging.claims import About, is_about
from probes.targets.name import AMBIENT, BUILTIN
from reports.results import Run
from reports.summary import cells_text, gathered

_WIDTH: Final = 100
_TO_FILL_IN: Final = (
    ("reason", "what makes these failures acceptable"),
    ("owner", "who works on mending them"),
    ("approver", "who accepted the risk"),
)


class _Kind(NamedTuple):
    """What the failures of one waiver have in common."""

    claim: str
    profile: str
    deviations: tuple[str, ...]


def draft(run: Run, today: date) -> str:
    """The draft as the text of a TOML file; one without a waiver where nothing failed.

    Args:
        run: the record.
        today: the first day of the waivers.
    """
    blocks = [
        "\n".join(_waiver(run, kind, names, arches, today))
        for kind, names, arches in _compact(
            cell
            for cell in run.cells
            if cell.outcome is Outcome.FAILED and not is_about(cell.key, About.CONTROL)
        )
    ]
    lead = (
        f"format = {FORMAT}\n\n# {cells_text(_failed(run))} failed. Fill in what is empty: until"
        " then no run takes the file.\n"
        if blocks
        else f"format = {FORMAT}\n\n# Nothing failed that a waiver could be for.\n"
    )
    return "\n".join([lead, *(f"{block}\n" for block in blocks)])


def _failed(run: Run) -> int:
    return sum(
        cell.outcome is Outcome.FAILED and not is_about(cell.key, About.CONTROL)
        for cell in run.cells
    )


def _compact(
    cells: Iterable[Cell],
) -> Iterator[tuple[_Kind, Sequence[str], Sequence[str]]]:
    """What failed, in as few pieces as its calls and ABIs allow, and no more than that."""
    kinds = gathered(
        sorted(cells, key=lambda cell: _KINDS.index(cell.key.claim)),
        lambda cell: _Kind(cell.key.claim, cell.key.profile, cell.deviations),
    )
    for kind, alike in kinds.items():
        arches_of = gathered(alike, lambda cell: cell.key.syscall)
        by_arches = gathered(
            arches_of.items(),
            lambda pair: tuple(dict.fromkeys(cell.key.arch for cell in pair[1])),
        )
        for arches, calls in by_arches.items():
            yield kind, sorted(name for name, _ in calls), arches


_KINDS: Final = tuple(claims.ROWS)


def _waiver(
    run: Run, kind: _Kind, calls: Sequence[str], arches: Sequence[str], today: date
) -> Iterator[str]:
    if kind.deviations:
        yield f"# Or accept what runtimes do to every profile: --accept={','.join(kind.deviations)}"
    yield "[[waiver]]"
    yield from _names("call", calls)
    yield from _names("arch", arches)
    yield f"target = {_quoted(_target(run))}"
    yield f"profile = {_quoted(kind.profile)}"
    yield f"claim = {_quoted(kind.claim)}"
    for key, words in _TO_FILL_IN:
        yield f'{key} = ""  # {words}'
    yield f"created = {today.isoformat()}"
    yield 'expires = ""  # the last day, in UTC, such as 2026-04-30, without quotation marks'


def _target(run: Run) -> str:
    kind = run.target.kind
    return kind if kind in {AMBIENT, BUILTIN} else f"{kind}:*"


def _names(key: str, names: Sequence[str]) -> Iterator[str]:
    """A key with a name, or a list of them over as many lines as it takes."""
    quoted = [_quoted(name) for name in names]
    if len(quoted) == 1:
        yield f"{key} = {quoted[0]}"
        return
    whole = f"{key} = [{', '.join(quoted)}]"
    if len(whole) <= _WIDTH:
        yield whole
        return
    yield f"{key} = ["
    line = "   "
    for one in quoted:
        if len(line) + len(one) + 2 > _WIDTH:
            yield line
            line = "   "
        line += f" {one},"
    yield line
    yield "]"


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(sign: str) -> str:
    if sign in {"\\", '"'}:
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08X}"
